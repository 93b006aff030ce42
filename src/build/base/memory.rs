//! What is remembered of layers that were made for bases, and the layers themselves.

use std::path::PathBuf;

use oci_spec::image::{Arch, Descriptor, History, ImageConfiguration, ImageConfigurationBuilder, Os, RootFsBuilder};
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::pull::cache_failed;
use super::rootfs::Machine;
use super::seen::Seen;
use super::{BaseImage, BaseLayer, BaseRequest};
use crate::oci::{self, Digest, Layout, layout};

/// Layers that were made once, and notes of what each was made of.
pub struct Memory {
    /// Digests of files.
    pub seen: Seen,
    /// Where the layers are.
    pub store: Layout,
    records: PathBuf,
}

/// The layer that was made of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub digest: Digest,
    pub size: u64,
    pub diff_id: Digest,
    pub machine: Option<Machine>,
}

impl Memory {
    /// That of the cache of `request`.
    pub fn open(request: &BaseRequest<'_>) -> Result<Self> {
        let store = Layout::cache(request.cache_dir).map_err(cache_failed(request))?;
        Ok(Self { seen: Seen::new(request.cache_dir), records: request.cache_dir.join("rootfs"), store })
    }

    /// The layer that was made before under `name`, if it is still there and undamaged.
    pub fn recall(&self, name: &str) -> Option<Made> {
        let made: Made = serde_json::from_slice(&fs_err::read(self.records.join(name)).ok()?).ok()?;
        let intact = self.store.has(&made.digest, made.size)
            && self.seen.digest(&self.store.blob_path(&made.digest), |_| Ok(())).ok()? == made.digest;
        intact.then_some(made)
    }

    /// Notes under `name` what was made.
    pub fn remember(&self, name: &str, made: &Made) -> oci::error::Result<()> {
        fs_err::create_dir_all(&self.records)
            .map_err(|source| oci::Error::Write { path: self.records.clone(), source })?;
        layout::write_atomically(&self.records.join(name), &oci::canonical_json(made))
    }

    /// A base of one layer, which is in this memory.
    pub fn image(&self, request: &BaseRequest<'_>, source_digest: Digest, digest: Digest, made: &Made) -> BaseImage {
        let layer = BaseLayer {
            descriptor: Descriptor::new(request.compression.layer_media_type(), made.size, made.digest),
            diff_id: made.diff_id,
            path: self.store.blob_path(&made.digest),
        };
        BaseImage {
            reference: request.name(),
            source_digest,
            manifest_digest: digest,
            platform: request.platform,
            config: configuration(request, made.diff_id, vec![]),
            layers: vec![layer],
            made_of: None,
        }
    }
}

/// The configuration of a base of one layer, and what it tells of how it was made.
pub fn configuration(request: &BaseRequest<'_>, diff_id: Digest, history: Vec<History>) -> ImageConfiguration {
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![diff_id.to_string()]).build();
    let mut builder = ImageConfigurationBuilder::default()
        .os(Os::Linux)
        .architecture(Arch::from(request.platform.architecture()))
        .rootfs(rootfs.expect("it is complete"));
    if !history.is_empty() {
        builder = builder.history(history);
    }
    builder.build().expect("it is complete")
}
