//! Brings layers and parts of layers here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::Path;

use futures::StreamExt;

use super::{Borrowed, Found, Offered, Place, Published, PublishedLayer, PublishedPart};
use crate::build::native::error::Error;
use crate::oci::{Digest, Layer, Layout};
use crate::progress::{Progress, Task, Unit};
use crate::registry;

/// How many downloads run at once.
const AT_ONCE: usize = 4;

/// Parts that lie one after another in a layer.
struct Run<'a> {
    image: &'a Found,
    blob: Digest,
    range: Range<u64>,
    parts: Vec<&'a PublishedPart>,
}

impl Published<'_> {
    /// Brings `layers` into `layout`, or where they may stay `remote`, only asks for them. Returns which of them can be
    /// relied on; of others it is warned.
    pub async fn layers(
        &self,
        layers: &[Offered<'_>],
        layout: &Layout,
        remote: bool,
        progress: &dyn Progress,
    ) -> HashSet<Digest> {
        let total = if remote { 0 } else { layers.iter().map(|offered| offered.layer.size).sum() };
        let task = Task::start(progress, "pulling layers that have not changed", Some(total), Unit::Bytes);
        let count = |bytes| task.advance(bytes);
        // Collected: a stream over the closure itself could not move to another thread (rust-lang/rust#102211).
        let pulls: Vec<_> = layers.iter().map(|offered| self.pull(*offered, layout, remote, &count)).collect();
        let pulled: Vec<_> = futures::stream::iter(pulls).buffered(AT_ONCE).collect().await;
        let mut there = HashSet::new();
        for (offered, result) in layers.iter().zip(pulled) {
            match result {
                Ok(true) => drop(there.insert(offered.layer.digest)),
                Ok(false) => progress.warning(&not_had(offered.image, &offered.layer.digest, &"it is not there")),
                Err(error) => progress.warning(&not_had(offered.image, &offered.layer.digest, &error)),
            }
        }
        there
    }

    async fn pull(
        &self,
        offered: Offered<'_>,
        layout: &Layout,
        remote: bool,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<bool, registry::Error> {
        let Offered { image, layer } = offered;
        let Some(descriptor) = image.blobs.get(&layer.digest) else { return Ok(false) };
        if layout.has(&layer.digest, layer.size) {
            return Ok(true);
        }
        if remote {
            return self.client.holds(&image.reference, &layer.digest).await;
        }
        self.client.blob(&image.reference, descriptor, layout, count).await.map(|_| true)
    }

    /// Brings the base that is the layer `key` into `store`, and makes sure that it unpacks to what its image says it does,
    /// and to `pinned`, if that is known; `None` if no image has it.
    pub async fn base(
        &self,
        key: &Digest,
        pinned: Option<Digest>,
        store: &Layout,
        progress: &dyn Progress,
    ) -> Option<PublishedLayer> {
        self.look_up(progress).await;
        let offered = self.layer(key)?;
        let Offered { image, layer } = offered;
        if pinned.is_some_and(|pinned| pinned != layer.diff_id) {
            progress.warning(&not_had(image, &layer.digest, &"it is not the base that is pinned"));
            return None;
        }
        if !self.layers(&[offered], store, false, progress).await.contains(&layer.digest) {
            return None;
        }
        let checked = Layer::new(image.blobs.get(&layer.digest)?, &layer.diff_id.to_string());
        let in_store = store.clone();
        let measured = tokio::task::spawn_blocking(move || checked?.measure(&in_store)).await.ok()?;
        match measured {
            Ok(_) => Some(layer.clone()),
            Err(error) => {
                progress.warning(&not_had(image, &layer.digest, &error));
                None
            }
        }
    }

    /// Fetches those of the parts `wanted` that published layers have, into files below `folder`. What cannot be had, or is
    /// not what it should be, is left out.
    ///
    /// # Errors
    /// When `folder` cannot be written to.
    pub async fn parts(
        &self,
        wanted: &BTreeSet<Digest>,
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Borrowed, Error> {
        let runs = self.runs(wanted);
        let total = runs.iter().map(|run| run.range.end - run.range.start).sum();
        let task = Task::start(progress, "pulling packages that have not changed", Some(total), Unit::Bytes);
        let count = |bytes| task.advance(bytes);
        let numbered: Vec<_> =
            runs.iter().enumerate().map(|(n, run)| (run, folder.join(format!("part-{n}")))).collect();
        let pulls: Vec<_> = numbered.iter().map(|(run, path)| self.pull_run(run, path, &count)).collect();
        let pulled: Vec<_> = futures::stream::iter(pulls).buffered(AT_ONCE).collect().await;
        let mut places = BTreeMap::new();
        let mut whole = Vec::new();
        for ((run, path), result) in numbered.into_iter().zip(pulled) {
            match result {
                Ok(true) => places.extend(run.places(&path, run.range.start)),
                Ok(false) => whole.push(run),
                Err(error) => progress.warning(&not_had(run.image, &run.blob, &error)),
            }
        }
        places.extend(self.whole_layers(&whole, folder, progress).await?);
        drop(task);
        check(places, progress).await
    }

    async fn pull_run(
        &self,
        run: &Run<'_>,
        path: &Path,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<bool, registry::Error> {
        self.client.range(&run.image.reference, &run.blob, run.range.clone(), path, count).await
    }

    /// The parts of `runs` where a server sends blobs as a whole only.
    async fn whole_layers(
        &self,
        runs: &[&Run<'_>],
        folder: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<(Digest, Place)>, Error> {
        let mut places = Vec::new();
        if runs.is_empty() {
            return Ok(places);
        }
        let blobs = Layout::cache(folder)?;
        for run in runs {
            let Some(descriptor) = run.image.blobs.get(&run.blob) else { continue };
            match self.client.blob(&run.image.reference, descriptor, &blobs, &|_| {}).await {
                Ok(path) => places.extend(run.places(&path, 0)),
                Err(error) => progress.warning(&not_had(run.image, &run.blob, &error)),
            }
        }
        Ok(places)
    }

    /// Which bytes of which layers have the parts `wanted`.
    fn runs(&self, wanted: &BTreeSet<Digest>) -> Vec<Run<'_>> {
        let mut by_layer: BTreeMap<(usize, Digest), Vec<&PublishedPart>> = BTreeMap::new();
        for key in wanted {
            let found = self.images().iter().enumerate().find_map(|(n, image)| Some((n, image.part(key)?)));
            if let Some((image, (layer, part))) = found {
                by_layer.entry((image, layer.digest)).or_default().push(part);
            }
        }
        let mut runs: Vec<Run<'_>> = Vec::new();
        for ((image, blob), mut parts) in by_layer {
            parts.sort_by_key(|part| part.offset);
            let mut last: Option<Run<'_>> = None;
            for part in parts {
                let end = part.offset + part.part.size;
                match last.as_mut().filter(|run| run.range.end == part.offset) {
                    Some(run) => {
                        run.range.end = end;
                        run.parts.push(part);
                    }
                    None => {
                        let run =
                            Run { image: &self.images()[image], blob, range: part.offset..end, parts: vec![part] };
                        runs.extend(last.replace(run));
                    }
                }
            }
            runs.extend(last);
        }
        runs
    }
}

impl Run<'_> {
    /// Where its parts are in a file that begins with byte `start` of the layer.
    fn places(&self, path: &Path, start: u64) -> Vec<(Digest, Place)> {
        let place = |part: &&PublishedPart| {
            let (path, offset) = (path.to_owned(), part.offset - start);
            (part.key, Place { path, offset, part: part.part.clone(), is_borrowed: true })
        };
        self.parts.iter().map(place).collect()
    }
}

/// Leaves out what is not what its digest says.
async fn check(places: BTreeMap<Digest, Place>, progress: &dyn Progress) -> Result<Borrowed, Error> {
    let checked = tokio::task::spawn_blocking(move || {
        let is_whole = |place: &Place| {
            let found = place.open().ok().and_then(|content| Digest::of_reader(content).ok());
            found == Some((place.part.digest, place.part.size))
        };
        places.into_iter().partition::<BTreeMap<_, _>, _>(|(_, place)| is_whole(place))
    });
    let (whole, damaged) = checked.await.map_err(|_| Error::Cancelled)?;
    if !damaged.is_empty() {
        let message =
            format!("{} parts of published layers are not what they should be, and are made anew", damaged.len());
        progress.warning(&message);
    }
    Ok(Borrowed(whole))
}

fn not_had(image: &Found, layer: &Digest, problem: &dyn std::fmt::Display) -> String {
    format!("layer {layer} of `{}` is made anew: {problem}", image.reference)
}
