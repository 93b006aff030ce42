//! What can go wrong between a lock and an image.

use std::io;
use std::path::{Path, PathBuf};

use rattler_conda_types::Subdir;

use super::paths::PathFault;
use crate::oci::Platform;

/// Why an image was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A package cannot be had.
    #[error("a package of the lock cannot be fetched")]
    Packages(#[source] Box<crate::channel::Error>),
    /// Debian packages cannot be installed.
    #[error(transparent)]
    Debian(Box<crate::build::debian::Error>),
    /// The layout cannot be read or written.
    #[error("the OCI layout cannot be used")]
    Layout(#[source] Box<crate::oci::Error>),
    /// The archive is damaged or no conda package at all.
    #[error("package `{package}` cannot be unpacked: the archive is truncated or damaged")]
    Archive {
        /// File name of the package.
        package: String,
        /// What the decompressor says.
        source: io::Error,
    },
    /// A file of `info/` is missing or cannot be understood.
    #[error("package `{package}`: `{file}` is missing or cannot be understood")]
    Metadata {
        /// File name of the package.
        package: String,
        /// The file in the package.
        file: &'static str,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The package says it is another one than the lock says.
    #[error("package `{package}` says it is `{found}`")]
    OtherPackage {
        /// File name of the package.
        package: String,
        /// Name, version and build that its `info/index.json` holds.
        found: String,
    },
    /// A path of a package that would be dangerous or impossible to install.
    #[error("package `{package}`: `{path}` {fault}")]
    Path {
        /// File name of the package.
        package: String,
        /// The path, as far as it can be shown.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// A file is not what `info/paths.json` says.
    #[error("package `{package}`: the content of `{path}` is not what `info/paths.json` says")]
    Content {
        /// File name of the package.
        package: String,
        /// The file.
        path: String,
    },
    /// A file of a wheel is not what its `RECORD` says.
    #[error("package `{package}`: the content of `{path}` is not what `RECORD` says")]
    RecordedHash {
        /// File name of the package.
        package: String,
        /// The file.
        path: String,
    },
    /// A published image says something else of a package than its archive does.
    #[error("what was published of package `{package}` is not what the package says of itself")]
    Misdescribed {
        /// File name of the package.
        package: String,
    },
    /// A wheel has a file that another package has with another content.
    #[error("`{path}` of package `{package}` is in package `{other}` as well, with another content")]
    Overlap {
        /// The path in the prefix.
        path: String,
        /// File name of the wheel.
        package: String,
        /// File name of the other package.
        other: String,
    },
    /// `info/paths.json` or `RECORD` lists a file that is not in the archive.
    #[error("package `{package}`: `{path}` is listed but not in the archive")]
    Missing {
        /// File name of the package.
        package: String,
        /// The file.
        path: String,
    },
    /// The package unpacks to far more than its size makes plausible.
    #[error("package `{package}` holds more than {limit}")]
    TooLarge {
        /// File name of the package.
        package: String,
        /// Which limit it breaks, with the unit.
        limit: String,
    },
    /// Something is a file or a link in one package and a directory in another, or in the same.
    #[error("`{path}` of package `{package}` is below `{above}`, which is a file or a link of package `{other}`")]
    Clash {
        /// The longer path.
        path: String,
        /// Its package.
        package: String,
        /// The shorter path.
        above: String,
        /// Its package.
        other: String,
    },
    /// The prefix does not fit into the space of the placeholder, or the like.
    #[error("package `{package}`: `{path}` cannot be moved to `{prefix}`")]
    Placeholder {
        /// File name of the package.
        package: String,
        /// The file with the placeholder.
        path: String,
        /// The prefix it should get.
        prefix: String,
        /// Why not.
        source: io::Error,
    },
    /// A package wants to run a script when it is installed.
    #[error(
        "package `{package}` has a link script, `{script}`, which is not run when an image is built{}",
        also(others)
    )]
    LinkScript {
        /// Name of the package: what `skip-link-scripts` takes.
        package: String,
        /// The script in the package.
        script: String,
        /// Names of the other packages of the environment that have one.
        others: Vec<String>,
    },
    /// The lock has no conda packages for a platform.
    #[error("the lock of `{prefix}` has no packages for {subdir}")]
    NotLocked {
        /// The prefix.
        prefix: String,
        /// The subdir that is missing.
        subdir: Subdir,
    },
    /// The lock has a package more than once for a platform.
    #[error("the lock of `{prefix}` has `{package}` twice for {subdir}")]
    LockedTwice {
        /// The prefix.
        prefix: String,
        /// Name of the package.
        package: String,
        /// The subdir.
        subdir: Subdir,
    },
    /// `noarch: python` packages and wheels need a Python to be laid out for.
    #[error("package `{package}` is for Python, but `{prefix}` has no `python`")]
    NoPython {
        /// File name of the package.
        package: String,
        /// The prefix.
        prefix: String,
    },
    /// Byte code needs a Python that runs here, and the lock has none.
    #[error("the lock of `{prefix}` has no Python {version} for {subdir}, the platform of this machine")]
    NoHostPython {
        /// The prefix.
        prefix: String,
        /// Major and minor version that is needed.
        version: String,
        /// The subdir to add to the lock; `None` on a machine for which no image can be built.
        subdir: HostSubdir,
    },
    /// The Python that compiles does not run, or stopped.
    #[error("`{program}`, which compiles byte code, does not work: {reason}")]
    Compiler {
        /// Its executable.
        program: PathBuf,
        /// What happened.
        reason: String,
    },
    /// No base system was given for a platform.
    #[error("there is no base system for {platform}")]
    NoBase {
        /// The platform.
        platform: Platform,
    },
    /// The base system is not as an image's should be.
    #[error("the base system for {platform} cannot be used: {reason}")]
    Base {
        /// The platform.
        platform: Platform,
        /// What is wrong.
        reason: String,
    },
    /// The base system's files cannot be read.
    #[error("the content of the base system cannot be read")]
    BaseContent(#[source] Box<crate::build::base::Error>),
    /// A file that is to be added besides packages has a path that cannot be.
    #[error("`{path}`, which is to be added to the image, {fault}")]
    AddedPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// There is no room for the layers that are needed.
    #[error("the base system for {platform} has {base} layers already; an image can have {limit}")]
    TooManyLayers {
        /// The platform.
        platform: Platform,
        /// Layers of the base.
        base: usize,
        /// The most an image can have.
        limit: usize,
    },
    /// No space is left.
    #[error("no space left to write `{}`", path.display())]
    StorageFull {
        /// What was being written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of the cache or of the layout cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file of the cache or a downloaded package cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The build was given up before it was done.
    #[error("the build was interrupted")]
    Cancelled,
}

fn also(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!(" (so have `{}`)", others.join("`, `")) }
}

/// The subdir of the machine that builds, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSubdir(pub Option<Subdir>);

impl std::fmt::Display for HostSubdir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(subdir) => write!(f, "{subdir}"),
            None => f.write_str("an unknown subdir"),
        }
    }
}

impl Error {
    /// Turns a failed write of `path` into an error; a full disk is told apart.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::StorageFull { path, source },
            _ => Self::Write { path, source },
        }
    }

    /// Turns a failed read of `path` into an error.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

impl From<crate::cache::Error> for Error {
    fn from(error: crate::cache::Error) -> Self {
        match error {
            crate::cache::Error::Read { path, source } => Self::Read { path, source },
            crate::cache::Error::Write { path, source } => Self::write(&path)(source),
        }
    }
}

impl From<crate::oci::Error> for Error {
    fn from(error: crate::oci::Error) -> Self {
        Self::Layout(Box::new(error))
    }
}
