//! `esker images`: what the project holds.

use std::process::ExitCode;

use serde::Serialize;

use super::failure::Failure;
use super::ui::Ui;
use crate::oci::Platform;
use crate::project::Project;

#[derive(Serialize)]
struct Report {
    schema: u32,
    root: std::path::PathBuf,
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Image {
    name: String,
    parent: Option<String>,
    platforms: Vec<Platform>,
    subdirs: Vec<String>,
    locked: bool,
}

pub fn run(project: &Project, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = project.images.values().map(|image| Image {
        name: image.name.clone(),
        parent: image.parent.clone(),
        platforms: image.platforms.clone(),
        subdirs: image.subdirs.iter().map(ToString::to_string).collect(),
        locked: image.lock_path().exists(),
    });
    let report = Report { schema: 1, root: project.root.clone(), images: images.collect() };
    ui.result(&report, human)?;
    Ok(ExitCode::SUCCESS)
}

fn human(report: &Report) -> String {
    let line = |image: &Image| {
        let parent = image.parent.as_ref().map(|parent| format!(" (on {parent})")).unwrap_or_default();
        let platforms: Vec<_> = image.platforms.iter().map(ToString::to_string).collect();
        let lock = if image.locked { "" } else { ", not locked" };
        format!("{}{parent}: {}{lock}\n", image.name, platforms.join(", "))
    };
    report.images.iter().map(line).collect()
}
