//! `esker lock`: environments to locks.

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde::Serialize;

use super::args::LockArgs;
use super::failure::Failure;
use super::ui::Ui;
use super::{check, diff};
use crate::lock::diff::ImageDiff;
use crate::lock::{HeldBack, LockSpec};
use crate::pipeline::{self, LockChoice, Locked, Session};
use crate::progress::Progress;
use crate::project::{self, Cutoff, ImageSpec, RelockPolicy};

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<Locked>,
}

pub async fn run(args: &LockArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.images, session)?;
    warn_of_lints(&images, ui);
    if args.check { check::run(&images, session, ui) } else { lock(args, &images, session, ui).await }
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

async fn lock(args: &LockArgs, images: &[&ImageSpec], session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let choice = choice(args, session)?;
    refuse_unknown(&choice, images, session)?;
    let mut done = Vec::new();
    let mut failures = Vec::new();
    // In the project's order, parents before children, as a child is locked to be like its parent.
    let in_order = session.project.images.values().filter(|image| images.iter().any(|named| named.name == image.name));
    // One unsolvable image must not hide what is wrong with the next.
    for image in in_order {
        match session.lock(image, &choice).await {
            Ok(locked) => {
                tell_held(&locked, ui);
                done.push(locked);
            }
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    ui.result(&Report { schema: 1, images: done }, |report| report.images.iter().map(with_changes).collect())?;
    match Failure::worst(failures, ui) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn choice(args: &LockArgs, session: &Session<'_>) -> Result<LockChoice, Failure> {
    let cutoff = args.exclude_newer.as_deref().map(|text| {
        Cutoff::parse(text, session.settings.now)
            .map_err(|problem| Failure::usage(&format!("`{text}` cannot be `--exclude-newer`: {problem}")))
    });
    Ok(LockChoice {
        anew: if args.fresh { Some(Some(RelockPolicy::Fresh)) } else { args.relock },
        update: args.update.iter().map(|name| name.to_lowercase()).collect(),
        recursive: args.recursive,
        rebuilds: args.rebuilds,
        update_apt: args.update_apt,
        cutoff: cutoff.transpose()?,
    })
}

/// A misspelt name would otherwise be an update that does nothing.
fn refuse_unknown(choice: &LockChoice, images: &[&ImageSpec], session: &Session<'_>) -> Result<(), Failure> {
    if choice.update.is_empty() {
        return Ok(());
    }
    let mut known = BTreeSet::new();
    for image in images {
        let requested = LockSpec::of(image).map_err(pipeline::Error::from)?.names();
        let locked = session.existing_lock(image)?.unwrap_or_default();
        known.extend(requested.into_iter().chain(locked.packages.into_iter().map(|package| package.name)));
    }
    match choice.update.iter().find(|name| !known.contains(*name)) {
        Some(name) => {
            let near = known.iter().map(|known| (strsim::osa_distance(name, known), known)).min();
            let near = near.filter(|(distance, known)| distance * 3 <= known.len());
            let help = near.map_or(String::new(), |(_, known)| format!("; did you mean `{known}`?"));
            Err(Failure::usage(&format!("`{name}` is neither locked nor asked for in these images{help}")))
        }
        None => Ok(()),
    }
}

fn tell_held(locked: &Locked, ui: &Ui) {
    for held in &locked.held {
        let HeldBack { name, version, newest, subdirs, reason } = held;
        let (image, subdirs) = (&locked.image, subdirs.join(" and "));
        ui.warning(&format!("`{name}` of `{image}` is {version} on {subdirs}, not {newest}: {}", reason.trim_end()));
    }
}

/// Rows of changes that are printed; more than these nobody reads on a terminal.
const CHANGES_SHOWN: usize = 40;

/// A line on what became of one image's lock, and its changes.
fn with_changes(locked: &Locked) -> String {
    let line = human(locked);
    match &locked.changes {
        Some(diff) if !diff.is_empty() && diff.changes.len() <= CHANGES_SHOWN => {
            line + &diff::text(&[ImageDiff { image: locked.image.clone(), diff: diff.clone() }])
        }
        Some(diff) if !diff.is_empty() => format!("{line}  {}; `esker diff` shows them\n", diff.summary()),
        _ => line,
    }
}

/// A line on what became of one image's lock.
pub fn human(locked: &Locked) -> String {
    let packages: Vec<_> = locked.packages.iter().map(|(subdir, count)| format!("{subdir} {count}")).collect();
    let debian = locked.debian.iter().map(|(platform, count)| format!("apt {platform} {count}"));
    let packages: Vec<_> = packages.into_iter().chain(debian).collect();
    let what = if locked.written.is_empty() { "up to date" } else { "locked" };
    format!("{}: {what} ({}) in {:.1} s\n", locked.image, packages.join(", "), locked.seconds.as_secs_f64())
}
