//! Builds an image again from what is recorded beside it, without its project.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::build::native::inputs::{self, Inputs, InputsError};
use crate::build::{Built, native};
use crate::channel;
use crate::installed::{self, ImageSource, Reader, created_by};
use crate::oci::{self, Digest, Image, Layout, Platform};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::supply::provenance;

/// Why an image could not be built again.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant without a comment is the stage its error comes from")]
pub enum Error {
    #[error(transparent)]
    Installed(#[from] installed::Error),
    #[error(transparent)]
    Channel(#[from] channel::Error),
    #[error(transparent)]
    Native(#[from] native::Error),
    /// The folder that it is built in cannot be used.
    #[error(transparent)]
    Folder(#[from] oci::Error),
    /// Nothing is recorded beside it.
    #[error("beside `{image}` is not recorded what it was built from")]
    NotRecorded {
        /// The image, as written.
        image: String,
    },
    /// Docker or a BuildKit daemon built it.
    #[error(
        "`{image}` was built from a Dockerfile, by Docker or a BuildKit daemon: its steps cannot be repeated from a record"
    )]
    OfDockerfile {
        /// The image, as written.
        image: String,
    },
    /// What is recorded cannot be used.
    #[error("cannot build `{image}` again")]
    Inputs {
        /// The image, as written.
        image: String,
        /// Why not.
        source: InputsError,
    },
}

/// An image and what came out when it was built again.
#[derive(Debug, Serialize)]
pub struct Rebuilt {
    /// The image, as written.
    pub image: String,
    /// The digest that it has.
    pub digest: Digest,
    /// The digest that came out.
    pub rebuilt: Digest,
    /// Every platform of either.
    pub platforms: Vec<RebuiltPlatform>,
}

/// One platform of a [`Rebuilt`] image.
#[derive(Debug, Serialize)]
pub struct RebuiltPlatform {
    /// The platform.
    pub platform: Platform,
    /// Digest of its manifest; nothing if the image has none for it.
    pub manifest: Option<Digest>,
    /// Digest of the manifest that came out.
    pub rebuilt: Option<Digest>,
    /// Whether the configuration differs.
    pub config_differs: bool,
    /// Layers that differ.
    pub layers: Vec<LayerDifference>,
}

/// A layer that is not what it was.
#[derive(Debug, Serialize)]
pub struct LayerDifference {
    /// Its number, the base's layers counted, from 0.
    pub layer: usize,
    /// Its digest in the image.
    pub digest: Option<Digest>,
    /// The digest that came out.
    pub rebuilt: Option<Digest>,
    /// What made it, as the configuration says.
    pub created_by: Option<String>,
}

impl Rebuilt {
    /// Whether the same image came out.
    pub fn is_same(&self) -> bool {
        self.digest == self.rebuilt
    }
}

/// Builds the image that `source` names into a layout at `folder`, and compares.
///
/// The base's layers are taken from the image itself, by the digests that are recorded; everything else is made anew, or
/// comes from the cache as in any build.
///
/// # Errors
/// When nothing is recorded beside it, or what is cannot be built here.
pub async fn rebuild(
    source: &ImageSource,
    folder: &Path,
    reader: &Reader<'_>,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Rebuilt, Error> {
    let (digest, images) = reader.images(source).await?;
    let not_recorded = || Error::NotRecorded { image: source.to_string() };
    let digest = digest.ok_or_else(not_recorded)?;
    let attached = reader.attached(source, &BTreeSet::from([digest])).await?;
    let Some(recorded) = attached.iter().find(|attached| attached.kind() == inputs::MEDIA_TYPE) else {
        for statement in attached.iter().filter(|attached| attached.kind() == provenance::MEDIA_TYPE) {
            if provenance::is_of_dockerfile(&reader.document(source, statement).await?) {
                return Err(Error::OfDockerfile { image: source.to_string() });
            }
        }
        return Err(not_recorded());
    };
    let unusable = |error| Error::Inputs { image: source.to_string(), source: error };
    let inputs = Inputs::parse(&reader.document(source, recorded).await?).map_err(unusable)?;
    let cache = Layout::cache(&settings.cache_dir)?;
    let mut blobs = BTreeMap::new();
    for (digest, descriptor) in inputs.base_layers() {
        blobs.insert(digest, reader.blob(source, descriptor, &cache).await?);
    }
    let inputs = inputs.recorded(&blobs).map_err(unusable)?;
    let request = inputs.request(&settings.cache_dir, settings.jobs);
    let built = native::build(&request, &channels(settings)?, folder, progress).await?;
    compare(source, digest, &images, &built)
}

/// Fetches packages. No variable is filled in: what is recorded comes from elsewhere, and could ask for any.
fn channels(settings: &Settings) -> Result<channel::Client, channel::Error> {
    let mut variables = channel::Variables::default();
    settings.mirrors.iter().for_each(|mirror| variables.mirror(mirror, &|name| settings.variable(name)));
    channel::Client::new(channel::Options {
        cache_dir: settings.cache_dir.clone(),
        mirrors: settings.mirrors.clone(),
        variables,
        offline: settings.offline,
        jobs: settings.jobs,
        auth_file: settings.credentials.channel_auth_file.clone(),
        netrc: settings.credentials.netrc.clone(),
        uv: settings.uv.clone(),
    })
}

fn compare(source: &ImageSource, digest: Digest, images: &[Image], built: &Built) -> Result<Rebuilt, Error> {
    let rebuilt = Layout::open(&built.layout)?.images()?;
    let of = |images: &[Image], platform| images.iter().find(|image| image.platform == platform).cloned();
    let platforms: BTreeSet<_> = images.iter().chain(&rebuilt).map(|image| image.platform).collect();
    let platforms =
        platforms.into_iter().map(|platform| difference(platform, of(images, platform), of(&rebuilt, platform)));
    let platforms = platforms.collect();
    Ok(Rebuilt { image: source.to_string(), digest, rebuilt: built.digest, platforms })
}

fn difference(platform: Platform, old: Option<Image>, new: Option<Image>) -> RebuiltPlatform {
    let layers = |image: &Option<Image>| image.as_ref().map(|image| image.layers.clone()).unwrap_or_default();
    let (before, after) = (layers(&old), layers(&new));
    let lines = new.as_ref().or(old.as_ref()).map(created_by).unwrap_or_default();
    let differing = (0..before.len().max(after.len())).filter_map(|layer| {
        let [digest, rebuilt] = [&before, &after].map(|layers| layers.get(layer).map(|layer| layer.digest));
        let created_by = lines.get(layer).cloned().flatten();
        (digest != rebuilt).then_some(LayerDifference { layer, digest, rebuilt, created_by })
    });
    RebuiltPlatform {
        platform,
        layers: differing.collect(),
        config_differs: old.as_ref().map(|image| image.config_digest) != new.as_ref().map(|image| image.config_digest),
        manifest: old.map(|image| image.digest),
        rebuilt: new.map(|image| image.digest),
    }
}
