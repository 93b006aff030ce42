//! The lock stage: what to lock, what became of it, and whether a lock still answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rattler_conda_types::Subdir;
use serde::Serialize;

use super::{Error, Session, as_seconds};
use crate::lock::diff::LockDiff;
use crate::lock::outdated::Outdated;
use crate::lock::{self, HeldBack, Lock, LockSpec, Relock, Relocked, Stale};
use crate::project::{Cutoff, ImageSpec, RelockPolicy};

/// What `lock` did for one image.
#[derive(Debug, Serialize)]
pub struct Locked {
    /// The image.
    pub image: String,
    /// Files that were written; none where the lock still held.
    pub written: Vec<PathBuf>,
    /// Number of packages by subdir.
    pub packages: BTreeMap<String, usize>,
    /// What changed in the lock there was; `None` if there was none.
    pub changes: Option<LockDiff>,
    /// What was to be updated and is not the newest that the environment allows.
    pub held: Vec<HeldBack>,
    /// Number of Debian packages by platform.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub debian: BTreeMap<String, usize>,
    /// Seconds it took.
    #[serde(serialize_with = "as_seconds")]
    pub seconds: Duration,
}

/// How to lock. The default makes only locks that do not hold any more.
#[derive(Clone, Debug, Default)]
pub struct LockChoice {
    /// Lock anew, also where the lock holds, as this says or as the project does.
    pub anew: Option<Option<RelockPolicy>>,
    /// Packages to bring to their newest versions.
    pub update: Vec<String>,
    /// Whether all that those depend on may move with them.
    pub recursive: bool,
    /// Whether another build of the same version is reason enough to move.
    pub rebuilds: bool,
    /// Lock Debian packages anew, from the archive as it is now.
    pub update_apt: bool,
    /// What was published later does not count, instead of the project's `min-age`.
    pub cutoff: Option<Cutoff>,
}

impl LockChoice {
    /// Whether a package that is to be updated is locked or asked for there.
    pub fn concerns(&self, spec: &LockSpec, lock: &Lock) -> bool {
        self.update.iter().any(|name| spec.asks_for(name) || lock.packages.iter().any(|package| package.name == *name))
    }
}

impl Session<'_> {
    /// Brings the lock of `image` up to date. Where it holds and `choice` asks for nothing, it is left alone.
    ///
    /// # Errors
    /// When there is no solution, or a channel cannot be had.
    pub async fn lock(&self, image: &ImageSpec, choice: &LockChoice) -> Result<Locked, Error> {
        let start = Instant::now();
        let spec = LockSpec::of(image)?;
        let existing = self.existing_lock(image)?;
        let holds = existing.as_ref().is_some_and(|lock| lock::holds(&spec, lock).is_empty());
        let asked = choice.anew.is_some() || existing.as_ref().is_some_and(|lock| choice.concerns(&spec, lock));
        let (lock, changes, held) = match existing {
            Some(lock) if holds && !asked => (lock, Some(LockDiff::default()), Vec::new()),
            existing => {
                let other_format = if existing.is_none() { self.preferred(image)? } else { None };
                let before = existing.as_ref().or(other_format.as_ref());
                let Relocked { lock, held } = self.relock(image, &spec, before, choice).await?;
                let changes = before.map(|before| LockDiff::between(before, &lock));
                (lock, changes, held)
            }
        };
        let (apt, apt_file) = self.lock_apt(image, choice).await?;
        let mut written = lock.write(image)?;
        written.extend(apt_file);
        written.extend(self.lock_bases(image).await?);
        let debian =
            apt.map(|apt| apt.platforms.iter().map(|(p, lock)| (p.to_string(), lock.packages.len())).collect());
        let packages = lock.subdirs.iter().map(|s| (s.to_string(), lock.packages_for(*s).count())).collect();
        let written = written.iter().map(|path| self.relative(path)).collect();
        let (image, debian) = (image.name.clone(), debian.unwrap_or_default());
        Ok(Locked { image, written, packages, changes, held, debian, seconds: start.elapsed() })
    }

    async fn relock(
        &self,
        image: &ImageSpec,
        spec: &LockSpec,
        existing: Option<&Lock>,
        choice: &LockChoice,
    ) -> Result<Relocked, Error> {
        let relocking = &image.relocking;
        let parent = image.parent.as_ref().filter(|_| relocking.prefer_parent);
        let parent = parent.and_then(|parent| self.project.images.get(parent));
        let like = parent.map(|parent| self.existing_lock(parent)).transpose()?.flatten();
        let min_age = relocking.min_age.map(|age| Cutoff::of_age(age, self.settings.now));
        let how = Relock {
            existing,
            like: like.as_ref(),
            // A lock that merely does not hold any more asks for nobody's news.
            policy: choice.anew.map_or(RelockPolicy::Minimal, |policy| policy.unwrap_or(relocking.policy)),
            rebuilds: choice.rebuilds,
            update: &choice.update,
            recursive: choice.recursive,
            refresh: &relocking.refresh,
            cutoff: choice.cutoff.or(min_age),
            cutoff_exempt: &relocking.min_age_exempt,
        };
        Ok(lock::relock(spec, &how, &self.channels(image)?, self.progress).await?)
    }

    /// What an image without `conda-lock.yml` has locked in other formats, for a solve to prefer.
    fn preferred(&self, image: &ImageSpec) -> Result<Option<Lock>, Error> {
        let Some(preferred) = Lock::preferred(&image.folder, &image.subdirs)? else { return Ok(None) };
        let files: Vec<_> = preferred.files.iter().map(|path| format!("`{}`", self.relative(path).display())).collect();
        self.progress.note(&format!("`{}` is locked as near as can be to {}", image.name, files.join(", ")));
        Ok(Some(preferred.lock))
    }

    /// `lock` of `image` as a `pixi.lock`, for `subdirs`.
    ///
    /// # Errors
    /// When a channel cannot be had, or no longer has what is locked.
    pub async fn pixi_lock(&self, image: &ImageSpec, lock: &Lock, subdirs: &[Subdir]) -> Result<String, Error> {
        Ok(lock.pixi_lock(subdirs, &LockSpec::of(image)?, &self.channels(image)?).await?)
    }

    /// The requested packages of `image`, or `every` locked one, of which its channels have a newer version; `None` if
    /// it is not locked.
    ///
    /// # Errors
    /// When the lock cannot be read, or a channel not be had.
    pub async fn outdated(&self, image: &ImageSpec, every: bool) -> Result<Option<Vec<Outdated>>, Error> {
        let Some(lock) = self.existing_lock(image)? else { return Ok(None) };
        let spec = LockSpec::of(image)?;
        Ok(Some(lock::outdated::outdated(&spec, &lock, &self.channels(image)?, every).await?))
    }

    /// The lock of `image` if it satisfies its environment. Uses no network.
    ///
    /// # Errors
    /// [`Error::Stale`] when it does not, [`Error::NotLocked`] when there is none.
    pub fn current_lock(&self, image: &ImageSpec) -> Result<Lock, Error> {
        let spec = LockSpec::of(image)?;
        let lock = self.some_lock(image)?;
        let reasons = lock::holds(&spec, &lock);
        if reasons.is_empty() { Ok(lock) } else { Err(Error::Stale { image: image.name.clone(), reasons }) }
    }

    /// All that does not agree: inputs that do not hold, explicit locks that say something else. Uses no network.
    ///
    /// # Errors
    /// [`Error::NotLocked`] when there is no lock, others when it cannot be read.
    pub fn check(&self, image: &ImageSpec) -> Result<Vec<Stale>, Error> {
        let spec = LockSpec::of(image)?;
        let lock = self.some_lock(image)?;
        let mut stale = lock::holds(&spec, &lock);
        stale.extend(lock.stale_explicit(image)?);
        Ok(stale)
    }

    fn some_lock(&self, image: &ImageSpec) -> Result<Lock, Error> {
        let none = || Error::NotLocked { image: image.name.clone(), path: self.relative(&image.lock_path()) };
        self.existing_lock(image)?.ok_or_else(none)
    }

    /// The lock of `image`, whether or not it satisfies its environment; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn existing_lock(&self, image: &ImageSpec) -> Result<Option<Lock>, Error> {
        Ok(Lock::read(&image.lock_path())?)
    }
}
