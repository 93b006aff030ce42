//! OCI values: digests, platforms, deterministic tar, layers, layouts, archives. Values and disk, no network.
//!
//! The JSON types are `oci_spec`'s. They are always written through [`canonical_json`], because their maps have no
//! order of their own and a digest must not depend on a hash seed.

pub mod archive;
pub mod artifact;
mod blob;
pub mod closure;
pub mod compression;
pub mod digest;
pub mod document;
pub mod entries;
pub mod error;
pub mod image;
mod in_use;
pub mod layer;
pub mod layout;
pub mod platform;
pub mod reference;
mod rootdir;
pub mod tar;
pub mod unpack;
pub mod validate;
pub mod walk;

pub use archive::write_docker_archive;
pub use artifact::Artifact;
pub use blob::BlobWriter;
pub use closure::Closure;
pub use compression::{Compression, Encoder};
pub use digest::Digest;
pub use document::Document;
pub use error::Error;
pub use image::Image;
pub use in_use::InUse;
pub use layer::Layer;
pub use layout::Layout;
pub use platform::Platform;
pub use unpack::{Ownership, unpack};
pub use validate::validate;
pub use walk::{read_files, walk};

/// Serialises `value` with sorted keys and no white space (RFC 8785), so that equal values have equal digests.
///
/// # Panics
/// Never for the types of this crate and of `oci_spec`: their keys are strings and their numbers are integers.
pub fn canonical_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value).expect("string keys and integers always serialise")
}
