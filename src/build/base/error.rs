//! Why a base system cannot be used.

use std::io;
use std::path::PathBuf;

use crate::oci::{self, Digest, Platform};
use crate::registry;

/// The error of [`resolve`](super::resolve).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The base cannot be pulled.
    #[error("cannot pull the base `{base}`")]
    Registry {
        /// The base, as written.
        base: String,
        /// Why not.
        source: registry::Error,
    },
    /// The base is damaged, incomplete, or no image at all.
    #[error("the base `{base}` cannot be used")]
    Image {
        /// The base, as written.
        base: String,
        /// What is wrong with it.
        source: oci::Error,
    },
    /// There is no image for the platform.
    #[error("the base `{base}` has no image for {platform}, only for {}", has.join(", "))]
    NoPlatform {
        /// The base, as written.
        base: String,
        /// The platform that was asked for.
        platform: Platform,
        /// The platforms there are images for.
        has: Vec<String>,
    },
    /// A root file system holds programs for another CPU.
    #[error("the base `{base}` is for {found}, not for {platform}: see its `{program}`")]
    WrongArchitecture {
        /// The base, as written.
        base: String,
        /// The platform that was asked for.
        platform: Platform,
        /// What it is for.
        found: String,
        /// The program that gave it away.
        program: PathBuf,
    },
    /// The base is not the one that was pinned.
    #[error("the base `{base}` is {found}, but {pinned} is pinned")]
    PinMismatch {
        /// The base, as written.
        base: String,
        /// The digest in the lock, or in the base's own name.
        pinned: Digest,
        /// The digest it has.
        found: Digest,
    },
    /// What is asked for is made of packages, where an image is wanted that exists.
    #[error("`{base}` is made of Debian packages, and is no image that exists")]
    NoImage {
        /// The base, as written.
        base: String,
    },
    /// A package cannot be installed.
    #[error("cannot make the base `{base}`")]
    Packages {
        /// The base, as written.
        base: String,
        /// Why not.
        source: Box<crate::build::debian::Error>,
    },
    /// The cache cannot be used.
    #[error("cannot make the base `{base}` in the cache")]
    Busy {
        /// The base, as written.
        base: String,
        /// Why not.
        source: crate::cache::Error,
    },
    /// The base is not in the cache and may not be pulled.
    #[error("the base `{base}` is not in the cache, and cannot be pulled offline")]
    Offline {
        /// The base, as written.
        base: String,
    },
    /// The file of a root file system cannot be read.
    #[error("cannot read the root file system `{path}`")]
    Rootfs {
        /// The file.
        path: PathBuf,
        /// Why not, or what is wrong with it.
        source: io::Error,
    },
    /// Something cannot be kept in the cache.
    #[error("cannot keep the base `{base}` in the cache")]
    Cache {
        /// The base, as written.
        base: String,
        /// Why not.
        source: oci::Error,
    },
    /// The work was interrupted.
    #[error("reading the base `{base}` was interrupted")]
    Interrupted {
        /// The base, as written.
        base: String,
    },
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;
