//! The engine's cache directory: what was made once, by the digest of everything it was made from.
//!
//! Entries never change, so concurrent builds share them without locks: each writes a temporary file and renames it.
//! Temporary files lie in a directory of the run, locked for as long as the run lives; what a killed run left behind
//! is removed by a later one.

use std::fs::TryLockError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fs_err::File;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::{NamedTempFile, TempDir};

use super::error::Error;
use crate::oci::{Digest, canonical_json};

/// Part of every key. To be raised whenever the same input gives other bytes: a compressor's update, another order.
pub const FORMAT: u32 = 1;

/// The digest of `input`, which must hold everything that decides the bytes that are kept under it.
pub fn key<T: Serialize>(kind: &str, input: &T) -> Digest {
    Digest::of(&canonical_json(&(FORMAT, kind, input)))
}

/// The cache directory, and this run's place for temporary files in it.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    run: TempDir,
    /// Held for the life of the run: says that `run` is in use.
    _lock: File,
}

impl Store {
    /// Opens the cache at `root`, which is made when needed, and removes what killed runs left.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let temporary = root.join("tmp");
        fs_err::create_dir_all(&temporary).map_err(Error::write(&temporary))?;
        remove_abandoned(&temporary);
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(&temporary).map_err(Error::write(&temporary))?;
        let lock_path = run.path().join("lock");
        let lock = File::create(&lock_path).map_err(Error::write(&lock_path))?;
        lock.file().lock().map_err(Error::write(&lock_path))?;
        Ok(Self { root: root.to_owned(), run, _lock: lock })
    }

    /// Where the file `key` of `kind` is, or would be.
    pub fn path(&self, kind: &str, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.root.join(kind).join(&hex[..2]).join(hex)
    }

    /// What was kept under `key`; `None` if nothing was, or if it is damaged.
    pub fn get<T: DeserializeOwned>(&self, kind: &str, key: &Digest) -> Option<T> {
        let bytes = fs_err::read(self.path(kind, key).with_extension("json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps `value` under `key`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put<T: Serialize>(&self, kind: &str, key: &Digest, value: &T) -> Result<(), Error> {
        let path = self.path(kind, key).with_extension("json");
        let mut file = self.temporary()?;
        file.write_all(&canonical_json(value)).map_err(Error::write(&path))?;
        Self::persist(file, &path)
    }

    /// A temporary file that [`persist`](Self::persist) can move anywhere in the cache.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary(&self) -> Result<NamedTempFile, Error> {
        NamedTempFile::new_in(self.run.path()).map_err(Error::write(self.run.path()))
    }

    /// This run's directory for temporary files.
    pub fn scratch(&self) -> &Path {
        self.run.path()
    }

    /// A temporary directory on the cache's file system.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary_directory(&self) -> Result<TempDir, Error> {
        TempDir::new_in(self.run.path()).map_err(Error::write(self.run.path()))
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

/// A run that has just made its directory has not locked it yet: very young ones are left alone.
const GRACE: Duration = Duration::from_secs(60);

fn remove_abandoned(temporary: &Path) {
    for entry in fs_err::read_dir(temporary).into_iter().flatten().flatten() {
        let path = entry.path();
        let young = entry
            .metadata()
            .and_then(|data| data.modified())
            .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age < GRACE));
        let in_use = File::open(path.join("lock"))
            .is_ok_and(|lock| matches!(lock.file().try_lock(), Err(TryLockError::WouldBlock)));
        if !young && !in_use {
            // Another run may be removing it as well; whatever stays is tried again next time.
            let _ = fs_err::remove_dir_all(&path);
        }
    }
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

    #[test]
    fn what_a_killed_run_left_is_removed_and_a_running_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let running = Store::open(folder.path()).unwrap();
        let dead = folder.path().join("tmp/run-dead");
        fs_err::create_dir_all(dead.join("sub")).unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        for path in [dead.as_path(), running.run.path()] {
            File::open(path).unwrap().file().set_modified(old).unwrap();
        }
        let _next = Store::open(folder.path()).unwrap();
        assert!(!dead.exists());
        assert!(running.run.path().exists());
    }
}
