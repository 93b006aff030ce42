//! The order of things: plan every platform, make the parts that are missing, then the layers, then the images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attach::{Subject, attach};
use super::bases::{self, BaseFacts};
use super::candidates::{Facts, candidate, known, remember};
use super::debian::{self, DebianLayer};
use super::error::Error;
use super::fragment::{self, Fragment, Target, Workshop};
use super::history::history;
use super::image::{self, PlatformImage, WrittenImage};
use super::interpreter::Interpreter;
use super::layer::{Made, PackageLayer};
use super::pinned::{Pinned, fetch, pin};
use super::plan::{Group, LayerPlan};
use super::prefix::{PrefixPlan, inspect};
use super::pyc::{Compiler, How};
use super::store::{self, Store};
use super::system::SystemLayer;
use super::work::{Budget, Cancel, CancelOnDrop, parallel};
use super::{Environment, LOWER_LAYERS, Request};
use crate::build::base::BaseImage;
use crate::build::{Built, BuiltPlatform};
use crate::channel::Client;
use crate::oci::{Digest, Layout, Platform};
use crate::progress::{Progress, Task, Unit};

/// The most layers an image may have. Docker refuses more than 125; some are left for images built on this one.
const MAX_LAYERS: usize = 120;
/// What all threads may hold of large files with placeholders, in bytes.
const MEMORY: u64 = 384 << 20;

/// One build.
pub struct Engine<'a> {
    request: &'a Request<'a>,
    client: &'a Client,
    progress: &'a dyn Progress,
    store: Arc<Store>,
    layout: Layout,
    cancel: Cancel,
    _cancel_on_drop: CancelOnDrop,
}

/// One environment of one platform.
struct PlannedEnvironment {
    packages: Vec<Pinned>,
    layers: Vec<PackageLayer>,
    interpreter: Option<Interpreter>,
    newest: u64,
}

/// The system below one platform's image.
struct Base<'a> {
    platform: Platform,
    image: &'a BaseImage,
    facts: &'a BaseFacts,
    debian: Option<&'a DebianLayer>,
}

/// Layers that are in the layout, by their key, and whether they had been there before.
type MadeLayers = BTreeMap<Digest, (Made, bool)>;

impl<'a> Engine<'a> {
    /// Opens the cache and the layout.
    pub fn open(
        request: &'a Request<'a>,
        client: &'a Client,
        layout: &Path,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let cancel = Cancel::default();
        Ok(Self {
            request,
            client,
            progress,
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
        let (made, facts) = tokio::try_join!(
            self.layers(platforms.iter().flat_map(|(_, _, environments)| environments)),
            self.import_bases(platforms.iter().map(|(_, base, _)| *base)),
        )?;
        let mut installed = Vec::new();
        for (platform, base, _) in &platforms {
            let target = (*platform, *base);
            let layer = debian::layer(self.request, target, self.client, &self.store, &self.layout, self.progress);
            installed.push(layer.await?);
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
        let documents = attach(self.request, &index, &subjects, &self.store, &self.layout)?;
        let index = self.layout.set_index_with(name, &index, &documents)?;
        Ok(Built {
            image: name.to_owned(),
            layout: self.layout.path().to_owned(),
            digest: Digest::try_from(index.digest()).expect("the layout made it"),
            platforms: built,
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

    fn base(&self, platform: Platform) -> Result<&'a BaseImage, Error> {
        self.request.bases.get(&platform).ok_or(Error::NoBase { platform })
    }

    async fn plan_platform(&self, platform: Platform) -> Result<Vec<PlannedEnvironment>, Error> {
        let base = self.base(platform)?.layers.len();
        // One layer is the last one, one that of Debian packages, and every environment needs at least one.
        let debian = usize::from(!debian::packages(self.request, platform).is_empty());
        let mut room = MAX_LAYERS.saturating_sub(base + 1 + debian);
        let mut planned = Vec::new();
        for (index, environment) in self.request.environments.iter().enumerate() {
            let others = self.request.environments.len() - index - 1;
            let wanted = if others > 0 { environment.layers.min(LOWER_LAYERS) } else { environment.layers };
            let limit = wanted.max(1).min(room.saturating_sub(others));
            if limit == 0 {
                return Err(Error::TooManyLayers { platform, base, limit: MAX_LAYERS });
            }
            let environment = self.plan_environment(environment, platform, limit).await?;
            room -= environment.layers.len().min(room);
            planned.push(environment);
        }
        Ok(planned)
    }

    async fn plan_environment(
        &self,
        environment: &Environment<'_>,
        platform: Platform,
        limit: usize,
    ) -> Result<PlannedEnvironment, Error> {
        let packages = pin(environment.lock, platform.subdir(), environment.prefix, self.client).await?;
        let plan = self.plan_prefix(environment, &packages, platform).await?;
        let interpreter = self.interpreter(environment, &plan).await?;
        let target = Arc::new(Target {
            prefix: environment.prefix.to_owned(),
            python: plan.python.clone(),
            compiler_id: interpreter.as_ref().map(|interpreter| interpreter.id.clone()),
            compression: self.request.compression,
        });
        let facts = plan.packages.iter().map(|planned| Facts { size: planned.size, built: planned.timestamp });
        let candidates: Vec<_> = packages.iter().zip(facts).map(|(package, facts)| candidate(package, facts)).collect();
        let inherited = self.inherited(environment, platform).await?;
        let fragment = |index: usize| {
            let (package, planned) = (packages[index].clone(), plan.packages[index].clone());
            let asked = environment.asked(&package.locked);
            Fragment::new(package, planned, asked, &target)
        };
        let layers = LayerPlan::new(&candidates, limit, &inherited).layers.into_iter();
        let layers = layers.map(|layer| PackageLayer::new(layer.into_iter().map(fragment).collect())).collect();
        let newest = plan.packages.iter().map(|package| package.timestamp).max().unwrap_or_default();
        Ok(PlannedEnvironment { packages, layers, interpreter, newest })
    }

    /// The layers of the image that `environment` extends, which are a function of its lock and of those it extends.
    async fn inherited(&self, environment: &Environment<'_>, platform: Platform) -> Result<Vec<Group>, Error> {
        let subdir = platform.subdir();
        let mut groups = Vec::new();
        for parent in environment.parents.iter().filter(|parent| parent.lock.subdirs.contains(&subdir)) {
            let packages = pin(parent.lock, subdir, environment.prefix, self.client).await?;
            let facts = self.facts(&packages, platform).await?;
            let facts = packages.iter().zip(facts);
            let candidates: Vec<_> = facts.map(|(package, facts)| candidate(package, facts)).collect();
            groups = LayerPlan::new(&candidates, parent.layers, &groups).groups(&candidates);
        }
        Ok(groups)
    }

    /// What the plan has to know of `packages`, looked up once for each set of them.
    async fn facts(&self, packages: &[Pinned], platform: Platform) -> Result<Vec<Facts>, Error> {
        if let Some(facts) = known(&self.store, packages) {
            return Ok(facts);
        }
        fetch(packages, self.client, self.progress).await?;
        let task = self.task(&format!("reading packages of the parent for {platform}"), packages.len());
        let facts = self.parallel(packages.to_vec(), &task, |package| Facts::read(&package)).await?;
        remember(&self.store, packages, &facts)?;
        Ok(facts)
    }

    /// Reads every package's list of files, once for each set of packages.
    async fn plan_prefix(
        &self,
        environment: &Environment<'_>,
        packages: &[Pinned],
        platform: Platform,
    ) -> Result<PrefixPlan, Error> {
        let skipped: BTreeSet<&String> = environment.skip_link_scripts.iter().collect();
        let contents: Vec<_> = packages.iter().map(|package| (package.name(), &package.sha256)).collect();
        let key = store::key("plans", &(environment.prefix, &skipped, environment.strip.texts(), contents));
        if let Some(plan) = self.store.get::<PrefixPlan>("plans", &key)
            && plan.packages.iter().map(|planned| planned.name.as_str()).eq(packages.iter().map(Pinned::name))
        {
            return Ok(plan);
        }
        fetch(packages, self.client, self.progress).await?;
        let task = self.task(&format!("reading packages of {platform}"), packages.len());
        let inspected = self.parallel(packages.to_vec(), &task, |package| inspect(&package)).await?;
        let (prefix, skip) = (environment.prefix.to_owned(), environment.skip_link_scripts.to_vec());
        let strip = environment.strip.clone();
        let plan = move |all: Vec<_>| PrefixPlan::new(&all, &prefix, &skip, &strip);
        let plan = self.parallel(vec![inspected], &task, plan).await?;
        let plan = plan.into_iter().next().expect("one result for one item");
        self.store.put("plans", &key, &plan)?;
        Ok(plan)
    }

    async fn interpreter(
        &self,
        environment: &Environment<'_>,
        plan: &PrefixPlan,
    ) -> Result<Option<Interpreter>, Error> {
        let Some(python) = plan.python.as_ref().filter(|_| plan.packages.iter().any(|package| package.compiles)) else {
            return Ok(None);
        };
        let packages = match Interpreter::subdir().0 {
            Some(subdir) if environment.lock.subdirs.contains(&subdir) => {
                pin(environment.lock, subdir, environment.prefix, self.client).await?
            }
            _ => vec![],
        };
        Interpreter::choose(&packages, &python.version(), environment.prefix).map(Some)
    }

    /// Makes the package layers that are not in the layout.
    async fn layers(
        &self,
        environments: impl Iterator<Item = &PlannedEnvironment> + Clone,
    ) -> Result<MadeLayers, Error> {
        let mut made = MadeLayers::new();
        let mut missing = BTreeMap::new();
        for layer in environments.clone().flat_map(|environment| &environment.layers) {
            match layer.present(&self.store, &self.layout) {
                Some(present) => drop(made.insert(layer.key, (present, true))),
                None => drop(missing.insert(layer.key, layer.clone())),
            }
        }
        if missing.is_empty() {
            return Ok(made);
        }
        self.parts(missing.values(), environments).await?;
        let task = self.task("writing layers", missing.len());
        let mut layers: Vec<_> = missing.into_values().collect();
        layers
            .sort_by_key(|layer| std::cmp::Reverse(layer.fragments.iter().map(|part| part.planned.size).sum::<u64>()));
        let keys: Vec<_> = layers.iter().map(|layer| layer.key).collect();
        let (store, layout) = (Arc::clone(&self.store), self.layout.clone());
        let written = self.parallel(layers, &task, move |layer| layer.write(&store, &layout)).await?;
        made.extend(keys.into_iter().zip(written.into_iter().map(|layer| (layer, false))));
        Ok(made)
    }

    /// Makes the parts of `layers` that are not in the cache, the largest first.
    async fn parts(
        &self,
        layers: impl Iterator<Item = &PackageLayer>,
        environments: impl Iterator<Item = &PlannedEnvironment>,
    ) -> Result<(), Error> {
        let missing: BTreeMap<_, _> = layers
            .flat_map(|layer| &layer.fragments)
            .filter(|fragment| fragment.cached(&self.store).is_none())
            .map(|fragment| (fragment.key, fragment.clone()))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        fetch(missing.values().map(|fragment| &fragment.package), self.client, self.progress).await?;
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

    async fn compilers(
        &self,
        interpreters: BTreeMap<String, Interpreter>,
    ) -> Result<BTreeMap<String, Compiler>, Error> {
        fetch(interpreters.values().flat_map(|interpreter| &interpreter.packages), self.client, self.progress).await?;
        let task = self.task("laying out Python for byte code", interpreters.len());
        let (store, cancel) = (Arc::clone(&self.store), self.cancel.clone());
        let lay_out = move |(id, interpreter): (String, Interpreter)| {
            let program = interpreter.lay_out(&store, &cancel)?;
            Ok((id, Compiler::new(program, interpreter.version(), How::ByVersion)))
        };
        let compilers = self.parallel(interpreters.into_iter().collect(), &task, lay_out).await?;
        Ok(compilers.into_iter().collect())
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
                let (layer_made, present) = &made[&layer.key];
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
            system: base.debian.map_or(&base.facts.packages, |debian| &debian.written.packages),
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
            passwd: base.debian.map_or(base.facts.passwd.as_deref(), |debian| debian.written.passwd.as_deref()),
            group: base.debian.map_or(base.facts.group.as_deref(), |debian| debian.written.group.as_deref()),
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

    fn task(&self, label: &str, total: usize) -> Task<'a> {
        Task::start(self.progress, label, Some(total as u64), Unit::Count)
    }

    async fn parallel<T: Send + 'static, R: Send + 'static>(
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
