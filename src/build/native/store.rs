//! The engine's cache directory: what was made once, by the digest of everything it was made from.
//!
//! Entries never change, so concurrent builds share them without locks: each writes a temporary file and renames it.
//! Temporary files lie in a directory of the run; while it lives, what it looked up stays (see [`crate::cache`]).

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

use super::error::Error;
use crate::cache::{self, Run};
use crate::oci::{Digest, canonical_json};

/// Part of every key. To be raised whenever the same input gives other bytes: a compressor's update, another order.
pub const FORMAT: u32 = 3;

/// The digest of `input`, which must hold everything that decides the bytes that are kept under it.
pub fn key<T: Serialize>(kind: &str, input: &T) -> Digest {
    Digest::of(&canonical_json(&(FORMAT, kind, input)))
}

/// The cache directory, and this run's place for temporary files in it.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    run: Run,
}

impl Store {
    /// Opens the cache at `root`, which is made when needed, and removes what killed runs left.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self { root: root.to_owned(), run: Run::begin(root)? })
    }

    /// Where the file `key` of `kind` is, or would be.
    pub fn path(&self, kind: &str, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.root.join(kind).join(&hex[..2]).join(hex)
    }

    /// What was kept under `key`, which stays while this run lives; `None` if nothing was, or if it is damaged.
    pub fn get<T: DeserializeOwned>(&self, kind: &str, key: &Digest) -> Option<T> {
        let path = self.note(kind, key);
        let bytes = cache::rely_on(&self.root, &path).then(|| fs_err::read(&path).ok()).flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Where what is known of the file `key` of `kind` is, or would be.
    pub fn note(&self, kind: &str, key: &Digest) -> PathBuf {
        self.path(kind, key).with_extension("json")
    }

    /// Says that these files of the cache were used, so that others go before them.
    pub fn mark_used<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        cache::touch_all(&self.root, paths);
    }

    /// Keeps `value` under `key`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put<T: Serialize>(&self, kind: &str, key: &Digest, value: &T) -> Result<(), Error> {
        let path = self.note(kind, key);
        let mut file = self.temporary()?;
        file.write_all(&canonical_json(value)).map_err(Error::write(&path))?;
        Self::persist(file, &path)
    }

    /// A temporary file that [`persist`](Self::persist) can move anywhere in the cache.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary(&self) -> Result<NamedTempFile, Error> {
        NamedTempFile::new_in(self.run.folder()).map_err(Error::write(self.run.folder()))
    }

    /// This run's directory for temporary files.
    pub fn scratch(&self) -> &Path {
        self.run.folder()
    }

    /// A temporary directory on the cache's file system.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary_directory(&self) -> Result<TempDir, Error> {
        TempDir::new_in(self.run.folder()).map_err(Error::write(self.run.folder()))
    }

    /// Gives `file` its name, at once.
    ///
    /// # Errors
    /// When the directory cannot be made or the file not be renamed.
    pub fn persist(file: NamedTempFile, path: &Path) -> Result<(), Error> {
        make_parent(path)?;
        file.persist(path).map_err(|error| Error::write(path)(error.error))?;
        Ok(())
    }
}

/// Makes the directory that `path` is in.
///
/// # Errors
/// When it cannot be made.
pub fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().expect("entries of the cache are below its root");
    fs_err::create_dir_all(parent).map_err(Error::write(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_values_come_back_and_damaged_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = key("test", &"input");
        assert_eq!(store.get::<Vec<u32>>("test", &key), None);
        store.put("test", &key, &vec![1, 2]).unwrap();
        assert_eq!(store.get::<Vec<u32>>("test", &key), Some(vec![1, 2]));
        fs_err::write(store.path("test", &key).with_extension("json"), "[1,").unwrap();
        assert_eq!(store.get::<Vec<u32>>("test", &key), None);
    }
}
