//! `esker export`: a lock for other tools.

use std::process::ExitCode;

use serde::Serialize;

use super::args::{ExportArgs, ExportFormat};
use super::failure::Failure;
use super::ui::Ui;
use crate::pipeline::Session;

#[derive(Serialize)]
struct Report {
    schema: u32,
    image: String,
    subdir: String,
    content: String,
}

pub fn run(args: &ExportArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let image = session.project.image(&args.image)?;
    let Some(lock) = session.existing_lock(image)? else {
        let hint = format!("run `esker lock {}`", image.name);
        return Err(Failure::no(format!("`{}` is not locked", image.name), Some(hint)));
    };
    let known: Vec<_> = lock.subdirs.iter().map(ToString::to_string).collect();
    let subdir = args.subdir.or_else(|| lock.subdirs.first().copied());
    let Some(subdir) = subdir.filter(|subdir| lock.subdirs.contains(subdir)) else {
        let message = format!("`{}` is not locked for that subdir, only for {}", image.name, known.join(", "));
        return Err(Failure::usage(&message));
    };
    let content = match args.format {
        ExportFormat::Environment => lock.environment_yaml(&image.name, subdir),
    };
    let report = Report { schema: 1, image: image.name.clone(), subdir: subdir.to_string(), content };
    ui.result(&report, |report| report.content.clone())?;
    Ok(ExitCode::SUCCESS)
}
