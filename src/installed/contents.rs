//! All that is in an image: packages of conda, dpkg and pip, and how many bytes each has in which layer.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::Descriptor;
use rattler_conda_types::Subdir;
use serde::Serialize;

use super::record::{Record, prefix_of};
use super::scan::Scanned;
use super::{dpkg, python};
use crate::oci::walk::Cover;
use crate::oci::{Digest, Image};
use crate::supply::{Component, Inventory, debian};

/// An image for one platform, looked into.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Its manifest and configuration.
    pub image: Image,
    /// Digest of its manifest; nothing for an archive, whose manifest no registry knows.
    pub manifest: Option<Digest>,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerContents>,
    /// What is installed, the largest first.
    pub packages: Vec<Installed>,
    /// Bytes of files that belong to no package.
    pub other: u64,
}

/// One layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerContents {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the files in it, those that a layer above hides included.
    pub unpacked_size: u64,
    /// Files in it.
    pub files: usize,
    /// Packages that have most of their bytes in it.
    pub packages: usize,
    /// What made it, as the configuration says.
    pub created_by: Option<String>,
}

/// One package.
#[derive(Clone, Debug, Serialize)]
pub struct Installed {
    /// What it is.
    #[serde(flatten)]
    pub component: Component,
    /// Bytes of its files.
    pub size: u64,
    /// How many files it has.
    pub files: usize,
    /// The layer that has most of its bytes, counted from 0; nothing where it has no files.
    pub layer: Option<usize>,
}

/// A document about an image, beside it.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The manifest or index it is about.
    pub subject: Digest,
    /// Its artifact.
    pub descriptor: Descriptor,
}

impl Attached {
    /// What kind of document it is.
    pub fn kind(&self) -> String {
        self.descriptor.artifact_type().as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// A package and the paths it says are its own.
struct Claim {
    component: Component,
    paths: Vec<String>,
}

/// What is left of all layers.
#[derive(Default)]
struct Visible<'a> {
    /// Layer and bytes.
    files: BTreeMap<&'a str, (usize, u64)>,
    records: BTreeMap<&'a str, &'a Record>,
    others: BTreeMap<String, Vec<u8>>,
}

impl Contents {
    /// Puts together what the layers of `image`, read one by one, say.
    pub fn new(image: &Image, has_manifest: bool, scanned: &[&Scanned]) -> Self {
        let visible = Visible::of(scanned);
        let claims = claims(&visible, image.platform.subdir());
        let (packages, other) = weigh(claims, &visible);
        let mut layers: Vec<_> = image.layers.iter().zip(scanned).zip(created_by(image)).map(layer).collect();
        for index in packages.iter().filter_map(|package| package.layer) {
            layers[index].packages += 1;
        }
        let manifest = has_manifest.then_some(image.digest);
        Self { image: image.clone(), manifest, layers, packages, other }
    }

    /// What documents about the image are made of; it is called `name`.
    pub fn inventory(&self, name: &str) -> Inventory {
        let created = self.image.config.created().clone().unwrap_or_default();
        let digest = self.manifest.unwrap_or(self.image.config_digest);
        let components = self.packages.iter().map(|package| package.component.clone()).collect();
        Inventory::new(name, self.image.platform, digest, &created, components)
    }
}

impl<'a> Visible<'a> {
    fn of(layers: &[&'a Scanned]) -> Self {
        let (mut visible, mut above) = (Self::default(), Cover::default());
        for (index, scanned) in layers.iter().enumerate().rev() {
            let shown = |path: &str| !above.hides(path.as_ref());
            let files = scanned.files.iter().filter(|(path, _)| shown(path));
            visible.files.extend(files.map(|(path, size)| (path.as_str(), (index, *size))));
            let records = scanned.records.iter().filter(|(path, _)| shown(path));
            visible.records.extend(records.map(|(path, record)| (path.as_str(), record)));
            let others = scanned.others.iter().filter(|(path, _)| shown(path));
            visible.others.extend(others.map(|(path, content)| (path.clone(), content.clone())));
            above.extend(scanned.cover.clone());
        }
        visible
    }
}

/// What packages say they have: conda's, Debian's, and of what is left pip's.
fn claims(visible: &Visible<'_>, subdir: Subdir) -> Vec<Claim> {
    let conda = visible.records.iter().map(|(path, record)| {
        let prefix = prefix_of(path);
        let below = |file: &String| if prefix.is_empty() { file.clone() } else { format!("{prefix}/{file}") };
        let paths = record.files.iter().map(below).chain([(*path).to_owned()]).collect();
        Claim { component: record.component(&format!("/{prefix}"), subdir), paths }
    });
    let debian = debian::components(&visible.others).into_iter().map(|component| {
        let paths = dpkg::files_of(&visible.others, &component.name, &component.place);
        Claim { component, paths }
    });
    let mut claims: Vec<_> = conda.chain(debian).collect();
    let taken = owners(&claims);
    let found = visible.others.keys().filter(|path| !taken.contains_key(path.as_str()));
    let found: Vec<_> = found.filter_map(|path| python::read(path, &visible.others)).collect();
    claims.extend(found.into_iter().map(|found| Claim { component: found.component, paths: found.files }));
    claims
}

/// Whose each path is; of several the first's.
fn owners(claims: &[Claim]) -> HashMap<&str, usize> {
    let mut owners = HashMap::new();
    for (index, claim) in claims.iter().enumerate() {
        for path in &claim.paths {
            owners.entry(path.as_str()).or_insert(index);
        }
    }
    owners
}

/// The packages with their bytes, the largest first, and the bytes of files that are nobody's.
fn weigh(claims: Vec<Claim>, visible: &Visible<'_>) -> (Vec<Installed>, u64) {
    let mut weights: Vec<(usize, BTreeMap<usize, u64>)> = vec![(0, BTreeMap::new()); claims.len()];
    let mut other = 0;
    let owners = owners(&claims);
    for (path, (layer, size)) in &visible.files {
        // Byte code is its source's, though the record may not list it.
        let source = || owners.get(source_of(path)?.as_str());
        match owners.get(path).or_else(source) {
            Some(owner) => {
                let (files, bytes) = &mut weights[*owner];
                *files += 1;
                *bytes.entry(*layer).or_default() += size;
            }
            None => other += size,
        }
    }
    let installed = |(claim, (files, bytes)): (Claim, (usize, BTreeMap<usize, u64>))| Installed {
        component: claim.component,
        size: bytes.values().sum(),
        files,
        layer: bytes.into_iter().max_by_key(|(layer, bytes)| (*bytes, *layer)).map(|(layer, _)| layer),
    };
    let mut packages: Vec<_> = claims.into_iter().zip(weights).map(installed).collect();
    packages.sort_by_cached_key(|package| (std::cmp::Reverse(package.size), package.component.id()));
    (packages, other)
}

/// The module that `path`, of byte code, was compiled from (PEP 3147).
fn source_of(path: &str) -> Option<String> {
    let (folder, file) = path.rsplit_once("/__pycache__/")?;
    let module = file.strip_suffix(".pyc")?.split('.').next()?;
    Some(format!("{folder}/{module}.py"))
}

fn layer(((layer, scanned), created_by): ((&crate::oci::Layer, &&Scanned), Option<String>)) -> LayerContents {
    LayerContents {
        digest: layer.digest,
        size: layer.size,
        unpacked_size: scanned.files.values().sum(),
        files: scanned.files.len(),
        packages: 0,
        created_by,
    }
}

/// A line for each layer out of the configuration's history; nothing for all where it does not fit.
pub fn created_by(image: &Image) -> Vec<Option<String>> {
    let history = image.config.history().clone().unwrap_or_default();
    let lines: Vec<_> = history
        .iter()
        .filter(|entry| entry.empty_layer() != Some(true))
        .map(|entry| entry.created_by().clone().filter(|line| !line.is_empty()))
        .collect();
    if lines.len() == image.layers.len() { lines } else { vec![None; image.layers.len()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_code_belongs_to_its_source() {
        assert_eq!(source_of("a/__pycache__/m.cpython-312.pyc").as_deref(), Some("a/m.py"));
        assert_eq!(source_of("a/__pycache__/m.cpython-312.opt-1.pyc").as_deref(), Some("a/m.py"));
        assert_eq!(source_of("a/m.pyc"), None);
    }
}
