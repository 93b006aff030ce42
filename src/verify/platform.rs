//! One platform of an image: read from its layers, and made ready to run.
//!
//! All that is work for this machine's processors and disks and asks nobody: platforms are read and unpacked side by
//! side, and a platform's layers are read while they are unpacked.

use std::time::Instant;

use super::checks::{ALL, Check, How, Shared};
use super::report::{CheckReport, Outcome, PlatformReport};
use super::runtime::embedded::can_run;
use super::runtime::{self, Preparation, Prepared, RuntimeKind};
use super::subject::{Asked, Subject};
use super::{Error, Request};
use crate::oci::{Image, Platform};
use crate::progress::Progress;

/// One platform, with the checks made that need its layers alone.
pub struct Examined<'a> {
    request: &'a Request<'a>,
    /// What is to be checked.
    pub subject: Subject<'a>,
    /// What checks that run programs learn for each other.
    pub shared: Shared,
    /// What runs it, where that is possible and asked for.
    pub prepared: Option<Prepared>,
    /// Why the platform cannot run here; empty if it can.
    pub absent: String,
    /// The reports of checks, by their place in the table.
    pub reports: Vec<Option<CheckReport>>,
}

impl<'a> Examined<'a> {
    /// Reads `image`, and unpacks it for the embedded runner.
    ///
    /// # Errors
    /// When a layer is missing or damaged, or the image cannot be unpacked.
    pub fn read(request: &'a Request<'a>, image: &Image, progress: &dyn Progress) -> Result<Self, Error> {
        let platform = image.platform;
        let here = can_run(platform);
        let unpacks = request.runtime == RuntimeKind::Embedded && here.is_ok() && wants_to_run(request, platform);
        let asked = Asked { spec: request.image, lock: request.lock, root: request.root, is_root: request.is_root };
        let (examined, prepared) = rayon::join(
            || {
                let subject = Subject::read(asked, image.clone(), request.layout)?;
                let reports = ALL.iter().map(|check| from_layers(request, check, &subject)).collect();
                let shared = Shared::of(running(request, platform).collect());
                let absent = here.clone().err().unwrap_or_default();
                Ok::<_, Error>(Self { request, subject, shared, prepared: None, absent, reports })
            },
            || unpacks.then(|| preparation(request, image).embedded(progress)).transpose(),
        );
        let prepared = prepared.map_err(wrap(platform))?;
        Ok(Self { prepared, ..examined? })
    }

    /// Loads the image into the engine that is to run it.
    ///
    /// # Errors
    /// When there is no such engine, or it does not take the image.
    pub async fn load(&mut self, progress: &dyn Progress) -> Result<(), Error> {
        let platform = self.subject.platform();
        if !self.absent.is_empty() || !wants_to_run(self.request, platform) {
            return Ok(());
        }
        let preparation = preparation(self.request, &self.subject.image);
        let prepared = match self.request.runtime {
            RuntimeKind::Embedded => return Ok(()),
            RuntimeKind::Docker => preparation.docker(progress).await,
            RuntimeKind::Podman => preparation.podman(progress).await,
        };
        self.prepared = Some(prepared.map_err(wrap(platform))?);
        Ok(())
    }

    /// What came of it, once every check has its report. `runtime` is what ran it, if it could run.
    pub fn report(self, runtime: RuntimeKind) -> PlatformReport {
        PlatformReport {
            platform: self.subject.platform(),
            manifest: self.subject.image.digest,
            runtime: Some(runtime).filter(|_| self.absent.is_empty()),
            packages: self.subject.installed.packages.len(),
            checks: self.reports.into_iter().flatten().collect(),
        }
    }
}

/// The report of a check that needs the layers alone.
fn from_layers(request: &Request<'_>, check: &Check, subject: &Subject<'_>) -> Option<CheckReport> {
    let begin = Instant::now();
    let finding = match (obstacle(request, check, subject.platform()), &check.how) {
        (_, How::Running(_)) => return None,
        (Some(reason), _) => Outcome::not_run(reason).into(),
        (None, How::Layers(find)) => find(subject).into(),
        (None, How::Listing(find)) => find(subject),
    };
    Some(CheckReport::new(check.name, finding, begin.elapsed()))
}

/// Why `check` shall not run, or would mean nothing.
pub fn obstacle(request: &Request<'_>, check: &Check, platform: Platform) -> Option<String> {
    let excluded = request.selection.excludes(check).map(str::to_owned);
    excluded.or_else(|| check.lacks(request.lock, platform).map(|package| format!("`{package}` is not in the lock")))
}

fn wants_to_run(request: &Request<'_>, platform: Platform) -> bool {
    running(request, platform).next().is_some()
}

/// The names of the checks that run programs and are to be made.
fn running(request: &Request<'_>, platform: Platform) -> impl Iterator<Item = &'static str> {
    let running = ALL.iter().filter(|check| matches!(check.how, How::Running(_)));
    running.filter(move |check| obstacle(request, check, platform).is_none()).map(|check| check.name)
}

fn preparation<'a>(request: &'a Request<'a>, image: &'a Image) -> Preparation<'a> {
    Preparation {
        name: &request.image.name,
        image,
        layout: request.layout,
        config: runtime::ContainerConfig::new(&image.config),
        work_dir: request.work_dir,
        keep: request.keep_unpacked,
        runner: request.runner,
        podman: request.podman,
        docker: request.docker,
    }
}

/// The error of verify for one of running `platform`.
pub fn wrap(platform: Platform) -> impl Fn(runtime::Error) -> Error {
    move |source| match source {
        runtime::Error::Image(source) => Error::Image(source),
        source => Error::Runtime { platform, source },
    }
}
