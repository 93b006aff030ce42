//! `esker verify`: running what was built, to prove it.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::args::{Runtime, VerifyArgs, VerifyOptions};
use super::failure::Failure;
use super::lock::selected;
use super::ui::Ui;
use crate::oci::Platform;
use crate::pipeline::{self, Session, VerifyChoice};
use crate::progress::Progress;
use crate::project::ImageSpec;
use crate::verify::{Outcome, PlatformReport, Report, RuntimeKind, Selection};

#[derive(Serialize)]
struct Reports {
    schema: u32,
    images: Vec<Report>,
}

pub async fn run(args: &VerifyArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.images, session)?;
    if images.len() > 1 && args.layout.is_some() {
        return Err(Failure::usage("`--layout` names one image: give it with one"));
    }
    args.verify.selection()?;
    let mut reports = Vec::new();
    for image in images {
        let layout = args.layout.clone().unwrap_or_else(|| session.project.layout_dir(&image.name));
        reports.push(verify(image, &layout, &args.platform, &args.verify, session, ui).await?);
    }
    let reports = Reports { schema: 1, images: reports };
    ui.result(&reports, |reports| reports.images.iter().map(human).collect())?;
    match failed(&reports.images) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}

impl VerifyOptions {
    /// The checks to run; names that mean none are refused.
    pub fn selection(&self) -> Result<Selection, Failure> {
        let selection = Selection {
            only: self.only.clone(),
            skip: self.skip.clone(),
            with: self.page.then(|| "page".to_owned()).into_iter().collect(),
        };
        selection.check().map_err(pipeline::Error::from)?;
        Ok(selection)
    }
}

/// Verifies one image, and says which file it wrote.
pub async fn verify(
    image: &ImageSpec,
    layout: &Path,
    platforms: &[Platform],
    options: &VerifyOptions,
    session: &Session<'_>,
    ui: &Ui,
) -> Result<Report, Failure> {
    let selection = options.selection()?;
    let choice = VerifyChoice {
        layout,
        platforms,
        runtime: options.runtime.into(),
        timeout: options.timeout,
        selection: &selection,
        gpus: options.gpus,
    };
    let verification = session.verify(image, &choice).await?;
    if let Some(path) = &verification.packages_written {
        ui.note(&format!("  wrote {}", session.relative(path).display()));
    }
    Ok(verification.report)
}

impl From<Runtime> for RuntimeKind {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Embedded => Self::Embedded,
            Runtime::Docker => Self::Docker,
        }
    }
}

/// The failure that `reports` amount to, if any check failed.
pub fn failed(reports: &[Report]) -> Option<Failure> {
    let names: Vec<_> = reports
        .iter()
        .flat_map(|report| report.failures().map(|(platform, check)| format!("`{}` ({platform})", check.name)))
        .collect();
    let message = || format!("{} of the checks failed: {}", names.len(), names.join(", "));
    (!names.is_empty()).then(|| Failure::no(message(), None))
}

/// The report for people: what did not pass line by line, what did in a number.
pub fn human(report: &Report) -> String {
    let mut text = format!("{} {}\n", report.image, report.digest);
    for platform in &report.platforms {
        text.push_str(&platform_lines(platform));
    }
    text
}

fn platform_lines(report: &PlatformReport) -> String {
    let (passed, failed, not_run) = report.counts();
    let mut text = format!("  {}: {passed} passed, {failed} failed, {not_run} not run\n", report.platform);
    let mut unknown: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in &report.checks {
        match &check.outcome {
            Outcome::Passed => {}
            Outcome::Failed { reason, details } => {
                text.push_str(&format!("    failed {}: {reason}\n", check.name));
                text.extend(details.iter().map(|detail| format!("      {detail}\n")));
            }
            // Many checks share one reason where a platform cannot run.
            Outcome::NotRun { reason } => match unknown.iter_mut().find(|(known, _)| known == reason) {
                Some((_, names)) => names.push(&check.name),
                None => unknown.push((reason, vec![&check.name])),
            },
        }
    }
    for (reason, names) in unknown {
        text.push_str(&format!("    not run, {reason}: {}\n", names.join(", ")));
    }
    text
}
