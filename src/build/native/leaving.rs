//! Leaves beside an image what the next build of it needs to make only what changed (see [`super::published`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::bases::BaseFacts;
use super::debian::DebianLayer;
use super::described::{self, Described};
use super::engine::Engine;
use super::error::Error;
use super::fragment::{self, Fragment, Part};
use super::layer::{Made, PackageLayer, compressed};
use super::making::MadeLayers;
use super::pinned::Pinned;
use super::planning::PlannedEnvironment;
use super::prefix::inspect;
use super::published::{MEDIA_TYPE, PublishedLayer, PublishedPart, Record};
use super::store::{self, FORMAT};
use crate::build::base::BaseImage;
use crate::build::debian::System;
use crate::build::documents::{self, KIND, Known};
use crate::oci::tar::END;
use crate::oci::{Compression, Digest, layout};

/// Layers of an image that are not conda's packages.
#[derive(Debug, Default)]
pub struct Below {
    /// By the digest of everything that decides their bytes.
    layers: BTreeMap<Digest, PublishedLayer>,
    /// The systems with those of them that Debian packages were installed in.
    systems: BTreeMap<Digest, System>,
}

impl Below {
    /// Adds those of one platform: the base, if it is made of packages, and what is installed on it.
    pub fn add(&mut self, base: &BaseImage, facts: &BaseFacts, debian: Option<&DebianLayer>) {
        if let (Some(key), [layer]) = (base.made_of, &base.layers[..])
            && let Ok(digest) = layout::sha256(&layer.descriptor)
        {
            let (size, diff_id, unpacked_size) = (layer.descriptor.size(), layer.diff_id, facts.unpacked_size);
            self.layers.insert(key, PublishedLayer { digest, size, diff_id, unpacked_size, parts: vec![] });
        }
        if let Some(debian) = debian {
            let Made { digest, diff_id, size, unpacked_size } = debian.made();
            self.layers.insert(debian.key, PublishedLayer { digest, size, diff_id, unpacked_size, parts: vec![] });
            self.systems.insert(debian.key, debian.written.system.clone());
        }
    }
}

impl Engine<'_> {
    /// Stores the record of the image `index`, whose environments are these, unless it is there.
    pub(super) async fn attach_record<'p>(
        &self,
        index: &ImageIndex,
        environments: impl Iterator<Item = &'p PlannedEnvironment> + Clone,
        made: &MadeLayers,
        below: Below,
    ) -> Result<Descriptor, Error> {
        let subject = self.layout.put_json(MediaType::ImageIndex, index)?;
        let layers: BTreeMap<_, _> =
            environments.clone().flat_map(|environment| &environment.layers).map(|layer| (layer.key, layer)).collect();
        let packages: BTreeMap<_, _> = environments
            .flat_map(|environment| environment.packages.iter().chain(&environment.inherited))
            .map(|package| (package.sha256.clone(), package.clone()))
            .collect();
        let keys: BTreeSet<_> = layers.keys().chain(below.layers.keys()).collect();
        let key = store::key(KIND, &("build", subject.digest().as_ref(), keys));
        let key = store::key(KIND, &(key, packages.keys().collect::<BTreeSet<_>>()));
        if let Some(known) = self.store.get::<Known>(KIND, &key)
            && known.is_in(&self.layout)
        {
            return Ok(known.descriptor);
        }
        let layers = layers.into_iter().map(|(key, layer)| (key, self.published_layer(layer, &made.layers[&key].0)));
        let mut layers: BTreeMap<Digest, PublishedLayer> = layers.collect();
        let is_whole = layers.values().all(|layer| !layer.parts.is_empty());
        let count = packages.len();
        let packages = self.descriptions(packages).await?;
        let is_whole = is_whole && packages.len() == count;
        layers.extend(below.layers);
        let task = self.task("recording what the image was made of", 1);
        let record = Record { format: FORMAT, packages, layers, systems: below.systems };
        let bytes = self.parallel(vec![record], &task, |record| Ok(record.to_bytes())).await?;
        drop(task);
        let document = documents::put(&self.layout, &subject, MEDIA_TYPE, &bytes.concat(), BTreeMap::new())?;
        if is_whole {
            self.store.put(KIND, &key, &document)?;
        }
        Ok(document.descriptor)
    }

    /// What is known of `packages`: those of which neither the cache nor a published image knows anything, and whose
    /// archives are not here, are left out.
    async fn descriptions(&self, packages: BTreeMap<String, Pinned>) -> Result<BTreeMap<String, Described>, Error> {
        let task = self.task("looking up what is known of packages", packages.len());
        let store = Arc::clone(&self.store);
        let packages: Vec<_> = packages.into_values().collect();
        let describe = move |package: Pinned| {
            if let Some(known) = described::known(&store, &package) {
                return Ok(Some(known));
            }
            if !package.is_on_disk() {
                return Ok(None);
            }
            let (_, inspected) = inspect(&package)?;
            described::remember(&store, &package, &inspected)?;
            Ok(Described::of(&inspected))
        };
        let known = self.parallel(packages.clone(), &task, describe).await?;
        let described = packages.into_iter().zip(known).filter_map(|(package, known)| {
            let published = || self.published?.described(&package).cloned();
            Some((package.sha256.clone(), known.or_else(published)?))
        });
        Ok(described.collect())
    }

    /// What is known of a layer. Where its parts lie follows from its end.
    fn published_layer(&self, layer: &PackageLayer, made: &Made) -> PublishedLayer {
        let Made { digest, diff_id, size, unpacked_size } = *made;
        let parts: Option<Vec<Part>> = layer.fragments.iter().map(|fragment| self.known_part(fragment)).collect();
        let parts = parts.unwrap_or_default();
        let end = end_size(layer.fragments[0].environment.compression);
        let content: u64 = parts.iter().map(|part| part.size).sum();
        let mut offset = size.saturating_sub(content + end);
        let parts = layer.fragments.iter().zip(parts).map(|(fragment, part)| {
            let published = PublishedPart { key: fragment.key, offset, part };
            offset += published.part.size;
            published
        });
        PublishedLayer { digest, size, diff_id, unpacked_size, parts: parts.collect() }
    }

    fn known_part(&self, fragment: &Fragment) -> Option<Part> {
        let published = || self.published?.part(&fragment.key).map(|published| published.part.clone());
        self.store.get(fragment::KIND, &fragment.key).or_else(published)
    }
}

/// Bytes of the end of a layer.
fn end_size(compression: Compression) -> u64 {
    compressed(&END, compression).len() as u64
}
