//! Everything an image consists of, in the order in which a registry takes it: blobs, manifests, then their index.
//!
//! What refers to the image with a `subject` (OCI image-spec 1.1: an SBOM, a signature) belongs to it as well. A layout
//! lists such manifests in its `index.json`, beside the image.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::{ANNOTATION_BASE_IMAGE_NAME, Descriptor, ImageManifest};

use super::document::Document;
use super::error::{Error, Result};
use super::image::{is_index, is_manifest};
use super::layout::sha256;
use super::{Digest, Layout};

/// The most documents that make up an image.
const MAX_DOCUMENTS: usize = 1000;

/// One manifest or index, as it is stored.
#[derive(Clone, Debug)]
pub struct Part {
    /// Of the document.
    pub descriptor: Descriptor,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it refers to.
    pub subject: Option<Digest>,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Closure {
    /// The image's documents, children before their index, which is the last.
    pub documents: Vec<Part>,
    /// What refers to them.
    pub referrers: Vec<Part>,
    /// Configurations and layers of the documents, each once.
    pub blobs: BTreeMap<Digest, Descriptor>,
    /// Those of the referrers that are none of the documents'.
    pub referrer_blobs: BTreeMap<Digest, Descriptor>,
}

impl Layout {
    /// The descriptor of what the layout holds: its one image index, else its one manifest that refers to nothing.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it holds several or none, and when `index.json` cannot be read.
    pub fn top(&self) -> Result<Descriptor> {
        let top = self.index()?;
        let mut candidates: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
        for descriptor in top.manifests().iter().filter(|descriptor| is_index(descriptor)) {
            candidates.insert(sha256(descriptor)?, descriptor);
        }
        if candidates.is_empty() {
            for descriptor in top.manifests().iter().filter(|descriptor| is_manifest(descriptor)) {
                if self.read_json::<ImageManifest>(descriptor)?.subject().is_none() {
                    candidates.insert(sha256(descriptor)?, descriptor);
                }
            }
        }
        match candidates.into_values().collect::<Vec<_>>().as_slice() {
            [only] => Ok((*only).clone()),
            several => {
                let reason = format!("it holds {} images, where one is expected", several.len());
                Err(Error::malformed(&self.index_path().display(), &reason))
            }
        }
    }
}

impl Closure {
    /// What the image `top` of `layout` consists of, and what of `layout` refers to it. Documents are read and checked;
    /// blobs need not be there.
    ///
    /// # Errors
    /// When a document is missing, damaged or not valid.
    pub fn of(layout: &Layout, top: &Descriptor) -> Result<Self> {
        let mut closure = Self {
            documents: Vec::new(),
            referrers: Vec::new(),
            blobs: BTreeMap::new(),
            referrer_blobs: BTreeMap::new(),
        };
        closure.add(layout, top, 0)?;
        let listed: Vec<_> = layout.index()?.manifests().iter().filter(|listed| is_manifest(listed)).cloned().collect();
        let mut known: BTreeSet<Digest> = closure.documents.iter().map(|part| part.digest).collect();
        // What refers to a referrer (a signature of an SBOM) is found in the round after it.
        loop {
            let before = known.len();
            for descriptor in &listed {
                if !known.contains(&sha256(descriptor)?) {
                    closure.add_referrer(layout, descriptor, &mut known)?;
                }
            }
            if known.len() == before {
                return Ok(closure);
            }
        }
    }

    /// Adds the manifest `descriptor` of `layout`, which refers to the image whether or not `index.json` lists it.
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn with_referrer(mut self, layout: &Layout, descriptor: &Descriptor) -> Result<Self> {
        let mut known = self.documents.iter().chain(&self.referrers).map(|part| part.digest).collect();
        self.add_referrer(layout, descriptor, &mut known)?;
        Ok(self)
    }

    /// What the images are built on, as their manifests say: names of images in registries.
    pub fn bases(&self) -> BTreeSet<String> {
        let manifests = self.documents.iter().filter_map(|part| {
            let Ok(Document::Manifest(manifest)) = Document::parse(&part.bytes, "") else { return None };
            manifest.annotations().as_ref()?.get(ANNOTATION_BASE_IMAGE_NAME).cloned()
        });
        manifests.collect()
    }

    fn add(&mut self, layout: &Layout, descriptor: &Descriptor, depth: usize) -> Result<()> {
        let digest = sha256(descriptor)?;
        if self.documents.iter().any(|part| part.digest == digest) {
            return Ok(());
        }
        if depth > 4 || self.documents.len() > MAX_DOCUMENTS {
            return Err(Error::malformed(&digest, &"its indexes are nested too deep or are too many"));
        }
        let bytes = layout.read(descriptor)?;
        let mut subject = None;
        match Document::parse(&bytes, &digest.to_string())? {
            Document::Index(index) => {
                for child in index.manifests() {
                    self.add(layout, child, depth + 1)?;
                }
            }
            Document::Manifest(manifest) => {
                subject = manifest.subject().as_ref().map(sha256).transpose()?;
                for blob in blobs(&manifest) {
                    self.blobs.insert(sha256(blob)?, blob.clone());
                }
            }
        }
        self.documents.push(Part { descriptor: descriptor.clone(), digest, bytes, subject });
        Ok(())
    }

    fn add_referrer(&mut self, layout: &Layout, descriptor: &Descriptor, known: &mut BTreeSet<Digest>) -> Result<()> {
        let digest = sha256(descriptor)?;
        let bytes = layout.read(descriptor)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, &digest.to_string())? else { return Ok(()) };
        let subject = manifest.subject().as_ref().map(sha256).transpose()?;
        if subject.is_none_or(|subject| !known.contains(&subject)) || !known.insert(digest) {
            return Ok(());
        }
        for blob in blobs(&manifest) {
            let digest = sha256(blob)?;
            if !self.blobs.contains_key(&digest) {
                self.referrer_blobs.insert(digest, blob.clone());
            }
        }
        let mut descriptor = Descriptor::new(descriptor.media_type().clone(), descriptor.size(), digest);
        // As the referrers API lists it (distribution-spec, "Listing Referrers").
        let kind = manifest.artifact_type().clone().unwrap_or_else(|| manifest.config().media_type().clone());
        descriptor.set_artifact_type(Some(kind));
        descriptor.set_annotations(manifest.annotations().clone());
        self.referrers.push(Part { descriptor, digest, bytes, subject });
        Ok(())
    }
}

fn blobs(manifest: &ImageManifest) -> impl Iterator<Item = &Descriptor> {
    [manifest.config()].into_iter().chain(manifest.layers())
}
