//! The order of the stages, where two commands need the same sequence.
//!
//! A [`Session`] is one run of esker on one project: its settings, its clients, and where it reports. Each method is
//! one stage for one image and leaves on disk what the next one reads, so that `esker lock`, `esker build` and
//! `esker verify` one after another do what `esker make` does.

mod bases;
mod debian;
mod docker;
mod layers;
mod locking;
mod published;
pub mod rebuild;
mod remote;
mod rendering;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

use crate::apt;
use crate::build::base::{self, BaseImage, BaseRequest};
use crate::build::debian::DebianRequest;
use crate::build::native::Reuse;
use crate::build::native::published::CacheFrom;
use crate::build::onto::Onto;
use crate::build::pins;
use crate::build::target::Target;
use crate::build::{Built, native};
use crate::cache::{self, Cache, Rule};
use crate::lock::{self, Stale};
use crate::oci::{self, Compression, Digest, InUse, Layout, Platform, canonical_json, layout};
use crate::progress::Progress;
use crate::project::{self, BaseReference, ImageSpec, Mirror, Project};
use crate::registry::Pushed;
use crate::settings::Settings;
use crate::verify::{self, Equipment, Report, RuntimeKind, Selection, Verification};
use crate::{channel, registry, render};

pub use debian::AptStale;
pub use docker::DockerChoice;
pub use locking::{LockChoice, Locked};
pub use rendering::{Purpose, is_written};

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

/// What stops a sequence of stages.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is the stage its error comes from")]
pub enum Error {
    #[error(transparent)]
    Project(#[from] project::Error),
    #[error(transparent)]
    Cache(#[from] cache::Error),
    #[error(transparent)]
    Channel(#[from] channel::Error),
    #[error(transparent)]
    Lock(#[from] lock::Error),
    #[error(transparent)]
    Debian(#[from] apt::Error),
    #[error(transparent)]
    Base(#[from] base::Error),
    #[error(transparent)]
    Pins(#[from] pins::Error),
    #[error(transparent)]
    Render(#[from] render::Error),
    #[error(transparent)]
    Native(#[from] native::Error),
    #[error(transparent)]
    Docker(#[from] crate::build::docker::Error),
    #[error(transparent)]
    Verify(#[from] verify::Error),
    #[error(transparent)]
    Layout(#[from] oci::Error),
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// There is no lock.
    #[error("`{image}` is not locked: there is no `{}`", path.display())]
    NotLocked {
        /// The image.
        image: String,
        /// Where its lock would be, relative to the project's root.
        path: PathBuf,
    },
    /// The lock does not answer the environment any more.
    #[error("the lock of `{image}` does not satisfy its environment: {}", first(reasons))]
    Stale {
        /// The image.
        image: String,
        /// Which input does not hold, each.
        reasons: Vec<Stale>,
    },
    /// A platform was asked for that the image is not locked for.
    #[error("`{image}` has no lock for {platform}: its platforms are {}", list(known))]
    PlatformNotLocked {
        /// The image.
        image: String,
        /// What was asked for.
        platform: Platform,
        /// What there is.
        known: Vec<Platform>,
    },
    /// Dockerfiles install packages with what the root prefix has.
    #[error("there is no image for the root prefix that a Dockerfile of `{image}` could build on")]
    NoRoot {
        /// The image.
        image: String,
    },
    /// A Dockerfile names its base by a digest, which nobody has looked up.
    #[error("`{base}` is not pinned in `base-lock.yml`")]
    BaseNotPinned {
        /// The base.
        base: String,
    },
    /// A Dockerfile has one base for all platforms.
    #[error("`{image}` has a base of its own for each platform, which a Dockerfile cannot have: {}", bases.join(", "))]
    SeveralBases {
        /// The image.
        image: String,
        /// The bases.
        bases: Vec<String>,
    },
    /// A rendered file cannot be written.
    #[error("cannot write `{}`", path.display())]
    WriteRendered {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No base for a platform.
    #[error("`{image}` has no base for {platform}")]
    NoBase {
        /// The image.
        image: String,
        /// The platform.
        platform: Platform,
    },
    /// `apt.txt` is not what `apt-lock.yml` was made for.
    #[error("the Debian packages of `{image}` are not locked as `apt.txt` asks: {}", describe(stale))]
    AptStale {
        /// The image.
        image: String,
        /// What differs.
        stale: AptStale,
    },
    /// `apt.txt` has packages, and the project has none installed.
    #[error("`{image}` wants Debian packages, which `apt: refuse` refuses: {}", packages.join(", "))]
    Apt {
        /// The image.
        image: String,
        /// The packages of `apt.txt`.
        packages: Vec<String>,
    },
    /// The image's folder has a file that says what to install or run, and that the engine does nothing with.
    #[error("`{image}` has a `{}`, which the native engine does not carry out", file.display())]
    UnsupportedFile {
        /// The image.
        image: String,
        /// The file, relative to the project's root.
        file: PathBuf,
    },
}

/// Files of repo2docker's that change what is in an image. Left out in silence, the image would not be what was asked.
const UNSUPPORTED: [&str; 3] = ["requirements.txt", "preBuild", "postBuild"];

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn describe(stale: &AptStale) -> String {
    let wanted = stale.wanted.iter().map(|one| format!("{one} is missing"));
    let locked = stale.locked.iter().map(|one| format!("{one} is not asked for"));
    wanted.chain(locked).collect::<Vec<_>>().join(", ")
}

/// The first of `reasons`; all of them are for `esker lock --check`.
fn first(reasons: &[Stale]) -> String {
    match reasons {
        [] => String::new(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more; `esker lock --check` shows them)", rest.len()),
    }
}

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildChoice<'a> {
    /// Platforms, none for the image's own.
    pub platforms: &'a [Platform],
    /// Instead of the project's base.
    pub base: Option<&'a BaseReference>,
    /// Record the base's digest anew.
    pub update_base: bool,
    /// Compression of layers.
    pub compression: Compression,
    /// The image to lay this one on, and after how many updates to make it as a whole.
    pub onto: Option<(&'a BaseReference, u32)>,
    /// Put SBOMs and provenance beside the image, if its settings do not say otherwise.
    pub sbom: bool,
    /// Images to take from what has not changed.
    pub cache_from: &'a CacheFrom,
    /// Whether layers that those have may stay out of the layout.
    pub remote: bool,
    /// Who builds, if not esker itself.
    pub docker: Option<DockerChoice>,
    /// Where the layout goes.
    pub layout: &'a Path,
}

/// How to verify.
#[derive(Clone, Debug)]
pub struct VerifyChoice<'a> {
    /// The layout that holds the image.
    pub layout: &'a Path,
    /// Platforms, none for all of the layout.
    pub platforms: &'a [Platform],
    /// What runs the image.
    pub runtime: RuntimeKind,
    /// How long one check may take.
    pub timeout: Duration,
    /// Which checks run.
    pub selection: &'a Selection,
    /// Whether the image stays unpacked for the next run.
    pub keep_unpacked: bool,
    /// Whether outputs of containers are kept of checks that passed, too.
    pub keep_all_logs: bool,
    /// Whether this machine's GPUs are used.
    pub gpus: bool,
}

/// What is kept of a run of verify that passed.
#[derive(Serialize, Deserialize)]
struct Stamp {
    esker: String,
    runtime: RuntimeKind,
    /// Of `packages.txt`, which whoever changes it afterwards gets written again.
    packages: Digest,
    /// Of the project's own tests of the image.
    tests: Digest,
    /// The commands that were run to tell what is inside.
    info: IndexMap<String, String>,
    report: Report,
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

    async fn build_natively(&self, image: &ImageSpec, choice: &BuildChoice<'_>) -> Result<Built, Error> {
        let packages = image.apt_packages()?;
        if !packages.is_empty() && image.apt == project::AptPolicy::Refuse {
            return Err(Error::Apt { image: image.name.clone(), packages });
        }
        if let Some(file) = UNSUPPORTED.iter().find_map(|name| image.file(name)) {
            return Err(Error::UnsupportedFile { image: image.name.clone(), file: self.relative(&file) });
        }
        let platforms = self.platforms(image, choice.platforms)?;
        // From before the base is looked up to when the image is there.
        let _run = cache::Run::begin(&self.settings.cache_dir)?;
        let lock = self.current_lock(image)?;
        let apt = self.current_apt(image)?;
        let root = self.root_of(image).map(|root| Ok::<_, Error>((root, self.current_lock(root)?))).transpose()?;
        let parents = self.parents_of(image, &|parent| self.existing_lock(parent))?;
        let root = root.as_ref().map(|(root, lock)| (*root, lock));
        let environments = self.environments(image, &lock, root, &parents);
        let mut content = render::image_content(image, self.root_image())?;
        if self.is_root(image) {
            self.rendering(image, image, &lock).add_triggers(&mut content)?;
        }
        let published = self.published(choice.cache_from);
        let bases = self.bases(image, choice, &platforms, published.as_ref()).await?;
        let request = native::Request {
            image: &image.name,
            environments,
            platforms: &platforms,
            bases: &bases,
            debian: apt.as_ref().map(|lock| DebianRequest { lock, skip: &image.debian.skip_maintainer_scripts }),
            content: &content,
            compression: choice.compression,
            source_date_epoch: self.settings.source_date_epoch,
            cache_dir: &self.settings.cache_dir,
            jobs: self.settings.jobs,
            sbom: image.sbom && choice.sbom,
            // An image on the image before has other layers than those that are made here.
            reuse: Reuse { from: published.as_ref(), remote: choice.remote, record: choice.onto.is_none() },
        };
        let before = self.before(choice, &platforms).await?;
        let built = native::build(&request, &self.channels(image)?, choice.layout, self.progress).await?;
        let Some((_, rebase_after)) = choice.onto else { return Ok(built) };
        let (compression, progress) = (choice.compression, self.progress);
        let onto = Onto { before: &before, bases: &bases, compression, rebase_after, progress };
        Ok(tokio::task::block_in_place(|| onto.apply(built))?)
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

    /// Runs the image in `choice.layout` to prove it, once the layers are there that were left in a registry. A run of all checks on all platforms without a failure is
    /// remembered, see [`verified`](Self::verified).
    ///
    /// # Errors
    /// When the image cannot be read or not be run; a failed check is part of the answer.
    pub async fn verify(&self, image: &ImageSpec, choice: &VerifyChoice<'_>) -> Result<Verification, Error> {
        let lock = self.current_lock(image)?;
        let root = self.root_of(image).map(|root| self.current_lock(root)).transpose()?;
        let layout = Layout::open(choice.layout).map_err(verify::Error::from)?;
        let mark = self.mark(image, choice.layout)?;
        if mark.is_some() {
            self.complete(image, &layout, choice.platforms).await?;
        }
        let equipment = Equipment {
            tests: self.tests_dir(),
            tools: self.settings.cache_dir.join("tools"),
            work: self.project.state_dir().join("run"),
            pictures: self.project.state_dir().join("pictures"),
            gpus: choice.gpus,
        };
        let request = verify::Request {
            image,
            layout: &layout,
            lock: &lock,
            root: root.as_ref(),
            is_root: self.is_root(image),
            platforms: choice.platforms,
            runtime: choice.runtime,
            work_dir: &self.project.state_dir().join("run"),
            keep_unpacked: choice.keep_unpacked,
            log_dir: &self.project.state_dir().join("verify").join(&image.name),
            keep_all_logs: choice.keep_all_logs,
            timeout: choice.timeout,
            jobs: self.settings.jobs,
            selection: choice.selection,
            equipment: &equipment,
            runner: None,
            podman: &self.settings.podman,
            docker: &self.settings.docker,
        };
        let verification = verify::verify(&request, self.progress).await?;
        if verification.verified.is_some() && choice.selection.skip.is_empty() {
            self.remember(image, &verification.report, choice.runtime)?;
        }
        Ok(verification)
    }

    /// The report of the last full run that `verify` passed for the image with this digest, with this runtime.
    pub fn verified(&self, image: &ImageSpec, digest: Digest, runtime: RuntimeKind) -> Option<Report> {
        // A stamp that cannot be read is no stamp: the image is verified again.
        let text = fs_err::read(self.stamp_path(image)).ok()?;
        let stamp: Stamp = serde_json::from_slice(&text).ok()?;
        let packages = Digest::of(&fs_err::read(image.packages_path()).ok()?);
        let same = stamp.esker == env!("CARGO_PKG_VERSION")
            && stamp.runtime == runtime
            && stamp.report.digest == digest
            && stamp.packages == packages
            && stamp.info == image.info
            && stamp.tests == verify::tests_digest(&self.tests_dir(), &image.name).ok()?;
        same.then_some(stamp.report)
    }

    fn remember(&self, image: &ImageSpec, report: &Report, runtime: RuntimeKind) -> Result<(), Error> {
        let packages = image.packages_path();
        let packages = fs_err::read(&packages)
            .map_err(|source| verify::Error::from(oci::Error::Read { path: packages, source }))?;
        // Logs make way for those of the next run.
        let mut report = report.clone();
        report.platforms.iter_mut().flat_map(|platform| &mut platform.checks).for_each(|check| check.log = None);
        let stamp = Stamp {
            esker: env!("CARGO_PKG_VERSION").to_owned(),
            runtime,
            packages: Digest::of(&packages),
            tests: verify::tests_digest(&self.tests_dir(), &image.name)?,
            info: image.info.clone(),
            report,
        };
        let path = self.stamp_path(image);
        let folder = path.parent().expect("a file in the state folder");
        let written = fs_err::create_dir_all(folder)
            .map_err(|source| oci::Error::Write { path: folder.to_owned(), source })
            .and_then(|()| layout::write_atomically(&path, &canonical_json(&stamp)));
        Ok(written.map_err(verify::Error::from)?)
    }

    /// The project's own tests of its images.
    fn tests_dir(&self) -> PathBuf {
        self.project.root.join("tests")
    }

    fn stamp_path(&self, image: &ImageSpec) -> PathBuf {
        self.project.state_dir().join("verified").join(format!("{}.json", image.name))
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

    /// The images that are to be laid on, of the platforms that they have.
    async fn before(
        &self,
        choice: &BuildChoice<'_>,
        platforms: &[Platform],
    ) -> Result<BTreeMap<Platform, BaseImage>, Error> {
        let mut images = BTreeMap::new();
        let Some((source, _)) = choice.onto else { return Ok(images) };
        for &platform in platforms {
            let request = BaseRequest {
                source,
                platform,
                project_root: &self.project.root,
                cache_dir: &self.settings.cache_dir,
                pinned: None,
                compression: choice.compression,
                offline: self.settings.offline,
            };
            match base::resolve(request, &self.registry, self.progress).await {
                Ok(image) => drop(images.insert(platform, image)),
                Err(base::Error::NoPlatform { .. }) => {
                    self.progress.note(&format!("{platform} is made as a whole: `{source}` is not for it"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(images)
    }
}

/// Serialises a duration as seconds with milliseconds.
fn as_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1000.0).round() / 1000.0)
}
