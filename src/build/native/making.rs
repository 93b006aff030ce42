//! Makes the layers that are not in the layout: whole ones of published images, else of parts that are in the cache or in
//! published layers, else of packages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use super::described::Described;
use super::engine::Engine;
use super::error::Error;
use super::fragment::{Fragment, Workshop};
use super::layer::{Made, PackageLayer};
use super::planning::PlannedEnvironment;
use super::prefix::inspect;
use super::published::{Borrowed, Offered};
use super::schedule::{self, Outcome, Step};
use super::siblings::Room;
use super::work::{Budget, in_order};
use crate::build::FromCache;
use crate::oci::Digest;

/// What all threads may hold of large files with placeholders, in bytes.
const MEMORY: u64 = 384 << 20;
/// What they may keep of byte code for other platforms, in bytes.
const CODE: usize = 96 << 20;

/// Layers that are in the layout, or where the image goes.
#[derive(Default)]
pub struct MadeLayers {
    /// By their keys, and whether they had been there before.
    pub layers: BTreeMap<Digest, (Made, bool)>,
    /// What was taken from published images.
    pub from_cache: FromCache,
}

impl Engine<'_> {
    /// Makes the package layers that are not in the layout.
    pub(super) async fn layers(
        &self,
        environments: impl Iterator<Item = &PlannedEnvironment> + Clone,
    ) -> Result<MadeLayers, Error> {
        let mut made = MadeLayers::default();
        let mut missing = BTreeMap::new();
        for layer in environments.clone().flat_map(|environment| &environment.layers) {
            match layer.present(&self.store, &self.layout) {
                Some(present) => drop(made.layers.insert(layer.key, (present, true))),
                None => drop(missing.insert(layer.key, layer.clone())),
            }
        }
        self.take_layers(&mut missing, &mut made).await;
        if missing.is_empty() {
            return Ok(made);
        }
        let borrowed = Arc::new(self.take_parts(missing.values()).await?);
        (made.from_cache.parts, made.from_cache.part_bytes) = borrowed.count();
        let written = self.make(missing.into_values().collect(), borrowed, environments).await?;
        made.layers.extend(written.into_iter().map(|(key, layer)| (key, (layer, false))));
        Ok(made)
    }

    /// Takes those of the `missing` layers that published images have. What can be put together from the cache is not asked
    /// of others.
    async fn take_layers(&self, missing: &mut BTreeMap<Digest, PackageLayer>, made: &mut MadeLayers) {
        let is_here = |layer: &PackageLayer| layer.fragments.iter().all(|part| part.cached(&self.store).is_some());
        let absent: Vec<_> = missing.iter().filter(|(_, layer)| !is_here(layer)).map(|(key, _)| *key).collect();
        if absent.is_empty() {
            return;
        }
        let Some(published) = self.ask().await else { return };
        let offered: Vec<(Digest, Offered<'_>)> =
            absent.into_iter().filter_map(|key| Some((key, published.layer(&key)?))).collect();
        if offered.is_empty() {
            return;
        }
        let layers: Vec<_> = offered.iter().map(|(_, offered)| *offered).collect();
        let there = published.layers(&layers, &self.layout, self.request.reuse.remote, self.progress).await;
        for (key, offered) in offered.into_iter().filter(|(_, offered)| there.contains(&offered.layer.digest)) {
            missing.remove(&key);
            made.from_cache.layers += 1;
            made.from_cache.layer_bytes += offered.layer.size;
            made.layers.insert(key, (offered.layer.made(), true));
        }
    }

    /// Takes the parts of `layers` that are not in the cache and that published images have.
    async fn take_parts(&self, layers: impl Iterator<Item = &PackageLayer>) -> Result<Borrowed, Error> {
        let Some(published) = self.published else { return Ok(Borrowed::default()) };
        let missing = layers.flat_map(|layer| &layer.fragments);
        let missing = missing.filter(|fragment| fragment.cached(&self.store).is_none());
        let wanted: BTreeSet<_> =
            missing.map(|fragment| fragment.key).filter(|key| published.part(key).is_some()).collect();
        if wanted.is_empty() {
            return Ok(Borrowed::default());
        }
        published.parts(&wanted, self.store.scratch(), self.progress).await
    }

    /// Makes the parts of `layers` that are neither in the cache nor `borrowed`, and puts the layers together.
    async fn make(
        &self,
        mut layers: Vec<PackageLayer>,
        borrowed: Arc<Borrowed>,
        environments: impl Iterator<Item = &PlannedEnvironment>,
    ) -> Result<Vec<(Digest, Made)>, Error> {
        let missing: BTreeMap<_, _> = layers
            .iter()
            .flat_map(|layer| &layer.fragments)
            .filter(|fragment| borrowed.find(&self.store, fragment).is_none())
            .map(|fragment| (fragment.key, fragment.clone()))
            .collect();
        if !missing.is_empty() {
            self.fetch(missing.values().map(|fragment| &fragment.package)).await?;
            self.check_descriptions(missing.values()).await?;
        }
        let needed: BTreeSet<_> = missing.values().filter_map(schedule::compiler_of).collect();
        let interpreters: BTreeMap<_, _> = environments
            .filter_map(|environment| environment.interpreter.as_ref())
            .filter(|interpreter| needed.contains(&interpreter.id))
            .map(|interpreter| (interpreter.id.clone(), interpreter.clone()))
            .collect();
        self.fetch(interpreters.values().flat_map(|interpreter| &interpreter.packages)).await?;
        let workshop = Workshop {
            store: Arc::clone(&self.store),
            compilers: interpreters.keys().map(|id| (id.clone(), OnceLock::new())).collect(),
            budget: Budget::new(MEMORY),
            room: Room::new(CODE),
            cancel: self.cancel.clone(),
        };
        let packing = (!missing.is_empty()).then(|| self.task("packing packages", missing.len()));
        let writing = self.task("writing layers", layers.len());
        layers
            .sort_by_key(|layer| std::cmp::Reverse(layer.fragments.iter().map(|part| part.planned.size).sum::<u64>()));
        let steps = schedule::steps(layers, missing.into_values().collect(), interpreters.into_values().collect());
        // Where there are several, one more than asked for: each waits while Python compiles for it.
        let threads = self.request.jobs + usize::from(self.request.jobs > 1);
        let place = schedule::Place { workshop, borrowed, layout: self.layout.clone(), made: Mutex::default() };
        let advance = |outcome: &Outcome| match outcome {
            Outcome::LaidOut => {}
            Outcome::Packed(parts) => packing.iter().for_each(|task| task.advance(parts.len() as u64)),
            Outcome::Written(..) => writing.advance(1),
        };
        let outcomes = in_order(steps, threads, &self.cancel, advance, move |step: Step| step.run(&place)).await?;
        let mut written = Vec::new();
        let mut uncompiled = 0;
        for outcome in outcomes {
            match outcome {
                Outcome::LaidOut => {}
                Outcome::Packed(parts) => uncompiled += parts.iter().map(|part| part.uncompiled).sum::<u64>(),
                Outcome::Written(key, made) => written.push((key, made)),
            }
        }
        if let Some(packing) = packing.filter(|_| uncompiled > 0) {
            packing.finish(&format!("{uncompiled} Python files do not compile and are left without byte code"));
        }
        Ok(written)
    }

    /// Compares what was published of packages with their archives, which are here now: what is put into the cache must
    /// not depend on what somebody says.
    async fn check_descriptions(&self, fragments: impl Iterator<Item = &Fragment>) -> Result<(), Error> {
        let Some(published) = self.published else { return Ok(()) };
        let described: BTreeMap<_, _> = fragments
            .filter_map(|fragment| {
                Some((&fragment.package.sha256, (&fragment.package, published.described(&fragment.package)?)))
            })
            .collect();
        let packages: Vec<_> =
            described.values().map(|(package, said)| ((*package).clone(), (*said).clone())).collect();
        let task = self.task("checking what was published of packages", packages.len());
        let check = |(package, said)| {
            let (_, inspected) = inspect(&package)?;
            Ok((Described::of(&inspected).as_ref() != Some(&said)).then(|| package.locked.file_name().to_owned()))
        };
        match self.parallel(packages, &task, check).await?.into_iter().flatten().next() {
            Some(package) => Err(Error::Misdescribed { package }),
            None => Ok(()),
        }
    }
}
