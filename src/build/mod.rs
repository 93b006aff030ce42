//! From a lock to an image: the seam between engines.

mod accounts;
pub mod base;
pub mod debian;
pub mod docker;
mod documents;
pub mod native;
pub mod onto;
pub mod output;
pub mod pins;
pub mod target;

use std::path::PathBuf;

use crate::oci::{Digest, Platform};

/// An image that was built: a layout on disk and what is in it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Built {
    /// The image's name in the project.
    pub image: String,
    /// The OCI layout that holds it.
    pub layout: PathBuf,
    /// Digest of the image index.
    pub digest: Digest,
    /// One image a platform, in the index's order.
    pub platforms: Vec<BuiltPlatform>,
    /// What was taken from published images.
    pub from_cache: FromCache,
    /// Packages that had to be downloaded.
    pub downloaded_packages: usize,
}

/// What a build did not make because a published image has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FromCache {
    /// Whole layers.
    pub layers: usize,
    /// Their bytes.
    pub layer_bytes: u64,
    /// Packages in other layers.
    pub parts: usize,
    /// Their bytes.
    pub part_bytes: u64,
}

/// One platform of a [`Built`] image.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BuiltPlatform {
    /// Its platform.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its configuration: the id a daemon gives it.
    pub config: Digest,
    /// Bytes a client without any of its layers pulls.
    pub compressed_size: u64,
    /// Bytes of its layers when unpacked.
    pub unpacked_size: u64,
    /// Number of layers, the base's counted.
    pub layers: usize,
    /// Layers that were taken from the cache or were already in the layout.
    pub reused_layers: usize,
}
