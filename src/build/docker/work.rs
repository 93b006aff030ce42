//! The order of things: what an image is built on, the image, out of the engine, into the layout.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::distribution::Reference;

use super::attach::attach;
use super::error::Error;
use super::image::EngineImage;
use super::known::{Kept, Known};
use super::mirror::Mirror;
use super::saved::{self, Saved, diff_ids};
use super::{BASE, BASE_IMAGE, PACKAGE_MIRROR, Recipe, Request, base};
use crate::build::base::BaseImage;
use crate::build::native::image::{WrittenImage, index};
use crate::build::native::store::Store;
use crate::build::{Built, BuiltPlatform, FromCache};
use crate::channel::Client;
use crate::docker::{BuildRequest, Builder, BuildkitDaemon, Engine};
use crate::oci::{Digest, Layer, Layout, Platform};
use crate::progress::{Progress, Task, Unit};

/// The time of an image whose base says none: what zip files can hold.
const NO_TIME: u64 = 315_532_800;

/// One build.
pub struct Work<'a> {
    request: &'a Request<'a>,
    layout: Layout,
    cache: Layout,
    store: Store,
    progress: &'a dyn Progress,
}

/// A platform's image, put into the layout.
type Done = (WrittenImage, BuiltPlatform, u64);

impl<'a> Work<'a> {
    /// Opens the layout and the cache.
    pub fn new(request: &'a Request<'a>, layout: &Path, progress: &'a dyn Progress) -> Result<Self, Error> {
        let (layout, cache) = (Layout::create(layout)?, Layout::cache(request.cache_dir)?);
        Ok(Self { request, layout, cache, store: Store::open(request.cache_dir)?, progress })
    }

    /// Builds with the Docker engine.
    pub async fn with_engine(&self, engine: &Engine, builder: Builder, client: &Client) -> Result<Built, Error> {
        if let Builder::Classic(reason) = builder {
            self.progress.note(&format!("the engine's classic builder builds: {reason}"));
        }
        let mirror = match engine.shares_loopback().await? {
            true if !self.request.packages.is_empty() => {
                Some(Mirror::start(client.clone(), &self.request.packages, self.request.project).await?)
            }
            _ => None,
        };
        let mut done = Vec::new();
        for &platform in self.request.platforms {
            let built = self.platform(platform, engine, builder, mirror.as_ref()).await;
            // The builder only found a package missing; why is known here.
            let reason = mirror.as_ref().and_then(Mirror::failure);
            done.push(match (built, reason) {
                (Err(Error::Docker(error)), Some(reason)) => {
                    self.progress.warning(&error.to_string());
                    return Err(Error::Package(reason));
                }
                (built, _) => built?,
            });
        }
        self.finish(done, mirror.map_or(0, |mirror| mirror.downloaded())).await
    }

    async fn platform(
        &self,
        platform: Platform,
        engine: &Engine,
        builder: Builder,
        mirror: Option<&Mirror>,
    ) -> Result<Done, Error> {
        let base = self.base(platform)?;
        let known = self.known(base)?;
        let loaded = base::load(base, &self.cache, engine, self.progress).await?;
        let mut hidden = Vec::new();
        let mut below = (BASE, loaded);
        for recipe in &self.request.recipes {
            let mut args = BTreeMap::from([(below.0.to_owned(), below.1)]);
            args.extend(mirror.map(|mirror| (PACKAGE_MIRROR.to_owned(), format!("{}/https", mirror.url()))));
            hidden.extend(args.clone());
            args.extend(recipe.args.clone());
            let tag = self.tag(recipe.name, platform);
            let request = BuildRequest {
                dockerfile: recipe.context.dockerfile.clone(),
                args,
                platform,
                tag: tag.clone(),
                host_network: mirror.is_some(),
                no_cache: self.request.no_cache,
                logins: self.request.logins.clone(),
            };
            let (context, time) = (recipe.context.clone(), known.latest);
            engine.build(&request, builder, move |sink| context.write(time, sink), self.progress).await??;
            below = (BASE_IMAGE, tag);
        }
        let saved = self.take_out(&below.1, &known, engine).await?;
        self.put(base, &known, &saved, &below.1, &hidden)
    }

    /// Takes the image `tag` out of the engine, as far as that was not done before.
    async fn take_out(&self, tag: &str, known: &Known, engine: &Engine) -> Result<Saved, Error> {
        let lost = |reason: &str| Error::Saved { image: tag.to_owned(), reason: reason.to_owned() };
        let there = engine.image(tag).await?.ok_or_else(|| lost("the engine does not have it"))?;
        if let Some(configuration) = known.configuration(&there.id)
            && diff_ids(&configuration).as_ref() == Some(&there.diff_ids)
        {
            let layers = there.diff_ids.iter().map(|diff_id| known.layer(*diff_id));
            let layers: Option<Vec<Kept>> = layers.collect::<Result<_, _>>()?;
            if let Some(layers) = layers {
                return Ok(Saved { configuration, reused: layers.len(), layers });
            }
        }
        let _task = Task::start(self.progress, "taking the image out of Docker", None, Unit::Bytes);
        let (name, notes) = (tag.to_owned(), known.clone());
        let saved = engine.save(tag, move |archive| saved::read(archive, &name, &notes)).await??;
        known.keep_configuration(&there.id, &saved.configuration)?;
        Ok(saved)
    }

    /// Builds with a BuildKit daemon.
    pub async fn with_daemon(&self, daemon: &BuildkitDaemon, parent: Option<&str>) -> Result<Built, Error> {
        let mut done = Vec::new();
        for &platform in self.request.platforms {
            done.push(self.remote(platform, daemon, parent).await?);
        }
        self.finish(done, 0).await
    }

    async fn remote(&self, platform: Platform, daemon: &BuildkitDaemon, parent: Option<&str>) -> Result<Done, Error> {
        let base = self.base(platform)?;
        let known = self.known(base)?;
        if parent.is_some() {
            self.keep_parent(platform, &known)?;
        }
        let Some(recipe) = self.request.recipes.last() else { return Err(Error::NoBase { platform }) };
        let arg = match parent {
            Some(parent) => (BASE_IMAGE.to_owned(), parent.to_owned()),
            None => (BASE.to_owned(), public(base, daemon)?),
        };
        let tag = self.tag(recipe.name, platform);
        let request = BuildRequest {
            dockerfile: recipe.context.dockerfile.clone(),
            args: recipe.args.clone().into_iter().chain([arg]).collect(),
            platform,
            tag: tag.clone(),
            host_network: false,
            no_cache: self.request.no_cache,
            logins: self.request.logins.clone(),
        };
        let context = context_bytes(recipe, known.latest)?;
        let folder = tempfile::tempdir_in(self.layout.path()).map_err(Error::write(self.layout.path()))?;
        let file = folder.path().join("image.tar");
        daemon.build(&request, context, &file, self.progress).await?;
        let archive = fs_err::File::open(&file).map_err(|source| Error::Transfer { image: tag.clone(), source })?;
        let saved = tokio::task::block_in_place(|| saved::read(archive, &tag, &known))?;
        self.put(base, &known, &saved, &tag, &[])
    }

    fn base(&self, platform: Platform) -> Result<&'a BaseImage, Error> {
        self.request.bases.get(&platform).ok_or(Error::NoBase { platform })
    }

    /// What is known of layers, those of `base` among them: they stay as they are, whatever the compression.
    fn known(&self, base: &BaseImage) -> Result<Known, Error> {
        let images = self.request.state_dir.join("images");
        let others = fs_err::read_dir(&images).into_iter().flatten().flatten().map(|entry| entry.path());
        let others = others.filter(|path| path != self.layout.path()).filter_map(|path| Layout::open(path).ok());
        let known = Known {
            notes: self.request.state_dir.join("engine"),
            layout: self.layout.clone(),
            others: others.collect(),
            compression: self.request.compression,
            latest: self.request.source_date_epoch.unwrap_or_else(|| time_of(base)),
        };
        for layer in &base.layers {
            let descriptor = &layer.descriptor;
            if known.layer(layer.diff_id)?.is_some_and(|kept| kept.descriptor == *descriptor) {
                continue;
            }
            let here = Layer::new(descriptor, &layer.diff_id.to_string())?;
            self.layout.import(&layer.path, &here.digest, here.size)?;
            let unpacked_size = here.measure(&self.layout)?;
            let kept = Kept { descriptor: descriptor.clone(), diff_id: layer.diff_id, unpacked_size };
            known.keep_layer(layer.diff_id, &kept)?;
        }
        Ok(known)
    }

    /// The layers of the image that is built on stay as they were pushed, as those of the base do.
    fn keep_parent(&self, platform: Platform, known: &Known) -> Result<(), Error> {
        let [parent, ..] = self.request.recipes.as_slice() else { return Ok(()) };
        let layout = Layout::open(self.request.state_dir.join("images").join(parent.name))?;
        for layer in layout.image(platform)?.layers {
            self.layout.import(&layout.blob_path(&layer.digest), &layer.digest, layer.size)?;
            let unpacked_size = layer.measure(&self.layout)?;
            let kept = Kept { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id, unpacked_size };
            known.keep_layer(layer.diff_id, &kept)?;
        }
        Ok(())
    }

    fn put(
        &self,
        base: &BaseImage,
        known: &Known,
        saved: &Saved,
        tag: &str,
        hidden: &[(String, String)],
    ) -> Result<Done, Error> {
        let created = known.latest;
        let image = EngineImage { base, configuration: &saved.configuration, layers: &saved.layers, created, hidden };
        let written = image.write(&self.layout, tag)?;
        let report = BuiltPlatform {
            platform: base.platform,
            manifest: written.manifest,
            config: written.config,
            compressed_size: saved.layers.iter().map(|layer| layer.descriptor.size()).sum(),
            unpacked_size: saved.layers.iter().map(|layer| layer.unpacked_size).sum(),
            layers: saved.layers.len(),
            reused_layers: saved.reused,
        };
        Ok((written, report, created))
    }

    async fn finish(&self, done: Vec<Done>, downloaded_packages: usize) -> Result<Built, Error> {
        let newest = done.iter().map(|(_, _, created)| *created).max().unwrap_or_default();
        let (written, platforms): (Vec<_>, Vec<_>) =
            done.into_iter().map(|(written, report, _)| (written, report)).unzip();
        let name = self.request.image;
        let index = index(&written, newest);
        let images: Vec<_> = platforms.iter().map(|report: &BuiltPlatform| report.platform).zip(&written).collect();
        let documents = attach(self.request, &index, &images, &self.store, &self.layout, self.progress).await?;
        let index = self.layout.set_index_with(name, &index, &documents)?;
        Ok(Built {
            image: name.to_owned(),
            layout: self.layout.path().to_owned(),
            digest: Digest::try_from(index.digest()).expect("the layout made it"),
            platforms,
            from_cache: FromCache::default(),
            downloaded_packages,
        })
    }

    /// What the image `name` is called in the engine: in no registry, and not as another project's.
    fn tag(&self, name: &str, platform: Platform) -> String {
        let project = Digest::of(self.request.project.as_os_str().as_encoded_bytes()).hex();
        let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = name.chars().map(allowed).collect();
        let name = name.trim_matches('-');
        format!("localhost/esker-{}/image-{name}:{}", &project[..8], platform.architecture())
    }
}

/// When `base` was made, by its own account.
fn time_of(base: &BaseImage) -> u64 {
    let created = base.config.created().as_ref().and_then(|created| created.parse::<jiff::Timestamp>().ok());
    created.and_then(|created| u64::try_from(created.as_second()).ok()).filter(|time| *time > 0).unwrap_or(NO_TIME)
}

/// `base` as whoever is elsewhere can get it.
fn public(base: &BaseImage, daemon: &BuildkitDaemon) -> Result<String, Error> {
    let reference = base.public_name().and_then(|name| name.parse::<Reference>().ok());
    let reference = reference
        .ok_or_else(|| Error::LocalBase { builder: daemon.address().to_string(), base: base.reference.clone() })?;
    Ok(format!("{}/{}@{}", reference.registry(), reference.repository(), base.source_digest))
}

fn context_bytes(recipe: &Recipe<'_>, time: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    recipe.context.write(time, &mut bytes)?;
    Ok(bytes)
}
