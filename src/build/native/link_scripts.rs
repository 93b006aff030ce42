//! Link scripts: what a package wants to run when it is installed.
//!
//! They are never run: they are written for a prefix that exists on a machine of the right kind. They stay in the
//! image as the files they are. A package whose script matters would be broken without it, so one that is neither known
//! to be harmless nor one whose effect is made otherwise ([`super::effects`]) is an error, which an image can overrule.

use std::collections::BTreeMap;

use super::archive::{Archive, Section, What};
use super::effects::{self, Effect};
use super::error::Error;
use super::package::{Info, read_all};
use super::paths::PrefixPath;

/// The texts of a package's link scripts, by their paths; nothing where one is too long or no text.
pub type Scripts = BTreeMap<PrefixPath, Option<String>>;

/// The largest script that is looked into, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;

/// Packages whose script is known, and known to do nothing in an image.
const KNOWN: [(&str, &str); 2] = [
    ("libusb", "works around a libudev that no system of the last ten years has"),
    ("ocl-icd", "links the OpenCL drivers of the machine that installs, which an image must not"),
];

/// Refuses packages with a `pre-link` or `post-link` script that might matter and is not in `skip`. Returns what is to be
/// made for known ones, by the package's name.
///
/// `pre-unlink` scripts run when a package is removed, which never happens to one in an image.
///
/// # Errors
/// [`Error::LinkScript`].
pub fn check<'a>(
    packages: impl IntoIterator<Item = (&'a Info, &'a Scripts)>,
    skip: &[String],
) -> Result<BTreeMap<String, Vec<Effect>>, Error> {
    let mut found = Vec::new();
    let mut effects: BTreeMap<String, Vec<Effect>> = BTreeMap::new();
    for (info, scripts) in packages {
        let name = info.index.name.as_normalized();
        if skip.iter().any(|skipped| skipped == name) || KNOWN.iter().any(|(known, _)| *known == name) {
            continue;
        }
        for script in scripts_of(info) {
            let text = scripts.get(script).and_then(Option::as_deref);
            match text.and_then(|text| effect(info, text)) {
                Some(made) => effects.entry(name.to_owned()).or_default().extend(made),
                None => found.push((name.to_owned(), script.to_string())),
            }
        }
    }
    let mut found = found.into_iter();
    let Some((package, script)) = found.next() else { return Ok(effects) };
    let mut others: Vec<_> = found.map(|(name, _)| name).filter(|name| *name != package).collect();
    others.dedup();
    Err(Error::LinkScript { package, script, others })
}

/// The link scripts of a package.
///
/// # Errors
/// When the archive is damaged.
pub fn read(archive: &Archive, info: &Info) -> Result<Scripts, Error> {
    let mut scripts: Scripts = scripts_of(info).map(|path| (path.clone(), None)).collect();
    if scripts.is_empty() {
        return Ok(scripts);
    }
    archive.walk(Section::Content, &mut |member| {
        if let What::File(size @ ..=MAX_SCRIPT, data) = member.what
            && let Some(text) = scripts.get_mut(&member.path)
        {
            *text = String::from_utf8(read_all(archive, &member.path, size, data)?).ok();
        }
        Ok(())
    })?;
    Ok(scripts)
}

/// The paths of the scripts that would run when the package `info` is installed.
fn scripts_of(info: &Info) -> impl Iterator<Item = &PrefixPath> {
    let name = info.index.name.as_normalized();
    let wanted = ["pre-link", "post-link"].map(|when| format!("bin/.{name}-{when}.sh"));
    info.paths.iter().map(|listed| &listed.path).filter(move |path| wanted.iter().any(|it| it == path.as_str()))
}

/// What is to be made for a script; `None` if it might matter in a way that is not known.
fn effect(info: &Info, script: &str) -> Option<Vec<Effect>> {
    if is_harmless(script) { Some(Vec::new()) } else { effects::known(info, script) }
}

/// Whether `script` does nothing but talk: `exit`, `true`, shell options, and `echo` to the terminal or to conda's
/// `.messages.txt`. Most scripts that are left in packages show a licence.
fn is_harmless(script: &str) -> bool {
    commands(script).is_some_and(|commands| {
        commands.iter().all(|command| {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            match words.as_slice() {
                [] | ["exit"] | ["exit", "0"] | ["true"] | [":"] => true,
                ["set", options @ ..] => options.iter().all(|word| word.starts_with('-') || *word == "pipefail"),
                ["echo", text @ .., ">>", "${PREFIX}/.messages.txt"] | ["echo", text @ ..] => !text.contains(&">>"),
                _ => false,
            }
        })
    })
}

/// The commands of `script`, each as its words, with `$PREFIX` spelled `${PREFIX}`; `None` if there is anything of the
/// shell's language in it besides quotes, comments, and appending to a file.
fn commands(script: &str) -> Option<Vec<Vec<String>>> {
    let script = script.replace("$PREFIX/", "${PREFIX}/").replace("\"$PREFIX\"", "\"${PREFIX}\"");
    let mut commands = vec![vec![]];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = script.as_str();
    while let Some(next) = rest.chars().next() {
        let known = ["${PREFIX}", ">>"].into_iter().find(|known| rest.starts_with(known));
        let taken = known.map_or(next.len_utf8(), str::len);
        match (quote, next) {
            (Some(open), close) if open == close => quote = None,
            (Some('\''), other) => word.get_or_insert_default().push(other),
            (_, '$') => word.get_or_insert_default().push_str(known?),
            (_, '`' | '\\') => return None,
            (Some(_), other) => word.get_or_insert_default().push(other),
            (None, '"' | '\'') => {
                quote = Some(next);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                commands.push(vec![]);
                continue;
            }
            (None, '\n' | ';') => {
                commands.last_mut()?.extend(word.take());
                commands.push(vec![]);
            }
            (None, '>') => {
                commands.last_mut()?.extend(word.take());
                commands.last_mut()?.push(known?.to_owned());
            }
            (None, '<' | '|' | '&' | '(' | ')' | '{' | '}' | '*' | '?' | '~' | '[' | '=') => return None,
            (None, space) if space.is_whitespace() => commands.last_mut()?.extend(word.take()),
            (None, other) => word.get_or_insert_default().push(other),
        }
        rest = &rest[if quote == Some('\'') && next != '\'' { next.len_utf8() } else { taken }..];
    }
    commands.last_mut()?.extend(word);
    quote.is_none().then_some(commands)
}

#[cfg(test)]
mod tests {
    use super::is_harmless;

    #[test]
    fn talk_is_harmless() {
        for script in [
            "",
            "#!/bin/bash\n\n# nothing\nexit 0\n",
            "#!/bin/sh\nset -ex\necho; echo \"Read the manual.\" >> \"${PREFIX}/.messages.txt\"\necho done >> $PREFIX/.messages.txt",
            "echo \"By using this you accept the terms (https://x.org/a?b=c);\n  all of them\" >> \"$PREFIX\"/.messages.txt # yes\n",
            "echo 'for $1 `only`' a#b",
        ] {
            assert!(is_harmless(script), "{script}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for script in [
            "rm -rf x",
            "echo $(rm x)",
            "echo `rm x`",
            "echo a > \"$PREFIX/etc/x\"",
            "echo a >> \"$PREFIX/etc/x\"",
            "echo a; rm x",
            "echo a && rm x",
            "echo a >> \"${PREFIX}/.messages.txt\"; rm x",
            "echorm",
            "echo a >> \"$PREFIX/.messages.txt\" >> x",
            "echo 'a' \"$(rm x)\"",
            "echo 'a\nrm x",
            "X=1 echo",
            "echo ${PREFIX}> x",
            "echo '${PREFIX}'`rm x`",
            "\"$PREFIX/bin/python\" -m thing",
        ] {
            assert!(!is_harmless(script), "{script}");
        }
    }
}
