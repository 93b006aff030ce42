//! The layer of Debian packages in a build: made once for the packages and the base, and kept; or taken from a published
//! image.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Request;
use super::bases::BaseFacts;
use super::engine::Engine;
use super::error::Error;
use super::layer::Made;
use super::store;
use crate::apt::{self, LockedDeb};
use crate::build::base::BaseImage;
use crate::build::debian::{Installation, System, Written};
use crate::oci::{Digest, Platform};
use crate::progress::{Task, Unit};
use crate::supply::Component;

/// What the keys of these layers begin with, and where their records are in the [`Store`]: with those of other layers.
const KIND: &str = "debian";
const FOLDER: &str = "layers";
/// Packages that are named in the image's history.
const SHOWN: usize = 20;

/// The layer of one platform, and whether it was there before.
#[derive(Clone, Debug)]
pub struct DebianLayer {
    /// The digest of everything that decides its bytes.
    pub key: Digest,
    /// The layer.
    pub written: Written,
    /// Whether it was in the layout before, or where the image goes.
    pub present: bool,
    /// Whether it was taken from a published image.
    pub is_borrowed: bool,
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

impl Engine<'_> {
    /// The layer of the Debian packages of `platform` on `base`; `None` if it has none.
    ///
    /// # Errors
    /// When a package cannot be had, or not be installed.
    pub(super) async fn debian_layer(
        &self,
        platform: Platform,
        base: &BaseImage,
        facts: &BaseFacts,
    ) -> Result<Option<DebianLayer>, Error> {
        let locked = packages(self.request, platform);
        let Some(debian) = self.request.debian.filter(|_| !locked.is_empty()) else { return Ok(None) };
        let Some(of_platform) = debian.lock.platforms.get(&platform) else { return Ok(None) };
        let mut skip = debian.skip.to_vec();
        skip.sort();
        let below: Vec<_> = base.layers.iter().map(|layer| layer.diff_id).collect();
        let contents: Vec<_> = locked.iter().map(|deb| &deb.sha256).collect();
        let compression = self.request.compression;
        let key = store::key(KIND, &(below, contents, &skip, of_platform.installed, compression));
        let layer = |written, present, is_borrowed| {
            Some(DebianLayer { key, written, present, is_borrowed, line: describe(locked) })
        };
        if let Some(written) = self.store.get::<Written>(FOLDER, &key)
            && self.layout.has(&written.digest, written.size)
        {
            return Ok(layer(written, true, false));
        }
        if let Some(written) = self.take_debian(&key, locked, facts).await {
            return Ok(layer(written, true, true));
        }
        let debs = apt::fetch(locked, self.client, self.progress, self.request.jobs).await;
        let debs = debs.map_err(|error| Error::Packages(Box::new(error)))?;
        let installation = Installation { base: base.clone(), debs, installed: of_platform.installed, skip };
        let task = Task::start(self.progress, &format!("installing Debian packages of {platform}"), None, Unit::Count);
        let (in_store, in_layout) = (Arc::clone(&self.store), self.layout.clone());
        let work = move || installation.install(in_store.scratch())?.write(&in_layout, compression);
        let written = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Cancelled)?;
        let written = written.map_err(|error| Error::Debian(Box::new(error)))?;
        drop(task);
        self.store.put(FOLDER, &key, &written)?;
        Ok(layer(written, false, false))
    }

    /// Takes the layer `key` of a published image, unless all packages `locked` are here: then nobody is asked.
    async fn take_debian(&self, key: &Digest, locked: &[LockedDeb], facts: &BaseFacts) -> Option<Written> {
        if locked.iter().all(|deb| self.client.has_file(&deb.url, &deb.sha256)) {
            return None;
        }
        let published = self.ask().await?;
        let (offered, system) = (published.layer(key)?, published.system(key)?);
        if !is_system(system, facts, locked) {
            self.progress.warning("what is published of the system with Debian packages does not fit, and is not used");
            return None;
        }
        let remote = self.request.reuse.remote;
        let there = published.layers(&[offered], &self.layout, remote, self.progress).await;
        let Made { digest, diff_id, size, unpacked_size } = offered.layer.made();
        let written = Written { digest, diff_id, size, unpacked_size, system: system.clone() };
        there.contains(&digest).then_some(written)
    }
}

/// Whether `system` may be the base with the packages `locked`: it has its packages and these, and its accounts with others
/// behind them.
fn is_system(system: &System, base: &BaseFacts, locked: &[LockedDeb]) -> bool {
    let installed = |component: &'_ Component| (component.name.clone(), component.version.clone());
    let added = locked.iter().map(|deb| (deb.name.clone(), deb.version.to_string()));
    let expected: BTreeSet<_> = base.packages.iter().map(installed).chain(added).collect();
    let has_accounts = base.accounts.0.iter().all(|(path, file)| {
        system.accounts.0.get(path).is_some_and(|found| found.text.starts_with(file.text.trim_end_matches('\n')))
    });
    has_accounts && system.packages.iter().map(installed).collect::<BTreeSet<_>>() == expected
}

fn describe(locked: &[LockedDeb]) -> String {
    let names: Vec<_> = locked.iter().take(SHOWN).map(LockedDeb::label).collect();
    let more = locked.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("esker: Debian packages: {}{more}", names.join(", "))
}
