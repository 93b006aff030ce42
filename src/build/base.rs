//! The system an image is built on: pulled from a registry, read from an OCI layout, or made of a root file system.
//!
//! A base is resolved to digests before anything is built, and what was resolved can be pinned (see
//! [`crate::build::pins`]): then the same base is used until someone asks for another, and needs no network once it
//! is in the cache.

mod error;
mod memory;
pub mod packages;
mod pull;
mod rootfs;
mod seen;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageConfiguration};

pub use self::error::Error;
use self::error::Result;
use self::rootfs::Rootfs;
use crate::oci::entries::LayerEntry;
use crate::oci::walk::ReadFile;
use crate::oci::{self, Compression, Digest, Image, Layer, Layout, Platform, walk};
use crate::progress::Progress;
use crate::project::BaseReference;
use crate::registry;

/// What to find a base for, and how.
#[derive(Clone, Copy, Debug)]
pub struct BaseRequest<'a> {
    /// Where the base comes from.
    pub source: &'a BaseReference,
    /// The platform it is for.
    pub platform: Platform,
    /// What paths in `source` are relative to.
    pub project_root: &'a Path,
    /// Where what was pulled or compressed is kept: blobs in `blobs/sha256`.
    pub cache_dir: &'a Path,
    /// The digest it must have.
    pub pinned: Option<Digest>,
    /// How the layer of a root file system is compressed. Layers that exist stay as they are.
    pub compression: Compression,
    /// Whether only what is in the cache may be used.
    pub offline: bool,
}

/// A base system for one platform, with all its blobs on disk.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// The source, as it is written in `base:`.
    pub reference: String,
    /// Digest of the image index; of the manifest where there is no index; of the file of a root file system.
    pub source_digest: Digest,
    /// Digest of the manifest for this platform; of the file of a root file system.
    pub manifest_digest: Digest,
    /// Its platform.
    pub platform: Platform,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// Its layers, the lowest first.
    pub layers: Vec<BaseLayer>,
    /// The digest of everything that decides its bytes, if it was made of packages.
    pub made_of: Option<Digest>,
}

/// One layer of a [`BaseImage`].
#[derive(Clone, Debug)]
pub struct BaseLayer {
    /// Media type (OCI's, also where the base uses Docker's), size and digest.
    pub descriptor: Descriptor,
    /// Digest of the decompressed blob.
    pub diff_id: Digest,
    /// The blob.
    pub path: PathBuf,
}

/// Finds the base that `request` names, and brings all of it to this machine. One that is made of packages is made by
/// [`packages::make`].
///
/// # Errors
/// [`Error::NoImage`], [`Error::NoPlatform`], [`Error::WrongArchitecture`], [`Error::PinMismatch`] and [`Error::Offline`] when it is not
/// there or not what it should be; the others when it cannot be read.
pub async fn resolve(
    request: BaseRequest<'_>,
    client: &registry::Client,
    progress: &dyn Progress,
) -> Result<BaseImage> {
    match request.source {
        BaseReference::Debian(_) => Err(Error::NoImage { base: request.name() }),
        BaseReference::Registry(reference) => pull::pull(&request, reference, client, progress).await,
        BaseReference::Layout(path) => from_layout(&request, &request.project_root.join(path)),
        BaseReference::Rootfs(path) => {
            let rootfs = Rootfs { file: request.project_root.join(path), compression: request.compression };
            rootfs::resolve(&request, rootfs, progress).await
        }
    }
}

impl BaseRequest<'_> {
    /// What the base is called in errors and locks.
    fn name(&self) -> String {
        self.source.to_string()
    }

    fn check_pin(&self, found: Digest) -> Result<()> {
        match self.pinned {
            Some(pinned) if pinned != found => Err(Error::PinMismatch { base: self.name(), pinned, found }),
            _ => Ok(()),
        }
    }

    /// The error for something wrong with the base itself.
    fn invalid(&self) -> impl FnOnce(oci::Error) -> Error {
        let base = self.name();
        move |source| Error::Image { base, source }
    }
}

fn from_layout(request: &BaseRequest<'_>, path: &Path) -> Result<BaseImage> {
    let layout = Layout::open(path).map_err(request.invalid())?;
    let source_digest = layout.image_index_digest().map_err(request.invalid())?;
    request.check_pin(source_digest)?;
    let image = layout.image(request.platform).map_err(|error| match error {
        oci::Error::NoPlatform { platform, has, .. } => Error::NoPlatform { base: request.name(), platform, has },
        other => request.invalid()(other),
    })?;
    BaseImage::of(request, source_digest, &image, &layout)
}

impl BaseImage {
    /// The base made of `image`, all of whose layers must be in `layout`.
    fn of(request: &BaseRequest<'_>, source_digest: Digest, image: &Image, layout: &Layout) -> Result<Self> {
        let missing = image.layers.iter().find(|layer| !layout.has(&layer.digest, layer.size));
        if let Some(layer) = missing {
            let missing = oci::Error::MissingBlob { layout: layout.path().to_owned(), digest: layer.digest };
            return Err(request.invalid()(missing));
        }
        Ok(Self {
            reference: request.name(),
            source_digest,
            manifest_digest: image.digest,
            platform: image.platform,
            config: image.config.clone(),
            layers: image.layers.iter().map(|layer| BaseLayer::of(layer, layout)).collect(),
            made_of: None,
        })
    }

    /// What images may tell of where the base comes from: a registry's reference. A path on the building machine would
    /// make images differ from machine to machine, and is nobody's business; what was made of packages is in no registry.
    pub fn public_name(&self) -> Option<&str> {
        let local = ["oci:", "rootfs:", "debian:"].iter().any(|kind| self.reference.starts_with(kind));
        (!local).then_some(self.reference.as_str())
    }

    /// The content of the file `path` (`etc/passwd`) after all layers; `None` if there is no such file. A symbolic
    /// link is not followed.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = path.trim_start_matches('/');
        Ok(self.read_files(|candidate| candidate == path)?.remove(path))
    }

    /// The content of the files that `wanted` chooses by their path, without a `/` in front.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn read_files(&self, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<u8>>> {
        let (layers, open) = self.opened()?;
        walk::read_files_of(&layers, &open, &wanted).map_err(|source| self.invalid(source))
    }

    /// [`read_files`](Self::read_files), with the files' modes and owners, and how many bytes all layers have, decompressed: each is compared with what the
    /// configuration says of it.
    ///
    /// # Errors
    /// When a layer cannot be read, or is not what the configuration says.
    pub fn read_and_measure(&self, wanted: impl Fn(&str) -> bool) -> Result<(BTreeMap<String, ReadFile>, u64)> {
        let (layers, open) = self.opened()?;
        walk::read_and_measure(&layers, &open, &wanted).map_err(|source| self.invalid(source))
    }

    /// Calls `visit` with every path that is there after all layers.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn walk(&self, mut visit: impl FnMut(&LayerEntry)) -> Result<()> {
        let (layers, open) = self.opened()?;
        let walked = walk::walk_layers(&layers, &open, &mut |entry, _| {
            visit(entry);
            Ok(ControlFlow::Continue(()))
        });
        walked.map_err(|source| self.invalid(source))
    }

    fn invalid(&self, source: oci::Error) -> Error {
        Error::Image { base: self.reference.clone(), source }
    }

    /// Its layers, and how to open them.
    fn opened(&self) -> Result<(Vec<Layer>, impl Fn(&Layer) -> oci::error::Result<fs_err::File>)> {
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|layer| Layer::new(&layer.descriptor, &layer.diff_id.to_string()))
            .collect::<oci::error::Result<_>>()
            .map_err(|source| self.invalid(source))?;
        let paths: BTreeMap<Digest, &Path> =
            layers.iter().zip(&self.layers).map(|(layer, here)| (layer.digest, here.path.as_path())).collect();
        let open = move |layer: &Layer| {
            let path = paths[&layer.digest];
            fs_err::File::open(path).map_err(|source| oci::Error::Read { path: path.to_owned(), source })
        };
        Ok((layers, open))
    }
}

impl BaseLayer {
    fn of(layer: &Layer, layout: &Layout) -> Self {
        Self {
            descriptor: Descriptor::new(layer.compression.layer_media_type(), layer.size, layer.digest),
            diff_id: layer.diff_id,
            path: layout.blob_path(&layer.digest),
        }
    }
}
