//! What can go wrong with a registry.

use std::path::PathBuf;

use crate::oci::error::Mismatch;
use crate::oci::{self, Platform};

/// The error of everything in [`crate::registry`]. Addresses in it have no query: that is where signatures are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client could not be set up; most likely no certificate authorities are installed.
    #[error("cannot set up TLS")]
    Tls {
        /// Why not.
        source: reqwest::Error,
    },
    /// The server cannot be reached, or the connection broke again and again.
    #[error("cannot reach `{url}`")]
    Unreachable {
        /// The address.
        url: String,
        /// The last failure.
        source: reqwest::Error,
    },
    /// The server answers with an error.
    #[error("`{url}` answers {status}{}", detail(.message))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says about it.
        message: Option<String>,
    },
    /// The server asks to be left alone for longer than anybody wants to wait.
    #[error("`{url}` asks to come back in {seconds} s")]
    Busy {
        /// The address.
        url: String,
        /// Its `Retry-After`.
        seconds: u64,
    },
    /// The server takes nothing of what is sent, and does not answer.
    #[error("`{url}` has not moved for {seconds} s")]
    Stalled {
        /// The address.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The registry does not let this client, or this account, pull or push the image.
    #[error("`{registry}` denies access to `{repository}`{}", detail(.problem))]
    Denied {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// What stood in the way of the credentials that are configured, if any are.
        problem: Option<String>,
    },
    /// There is no such image or blob.
    #[error("`{url}` does not exist")]
    NotFound {
        /// The address.
        url: String,
    },
    /// A file of credentials cannot be used.
    #[error("cannot read credentials from `{path}`: {reason}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An answer makes no sense.
    #[error("the answer of `{url}` is not valid: {reason}")]
    Malformed {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Content is not what its digest says, again and again.
    #[error("`{url}` sends something else: {mismatch}")]
    Corrupt {
        /// The address.
        url: String,
        /// What was expected and what came.
        mismatch: Box<Mismatch>,
    },
    /// The registry has the image, but not for the platform.
    #[error("`{reference}` has no image for {platform}, only for {}", has.join(", "))]
    NoPlatform {
        /// The image.
        reference: String,
        /// The platform that was asked for.
        platform: Platform,
        /// The platforms there are images for.
        has: Vec<String>,
    },
    /// What is to be pushed cannot be read, or is not there.
    #[error("cannot read what is to be pushed")]
    Source {
        /// Why not.
        source: oci::Error,
    },
    /// What was pulled cannot be stored.
    #[error("cannot store what `{url}` sent")]
    Store {
        /// The address.
        url: String,
        /// Why not.
        source: oci::Error,
    },
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

fn detail(text: &Option<String>) -> String {
    text.as_ref().map(|text| format!(": {text}")).unwrap_or_default()
}
