//! The layer of what was installed: each path once, sorted, and the directories above it as the base has them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::{Deserialize, Serialize};

use super::Installed;
use super::error::Error;
use super::tree::{Content, Node};
use crate::build::accounts::AccountFiles;
use crate::oci::digest::HashingWriter;
use crate::oci::tar::{Entry, Kind, TarWriter};
use crate::oci::{Compression, Digest, Layout};
use crate::supply::Component;

/// What has to be known of a system that Debian packages were installed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Its accounts.
    pub accounts: AccountFiles,
    /// All Debian packages, the base's included.
    pub packages: Vec<Component>,
}

/// A layer of Debian packages, and the system with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the uncompressed blob.
    pub diff_id: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the uncompressed blob.
    pub unpacked_size: u64,
    /// The system with it.
    pub system: System,
}

impl Installed {
    /// Writes the layer into `layout`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(mut self, layout: &Layout, compression: Compression) -> Result<Written, Error> {
        let failed = Error::write(layout.path());
        let encoder = compression.encoder(layout.writer()?).map_err(&failed)?;
        let mut tar = TarWriter::new(HashingWriter::new(encoder));
        let mut first_names: BTreeMap<u64, String> = BTreeMap::new();
        for (path, node) in self.entries() {
            let (kind, source) = match &node.content {
                Content::Directory | Content::BaseSpecial => (Kind::Directory, None),
                Content::Symlink(target) => (Kind::Symlink(target.clone()), None),
                // A whiteout: an empty file of a certain name.
                Content::BaseFile => (Kind::File(0), None),
                Content::File(start, size) => match first_names.get(start) {
                    Some(first) => (Kind::Hardlink(first.clone()), None),
                    None => {
                        first_names.insert(*start, path.clone());
                        (Kind::File(*size), Some((*start, *size)))
                    }
                },
            };
            let (uid, gid) = (node.uid.into(), node.gid.into());
            let entry = Entry { path, kind, mode: node.mode, uid, gid, mtime: node.mtime };
            let appended = match source {
                Some((start, size)) => self.tree.read(start, size).and_then(|content| tar.append(&entry, content)),
                None => tar.append(&entry, io::empty()),
            };
            appended.map_err(&failed)?;
        }
        let (encoder, diff_id, unpacked_size) = tar.end().map_err(&failed)?.finish();
        let (digest, size) = encoder.finish().map_err(&failed)?.commit()?;
        let system = System { accounts: self.accounts.files(&self.tree), packages: self.packages };
        Ok(Written { digest, diff_id, size, unpacked_size, system })
    }

    /// What the layer has: paths that were added or changed, those that are gone, and the directories above.
    fn entries(&self) -> Vec<(String, Node)> {
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        let added: Vec<&str> = self.tree.iter().filter(|(_, node)| node.added).map(|(path, _)| path).collect();
        let gone = self.tree.gone.iter().map(String::as_str).filter(|path| self.tree.get(path).is_none());
        let gone: Vec<&str> = gone.collect();
        for path in added.iter().chain(&gone) {
            wanted.extend(path.match_indices('/').map(|(end, _)| &path[..end]));
        }
        wanted.extend(added);
        let mut entries: BTreeMap<String, Node> =
            wanted.into_iter().filter_map(|path| Some((path.to_owned(), self.tree.get(path)?.clone()))).collect();
        for path in gone {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let whiteout = if folder.is_empty() { format!(".wh.{name}") } else { format!("{folder}/.wh.{name}") };
            let node = Node {
                content: Content::BaseFile,
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: self.time,
                owner: super::Owner::Nobody,
                added: true,
            };
            entries.insert(whiteout, node);
        }
        entries.into_iter().collect()
    }
}
