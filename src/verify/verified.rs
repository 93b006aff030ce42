//! The proof that lets an image be published.

use crate::oci::Digest;

/// An image that may be published: what was tested is what is pushed.
///
/// Made by [`verify`](super::verify) alone, when no check failed; or by [`Verified::unchecked`], which says why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    digest: Digest,
    unchecked: Option<String>,
}

impl Verified {
    pub(super) const fn checked(digest: Digest) -> Self {
        Self { digest, unchecked: None }
    }

    /// Vouches for an image that was not tested. `reason` goes wherever the image is announced.
    pub fn unchecked(digest: Digest, reason: &str) -> Self {
        Self { digest, unchecked: Some(reason.to_owned()) }
    }

    /// Digest of the image index.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Why it was not tested, if it was not.
    pub fn unchecked_because(&self) -> Option<&str> {
        self.unchecked.as_deref()
    }
}
