//! Says that a layout is in use, so that nobody removes blobs from under those who write or read it.
//!
//! A lock on a file beside the layout, which every user shares; only who is alone with the layout may remove anything.
//! The kernel takes the lock back when a process ends, however it ends.

use std::fs::File;
use std::path::Path;

use super::Layout;
use super::error::{Error, Result};

/// The mark of one user of a layout. Dropping it takes it away.
#[derive(Debug)]
pub struct InUse {
    /// Nothing where the file system has no locks: then nobody is ever alone.
    lock: Option<File>,
}

impl InUse {
    /// Marks the layout at `dir`, which need not be there yet. Waits while another process removes blobs from it.
    ///
    /// # Errors
    /// [`Error::Write`] when the file cannot be made.
    pub fn mark(dir: &Path) -> Result<Self> {
        // No image is called so: their names do not begin with a dot.
        let name = dir.file_name().unwrap_or_default().display();
        let path = dir.with_file_name(format!(".{name}.lock"));
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent).map_err(Error::write(parent))?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::write(&path))?;
        let lock = file.lock_shared().is_ok().then_some(file);
        Ok(Self { lock })
    }

    /// [Removes](Layout::prune) what `layout`, the marked one, does not refer to, unless somebody else uses it.
    ///
    /// # Errors
    /// Those of [`Layout::prune`].
    pub fn prune(self, layout: &Layout) -> Result<()> {
        match self.lock {
            Some(lock) if lock.try_lock().is_ok() => layout.prune().map(drop),
            _ => Ok(()),
        }
    }
}
