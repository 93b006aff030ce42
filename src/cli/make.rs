//! `esker make`: all stages that are stale, in order.

use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use super::args::{MakeArgs, VerifyOptions};
use super::build::{self, BuiltReport, Layers};
use super::failure::Failure;
use super::lock;
use super::ui::{Ui, bytes};
use super::verify;
use crate::pipeline::{LockChoice, Locked, Session};
use crate::progress::Progress;
use crate::project::ImageSpec;
use crate::verify::{PlatformReport, Report};

#[derive(Serialize)]
struct MakeReport {
    schema: u32,
    images: Vec<Made>,
    seconds: f64,
}

#[derive(Serialize)]
struct Made {
    locked: Locked,
    built: BuiltReport,
    verified: Verified,
}

#[derive(Serialize)]
struct Verified {
    /// Whether it had been verified before, and only its report was read.
    already: bool,
    packages_txt: std::path::PathBuf,
    report: Report,
    seconds: f64,
}

pub async fn run(args: &MakeArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    let names = lock::selected(&args.images, session)?;
    let mut images: Vec<_> = session.project.images.values().collect();
    // The project's order: parents before children.
    images.retain(|image| names.iter().any(|named| named.name == image.name));
    if images.len() > 1 && args.build.names_one_place() {
        return Err(Failure::usage("`--output` names one place: give one image with it"));
    }
    if images.len() > 1 && args.build.onto.is_some() {
        return Err(Failure::usage("`--onto` names one image: give one image with it"));
    }
    args.build.destinations()?;
    args.build.onto()?;
    args.build.docker(session)?;
    super::push::sources(&args.build.cache_from)?;
    args.verify.selection()?;
    lock::warn_of_lints(&images, ui);
    let mut made = Vec::new();
    let mut failed = None;
    for image in images {
        match make(image, args, session, ui).await {
            Ok(image) => made.push(image),
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    session.limit_cache();
    if let Some(failure) = failed.take_if(|_| made.is_empty()) {
        return Err(failure);
    }
    let report = MakeReport { schema: 1, images: made, seconds: seconds(start) };
    ui.result(&report, human)?;
    // What was made is there, whatever became of the next.
    if let Some(failure) = failed {
        return Err(failure);
    }
    match verify::failed(&report.images.iter().map(|made| made.verified.report.clone()).collect::<Vec<_>>()) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn make(image: &ImageSpec, args: &MakeArgs, session: &Session<'_>, ui: &Ui) -> Result<Made, Failure> {
    if let Some(root) = session.root_of(image) {
        note_lock(&session.lock(root, &LockChoice::default()).await?, ui);
    }
    let locked = session.lock(image, &LockChoice::default()).await?;
    note_lock(&locked, ui);
    let built = build::build(image, &args.build, Layers::Here, session, ui).await?;
    let verified = prove(image, &built, &args.verify, session, ui).await?;
    Ok(Made { locked, built, verified })
}

fn note_lock(locked: &Locked, ui: &Ui) {
    ui.note(lock::human(locked).trim_end());
}

async fn prove(
    image: &ImageSpec,
    built: &BuiltReport,
    options: &VerifyOptions,
    session: &Session<'_>,
    ui: &Ui,
) -> Result<Verified, Failure> {
    let start = Instant::now();
    let packages_txt = session.relative(&image.packages_path());
    let all = options.only.is_empty() && options.skip.is_empty();
    let known = all.then(|| session.verified(image, built.built.digest, options.runtime.into())).flatten();
    let already = known.is_some();
    let report = match known {
        Some(report) => report,
        None => {
            let selection = options.selection()?;
            let choice = options.choice(&built.built.layout, &selection);
            verify::relative(verify::verify(image, &choice, session, ui).await?, session)
        }
    };
    Ok(Verified { already, packages_txt, report, seconds: seconds(start) })
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
}

fn human(report: &MakeReport) -> String {
    let images: String = report.images.iter().map(image_lines).collect();
    format!("{images}done in {:.1} s\n", report.seconds)
}

fn image_lines(made: &Made) -> String {
    let Made { locked, built, verified } = made;
    let mut text = format!("{} {}\n", built.built.image, built.built.digest);
    let state = if locked.written.is_empty() { "holds" } else { "solved" };
    text.push_str(&format!("  lock: {state}, in {:.1} s\n", locked.seconds.as_secs_f64()));
    text.push_str(&format!("  build: {}\n", built.outputs.join(", ")));
    for platform in &built.built.platforms {
        text.push_str(&format!(
            "    {} {}, {} to pull, {} unpacked, {} layers\n",
            platform.platform,
            platform.manifest,
            bytes(platform.compressed_size),
            bytes(platform.unpacked_size),
            platform.layers
        ));
    }
    if let Some(line) = build::taken(&built.built) {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str(&format!("    in {:.1} s\n", built.seconds));
    let when = if verified.already { "before".to_owned() } else { format!("in {:.1} s", verified.seconds) };
    text.push_str(&format!("  verify: {when}\n"));
    for line in verify::human(&verified.report).lines().skip(1) {
        text.push_str(&format!("  {line}\n"));
    }
    text.extend(verified.report.platforms.iter().filter_map(server_line));
    text.push_str(&format!("  packages: {}\n", verified.packages_txt.display()));
    text
}

/// The server that verify started, if it did.
fn server_line(report: &PlatformReport) -> Option<String> {
    let (version, started) = (report.fact("jupyterlab")?, report.fact("jupyterlab-started")?);
    let seconds = report.fact("jupyterlab-startup-seconds")?;
    let platform = report.platform;
    Some(format!("    {platform}: JupyterLab {version} answered /api/status after {seconds} s (started {started})\n"))
}
