//! The system that images are built on.

use std::path::PathBuf;

use oci_spec::image::{Descriptor, ImageConfiguration};

use crate::oci::{Digest, Platform};

/// A base system for one platform, on disk.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// What it was called.
    pub reference: String,
    /// Digest of what that name stood for.
    pub source_digest: Digest,
    /// Its platform.
    pub platform: Platform,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// Its layers, the lowest first.
    pub layers: Vec<BaseLayer>,
}

/// A layer of a base system.
#[derive(Clone, Debug)]
pub struct BaseLayer {
    /// As the manifest lists it.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Where the blob is.
    pub path: PathBuf,
}

impl BaseImage {
    /// The content of the file `path`, relative to the root.
    pub fn read_file(&self, _path: &str) -> Result<Option<Vec<u8>>, crate::oci::Error> {
        Ok(None)
    }
}
