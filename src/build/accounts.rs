//! The files that say which accounts a system has (passwd(5), group(5), shadow(5), gshadow(5)), and what they are with
//! the account of an image's user.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::render::Account;

/// The files, relative to the root.
pub const FILES: [&str; 4] = [PASSWD, GROUP, SHADOW, GSHADOW];
const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";
const SHADOW: &str = "etc/shadow";
const GSHADOW: &str = "etc/gshadow";

/// One of these files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFile {
    /// Its content.
    pub text: String,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// Those that a system has, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFiles(pub BTreeMap<String, AccountFile>);

impl AccountFiles {
    /// The files with `account` and its group, instead of accounts and groups of its name or number (as Ubuntu's `ubuntu`).
    /// There are shadows only where the system has them: they keep their modes and owners, and have no password for the
    /// account, nor a day of its last change, which would be a clock's.
    pub fn with(&self, account: &Account) -> BTreeMap<&'static str, AccountFile> {
        let Account { name, uid, gid, home, shell } = account;
        let text = |path: &str, default| self.0.get(path).map_or(default, |file| file.text.as_str());
        let (mut passwd, gone) = without(text(PASSWD, "root:x:0:0:root:/root:/bin/bash\n"), name, *uid);
        passwd.push_str(&format!("{name}:x:{uid}:{gid}::{home}:{shell}\n"));
        let (group, gone_groups) = without(text(GROUP, "root:x:0:\n"), name, *gid);
        let group = without_members(&group, 3, &gone) + &format!("{name}:x:{gid}:\n");
        let open = |text| AccountFile { text, mode: 0o644, uid: 0, gid: 0 };
        let mut files = BTreeMap::from([(PASSWD, open(passwd)), (GROUP, open(group))]);
        if let Some(shadow) = self.0.get(SHADOW) {
            let text = without_names(&shadow.text, name, &gone) + &format!("{name}:!::0:99999:7:::\n");
            files.insert(SHADOW, AccountFile { text, ..shadow.clone() });
        }
        if let Some(shadow) = self.0.get(GSHADOW) {
            let text = without_names(&shadow.text, name, &gone_groups);
            let text = without_members(&without_members(&text, 2, &gone), 3, &gone);
            files.insert(GSHADOW, AccountFile { text: text + &format!("{name}:!::\n"), ..shadow.clone() });
        }
        files
    }
}

/// The lines that are neither of `name` nor of `number`, their third field, and the names of the others.
fn without(text: &str, name: &str, number: u64) -> (String, Vec<String>) {
    let is_same = |line: &&str| {
        let mut fields = line.split(':');
        fields.next() == Some(name) || fields.nth(1).and_then(|field| field.parse().ok()) == Some(number)
    };
    let (removed, kept): (Vec<&str>, Vec<&str>) = text.lines().partition(is_same);
    let names = removed.iter().filter_map(|line| line.split(':').next()).map(str::to_owned).collect();
    (kept.iter().flat_map(|line| [*line, "\n"]).collect(), names)
}

/// The lines that are neither of `name` nor of those who are `gone`.
fn without_names(text: &str, name: &str, gone: &[String]) -> String {
    let is_kept = |line: &&str| {
        let first = line.split(':').next().unwrap_or_default();
        first != name && gone.iter().all(|gone| gone != first)
    };
    text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

/// The lines without those who are `gone` in the list of names that is the field `index` of four. Lines of another shape
/// stay as they are.
fn without_members(text: &str, index: usize, gone: &[String]) -> String {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields.len() != 4 {
            return format!("{line}\n");
        }
        let members = fields[index].split(',').filter(|member| gone.iter().all(|gone| gone != member));
        let members = members.collect::<Vec<_>>().join(",");
        fields[index] = &members;
        format!("{}\n", fields.join(":"))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str, u32)]) -> BTreeMap<&'static str, AccountFile> {
        let account = Account {
            name: "jovyan".into(),
            uid: 1000,
            gid: 1000,
            home: "/home/jovyan".into(),
            shell: "/bin/bash".into(),
        };
        let file = |(path, text, mode): &(&str, &str, u32)| {
            let gid = if path.ends_with("shadow") { 42 } else { 0 };
            ((*path).to_owned(), AccountFile { text: (*text).to_owned(), mode: *mode, uid: 0, gid })
        };
        AccountFiles(files.iter().map(file).collect()).with(&account)
    }

    #[test]
    fn an_account_of_the_same_number_gives_way() {
        let files = with(&[
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\nodd line\n",
                0o644,
            ),
            ("etc/group", "root:x:0:\nadm:x:4:syslog,ubuntu\nubuntu:x:1000:\nodd line\n", 0o644),
            ("etc/shadow", "root:*:19000:0:99999:7:::\nubuntu:!:19001:0:99999:7:::\nodd line", 0o640),
            ("etc/gshadow", "root:*::\nadm:*:ubuntu:syslog,ubuntu\nubuntu:!::\n", 0o640),
        ]);
        let expected = [
            ("etc/group", "root:x:0:\nadm:x:4:syslog\nodd line\njovyan:x:1000:\n", (0o644, 0)),
            ("etc/gshadow", "root:*::\nadm:*::syslog\njovyan:!::\n", (0o640, 42)),
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\nodd line\njovyan:x:1000:1000::/home/jovyan:/bin/bash\n",
                (0o644, 0),
            ),
            ("etc/shadow", "root:*:19000:0:99999:7:::\nodd line\njovyan:!::0:99999:7:::\n", (0o640, 42)),
        ];
        let found: Vec<_> =
            files.iter().map(|(path, file)| (*path, file.text.as_str(), (file.mode, file.gid))).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_account_of_the_same_name_gives_way_in_every_file() {
        let files = with(&[
            ("etc/passwd", "jovyan:x:7:7::/:/bin/sh\n", 0o644),
            ("etc/group", "jovyan:x:7:\n", 0o644),
            ("etc/shadow", "jovyan:secret:1::::::\n", 0),
        ]);
        assert_eq!(files["etc/passwd"].text, "jovyan:x:1000:1000::/home/jovyan:/bin/bash\n");
        assert_eq!((files["etc/shadow"].text.as_str(), files["etc/shadow"].mode), ("jovyan:!::0:99999:7:::\n", 0));
        assert!(!files.contains_key("etc/gshadow"), "the base has none");
    }

    #[test]
    fn a_base_without_accounts_gets_root_and_no_shadows() {
        let files = with(&[]);
        let passwd = &files["etc/passwd"].text;
        assert!(passwd.starts_with("root:x:0:0:") && passwd.contains("\njovyan:x:1000:1000:"), "{passwd}");
        assert_eq!(files["etc/group"].text, "root:x:0:\njovyan:x:1000:\n");
        assert_eq!(files.len(), 2);
    }
}
