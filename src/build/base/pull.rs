//! A base from a registry, or from what was pulled of it before.

use futures::{StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, MediaType};

use super::error::{Error, Result};
use super::seen::Seen;
use super::{BaseImage, BaseRequest};
use crate::oci::{self, Digest, Document, Image, Layout, image, layout};
use crate::progress::{Progress, Task, Unit};
use crate::registry::{self, Client};

/// How many layers are pulled at once.
const AT_ONCE: usize = 3;

pub async fn pull(
    request: &BaseRequest<'_>,
    reference: &Reference,
    client: &Client,
    progress: &dyn Progress,
) -> Result<BaseImage> {
    let store = Layout::cache(request.cache_dir).map_err(cache_failed(request))?;
    let puller = Puller { request, reference, client, store, seen: Seen::new(request.cache_dir) };
    let (source_digest, bytes) = puller.top().await?;
    let (descriptor, manifest) = puller.manifest(bytes).await?;
    let image = puller.image(descriptor, &manifest).await?;
    puller.layers(&image, progress).await?;
    BaseImage::of(request, source_digest, &image, &puller.store)
}

struct Puller<'a> {
    request: &'a BaseRequest<'a>,
    reference: &'a Reference,
    client: &'a Client,
    store: Layout,
    seen: Seen,
}

impl Puller<'_> {
    /// What the reference leads to: the pinned document, or the one the registry has under that name now.
    async fn top(&self) -> Result<(Digest, Vec<u8>)> {
        let named = self.reference.digest().map(str::parse::<Digest>).transpose();
        let named = named.map_err(|error| self.failed(malformed(self.reference, &error)))?;
        if let Some(named) = named {
            self.request.check_pin(named)?;
        }
        let wanted = self.request.pinned.or(named);
        let bytes = match wanted {
            Some(digest) => self.document(digest).await?,
            None if self.request.offline => return Err(self.offline()),
            None => self.client.manifest(self.reference, None).await.map_err(|error| self.failed(error))?,
        };
        self.store.put(&bytes).map_err(cache_failed(self.request))?;
        Ok((Digest::of(&bytes), bytes))
    }

    /// The manifest for the platform: the document itself, or the one it lists.
    async fn manifest(&self, bytes: Vec<u8>) -> Result<(Descriptor, Vec<u8>)> {
        let name = self.request.name();
        let Document::Index(index) = Document::parse(&bytes, &name).map_err(self.request.invalid())? else {
            let digest = Digest::of(&bytes);
            return Ok((Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, digest), bytes));
        };
        let platform = self.request.platform;
        let Some(descriptor) = image::choose(&index, platform).cloned() else {
            return Err(Error::NoPlatform { base: name, platform, has: image::platform_names(&index) });
        };
        let digest = layout::sha256(&descriptor).map_err(self.request.invalid())?;
        let bytes = self.document(digest).await?;
        self.store.put(&bytes).map_err(cache_failed(self.request))?;
        Ok((descriptor, bytes))
    }

    async fn image(&self, descriptor: Descriptor, manifest: &[u8]) -> Result<Image> {
        let name = self.request.name();
        let parsed = Document::parse(manifest, &name).map_err(self.request.invalid())?;
        let Document::Manifest(manifest) = parsed else {
            let nested = oci::Error::malformed(&name, &"its index lists another index as an image");
            return Err(self.request.invalid()(nested));
        };
        let config = manifest.config().clone();
        if config.size() > layout::MAX_DOCUMENT {
            let what = config.digest().to_string();
            let large = oci::Error::TooLarge { what, size: config.size(), limit: layout::MAX_DOCUMENT };
            return Err(self.request.invalid()(large));
        }
        self.blob(&config, &|_| {}).await?;
        let config = self.store.read_json(&config).map_err(self.request.invalid())?;
        let image = Image::new(descriptor, *manifest, config).map_err(self.request.invalid())?;
        if image.platform != self.request.platform {
            let has = vec![image.platform.to_string()];
            return Err(Error::NoPlatform { base: name, platform: self.request.platform, has });
        }
        Ok(image)
    }

    async fn layers(&self, image: &Image, progress: &dyn Progress) -> Result<()> {
        let label = format!("pulling {} for {}", self.reference, image.platform);
        let task = Task::start(progress, &label, Some(image.compressed_size()), Unit::Bytes);
        let count = |bytes| task.advance(bytes);
        // Collected: a stream over the closure itself could not move to another thread (rust-lang/rust#102211).
        let pulls: Vec<_> = image.layers.iter().map(|layer| self.blob(&layer.descriptor, &count)).collect();
        futures::stream::iter(pulls).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Brings a blob to the cache, unless it is there and undamaged.
    async fn blob(&self, descriptor: &Descriptor, count: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let digest = layout::sha256(descriptor).map_err(self.request.invalid())?;
        if self.is_cached(&digest, descriptor.size()).await? {
            count(descriptor.size());
            return Ok(());
        }
        if self.request.offline {
            return Err(self.offline());
        }
        let pulled = self.client.blob(self.reference, descriptor, &self.store, count).await;
        pulled.map(drop).map_err(|error| self.failed(error))
    }

    async fn is_cached(&self, digest: &Digest, size: u64) -> Result<bool> {
        if !self.store.has(digest, size) {
            return Ok(false);
        }
        let path = self.store.blob_path(digest);
        let (seen, known) = (self.seen.clone(), path.clone());
        let found = tokio::task::spawn_blocking(move || seen.digest(&known, |_| Ok(()))).await;
        if matches!(&found, Ok(Ok(found)) if found == digest) {
            return Ok(true);
        }
        // Damaged: it would be in the way of the right one.
        let removed = fs_err::remove_file(&path);
        removed.map_err(|source| cache_failed(self.request)(oci::Error::Write { path, source })).map(|()| false)
    }

    /// The index or manifest with this digest.
    async fn document(&self, digest: Digest) -> Result<Vec<u8>> {
        match self.store.read_document(&digest) {
            Ok(bytes) => Ok(bytes),
            Err(_) if self.request.offline => Err(self.offline()),
            Err(_) => self.client.manifest(self.reference, Some(digest)).await.map_err(|error| self.failed(error)),
        }
    }

    fn offline(&self) -> Error {
        Error::Offline { base: self.request.name() }
    }

    fn failed(&self, source: registry::Error) -> Error {
        Error::Registry { base: self.request.name(), source }
    }
}

fn malformed(reference: &Reference, reason: &dyn std::fmt::Display) -> registry::Error {
    registry::Error::Malformed { url: reference.to_string(), reason: reason.to_string() }
}

pub(super) fn cache_failed(request: &BaseRequest<'_>) -> impl FnOnce(oci::Error) -> Error {
    let base = request.name();
    move |source| Error::Cache { base, source }
}
