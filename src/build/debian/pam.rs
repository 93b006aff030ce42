//! `/etc/pam.d/common-*`: who may log in and how, put together of what packages offer, as `pam-auth-update` does it on a
//! new system (pam-auth-update(8)): every profile that says that it is the default is taken.

use std::collections::BTreeMap;

use super::error::Error;
use super::tree::Tree;

/// Where packages put their profiles, relative to the root.
const PROFILES: &str = "usr/share/pam-configs";
/// Where the files begin from.
const TEMPLATES: &str = "usr/share/pam";
/// Where is noted what was written.
const STATE: &str = "var/lib/pam";
/// The files: name, the field of profiles, its keyword in lines, how places in the template begin.
const TYPES: [(&str, &str, &str, &str); 5] = [
    ("auth", "Auth", "auth", "auth"),
    ("account", "Account", "account", "account"),
    ("password", "Password", "password", "password"),
    ("session", "Session", "session", "session"),
    ("session-noninteractive", "Session", "session", "session_nonint"),
];
/// What stands where no package has a primary module.
const NONE: &str = "[default=1]\t\t\tpam_permit.so";

/// What a package offers: values by field, of several lines some.
#[derive(Clone, Debug, Default)]
struct Profile {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Profile {
    fn read(name: &str, text: &str) -> Self {
        let mut profile = Self { name: name.to_owned(), fields: BTreeMap::new() };
        let mut field = String::new();
        for line in text.lines() {
            if let Some(more) = line.strip_prefix(['\t', ' ']) {
                let value = profile.fields.entry(field.clone()).or_default();
                value.push_str(more.trim());
                value.push('\n');
            } else if let Some((name, value)) = line.split_once(':') {
                name.clone_into(&mut field);
                profile.fields.insert(field.clone(), value.trim().to_owned());
            }
        }
        profile
    }

    fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    fn priority(&self) -> i64 {
        self.get("Priority").parse().unwrap_or_default()
    }

    /// The lines of its modules for the file `name`; those that come first in a block have others, if they say so.
    fn lines(&self, (name, field): (&str, &str), block: &str, is_first: bool) -> Vec<&str> {
        let interactive = self.get("Session-Interactive-Only") == "yes";
        if self.get(&format!("{field}-Type")) != block || interactive && name == "session-noninteractive" {
            return Vec::new();
        }
        let initial = self.get(&format!("{field}-Initial"));
        let lines = if is_first && !initial.is_empty() { initial } else { self.get(field) };
        lines.lines().filter(|line| !line.is_empty()).collect()
    }
}

/// Writes the files of a new system.
///
/// # Errors
/// When the temporary file cannot be read or written.
pub fn update(tree: &mut Tree, time: u64) -> Result<(), Error> {
    let paths: Vec<String> = tree.below(PROFILES).map(|(path, _)| path.to_owned()).collect();
    let mut profiles = Vec::new();
    for path in paths {
        let Some(bytes) = tree.added_bytes(&path)? else { continue };
        let name = path.rsplit('/').next().unwrap_or_default();
        profiles.push(Profile::read(name, &String::from_utf8_lossy(&bytes)));
    }
    profiles.sort_by(|a, b| b.priority().cmp(&a.priority()).then_with(|| a.name.cmp(&b.name)));
    let seen: String = profiles.iter().map(|profile| format!("{}\n", profile.name)).collect();
    tree.write(&format!("{STATE}/seen"), seen.as_bytes(), 0o644, time)?;
    profiles.retain(|profile| profile.get("Default") == "yes");
    for (name, field, keyword, place) in TYPES {
        let Some(template) = tree.added_bytes(&format!("{TEMPLATES}/common-{name}"))? else { continue };
        let mut text = String::from_utf8_lossy(&template).into_owned();
        let mut state = String::new();
        for block in ["Primary", "Additional"] {
            let modules = modules(&profiles, (name, field), block);
            let at = format!("${place}_{}\n", block.to_ascii_lowercase());
            text = text.replacen(&at, &configured(&modules, keyword), 1);
            state.push_str(&noted(&modules));
        }
        tree.write(&format!("etc/pam.d/common-{name}"), text.as_bytes(), 0o644, time)?;
        tree.write(&format!("{STATE}/{name}"), state.as_bytes(), 0o644, time)?;
    }
    Ok(())
}

/// The profile and line of each module of a block, in order.
fn modules<'a>(profiles: &'a [Profile], of: (&str, &str), block: &str) -> Vec<(&'a str, &'a str)> {
    let mut modules: Vec<(&str, &str)> = Vec::new();
    for profile in profiles {
        let lines = profile.lines(of, block, modules.is_empty());
        modules.extend(lines.into_iter().map(|line| (profile.name.as_str(), line)));
    }
    if modules.is_empty() && block == "Primary" { vec![("null", NONE)] } else { modules }
}

/// Lines of a block as they stand in a file: `end` is how many modules are left to jump over.
fn configured(modules: &[(&str, &str)], keyword: &str) -> String {
    let mut text = String::new();
    for (index, (profile, line)) in modules.iter().enumerate() {
        let jump = format!("={}", modules.len() - index);
        let line = line.replace("=end", &jump);
        // Control and module, then options; as the program leaves it, a module without options ends in a space.
        let control = line.find(']').filter(|_| line.starts_with('[')).map_or(0, |end| end + 1);
        let module = control + line[control..].find(".so").map_or(line.len() - control, |end| end + 3);
        let (module, options) = line.split_at(module);
        let space = if *profile == "null" { "" } else { " " };
        text.push_str(&format!("{keyword}\t{module}{space}{}\n", options.trim()));
    }
    text
}

/// Lines of a block as they are noted, below the name of their profile.
fn noted(modules: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut last = "";
    for (profile, line) in modules {
        if *profile != last {
            text.push_str(&format!("Module: {profile}\n"));
            last = profile;
        }
        text.push_str(&format!("{line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    const UNIX: &str = "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\
        \t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\nAuth-Initial:\n\
        \t[success=end default=ignore]\tpam_unix.so nullok\nSession-Type: Additional\nSession:\n\trequired\tpam_unix.so\n";
    const CAP: &str = "Name: Caps\nDefault: yes\nPriority: 0\nAuth-Type: Additional\nAuth:\n\toptional\tpam_cap.so\n";
    const HOME: &str =
        "Name: Home\nDefault: no\nPriority: 0\nSession-Type: Additional\nSession:\n\toptional\tpam_x.so\n";
    const OTHER: &str = "Name: Other\nDefault: yes\nPriority: 128\nAuth-Type: Primary\nAuth:\n\
        \t[success=end default=ignore]\tpam_o.so again\nAuth-Initial:\n\t[success=end]\tpam_o.so\n\
        Session-Interactive-Only: yes\nSession-Type: Additional\nSession:\n\toptional\tpam_o.so\n";

    fn updated(profiles: &[(&str, &str)]) -> Tree {
        let mut tree = tree(&["etc/", "usr/", "usr/share/"]);
        for (name, text) in profiles {
            tree.write(&format!("{PROFILES}/{name}"), text.as_bytes(), 0o644, 1).unwrap();
        }
        for (name, _, keyword, place) in TYPES {
            let text = format!("# head\n${place}_primary\n{keyword} deny\n${place}_additional\n# end\n");
            tree.write(&format!("{TEMPLATES}/common-{name}"), text.as_bytes(), 0o644, 1).unwrap();
        }
        update(&mut tree, 5).unwrap();
        tree
    }

    fn text(tree: &mut Tree, path: &str) -> String {
        String::from_utf8(tree.added_bytes(path).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn profiles_are_put_together_by_their_priority() {
        let mut tree = updated(&[("unix", UNIX), ("mkhome", HOME), ("cap", CAP), ("other", OTHER)]);
        assert_eq!(
            text(&mut tree, "etc/pam.d/common-auth"),
            "# head\nauth\t[success=2 default=ignore]\tpam_unix.so nullok\nauth\t[success=1 default=ignore]\tpam_o.so again\n\
             auth deny\nauth\toptional\tpam_cap.so \n# end\n"
        );
        let none = "session\t[default=1]\t\t\tpam_permit.so\n";
        let unix = "session\trequired\tpam_unix.so \n";
        let other = "session\toptional\tpam_o.so \n";
        assert_eq!(
            text(&mut tree, "etc/pam.d/common-session"),
            format!("# head\n{none}session deny\n{unix}{other}# end\n")
        );
        assert_eq!(
            text(&mut tree, "etc/pam.d/common-session-noninteractive"),
            format!("# head\n{none}session deny\n{unix}# end\n")
        );
        assert_eq!(text(&mut tree, "var/lib/pam/seen"), "unix\nother\ncap\nmkhome\n");
        assert_eq!(
            text(&mut tree, "var/lib/pam/session"),
            "Module: null\n[default=1]\t\t\tpam_permit.so\nModule: unix\nrequired\tpam_unix.so\nModule: other\noptional\tpam_o.so\n"
        );
    }
}
