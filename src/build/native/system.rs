//! The last layer: what an image has besides packages. The user's account, the home directory, esker's own files, and
//! each environment's `conda-meta/history`. Small, so that changing any of it costs no one a download.

use std::collections::BTreeMap;

use super::error::Error;
use super::layer::{Made, compressed};
use super::paths::PrefixPath;
use crate::oci::tar::{Entry, Kind, TarWriter};
use crate::oci::{Compression, Digest, Layout};
use crate::render::{Account, ImageContent};

/// What goes into the last layer.
pub struct SystemLayer<'a> {
    /// Files and account.
    pub content: &'a ImageContent,
    /// `/etc/passwd` of the base.
    pub passwd: Option<&'a str>,
    /// `/etc/group` of the base.
    pub group: Option<&'a str>,
    /// More files of the account's owner, by their path relative to the root.
    pub owned: BTreeMap<String, Vec<u8>>,
    /// The time of all entries, in seconds since 1970.
    pub time: u64,
}

struct File {
    content: Vec<u8>,
    mode: u32,
    owner: (u64, u64),
}

impl SystemLayer<'_> {
    /// Writes the layer into `layout`.
    ///
    /// # Errors
    /// [`Error::AddedPath`] when a path is none; [`Error::Layout`].
    pub fn write(self, layout: &Layout, compression: Compression) -> Result<Made, Error> {
        let tar = self.tar()?;
        let (digest, size) = layout.put(&compressed(&tar, compression))?;
        Ok(Made { digest, diff_id: Digest::of(&tar), size, unpacked_size: tar.len() as u64 })
    }

    fn tar(&self) -> Result<Vec<u8>, Error> {
        let files = self.files()?;
        let mut entries: BTreeMap<&str, Option<&File>> = BTreeMap::new();
        let home = self.content.account.home.trim_start_matches('/');
        for path in files.keys().map(String::as_str).chain([home, "srv"]) {
            let above = path.match_indices('/').map(|(end, _)| (&path[..end], None));
            entries.extend(above.chain([(path, files.get(path))]));
        }
        let mut tar = TarWriter::new(Vec::new());
        for (path, file) in entries {
            let (kind, mode, (uid, gid), content) = match file {
                Some(file) => (Kind::File(file.content.len() as u64), file.mode, file.owner, file.content.as_slice()),
                None => (Kind::Directory, 0o755, self.owner_of(path, home), &[][..]),
            };
            let entry = Entry { path: path.to_owned(), kind, mode, uid, gid, mtime: self.time };
            tar.append(&entry, content).expect("memory takes it");
        }
        Ok(tar.end().expect("memory takes it"))
    }

    fn files(&self) -> Result<BTreeMap<String, File>, Error> {
        let mut files = BTreeMap::new();
        for file in &self.content.files {
            let path = PrefixPath::parse(file.path.as_bytes())
                .map_err(|fault| Error::AddedPath { path: file.path.clone(), fault })?;
            let (content, mode, owner) = (file.content.clone(), file.mode, file.owner);
            files.insert(path.into(), File { content, mode, owner });
        }
        let account = &self.content.account;
        for (path, content) in &self.owned {
            files.insert(
                path.clone(),
                File { content: content.clone(), mode: 0o644, owner: (account.uid, account.gid) },
            );
        }
        let (passwd, removed) = passwd(self.passwd, account);
        let group = group(self.group, account, &removed);
        for (path, content) in [("etc/passwd", passwd), ("etc/group", group)] {
            files.insert(path.to_owned(), File { content: content.into_bytes(), mode: 0o644, owner: (0, 0) });
        }
        Ok(files)
    }

    fn owner_of(&self, directory: &str, home: &str) -> (u64, u64) {
        let account = &self.content.account;
        let owned = ["srv", home]
            .iter()
            .any(|root| directory.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        if owned { (account.uid, account.gid) } else { (0, 0) }
    }
}

/// `/etc/passwd` with the account, instead of those with its name or number (as Ubuntu's `ubuntu`), whose names are
/// returned as well.
fn passwd(base: Option<&str>, account: &Account) -> (String, Vec<String>) {
    let Account { name, uid, gid, home, shell } = account;
    let base = base.unwrap_or("root:x:0:0:root:/root:/bin/bash\n");
    let is_same = |line: &&str| {
        let mut fields = line.split(':');
        fields.next() == Some(name) || fields.nth(1).and_then(|field| field.parse().ok()) == Some(*uid)
    };
    let (removed, kept): (Vec<&str>, Vec<&str>) = base.lines().partition(is_same);
    let mut text: String = kept.iter().flat_map(|line| [*line, "\n"]).collect();
    text.push_str(&format!("{name}:x:{uid}:{gid}::{home}:{shell}\n"));
    let names = removed.iter().filter_map(|line| line.split(':').next()).map(str::to_owned).collect();
    (text, names)
}

/// `/etc/group` with the account's own group, and without those who are gone.
fn group(base: Option<&str>, account: &Account, removed: &[String]) -> String {
    let Account { name, gid, .. } = account;
    let mut text = String::new();
    for line in base.unwrap_or("root:x:0:\n").lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [group, password, number, members] = fields[..] else {
            text.extend([line, "\n"]);
            continue;
        };
        if group == name || number.parse() == Ok(*gid) {
            continue;
        }
        let members: Vec<&str> =
            members.split(',').filter(|member| !removed.iter().any(|gone| gone == member)).collect();
        text.push_str(&format!("{group}:{password}:{number}:{}\n", members.join(",")));
    }
    text.push_str(&format!("{name}:x:{gid}:\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { name: "jovyan".into(), uid: 1000, gid: 1000, home: "/home/jovyan".into(), shell: "/bin/bash".into() }
    }

    #[test]
    fn an_account_of_the_same_number_gives_way() {
        let base = "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000:Ubuntu:/home/ubuntu:/bin/bash\nodd line\n";
        let (text, removed) = passwd(Some(base), &account());
        let expected = "root:x:0:0:root:/root:/bin/bash\nodd line\njovyan:x:1000:1000::/home/jovyan:/bin/bash\n";
        assert_eq!((text.as_str(), removed), (expected, vec!["ubuntu".to_owned()]));
        let base = "root:x:0:\nadm:x:4:syslog,ubuntu\nubuntu:x:1000:\n";
        assert_eq!(group(Some(base), &account(), &["ubuntu".into()]), "root:x:0:\nadm:x:4:syslog\njovyan:x:1000:\n");
    }

    #[test]
    fn a_base_without_accounts_gets_root() {
        let (text, removed) = passwd(None, &account());
        assert!(text.starts_with("root:x:0:0:") && text.contains("\njovyan:x:1000:1000:"), "{text}");
        assert!(removed.is_empty());
        assert_eq!(group(None, &account(), &[]), "root:x:0:\njovyan:x:1000:\n");
    }
}
