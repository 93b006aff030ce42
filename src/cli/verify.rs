//! `esker verify`: running what was built, to prove it.

mod list;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use list::run as list;

use super::args::{Runtime, VerifyArgs, VerifyOptions};
use super::failure::Failure;
use super::lock::selected;
use super::ui::Ui;
use crate::installed::{ImageSource, Reader};
use crate::pipeline::{self, Session, VerifyChoice};
use crate::progress::Progress;
use crate::project::ImageSpec;
use crate::verify::documents::{self, Described};
use crate::verify::{Outcome, PlatformReport, Report, Reports, RuntimeKind, Selection};

pub async fn run(args: &VerifyArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.images, session)?;
    if images.len() > 1 && args.layout.is_some() {
        return Err(Failure::usage("`--layout` names one image: give it with one"));
    }
    let selection = args.verify.selection()?;
    let (mut done, mut failure) = (Vec::new(), None);
    for image in images {
        let layout = args.layout.clone().unwrap_or_else(|| session.project.layout_dir(&image.name));
        let choice = VerifyChoice {
            platforms: &args.platform,
            keep_all_logs: args.report.is_some(),
            ..args.verify.choice(&layout, &selection)
        };
        match verify(image, &choice, session, ui).await {
            Ok(report) => done.push((layout, report)),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    // What was verified is told, whatever became of the next.
    if let Some(failure) = failure.take_if(|_| done.is_empty()) {
        return Err(failure);
    }
    if let Some(folder) = &args.report {
        write_documents(folder, &done, session, ui).await?;
    }
    let images = done.into_iter().map(|(_, report)| relative(report, session)).collect();
    let reports = Reports::new(images);
    ui.result(&reports, |reports| reports.images.iter().map(human).collect())?;
    match failure.or_else(|| failed(&reports.images)) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Looks into the images for what takes the space, and writes it all down.
async fn write_documents(
    folder: &Path,
    done: &[(PathBuf, Report)],
    session: &Session<'_>,
    ui: &Ui,
) -> Result<(), Failure> {
    let mut reader = Reader::new(&session.registry, ui, session.settings.offline);
    let mut images = Vec::new();
    for (layout, report) in done {
        // Of the others, layers may be in a registry alone.
        let source = ImageSource::Layout(layout.clone());
        let mut contents = Vec::new();
        for platform in &report.platforms {
            contents.extend(reader.contents(&source, Some(platform.platform)).await?);
        }
        images.push(Described { report: report.clone(), contents });
    }
    let written = tokio::task::block_in_place(|| documents::write(folder, &images)).map_err(pipeline::Error::from)?;
    for path in written {
        ui.note(&format!("  wrote {}", path.display()));
    }
    Ok(())
}

/// The report with paths as people read them: relative to the project's root.
pub fn relative(mut report: Report, session: &Session<'_>) -> Report {
    let checks = report.platforms.iter_mut().flat_map(|platform| &mut platform.checks);
    for log in checks.filter_map(|check| check.log.as_mut()) {
        *log = session.relative(log);
    }
    report
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

    /// How to verify all platforms in `layout`.
    pub fn choice<'a>(&self, layout: &'a Path, selection: &'a Selection) -> VerifyChoice<'a> {
        VerifyChoice {
            layout,
            platforms: &[],
            runtime: self.runtime.into(),
            timeout: self.timeout,
            selection,
            keep_unpacked: !self.no_keep,
            keep_all_logs: false,
            gpus: self.gpus,
        }
    }
}

/// Verifies one image, and says which file it wrote.
pub async fn verify(
    image: &ImageSpec,
    choice: &VerifyChoice<'_>,
    session: &Session<'_>,
    ui: &Ui,
) -> Result<Report, Failure> {
    let verification = session.verify(image, choice).await?;
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
            Runtime::Podman => Self::Podman,
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
                text.extend(check.log.iter().map(|log| format!("      log: {}\n", log.display())));
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
