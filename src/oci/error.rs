//! What can go wrong with layouts, images and archives on disk.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use super::{Digest, Platform};

/// The error of everything in [`crate::oci`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or directory could not be written.
    #[error("cannot write `{path}`")]
    Write {
        /// What was written.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An archive could not be written to where it goes.
    #[error("cannot write the archive")]
    Sink {
        /// Why not.
        source: io::Error,
    },
    /// A directory is no OCI layout.
    #[error("`{path}` is not an OCI layout: {reason}")]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// What is missing or different.
        reason: String,
    },
    /// There are other things where a layout is to be made.
    #[error("`{path}` is not empty and no OCI layout: it has `{found}`")]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// One of the things.
        found: String,
    },
    /// A blob that something refers to is not there.
    #[error("`{layout}` does not hold the blob `{digest}`")]
    MissingBlob {
        /// The layout.
        layout: PathBuf,
        /// The blob.
        digest: Digest,
    },
    /// Content is not what its digest or size says.
    #[error("`{path}` is damaged: {mismatch}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What it should be and what it is.
        mismatch: Box<Mismatch>,
    },
    /// A document is larger than any honest one.
    #[error("`{what}` has {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// The document, layer or path.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A document is no JSON of its type.
    #[error("`{what}` is not valid")]
    Json {
        /// The blob or file.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A document is well-formed but does not make sense.
    #[error("`{what}` is not valid: {reason}")]
    Malformed {
        /// The blob or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no image for a platform.
    #[error("`{place}` has no image for {platform}, only for {}", list(.has))]
    NoPlatform {
        /// The layout.
        place: PathBuf,
        /// The platform that was asked for.
        platform: Platform,
        /// The platforms there are images for.
        has: Vec<String>,
    },
    /// There are several images for a platform and nothing says which is meant.
    #[error("`{place}` has {count} images for {platform}")]
    Ambiguous {
        /// The layout.
        place: PathBuf,
        /// The platform that was asked for.
        platform: Platform,
        /// How many.
        count: usize,
    },
    /// A layer could not be decompressed or is no tar archive.
    #[error("cannot read the layer `{digest}`")]
    Layer {
        /// The layer.
        digest: Digest,
        /// What is wrong with it.
        source: io::Error,
    },
    /// An entry of a layer cannot be put where it belongs.
    #[error("cannot unpack `{entry}` of the layer `{digest}`")]
    Unpack {
        /// The layer.
        digest: Digest,
        /// The entry's path.
        entry: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Content that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} ({expected_size} bytes), found {found} ({found_size} bytes)")]
pub struct Mismatch {
    /// The digest it should have.
    pub expected: Digest,
    /// The size it should have, in bytes.
    pub expected_size: u64,
    /// The digest it has.
    pub found: Digest,
    /// The bytes it has, or those that were read before it was given up.
    pub found_size: u64,
}

impl Mismatch {
    /// Compares digests and sizes.
    ///
    /// # Errors
    /// When they differ.
    pub(crate) fn check(expected: (Digest, u64), found: (Digest, u64)) -> std::result::Result<(), Box<Self>> {
        let ((expected, expected_size), (found, found_size)) = (expected, found);
        let mismatch = Self { expected, expected_size, found, found_size };
        if (expected, expected_size) == (found, found_size) { Ok(()) } else { Err(Box::new(mismatch)) }
    }
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn malformed(what: &dyn Display, reason: &dyn Display) -> Self {
        Self::Malformed { what: what.to_string(), reason: reason.to_string() }
    }
}

fn list(platforms: &[String]) -> String {
    if platforms.is_empty() { "none".to_owned() } else { platforms.join(", ") }
}
