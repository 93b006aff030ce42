//! What can go wrong on the way to a channel, told apart by what to do about it.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use rattler_conda_types::Subdir;
use url::Url;

/// A failure to fetch from a channel or to keep what was fetched. URLs are those that were really asked (a mirror's,
/// where there is one), without credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of credentials is unreadable. The reason never quotes its content.
    #[error("cannot read credentials from `{path}`: {reason}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable in the URL of a channel or mirror is not set, or empty.
    #[error("{wanted_by}: the environment variable `{variable}` is not set")]
    UnsetVariable {
        /// Its name.
        variable: String,
        /// The place of the channel, or the mirror.
        wanted_by: String,
    },
    /// A URL holds a variable that no channel of the environment names there. Filling it in could hand any secret out.
    #[error("`{url}` holds the variable `{variable}`, which no channel of the environment has there")]
    StrayVariable {
        /// Its name.
        variable: String,
        /// The URL, as written.
        url: String,
    },
    /// The HTTP client cannot be made.
    #[error("cannot set up HTTPS")]
    Setup(#[source] reqwest::Error),
    /// A channel has no `noarch` and so is no channel (or its name is wrong).
    #[error("there is no channel at `{url}`: it has no `noarch/repodata.json`")]
    NoChannel {
        /// The channel.
        url: Url,
    },
    /// A file is not there: 404 or 410.
    #[error("`{url}` does not exist")]
    NotFound {
        /// The file.
        url: Url,
    },
    /// 401, 403 or 407: credentials are missing or not good enough.
    #[error("`{url}` wants other credentials (HTTP {status})")]
    Unauthorized {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
    },
    /// Any other refusal by the server, after retries where they make sense.
    #[error("`{url}` answered HTTP {status}")]
    Status {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
    },
    /// The host's name does not resolve.
    #[error("no address is known for the host of `{url}`")]
    Dns {
        /// What was asked for.
        url: Url,
        /// The resolver's words.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody listens there, or there is no way there.
    #[error("cannot connect to `{url}`")]
    Connect {
        /// What was asked for.
        url: Url,
        /// The system's words.
        #[source]
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("`{url}` did not answer in time")]
    Timeout {
        /// What was asked for.
        url: Url,
        /// What was waited for.
        #[source]
        source: reqwest::Error,
    },
    /// The connection broke or made no sense.
    #[error("the connection to `{url}` broke")]
    Connection {
        /// What was asked for.
        url: Url,
        /// How.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The body ended early, each time it was tried.
    #[error("`{url}` is cut short: {received} of {} bytes arrived", expected.map_or("an unknown number of".to_owned(), |n| n.to_string()))]
    Truncated {
        /// The package.
        url: Url,
        /// Bytes received.
        received: u64,
        /// Bytes promised.
        expected: Option<u64>,
    },
    /// A file that is read into memory is larger than any that makes sense.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        url: Url,
        /// The most bytes it may have.
        limit: usize,
    },
    /// A package is not what the lock says. Nothing of it is kept.
    #[error("`{}` from `{}` is not what the lock says: its {} is {}, not {}", .0.package, .0.url, .0.algorithm, .0.actual, .0.expected)]
    WrongHash(Box<WrongHash>),
    /// A lock gives no hash for a package, so nothing could be checked.
    #[error("`{package}` has no hash in the lock")]
    NoHash {
        /// `name version`.
        package: String,
    },
    /// A lock's URL is not that of a package.
    #[error("`{url}` is no package: neither a conda one (`.conda`, `.tar.bz2`) nor a whole wheel")]
    NotAPackage {
        /// The URL.
        url: Url,
    },
    /// Offline, and it is not in the cache.
    #[error("`{what}` is not in the cache, and nothing is fetched offline")]
    Offline {
        /// The package's file or the repodata's URL.
        what: String,
    },
    /// The disk that holds the cache is full.
    #[error("no space left for `{directory}`")]
    DiskFull {
        /// The directory written to.
        directory: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The cache cannot be read or written.
    #[error("cannot use the cache at `{path}`")]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A package that is asked for by its URL cannot be had, or is none.
    #[error("cannot use the package at `{url}`")]
    File {
        /// The package.
        url: String,
        /// Why not.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Repodata arrived, but makes no sense.
    #[error("the repodata of `{channel}` for {subdir} is unusable")]
    Repodata {
        /// The channel.
        channel: String,
        /// The subdir asked for (`noarch` was read with it).
        subdir: Subdir,
        /// What is wrong.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// A package and the hash it should have had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongHash {
    /// `name version`.
    pub package: String,
    /// Where it came from.
    pub url: Url,
    /// `sha256` or `md5`.
    pub algorithm: &'static str,
    /// The lock's hash.
    pub expected: String,
    /// The archive's hash.
    pub actual: String,
}

impl Error {
    /// A failure to write or read `path`, in the cache.
    pub(super) fn cache(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { directory: path.parent().unwrap_or(path).to_path_buf(), source }
            }
            _ => Self::Cache { path: path.to_path_buf(), source },
        }
    }

    /// Whether another mirror may do better.
    pub(super) const fn is_of_the_source(&self) -> bool {
        match self {
            Self::NotFound { .. }
            | Self::Unauthorized { .. }
            | Self::Status { .. }
            | Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Connection { .. }
            | Self::Truncated { .. }
            | Self::WrongHash(_)
            | Self::Offline { .. } => true,
            Self::Credentials { .. }
            | Self::UnsetVariable { .. }
            | Self::StrayVariable { .. }
            | Self::Setup(_)
            | Self::TooLarge { .. }
            | Self::NoChannel { .. }
            | Self::NoHash { .. }
            | Self::NotAPackage { .. }
            | Self::DiskFull { .. }
            | Self::Cache { .. }
            | Self::File { .. }
            | Self::Repodata { .. } => false,
        }
    }

    /// What a status that is no success means.
    pub(super) fn status(url: Url, status: reqwest::StatusCode) -> Self {
        match status.as_u16() {
            404 | 410 => Self::NotFound { url },
            status @ (401 | 403 | 407) => Self::Unauthorized { url, status },
            status => Self::Status { url, status },
        }
    }

    /// What a failed request means.
    pub(super) fn request(url: Url, error: reqwest_middleware::Error) -> Self {
        match error {
            reqwest_middleware::Error::Reqwest(error) => Self::reqwest(url, error),
            reqwest_middleware::Error::Middleware(error) => match error.downcast::<Self>() {
                Ok(own) => own,
                Err(other) => Self::Connection { url, source: other.into() },
            },
        }
    }

    /// What a failed request means, from reqwest's error alone. The URL in it may hold a token: it is removed.
    pub(super) fn reqwest(url: Url, error: reqwest::Error) -> Self {
        let error = error.without_url();
        if let Some(status) = error.status() {
            Self::status(url, status)
        } else if error.is_timeout() {
            Self::Timeout { url, source: error }
        } else if error.is_connect() && chain(&error).any(|cause| cause.to_string().contains("dns error")) {
            Self::Dns { url, source: error }
        } else if error.is_connect() {
            Self::Connect { url, source: error }
        } else {
            Self::Connection { url, source: Box::new(error) }
        }
    }
}

/// `error` and what caused it, outermost first.
pub(super) fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_its_own_error() {
        let error = Error::cache(Path::new("/cache/packages/file"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(error, Error::DiskFull { directory, .. } if directory == Path::new("/cache/packages")));
        let error = Error::cache(Path::new("/cache/file"), io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(error, Error::Cache { .. }));
    }
}
