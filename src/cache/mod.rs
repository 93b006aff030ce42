//! The cache folder as a whole: what lies there, who is using it, what may go.
//!
//! Stages put entries there, each named by the hash of what it was made from or of what it is, and look them up without
//! asking anybody. So that nothing goes from under them, every [`Run`] that uses the cache says so with a lock, and marks
//! as used what it relies on ([`rely_on`]); [`prune`](Cache::prune) takes nothing that was used since the oldest run
//! that is still going began. Who marks and who takes away takes turns, by a lock on one file.

mod entry;
mod prune;
mod run;
mod size;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

pub use entry::{Entry, Kind};
pub use prune::{Pruned, Rule};
pub use run::{Run, rely_on, touch_all};
pub use size::{ParseSizeError, Size};
pub use verify::{Damage, Verified, tree_digest};

/// Why the cache cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or folder cannot be made, locked or removed.
    #[error("`{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}

/// The cache folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at `root`, which need not be there.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }
}
