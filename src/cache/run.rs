//! Who is using the cache: a folder below `tmp` for each run, with a lock that the kernel takes back when the process
//! ends, however it ends.

use std::fs::TryLockError;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fs_err::File;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use tempfile::TempDir;

use super::{Cache, Error};

/// The folder of temporary files.
const TEMPORARY: &str = "tmp";
/// A run that was stopped between making its folder and locking it leaves it without a lock: very young ones are left
/// alone.
const GRACE: Duration = Duration::from_secs(60);

/// A use of the cache. While it lives, what is [relied on](rely_on) stays, and its folder of temporary files is its own.
#[derive(Debug)]
pub struct Run {
    folder: TempDir,
    /// Held for the life of the run.
    _lock: File,
}

impl Run {
    /// Says that the cache at `root`, which is made when needed, is in use, and removes what killed runs left there.
    ///
    /// # Errors
    /// When the cache cannot be written to.
    pub fn begin(root: &Path) -> Result<Self, Error> {
        let temporary = root.join(TEMPORARY);
        fs_err::create_dir_all(&temporary).map_err(Error::write(&temporary))?;
        let _turn = Turn::shared(root)?;
        remove_abandoned(&temporary);
        let folder =
            tempfile::Builder::new().prefix("run-").tempdir_in(&temporary).map_err(Error::write(&temporary))?;
        let path = folder.path().join("lock");
        let lock = File::create(&path).map_err(Error::write(&path))?;
        lock.file().lock().map_err(Error::write(&path))?;
        Ok(Self { folder, _lock: lock })
    }

    /// The run's folder for temporary files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A turn with the cache: those who mark entries as used share one, who takes entries away is alone.
pub(super) struct Turn {
    _lock: File,
}

impl Turn {
    pub(super) fn shared(root: &Path) -> Result<Self, Error> {
        Self::take(root, |file| file.file().lock_shared())
    }

    pub(super) fn alone(root: &Path) -> Result<Self, Error> {
        Self::take(root, |file| file.file().lock())
    }

    fn take(root: &Path, lock: impl Fn(&File) -> io::Result<()>) -> Result<Self, Error> {
        let path = root.join(TEMPORARY).join("turn");
        let file = fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::write(&path))?;
        match lock(&file) {
            // A file system without locks has nobody to agree with: then nothing is ever taken away, see `prune`.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(Error::write(&path)(error)),
            _ => Ok(Self { _lock: file }),
        }
    }
}

/// Whether `path`, a file of the cache at `root`, is there; if so it stays for as long as the caller's [`Run`] lives.
///
/// A cache that cannot be written to cannot be pruned by this user either: then there is nothing to mark.
pub fn rely_on(root: &Path, path: &Path) -> bool {
    let _turn = Turn::shared(root).ok();
    let is_there = fs_err::metadata(path).is_ok_and(|found| found.is_file());
    if is_there {
        touch(path);
    }
    is_there
}

/// Marks all of `paths` as used now, those that are there.
pub fn touch_all<'a>(root: &Path, paths: impl IntoIterator<Item = &'a Path>) {
    let _turn = Turn::shared(root).ok();
    for path in paths {
        touch(path);
    }
}

/// The file system's own clock: it is the one that tells when a run began.
fn touch(path: &Path) {
    let now = TimeSpec::UTIME_NOW;
    // Of another user's cache the times cannot be set; nor can it be pruned.
    let _ = utimensat(AT_FDCWD, path, &now, &now, UtimensatFlags::FollowSymlink);
}

impl Cache {
    /// When the oldest run that is still going began; `None` if there is none. To be asked in a turn of one's own.
    pub(super) fn oldest_run(&self) -> Option<SystemTime> {
        let runs = fs_err::read_dir(self.root.join(TEMPORARY)).into_iter().flatten().flatten();
        let begun = runs.filter_map(|entry| {
            let lock = entry.path().join("lock");
            is_locked(&lock).then(|| fs_err::metadata(lock).and_then(|found| found.modified()).ok()).flatten()
        });
        begun.min()
    }

    pub(super) fn temporary(&self) -> std::path::PathBuf {
        self.root.join(TEMPORARY)
    }
}

/// Whether a run holds the lock at `path`. Where the file system has no locks, it might.
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|lock| lock.file().try_lock().is_err())
}

fn remove_abandoned(temporary: &Path) {
    for entry in fs_err::read_dir(temporary).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        let in_use = File::open(path.join("lock"))
            .is_ok_and(|lock| matches!(lock.file().try_lock(), Err(TryLockError::WouldBlock)));
        if metadata.is_dir() && !in_use && age.is_some_and(|age| age > GRACE) {
            // Another run may be removing it as well; whatever stays is tried again next time.
            let _ = fs_err::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_a_running_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let running = Run::begin(folder.path()).unwrap();
        let dead = folder.path().join("tmp/run-dead");
        fs_err::create_dir_all(dead.join("sub")).unwrap();
        let old = SystemTime::now() - Duration::from_secs(3600);
        for path in [dead.as_path(), running.folder()] {
            File::open(path).unwrap().file().set_modified(old).unwrap();
        }
        let _next = Run::begin(folder.path()).unwrap();
        assert!(!dead.exists());
        assert!(running.folder().exists());
    }

    #[test]
    fn the_oldest_run_counts_and_ended_ones_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        assert_eq!(cache.oldest_run(), None);
        let first = Run::begin(folder.path()).unwrap();
        let begun = cache.oldest_run().unwrap();
        let second = Run::begin(folder.path()).unwrap();
        assert_eq!(cache.oldest_run(), Some(begun));
        drop(first);
        assert!(cache.oldest_run().unwrap() >= begun);
        drop(second);
        assert_eq!(cache.oldest_run(), None);
    }
}
