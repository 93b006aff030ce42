//! The layer of Debian packages in a build: made once for the packages and the base, and kept.

use std::sync::Arc;

use super::Request;
use super::error::Error;
use super::layer::Made;
use super::store::{self, Store};
use crate::apt::{self, LockedDeb};
use crate::build::base::BaseImage;
use crate::build::debian::{Installation, Written};
use crate::channel::Client;
use crate::oci::{Layout, Platform};
use crate::progress::{Progress, Task, Unit};

/// What the keys of these layers begin with, and where their records are in the [`Store`]: with those of other layers.
const KIND: &str = "debian";
const FOLDER: &str = "layers";
/// Packages that are named in the image's history.
const SHOWN: usize = 20;

/// The layer of one platform, and whether it was there before.
#[derive(Clone, Debug)]
pub struct DebianLayer {
    /// The layer.
    pub written: Written,
    /// Whether it was in the layout before.
    pub present: bool,
    /// A line for the history.
    pub line: String,
}

impl DebianLayer {
    /// The layer as layers of conda packages are described.
    pub fn made(&self) -> Made {
        let Written { digest, diff_id, size, unpacked_size, .. } = self.written;
        Made { digest, diff_id, size, unpacked_size }
    }
}

/// The packages that `request` has for `platform`, if any.
pub fn packages<'a>(request: &Request<'a>, platform: Platform) -> &'a [LockedDeb] {
    let lock = request.debian.and_then(|debian| debian.lock.platforms.get(&platform));
    lock.map_or(&[], |lock| &lock.packages)
}

/// The layer of the Debian packages of `platform` on `base`; `None` if it has none.
///
/// # Errors
/// When a package cannot be had, or not be installed.
pub async fn layer(
    request: &Request<'_>,
    (platform, base): (Platform, &BaseImage),
    client: &Client,
    store: &Arc<Store>,
    layout: &Layout,
    progress: &dyn Progress,
) -> Result<Option<DebianLayer>, Error> {
    let locked = packages(request, platform);
    let Some(debian) = request.debian.filter(|_| !locked.is_empty()) else { return Ok(None) };
    let Some(of_platform) = debian.lock.platforms.get(&platform) else { return Ok(None) };
    let mut skip = debian.skip.to_vec();
    skip.sort();
    let below: Vec<_> = base.layers.iter().map(|layer| layer.diff_id).collect();
    let contents: Vec<_> = locked.iter().map(|deb| &deb.sha256).collect();
    let compression = request.compression;
    let key = store::key(KIND, &(below, contents, &skip, of_platform.installed, compression));
    let line = describe(locked);
    if let Some(written) = store.get::<Written>(FOLDER, &key)
        && layout.has(&written.digest, written.size)
    {
        return Ok(Some(DebianLayer { written, present: true, line }));
    }
    let debs = apt::fetch(locked, client, progress, request.jobs).await;
    let debs = debs.map_err(|error| Error::Packages(Box::new(error)))?;
    let installation = Installation { base: base.clone(), debs, installed: of_platform.installed, skip };
    let task = Task::start(progress, &format!("installing Debian packages of {platform}"), None, Unit::Count);
    let (in_store, in_layout) = (Arc::clone(store), layout.clone());
    let work = move || installation.install(in_store.scratch())?.write(&in_layout, compression);
    let written = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?;
    let written = written.map_err(|error| Error::Debian(Box::new(error)))?;
    drop(task);
    store.put(FOLDER, &key, &written)?;
    Ok(Some(DebianLayer { written, present: false, line }))
}

fn describe(locked: &[LockedDeb]) -> String {
    let names: Vec<_> = locked.iter().take(SHOWN).map(LockedDeb::label).collect();
    let more = locked.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("esker: Debian packages: {}{more}", names.join(", "))
}
