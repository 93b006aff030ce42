//! `esker push`: what was built, to a registry.

use std::process::ExitCode;

use oci_spec::distribution::Reference;
use serde::Serialize;

use super::args::PushArgs;
use super::failure::Failure;
use super::lock::selected;
use super::ui::{Ui, bytes};
use crate::build::target::{ParseTargetError, Target};
use crate::oci::reference;
use crate::pipeline::Session;
use crate::progress::Progress;
use crate::project::ImageSpec;
use crate::registry::Pushed;

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<PushedReport>,
}

/// One pushed image and what it is called now.
#[derive(Serialize)]
struct PushedReport {
    image: String,
    references: Vec<String>,
    #[serde(flatten)]
    pushed: Pushed,
}

pub async fn run(args: &PushArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    if session.settings.offline {
        return Err(Failure::usage("`--offline` and a push do not go together"));
    }
    let (names, target) = named(&args.images)?;
    let images = selected(names, session)?;
    let sources = sources(&args.mount_from)?;
    // All of them first: what is wrong here must not show after half of the work.
    let mut targets = Vec::new();
    for image in images {
        let name = match target {
            Some(target) => target.to_owned(),
            None => repository(image, session)?,
        };
        targets.push((image, Target::parse(&name, &args.tag)?));
    }
    let mut done = Vec::new();
    for (image, target) in targets {
        let pushed = session.push(image, &target, &sources).await?;
        ui.note(&human(&target, &pushed));
        let references = target.references().iter().map(ToString::to_string).collect();
        done.push(PushedReport { image: image.name.clone(), references, pushed });
    }
    ui.result(&Report { schema: 1, images: done }, |report| {
        let digests = report.images.iter().flat_map(|image| {
            image.references.iter().map(|reference| format!("{reference}@{}\n", image.pushed.digest))
        });
        digests.collect()
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The images, and where the only one goes, if that is said. No image is called anything with a `/`.
fn named(words: &[String]) -> Result<(&[String], Option<&str>), Failure> {
    match words {
        [image, target] if target.contains('/') => Ok((std::slice::from_ref(image), Some(target))),
        words => match words.iter().find(|word| word.contains('/')) {
            Some(word) => Err(Failure::usage(&format!("`{word}` is where one image goes: give one image before it"))),
            None => Ok((words, None)),
        },
    }
}

/// The image's own repository.
fn repository(image: &ImageSpec, session: &Session<'_>) -> Result<String, Failure> {
    let registry = session.project.registry.as_ref().ok_or_else(|| {
        Failure::usage(&format!(
            "nothing says where `{0}` goes: set `registry` in `esker.yml`, or `esker push {0} REGISTRY/NAME:TAG`",
            image.name
        ))
    })?;
    Ok(format!("{registry}/{}", image.name))
}

/// Repositories that layers may be taken from.
pub fn sources(texts: &[String]) -> Result<Vec<Reference>, ParseTargetError> {
    let parse = |text: &String| reference::parse(text).map_err(|_| ParseTargetError::Reference { given: text.clone() });
    texts.iter().map(parse).collect()
}

fn human(target: &Target, pushed: &Pushed) -> String {
    let mounted = if pushed.mounted > 0 { format!(", {} mounted", pushed.mounted) } else { String::new() };
    let referrers = match pushed.referrers {
        0 => String::new(),
        1 => ", 1 attached document".to_owned(),
        count => format!(", {count} attached documents"),
    };
    format!(
        "{target}: {} of {} blobs sent ({}){mounted}{referrers}",
        pushed.uploaded,
        pushed.uploaded + pushed.mounted + pushed.present,
        bytes(pushed.uploaded_bytes),
    )
}
