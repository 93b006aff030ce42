//! What can go wrong with a lock.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rattler_conda_types::{ParseChannelError, Subdir};
use url::Url;

use crate::project::Place;
use crate::{channel, project};

/// A failure to make, read or write a lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is asked for contradicts itself.
    #[error(transparent)]
    Request(Box<project::Error>),
    /// A channel's name or URL is none.
    #[error("`{channel}`, a channel of `{image}`, is no channel")]
    Channel {
        /// The image.
        image: String,
        /// As written.
        channel: String,
        /// What is wrong with it.
        #[source]
        source: ParseChannelError,
    },
    /// A channel's URL holds a token or a password, which a lock would publish.
    #[error("a channel of `{image}` holds a secret: credentials belong into `~/.netrc` or rattler's credentials file")]
    ChannelSecret {
        /// The image.
        image: String,
    },
    /// A channel's URL holds a variable.
    #[error("`{channel}`, a channel of `{image}`, holds a variable, which is not supported")]
    ChannelVariable {
        /// The image.
        image: String,
        /// As written.
        channel: String,
    },
    /// A channel cannot be reached or read.
    #[error(transparent)]
    Fetch(#[from] channel::Error),
    /// Packages that no channel has, for any subdir.
    #[error("{}", unknown(.packages))]
    UnknownPackages {
        /// The image.
        image: String,
        /// Each of them.
        packages: Vec<UnknownPackage>,
    },
    /// There is no solution for some subdirs.
    #[error("no solution for `{image}`{}", list(.failures))]
    Unsolvable {
        /// The image.
        image: String,
        /// Every subdir that has none.
        failures: Vec<Failure>,
    },
    /// A channel offers other bytes under the URL of a locked package: corruption, or an attack.
    #[error("`{url}` changed: the lock has {locked}, the channel now offers {offered}")]
    HashChanged {
        /// The package.
        url: Box<Url>,
        /// The lock's hash.
        locked: String,
        /// The channel's.
        offered: String,
    },
    /// A channel tells no hash of a package, so nothing could ever be checked.
    #[error("the channel tells no hash of `{url}`")]
    NoHash {
        /// The package.
        url: Box<Url>,
    },
    /// A pip requirement that no lock answers yet.
    #[error("{place}: the pip requirement `{requirement}` cannot be solved yet; list it as a conda package")]
    PipUnsupported {
        /// Where it is asked for.
        place: Place,
        /// As written.
        requirement: String,
    },
    /// The solver failed in a way that is not an answer.
    #[error("the solver failed for `{image}` on {subdir}: {reason}")]
    Solver {
        /// The image.
        image: String,
        /// The subdir.
        subdir: Subdir,
        /// Its words.
        reason: String,
    },
    /// Locked packages that no channel has under their URL any more.
    #[error("no channel offers what is locked for `{image}`: {}", each(.urls))]
    NotOffered {
        /// The image.
        image: String,
        /// The packages.
        urls: Vec<Url>,
    },
    /// Something that pixi's format cannot hold.
    #[error("`{what}` cannot be written to a `pixi.lock`: {reason}")]
    NotForPixi {
        /// A package's URL, or a part of the lock.
        what: String,
        /// rattler's words.
        reason: String,
    },
    /// A lock cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A lock with merge-conflict markers.
    #[error("{place}: a merge conflict; take either side whole and lock again")]
    ConflictMarker {
        /// The first marker.
        place: Place,
    },
    /// pixi's lock in place of conda-lock's.
    #[error("`{path}` is a lock of pixi, not of conda-lock")]
    PixiLock {
        /// The file.
        path: PathBuf,
    },
    /// A lock that is not conda-lock's, version 1.
    #[error("{place}: {problem}")]
    Format {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: String,
    },
    /// A lock cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A requested package that no channel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPackage {
    /// Its name.
    pub name: String,
    /// Where it is asked for.
    pub place: Place,
    /// A package that exists and is spelled alike.
    pub similar: Option<String>,
}

/// A subdir without a solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The subdir.
    pub subdir: Subdir,
    /// Why: several lines, the solver's words.
    pub explanation: String,
}

impl From<project::Error> for Error {
    fn from(error: project::Error) -> Self {
        Self::Request(Box::new(error))
    }
}

impl fmt::Display for UnknownPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no channel has a package `{}`", self.place, self.name)?;
        match &self.similar {
            Some(similar) => write!(f, "; did you mean `{similar}`?"),
            None => Ok(()),
        }
    }
}

fn unknown(packages: &[UnknownPackage]) -> String {
    packages.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn each(urls: &[Url]) -> String {
    urls.iter().map(|url| format!("`{url}`")).collect::<Vec<_>>().join(", ")
}

fn list(failures: &[Failure]) -> String {
    let text = |failure: &Failure| format!("\non {}: {}", failure.subdir, failure.explanation.trim_end());
    failures.iter().map(text).collect()
}
