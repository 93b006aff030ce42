//! The base in the engine: esker has it already, pinned and checked, so the engine asks no registry for it.

use oci_spec::image::{Descriptor, ImageManifest, MediaType, PlatformBuilder};

use super::error::Error;
use crate::build::base::BaseImage;
use crate::build::native::image::{WrittenImage, index};
use crate::docker::Engine;
use crate::oci::{Digest, Layout};
use crate::progress::{Progress, Task, Unit};

/// What is loaded is called `localhost/…`: no registry that an engine could ask for it by mistake.
const REPOSITORY: &str = "localhost/esker/base";

/// Makes sure that the engine has `base`, whose documents may be in `cache`, and returns its name there.
///
/// # Errors
/// When the base cannot be read, or the engine does not take it.
pub async fn load(base: &BaseImage, cache: &Layout, engine: &Engine, progress: &dyn Progress) -> Result<String, Error> {
    let configuration = configuration(base, cache)?;
    let architecture = base.platform.architecture();
    let tag = format!("{REPOSITORY}:{}-{architecture}", &Digest::of(&configuration).hex()[..16]);
    let wanted: Vec<_> = base.layers.iter().map(|layer| layer.diff_id).collect();
    if engine.image(&tag).await?.is_some_and(|there| there.diff_ids == wanted && there.architecture == architecture) {
        return Ok(tag);
    }
    let _task = Task::start(progress, "loading the base into Docker", None, Unit::Bytes);
    let folder = tempfile::tempdir_in(cache.path()).map_err(Error::write(cache.path()))?;
    let layout = Layout::create(folder.path().join("base"))?;
    put(base, &configuration, &layout)?;
    let image = layout.image(base.platform)?;
    engine.load_image(&layout, &image, &tag).await?;
    Ok(tag)
}

/// The configuration byte for byte, where it is at hand; else as far as it is known.
fn configuration(base: &BaseImage, cache: &Layout) -> Result<Vec<u8>, Error> {
    let blobs = base.layers.first().and_then(|layer| layer.path.ancestors().nth(3));
    let places = blobs.and_then(|root| Layout::cache(root).ok()).into_iter().chain([cache.clone()]);
    for place in places {
        // A base that is made here has no manifest.
        let Ok(manifest) = place.read_document(&base.manifest_digest) else { continue };
        let Ok(manifest) = serde_json::from_slice::<ImageManifest>(&manifest) else { continue };
        if let Ok(bytes) = place.read(manifest.config()) {
            return Ok(bytes);
        }
    }
    Ok(crate::oci::canonical_json(&base.config))
}

fn put(base: &BaseImage, configuration: &[u8], layout: &Layout) -> Result<(), Error> {
    for layer in &base.layers {
        let digest = Digest::try_from(layer.descriptor.digest()).map_err(|error| {
            let reason = format!("its layer has no SHA-256: {error}");
            Error::Saved { image: base.reference.clone(), reason }
        })?;
        layout.import(&layer.path, &digest, layer.descriptor.size())?;
    }
    let value: serde_json::Value = serde_json::from_slice(configuration).map_err(|error| {
        let reason = format!("its configuration is damaged: {error}");
        Error::Saved { image: base.reference.clone(), reason }
    })?;
    let platform = PlatformBuilder::default()
        .architecture(base.config.architecture().clone())
        .os(base.config.os().clone())
        .build()
        .expect("it is complete");
    let layers: Vec<Descriptor> = base.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let written = WrittenImage::write(layout, &value, platform, layers, Default::default())?;
    debug_assert_eq!(written.descriptor.media_type(), &MediaType::ImageManifest);
    layout.set_index("base", &index(&[written], 0))?;
    Ok(())
}
