//! The lock stage of Debian packages: `apt.txt` and the base to `apt-lock.yml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{BuildChoice, Error, LockChoice, Session};
use crate::apt::{self, AptLock, BaseSystem, LockRequest, PlatformLock};
use crate::build::base::BaseImage;
use crate::build::native::published::CacheFrom;
use crate::build::pins::Pins;
use crate::oci::{Compression, Platform};
use crate::project::{AptPolicy, AptRequest, ImageSpec, RelockPolicy, Snapshot};

/// What `apt-lock.yml` has and should not have, and the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptStale {
    /// What is locked and not asked for.
    pub locked: Vec<String>,
    /// What is asked for and not locked.
    pub wanted: Vec<String>,
}

/// A base, and what it says of itself.
type Bases = BTreeMap<Platform, (BaseImage, BaseSystem)>;

impl Session<'_> {
    /// What is installed in `image`: the lines of `apt.txt` of the image whose root prefix it has, then its own.
    ///
    /// # Errors
    /// When a file cannot be read, or a line not be followed.
    pub fn apt_requests(&self, image: &ImageSpec) -> Result<Vec<AptRequest>, Error> {
        let mut requests: Vec<AptRequest> = Vec::new();
        if image.apt != AptPolicy::Install {
            return Ok(requests);
        }
        let root = self.root_of(image).filter(|root| root.apt == AptPolicy::Install);
        for image in root.into_iter().chain([image]) {
            for request in image.apt_requests()? {
                if requests.iter().all(|known| known.to_string() != request.to_string()) {
                    requests.push(request);
                }
            }
        }
        Ok(requests)
    }

    /// Brings `apt-lock.yml` up to date; returns it, and the file if it was written or removed.
    pub(super) async fn lock_apt(
        &self,
        image: &ImageSpec,
        choice: &LockChoice,
    ) -> Result<(Option<AptLock>, Option<PathBuf>), Error> {
        let requests = self.apt_requests(image)?;
        if requests.is_empty() {
            // Where packages are skipped for now, their lock may be wanted again.
            let gone = if image.apt == AptPolicy::Install { AptLock::remove(&image.folder)? } else { None };
            return Ok((None, gone));
        }
        let existing = AptLock::read(&image.folder)?.filter(|_| !is_anew(choice));
        let holds = existing.as_ref().filter(|lock| stale(image, &requests, lock).is_none());
        if let Some(lock) = holds
            && self.is_for_pinned_bases(image, lock)?
        {
            return Ok((existing, None));
        }
        let bases = self.base_systems(image).await?;
        let kept = holds.and_then(|lock| moved(lock, &bases));
        let lock = match kept {
            Some(lock) => lock,
            None => self.resolve_apt(image, &requests, &bases, existing.as_ref(), choice).await?,
        };
        let written = lock.write(&image.folder)?;
        Ok((Some(lock), written))
    }

    /// From the archive of the date that is set, or that is locked, if only for the base; failing that, from today's.
    async fn resolve_apt(
        &self,
        image: &ImageSpec,
        requests: &[AptRequest],
        bases: &Bases,
        existing: Option<&AptLock>,
        choice: &LockChoice,
    ) -> Result<AptLock, Error> {
        let latest = self.latest_snapshot(image, choice.cutoff);
        let set = image.debian.snapshot.clone();
        // A base of packages is of an archive, too, which has what fits it.
        let of_bases = if is_anew(choice) || choice.cutoff.is_some() { vec![] } else { self.base_snapshots(image)? };
        let known = existing.map(|lock| lock.snapshot.clone()).into_iter().chain(of_bases).max();
        let first = set.clone().or(known).unwrap_or_else(|| latest.clone());
        match self.resolve_at(image, requests, bases, existing, &first).await {
            Err(Error::Debian(apt::Error::Unknown { .. } | apt::Error::Unsatisfiable { .. }))
                if set.is_none() && first != latest =>
            {
                self.progress
                    .note(&format!("`{}`: not from the archive of {first}, so from that of {latest}", image.name));
                self.resolve_at(image, requests, bases, existing, &latest).await
            }
            other => other,
        }
    }

    async fn resolve_at(
        &self,
        image: &ImageSpec,
        requests: &[AptRequest],
        bases: &Bases,
        existing: Option<&AptLock>,
        snapshot: &Snapshot,
    ) -> Result<AptLock, Error> {
        let client = self.channels(image)?;
        let mut platforms = BTreeMap::new();
        for (platform, (base, system)) in bases {
            let locked = existing.and_then(|lock| lock.platforms.get(platform));
            let packages = locked.map_or(&[][..], |lock| &lock.packages);
            let preferred = packages.iter().map(|deb| (deb.name.clone(), deb.version.clone())).collect();
            let request = LockRequest {
                requests,
                base: system,
                base_digest: base.manifest_digest,
                snapshot,
                preferred: &preferred,
                trust: &self.trust(),
            };
            platforms.insert(*platform, apt::lock(&request, &client).await?);
        }
        Ok(AptLock { requested: sorted(requests), snapshot: snapshot.clone(), platforms })
    }

    /// Whether the bases are those that `lock` was made for, as far as `base-lock.yml` tells.
    fn is_for_pinned_bases(&self, image: &ImageSpec, lock: &AptLock) -> Result<bool, Error> {
        let pins = Pins::load(&self.project.root)?;
        Ok(image.platforms.iter().all(|platform| {
            let source = image.base.as_ref().and_then(|base| base.for_platform(*platform));
            let pin = source.and_then(|source| pins.get(&pins.kept(source).to_string())?.platforms.get(platform));
            pin.is_some() && pin == lock.platforms.get(platform).map(|lock| &lock.base)
        }))
    }

    async fn base_systems(&self, image: &ImageSpec) -> Result<Bases, Error> {
        // As a build resolves them, so that what is compressed for one serves the other.
        let choice = BuildChoice {
            platforms: &[],
            base: None,
            update_base: false,
            compression: Compression::ZSTD,
            onto: None,
            sbom: false,
            cache_from: &CacheFrom::default(),
            remote: false,
            docker: None,
            layout: Path::new(""),
        };
        let mut bases = Bases::new();
        for (platform, base) in self.bases(image, &choice, &image.platforms, None).await? {
            let files = base.read_files(BaseSystem::wants)?;
            bases.insert(platform, (base, BaseSystem::read(platform, files)?));
        }
        Ok(bases)
    }

    /// What `esker lock` would have to do about `apt-lock.yml`; `None` if nothing. Uses no network, and so does not look
    /// at the base.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn check_apt(&self, image: &ImageSpec) -> Result<Option<AptStale>, Error> {
        let requests = self.apt_requests(image)?;
        if requests.is_empty() {
            return Ok(None);
        }
        match AptLock::read(&image.folder)? {
            Some(lock) => Ok(stale(image, &requests, &lock)),
            None => {
                let file = self.relative(&image.folder.join(apt::FILE));
                Ok(Some(AptStale { locked: vec![], wanted: vec![file.display().to_string()] }))
            }
        }
    }

    /// The lock of the Debian packages of `image`, if it has any.
    pub(super) fn current_apt(&self, image: &ImageSpec) -> Result<Option<AptLock>, Error> {
        match self.check_apt(image)? {
            Some(stale) => Err(Error::AptStale { image: image.name.clone(), stale }),
            None if self.apt_requests(image)?.is_empty() => Ok(None),
            None => Ok(AptLock::read(&image.folder)?),
        }
    }
}

/// Whether what is locked of Debian packages counts for nothing.
fn is_anew(choice: &LockChoice) -> bool {
    choice.update_apt || choice.anew == Some(Some(RelockPolicy::Fresh))
}

/// `lock` for `bases` that have the same packages as those it was made for; `None` if they have others.
fn moved(lock: &AptLock, bases: &Bases) -> Option<AptLock> {
    let mut lock = lock.clone();
    for (platform, (base, system)) in bases {
        let of_platform: &mut PlatformLock = lock.platforms.get_mut(platform)?;
        if of_platform.installed != system.digest() {
            return None;
        }
        of_platform.base = base.manifest_digest;
    }
    Some(lock)
}

/// What of `lock` is not what `requests` and the settings of `image` ask for.
fn stale(image: &ImageSpec, requests: &[AptRequest], lock: &AptLock) -> Option<AptStale> {
    let describe = |requested: &[String], platforms: Vec<Platform>, snapshot: Option<&Snapshot>| {
        let platforms = platforms.iter().map(ToString::to_string);
        let snapshot = snapshot.map(|snapshot| format!("snapshot {snapshot}"));
        requested.iter().cloned().chain(platforms).chain(snapshot).collect::<Vec<_>>()
    };
    let mut platforms = image.platforms.clone();
    platforms.sort();
    let set = image.debian.snapshot.as_ref();
    let wanted = describe(&sorted(requests), platforms, set);
    let locked = describe(&lock.requested, lock.platforms.keys().copied().collect(), set.map(|_| &lock.snapshot));
    let without = |a: &[String], b: &[String]| a.iter().filter(|it| !b.contains(it)).cloned().collect::<Vec<_>>();
    let stale = AptStale { locked: without(&locked, &wanted), wanted: without(&wanted, &locked) };
    (stale != AptStale::default()).then_some(stale)
}

fn sorted(requests: &[AptRequest]) -> Vec<String> {
    let mut lines: Vec<String> = requests.iter().map(ToString::to_string).collect();
    lines.sort();
    lines
}
