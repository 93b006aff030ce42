//! A base made of Debian packages: one layer, which is the same whoever makes it of the same packages.

use std::path::PathBuf;

use oci_spec::image::HistoryBuilder;

use super::error::{Error, Result};
use super::memory::{Made, Memory, configuration};
use super::{BaseImage, BaseRequest};
use crate::build::debian::{Bootstrap, FORMAT};
use crate::build::native::published::Published;
use crate::cache::Run;
use crate::oci::{Digest, Layout, canonical_json};
use crate::progress::{Progress, Task, Unit};
use crate::project::Snapshot;

/// The base of `bootstrap`, whose packages are of the archive of `snapshot`, if it is in the cache.
///
/// # Errors
/// When the cache cannot be used.
pub fn recall(request: &BaseRequest<'_>, bootstrap: &Bootstrap, snapshot: &Snapshot) -> Result<Option<BaseImage>> {
    let memory = Memory::open(request)?;
    let key = key(request, bootstrap);
    let made = memory.recall(&record(&key));
    Ok(made.map(|made| image(request, &memory, snapshot, key, &made)))
}

/// The base of `bootstrap` that is a layer of the image `published`, if that has it: what is `pinned` of its digest when
/// unpacked must be so. It is not remembered: who asks for the base without that image does not get it.
///
/// # Errors
/// When the cache cannot be used.
pub async fn borrow(
    request: &BaseRequest<'_>,
    bootstrap: &Bootstrap,
    pinned: Option<Digest>,
    snapshot: &Snapshot,
    published: &Published<'_>,
    progress: &dyn Progress,
) -> Result<Option<BaseImage>> {
    let memory = Memory::open(request)?;
    let key = key(request, bootstrap);
    let layer = published.base(&key, pinned, &memory.store, progress).await;
    Ok(layer.map(|layer| {
        let made = Made { digest: layer.digest, size: layer.size, diff_id: layer.diff_id, machine: None };
        image(request, &memory, snapshot, key, &made)
    }))
}

/// Makes it of the `archives` of its packages, in their order.
///
/// # Errors
/// When a package cannot be installed without running its scripts, or the cache not be written to.
pub async fn make(
    request: &BaseRequest<'_>,
    bootstrap: Bootstrap,
    archives: Vec<PathBuf>,
    snapshot: &Snapshot,
    progress: &dyn Progress,
) -> Result<BaseImage> {
    let memory = Memory::open(request)?;
    let key = key(request, &bootstrap);
    let text = format!("installing {} for {}", request.source, request.platform);
    let task = Task::start(progress, &text, None, Unit::Count);
    let made = write(request, bootstrap, archives, memory.store.clone()).await?;
    drop(task);
    memory.remember(&record(&key), &made).map_err(|source| Error::Cache { base: request.name(), source })?;
    Ok(image(request, &memory, snapshot, key, &made))
}

fn image(request: &BaseRequest<'_>, memory: &Memory, snapshot: &Snapshot, key: Digest, made: &Made) -> BaseImage {
    let history = HistoryBuilder::default().created_by(format!("esker: {} of {snapshot}", request.source)).build();
    let history = vec![history.expect("it is complete")];
    let image = memory.image(request, source_digest(&request.name(), snapshot), made.diff_id, made);
    BaseImage { config: configuration(request, made.diff_id, history), made_of: Some(key), ..image }
}

/// What stands for the base that is written as `reference`, of the archive of `snapshot`: for all platforms the same.
pub fn source_digest(reference: &str, snapshot: &Snapshot) -> Digest {
    Digest::of(&canonical_json(&(reference, snapshot.to_string())))
}

/// The digest of all that decides the bytes.
fn key(request: &BaseRequest<'_>, bootstrap: &Bootstrap) -> Digest {
    let hashes: Vec<_> = bootstrap.packages.iter().map(|deb| &deb.sha256).collect();
    let release = (&bootstrap.release.codename, bootstrap.release.slim);
    let key = (FORMAT, release, bootstrap.platform, hashes, &bootstrap.skip, &bootstrap.sources, request.compression);
    Digest::of(&canonical_json(&key))
}

/// The name of what is remembered under `key`.
fn record(key: &Digest) -> String {
    format!("debian-{}.json", key.hex())
}

async fn write(request: &BaseRequest<'_>, bootstrap: Bootstrap, archives: Vec<PathBuf>, store: Layout) -> Result<Made> {
    let base = request.name();
    let (compression, cache) = (request.compression, request.cache_dir.to_owned());
    let work = move || {
        let run = Run::begin(&cache).map_err(|error| Error::Busy { base: base.clone(), source: error })?;
        let written =
            bootstrap.install(archives, run.folder()).and_then(|installed| installed.write(&store, compression));
        written.map_err(|error| Error::Packages { base, source: Box::new(error) })
    };
    let interrupted = |_| Error::Interrupted { base: request.name() };
    let written = tokio::task::spawn_blocking(work).await.map_err(interrupted)??;
    Ok(Made { digest: written.digest, size: written.size, diff_id: written.diff_id, machine: None })
}
