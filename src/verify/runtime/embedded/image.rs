//! An image unpacked on disk, for as long as it is checked.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Privilege;
use crate::verify::runtime::{ContainerConfig, Error};

/// A directory with one image's file system in it, shared by all containers of the image. Removed when dropped.
#[derive(Debug)]
pub struct UnpackedImage {
    directory: TempDir,
    pub(super) config: ContainerConfig,
    pub(super) privilege: Privilege,
    pub(super) owner: (u32, u32),
}

impl UnpackedImage {
    /// Unpacks an image below `work_dir`: `unpack` is given the root directory to fill, with files owned as the image
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
        let directory = make_directory(work_dir)?;
        // Made before anything can fail, so that a half unpacked tree is removed too.
        let mut image = Self { directory, config, privilege, owner: (0, 0) };
        unpack(&image.rootfs(), privilege)?;
        image.owner = image.config.owner(&image.passwd());
        Ok(image)
    }

    /// Holds `rootfs` and the mount point `scratch`.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
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

fn make_directory(work_dir: &Path) -> Result<TempDir, Error> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    fs_err::create_dir_all(work_dir).map_err(unusable(work_dir))?;
    let directory = tempfile::Builder::new().prefix("container-").tempdir_in(work_dir).map_err(unusable(work_dir))?;
    for name in ["rootfs", "scratch"] {
        fs_err::create_dir(directory.path().join(name)).map_err(unusable(directory.path()))?;
    }
    // It becomes `/`, where the image's user must get in whatever this process's umask is.
    let open = std::fs::Permissions::from_mode(0o755);
    fs_err::set_permissions(directory.path().join("rootfs"), open).map_err(unusable(directory.path()))?;
    Ok(directory)
}

impl Drop for UnpackedImage {
    fn drop(&mut self) {
        if self.privilege == Privilege::User {
            open_up(self.directory.path());
        }
    }
}

/// Makes directories accessible that an ordinary user could not empty otherwise. Removing is [`TempDir`]'s.
fn open_up(directory: &Path) {
    let open = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(directory, open).unwrap_or_default();
    for entry in fs_err::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}
