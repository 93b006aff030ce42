//! Documents about an image, such as its SBOM, kept beside it as OCI artifacts.
//!
//! An artifact is a manifest with an empty configuration, one blob, and a `subject`: the manifest it says something about
//! (image-spec 1.1, "Guidelines for Artifact Usage"). The subject knows nothing of it, so its digest stays what it is.
//! In a layout, artifacts are entries of `index.json` without a name: skopeo, umoci and Docker look images up by name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use oci_spec::image::{Descriptor, ImageManifest, ImageManifestBuilder, MediaType};

use super::error::{Error, Mismatch, Result};
use super::image::is_manifest;
use super::layout::sha256;
use super::{Digest, Layout};

/// The type of a configuration that says nothing (image-spec 1.1, "Guidance for an Empty Descriptor").
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The most bytes of a document: the SBOM of a thousand packages has about two million.
const MAX_CONTENT: u64 = 64 << 20;

/// A document about an image, to be stored.
#[derive(Clone, Debug)]
pub struct Artifact<'a> {
    /// Of the manifest or index that it is about.
    pub subject: &'a Descriptor,
    /// What kind of document it is: the type of the artifact and of its blob.
    pub media_type: &'static str,
    /// The document.
    pub content: &'a [u8],
    /// Annotations of the artifact, by which clients choose among several of a type.
    pub annotations: BTreeMap<String, String>,
}

impl Layout {
    /// Stores `artifact` and returns the descriptor for [`set_index_with`](Self::set_index_with).
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn put_artifact(&self, artifact: &Artifact<'_>) -> Result<Descriptor> {
        let media_type = MediaType::Other(artifact.media_type.to_owned());
        let (config, config_size) = self.put(b"{}")?;
        let (content, size) = self.put(artifact.content)?;
        let subject = artifact.subject;
        let mut manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(media_type.clone())
            .config(Descriptor::new(MediaType::Other(EMPTY.to_owned()), config_size, config))
            .layers(vec![Descriptor::new(media_type.clone(), size, content)])
            .subject(Descriptor::new(subject.media_type().clone(), subject.size(), subject.digest().clone()))
            .build()
            .expect("it is complete");
        let annotations =
            (!artifact.annotations.is_empty()).then(|| artifact.annotations.clone().into_iter().collect());
        manifest.set_annotations(annotations);
        let mut descriptor = self.put_json(MediaType::ImageManifest, &manifest)?;
        descriptor.set_artifact_type(Some(media_type));
        descriptor.set_annotations(manifest.annotations().clone());
        Ok(descriptor)
    }

    /// Descriptors of the artifacts about any of `subjects` that `index.json` lists.
    ///
    /// # Errors
    /// When `index.json` or a manifest it lists cannot be read.
    pub fn referrers(&self, subjects: &BTreeSet<Digest>) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        for descriptor in self.index()?.manifests().iter().filter(|descriptor| is_manifest(descriptor)) {
            let manifest: ImageManifest = self.read_json(descriptor)?;
            let subject = manifest.subject().as_ref().map(sha256).transpose()?;
            if subject.is_some_and(|subject| subjects.contains(&subject)) {
                let mut descriptor = descriptor.clone();
                descriptor.set_artifact_type(artifact_type(&manifest));
                found.push(descriptor);
            }
        }
        Ok(found)
    }

    /// The document of the artifact `descriptor`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past 64 MiB, [`Error::MissingBlob`], [`Error::Corrupt`]; [`Error::Malformed`] when it is no
    /// artifact of one blob.
    pub fn artifact(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let manifest: ImageManifest = self.read_json(descriptor)?;
        let content = content_of(&manifest, descriptor)?;
        let (digest, size) = (sha256(content)?, content.size());
        if size > MAX_CONTENT {
            return Err(Error::TooLarge { what: digest.to_string(), size, limit: MAX_CONTENT });
        }
        let path = self.blob_path(&digest);
        let mut bytes = Vec::new();
        self.open_blob(&digest)?.take(size + 1).read_to_end(&mut bytes).map_err(Error::read(&path))?;
        Mismatch::check((digest, size), (Digest::of(&bytes), bytes.len() as u64))
            .map_err(|mismatch| Error::Corrupt { path, mismatch })?;
        Ok(bytes)
    }
}

/// What kind of document an artifact is; older ones say it by the type of their configuration.
pub fn artifact_type(manifest: &ImageManifest) -> Option<MediaType> {
    manifest.artifact_type().clone().or_else(|| Some(manifest.config().media_type().clone()))
}

/// The one blob of the artifact `manifest`, whose descriptor is `descriptor`.
///
/// # Errors
/// [`Error::Malformed`] when it has none, or several.
pub fn content_of<'a>(manifest: &'a ImageManifest, descriptor: &Descriptor) -> Result<&'a Descriptor> {
    match manifest.layers().as_slice() {
        [content] => Ok(content),
        several => {
            let reason = format!("it has {} blobs, not one", several.len());
            Err(Error::malformed(descriptor.digest(), &reason))
        }
    }
}
