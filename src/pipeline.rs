//! The order of the stages, where two commands need the same sequence.
//!
//! A [`Session`] is one run of esker on one project: its settings, its clients, and where it reports. Each method is
//! one stage for one image and leaves on disk what the next one reads, so that `esker lock`, `esker build` and
//! `esker verify` one after another do what `esker make` does.

mod bases;
mod building;
mod debian;
mod docker;
mod error;
mod layers;
mod locking;
mod published;
pub mod rebuild;
mod remote;
mod rendering;
mod verifying;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use oci_spec::distribution::Reference;

use crate::build::Built;
use crate::build::target::Target;
use crate::cache::{Cache, Rule};
use crate::oci::{InUse, Layout, Platform};
use crate::progress::Progress;
use crate::project::{self, ImageSpec, Mirror, Project};
use crate::registry::Pushed;
use crate::settings::Settings;
use crate::{channel, lock, registry};

pub use building::BuildChoice;
pub use debian::AptStale;
pub use docker::DockerChoice;
pub use error::Error;
pub use locking::{LockChoice, Locked};
pub use remote::left_of;
pub use rendering::{Purpose, is_written};
pub use verifying::VerifyChoice;

/// One run of esker on one project.
pub struct Session<'a> {
    /// The settings of the person and the machine.
    pub settings: &'a Settings,
    /// The project.
    pub project: &'a Project,
    /// Fetches base images, and pushes.
    pub registry: registry::Client,
    /// Where to report.
    pub progress: &'a dyn Progress,
    /// Ways to channels: images that reach them alike share one, and what it knows of repodata.
    clients: Mutex<Vec<(Vec<Mirror>, channel::Variables, channel::Client)>>,
}

impl<'a> Session<'a> {
    /// Makes the clients that stages share. Nothing is read or asked before it is needed.
    pub fn open(settings: &'a Settings, project: &'a Project, progress: &'a dyn Progress) -> Self {
        let registry = registry::Client::new(registry::Options {
            auth_files: settings.credentials.registry_auth_files.clone(),
            insecure: settings.plain_http.clone(),
            ..registry::Options::default()
        });
        Self { settings, project, registry, progress, clients: Mutex::default() }
    }

    /// Fetches repodata and packages for `image`: through the mirrors of the command line, the image, the project.
    fn channels(&self, image: &ImageSpec) -> Result<channel::Client, Error> {
        let mirrors: Vec<_> = self.settings.mirrors.iter().chain(&image.mirrors).cloned().collect();
        let variables = self.variables(image, &mirrors)?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.iter().find(|(theirs, values, _)| (theirs, values) == (&mirrors, &variables));
        if let Some((.., client)) = known {
            return Ok(client.clone());
        }
        let client = channel::Client::new(channel::Options {
            cache_dir: self.settings.cache_dir.clone(),
            variables: variables.clone(),
            mirrors: mirrors.clone(),
            offline: self.settings.offline,
            jobs: self.settings.jobs,
            auth_file: self.settings.credentials.channel_auth_file.clone(),
            netrc: self.settings.credentials.netrc.clone(),
            uv: self.settings.uv.clone(),
        })?;
        clients.push((mirrors, variables, client.clone()));
        Ok(client)
    }

    /// The variables in the URLs of `mirrors` and of the channels of `image`, and of the image whose root prefix it has.
    fn variables(&self, image: &ImageSpec, mirrors: &[project::Mirror]) -> Result<channel::Variables, Error> {
        let value_of = |name: &str| self.settings.variable(name);
        let mut variables = channel::Variables::default();
        for image in [Some(image), self.root_of(image)].into_iter().flatten() {
            for (channel, place) in lock::channels_with_variables(image)? {
                variables.channel(&channel, &place.to_string(), &value_of);
            }
        }
        mirrors.iter().for_each(|mirror| variables.mirror(mirror, &value_of));
        Ok(variables)
    }

    /// Builds `image` from its lock into the layout of `choice`.
    ///
    /// # Errors
    /// When a lock is stale, or a package or the base cannot be had or used.
    pub async fn build(&self, image: &ImageSpec, choice: &BuildChoice<'_>) -> Result<Built, Error> {
        match &choice.docker {
            Some(docker) => self.build_with_docker(image, choice, docker).await,
            None => self.build_natively(image, choice).await,
        }
    }

    /// Pushes what was built of `image` to `target`.
    ///
    /// # Errors
    /// When it was not built, or the registry does not take it.
    pub async fn push(&self, image: &ImageSpec, target: &Target, sources: &[Reference]) -> Result<Pushed, Error> {
        let dir = self.project.layout_dir(&image.name);
        let layout = Layout::open(&dir)?;
        let _mark = self.mark(image, &dir)?;
        let sources: Vec<_> = sources.iter().cloned().chain(self.remote_sources(image, &layout)).collect();
        Ok(target.push(&layout, &sources, &self.registry, self.progress).await?)
    }

    /// Marks `layout` as in use, if it is where the project keeps `image`. Others' layouts are theirs to look after.
    ///
    /// # Errors
    /// [`Error::Layout`] when the mark cannot be made.
    pub fn mark(&self, image: &ImageSpec, layout: &Path) -> Result<Option<InUse>, Error> {
        let is_own = layout == self.project.layout_dir(&image.name);
        Ok(is_own.then(|| InUse::mark(layout)).transpose()?)
    }

    /// Removes what earlier builds left in the layout of `built`, unless somebody else is using it at this moment.
    pub fn tidy(&self, built: &Built, mark: Option<InUse>) {
        let Some(mark) = mark else { return };
        let tidied = Layout::open(&built.layout).and_then(|layout| mark.prune(&layout));
        if let Err(error) = tidied {
            self.progress.warning(&format!("layers of an earlier build stay in `{}`: {error}", built.layout.display()));
        }
    }

    /// Removes from the cache what was not used for longest, if it has more than the limit that was set.
    pub fn limit_cache(&self) {
        let Some(limit) = self.settings.cache_limit.or(self.project.cache_limit) else { return };
        match Cache::new(&self.settings.cache_dir).prune(Rule { max_size: Some(limit.0), older_than: None }) {
            Ok(pruned) if pruned.removed > 0 => tracing::info!(?pruned, "the cache was over its limit of {limit}"),
            Ok(_) => {}
            Err(error) => self.progress.warning(&format!("the cache stays over its limit of {limit}: {error}")),
        }
    }

    /// The image whose environment is the root prefix of `image`; `None` for that image itself.
    pub fn root_of(&self, image: &ImageSpec) -> Option<&'a ImageSpec> {
        self.root_image().filter(|root| root.name != image.name)
    }

    /// What the image is called in a registry or an engine: the project's registry, its name, `latest`.
    pub fn name_of(&self, image: &ImageSpec) -> String {
        let registry = self.project.registry.as_ref().map(|registry| format!("{registry}/")).unwrap_or_default();
        format!("{registry}{}:latest", image.name)
    }

    /// `path` relative to the project's root, for people to read.
    pub fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.project.root).unwrap_or(path).to_owned()
    }

    fn root_image(&self) -> Option<&'a ImageSpec> {
        self.project.root_image.as_ref().and_then(|name| self.project.images.get(name))
    }

    fn is_root(&self, image: &ImageSpec) -> bool {
        self.project.root_image.as_ref() == Some(&image.name)
    }

    /// The platforms of `image` that are `asked` for, all of them if none is; in its order.
    ///
    /// # Errors
    /// [`Error::PlatformNotLocked`].
    pub fn platforms(&self, image: &ImageSpec, asked: &[Platform]) -> Result<Vec<Platform>, Error> {
        if let Some(platform) = asked.iter().find(|platform| !image.platforms.contains(platform)) {
            return Err(Error::PlatformNotLocked {
                image: image.name.clone(),
                platform: *platform,
                known: image.platforms.clone(),
            });
        }
        // In the image's order, whatever the order on the command line: it is the order in the index.
        let wanted = |platform: &&Platform| asked.is_empty() || asked.contains(platform);
        Ok(image.platforms.iter().filter(wanted).copied().collect())
    }
}

/// Serialises a duration as seconds with milliseconds.
fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}
