//! What is installed in an image, read from the records that package managers left in its layers.
//!
//! Nothing is run, unpacked or kept: layers are streamed from where they are. To compare images ([`Reader::read`]) only
//! `conda-meta/*.json` is looked at; to tell all that is in one ([`Reader::contents`]), the names and sizes of all files
//! and the records of dpkg and pip, too. So an image of anybody's can be looked into, whoever built it.

mod archive;
mod contents;
mod dpkg;
mod error;
mod left;
mod place;
mod python;
mod record;
mod remote;
mod scan;
mod source;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::Descriptor;
use rattler_conda_types::Subdir;

pub use contents::{Attached, Contents, Installed, LayerContents, created_by};
pub use error::Error;
pub use source::{ImageSource, ParseImageError};

use self::error::Result;
use self::left::Left;
use self::place::Place;
use self::record::{Record, prefix_of};
use self::scan::{Depth, Scanned};
use crate::lock::{Lock, LockedPackage};
use crate::oci::walk::Cover;
use crate::oci::{Digest, Image, Layer, Layout, Platform};
use crate::progress::{Progress, Task, Unit};
use crate::registry;
use crate::render::NOTEBOOK_PREFIX;

/// How many layers are read at once.
const AT_ONCE: usize = 3;

/// All that is in `image`, whose layers `layout` has, be it listed there already or not.
///
/// # Errors
/// When a layer, or a record in it, cannot be read.
pub async fn contents_of(image: &Image, layout: &Layout, progress: &dyn Progress) -> Result<Contents> {
    let source = ImageSource::Layout(layout.path().to_owned());
    let place = Place::of(&source, layout.clone());
    let label = format!("looking into the image for {}", image.platform);
    let known = scan_all(&place, image.layers.iter(), Depth::Files, progress, &label).await?;
    let known: HashMap<_, _> = known.into_iter().collect();
    let scanned: Vec<_> = image.layers.iter().filter_map(|layer| known.get(&layer.digest)).collect();
    Ok(Contents::new(image, true, &scanned))
}

/// Reads each of `layers` once.
async fn scan_all<'l>(
    place: &Place<'_>,
    layers: impl Iterator<Item = &'l Layer>,
    depth: Depth,
    progress: &dyn Progress,
    label: &str,
) -> Result<Vec<(Digest, Scanned)>> {
    let layers: BTreeMap<Digest, &Layer> = layers.map(|layer| (layer.digest, layer)).collect();
    let bytes = layers.values().map(|layer| layer.size).sum();
    let task = Task::start(progress, label, Some(bytes), Unit::Bytes);
    let count = |bytes| task.advance(bytes);
    // Collected: a stream over the closure itself could not move to another thread (rust-lang/rust#102211).
    let scans: Vec<_> = layers.into_values().map(|layer| place.scan(layer, depth, &count)).collect();
    futures::stream::iter(scans).buffer_unordered(AT_ONCE).try_collect().await
}

/// Reads images, and each layer once, however many images have it.
pub struct Reader<'a> {
    client: &'a registry::Client,
    progress: &'a dyn Progress,
    offline: bool,
    depth: Depth,
    known: HashMap<Digest, Scanned>,
    left: HashMap<PathBuf, Vec<Reference>>,
}

impl<'a> Reader<'a> {
    /// A reader that pulls with `client`, unless `offline`.
    pub fn new(client: &'a registry::Client, progress: &'a dyn Progress, offline: bool) -> Self {
        Self { client, progress, offline, depth: Depth::Records, known: HashMap::new(), left: HashMap::new() }
    }

    /// Reads the layers that the layout at `path` lacks out of the repositories of these images.
    pub fn left(&mut self, path: PathBuf, references: Vec<Reference>) {
        self.left.insert(path, references);
    }

    /// The packages installed in the image that `source` names, for each of its platforms, as a lock: of the notebook
    /// prefix, or where there is none, of the one prefix that has the most.
    ///
    /// # Errors
    /// When the image cannot be had or read, or has no conda packages at all.
    pub async fn read(&mut self, source: &ImageSource) -> Result<Lock> {
        let place = self.open(source)?;
        let mut lock = Lock::default();
        for image in place.images().await? {
            let subdir = image.platform.subdir();
            self.scan(&place, &image).await?;
            if !lock.subdirs.contains(&subdir) {
                lock.subdirs.push(subdir);
                lock.packages.extend(self.packages(&image, subdir));
            }
        }
        if lock.packages.is_empty() {
            return Err(Error::NoPackages { image: source.to_string() });
        }
        Ok(lock)
    }

    /// All that is in the image that `source` names, for each of its platforms.
    ///
    /// # Errors
    /// When the image cannot be had or read.
    pub async fn contents(&mut self, source: &ImageSource, wanted: Option<Platform>) -> Result<Vec<Contents>> {
        if self.depth != Depth::Files {
            self.depth = Depth::Files;
            self.known.clear();
        }
        let place = self.open(source)?;
        let has_manifest = place.digest().await?.is_some();
        let mut contents = Vec::new();
        for image in place.images().await?.into_iter().filter(|image| wanted.is_none_or(|it| it == image.platform)) {
            self.scan(&place, &image).await?;
            let scanned: Vec<_> = image.layers.iter().filter_map(|layer| self.known.get(&layer.digest)).collect();
            contents.push(Contents::new(&image, has_manifest, &scanned));
        }
        Ok(contents)
    }

    /// The digest of the image's index and the images themselves, without looking into them.
    ///
    /// # Errors
    /// When the image cannot be had or read.
    pub async fn images(&self, source: &ImageSource) -> Result<(Option<Digest>, Vec<Image>)> {
        let place = self.open(source)?;
        Ok((place.digest().await?, place.images().await?))
    }

    /// The documents about any of `subjects` that are kept beside the image.
    ///
    /// # Errors
    /// When they cannot be had or read.
    pub async fn attached(&self, source: &ImageSource, subjects: &BTreeSet<Digest>) -> Result<Vec<Attached>> {
        let place = self.open(source)?;
        let referrers = place.referrers(subjects).await?;
        Ok(referrers.into_iter().map(|(subject, descriptor)| Attached { subject, descriptor }).collect())
    }

    /// The content of a document that is kept beside the image.
    ///
    /// # Errors
    /// When it cannot be had or read.
    pub async fn document(&self, source: &ImageSource, attached: &Attached) -> Result<Vec<u8>> {
        self.open(source)?.document(&attached.descriptor).await
    }

    /// Brings the blob `descriptor` of the image to this machine, into `cache` if it is not on it, and returns where it is.
    /// Its content is for the caller to check.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn blob(&self, source: &ImageSource, descriptor: &Descriptor, cache: &Layout) -> Result<PathBuf> {
        self.open(source)?.blob(descriptor, cache).await
    }

    fn open<'b>(&self, source: &'b ImageSource) -> Result<Place<'b>>
    where
        'a: 'b,
    {
        let known = match source {
            ImageSource::Layout(path) => self.left.get(path).cloned(),
            _ => None,
        };
        let at = known.unwrap_or_default();
        Place::open(source, Left { at, client: self.client, offline: self.offline })
    }

    /// Reads the layers of `image` that are not known yet.
    async fn scan(&mut self, place: &Place<'_>, image: &Image) -> Result<()> {
        let missing = image.layers.iter().filter(|layer| !self.known.contains_key(&layer.digest));
        let label = format!("reading {} for {}", place.source, image.platform);
        let scanned = scan_all(place, missing, self.depth, self.progress, &label).await?;
        self.known.extend(scanned);
        Ok(())
    }

    /// The packages of `image`, all of whose layers are known.
    fn packages(&self, image: &Image, subdir: Subdir) -> Vec<LockedPackage> {
        let mut prefixes: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
        let mut above = Cover::default();
        for scanned in image.layers.iter().rev().filter_map(|layer| self.known.get(&layer.digest)) {
            for (path, record) in scanned.records.iter().filter(|(path, _)| !above.hides(path.as_ref())) {
                prefixes.entry(prefix_of(path)).or_default().push(record);
            }
            above.extend(scanned.cover.clone());
        }
        let notebook = prefixes.remove(NOTEBOOK_PREFIX.trim_start_matches('/'));
        // The first by name of the largest.
        let largest = || prefixes.into_values().rev().max_by_key(Vec::len).unwrap_or_default();
        notebook.unwrap_or_else(largest).into_iter().map(|record| record.locked(subdir)).collect()
    }
}
