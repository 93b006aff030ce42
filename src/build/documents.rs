//! Documents that lie beside an image, whichever engine built it: stored, found again, and what all of them say alike of
//! what went into an image.

use std::collections::BTreeMap;

use oci_spec::distribution::Reference;
use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};

use super::base::BaseImage;
use crate::apt::LockedDeb;
use crate::lock::LockedPackage;
use crate::oci::layout::sha256;
use crate::oci::{Artifact, Digest, Error, Layout, reference};
use crate::supply::provenance::{self, Input};
use crate::supply::{Format, Inventory, purl};

/// The folder of the cache that has notes of documents that were stored.
pub const KIND: &str = "documents";

/// A document that was stored before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    /// Of its manifest.
    pub descriptor: Descriptor,
    content: Digest,
    size: u64,
}

impl Known {
    /// Whether all of it is in `layout`.
    pub fn is_in(&self, layout: &Layout) -> bool {
        let manifest = sha256(&self.descriptor).is_ok_and(|digest| layout.has(&digest, self.descriptor.size()));
        manifest && layout.has(&self.content, self.size) && layout.has(&Digest::of(b"{}"), 2)
    }
}

/// Stores a document about `subject`.
///
/// # Errors
/// When the layout cannot be written.
pub fn put(
    layout: &Layout,
    subject: &Descriptor,
    media_type: &'static str,
    content: &[u8],
    annotations: BTreeMap<String, String>,
) -> Result<Known, Error> {
    let descriptor = layout.put_artifact(&Artifact { subject, media_type, content, annotations })?;
    Ok(Known { descriptor, content: Digest::of(content), size: content.len() as u64 })
}

/// Stores the bill of materials of `subject`, which has what `inventory` says, in every format.
///
/// # Errors
/// When the layout cannot be written.
pub fn put_sboms(layout: &Layout, subject: &Descriptor, inventory: &Inventory) -> Result<Vec<Known>, Error> {
    let put = |format: Format| put(layout, subject, format.media_type(), &inventory.sbom(format), BTreeMap::new());
    Format::ALL.into_iter().map(put).collect()
}

/// Stores the provenance of `subject`.
///
/// # Errors
/// When the layout cannot be written.
pub fn put_provenance(layout: &Layout, subject: &Descriptor, statement: &[u8]) -> Result<Known, Error> {
    let predicate = [(provenance::PREDICATE_ANNOTATION.to_owned(), provenance::PREDICATE.to_owned())];
    put(layout, subject, provenance::MEDIA_TYPE, statement, predicate.into())
}

/// The base that an image is built on: by its package URL if it is in a registry, else by its digest alone.
pub fn base(base: &BaseImage) -> Input {
    let reference = base.public_name().and_then(|name| reference::parse(name).ok());
    let uri = reference.map(|reference| image_url(&reference, &base.manifest_digest, base.platform.architecture()));
    Input { name: format!("base {}", base.platform), uri, digest: base.manifest_digest }
}

/// The image `reference` of a registry, which has this digest, as a package URL; `architecture` may be empty.
pub fn image_url(reference: &Reference, digest: &Digest, architecture: &str) -> String {
    let (registry, repository) = (reference.registry(), reference.repository());
    let name = repository.rsplit('/').next().unwrap_or(repository);
    let place = format!("{registry}/{repository}");
    let tag = reference.tag().unwrap_or_default();
    purl(
        "oci",
        None,
        name,
        &digest.to_string(),
        &[("arch", architecture), ("repository_url", place.as_str()), ("tag", tag)],
    )
}

/// A locked package whose archive has this SHA-256; `None` where that is no digest.
pub fn package(locked: &LockedPackage, sha256: &str) -> Option<Input> {
    let digest = Digest::from_hex(sha256).ok()?;
    Some(Input::package(locked.file_name(), &locked.public_url(), digest))
}

/// A locked Debian package; `None` where its hash is no digest.
pub fn deb(locked: &LockedDeb) -> Option<Input> {
    let digest = Digest::from_hex(&locked.sha256).ok()?;
    Some(Input::package(&locked.label(), &locked.url, digest))
}
