//! Puts together what `esker.yml` says and what the folders hold, and checks that it fits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indexmap::IndexMap;
use rattler_conda_types::Subdir;

use super::config::{Config, ImageEntry, Placed, Root, Settings};
use super::discover::{self, ImageFolder};
use super::{
    BaseReference, BaseSource, DebianSettings, Environment, Error, Help, ImageSpec, Place, Project, Relocking,
    VirtualPackages, config,
};
use crate::oci::Platform;

/// What images are built on where nothing is said.
const DEFAULT_BASE: &str = "docker.io/library/debian:bookworm-slim";
/// What images are built for where nothing is said.
const DEFAULT_PLATFORMS: [Platform; 2] = [Platform::LinuxAmd64, Platform::LinuxArm64];
/// The most layers where nothing is said: beyond it, an update pulls hardly less.
const DEFAULT_LAYERS: usize = 80;
/// The image of the root prefix where nothing is said.
const DEFAULT_ROOT: &str = "base-image";

impl Project {
    /// Opens the project that `start_dir` is in.
    ///
    /// Its root is the nearest folder upwards with an `esker.yml`; without one it is `start_dir`, or the folder around
    /// it if `start_dir` is one of several image folders side by side.
    ///
    /// # Errors
    /// [`Error::Read`] if a file or folder cannot be read; everything else is a fault in what the project says.
    pub fn open(start_dir: &Path) -> Result<Self, Error> {
        let root = discover::find_root(start_dir)?;
        let path = root.join(config::FILE);
        let config = if path.is_file() { Config::read(&path)? } else { Config::default() };
        Resolver::new(&root, &config)?.project()
    }

    /// The image called `name`.
    ///
    /// # Errors
    /// [`Error::UnknownImage`] if there is none.
    pub fn image(&self, name: &str) -> Result<&ImageSpec, Error> {
        self.images.get(name).ok_or_else(|| Error::UnknownImage {
            name: name.to_owned(),
            help: Help::for_word(name, self.images.keys().map(String::as_str)),
        })
    }

    /// The images called `names` and all their ancestors, parents before children, each once.
    ///
    /// # Errors
    /// [`Error::UnknownImage`] if a name is no image.
    pub fn with_ancestors<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<&ImageSpec>, Error> {
        let mut wanted = BTreeSet::new();
        for name in names {
            let mut next = Some(self.image(name.as_ref())?);
            while let Some(image) = next {
                wanted.insert(image.name.as_str());
                next = image.parent.as_deref().map(|parent| self.image(parent)).transpose()?;
            }
        }
        Ok(self.images.values().filter(|image| wanted.contains(image.name.as_str())).collect())
    }
}

/// A project on its way.
struct Resolver<'a> {
    root: &'a Path,
    config: &'a Config,
    folders: BTreeMap<String, ImageFolder>,
    environments: BTreeMap<String, Environment>,
}

impl<'a> Resolver<'a> {
    /// Finds all folders and reads their environments.
    fn new(root: &'a Path, config: &'a Config) -> Result<Self, Error> {
        let mut folders = BTreeMap::new();
        for (name, entry) in &config.images {
            folders.insert(name.clone(), named_folder(root, name, entry)?);
        }
        for folder in discover::find_images(root)? {
            // An image that is the root itself has a place only where it is the one image.
            if folder.folder != root || folders.is_empty() {
                folders.entry(folder.name.clone()).or_insert(folder);
            }
        }
        if folders.is_empty() {
            return Err(Error::NoImages { root: root.to_owned() });
        }
        let read = |folder: &ImageFolder| Ok((folder.name.clone(), Environment::read(&folder.environment())?));
        let environments = folders.values().map(read).collect::<Result<_, Error>>()?;
        Ok(Self { root, config, folders, environments })
    }

    fn project(&self) -> Result<Project, Error> {
        let root_image = self.root_image()?;
        let mut images = IndexMap::new();
        for name in self.order(root_image.as_deref())? {
            images.insert(name.to_owned(), self.image(name)?);
        }
        if let Some(root) = root_image.as_ref().and_then(|name| images.get(name)) {
            images.values().try_for_each(|image| check_root_platforms(image, root))?;
        }
        Ok(Project {
            root: self.root.to_owned(),
            registry: self.config.registry.clone(),
            engine: self.config.engine,
            buildkitd: self.config.buildkitd.clone(),
            cache_limit: self.config.cache_limit,
            images,
            root_image,
            denied: self.config.denied.clone(),
        })
    }

    fn root_image(&self) -> Result<Option<String>, Error> {
        match &self.config.root {
            Root::None => Ok(None),
            Root::Default => Ok(self.folders.contains_key(DEFAULT_ROOT).then(|| DEFAULT_ROOT.to_owned())),
            Root::Image(name) => self.existing("root", name).map(|name| Some(name.to_owned())),
        }
    }

    /// The name of an image that must exist.
    fn existing<'n>(&self, key: &'static str, name: &'n Placed<String>) -> Result<&'n str, Error> {
        if self.folders.contains_key(&name.value) {
            return Ok(&name.value);
        }
        let help = Help::for_word(&name.value, self.folders.keys().map(String::as_str));
        Err(Error::MissingImage { place: name.place.clone(), key, name: name.value.clone(), help })
    }

    fn entry(&self, name: &str) -> Option<&ImageEntry> {
        self.config.images.get(name)
    }

    fn parent(&self, name: &str) -> Option<&Placed<String>> {
        self.entry(name)?.parent.as_ref()
    }

    /// The image, its parent, its grandparent and so on.
    fn ancestry<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'n str> {
        std::iter::successors(Some(name), |name| self.parent(name).map(|parent| parent.value.as_str()))
    }

    /// All names, parents before children, else by name; checks parents on the way.
    fn order(&self, root_image: Option<&str>) -> Result<Vec<&str>, Error> {
        for name in self.folders.keys() {
            self.check_parent(name, root_image)?;
        }
        let mut placed = BTreeSet::new();
        let mut order = Vec::with_capacity(self.folders.len());
        while let Some(next) = self.folders.keys().find(|name| {
            !placed.contains(name.as_str())
                && self.parent(name).is_none_or(|parent| placed.contains(parent.value.as_str()))
        }) {
            placed.insert(next.as_str());
            order.push(next.as_str());
        }
        Ok(order)
    }

    fn check_parent(&self, name: &str, root_image: Option<&str>) -> Result<(), Error> {
        let Some(parent) = self.parent(name) else { return Ok(()) };
        self.existing("parent", parent)?;
        if let Some(cycle) = self.cycle(name) {
            return Err(Error::Cycle { place: parent.place.clone(), chain: cycle });
        }
        if root_image == Some(parent.value.as_str()) {
            let (place, parent) = (parent.place.clone(), parent.value.clone());
            return Err(Error::RootIsParent { place, image: name.to_owned(), parent });
        }
        Ok(())
    }

    /// The way from `name` back to itself, if its ancestors lead there.
    fn cycle(&self, name: &str) -> Option<Vec<String>> {
        let mut chain = vec![name.to_owned()];
        // Longer than all images together, the chain has run into a cycle that `name` is not part of; an image that
        // is part of it reports it.
        for ancestor in self.ancestry(name).skip(1).take(self.folders.len()) {
            chain.push(ancestor.to_owned());
            if ancestor == name {
                return Some(chain);
            }
        }
        None
    }

    fn image(&self, name: &str) -> Result<ImageSpec, Error> {
        let folder = &self.folders[name];
        let empty = Settings::default();
        let own = self.entry(name).map_or(&empty, |entry| &entry.settings);
        let defaults = &self.config.defaults;
        let environments: Vec<Environment> = self.ancestry(name).map(|name| self.environments[name].clone()).collect();
        let Targets { platforms, subdirs } = self.targets(name, own)?;
        Ok(ImageSpec {
            name: name.to_owned(),
            folder: folder.folder.clone(),
            files: folder.files.clone(),
            parent: self.parent(name).map(|parent| parent.value.clone()),
            environments,
            platforms,
            subdirs,
            virtual_packages: virtual_packages(&folder.files)?,
            // The image's own first: the first that fits a URL is taken.
            mirrors: own.mirrors.iter().chain(&defaults.mirrors).cloned().collect(),
            base: Some(own.base.clone().or_else(|| defaults.base.clone()).unwrap_or_else(default_base)),
            env: overlaid(&defaults.env, &own.env),
            labels: overlaid(&defaults.labels, &own.labels),
            info: overlaid(&defaults.info, &own.info),
            apt: own.apt.or(defaults.apt).unwrap_or_default(),
            debian: DebianSettings {
                snapshot: own.apt_snapshot.clone().or_else(|| defaults.apt_snapshot.clone()),
                skip_maintainer_scripts: joined(&defaults.skip_maintainer_scripts, &own.skip_maintainer_scripts),
            },
            skip_link_scripts: joined(&defaults.skip_link_scripts, &own.skip_link_scripts),
            strip: own.strip.clone().or_else(|| defaults.strip.clone()).unwrap_or_default(),
            layers: own.layers.or(defaults.layers).unwrap_or(DEFAULT_LAYERS),
            relocking: Relocking {
                policy: own.relock.or(defaults.relock).unwrap_or_default(),
                refresh: joined(&defaults.refresh, &own.refresh),
                prefer_parent: own.prefer_parent.or(defaults.prefer_parent).unwrap_or(true),
                min_age: own.min_age.or(defaults.min_age),
                min_age_exempt: joined(&defaults.min_age_exempt, &own.min_age_exempt),
            },
            sbom: own.sbom.or(defaults.sbom).unwrap_or(true),
            cache_from: own.cache_from.iter().chain(&defaults.cache_from).cloned().collect(),
            docker: own.docker.over(&defaults.docker),
        })
    }

    /// Platforms and subdirs. What stands nearer to the image wins; a nearer list of subdirs narrows platforms that are
    /// only inherited, and must cover those that are written beside it or nearer.
    fn targets(&self, name: &str, own: &Settings) -> Result<Targets, Error> {
        let defaults = &self.config.defaults;
        let environment = &self.environments[name];
        let from_environment = environment.platforms.as_ref().map(|subdirs| Placed {
            value: subdirs.clone(),
            place: Place { file: environment.path.clone(), line: 1, column: 1 },
        });
        let own_subdirs = own.lock_subdirs.clone().or(from_environment);
        let inherited_subdirs = defaults.lock_subdirs.clone();
        let (asked, narrows) = match (&own.platforms, &defaults.platforms) {
            (Some(platforms), _) => (platforms.clone(), false),
            (None, Some(platforms)) => (platforms.clone(), own_subdirs.is_some()),
            (None, None) => (default_platforms(own_subdirs.as_ref().or(inherited_subdirs.as_ref())), true),
        };
        let Some(subdirs) = own_subdirs.or(inherited_subdirs) else {
            let platforms: Vec<Platform> = asked.into_iter().map(|platform| platform.value).collect();
            return Ok(Targets { subdirs: platforms.iter().map(|platform| platform.subdir()).collect(), platforms });
        };
        Targets::cover(name, &asked, &subdirs, narrows)
    }
}

/// What an image is built and its environment solved for.
struct Targets {
    platforms: Vec<Platform>,
    subdirs: Vec<Subdir>,
}

impl Targets {
    /// Brings `asked` and `subdirs` together: platforms without a subdir fall away if `narrows`, else are an error, as
    /// it is if none is left.
    fn cover(
        name: &str,
        asked: &[Placed<Platform>],
        subdirs: &Placed<Vec<Subdir>>,
        narrows: bool,
    ) -> Result<Self, Error> {
        let is_covered = |platform: &&Placed<Platform>| subdirs.value.contains(&platform.value.subdir());
        let (covered, bare): (Vec<_>, Vec<_>) = asked.iter().partition(is_covered);
        if let Some(platform) = bare.first().filter(|_| !narrows || covered.is_empty()) {
            return Err(Error::PlatformWithoutLock {
                place: if narrows { subdirs.place.clone() } else { platform.place.clone() },
                image: name.to_owned(),
                platform: platform.value,
                subdir: platform.value.subdir(),
            });
        }
        let platforms = covered.into_iter().map(|platform| platform.value).collect();
        Ok(Self { platforms, subdirs: subdirs.value.clone() })
    }
}

/// The default platforms; where subdirs are given, their place stands for the place nobody wrote.
fn default_platforms(subdirs: Option<&Placed<Vec<Subdir>>>) -> Vec<Placed<Platform>> {
    let nowhere = || Place { file: config::FILE.into(), line: 1, column: 1 };
    let place = subdirs.map_or_else(nowhere, |subdirs| subdirs.place.clone());
    DEFAULT_PLATFORMS.into_iter().map(|value| Placed { value, place: place.clone() }).collect()
}

fn named_folder(root: &Path, name: &str, entry: &ImageEntry) -> Result<ImageFolder, Error> {
    let folder = root.join(name);
    if !discover::is_image_name(name) {
        return Err(Error::Value {
            place: entry.place.clone(),
            key: "images".to_owned(),
            value: name.to_owned(),
            problem:
                "names are those of folders beside this file: lower-case letters and digits, with single `.`, `_` \
                      or `-` between them"
                    .to_owned(),
        });
    }
    let folder = ImageFolder::new(&folder, name)?;
    match folder.environment() {
        path if path.is_file() => Ok(folder),
        path => Err(Error::NoEnvironment { place: entry.place.clone(), image: name.to_owned(), path }),
    }
}

fn check_root_platforms(image: &ImageSpec, root: &ImageSpec) -> Result<(), Error> {
    match image.platforms.iter().find(|platform| !root.subdirs.contains(&platform.subdir())) {
        Some(platform) => {
            Err(Error::RootWithoutPlatform { image: image.name.clone(), root: root.name.clone(), platform: *platform })
        }
        None => Ok(()),
    }
}

fn virtual_packages(files: &Path) -> Result<VirtualPackages, Error> {
    let path = files.join("virtual-packages.yml");
    if path.is_file() { VirtualPackages::read(&path) } else { Ok(VirtualPackages::default()) }
}

fn default_base() -> BaseSource {
    BaseSource::Any(BaseReference::parse(DEFAULT_BASE).expect("the default base is a reference"))
}

fn overlaid(below: &IndexMap<String, String>, above: &IndexMap<String, String>) -> IndexMap<String, String> {
    below.iter().chain(above).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn joined(first: &[String], second: &[String]) -> Vec<String> {
    let added = second.iter().filter(|name| !first.contains(name));
    first.iter().chain(added).cloned().collect()
}

#[cfg(test)]
mod tests;
