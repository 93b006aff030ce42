//! What a maintainer script does when its package is installed for the first time; nothing is run.
//!
//! The script is followed as far as what it asks is known: its arguments (`install`, or `configure` and nothing), the
//! files of the tree. What needs nothing in an image (services, caches that are made when they are missed) is passed
//! over; alternatives are an [`Effect`]; everything else, and whatever depends on the machine, is refused.

use std::collections::BTreeMap;

use super::conditions;
use super::effects::Effect;
use super::shell::{self, Command, Piece, Word};
use super::sysusers;
use super::tree::Tree;

/// Sections that debhelper adds to scripts, by the program that adds them, and that need nothing in an image: there is
/// no init to start services, byte code and caches are made when they are missed, and nothing is upgraded.
const SECTIONS: [&str; 18] = [
    "dh_apparmor",
    "dh_fixperms",
    "dh_icons",
    "dh_installdeb",
    "dh_installdebconf",
    "dh_installinit",
    "dh_installmenu",
    "dh_installmime",
    "dh_installsystemd",
    "dh_installsystemduser",
    "dh_installtmpfiles",
    "dh_installudev",
    "dh_makeshlibs",
    "dh_pycentral",
    "dh_python3",
    "dh_systemd_enable",
    "dh_systemd_start",
    "dh_usrlocal",
];
/// Programs that need not run in an image, for the same reasons.
const IDLE: [&str; 28] = [
    "aa-enabled",
    "aa-status",
    "apparmor_parser",
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "dpkg-maintscript-helper",
    "dpkg-trigger",
    "gtk-update-icon-cache",
    "invoke-rc.d",
    "ischroot",
    "ldconfig",
    "py3clean",
    "py3compile",
    "pyclean",
    "pycompile",
    "restorecon",
    "systemctl",
    "systemd-tmpfiles",
    "udevadm",
    "update-desktop-database",
    "update-icon-caches",
    "update-initramfs",
    "update-menus",
    "update-mime",
    "update-rc.d",
    "which",
    "command",
    "type",
];
/// Larger than any script, in bytes.
const MAX_SCRIPT: usize = 1 << 20;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    True,
    False,
    /// That depends on what is not known.
    Either,
    /// The script ends with it.
    Exit,
}

impl Ended {
    const fn of(known: Option<bool>) -> Self {
        match known {
            Some(true) => Self::True,
            Some(false) => Self::False,
            None => Self::Either,
        }
    }
}

/// What is known while a script is followed.
pub struct Followed<'a> {
    tree: &'a Tree,
    parameters: BTreeMap<String, Option<String>>,
    effects: Vec<Effect>,
}

/// The effects of `script`, which is called with `action`.
///
/// # Errors
/// What is not known of it.
pub fn follow(script: &str, action: &str, tree: &Tree) -> Result<Vec<Effect>, String> {
    if script.len() > MAX_SCRIPT {
        return Err("it is too large".to_owned());
    }
    let first = script.lines().next().unwrap_or_default();
    let shells = ["/bin/sh", "/bin/bash", "/bin/dash", "/usr/bin/sh", "/usr/bin/bash"];
    let program = first.strip_prefix("#!").map(|rest| rest.split_whitespace().next().unwrap_or_default());
    if !program.is_some_and(|program| shells.contains(&program)) {
        return Err("it is no shell script".to_owned());
    }
    let parameters = [("1", action), ("2", "")].map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    let mut followed = Followed { tree, parameters: parameters.into(), effects: vec![] };
    followed.effects.extend(sysusers::of_script(script, tree)?);
    let command = shell::parse(&without_sections(script))?;
    followed.run(&command)?;
    Ok(followed.effects)
}

/// `script` without the sections that need nothing.
fn without_sections(script: &str) -> String {
    let mut kept = String::new();
    let mut skipping = false;
    for line in script.split_inclusive('\n') {
        if let Some(tool) = line.strip_prefix("# Automatically added by ") {
            let tool = tool.split(['/', ' ', '\n']).next().unwrap_or_default();
            skipping = SECTIONS.contains(&tool) || tool == sysusers::SECTION;
        }
        if !skipping {
            kept.push_str(line);
        }
        if line.trim_end() == "# End automatically added section" {
            skipping = false;
        }
    }
    kept
}

impl Followed<'_> {
    fn run(&mut self, command: &Command) -> Result<Ended, String> {
        match command {
            Command::List(commands) => self.list(commands),
            Command::Simple(assignments, words, writes) => self.simple(assignments, words, *writes),
            Command::Function(_) => Ok(Ended::True),
            Command::Opaque(what) => Err(format!("it has {what}")),
            Command::Not(inner) => Ok(match self.run(inner)? {
                Ended::True => Ended::False,
                Ended::False => Ended::True,
                other => other,
            }),
            Command::And(left, right) => match self.run(left)? {
                Ended::True => self.run(right),
                Ended::Either => self.perhaps(right),
                other => Ok(other),
            },
            Command::Or(left, right) => match self.run(left)? {
                Ended::False => self.run(right),
                Ended::Either => self.perhaps(right),
                other => Ok(other),
            },
            Command::If(branches, otherwise) => self.conditional(branches, otherwise),
            Command::Case(word, arms) => self.case(word, arms),
        }
    }

    fn list(&mut self, commands: &[Command]) -> Result<Ended, String> {
        let mut ended = Ended::True;
        for command in commands {
            ended = self.run(command)?;
            if ended == Ended::Exit {
                break;
            }
        }
        Ok(ended)
    }

    /// Runs what may run or not: that is all the same if it has no effect.
    fn perhaps(&mut self, command: &Command) -> Result<Ended, String> {
        let (effects, parameters) = (self.effects.len(), self.parameters.clone());
        let ended = self.run(command)?;
        if self.effects.len() > effects {
            return Err("what it does depends on the machine it runs on".to_owned());
        }
        for (name, value) in parameters {
            if self.parameters.get(&name) != Some(&value) {
                self.parameters.insert(name, None);
            }
        }
        match ended {
            Ended::Exit => Err("whether it ends depends on the machine it runs on".to_owned()),
            _ => Ok(Ended::Either),
        }
    }

    fn conditional(&mut self, branches: &[(Command, Command)], otherwise: &Command) -> Result<Ended, String> {
        let mut certain = true;
        for (condition, branch) in branches {
            match self.run(condition)? {
                Ended::True if certain => return self.run(branch),
                Ended::True => return self.perhaps(branch),
                Ended::False => {}
                Ended::Either => {
                    certain = false;
                    self.perhaps(branch)?;
                }
                Ended::Exit => return Ok(Ended::Exit),
            }
        }
        if certain { self.run(otherwise) } else { self.perhaps(otherwise) }
    }

    fn case(&mut self, word: &Word, arms: &[(Vec<Word>, Command)]) -> Result<Ended, String> {
        let value = self.value(word).ok_or("it decides by what is not known")?;
        for (patterns, command) in arms {
            for pattern in patterns {
                let pattern = pattern.literal().ok_or("it has a pattern that is not known")?;
                let is_plain = !pattern.contains(['*', '?', '[']);
                if pattern == "*" || is_plain && pattern == value {
                    return self.run(command);
                }
                if !is_plain {
                    return Err(format!("it has the pattern `{pattern}`"));
                }
            }
        }
        Ok(Ended::True)
    }

    fn simple(&mut self, assignments: &[(String, Word)], words: &[Word], writes: bool) -> Result<Ended, String> {
        let Some(first) = words.first() else {
            for (name, word) in assignments {
                let value = self.value(word);
                self.parameters.insert(name.clone(), value);
            }
            return if writes { Err("it writes a file".to_owned()) } else { Ok(Ended::True) };
        };
        let name = self.value(first).ok_or("it runs what is not known")?;
        let name = name.rsplit_once('/').map_or(name.as_str(), |(_, name)| name).to_owned();
        if writes {
            return Err(format!("`{name}` writes a file"));
        }
        let arguments = &words[1..];
        let values: Option<Vec<String>> = arguments.iter().map(|word| self.value(word)).collect();
        match name.as_str() {
            ":" | "true" | "echo" | "printf" | "umask" => Ok(Ended::True),
            "set" => match values.as_deref() {
                Some([option, ..]) if option != "--" => Ok(Ended::True),
                _ => Err("it sets its arguments".to_owned()),
            },
            "export" | "unset" | "local" => {
                for word in arguments {
                    let name = word.pieces.first().and_then(|piece| match piece {
                        Piece::Literal(text) => text.split('=').next(),
                        _ => None,
                    });
                    self.parameters.insert(name.unwrap_or_default().to_owned(), None);
                }
                Ok(Ended::True)
            }
            "false" => Ok(Ended::False),
            "exit" => match values.as_deref() {
                None | Some([]) => Ok(Ended::Exit),
                Some([code]) if code == "0" => Ok(Ended::Exit),
                Some(_) => Err("it fails".to_owned()),
            },
            "[" | "test" => Ok(self.test(arguments, name == "[")),
            "dpkg" => {
                let values = values.ok_or("`dpkg` is asked what is not known")?;
                Ok(Ended::of(conditions::compare(&values).map(Some)?))
            }
            "update-alternatives" => {
                let values = values.ok_or("`update-alternatives` gets what is not known")?;
                self.effects.extend(super::alternatives::read(&values)?.map(Effect::Alternative));
                Ok(Ended::True)
            }
            "command" if values.as_ref().is_none_or(|values| values.first().is_none_or(|first| first != "-v")) => {
                Err("`command` runs something".to_owned())
            }
            idle if IDLE.contains(&idle) => Ok(Ended::Either),
            other => Err(format!("`{other}` is not known")),
        }
    }

    fn test(&self, words: &[Word], has_bracket: bool) -> Ended {
        let mut values: Vec<Option<String>> = words.iter().map(|word| self.value(word)).collect();
        if has_bracket {
            values.pop();
        }
        let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
        Ended::of(conditions::test(&values, self.tree))
    }

    /// What `word` stands for; `None` where that is not known.
    fn value(&self, word: &Word) -> Option<String> {
        let mut value = String::new();
        for piece in &word.pieces {
            match piece {
                Piece::Literal(text) => value.push_str(text),
                Piece::Unknown => return None,
                Piece::Parameter(name) => {
                    let known = match self.parameters.get(name) {
                        Some(known) => known.as_deref()?,
                        // dpkg sets it to nothing when it installs into the root.
                        None if name == "DPKG_ROOT" => "",
                        None => return None,
                    };
                    // Without quotes it would be split, or vanish.
                    if !word.quoted && (known.is_empty() && word.pieces.len() == 1 || known.contains([' ', '*', '?'])) {
                        return None;
                    }
                    value.push_str(known);
                }
            }
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    fn followed(script: &str) -> Result<Vec<Effect>, String> {
        follow(&format!("#!/bin/sh\nset -e\n{script}"), "configure", &tree(&["usr/", "usr/bin/", "usr/bin/less"]))
    }

    fn alternatives(script: &str) -> Vec<String> {
        let name = |effect: Effect| match effect {
            Effect::Alternative(alternative) => alternative.name,
            other => format!("{other:?}"),
        };
        followed(script).unwrap_or_else(|why| panic!("{why}: {script}")).into_iter().map(name).collect()
    }

    #[test]
    fn what_an_installation_does_is_found() {
        let install = "update-alternatives --quiet --install /usr/bin/pager pager /usr/bin/less 77 --slave /a b /c";
        for script in [
            format!("case \"$1\" in\n configure)\n  {install}\n;;\n *)\n echo no >&2\n exit 1\n;;\nesac\n"),
            format!("if [ \"$1\" = \"configure\" ] || [ \"$1\" = \"abort-upgrade\" ]; then {install}; fi"),
            format!("if [ \"$1\" != upgrade ]; then\n{install}\nfi\nexit 0"),
            format!("action=\"$1\"\nif [ \"$action\" = configure -a -z \"$2\" ]; then {install}; fi"),
            format!("[ \"$1\" = configure ] || exit 0\nif test -x /usr/bin/less; then {install}; fi"),
        ] {
            assert_eq!(alternatives(&script), ["pager"], "{script}");
        }
    }

    #[test]
    fn what_needs_nothing_in_an_image_is_passed_over() {
        for script in [
            "",
            "if [ \"$1\" = configure ] && [ -x \"`which update-mime 2> /dev/null`\" ]; then\n update-mime\nfi",
            "if test \"$1\" = upgrade && dpkg --compare-versions \"$2\" lt 1; then rm -rf /; fi",
            "if [ \"$1\" = configure ] && dpkg --compare-versions \"$2\" lt-nl 1.0; then rm -rf /; fi",
            "# Automatically added by dh_installsystemd/13\nanything (at all\n# End automatically added section\n",
            "if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi\ndeb-systemd-helper enable x || true",
            "f() { rm -rf /; }\nexit 0\nf",
            "if [ ! -e /usr/bin/less ]; then ln -s a b; fi",
            "dpkg-maintscript-helper rm_conffile /etc/x 1:2~ -- \"$@\"",
        ] {
            assert!(alternatives(script).is_empty(), "{script}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for script in [
            "rm -rf /",
            ". /usr/share/debconf/confmodule",
            "f() { rm -rf /; }\nf",
            "if [ -e /usr/bin/less ]; then useradd x; fi",
            "if grep -q x /etc/passwd; then true; fi",
            "for x in a b; do echo $x; done",
            "echo x > /etc/x",
            "(cd /; true)",
            "$UNKNOWN",
            "case \"$UNKNOWN\" in *) ;; esac",
            "case \"$1\" in conf*) ;; esac",
            "set -- upgrade",
            "# Automatically added by dh_unheard_of/1\nrm -rf /\n# End automatically added section\n",
            "if which foo; then update-alternatives --install /a b /c 1; fi",
            "exit 1",
            "if [ \"$1\" = configure",
        ] {
            assert!(followed(script).is_err(), "{script}");
        }
        assert!(follow("#!/usr/bin/perl\n", "configure", &tree(&[])).is_err());
    }
}
