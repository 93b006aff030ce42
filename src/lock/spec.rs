//! What an image asks for, ready to be solved: [`LockSpec`].

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use rattler_conda_types::{Channel, MatchSpec, Subdir};

use super::{Error, VirtualPackage, channels, content_hash, virtual_packages};
use crate::project::{Dependency, ImageSpec, MergedSpec, Place, match_spec, merge};

/// What the locks of an image must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockSpec {
    /// The image's name.
    pub image: String,
    /// The folder that relative channels are relative to.
    pub folder: PathBuf,
    /// Channels in order of priority, as a lock has them: as written, with variables spelled `${NAME}`.
    pub channels: Vec<String>,
    /// Where each of them is written.
    pub channel_places: Vec<Place>,
    /// The environment files, relative to the image's folder: own, parent's, grandparent's.
    pub sources: Vec<String>,
    /// What is asked for, by subdir, in the image's order.
    pub subdirs: Vec<SubdirSpec>,
}

/// What is asked for on one subdir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubdirSpec {
    /// The subdir.
    pub subdir: Subdir,
    /// conda packages, in the order they are first named.
    pub conda: Vec<MergedSpec>,
    /// pip requirements, in the same order.
    pub pip: Vec<MergedSpec>,
    /// What may be relied on.
    pub virtual_packages: Vec<VirtualPackage>,
    /// conda-lock's content hash of all this.
    pub content_hash: String,
}

/// One line that a lock must answer.
pub(super) struct Root<'a> {
    pub spec: MatchSpec,
    pub dependency: &'a Dependency,
}

impl LockSpec {
    /// What `image` and the images it extends ask for.
    ///
    /// # Errors
    /// [`Error::Request`] when their files contradict each other.
    pub fn of(image: &ImageSpec) -> Result<Self, Error> {
        let sources = image.environments.iter().map(|environment| relative(&image.folder, &environment.path));
        let mut spec = Self {
            image: image.name.clone(),
            folder: image.folder.clone(),
            channels: Vec::new(),
            channel_places: Vec::new(),
            sources: sources.collect(),
            subdirs: Vec::new(),
        };
        // Before anything else may quote a channel that holds a secret.
        for (channel, place) in image.environments.iter().flat_map(channels::written) {
            channels::locked_form(channel, place)?;
        }
        for subdir in &image.subdirs {
            let merged = merge(&image.environments, *subdir)?;
            let virtual_packages = virtual_packages::of(*subdir, &image.virtual_packages);
            (spec.channels, spec.channel_places) = channels_of(image, &merged.channels)?;
            let mut of_subdir = SubdirSpec {
                subdir: *subdir,
                conda: merged.conda,
                pip: merged.pip,
                virtual_packages,
                content_hash: String::new(),
            };
            let plain = !image.virtual_packages.replace;
            of_subdir.content_hash = content_hash::of(&spec.channels, &of_subdir, plain);
            spec.subdirs.push(of_subdir);
        }
        Ok(spec)
    }

    /// Whether the environment asks for the conda package `name`.
    pub fn asks_for(&self, name: &str) -> bool {
        self.subdirs.iter().flat_map(|subdir| &subdir.conda).any(|merged| merged.name == name)
    }

    /// The conda packages that the environment asks for, on any subdir.
    pub fn names(&self) -> BTreeSet<String> {
        self.subdirs.iter().flat_map(|subdir| &subdir.conda).map(|merged| merged.name.clone()).collect()
    }

    /// Where the image says what its machines have, whether or not it does: beside its own environment.
    pub(super) fn virtual_packages_path(&self) -> PathBuf {
        let own = self.sources.first().map_or_else(PathBuf::new, PathBuf::from);
        self.folder.join(own).with_file_name("virtual-packages.yml")
    }

    /// The channels, resolved as conda does: behind those listed come those that single lines name (`channel::name`).
    pub(super) fn resolved_channels(&self) -> Result<Vec<Channel>, Error> {
        let mut channels = self.listed_channels()?;
        for root in self.subdirs.iter().flat_map(SubdirSpec::roots) {
            let Some(channel) = root.spec.channel.filter(|_| root.spec.url.is_none()) else { continue };
            channels::locked_form(channel.base_url.as_str(), &root.dependency.place)?;
            if channels.iter().all(|known| known.base_url != channel.base_url) {
                channels.push(channel.as_ref().clone());
            }
        }
        Ok(channels)
    }

    fn listed_channels(&self) -> Result<Vec<Channel>, Error> {
        let subdirs: Vec<Subdir> = self.subdirs.iter().map(|subdir| subdir.subdir).collect();
        let mut channels = Vec::new();
        for (channel, place) in self.channels.iter().zip(&self.channel_places) {
            channels.extend(channels::resolved(channel, place, &self.folder, &subdirs)?);
        }
        Ok(channels)
    }

    /// What speaks against the lock that this will make, though nothing forbids it.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let channels = self.channels.iter().zip(&self.channel_places);
        channels.filter_map(|(channel, place)| channels::not_portable(channel, place))
    }
}

impl SubdirSpec {
    /// All lines that conda packages must answer. Merging has parsed them all before.
    pub(super) fn roots(&self) -> impl Iterator<Item = Root<'_>> {
        let dependencies = self.conda.iter().flat_map(|spec| &spec.dependencies);
        dependencies.filter_map(|dependency| Some(Root { spec: match_spec(&dependency.spec).ok()?, dependency }))
    }

    /// Names that must be locked: the requested ones, and pip where something is to be installed by it.
    pub(super) fn root_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.conda.iter().map(|spec| spec.name.clone()).collect();
        if !self.pip.is_empty() && !names.iter().any(|name| name == "pip") {
            names.push("pip".to_owned());
        }
        names
    }
}

/// `channels` as a lock has them, and where the files of `image` have each of them.
fn channels_of(image: &ImageSpec, channels: &[String]) -> Result<(Vec<String>, Vec<Place>), Error> {
    let place_of = |channel: &String| {
        let mut written = image.environments.iter().flat_map(channels::written);
        written.find(|(written, _)| written == channel).map(|(_, place)| place.clone())
    };
    let placed = channels.iter().filter_map(|channel| Some((channel, place_of(channel)?)));
    let locked = placed.map(|(channel, place)| Ok((channels::locked_form(channel, &place)?, place)));
    Ok(locked.collect::<Result<Vec<_>, Error>>()?.into_iter().unzip())
}

/// The way from `folder` to `path`, with `/`. Both are absolute.
fn relative(folder: &Path, path: &Path) -> String {
    let (from, to): (Vec<_>, Vec<_>) = (folder.components().collect(), path.components().collect());
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[common..].iter().map(|_| "..".to_owned());
    let name = |component: &Component<'_>| component.as_os_str().to_string_lossy().into_owned();
    up.chain(to[common..].iter().map(name)).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_relative_to_the_image() {
        let folder = Path::new("/project/ml-notebook");
        assert_eq!(relative(folder, &folder.join("environment.yml")), "environment.yml");
        assert_eq!(relative(folder, &folder.join("binder/environment.yml")), "binder/environment.yml");
        assert_eq!(relative(folder, Path::new("/project/base/environment.yml")), "../base/environment.yml");
    }
}
