//! Checks everything a layout holds: that it is all there, and that it is what it says it is.

use oci_spec::image::{Descriptor, ImageManifest};
use rayon::prelude::*;

use super::error::{Error, Result};
use super::image::is_config;
use super::layout::{platform_of, sha256};
use super::{Digest, Image, Layer, Layout};

/// Something wrong with a layout.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A document or layer is missing, damaged or not valid.
    #[error("in the image `{manifest}`")]
    Image {
        /// Digest of the image's manifest.
        manifest: Digest,
        /// What is wrong.
        source: Error,
    },
    /// The index lists an image under another platform than it is for.
    #[error("the image `{manifest}` is listed for {listed} and configured for {configured}")]
    Platform {
        /// Digest of the image's manifest.
        manifest: Digest,
        /// What the index says.
        listed: String,
        /// What the configuration says.
        configured: String,
    },
    /// The indexes cannot be read.
    #[error("the index cannot be read")]
    Index {
        /// What is wrong.
        source: Error,
    },
}

/// Reads and checks every image of `layout`: digests and sizes of all blobs, `diff_id`s of all layers, platforms.
///
/// # Errors
/// Everything that is wrong.
pub fn validate(layout: &Layout) -> std::result::Result<(), Vec<Problem>> {
    let manifests = layout.manifests().map_err(|source| vec![Problem::Index { source }])?;
    let problems: Vec<_> = manifests.iter().flat_map(|descriptor| image_problems(layout, descriptor)).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn image_problems(layout: &Layout, descriptor: &Descriptor) -> Vec<Problem> {
    let loaded = sha256(descriptor).and_then(|digest| Ok((digest, load(layout, descriptor)?)));
    match loaded {
        Ok((_, None)) => Vec::new(),
        Ok((manifest, Some(image))) => {
            let layers = image.layers.par_iter().filter_map(|layer: &Layer| layer.measure(layout).err());
            let mut problems: Vec<_> = layers.map(|source| Problem::Image { manifest, source }).collect();
            problems.extend(platform_problem(&image));
            problems
        }
        Err(source) => match sha256(descriptor) {
            Ok(manifest) => vec![Problem::Image { manifest, source }],
            Err(source) => vec![Problem::Index { source }],
        },
    }
}

/// The image, or nothing for an artifact that is all there.
fn load(layout: &Layout, descriptor: &Descriptor) -> Result<Option<Image>> {
    let manifest: ImageManifest = layout.read_json(descriptor)?;
    if manifest.subject().is_some() && !is_config(manifest.config()) {
        layout.read(manifest.config())?;
        return layout.artifact(descriptor).map(|_| None);
    }
    let config = layout.read_json(manifest.config())?;
    Image::new(descriptor.clone(), manifest, config).map(Some)
}

fn platform_problem(image: &Image) -> Option<Problem> {
    let listed = image.descriptor.platform().as_ref()?;
    if platform_of(&image.descriptor) == Some(image.platform) {
        return None;
    }
    Some(Problem::Platform {
        manifest: image.digest,
        listed: format!("{}/{}", listed.os(), listed.architecture()),
        configured: image.platform.to_string(),
    })
}
