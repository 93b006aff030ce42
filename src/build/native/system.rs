//! The last layer: what an image has besides packages. The user's account, the home directory, esker's own files, and
//! each environment's `conda-meta/history`. Small, so that changing any of it costs no one a download.

use std::collections::BTreeMap;

use super::error::Error;
use super::layer::{Made, compressed};
use super::paths::PrefixPath;
use crate::build::accounts::{AccountFile, AccountFiles};
use crate::oci::tar::{Entry, Kind, TarWriter};
use crate::oci::{Compression, Digest, Layout};
use crate::render::ImageContent;

/// What goes into the last layer.
pub struct SystemLayer<'a> {
    /// Files and account.
    pub content: &'a ImageContent,
    /// Accounts of the system below.
    pub accounts: &'a AccountFiles,
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
        for (path, AccountFile { text, mode, uid, gid }) in self.accounts.with(account) {
            files.insert(path.to_owned(), File { content: text.into_bytes(), mode, owner: (uid.into(), gid.into()) });
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
