//! The bases of an image: found in a registry or on this machine, or made of Debian packages; and what is pinned of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{BuildChoice, Error, Session};
use crate::apt::{self, BootstrapRequest, LockedDeb, Trust};
use crate::build::base::{self, BaseImage, BaseRequest, packages};
use crate::build::debian::Bootstrap;
use crate::build::native::published::Published;
use crate::build::pins::Pins;
use crate::oci::Platform;
use crate::project::{BaseReference, BaseSource, Cutoff, DebianRelease, ImageSpec, Snapshot};

impl Session<'_> {
    pub(super) async fn bases(
        &self,
        image: &ImageSpec,
        choice: &BuildChoice<'_>,
        platforms: &[Platform],
        published: Option<&Published<'_>>,
    ) -> Result<BTreeMap<Platform, BaseImage>, Error> {
        // A base of the command line is for this once: only the project's own is pinned.
        let chosen = choice.base.map(|base| BaseSource::Any(base.clone()));
        let source = chosen.as_ref().or(image.base.as_ref());
        let anew = choice.base.is_some() || choice.update_base;
        let mut pins = Pins::load(&self.project.root)?;
        let mut bases = BTreeMap::new();
        for &platform in platforms {
            let none = || Error::NoBase { image: image.name.clone(), platform };
            let source = source.and_then(|source| source.for_platform(platform)).ok_or_else(none)?;
            let source = if anew { Cow::Borrowed(source) } else { pins.kept(source) };
            let pinned = pins.get(&source.to_string()).map(|pin| pin.digest);
            let request = BaseRequest {
                source: &source,
                platform,
                project_root: &self.project.root,
                cache_dir: &self.settings.cache_dir,
                pinned: pinned.filter(|_| !anew),
                compression: choice.compression,
                offline: self.settings.offline,
            };
            let base = match &*source {
                BaseReference::Debian(release) => {
                    let mut once = Pins::default();
                    let pins = if choice.base.is_some() { &mut once } else { &mut pins };
                    self.make_base(image, (release, &request), pins, anew, published).await?
                }
                _ => base::resolve(request, &self.registry, self.progress).await?,
            };
            if choice.base.is_none() {
                pins.record(&base);
            }
            bases.insert(platform, base);
        }
        pins.save()?;
        Ok(bases)
    }

    /// Makes the base of `request` of the packages that are locked, or that are locked now; or takes it from an image that was
    /// `published`, unless all packages are here.
    async fn make_base(
        &self,
        image: &ImageSpec,
        (release, request): (&DebianRelease, &BaseRequest<'_>),
        pins: &mut Pins,
        anew: bool,
        published: Option<&Published<'_>>,
    ) -> Result<BaseImage, Error> {
        let (snapshot, packages) = self.base_packages(image, (release, request.platform), pins, anew).await?;
        let is_in = |name: &&String| packages.iter().any(|deb| deb.name == **name);
        let mut skip: Vec<String> = image.debian.skip_maintainer_scripts.iter().filter(is_in).cloned().collect();
        skip.sort();
        let sources = apt::sources(&release.codename, &snapshot);
        let bootstrap = Bootstrap { release: release.clone(), platform: request.platform, packages, skip, sources };
        if let Some(base) = packages::recall(request, &bootstrap, &snapshot)? {
            return Ok(base);
        }
        let client = self.channels(image)?;
        let is_here = |deb: &LockedDeb| client.has_file(&deb.url, &deb.sha256);
        if let Some(published) = published.filter(|_| !bootstrap.packages.iter().all(is_here)) {
            let platforms = pins.get(&release.to_string()).map(|pin| &pin.platforms).filter(|_| !anew);
            let pinned = platforms.and_then(|platforms| platforms.get(&request.platform)).copied();
            let borrowed = packages::borrow(request, &bootstrap, pinned, &snapshot, published, self.progress).await?;
            if let Some(base) = borrowed {
                return Ok(base);
            }
        }
        let archives = apt::fetch(&bootstrap.packages, &client, self.progress, self.settings.jobs).await?;
        let archives = archives.into_iter().map(|(_, path)| path).collect();
        Ok(packages::make(request, bootstrap, archives, &snapshot, self.progress).await?)
    }

    /// The packages that are locked for a base, or that are locked now: `anew` even if some are.
    async fn base_packages(
        &self,
        image: &ImageSpec,
        (release, platform): (&DebianRelease, Platform),
        pins: &mut Pins,
        anew: bool,
    ) -> Result<(Snapshot, Vec<LockedDeb>), Error> {
        let name = release.to_string();
        let locked = pins.get(&name).and_then(|pin| pin.debian.as_ref()).filter(|_| !anew);
        if let Some(debian) = locked
            && let Some(packages) = debian.packages.get(&platform)
        {
            return Ok((debian.snapshot.clone(), packages.clone()));
        }
        // All platforms are of one date.
        let snapshot = release.snapshot.clone().or_else(|| locked.map(|debian| debian.snapshot.clone()));
        let snapshot = snapshot.or_else(|| image.debian.snapshot.clone());
        let snapshot = snapshot.unwrap_or_else(|| self.latest_snapshot(image, None));
        let trust = self.trust();
        let request = BootstrapRequest { release, platform, snapshot: &snapshot, trust: &trust };
        let packages = apt::bootstrap(&request, &self.channels(image)?).await?;
        pins.lock(&name, &snapshot, platform, &packages);
        Ok((snapshot, packages))
    }

    /// Locks the packages of the bases of `image` that are made of packages and are not locked; returns the file if it
    /// was written.
    pub(super) async fn lock_bases(&self, image: &ImageSpec) -> Result<Option<PathBuf>, Error> {
        let mut pins = Pins::load(&self.project.root)?;
        let mut is_made = false;
        for &platform in &image.platforms {
            let source = image.base.as_ref().and_then(|base| base.for_platform(platform));
            let Some(source) = source.map(|source| pins.kept(source).into_owned()) else { continue };
            if let BaseReference::Debian(release) = &source {
                self.base_packages(image, (release, platform), &mut pins, false).await?;
                is_made = true;
            }
        }
        Ok(if is_made { pins.save()? } else { None })
    }

    /// The archives that the bases of `image` are made of, if they are made of packages.
    pub(super) fn base_snapshots(&self, image: &ImageSpec) -> Result<Vec<Snapshot>, Error> {
        let pins = Pins::load(&self.project.root)?;
        let sources = image.platforms.iter().filter_map(|platform| image.base.as_ref()?.for_platform(*platform));
        let made = sources.filter_map(|source| pins.get(&pins.kept(source).to_string())?.debian.as_ref());
        Ok(made.map(|debian| debian.snapshot.clone()).collect())
    }

    /// The archive that locks are made from today: of what is published now, or of what is old enough.
    pub(super) fn latest_snapshot(&self, image: &ImageSpec, cutoff: Option<Cutoff>) -> Snapshot {
        let min_age = image.relocking.min_age.map(|age| Cutoff::of_age(age, self.settings.now));
        match cutoff.or(min_age) {
            Some(cutoff) => Snapshot::at(cutoff.time()),
            None => Snapshot::before(self.settings.now),
        }
    }

    /// What archives are checked with.
    pub(super) fn trust(&self) -> Trust {
        Trust { gpgv: self.settings.gpgv.clone(), keyring: self.settings.debian_keyring.clone() }
    }
}
