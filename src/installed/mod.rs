//! What is installed in an image, read from the records that conda left in its layers.
//!
//! Nothing is run, unpacked or kept: layers are streamed from the layout or the registry, and of all their files only
//! `conda-meta/*.json` is looked at. So an image of anybody's can be compared, whoever built it.

mod error;
mod place;
mod record;
mod remote;
mod scan;
mod source;

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt};
use rattler_conda_types::Subdir;

pub use error::Error;
pub use source::{ImageSource, ParseImageError};

use self::error::Result;
use self::place::Place;
use self::record::{Record, prefix_of};
use self::scan::Scanned;
use crate::lock::{Lock, LockedPackage};
use crate::oci::walk::Cover;
use crate::oci::{Digest, Image, Layer};
use crate::progress::{Progress, Task, Unit};
use crate::registry;
use crate::render::NOTEBOOK_PREFIX;

/// How many layers are read at once.
const AT_ONCE: usize = 3;

/// Reads images, and each layer once, however many images have it.
pub struct Reader<'a> {
    client: &'a registry::Client,
    progress: &'a dyn Progress,
    offline: bool,
    known: HashMap<Digest, Scanned>,
}

impl<'a> Reader<'a> {
    /// A reader that pulls with `client`, unless `offline`.
    pub fn new(client: &'a registry::Client, progress: &'a dyn Progress, offline: bool) -> Self {
        Self { client, progress, offline, known: HashMap::new() }
    }

    /// The packages installed in the image that `source` names, for each of its platforms, as a lock: of the notebook
    /// prefix, or where there is none, of the one prefix that has the most.
    ///
    /// # Errors
    /// When the image cannot be had or read, or has no conda packages at all.
    pub async fn read(&mut self, source: &ImageSource) -> Result<Lock> {
        let place = Place::open(source, self.client, self.offline)?;
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

    /// Reads the layers of `image` that are not known yet.
    async fn scan(&mut self, place: &Place<'_>, image: &Image) -> Result<()> {
        let missing: BTreeMap<Digest, &Layer> = image
            .layers
            .iter()
            .map(|layer| (layer.digest, layer))
            .filter(|(d, _)| !self.known.contains_key(d))
            .collect();
        let bytes = missing.values().map(|layer| layer.size).sum();
        let label = format!("reading {} for {}", place.source, image.platform);
        let task = Task::start(self.progress, &label, Some(bytes), Unit::Bytes);
        let count = |bytes| task.advance(bytes);
        // Collected: a stream over the closure itself could not move to another thread (rust-lang/rust#102211).
        let scans: Vec<_> = missing.into_values().map(|layer| place.scan(layer, &count)).collect();
        let scanned: Vec<_> = futures::stream::iter(scans).buffer_unordered(AT_ONCE).try_collect().await?;
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
