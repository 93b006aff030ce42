//! What stops a sequence of stages.

use std::path::PathBuf;

use super::AptStale;
use crate::build::{base, native, pins};
use crate::lock::Stale;
use crate::oci::Platform;
use crate::{apt, cache, channel, lock, oci, project, registry, render, verify};

/// What stops a sequence of stages.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is the stage its error comes from")]
pub enum Error {
    #[error(transparent)]
    Project(#[from] project::Error),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Channel(#[from] channel::Error),
    #[error(transparent)]
    Lock(#[from] lock::Error),
    #[error(transparent)]
    Debian(#[from] apt::Error),
    #[error(transparent)]
    Base(#[from] base::Error),
    #[error(transparent)]
    Pins(#[from] pins::Error),
    #[error(transparent)]
    Render(#[from] render::Error),
    #[error(transparent)]
    Native(#[from] native::Error),
    #[error(transparent)]
    Docker(#[from] crate::build::docker::Error),
    #[error(transparent)]
    Verify(#[from] verify::Error),
    #[error(transparent)]
    Layout(#[from] oci::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// There is no lock.
    #[error("`{image}` is not locked: there is no `{}`", path.display())]
    NotLocked {
        /// The image.
        image: String,
        /// Where its lock would be, relative to the project's root.
        path: PathBuf,
    },
    /// The lock does not answer the environment any more.
    #[error("the lock of `{image}` does not satisfy its environment: {}", first(reasons))]
    Stale {
        /// The image.
        image: String,
        /// Which input does not hold, each.
        reasons: Vec<Stale>,
    },
    /// A platform was asked for that the image is not locked for.
    #[error("`{image}` has no lock for {platform}: its platforms are {}", list(known))]
    PlatformNotLocked {
        /// The image.
        image: String,
        /// What was asked for.
        platform: Platform,
        /// What there is.
        known: Vec<Platform>,
    },
    /// Dockerfiles install packages with what the root prefix has.
    #[error("there is no image for the root prefix that a Dockerfile of `{image}` could build on")]
    NoRoot {
        /// The image.
        image: String,
    },
    /// A Dockerfile names its base by a digest, which nobody has looked up.
    #[error("`{base}` is not pinned in `base-lock.yml`")]
    BaseNotPinned {
        /// The base.
        base: String,
    },
    /// A Dockerfile has one base for all platforms.
    #[error("`{image}` has a base of its own for each platform, which a Dockerfile cannot have: {}", bases.join(", "))]
    SeveralBases {
        /// The image.
        image: String,
        /// The bases.
        bases: Vec<String>,
    },
    /// A rendered file cannot be written.
    #[error("cannot write `{}`", path.display())]
    WriteRendered {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No base for a platform.
    #[error("`{image}` has no base for {platform}")]
    NoBase {
        /// The image.
        image: String,
        /// The platform.
        platform: Platform,
    },
    /// `apt.txt` is not what `apt-lock.yml` was made for.
    #[error("the Debian packages of `{image}` are not locked as `apt.txt` asks: {}", describe(stale))]
    AptStale {
        /// The image.
        image: String,
        /// What differs.
        stale: AptStale,
    },
    /// `apt.txt` has packages, and the project has none installed.
    #[error("`{image}` wants Debian packages, which `apt: refuse` refuses: {}", packages.join(", "))]
    Apt {
        /// The image.
        image: String,
        /// The packages of `apt.txt`.
        packages: Vec<String>,
    },
    /// The image's folder has a file that says what to install or run, and that the engine does nothing with.
    #[error("`{image}` has a `{}`, which the native engine does not carry out", file.display())]
    UnsupportedFile {
        /// The image.
        image: String,
        /// The file, relative to the project's root.
        file: PathBuf,
    },
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn describe(stale: &AptStale) -> String {
    let wanted = stale.wanted.iter().map(|one| format!("{one} is missing"));
    let locked = stale.locked.iter().map(|one| format!("{one} is not asked for"));
    wanted.chain(locked).collect::<Vec<_>>().join(", ")
}

/// The first of `reasons`; all of them are for `esker lock --check`.
fn first(reasons: &[Stale]) -> String {
    match reasons {
        [] => String::new(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more; `esker lock --check` shows them)", rest.len()),
    }
}
