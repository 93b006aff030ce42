//! What can go wrong between `apt.txt` and `apt-lock.yml`.

use std::io;
use std::path::PathBuf;

use url::Url;

use crate::oci::Platform;
use crate::project::{Place, Snapshot};

/// Why Debian packages were not locked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the archive, or a package, cannot be had.
    #[error("the Debian archive cannot be read")]
    Fetch(#[from] crate::channel::Error),
    /// The archive has no such suite, or not for this architecture.
    #[error("the archive has no `{url}`")]
    NoSuite {
        /// What was asked for.
        url: Url,
    },
    /// gpgv did not run.
    #[error("cannot run `{}` to check the archive's signature", program.display())]
    Gpgv {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The archive's signature is no good.
    #[error("`{url}` is not to be trusted: {reason}")]
    Signature {
        /// The signed file.
        url: String,
        /// Why.
        reason: String,
    },
    /// There is no key to check with.
    #[error("there are no keys to check the archive's signature with: neither the base nor this machine has any")]
    NoKeys,
    /// A file of the archive cannot be understood.
    #[error("`{url}` cannot be understood: {reason}")]
    Archive {
        /// The file.
        url: Url,
        /// Why.
        reason: String,
    },
    /// What the base says of itself does not allow Debian packages to be installed.
    #[error("Debian packages cannot be installed on the base of {platform}: {reason}")]
    Base {
        /// The platform.
        platform: Platform,
        /// Why.
        reason: String,
    },
    /// The base's status file cannot be understood.
    #[error("the base of {platform} has a package that cannot be understood: {reason}")]
    Status {
        /// The platform.
        platform: Platform,
        /// Why.
        reason: String,
    },
    /// A package that no suite has.
    #[error("{place}: there is no Debian package `{package}` for {platform} in {suites}{}", help.as_deref().unwrap_or_default())]
    Unknown {
        /// The line.
        place: Place,
        /// The package, as asked for.
        package: String,
        /// The platform.
        platform: Platform,
        /// The suites that were looked into, and their date.
        suites: String,
        /// What there is instead.
        help: Option<String>,
    },
    /// What is asked for cannot be installed together.
    #[error("{place}: `{package}` cannot be installed on {platform}")]
    Unsatisfiable {
        /// The line.
        place: Place,
        /// The package.
        package: String,
        /// The platform.
        platform: Platform,
        /// What stands against it.
        #[source]
        reason: Reason,
    },
    /// The archive does not have the packages that a base system is made of.
    #[error("`{base}` cannot be made for {platform} from the archive of {snapshot}")]
    Bootstrap {
        /// The base, as written.
        base: String,
        /// The platform.
        platform: Platform,
        /// The time of the archive.
        snapshot: Snapshot,
        /// What stands against it.
        #[source]
        reason: Reason,
    },
    /// `apt-lock.yml` is not what esker writes.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written or removed.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What the solver says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Reason(pub String);
