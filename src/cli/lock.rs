//! `esker lock`: environments to locks.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;

use super::args::LockArgs;
use super::failure::Failure;
use super::ui::Ui;
use crate::pipeline::{self, Locked, Session};
use crate::progress::Progress;
use crate::project::{self, ImageSpec};

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<Locked>,
}

#[derive(Serialize)]
struct CheckReport {
    schema: u32,
    images: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    image: String,
    holds: bool,
    reasons: Vec<String>,
}

pub async fn run(args: &LockArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.images, session)?;
    warn_of_lints(&images, ui);
    if args.check { check(&images, session, ui) } else { lock(&images, session, ui).await }
}

/// Warns of lines that are valid and hardly meant, of each once: images share their parents' files.
pub fn warn_of_lints(images: &[&ImageSpec], ui: &Ui) {
    let lines = images.iter().flat_map(|image| &image.environments).flat_map(|environment| &environment.dependencies);
    let found = lines.filter_map(|line| Some((line.place.to_string(), project::lint(&line.spec)?)));
    let mut seen = BTreeSet::new();
    for (place, lint) in found.filter(|(place, _)| seen.insert(place.clone())) {
        ui.warning(&format!("{place}: {lint}"));
    }
}

/// The images named, or all.
pub fn selected<'a>(names: &[String], session: &Session<'a>) -> Result<Vec<&'a ImageSpec>, Failure> {
    if names.is_empty() {
        return Ok(session.project.images.values().collect());
    }
    Ok(names.iter().map(|name| session.project.image(name)).collect::<Result<_, _>>()?)
}

async fn lock(images: &[&ImageSpec], session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut done = Vec::new();
    let mut failures = Vec::new();
    // One unsolvable image must not hide what is wrong with the next.
    for image in images {
        match session.lock(image).await {
            Ok(locked) => done.push(locked),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    ui.result(&Report { schema: 1, images: done }, |report| report.images.iter().map(human).collect())?;
    match Failure::worst(failures, ui) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A line on what became of one image's lock.
pub fn human(locked: &Locked) -> String {
    let packages: Vec<_> = locked.packages.iter().map(|(subdir, count)| format!("{subdir} {count}")).collect();
    let what = if locked.written.is_empty() { "up to date" } else { "locked" };
    format!("{}: {what} ({}) in {:.1} s\n", locked.image, packages.join(", "), locked.seconds.as_secs_f64())
}

fn check(images: &[&ImageSpec], session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut checked = Vec::new();
    for image in images {
        let reasons = match session.current_lock(image) {
            Ok(_) => vec![],
            Err(error @ pipeline::Error::NotLocked { .. }) => {
                ui.warning(&error.to_string());
                vec![error.to_string()]
            }
            Err(pipeline::Error::Stale { image, reasons }) => {
                ui.warning(&format!("the lock of `{image}` is stale: {}", reasons.join("; ")));
                reasons
            }
            Err(other) => return Err(other.into()),
        };
        checked.push(Checked { image: image.name.clone(), holds: reasons.is_empty(), reasons });
    }
    let report = CheckReport { schema: 1, images: checked };
    let code = if report.images.iter().all(|image| image.holds) { ExitCode::SUCCESS } else { ExitCode::from(1) };
    ui.result(&report, |report| {
        let state = |image: &Checked| if image.holds { "holds" } else { "stale" };
        report.images.iter().map(|image| format!("{}: {}\n", image.image, state(image))).collect()
    })?;
    Ok(code)
}
