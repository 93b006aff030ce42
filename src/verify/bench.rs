//! The checks that run programs, of all platforms together.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt};

use super::checks::{ALL, Check, Finding, How, Scene};
use super::logs::Logs;
use super::platform::{Examined, obstacle, wrap};
use super::report::{CheckReport, Outcome};
use super::runtime::{self, Recorded};
use super::{Error, Request};
use crate::oci::Platform;
use crate::progress::{Progress, Task, Unit};

/// Checks and groups of them that take longest, the longest first: they start servers, or import everything.
const SLOW: [&str; 9] = [
    "page",
    "tests",
    "python.imports",
    "hub.read-only",
    "jupyter.server",
    "dask.scheduler-worker",
    "hub.singleuser",
    "info",
    "jupyter.kernels",
];
/// Those that have the answer, or a part of it, from one of the others, and would only wait for it.
const LAST: [&str; 10] = [
    "hub.command",
    "hub.arbitrary-user",
    "jupyter.old-options",
    "dask.commands",
    "dask.local-cluster",
    "python.bytecode",
    "python.pip-check",
    "jupyter.labextensions",
    "dask.gateway-preload",
    "hub.binder",
];

/// The check that starts a server as that of [`SERVER`] does, which has its answer from it then.
const PAGE: &str = "page.notebook";
const SERVER: &str = "jupyter.server";

/// One platform, ready to be checked.
struct Bench<'a> {
    request: &'a Request<'a>,
    examined: &'a Examined<'a>,
    logs: Logs,
    task: Task<'a>,
}

/// Runs what the table has that runs programs, and returns the reports of each of `platforms` by their place in the table.
///
/// As many checks run at once as there are jobs. Those that take longest start first, so that no processor waits for
/// them at the end; and before all others those of platforms that are emulated.
///
/// # Errors
/// When this machine cannot run what it should be able to, or a log cannot be written.
pub async fn run(
    request: &Request<'_>,
    platforms: &[Examined<'_>],
    progress: &dyn Progress,
) -> Result<Vec<Vec<(usize, CheckReport)>>, Error> {
    let benches: Vec<_> =
        platforms.iter().map(|examined| Bench::new(request, examined, progress)).collect::<Result<_, _>>()?;
    let mut order: Vec<_> = (0..benches.len()).collect();
    order.sort_by_key(|&bench| Platform::host() == Some(benches[bench].examined.subject.platform()));
    let has_page = ALL.iter().any(|check| check.is(PAGE) && request.selection.excludes(check).is_none());
    let checks = by_slowness(has_page);
    let pairs = order.iter().flat_map(|&bench| checks.iter().map(move |&check| (bench, check)));
    let benches = &benches;
    let checks = pairs.map(|(bench, check)| async move {
        let report = benches[bench].run(&ALL[check]).await?;
        Ok::<_, Error>((bench, check, report))
    });
    let done: Vec<_> = futures::stream::iter(checks).buffer_unordered(request.jobs.max(1)).try_collect().await?;
    let mut reports: Vec<Vec<_>> = benches.iter().map(|_| Vec::new()).collect();
    for (bench, check, report) in done {
        reports[bench].push((check, report));
    }
    benches.iter().try_for_each(|bench| bench.logs.finish())?;
    Ok(reports)
}

/// Places in the table of the checks that run programs, the slowest first. `has_page` is whether [`PAGE`] is among them.
fn by_slowness(has_page: bool) -> Vec<usize> {
    let rank = |check: &Check| {
        let rank = SLOW.iter().position(|slow| check.is(slow)).unwrap_or(SLOW.len());
        let waits = LAST.contains(&check.name) || has_page && check.name == SERVER;
        if waits { SLOW.len() + 1 } else { rank }
    };
    let mut checks: Vec<_> = (0..ALL.len()).filter(|&index| matches!(ALL[index].how, How::Running(_))).collect();
    checks.sort_by_key(|&index| rank(&ALL[index]));
    checks
}

impl<'a> Bench<'a> {
    fn new(request: &'a Request<'a>, examined: &'a Examined<'a>, progress: &'a dyn Progress) -> Result<Self, Error> {
        let platform = examined.subject.platform();
        let label = format!("verifying {} for {platform}", request.image.name);
        let count = ALL.iter().filter(|check| matches!(check.how, How::Running(_))).count();
        let logs = Logs::begin(request.log_dir, platform)?;
        let task = Task::start(progress, &label, Some(count as u64), Unit::Count);
        Ok(Self { request, examined, logs, task })
    }

    async fn run(&self, check: &Check) -> Result<CheckReport, Error> {
        let platform = self.examined.subject.platform();
        let begin = Instant::now();
        let recorded = self.examined.prepared.as_ref().map(|prepared| Recorded::new(prepared.runtime()));
        let finding = match self.obstacle(check) {
            Some(reason) => Outcome::not_run(reason).into(),
            None => match self.find(check, recorded.as_ref()).await {
                Err(runtime::Error::Setup { step, source }) => {
                    Outcome::failed(format!("cannot {step}: {source}")).into()
                }
                other => other.map_err(wrap(platform))?,
            },
        };
        let mut report = CheckReport::new(check.name, finding, begin.elapsed());
        let log = recorded.map(|recorded| recorded.log()).filter(|log| !log.is_empty());
        if let Some(log) = log.filter(|_| self.request.keep_all_logs || report.failed()) {
            report.log = Some(self.logs.put(check.name, &log)?);
        }
        self.task.advance(1);
        Ok(report)
    }

    /// Why `check` cannot or shall not run.
    fn obstacle(&self, check: &Check) -> Option<String> {
        let absent = Some(&self.examined.absent).filter(|absent| !absent.is_empty()).cloned();
        obstacle(self.request, check, self.examined.subject.platform()).or(absent)
    }

    async fn find(&self, check: &Check, recorded: Option<&Recorded<'_>>) -> Result<Finding, runtime::Error> {
        let (How::Running(find), Some(recorded)) = (&check.how, recorded) else {
            return Ok(Outcome::not_run("nothing runs it").into());
        };
        let Examined { subject, shared, .. } = self.examined;
        find(&Scene::new(subject, recorded, self.request.timeout, shared, self.request.equipment)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_that_runs_programs_is_there_once_and_the_slow_ones_first() {
        let named = |has_page| by_slowness(has_page).into_iter().map(|index| ALL[index].name).collect::<Vec<_>>();
        let names = named(false);
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let running = ALL.iter().filter(|check| matches!(check.how, How::Running(_))).count();
        assert_eq!((names.len(), sorted.len()), (running, running));
        let place = |name: &str| names.iter().position(|known| *known == name).unwrap();
        assert!(place("jupyter.server") < place("entrypoint.exec"));
        assert!(LAST.iter().all(|last| place(last) >= names.len() - LAST.len()));
        let with_page = named(true);
        assert!(with_page[0] == PAGE && with_page[names.len() - LAST.len() - 1..].contains(&SERVER));
    }
}
