//! An image unpacked on disk, for as long as it is checked or until it changes.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::Privilege;
use super::kept::{self, Kept, Key};
use crate::verify::runtime::{ContainerConfig, Error};

const PREFIX: &str = "container-";
pub(super) const LOCK: &str = "lock";
/// A directory without a lock that is older than this was not about to be locked.
const STALE: Duration = Duration::from_secs(3600);

/// A directory with one image's file system in it, shared by all containers of the image.
#[derive(Debug)]
pub struct UnpackedImage {
    folder: Folder,
    /// Locked as long as the directory is in use; the kernel unlocks it with the process.
    _lock: File,
    pub(super) config: ContainerConfig,
    pub(super) privilege: Privilege,
    pub(super) owner: (u32, u32),
}

/// What becomes of the directory when it is used no longer.
#[derive(Debug)]
enum Folder {
    /// It is removed; or, when its process was killed, by the next one that unpacks an image in the same place.
    Temporary(TempDir),
    /// It stays; see [`kept`].
    Kept(PathBuf),
}

impl UnpackedImage {
    /// The image of `key` below `work_dir`, as an earlier run left it, or unpacked by `unpack` as [`new`](Self::new) has it.
    ///
    /// # Errors
    /// [`Error::File`] when the directory cannot be made; otherwise what `unpack` returns.
    pub fn kept<E: From<Error>>(
        work_dir: &Path,
        key: Key<'_>,
        config: ContainerConfig,
        unpack: impl Fn(&Path, Privilege) -> Result<(), E>,
    ) -> Result<Self, E> {
        let privilege = Privilege::of_this_process();
        remove_abandoned(work_dir);
        let Kept { directory, lock } = kept::find(work_dir, key, privilege, |rootfs| unpack(rootfs, privilege))?;
        let mut image = Self { folder: Folder::Kept(directory), _lock: lock, config, privilege, owner: (0, 0) };
        image.owner = image.config.owner(&image.passwd());
        Ok(image)
    }

    /// Unpacks an image below `work_dir` for this run alone: `unpack` is given the root directory to fill, with files owned as the image
    /// says if this process can do that ([`Privilege::Root`]), else all by this process's user.
    ///
    /// # Errors
    /// [`Error::File`] when the directory cannot be made; otherwise what `unpack` returns.
    pub fn new<E: From<Error>>(
        work_dir: &Path,
        config: ContainerConfig,
        unpack: impl FnOnce(&Path, Privilege) -> Result<(), E>,
    ) -> Result<Self, E> {
        let privilege = Privilege::of_this_process();
        let (directory, lock) = make_directory(work_dir)?;
        // Made before anything can fail, so that a half unpacked tree is removed too.
        let mut image = Self { folder: Folder::Temporary(directory), _lock: lock, config, privilege, owner: (0, 0) };
        unpack(&image.rootfs(), privilege)?;
        image.owner = image.config.owner(&image.passwd());
        Ok(image)
    }

    /// Holds `rootfs` and the mount point `scratch`.
    pub(super) fn directory(&self) -> &Path {
        match &self.folder {
            Folder::Temporary(directory) => directory.path(),
            Folder::Kept(directory) => directory,
        }
    }

    /// The image's files.
    pub fn rootfs(&self) -> PathBuf {
        self.directory().join("rootfs")
    }

    /// The image's users; nothing if the image tries to lead out of itself.
    fn passwd(&self) -> String {
        let (etc, file) = (self.rootfs().join("etc"), self.rootfs().join("etc/passwd"));
        let real =
            etc.symlink_metadata().is_ok_and(|m| m.is_dir()) && file.symlink_metadata().is_ok_and(|m| m.is_file());
        if real { fs_err::read_to_string(file).unwrap_or_default() } else { String::new() }
    }
}

fn make_directory(work_dir: &Path) -> Result<(TempDir, File), Error> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    fs_err::create_dir_all(work_dir).map_err(unusable(work_dir))?;
    remove_abandoned(work_dir);
    let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(work_dir).map_err(unusable(work_dir))?;
    // Locked before it has its name: another run would take one that is not for abandoned.
    let unlocked = directory.path().join("lock.new");
    let lock = File::create(&unlocked).map_err(unusable(directory.path()))?;
    lock.lock().map_err(unusable(directory.path()))?;
    fs_err::rename(unlocked, directory.path().join(LOCK)).map_err(unusable(directory.path()))?;
    make_inside(directory.path())?;
    Ok((directory, lock))
}

/// Makes what a container needs in `directory`: `rootfs` for the image, and the mount point `scratch`.
pub(super) fn make_inside(directory: &Path) -> Result<(), Error> {
    // It becomes `/`, where the image's user must get in whatever this process's umask is.
    let open = std::fs::Permissions::from_mode(0o755);
    let made = ["rootfs", "scratch"].iter().try_for_each(|name| fs_err::create_dir(directory.join(name)));
    let made = made.and_then(|()| fs_err::set_permissions(directory.join("rootfs"), open));
    made.map_err(|source| Error::File { path: directory.to_owned(), source })
}

/// Removes what killed processes left in `work_dir`. What cannot be removed (another user's) does no harm.
fn remove_abandoned(work_dir: &Path) {
    let entries = fs_err::read_dir(work_dir).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let abandoned = match File::open(path.join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(_) => is_stale(&path),
        };
        if abandoned {
            open_up(&path);
            fs_err::remove_dir_all(path).unwrap_or_default();
        }
    }
}

fn is_stale(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > STALE))
}

impl Drop for UnpackedImage {
    fn drop(&mut self) {
        if let (Privilege::User, Folder::Temporary(directory)) = (self.privilege, &self.folder) {
            open_up(directory.path());
        }
    }
}

/// Makes directories accessible that an ordinary user could not empty otherwise. Removing is [`TempDir`]'s.
pub(super) fn open_up(directory: &Path) {
    let open = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(directory, open).unwrap_or_default();
    for entry in fs_err::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
