//! `esker export`: a lock for other tools.

use std::process::ExitCode;

use rattler_conda_types::Subdir;
use serde::Serialize;

use super::args::{ExportArgs, ExportFormat};
use super::failure::Failure;
use super::ui::Ui;
use crate::lock::Lock;
use crate::pipeline::Session;
use crate::project::ImageSpec;

#[derive(Serialize)]
struct Report {
    schema: u32,
    image: String,
    /// None where the content is for all of the lock's.
    #[serde(skip_serializing_if = "Option::is_none")]
    subdir: Option<String>,
    content: String,
}

pub async fn run(args: &ExportArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let image = session.project.image(&args.image)?;
    let Some(lock) = session.existing_lock(image)? else {
        let hint = format!("run `esker lock {}`", image.name);
        return Err(Failure::no(format!("`{}` is not locked", image.name), Some(hint)));
    };
    let (subdir, content) = match args.format {
        ExportFormat::Environment => {
            let subdir = known(args.subdir.or_else(|| lock.subdirs.first().copied()), &lock, image)?;
            (Some(subdir), lock.environment_yaml(&image.name, subdir))
        }
        ExportFormat::Pixi => {
            let subdir = args.subdir.map(|subdir| known(Some(subdir), &lock, image)).transpose()?;
            let subdirs = subdir.map_or_else(|| lock.subdirs.clone(), |subdir| vec![subdir]);
            (subdir, session.pixi_lock(image, &lock, &subdirs).await?)
        }
    };
    let subdir = subdir.map(|subdir| subdir.to_string());
    let report = Report { schema: 1, image: image.name.clone(), subdir, content };
    ui.result(&report, |report| report.content.clone())?;
    Ok(ExitCode::SUCCESS)
}

/// The subdir, if the lock has it.
fn known(subdir: Option<Subdir>, lock: &Lock, image: &ImageSpec) -> Result<Subdir, Failure> {
    subdir.filter(|subdir| lock.subdirs.contains(subdir)).ok_or_else(|| {
        let known: Vec<_> = lock.subdirs.iter().map(ToString::to_string).collect();
        Failure::usage(&format!("`{}` is not locked for that subdir, only for {}", image.name, known.join(", ")))
    })
}
