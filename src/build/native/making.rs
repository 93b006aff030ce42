//! Makes the layers that are not in the layout: whole ones of published images, else of parts that are in the cache or in
//! published layers, else of packages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::described::Described;
use super::engine::Engine;
use super::error::Error;
use super::fragment::{Fragment, Workshop};
use super::interpreter::Interpreter;
use super::layer::{Made, PackageLayer};
use super::planning::PlannedEnvironment;
use super::prefix::inspect;
use super::published::{Borrowed, Offered};
use super::pyc::{Compiler, How};
use super::work::{Budget, parallel};
use crate::build::FromCache;
use crate::oci::Digest;

/// What all threads may hold of large files with placeholders, in bytes.
const MEMORY: u64 = 384 << 20;

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
        self.parts(missing.values(), &borrowed, environments).await?;
        let task = self.task("writing layers", missing.len());
        let mut layers: Vec<_> = missing.into_values().collect();
        layers
            .sort_by_key(|layer| std::cmp::Reverse(layer.fragments.iter().map(|part| part.planned.size).sum::<u64>()));
        let keys: Vec<_> = layers.iter().map(|layer| layer.key).collect();
        let (store, layout) = (Arc::clone(&self.store), self.layout.clone());
        let write = move |layer: PackageLayer| layer.write(&store, &borrowed, &layout);
        let written = self.parallel(layers, &task, write).await?;
        made.layers.extend(keys.into_iter().zip(written.into_iter().map(|layer| (layer, false))));
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

    /// Makes the parts of `layers` that are neither in the cache nor `borrowed`, the largest first.
    async fn parts(
        &self,
        layers: impl Iterator<Item = &PackageLayer>,
        borrowed: &Borrowed,
        environments: impl Iterator<Item = &PlannedEnvironment>,
    ) -> Result<(), Error> {
        let missing: BTreeMap<_, _> = layers
            .flat_map(|layer| &layer.fragments)
            .filter(|fragment| borrowed.find(&self.store, fragment).is_none())
            .map(|fragment| (fragment.key, fragment.clone()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.fetch(missing.values().map(|fragment| &fragment.package)).await?;
        self.check_descriptions(missing.values()).await?;
        let needed: BTreeSet<_> = missing
            .values()
            .filter(|fragment| fragment.planned.compiles)
            .filter_map(|fragment| fragment.environment.compiler_id.clone())
            .collect();
        let interpreters = environments
            .filter_map(|environment| environment.interpreter.clone())
            .filter(|interpreter| needed.contains(&interpreter.id))
            .map(|interpreter| (interpreter.id.clone(), interpreter))
            .collect();
        let workshop = Workshop {
            store: Arc::clone(&self.store),
            compilers: self.compilers(interpreters).await?,
            budget: Budget::new(MEMORY),
            cancel: self.cancel.clone(),
        };
        let mut fragments: Vec<_> = missing.into_values().collect();
        fragments.sort_by_key(|fragment| std::cmp::Reverse(fragment.planned.size));
        let task = self.task("packing packages", fragments.len());
        // Where there are several, one more than asked for: each waits while Python compiles for it.
        let threads = self.request.jobs + usize::from(self.request.jobs > 1);
        let make = move |fragment: Fragment| fragment.make(&workshop);
        let parts = parallel(fragments, threads, &self.cancel, &task, make).await?;
        let uncompiled: u64 = parts.iter().map(|part| part.uncompiled).sum();
        if uncompiled > 0 {
            task.finish(&format!("{uncompiled} Python files do not compile and are left without byte code"));
        }
        Ok(())
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

    async fn compilers(
        &self,
        interpreters: BTreeMap<String, Interpreter>,
    ) -> Result<BTreeMap<String, Compiler>, Error> {
        self.fetch(interpreters.values().flat_map(|interpreter| &interpreter.packages)).await?;
        let task = self.task("laying out Python for byte code", interpreters.len());
        let (store, cancel) = (Arc::clone(&self.store), self.cancel.clone());
        let lay_out = move |(id, interpreter): (String, Interpreter)| {
            let program = interpreter.lay_out(&store, &cancel)?;
            Ok((id, Compiler::new(program, interpreter.version(), How::ByVersion)))
        };
        let compilers = self.parallel(interpreters.into_iter().collect(), &task, lay_out).await?;
        Ok(compilers.into_iter().collect())
    }
}
