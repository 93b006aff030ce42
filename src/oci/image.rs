//! The images of a layout, read and checked.

use std::collections::BTreeSet;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};

use super::blob::TEMPORARY;
use super::error::{Error, Result};
use super::layout::{platform_of, sha256};
use super::{Digest, Layer, Layout, Platform};

/// How deep indexes may be nested in indexes.
const MAX_DEPTH: usize = 4;
/// How many manifests a layout may refer to.
const MAX_MANIFESTS: usize = 1000;

/// Media types Docker gave its formats before OCI took them over.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// One image for one platform: its manifest and configuration, which are known to fit each other.
#[derive(Clone, Debug)]
pub struct Image {
    /// Of the manifest, as its index lists it.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The platform, as the configuration says.
    pub platform: Platform,
    /// Digest of the manifest.
    pub digest: Digest,
    /// Digest of the configuration: the id a daemon gives the image.
    pub config_digest: Digest,
    /// The layers, the lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// Checks that `manifest` and `config` belong together.
    ///
    /// # Errors
    /// [`Error::Malformed`] when they do not, or when the platform is not one of [`Platform::ALL`].
    pub fn new(descriptor: Descriptor, manifest: ImageManifest, config: ImageConfiguration) -> Result<Self> {
        let platform = config_platform(&config).ok_or_else(|| {
            let named = format!("platform {}/{} is not known", config.os(), config.architecture());
            Error::malformed(manifest.config().digest(), &named)
        })?;
        Ok(Self {
            platform,
            digest: sha256(&descriptor)?,
            config_digest: sha256(manifest.config())?,
            layers: layers(&descriptor, &manifest, &config)?,
            descriptor,
            manifest,
            config,
        })
    }

    /// Bytes of all layers, as they are pulled.
    pub fn compressed_size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

impl Layout {
    /// Every image of the layout that is for a known platform, each once, in the order of the indexes. Attestations
    /// and other artifacts are left out.
    ///
    /// # Errors
    /// When `index.json` or something it refers to is missing, damaged or not valid.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images = Vec::new();
        for descriptor in self.manifests()? {
            if let Some(image) = self.load(descriptor)? {
                images.push(image);
            }
        }
        Ok(images)
    }

    /// The image for `platform`.
    ///
    /// # Errors
    /// [`Error::NoPlatform`], [`Error::Ambiguous`], and those of [`images`](Self::images).
    pub fn image(&self, platform: Platform) -> Result<Image> {
        let mut found = Vec::new();
        let mut has = Vec::new();
        for descriptor in self.manifests()? {
            has.extend(platform_name(&descriptor));
            if descriptor.platform().is_some() && platform_of(&descriptor) != Some(platform) {
                continue;
            }
            let Some(image) = self.load(descriptor)? else { continue };
            has.push(image.platform.to_string());
            if image.platform == platform {
                found.push(image);
            }
        }
        has.sort();
        has.dedup();
        match found.len() {
            0 => Err(Error::NoPlatform { place: self.path().to_owned(), platform, has }),
            1 => Ok(found.swap_remove(0)),
            count => Err(Error::Ambiguous { place: self.path().to_owned(), platform, count }),
        }
    }

    /// The digest that stands for all the layout holds: of its one image index, else of its one manifest, else of
    /// `index.json` itself.
    ///
    /// # Errors
    /// When `index.json` cannot be read.
    pub fn image_index_digest(&self) -> Result<Digest> {
        let top = self.index()?;
        let indexes: BTreeSet<_> = top.manifests().iter().filter(|d| is_index(d)).map(sha256).collect::<Result<_>>()?;
        let images = top.manifests().iter().filter(|d| d.artifact_type().is_none());
        let all: BTreeSet<_> = images.map(sha256).collect::<Result<_>>()?;
        for candidates in [indexes, all] {
            if let (1, Some(only)) = (candidates.len(), candidates.first()) {
                return Ok(*only);
            }
        }
        let path = self.index_path();
        Ok(Digest::of(&fs_err::read(&path).map_err(Error::read(&path))?))
    }

    /// Removes the blobs that nothing in `index.json` refers to, such as those of the image that was there before.
    /// Returns how many bytes that freed.
    ///
    /// Not to be called while another process writes to the same layout: its blobs are not referred to yet.
    ///
    /// # Errors
    /// When a document that is referred to cannot be read (nothing is removed then), or a blob cannot be removed.
    pub fn prune(&self) -> Result<u64> {
        let referred: BTreeSet<String> = self.referred()?.iter().map(Digest::hex).collect();
        let directory = self.blobs();
        let mut freed = 0;
        for entry in fs_err::read_dir(&directory).map_err(Error::read(&directory))? {
            let entry = entry.map_err(Error::read(&directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if referred.contains(&name) || name.starts_with(TEMPORARY) {
                continue;
            }
            let path = entry.path();
            freed += entry.metadata().map_err(Error::read(&path))?.len();
            fs_err::remove_file(&path).map_err(Error::write(&path))?;
        }
        Ok(freed)
    }

    /// Descriptors of all image manifests `index.json` leads to, each once.
    pub(super) fn manifests(&self) -> Result<Vec<Descriptor>> {
        let mut found = Manifests::default();
        self.collect(&self.index()?, 0, &mut found)?;
        Ok(found.manifests)
    }

    fn collect(&self, index: &ImageIndex, depth: usize, found: &mut Manifests) -> Result<()> {
        for descriptor in index.manifests() {
            if !found.seen.insert(sha256(descriptor)?) {
                continue;
            }
            if depth > MAX_DEPTH || found.seen.len() > MAX_MANIFESTS {
                return Err(Error::malformed(
                    &self.path().display(),
                    &"its indexes are nested too deep or are too many",
                ));
            }
            if is_index(descriptor) {
                self.collect(&self.read_json(descriptor)?, depth + 1, found)?;
            } else if is_manifest(descriptor) && !is_attestation(descriptor) {
                found.manifests.push(descriptor.clone());
            } else {
                found.others.push(descriptor.clone());
            }
        }
        Ok(())
    }

    /// Every digest `index.json` leads to.
    fn referred(&self) -> Result<BTreeSet<Digest>> {
        let mut found = Manifests::default();
        self.collect(&self.index()?, 0, &mut found)?;
        let mut digests = found.seen;
        for descriptor in found.manifests.iter().chain(found.others.iter().filter(|d| is_manifest(d))) {
            let manifest: ImageManifest = self.read_json(descriptor)?;
            digests.insert(sha256(manifest.config())?);
            for layer in manifest.layers() {
                digests.insert(sha256(layer)?);
            }
        }
        Ok(digests)
    }

    /// Reads the image of the manifest `descriptor`, be it listed in `index.json` or not; `None` when that is an artifact or for
    /// a platform that is not known.
    ///
    /// # Errors
    /// When the manifest or the configuration is missing, damaged or not valid.
    pub fn load(&self, descriptor: Descriptor) -> Result<Option<Image>> {
        if descriptor.platform().is_some() && platform_of(&descriptor).is_none() {
            return Ok(None);
        }
        let manifest: ImageManifest = self.read_json(&descriptor)?;
        if !is_config(manifest.config()) {
            return Ok(None);
        }
        let config: ImageConfiguration = self.read_json(manifest.config())?;
        if config_platform(&config).is_none() {
            return Ok(None);
        }
        Image::new(descriptor, manifest, config).map(Some)
    }
}

#[derive(Default)]
struct Manifests {
    seen: BTreeSet<Digest>,
    manifests: Vec<Descriptor>,
    others: Vec<Descriptor>,
}

fn layers(descriptor: &Descriptor, manifest: &ImageManifest, config: &ImageConfiguration) -> Result<Vec<Layer>> {
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != manifest.layers().len() {
        let reason = format!("it has {} layers, its configuration has {}", manifest.layers().len(), diff_ids.len());
        return Err(Error::malformed(descriptor.digest(), &reason));
    }
    manifest.layers().iter().zip(diff_ids).map(|(layer, diff_id)| Layer::new(layer, diff_id)).collect()
}

fn config_platform(config: &ImageConfiguration) -> Option<Platform> {
    Platform::from_oci(&config.os().to_string(), &config.architecture().to_string())
}

/// The platform a descriptor names, known or not, as it is shown to users.
pub fn platform_name(descriptor: &Descriptor) -> Option<String> {
    let platform = descriptor.platform().as_ref()?;
    let variant = platform.variant().as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
    Some(format!("{}/{}{variant}", platform.os(), platform.architecture()))
}

/// Whether a descriptor is of an index, in OCI's or Docker's words.
pub fn is_index(descriptor: &Descriptor) -> bool {
    *descriptor.media_type() == MediaType::ImageIndex || descriptor.media_type().as_ref() == DOCKER_INDEX
}

/// Whether a descriptor is of an image manifest, in OCI's or Docker's words.
pub fn is_manifest(descriptor: &Descriptor) -> bool {
    *descriptor.media_type() == MediaType::ImageManifest || descriptor.media_type().as_ref() == DOCKER_MANIFEST
}

/// The image for `platform` in `index`. Of several variants of a CPU the one that runs everywhere.
pub fn choose(index: &ImageIndex, platform: Platform) -> Option<&Descriptor> {
    let variant = |descriptor: &&Descriptor| {
        let variant = descriptor.platform().as_ref().and_then(|platform| platform.variant().clone());
        !matches!(variant.as_deref(), None | Some("v1" | "v8"))
    };
    let images = index.manifests().iter().filter(|descriptor| is_manifest(descriptor) && !is_attestation(descriptor));
    images.filter(|descriptor| platform_of(descriptor) == Some(platform)).min_by_key(variant)
}

/// The platforms that `index` lists images for, as they are shown to users.
pub fn platform_names(index: &ImageIndex) -> Vec<String> {
    let images = index.manifests().iter().filter(|descriptor| !is_attestation(descriptor));
    images.filter_map(platform_name).collect()
}

/// Whether a manifest of an index holds BuildKit's provenance and not an image (BuildKit, "Image attestation storage").
fn is_attestation(descriptor: &Descriptor) -> bool {
    descriptor.annotations().as_ref().is_some_and(|all| all.contains_key("vnd.docker.reference.type"))
}

/// Whether a descriptor is of an image's configuration, in OCI's or Docker's words; an artifact has another.
pub(super) fn is_config(descriptor: &Descriptor) -> bool {
    let name = descriptor.media_type().as_ref();
    *descriptor.media_type() == MediaType::ImageConfig || name == "application/vnd.docker.container.image.v1+json"
}
