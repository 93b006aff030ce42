//! Reads `esker.yml`; `docs/esker.yml.md` describes it for its writers.
//!
//! What is read here is only what the file says: which folders there are, what images inherit and whether it all fits
//! together is decided in [`super::resolve`].

mod values;

use std::path::Path;

use indexmap::IndexMap;
use oci_spec::distribution::Reference;
use rattler_conda_types::Subdir;

pub(super) use self::values::variables;
use self::values::{
    apt, base, cache_from, cache_limit, deny, engine, info, labels, layers, lock_subdirs, mirrors, names, parsed,
    platforms, registry, strip,
};
use super::fields::get;
use super::yaml::{Document, Entry, Node};
use super::{
    Age, AptPolicy, BaseSource, Denied, DockerSettings, EngineKind, Error, Mirror, Place, RelockPolicy, Snapshot, Strip,
};
use crate::cache::Size;
use crate::oci::Platform;

/// The file's name.
pub(super) const FILE: &str = "esker.yml";

const PROJECT_KEYS: [&str; 29] = [
    "registry",
    "engine",
    "buildkitd",
    "cache-limit",
    "base",
    "platforms",
    "lock-subdirs",
    "root",
    "mirrors",
    "layers",
    "env",
    "labels",
    "info",
    "apt",
    "apt-snapshot",
    "skip-maintainer-scripts",
    "skip-link-scripts",
    "strip",
    "relock",
    "refresh",
    "prefer-parent",
    "min-age",
    "min-age-exempt",
    "sbom",
    "cache-from",
    "docker",
    "deny",
    "allow",
    "images",
];
const IMAGE_KEYS: [&str; 22] = [
    "parent",
    "base",
    "platforms",
    "lock-subdirs",
    "mirrors",
    "layers",
    "env",
    "labels",
    "info",
    "apt",
    "apt-snapshot",
    "skip-maintainer-scripts",
    "skip-link-scripts",
    "strip",
    "relock",
    "refresh",
    "prefer-parent",
    "min-age",
    "min-age-exempt",
    "sbom",
    "cache-from",
    "docker",
];

/// What `esker.yml` says; its default is what holds without the file.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) registry: Option<String>,
    pub(super) engine: EngineKind,
    pub(super) buildkitd: Option<String>,
    pub(super) cache_limit: Option<Size>,
    pub(super) root: Root,
    /// What images have that do not say otherwise.
    pub(super) defaults: Settings,
    pub(super) images: IndexMap<String, ImageEntry>,
    pub(super) denied: Denied,
}

/// `root:`.
#[derive(Debug, Default)]
pub(super) enum Root {
    /// Not given.
    #[default]
    Default,
    /// `none` or null.
    None,
    /// An image.
    Image(Placed<String>),
}

/// One entry of `images:`.
#[derive(Debug)]
pub(super) struct ImageEntry {
    pub(super) place: Place,
    pub(super) parent: Option<Placed<String>>,
    pub(super) settings: Settings,
}

/// The keys that may stand at the top and in an image's entry.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) base: Option<BaseSource>,
    pub(super) platforms: Option<Vec<Placed<Platform>>>,
    pub(super) lock_subdirs: Option<Placed<Vec<Subdir>>>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) layers: Option<usize>,
    pub(super) env: IndexMap<String, String>,
    pub(super) labels: IndexMap<String, String>,
    pub(super) info: IndexMap<String, String>,
    pub(super) apt: Option<AptPolicy>,
    pub(super) apt_snapshot: Option<Snapshot>,
    pub(super) skip_maintainer_scripts: Vec<String>,
    pub(super) skip_link_scripts: Vec<String>,
    pub(super) strip: Option<Strip>,
    pub(super) relock: Option<RelockPolicy>,
    pub(super) refresh: Vec<String>,
    pub(super) prefer_parent: Option<bool>,
    pub(super) min_age: Option<Age>,
    pub(super) min_age_exempt: Vec<String>,
    pub(super) sbom: Option<bool>,
    pub(super) cache_from: Vec<Reference>,
    pub(super) docker: DockerSettings,
}

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl Config {
    /// Reads and checks `path`. An empty file says nothing, which is fine.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Self::from_document(&Document::read(path)?)
    }

    fn from_document(document: &Document) -> Result<Self, Error> {
        let Some(root) = &document.root else { return Ok(Self::default()) };
        let fields = root.fields(FILE, &PROJECT_KEYS)?;
        Ok(Self {
            registry: get(fields, "registry").map(registry).transpose()?,
            engine: get(fields, "engine").map(engine).transpose()?.unwrap_or_default(),
            buildkitd: get(fields, "buildkitd").map(|node| node.text("buildkitd").map(str::to_owned)).transpose()?,
            cache_limit: get(fields, "cache-limit").map(cache_limit).transpose()?,
            root: get(fields, "root").map(root_image).transpose()?.unwrap_or_default(),
            defaults: Settings::read(fields)?,
            images: get(fields, "images").map(images).transpose()?.unwrap_or_default(),
            denied: Denied {
                kinds: get(fields, "deny").map(deny).transpose()?.unwrap_or_default(),
                allow: get(fields, "allow").map(|node| names(node, "allow")).transpose()?.unwrap_or_default(),
            },
        })
    }
}

impl Settings {
    fn read(fields: &[Entry]) -> Result<Self, Error> {
        let packages =
            |key| Ok::<_, Error>(get(fields, key).map(|node| names(node, key)).transpose()?.unwrap_or_default());
        Ok(Self {
            base: get(fields, "base").map(base).transpose()?,
            platforms: get(fields, "platforms").map(platforms).transpose()?,
            lock_subdirs: get(fields, "lock-subdirs").map(lock_subdirs).transpose()?,
            mirrors: get(fields, "mirrors").map(mirrors).transpose()?.unwrap_or_default(),
            layers: get(fields, "layers").map(layers).transpose()?,
            env: get(fields, "env").map(|node| variables(node, "env")).transpose()?.unwrap_or_default(),
            labels: get(fields, "labels").map(labels).transpose()?.unwrap_or_default(),
            info: get(fields, "info").map(info).transpose()?.unwrap_or_default(),
            apt: get(fields, "apt").map(apt).transpose()?,
            apt_snapshot: get(fields, "apt-snapshot").map(|node| parsed(node, "apt-snapshot")).transpose()?,
            skip_maintainer_scripts: packages("skip-maintainer-scripts")?,
            skip_link_scripts: packages("skip-link-scripts")?,
            strip: get(fields, "strip").map(strip).transpose()?,
            relock: get(fields, "relock").map(|node| parsed(node, "relock")).transpose()?,
            refresh: packages("refresh")?,
            prefer_parent: get(fields, "prefer-parent").map(|node| node.boolean("prefer-parent")).transpose()?,
            min_age: get(fields, "min-age").map(|node| parsed(node, "min-age")).transpose()?,
            min_age_exempt: packages("min-age-exempt")?,
            sbom: get(fields, "sbom").map(|node| node.boolean("sbom")).transpose()?,
            cache_from: get(fields, "cache-from").map(cache_from).transpose()?.unwrap_or_default(),
            docker: get(fields, "docker").map(DockerSettings::read).transpose()?.unwrap_or_default(),
        })
    }
}

fn images(node: &Node) -> Result<IndexMap<String, ImageEntry>, Error> {
    if node.is_null() {
        return Ok(IndexMap::new());
    }
    node.entries("images")?.iter().map(|entry| Ok((entry.key.clone(), image(entry)?))).collect()
}

fn image(entry: &Entry) -> Result<ImageEntry, Error> {
    let fields = if entry.value.is_null() { &[] } else { entry.value.fields(&entry.key, &IMAGE_KEYS)? };
    Ok(ImageEntry {
        place: entry.place.clone(),
        parent: get(fields, "parent").map(|node| placed_text(node, "parent")).transpose()?,
        settings: Settings::read(fields)?,
    })
}

fn placed_text(node: &Node, key: &str) -> Result<Placed<String>, Error> {
    Ok(Placed { value: node.text(key)?.to_owned(), place: node.place.clone() })
}

fn root_image(node: &Node) -> Result<Root, Error> {
    if node.is_null() {
        return Ok(Root::None);
    }
    match placed_text(node, "root")? {
        Placed { value, .. } if value == "none" => Ok(Root::None),
        name => Ok(Root::Image(name)),
    }
}

#[cfg(test)]
mod tests;
