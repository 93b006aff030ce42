//! What can go wrong between locked Debian packages and their layer.

use std::io;
use std::path::{Path, PathBuf};

/// Why Debian packages were not installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive is damaged, or unpacks to far too much.
    #[error("Debian package `{package}` cannot be unpacked")]
    Archive {
        /// The package.
        package: String,
        /// Why not.
        source: io::Error,
    },
    /// The package says it is another one than the lock says.
    #[error("Debian package `{package}` says it is `{found}`")]
    OtherPackage {
        /// By the lock.
        package: String,
        /// By its control file.
        found: String,
    },
    /// A path of a package that cannot be put into an image.
    #[error("Debian package `{package}`: `/{path}` {fault}")]
    Path {
        /// The package.
        package: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Two packages have the same file, and neither says that it replaces the other.
    #[error("`/{path}` is in the Debian packages `{package}` and `{other}`")]
    FileConflict {
        /// The package that is installed.
        package: String,
        /// The one that has the file.
        other: String,
        /// The file.
        path: String,
    },
    /// A maintainer script does more than is known.
    #[error("Debian package `{package}` has a `{script}` that would have to be run: {reason}")]
    Script {
        /// The package.
        package: String,
        /// The script.
        script: &'static str,
        /// What is not known.
        reason: String,
    },
    /// The base has something that cannot be worked with.
    #[error("Debian packages cannot be installed on this base: {reason}")]
    Base {
        /// What it is.
        reason: String,
    },
    /// The base has other packages than the lock was made for.
    #[error("the Debian packages are locked for a base with other packages than `{base}` has")]
    OtherBase {
        /// The base.
        base: String,
    },
    /// A file of the base cannot be read.
    #[error("the base cannot be read")]
    BaseContent(#[source] Box<crate::build::base::Error>),
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The layout cannot be written.
    #[error("the OCI layout cannot be used")]
    Layout(#[from] crate::oci::Error),
}

impl Error {
    /// For `map_err` where `path` is written.
    pub fn write(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }
}
