//! The checks of one platform.

use std::time::Instant;

use futures::StreamExt;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::checks::{ALL, Check, Finding, How, Scene};
use super::report::{CheckReport, Outcome, PlatformReport};
use super::runtime::embedded::can_run;
use super::runtime::{self, Prepared};
use super::subject::{Asked, Subject};
use super::{Error, Request, packages_txt};
use crate::oci::{Image, Platform};
use crate::progress::{Progress, Task, Unit};

/// Verifies one platform; returns its report and the `packages.txt` of what is installed.
pub async fn verify(
    request: &Request<'_>,
    image: Image,
    progress: &dyn Progress,
) -> Result<(PlatformReport, String), Error> {
    let asked = Asked { spec: request.image, lock: request.lock, root: request.root, is_root: request.is_root };
    let subject = blocking(|| Subject::read(asked, image, request.layout))?;
    let here = can_run(subject.platform());
    let wants_to_run = chosen(request, &subject).any(|check| matches!(check.how, How::Running(_)));
    let prepared = match here {
        Ok(()) if wants_to_run => Some(prepare(request, &subject, progress).await?),
        _ => None,
    };
    let scene =
        prepared.as_ref().map(|prepared| Scene::new(&subject, prepared.runtime(), request.timeout, request.equipment));
    let absent = here.err().unwrap_or_default();
    let bench = Bench { request, subject: &subject, scene, absent: &absent };
    let checks = bench.run_all(progress).await;
    if let Some(prepared) = prepared {
        prepared.remove().await;
    }
    let report = PlatformReport {
        platform: subject.platform(),
        manifest: subject.image.digest,
        runtime: Some(request.runtime).filter(|_| absent.is_empty()),
        packages: subject.installed.packages.len(),
        checks: checks?,
    };
    Ok((report, packages_txt(&subject.installed, subject.platform())))
}

fn chosen<'a>(request: &'a Request<'_>, subject: &'a Subject<'_>) -> impl Iterator<Item = &'static Check> + 'a {
    ALL.iter().filter(|check| request.selection.excludes(check).is_none() && check.lacks(subject).is_none())
}

async fn prepare(request: &Request<'_>, subject: &Subject<'_>, progress: &dyn Progress) -> Result<Prepared, Error> {
    let preparation = runtime::Preparation {
        image: &subject.image,
        layout: request.layout,
        config: subject.container.clone(),
        work_dir: request.work_dir,
        runner: request.runner,
    };
    let prepared = match request.runtime {
        super::RuntimeKind::Embedded => blocking(|| preparation.embedded(progress)),
        super::RuntimeKind::Docker => preparation.docker(progress).await,
    };
    prepared.map_err(wrap(subject.platform()))
}

fn wrap(platform: Platform) -> impl Fn(runtime::Error) -> Error {
    move |source| match source {
        runtime::Error::Image(source) => Error::Image(source),
        source => Error::Runtime { platform, source },
    }
}

/// One platform, ready to be checked.
struct Bench<'a> {
    request: &'a Request<'a>,
    subject: &'a Subject<'a>,
    scene: Option<Scene<'a>>,
    /// Why the platform cannot run here; empty if it can.
    absent: &'a str,
}

impl Bench<'_> {
    async fn run_all(&self, progress: &dyn Progress) -> Result<Vec<CheckReport>, Error> {
        let label = format!("verifying {} for {}", self.request.image.name, self.subject.platform());
        let task = Task::start(progress, &label, Some(ALL.len() as u64), Unit::Count);
        let checks = futures::stream::iter(ALL).map(|check| async {
            let report = self.run(check).await;
            task.advance(1);
            report
        });
        // In the order of the table, whichever ends first.
        let reports: Vec<_> = checks.buffered(self.request.jobs.max(1)).collect().await;
        reports.into_iter().collect::<Result<_, _>>().map_err(wrap(self.subject.platform()))
    }

    async fn run(&self, check: &Check) -> Result<CheckReport, runtime::Error> {
        let begin = Instant::now();
        let finding = match self.obstacle(check) {
            Some(reason) => Outcome::not_run(reason).into(),
            None => match self.find(check).await {
                Err(runtime::Error::Setup { step, source }) => {
                    Outcome::failed(format!("cannot {step}: {source}")).into()
                }
                other => other?,
            },
        };
        let Finding { outcome, facts } = finding;
        Ok(CheckReport { name: check.name.to_owned(), outcome, seconds: begin.elapsed().as_secs_f64(), facts })
    }

    /// Why `check` cannot or shall not run.
    fn obstacle(&self, check: &Check) -> Option<String> {
        if let Some(reason) = self.request.selection.excludes(check) {
            return Some(reason.to_owned());
        }
        if let Some(package) = check.lacks(self.subject) {
            return Some(format!("`{package}` is not in the lock"));
        }
        let absent = matches!(check.how, How::Running(_)) && !self.absent.is_empty();
        absent.then(|| self.absent.to_owned())
    }

    async fn find(&self, check: &Check) -> Result<Finding, runtime::Error> {
        match (&check.how, &self.scene) {
            (How::Layers(find), _) => Ok(find(self.subject).into()),
            (How::Listing(find), _) => Ok(find(self.subject)),
            (How::Running(find), Some(scene)) => find(scene).await,
            (How::Running(_), None) => Ok(Outcome::not_run("nothing runs it").into()),
        }
    }
}

/// Runs long work that waits for disks, out of the way of other tasks where there are threads for that.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
