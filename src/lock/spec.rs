//! What an image asks for, ready to be solved: [`LockSpec`].

use std::path::{Component, Path, PathBuf};

use rattler_conda_types::{Channel, ChannelConfig, MatchSpec, Subdir};
use url::Url;

use super::{Error, VirtualPackage, content_hash, virtual_packages};
use crate::project::{Dependency, ImageSpec, MergedSpec, match_spec, merge};

/// What the locks of an image must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockSpec {
    /// The image's name.
    pub image: String,
    /// The folder that relative channels are relative to.
    pub folder: PathBuf,
    /// Channels as written, in order of priority.
    pub channels: Vec<String>,
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
            sources: sources.collect(),
            subdirs: Vec::new(),
        };
        for subdir in &image.subdirs {
            let merged = merge(&image.environments, *subdir)?;
            let virtual_packages = virtual_packages::of(*subdir, &image.virtual_packages);
            spec.channels = merged.channels;
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

    /// The channels, resolved as conda does: behind those listed come those that single lines name (`channel::name`).
    pub(super) fn resolved_channels(&self) -> Result<Vec<Channel>, Error> {
        let mut channels = self.listed_channels()?;
        for root in self.subdirs.iter().flat_map(SubdirSpec::roots) {
            let Some(channel) = root.spec.channel.filter(|_| root.spec.url.is_none()) else { continue };
            self.refuse_secrets(channel.base_url.as_str())?;
            if channels.iter().all(|known| known.base_url != channel.base_url) {
                channels.push(channel.as_ref().clone());
            }
        }
        Ok(channels)
    }

    fn listed_channels(&self) -> Result<Vec<Channel>, Error> {
        let config = ChannelConfig::default_with_root_dir(self.folder.clone());
        let mut channels = Vec::new();
        for written in &self.channels {
            self.refuse_secrets(written)?;
            for name in expanded(written) {
                let channel = Channel::from_str(name, &config).map_err(|source| {
                    let (image, channel) = (self.image.clone(), written.clone());
                    Error::Channel { image, channel, source }
                })?;
                channels.push(channel);
            }
        }
        Ok(channels)
    }

    /// A lock is published: refuses channels that hold a password or a token, and variables that would become one.
    fn refuse_secrets(&self, channel: &str) -> Result<(), Error> {
        let url = Url::parse(channel).ok();
        let has_user = url.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some());
        let has_token = url.is_some_and(|url| url.path().starts_with("/t/"));
        if channel.contains('$') {
            return Err(Error::ChannelVariable { image: self.image.clone(), channel: channel.to_owned() });
        }
        if has_user || has_token {
            return Err(Error::ChannelSecret { image: self.image.clone() });
        }
        Ok(())
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

/// conda's `defaults` stands for these (`default_channels` of conda's configuration, on Unix).
fn expanded(channel: &str) -> Vec<&str> {
    match channel {
        "defaults" => vec!["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"],
        channel => vec![channel],
    }
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

    #[test]
    fn channels_are_resolved_and_secrets_refused() {
        let spec = |channel: &str| LockSpec {
            image: "x".into(),
            folder: "/project/x".into(),
            channels: vec![channel.into()],
            sources: vec![],
            subdirs: vec![],
        };
        let urls = |channel: &str| -> Vec<String> {
            let channels = spec(channel).resolved_channels().unwrap();
            channels.iter().map(|channel| channel.base_url.to_string()).collect()
        };
        assert_eq!(urls("conda-forge"), ["https://conda.anaconda.org/conda-forge/"]);
        assert_eq!(urls("conda-forge/label/rc"), ["https://conda.anaconda.org/conda-forge/label/rc/"]);
        assert_eq!(urls("./local"), ["file:///project/x/local/"]);
        assert_eq!(urls("defaults").len(), 2);
        for secret in ["https://user:pass@host/c", "https://host/t/tk-123/c"] {
            let error = spec(secret).resolved_channels().unwrap_err();
            assert!(matches!(error, Error::ChannelSecret { .. }) && !error.to_string().contains("pass"));
        }
        let variable = spec("https://host/t/$TOKEN/c").resolved_channels();
        assert!(matches!(variable, Err(Error::ChannelVariable { .. })));
    }
}
