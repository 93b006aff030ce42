//! `esker lock`: environments to locks.

use std::process::ExitCode;

use serde::Serialize;

use super::args::LockArgs;
use super::check;
use super::failure::Failure;
use super::ui::Ui;
use crate::pipeline::{Locked, Session};
use crate::project::ImageSpec;

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<Locked>,
}

pub async fn run(args: &LockArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.images, session)?;
    if args.check { check::run(&images, session, ui) } else { lock(&images, session, ui).await }
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
