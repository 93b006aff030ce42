//! The order of things: plan every platform, make the parts that are missing, then the layers, then the images.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Request;
use super::attach::{Subject, attach};
use super::bases::{self, BaseFacts};
use super::debian::{self, DebianLayer};
use super::error::Error;
use super::fragment;
use super::history::history;
use super::image::{self, PlatformImage, WrittenImage};
use super::layer::{Made, PackageLayer};
use super::leaving::Below;
use super::making::MadeLayers;
use super::pinned::{self, Pinned};
use super::planning::PlannedEnvironment;
use super::published::Published;
use super::store::{self, Store};
use super::system::SystemLayer;
use super::work::{Cancel, CancelOnDrop, parallel};
use crate::build::base::BaseImage;
use crate::build::{Built, BuiltPlatform};
use crate::channel::Client;
use crate::oci::{Digest, Layout, Platform};
use crate::progress::{Progress, Task, Unit};

/// The most layers an image may have. Docker refuses more than 125; some are left for images built on this one.
pub const MAX_LAYERS: usize = 120;

/// One build.
pub struct Engine<'a> {
    pub(super) request: &'a Request<'a>,
    /// Images that are taken from.
    pub(super) published: Option<&'a Published<'a>>,
    pub(super) client: &'a Client,
    pub(super) progress: &'a dyn Progress,
    pub(super) store: Arc<Store>,
    pub(super) layout: Layout,
    pub(super) cancel: Cancel,
    _cancel_on_drop: CancelOnDrop,
    /// Packages that were downloaded.
    downloaded: AtomicUsize,
}

/// The system below one platform's image.
struct Base<'a> {
    platform: Platform,
    image: &'a BaseImage,
    facts: &'a BaseFacts,
    debian: Option<&'a DebianLayer>,
}

impl<'a> Engine<'a> {
    /// Opens the cache and the layout, to take what it can from images that were `published`.
    pub fn open(
        request: &'a Request<'a>,
        published: Option<&'a Published<'a>>,
        client: &'a Client,
        layout: &Path,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let cancel = Cancel::default();
        Ok(Self {
            request,
            published,
            client,
            progress,
            downloaded: AtomicUsize::new(0),
            store: Arc::new(Store::open(request.cache_dir)?),
            layout: Layout::create(layout)?,
            _cancel_on_drop: CancelOnDrop(cancel.clone()),
            cancel,
        })
    }

    /// Builds; see [`super::build`].
    pub async fn build(&self) -> Result<Built, Error> {
        let mut platforms = Vec::new();
        for &platform in self.request.platforms {
            platforms.push((platform, self.base(platform)?, self.plan_platform(platform).await?));
        }
        let (made, facts) = tokio::join!(
            self.layers(platforms.iter().flat_map(|(_, _, environments)| environments)),
            self.import_bases(platforms.iter().map(|(_, base, _)| *base)),
        );
        let (mut made, facts) = match (made, facts) {
            // What fails on one side ends the other, which has nothing more to say.
            (Err(Error::Cancelled), Err(reason)) => return Err(reason),
            (made, facts) => (made?, facts?),
        };
        let mut installed = Vec::new();
        let mut below = Below::default();
        for ((platform, base, _), facts) in platforms.iter().zip(&facts) {
            let debian = self.debian_layer(*platform, base, facts).await?;
            if let Some(debian) = debian.as_ref().filter(|debian| debian.is_borrowed) {
                made.from_cache.layers += 1;
                made.from_cache.layer_bytes += debian.written.size;
            }
            below.add(base, facts, debian.as_ref());
            installed.push(debian);
        }
        let mut newest = 0;
        let mut written = Vec::new();
        let mut built = Vec::new();
        let mut subjects = Vec::new();
        for (((platform, base, environments), facts), debian) in platforms.iter().zip(&facts).zip(&installed) {
            let base = Base { platform: *platform, image: base, facts, debian: debian.as_ref() };
            // Of this platform alone: its image is the same whatever other platforms are built with it.
            let created = environments.iter().map(|environment| environment.newest).max();
            let created = self.request.source_date_epoch.or(created).unwrap_or_default();
            newest = newest.max(created);
            let (image, report) = self.image(&base, environments, &made, created)?;
            subjects.push(self.subject(&base, &image, environments, created));
            written.push(image);
            built.push(report);
        }
        self.keep(platforms.iter().flat_map(|(_, _, environments)| environments));
        let name = self.request.image;
        let index = image::index(&written, newest);
        let mut documents = attach(self.request, &index, &subjects, &self.store, &self.layout)?;
        if self.request.reuse.record {
            let environments = platforms.iter().flat_map(|(_, _, environments)| environments);
            documents.push(self.attach_record(&index, environments, &made, below).await?);
        }
        let index = self.layout.set_index_with(name, &index, &documents)?;
        Ok(Built {
            image: name.to_owned(),
            layout: self.layout.path().to_owned(),
            digest: Digest::try_from(index.digest()).expect("the layout made it"),
            platforms: built,
            from_cache: made.from_cache,
            downloaded_packages: self.downloaded.load(Ordering::Relaxed),
        })
    }

    /// Says that all that is in the image was used, also where its layer was there and nothing had to be looked up.
    fn keep<'p>(&self, environments: impl Iterator<Item = &'p PlannedEnvironment>) {
        let mut used = Vec::new();
        for environment in environments {
            used.extend(environment.packages.iter().map(|package| package.path().to_owned()));
            let fragments = environment.layers.iter().flat_map(|layer| &layer.fragments);
            used.extend(fragments.map(|fragment| self.store.note(fragment::KIND, &fragment.key)));
        }
        let bases = self.request.bases.values().flat_map(|base| &base.layers).map(|layer| layer.path.as_path());
        // A base may be a layout of somebody's, which is none of the cache's.
        let bases = bases.filter(|path| path.starts_with(self.request.cache_dir));
        self.store.mark_used(used.iter().map(PathBuf::as_path).chain(bases));
    }

    pub(super) fn base(&self, platform: Platform) -> Result<&'a BaseImage, Error> {
        self.request.bases.get(&platform).ok_or(Error::NoBase { platform })
    }

    /// Brings the bases into the layout, in the order they are given.
    async fn import_bases(&self, bases: impl Iterator<Item = &BaseImage>) -> Result<Vec<BaseFacts>, Error> {
        let bases: Vec<_> = bases.cloned().collect();
        let task = self.task("importing the base system", bases.len());
        let (store, layout) = (Arc::clone(&self.store), self.layout.clone());
        self.parallel(bases, &task, move |base| bases::import(&base, &store, &layout)).await
    }

    fn image(
        &self,
        base: &Base<'_>,
        environments: &[PlannedEnvironment],
        made: &MadeLayers,
        created: u64,
    ) -> Result<(WrittenImage, BuiltPlatform), Error> {
        let mut layers: Vec<(Made, String)> = Vec::new();
        let mut reused = base.image.layers.len();
        if let Some(debian) = base.debian {
            reused += usize::from(debian.present);
            layers.push((debian.made(), debian.line.clone()));
        }
        for (environment, planned) in self.request.environments.iter().zip(environments) {
            for layer in &planned.layers {
                let (layer_made, present) = &made.layers[&layer.key];
                reused += usize::from(*present);
                layers.push((layer_made.clone(), describe(environment.prefix, layer)));
            }
        }
        let system = self.system_layer(base, environments, created)?;
        layers.push((system, "esker: accounts, start script, settings".to_owned()));
        let image = PlatformImage {
            base: base.image,
            content: self.request.content,
            compression: self.request.compression,
            label: (
                format!("dev.esker.lock.{}", base.platform.subdir()),
                self.lock_digest(base.platform, environments).to_string(),
            ),
            layers,
            created,
        };
        let written = image.write(&self.layout)?;
        let below = image.base.layers.iter().map(|layer| layer.descriptor.size());
        let report = BuiltPlatform {
            platform: base.platform,
            manifest: written.manifest,
            config: written.config,
            compressed_size: below.chain(image.layers.iter().map(|(layer, _)| layer.size)).sum(),
            unpacked_size: base.facts.unpacked_size
                + image.layers.iter().map(|(layer, _)| layer.unpacked_size).sum::<u64>(),
            layers: image.base.layers.len() + image.layers.len(),
            reused_layers: reused,
        };
        Ok((written, report))
    }

    /// What documents about a platform's image are made of.
    fn subject<'b>(
        &self,
        base: &Base<'b>,
        written: &WrittenImage,
        environments: &'b [PlannedEnvironment],
        created: u64,
    ) -> Subject<'b>
    where
        'a: 'b,
    {
        let prefixes = self.request.environments.iter().map(|environment| environment.prefix).zip(environments);
        let fragments = |(prefix, planned): (&'b str, &'b PlannedEnvironment)| {
            planned.layers.iter().flat_map(|layer| &layer.fragments).map(move |fragment| (prefix, fragment))
        };
        Subject {
            descriptor: written.descriptor.clone(),
            base: base.image,
            system: base.debian.map_or(&base.facts.packages, |debian| &debian.written.system.packages),
            debian: debian::packages(self.request, base.platform),
            packages: prefixes.flat_map(fragments).collect(),
            created,
        }
    }

    fn system_layer(&self, base: &Base<'_>, environments: &[PlannedEnvironment], time: u64) -> Result<Made, Error> {
        let histories = self.request.environments.iter().zip(environments).map(|(environment, planned)| {
            let requested = environment.requested.get(&base.platform.subdir()).map_or(&[][..], Vec::as_slice);
            let path = format!("{}/conda-meta/history", environment.prefix.trim_start_matches('/'));
            (path, history(&planned.packages, requested, time))
        });
        let layer = SystemLayer {
            content: self.request.content,
            accounts: base.debian.map_or(&base.facts.accounts, |debian| &debian.written.system.accounts),
            owned: histories.collect(),
            time,
        };
        layer.write(&self.layout, self.request.compression)
    }

    /// A digest of what is installed where.
    fn lock_digest(&self, platform: Platform, environments: &[PlannedEnvironment]) -> Digest {
        let prefixes = self.request.environments.iter().map(|environment| environment.prefix);
        let packages = environments.iter().map(|planned| {
            planned.packages.iter().map(|package| (package.locked.url.as_str(), &package.sha256)).collect::<Vec<_>>()
        });
        let conda: Vec<_> = prefixes.zip(packages).collect();
        match debian::packages(self.request, platform) {
            [] => store::key("lock", &conda),
            debs => store::key("lock", &(conda, debs)),
        }
    }

    /// Published images, once they were asked what there is.
    pub(super) async fn ask(&self) -> Option<&'a Published<'a>> {
        let published = self.published?;
        published.look_up(self.progress).await;
        Some(published)
    }

    /// Fetches those of `packages` that are not on disk yet.
    pub(super) async fn fetch<'p>(&self, packages: impl IntoIterator<Item = &'p Pinned>) -> Result<(), Error> {
        let fetched = pinned::fetch(packages, self.client, self.progress).await?;
        self.downloaded.fetch_add(fetched, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn task(&self, label: &str, total: usize) -> Task<'a> {
        Task::start(self.progress, label, Some(total as u64), Unit::Count)
    }

    pub(super) async fn parallel<T: Send + 'static, R: Send + 'static>(
        &self,
        items: Vec<T>,
        task: &Task<'_>,
        work: impl Fn(T) -> Result<R, Error> + Send + Sync + 'static,
    ) -> Result<Vec<R>, Error> {
        parallel(items, self.request.jobs, &self.cancel, task, work).await
    }
}

/// A line for the history: which packages are in the layer.
fn describe(prefix: &str, layer: &PackageLayer) -> String {
    const SHOWN: usize = 20;
    let names = layer.fragments.iter().take(SHOWN).map(|fragment| {
        let locked = &fragment.package.locked;
        format!("{} {}", locked.name, locked.version)
    });
    let names = names.collect::<Vec<_>>().join(", ");
    let more = layer.fragments.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("esker: {prefix}: {names}{more}")
}
