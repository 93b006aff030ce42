//! Puts documents about an image that a builder made beside it, as the native engine does: an SBOM in each format for every
//! platform, and the provenance of all.
//!
//! What steps of a Dockerfile install is known from the image alone: its layers are looked into, once for each manifest
//! that comes out, and what is found is joined with the locks.

use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::{Deserialize, Serialize};

use super::Request;
use super::error::Error;
use super::locked::Locked;
use super::statement::statement;
use crate::build::documents::{self, KIND, Known};
use crate::build::native::image::WrittenImage;
use crate::build::native::store::{self, Store};
use crate::installed;
use crate::oci::layout::sha256;
use crate::oci::{Layout, Platform};
use crate::progress::Progress;
use crate::supply::Inventory;
use crate::supply::provenance::{self, Input};

/// Part of every key: another way to look into images needs another number.
const FORMAT: u32 = 1;

/// What is known of one platform's image.
#[derive(Serialize, Deserialize)]
struct Listed {
    /// Its SBOMs.
    documents: Vec<Known>,
    /// The locked packages that are in it.
    packages: Vec<Input>,
}

/// Stores the documents about `index`, whose images are `written`, and returns descriptors of them; none where none are
/// asked for.
///
/// # Errors
/// [`Error::Contents`] when it cannot be told what is in an image; when the layout, the cache or a file that was built with
/// cannot be used.
pub async fn attach(
    request: &Request<'_>,
    index: &ImageIndex,
    written: &[(Platform, &WrittenImage)],
    store: &Store,
    layout: &Layout,
    progress: &dyn Progress,
) -> Result<Vec<Descriptor>, Error> {
    if !request.sbom {
        return Ok(Vec::new());
    }
    let whole = layout.put_json(MediaType::ImageIndex, index)?;
    let mut subjects = vec![(request.image.to_owned(), sha256(&whole)?)];
    let (mut stored, mut packages) = (Vec::new(), Vec::new());
    for (platform, image) in written {
        subjects.push((format!("{} {platform}", request.image), image.manifest));
        let listed = listed(request, *platform, image, store, layout, progress).await?;
        stored.extend(listed.documents);
        packages.extend(listed.packages);
    }
    stored.push(documents::put_provenance(layout, &whole, &statement(request, &subjects, packages)?)?);
    Ok(stored.into_iter().map(|known| known.descriptor).collect())
}

/// The SBOMs of one platform's image, made unless they are there.
async fn listed(
    request: &Request<'_>,
    platform: Platform,
    image: &WrittenImage,
    store: &Store,
    layout: &Layout,
    progress: &dyn Progress,
) -> Result<Listed, Error> {
    let locked = Locked::new(request.packages.iter().copied(), &request.debian, platform);
    let made_of = (FORMAT, provenance::version(), request.image, image.manifest, locked.identity());
    let key = store::key(KIND, &("docker", made_of));
    if let Some(known) = store.get::<Listed>(KIND, &key)
        && known.documents.iter().all(|document| document.is_in(layout))
    {
        return Ok(known);
    }
    let inventory = inventory(request, image, layout, progress).await?;
    let (components, packages): (Vec<_>, Vec<_>) =
        inventory.components.into_iter().map(|component| locked.join(component)).unzip();
    let inventory = Inventory { components, ..inventory };
    let listed = Listed {
        documents: documents::put_sboms(layout, &image.descriptor, &inventory)?,
        packages: packages.into_iter().flatten().collect(),
    };
    store.put(KIND, &key, &listed)?;
    Ok(listed)
}

/// What is in one platform's image, by what it says itself.
async fn inventory(
    request: &Request<'_>,
    image: &WrittenImage,
    layout: &Layout,
    progress: &dyn Progress,
) -> Result<Inventory, Error> {
    let unreadable = |error| Error::Contents { image: request.image.to_owned(), source: Box::new(error) };
    let no_image = || Error::Saved { image: request.image.to_owned(), reason: "its manifest is none".to_owned() };
    let image = layout.load(image.descriptor.clone())?.ok_or_else(no_image)?;
    let contents = installed::contents_of(&image, layout, progress).await.map_err(unreadable)?;
    Ok(contents.inventory(request.image))
}
