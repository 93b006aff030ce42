//! `/etc/passwd`, `/etc/group` and their shadows, with users and groups added (passwd(5), group(5), shadow(5)).

use std::collections::BTreeMap;

use super::error::Error;
use super::tree::Tree;
use crate::build::accounts::{AccountFile, AccountFiles, FILES};

/// The accounts that are the same everywhere (base-passwd), for `/etc/passwd` and `/etc/group`.
const MASTERS: [(&str, &str); 2] =
    [("etc/passwd", "usr/share/base-passwd/passwd.master"), ("etc/group", "usr/share/base-passwd/group.master")];
/// Group `shadow`, which reads the files with passwords (Debian policy 9.2.2).
const SHADOW: u32 = 42;
/// Numbers of users that packages make (Debian policy 9.2.2).
const DYNAMIC: std::ops::Range<u32> = 100..1000;

/// Accounts of the base, and what is added to them.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    files: BTreeMap<&'static str, String>,
    changed: bool,
}

impl Accounts {
    /// The accounts in `files` of a base. A base may have no shadows.
    pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let text = |path: &&'static str| {
            let bytes = files.get(*path)?;
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            Some((*path, text))
        };
        Self { files: FILES.iter().filter_map(text).collect(), changed: false }
    }

    /// Makes the accounts that every system has, with their passwords in files of their own, where there are none.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn make(&mut self, tree: &mut Tree) -> Result<(), Error> {
        for (path, master) in MASTERS {
            let Some(bytes) = tree.added_bytes(master)?.filter(|_| !self.files.contains_key(path)) else { continue };
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (mut visible, mut hidden) = (String::new(), String::new());
            for line in text.lines() {
                let mut fields: Vec<&str> = line.split(':').collect();
                let [name, password, ..] = fields[..] else { continue };
                // Of its last change is no day: that would be a clock's.
                let rest = if path == "etc/passwd" { ":0:99999:7:::" } else { ":" };
                hidden.push_str(&format!("{name}:{password}:{rest}\n"));
                fields[1] = "x";
                visible.push_str(&format!("{}\n", fields.join(":")));
            }
            let shadow = if path == "etc/passwd" { "etc/shadow" } else { "etc/gshadow" };
            self.files.extend([(path, visible), (shadow, hidden)]);
            self.changed = true;
        }
        Ok(())
    }

    /// The files as they are now, and as they are in `tree`, which they were written to.
    pub fn files(&self, tree: &Tree) -> AccountFiles {
        let file = |(path, text): (&&'static str, &String)| {
            let node = tree.get(path)?;
            let (mode, uid, gid) = (node.mode, node.uid, node.gid);
            Some(((*path).to_owned(), AccountFile { text: text.clone(), mode, uid, gid }))
        };
        AccountFiles(self.files.iter().filter_map(file).collect())
    }

    fn number(&self, file: &str, name: &str) -> Option<u32> {
        let line = self.files.get(file)?.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(2)?.parse().ok()
    }

    /// The number of the group `name`.
    pub fn group_id(&self, name: &str) -> Option<u32> {
        self.number("etc/group", name)
    }

    /// Adds a system group, unless there is one of the name: with the number `id`, else the lowest that is free.
    pub fn add_group(&mut self, name: &str, id: Option<u32>) {
        if self.group_id(name).is_none() {
            let id = id.unwrap_or_else(|| self.free());
            self.append("etc/group", &format!("{name}:x:{id}:\n"));
            self.append("etc/gshadow", &format!("{name}:!::\n"));
        }
    }

    /// Adds a system user of the group of its name, unless there is one of the name.
    pub fn add_user(&mut self, name: &str, id: Option<u32>, gecos: &str, home: &str, shell: &str) {
        if self.number("etc/passwd", name).is_some() {
            return;
        }
        let group = self.group_id(name);
        let taken = |id: u32| self.has("etc/passwd", id);
        let id = id.or(group.filter(|id| !taken(*id))).unwrap_or_else(|| self.free());
        let group = group.unwrap_or(id);
        self.append("etc/passwd", &format!("{name}:x:{id}:{group}:{gecos}:{home}:{shell}\n"));
        // Locked, and without a day of its last change, which would be a clock's.
        self.append("etc/shadow", &format!("{name}:!*:::::::\n"));
    }

    fn has(&self, file: &str, id: u32) -> bool {
        let text = self.files.get(file).map_or("", String::as_str);
        text.lines().any(|line| line.split(':').nth(2).and_then(|number| number.parse().ok()) == Some(id))
    }

    /// A number that is neither a user's nor a group's.
    fn free(&self) -> u32 {
        DYNAMIC
            .clone()
            .find(|id| !self.has("etc/passwd", *id) && !self.has("etc/group", *id))
            .unwrap_or(DYNAMIC.end - 1)
    }

    fn append(&mut self, file: &'static str, line: &str) {
        let is_shadow = file.ends_with("shadow");
        if is_shadow && !self.files.contains_key(file) {
            return;
        }
        self.files.entry(file).or_default().push_str(line);
        self.changed = true;
    }

    /// Writes what was changed.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn write(&self, tree: &mut Tree, time: u64) -> Result<(), Error> {
        if !self.changed {
            return Ok(());
        }
        for (path, text) in &self.files {
            let new = if path.ends_with("shadow") { (0o640, SHADOW) } else { (0o644, 0) };
            let (mode, gid) = tree.get(path).map_or(new, |node| (node.mode, node.gid));
            tree.write(path, text.as_bytes(), mode, time)?;
            if let Some(node) = tree.get_mut(path) {
                node.gid = gid;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::tree;
    use super::*;

    #[test]
    fn accounts_are_made_where_there_are_none() {
        let mut tree = tree(&["etc/"]);
        let masters =
            ["root:*:0:0:root:/root:/bin/bash\nbin:*:2:2:bin:/bin:/usr/sbin/nologin\n", "root:*:0:\nmail:*:8:\n"];
        for ((_, master), text) in MASTERS.iter().zip(masters) {
            tree.write(master, text.as_bytes(), 0o644, 1).unwrap();
        }
        let mut accounts = Accounts::default();
        accounts.make(&mut tree).unwrap();
        accounts.add_group("_new", None);
        accounts.write(&mut tree, 5).unwrap();
        for (path, mode, group, expected) in [
            ("etc/passwd", 0o644, 0, "root:x:0:0:root:/root:/bin/bash\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n"),
            ("etc/group", 0o644, 0, "root:x:0:\nmail:x:8:\n_new:x:100:\n"),
            ("etc/shadow", 0o640, 42, "root:*::0:99999:7:::\nbin:*::0:99999:7:::\n"),
            ("etc/gshadow", 0o640, 42, "root:*::\nmail:*::\n_new:!::\n"),
        ] {
            let node = tree.get(path).unwrap();
            assert_eq!((node.mode, node.gid), (mode, group), "{path}");
            assert_eq!(String::from_utf8(tree.added_bytes(path).unwrap().unwrap()).unwrap(), expected);
        }
    }

    #[test]
    fn accounts_are_added_once_with_numbers_that_are_free() {
        let files = [
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n_apt:x:100:65534::/nonexistent:/usr/sbin/nologin"),
            ("etc/group", "root:x:0:\nold:x:101:\n"),
            ("etc/shadow", "root:*:1::::::\n"),
        ];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
        let mut accounts = Accounts::read(&files);
        for _ in 0..2 {
            accounts.add_group("_ssh", None);
            accounts.add_group("messagebus", None);
            accounts.add_user("messagebus", None, "", "/nonexistent", "/usr/sbin/nologin");
            accounts.add_group("old", Some(7));
        }
        let mut tree = tree(&["etc/", "etc/passwd", "etc/group", "etc/shadow"]);
        tree.get_mut("etc/shadow").unwrap().gid = 42;
        accounts.write(&mut tree, 5).unwrap();
        let AccountFiles(written) = accounts.files(&tree);
        let text = |path: &str| written[path].text.as_str();
        assert!(text("etc/passwd").ends_with("nologin\nmessagebus:x:103:103::/nonexistent:/usr/sbin/nologin\n"));
        assert_eq!(text("etc/group"), "root:x:0:\nold:x:101:\n_ssh:x:102:\nmessagebus:x:103:\n");
        assert_eq!((written["etc/shadow"].gid, written.len()), (42, 3));
        let shadow = tree.added_bytes("etc/shadow").unwrap().unwrap();
        assert_eq!(String::from_utf8(shadow).unwrap(), "root:*:1::::::\nmessagebus:!*:::::::\n");
        assert_eq!(tree.get("etc/shadow").unwrap().gid, 42);
        assert!(tree.get("etc/gshadow").is_none(), "the base has none");
    }
}
