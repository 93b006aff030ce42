//! Users that a package declares for systemd-sysusers (sysusers.d(5)), in the section that debhelper adds for them.

use super::effects::Effect;
use super::tree::Tree;

/// What adds the section.
pub const SECTION: &str = "dh_installsysusers";
/// Where the declarations are, relative to the root.
const FOLDER: &str = "usr/lib/sysusers.d";

/// The declarations that `script` has made.
///
/// # Errors
/// When the section is not as debhelper writes it, or names a file that is not there.
pub fn of_script(script: &str, tree: &Tree) -> Result<Vec<Effect>, String> {
    let mut effects = Vec::new();
    for section in script.split("# Automatically added by ").skip(1).filter(|section| section.starts_with(SECTION)) {
        let section = section.split("# End automatically added section").next().unwrap_or_default();
        let command = section.lines().find_map(|line| line.trim().strip_prefix("systemd-sysusers "));
        let files = command.ok_or_else(|| format!("the section of `{SECTION}` is not understood"))?;
        for file in files.split_whitespace().filter(|word| word.ends_with(".conf") && !word.contains('/')) {
            let path = format!("{FOLDER}/{file}");
            if tree.get(&path).is_none() {
                return Err(format!("`/{path}`, which declares users, is not there"));
            }
            effects.push(Effect::Declared(path));
        }
    }
    Ok(effects)
}

/// Users and groups that the lines of `text` declare.
///
/// # Errors
/// A line that is not understood.
pub fn read(text: &str) -> Result<Vec<Effect>, String> {
    let mut effects = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let fields = fields(line);
        let field =
            |index: usize| fields.get(index).map(String::as_str).filter(|field| !field.is_empty() && *field != "-");
        let unknown = || format!("`{line}` of sysusers.d is not understood");
        let name = field(1).ok_or_else(unknown)?.to_owned();
        let id =
            field(2).map(|id| id.split(':').next().unwrap_or_default().parse()).transpose().map_err(|_| unknown())?;
        match fields.first().map(|kind| kind.trim_end_matches('!')) {
            Some("g") => effects.push(Effect::Group { name, id }),
            Some("u") => {
                effects.push(Effect::Group { name: name.clone(), id });
                let gecos = field(3).unwrap_or_default().to_owned();
                let home = field(4).unwrap_or("/").to_owned();
                let shell = field(5).unwrap_or("/usr/sbin/nologin").to_owned();
                effects.push(Effect::User { name, id, gecos, home, shell });
            }
            // Ranges say where to take numbers from; a member of a group would have to be known to both.
            Some("r") => {}
            _ => return Err(unknown()),
        }
    }
    Ok(effects)
}

/// The fields of a line, of which some are in quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        fields.push(field.to_owned());
        rest = after.trim_start();
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    #[test]
    fn declarations_are_read() {
        let effects = read("# c\nu messagebus - \"System Message Bus\" /nonexistent\ng tape 26\n\nu a! - -\n");
        assert!(effects.is_ok(), "{effects:?}");
        let effects = effects.unwrap();
        assert_eq!(effects.len(), 5);
        assert_eq!(effects[2], Effect::Group { name: "tape".into(), id: Some(26) });
        for wrong in ["m a b", "u", "u x y", "z a -"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_section_names_a_file_that_is_there() {
        let script = "x\n# Automatically added by dh_installsysusers/13\nif [ a ]; then\n  systemd-sysusers \
                      ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} dbus.conf\nfi\n# End automatically added section\n";
        let here = tree(&["usr/lib/sysusers.d/dbus.conf"]);
        assert_eq!(of_script(script, &here).unwrap(), [Effect::Declared("usr/lib/sysusers.d/dbus.conf".into())]);
        assert!(of_script(script, &tree(&[])).is_err());
        assert!(of_script("", &here).unwrap().is_empty());
    }
}
