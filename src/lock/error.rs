//! What can go wrong with a lock.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rattler_conda_types::{ParseChannelError, Subdir};
use url::Url;

use super::Advice;
use crate::project::{Dependency, Place};
use crate::{channel, project};

/// A failure to make, read or write a lock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What is asked for contradicts itself.
    #[error(transparent)]
    Request(Box<project::Error>),
    /// A channel's name or URL is none.
    #[error("{place}: `{channel}` is no channel")]
    Channel {
        /// Where it is written.
        place: Place,
        /// As written.
        channel: String,
        /// What is wrong with it.
        #[source]
        source: ParseChannelError,
    },
    /// A channel's URL holds a token or a password, which a lock would publish.
    #[error("{place}: the channel's URL holds a secret, which the lock would publish")]
    ChannelSecret {
        /// Where it is written.
        place: Place,
    },
    /// A channel's scheme or host is a variable.
    #[error("{place}: in `{channel}`, a variable can be the user, the password or a part of the path, not the host")]
    ChannelHost {
        /// Where it is written.
        place: Place,
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
    /// Nobody tells a hash of a package, so nothing could ever be checked.
    #[error("no channel tells a hash of `{url}`")]
    NoHash {
        /// The package.
        url: Box<Url>,
    },
    /// There is no program `uv` to solve pip's requirements.
    #[error("{place}: the pip requirement `{requirement}` is solved by the program `uv`, which is not to be found")]
    UvMissing {
        /// Where the first of them stands.
        place: Place,
        /// As written.
        requirement: String,
    },
    /// uv cannot be run, or its answer not be read.
    #[error("cannot run `{}`", program.display())]
    UvRun {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// uv failed in a way that is not an answer.
    #[error("uv failed for `{image}` on {subdir}: {reason}")]
    Uv {
        /// The image.
        image: String,
        /// The subdir.
        subdir: Subdir,
        /// Its words.
        reason: String,
    },
    /// uv knows no such platform.
    #[error("{place}: requirements of pip cannot be solved for {subdir}")]
    PipPlatform {
        /// Where the first of them stands.
        place: Place,
        /// The subdir.
        subdir: Subdir,
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
    /// The requested lines that take part.
    pub lines: Vec<Dependency>,
    /// Why: several lines, the solver's words, folded where they repeat themselves.
    pub explanation: String,
    /// What can be done about it, as far as that can be told.
    pub advice: Vec<Advice>,
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

/// Each failure once, with all the subdirs that it is the same on.
fn list(failures: &[Failure]) -> String {
    let mut together: Vec<(Vec<&str>, &Failure)> = Vec::new();
    for failure in failures {
        let same = |known: &&mut (Vec<&str>, &Failure)| {
            known.1.lines == failure.lines && known.1.explanation == failure.explanation
        };
        match together.iter_mut().find(same) {
            Some((subdirs, _)) => subdirs.push(failure.subdir.as_str()),
            None => together.push((vec![failure.subdir.as_str()], failure)),
        }
    }
    together.iter().map(|(subdirs, failure)| format!("\non {}{failure}", subdirs.join(", "))).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.lines.is_empty() { "" } else { ", with" };
        f.write_str(with)?;
        for line in &self.lines {
            write!(f, "\n  {}: `{}`", line.place, line.spec)?;
        }
        f.write_str(if self.lines.is_empty() { ", because" } else { "\nbecause" })?;
        for line in self.explanation.lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
