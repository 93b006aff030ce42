//! What goes out with an image so that the next build of it, on a machine that has nothing, makes only what changed: what
//! a plan has to know of each package, and for each layer what it was made of and where in it each part lies.
//!
//! It is kept beside the image as an OCI artifact ([`record`]), found by the image's tag ([`find`]), and used for as long
//! as a build lasts ([`fetch`]): nothing of it gets into the cache, so a build that is not told of an image owes it
//! nothing. What was published is compared with digests as far as there are any; that a layer is what its key says
//! is taken on trust, as the content of a base is.

mod fetch;
mod find;
mod record;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use oci_spec::distribution::Reference;
use oci_spec::image::Descriptor;
use tokio::sync::OnceCell;

pub use self::record::{MEDIA_TYPE, PublishedLayer, PublishedPart, Record};
use super::described::Described;
use super::error::Error;
use super::fragment::{Fragment, Part};
use super::layer::Made;
use super::pinned::Pinned;
use super::store::Store;
use crate::build::debian::System;
use crate::oci::Digest;
use crate::registry::Client;

/// The images that a build may take from, in the order they are asked.
#[derive(Clone, Debug, Default)]
pub struct CacheFrom {
    /// Those that somebody named: it is worth a warning when one cannot be used.
    pub named: Vec<Reference>,
    /// What the build will replace; the first of them that is there is asked.
    pub replaced: Vec<Reference>,
}

impl CacheFrom {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.named.is_empty() && self.replaced.is_empty()
    }

    /// All of them.
    pub fn all(&self) -> Vec<Reference> {
        self.named.iter().chain(&self.replaced).cloned().collect()
    }
}

/// What is found beside published images: nothing before it was [looked up](Published::look_up).
#[derive(Debug)]
pub struct Published<'a> {
    from: &'a CacheFrom,
    client: &'a Client,
    images: OnceCell<Vec<Found>>,
}

/// One image with a record.
#[derive(Debug)]
struct Found {
    reference: Reference,
    record: Record,
    /// The image's layers, as its manifests list them.
    blobs: HashMap<Digest, Descriptor>,
    /// Which layer a part is in, and its place there.
    parts: HashMap<Digest, (Digest, usize)>,
}

/// A layer of a published image.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    image: &'a Found,
    /// What it is.
    pub layer: &'a PublishedLayer,
}

/// Parts that were fetched for one build, by their keys.
#[derive(Debug, Default)]
pub struct Borrowed(BTreeMap<Digest, Place>);

/// Where a part is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file before it.
    pub offset: u64,
    /// What is known of it.
    pub part: Part,
    /// Whether it was made somewhere else.
    pub is_borrowed: bool,
}

impl<'a> Published<'a> {
    /// What is beside the images of `from`. Nobody is asked before anything is missing.
    pub fn new(from: &'a CacheFrom, client: &'a Client) -> Self {
        Self { from, client, images: OnceCell::new() }
    }

    fn images(&self) -> &[Found] {
        self.images.get().map_or(&[], Vec::as_slice)
    }

    /// What is said of `package`.
    pub fn described(&self, package: &Pinned) -> Option<&Described> {
        self.images().iter().find_map(|image| image.record.packages.get(&package.sha256))
    }

    /// The layer `key`.
    pub fn layer(&self, key: &Digest) -> Option<Offered<'_>> {
        self.images().iter().find_map(|image| Some(Offered { image, layer: image.record.layers.get(key)? }))
    }

    /// What is said of the system with the layer `key`, which has Debian packages.
    pub fn system(&self, key: &Digest) -> Option<&System> {
        self.images().iter().find_map(|image| image.record.systems.get(key))
    }

    /// What is known of the part `key`.
    pub fn part(&self, key: &Digest) -> Option<&PublishedPart> {
        self.images().iter().find_map(|image| image.part(key).map(|(_, part)| part))
    }
}

impl Found {
    fn part(&self, key: &Digest) -> Option<(&PublishedLayer, &PublishedPart)> {
        let (layer, index) = self.parts.get(key)?;
        let layer = self.record.layers.get(layer)?;
        Some((layer, layer.parts.get(*index)?))
    }
}

impl PublishedLayer {
    /// The layer as the engine knows those it made.
    pub fn made(&self) -> Made {
        let Self { digest, diff_id, size, unpacked_size, .. } = *self;
        Made { digest, diff_id, size, unpacked_size }
    }
}

impl Borrowed {
    /// How many there are, and their bytes.
    pub fn count(&self) -> (usize, u64) {
        (self.0.len(), self.0.values().map(|place| place.part.size).sum())
    }

    /// Where the part of `fragment` is, if it is anywhere: in the cache, else among these.
    pub fn find(&self, store: &Store, fragment: &Fragment) -> Option<Place> {
        let cached = fragment.cached(store).map(|part| Place {
            path: fragment.place(store),
            offset: 0,
            part,
            is_borrowed: false,
        });
        cached.or_else(|| self.0.get(&fragment.key).cloned())
    }
}

impl Place {
    /// The part's bytes, to be read from their beginning.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn open(&self) -> Result<impl Read + use<>, Error> {
        let mut file = fs_err::File::open(&self.path).map_err(Error::read(&self.path))?;
        file.seek(SeekFrom::Start(self.offset)).map_err(Error::read(&self.path))?;
        Ok(file.take(self.part.size))
    }
}
