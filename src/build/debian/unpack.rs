//! Puts the files of a package into the tree, as dpkg does it, and refuses what dpkg refuses and what no image needs.

use std::collections::BTreeMap;
use std::io::Read;

use rattler_digest::Md5;
use rattler_digest::digest::Digest as _;

use super::effects;
use super::error::Error;
use super::excludes::Excludes;
use super::package::Package;
use super::tree::{Content, Node, Owner, Tree};
use crate::apt::version::Version;
use crate::oci::entries::{EntryKind, LayerEntry};

/// Users and groups that are the same on every Debian system (Debian policy 9.2.2), and `nobody`.
const STATIC_IDS: std::ops::Range<u32> = 0..100;
const NOBODY: u32 = 65534;

/// What packages are unpacked into.
pub struct Target<'a> {
    /// The file system.
    pub tree: &'a mut Tree,
    /// What is left out.
    pub excludes: &'a Excludes,
    /// Versions of what the base has installed, by name.
    pub installed: &'a BTreeMap<String, Version>,
    /// Packages that diverted paths to others, by path as dpkg lists it.
    pub diverted: BTreeMap<String, String>,
    /// Paths that packages lost to others, as dpkg lists them, by package.
    pub lost: BTreeMap<String, Vec<String>>,
    /// Packages that are being installed and were unpacked before.
    pub before: Vec<Package>,
}

impl Target<'_> {
    /// Unpacks `package`.
    ///
    /// # Errors
    /// When the archive is damaged, or has a path that cannot be put into the image.
    pub fn unpack(&mut self, mut package: Package) -> Result<(), Error> {
        let deb = package.deb.clone();
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        package.list.push("/.".to_owned());
        deb.content(&mut |entry, content| {
            if entry.path.as_os_str().is_empty() {
                return Ok(());
            }
            let raw =
                entry.path.to_str().ok_or_else(|| fault(&package, &entry.path.to_string_lossy(), "is no UTF-8"))?;
            let listed = format!("/{raw}");
            package.list.push(listed.clone());
            if let Some(other) = self.diverted.get(&listed).filter(|other| *other != package.name()) {
                return Err(fault(&package, raw, &format!("is diverted by `{other}` (`dpkg-divert`)")));
            }
            if self.excludes.has(&listed) {
                return Ok(());
            }
            self.entry(&mut package, entry, raw, content, &mut links)
        })?;
        self.before.push(package);
        Ok(())
    }

    fn entry(
        &mut self,
        package: &mut Package,
        entry: &LayerEntry,
        raw: &str,
        content: &mut dyn Read,
        links: &mut BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let listed = format!("/{raw}");
        check(package, entry, raw)?;
        let path = self.tree.locate(raw).map_err(|why| fault(package, raw, &why))?;
        if entry.kind == EntryKind::Directory {
            return self.directory(package, entry, raw, &path);
        }
        let made = match &entry.kind {
            EntryKind::File => self.file(package, entry, &listed, content)?,
            EntryKind::Symlink(target) => {
                let target = target.to_str().ok_or_else(|| fault(package, raw, "leads to what is no UTF-8"))?;
                Content::Symlink(target.to_owned())
            }
            EntryKind::Hardlink(target) => {
                let target = target.to_str().and_then(|target| self.tree.locate(target).ok()).unwrap_or_default();
                let target = links.get(&target).cloned().unwrap_or(target);
                let is_own = |node: &&Node| node.added && node.owner == Owner::Package(package.name().to_owned());
                let node =
                    self.tree.get(&target).filter(is_own).filter(|node| matches!(node.content, Content::File(..)));
                let node =
                    node.ok_or_else(|| fault(package, raw, "is another name of a file that it does not have"))?;
                links.insert(path.clone(), target.clone());
                node.content.clone()
            }
            EntryKind::Directory | EntryKind::Special(_) => return Ok(()),
        };
        if self.may_have(package, &path, &listed)? {
            self.tree.insert(&path, node(entry, made, package));
        }
        Ok(())
    }

    fn directory(&mut self, package: &Package, entry: &LayerEntry, raw: &str, path: &str) -> Result<(), Error> {
        let leads_to_directory = |content: &Content| match content {
            Content::Directory => true,
            Content::Symlink(_) => self.tree.follow(path).is_some_and(|node| node.content == Content::Directory),
            _ => false,
        };
        match self.tree.get(path) {
            // A directory keeps the owner and mode it has: dpkg leaves it alone, and so does a link to one.
            Some(found) if leads_to_directory(&found.content) => Ok(()),
            Some(_) => Err(fault(package, raw, "is a directory, and something else in the base")),
            None => {
                self.tree.insert(path, node(entry, Content::Directory, package));
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        package: &mut Package,
        entry: &LayerEntry,
        listed: &str,
        content: &mut dyn Read,
    ) -> Result<Content, Error> {
        if !package.conffiles.contains(listed) {
            return self.tree.keep(content, entry.size).map_err(|source| package.deb.damaged(source));
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|source| package.deb.damaged(source))?;
        package.conffile_hashes.insert(listed.to_owned(), hex::encode(Md5::digest(&bytes)));
        self.tree.keep(&mut bytes.as_slice(), entry.size).map_err(|source| package.deb.damaged(source))
    }

    /// Whether `path` becomes the package's; not if it stays with one that replaces this, or was edited before.
    fn may_have(&mut self, package: &Package, path: &str, listed: &str) -> Result<bool, Error> {
        let Some(found) = self.tree.get(path) else { return Ok(true) };
        if matches!(found.content, Content::Directory | Content::BaseSpecial) {
            return Err(fault(package, path, "is a directory or a device in the base"));
        }
        let other = match &found.owner {
            // What somebody put where an administrator may, stays.
            Owner::Nobody => return Ok(!package.conffiles.contains(listed)),
            Owner::Package(other) if other == package.name() => return Ok(true),
            Owner::Package(other) => other.clone(),
        };
        let sibling = self.before.iter().find(|before| before.name() == other);
        let version = match sibling {
            Some(sibling) => sibling.deb.locked.version.parse().ok(),
            None => self.installed.get(&other).cloned(),
        };
        if package.replaces(&other, version.as_ref()) {
            self.lose(&other, path);
            return Ok(true);
        }
        let own: Option<Version> = package.deb.locked.version.parse().ok();
        if sibling.is_some_and(|sibling| sibling.replaces(package.name(), own.as_ref())) {
            self.lost.entry(package.name().to_owned()).or_default().push(listed.to_owned());
            return Ok(false);
        }
        let package = package.name().to_owned();
        Err(Error::FileConflict { package, other, path: path.to_owned() })
    }

    /// Takes `path` from the package `other`, whatever way dpkg's list of that spells it.
    fn lose(&mut self, other: &str, path: &str) {
        let mut spellings = vec![format!("/{path}")];
        spellings.extend(path.strip_prefix("usr/").map(|rest| format!("/{rest}")));
        self.lost.entry(other.to_owned()).or_default().extend(spellings);
    }
}

fn node(entry: &LayerEntry, content: Content, package: &Package) -> Node {
    Node {
        content,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        // Later than 2106 is nonsense, and not every unpacker takes it.
        mtime: entry.mtime.min(u32::MAX.into()),
        owner: Owner::Package(package.name().to_owned()),
        added: true,
    }
}

/// Refuses entries that no image should get from a package.
fn check(package: &Package, entry: &LayerEntry, raw: &str) -> Result<(), Error> {
    if matches!(entry.kind, EntryKind::Special(_)) {
        return Err(fault(package, raw, "is a device or a pipe, which layers of packages do not have"));
    }
    let is_whiteout = raw.rsplit('/').next().is_some_and(|name| name.starts_with(".wh."));
    if is_whiteout {
        return Err(fault(package, raw, "would remove a file from the image"));
    }
    let in_database = raw == "var/lib/dpkg" || raw.starts_with("var/lib/dpkg/");
    if in_database && entry.kind != EntryKind::Directory {
        return Err(fault(package, raw, "is in dpkg's own database"));
    }
    let set_id = entry.mode & 0o6000 != 0 && entry.kind == EntryKind::File;
    if set_id && !effects::may_set_id(package.name(), raw) {
        return Err(fault(package, raw, "would run as another user than who starts it (set-user-id or set-group-id)"));
    }
    for id in [entry.uid, entry.gid] {
        if !STATIC_IDS.contains(&id) && id != NOBODY {
            return Err(fault(
                package,
                raw,
                &format!("belongs to the user or group {id}, who is not the same everywhere"),
            ));
        }
    }
    Ok(())
}

fn fault(package: &Package, path: &str, fault: &str) -> Error {
    Error::Path { package: package.deb.locked.label(), path: path.to_owned(), fault: fault.to_owned() }
}
