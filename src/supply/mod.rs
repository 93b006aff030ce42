//! What is in an image and where it comes from, in the formats that others read: SPDX and CycloneDX documents, in-toto
//! provenance.
//!
//! An [`Inventory`] is made of what a build knows, or read out of any image's layers ([`crate::installed`]); both give
//! the same for an image that esker built, which is tested. The documents are functions of it and of the image's digest:
//! no clock, no random number, no name of a machine. Times in them are the image's own.

mod component;
mod cyclonedx;
pub mod debian;
mod graph;
mod license;
pub mod provenance;
mod spdx;

use std::fmt;

use crate::oci::{Digest, Platform, canonical_json};

pub use component::{Component, Kind, purl, requirement_name};

/// The media type of an SPDX document, and of the artifact that holds one.
pub const SPDX: &str = "application/spdx+json";
/// The media type of a CycloneDX document, and of the artifact that holds one.
pub const CYCLONEDX: &str = "application/vnd.cyclonedx+json";

/// Where esker comes from: what its documents name as their maker, and what their identifiers begin with.
const HOME: &str = env!("CARGO_PKG_REPOSITORY");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A format of a software bill of materials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// SPDX 2.3 as JSON.
    #[default]
    Spdx,
    /// CycloneDX 1.6 as JSON.
    CycloneDx,
}

/// An image for one platform and all that is installed in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// What the image is called, without registry and tag.
    pub name: String,
    /// Its platform.
    pub platform: Platform,
    /// Digest of its manifest, or of its configuration where there is no manifest.
    pub digest: Digest,
    /// When it was made, as its configuration says (RFC 3339).
    pub created: String,
    /// What is in it, in order of [`Component::id`].
    pub components: Vec<Component>,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 2] = [Self::Spdx, Self::CycloneDx];

    /// The media type of its documents.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Spdx => SPDX,
            Self::CycloneDx => CYCLONEDX,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spdx => "spdx",
            Self::CycloneDx => "cyclonedx",
        })
    }
}

impl Inventory {
    /// An inventory of `components`, which are put in order; one that is listed twice stays once.
    pub fn new(name: &str, platform: Platform, digest: Digest, created: &str, components: Vec<Component>) -> Self {
        let mut components = components;
        components.sort_by_cached_key(Component::id);
        components.dedup_by_key(|component| component.id());
        Self { name: name.to_owned(), platform, digest, created: seconds(created), components }
    }

    /// The bill of materials in `format`, as canonical JSON.
    pub fn sbom(&self, format: Format) -> Vec<u8> {
        canonical_json(&match format {
            Format::Spdx => spdx::document(self),
            Format::CycloneDx => cyclonedx::document(self),
        })
    }

    /// The image itself as a package URL.
    fn purl(&self) -> String {
        let arch = self.platform.architecture();
        purl("oci", None, &self.name, &self.digest.to_string(), &[("arch", arch)])
    }
}

/// A time in whole seconds of UTC, which is all that SPDX takes; 1970 where it is no time.
fn seconds(time: &str) -> String {
    let time: jiff::Timestamp = time.parse().unwrap_or_default();
    jiff::Timestamp::from_second(time.as_second()).unwrap_or_default().to_string()
}

/// Letters, digits, `.` and `-` of `text`, which is all that SPDX takes in identifiers. Other characters become `-`, and
/// a piece of the text's hash then keeps two texts apart.
fn identifier(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let replaced: String = text.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    format!("{}-{}", replaced.trim_matches('-'), &Digest::of(text.as_bytes()).hex()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_of_utc() {
        assert_eq!(seconds("2024-05-06T07:08:09.123+02:00"), "2024-05-06T05:08:09Z");
        assert_eq!(seconds("once"), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn identifiers_stay_apart() {
        assert_eq!(identifier("conda-22.04"), "conda-22.04");
        let (one, other) = (identifier("_libgcc_mutex"), identifier("-libgcc-mutex-x_"));
        assert!(one.starts_with("libgcc-mutex-") && other.starts_with("libgcc-mutex-x-"), "{one} {other}");
        assert_ne!(identifier("a_b"), identifier("a b"));
    }
}
