//! `esker rebuild`: whether an image comes out again, byte for byte.

use std::process::ExitCode;

use serde::Serialize;

use super::args::RebuildArgs;
use super::failure::Failure;
use super::source::{self, Chosen};
use super::ui::Ui;
use crate::pipeline::rebuild::{self, Rebuilt, RebuiltPlatform};
use crate::settings::Settings;

#[derive(Serialize)]
struct Report {
    schema: u32,
    #[serde(flatten)]
    rebuilt: Rebuilt,
    same: bool,
}

pub async fn run(args: &RebuildArgs, settings: &Settings, ui: &Ui) -> Result<ExitCode, Failure> {
    let chosen = Chosen::find(&args.image, settings)?;
    let client = source::client(settings);
    let reader = source::reader(&client, &[&chosen.source], settings, ui);
    let failed = |error| Failure::io("cannot use a folder to build in", &error);
    fs_err::create_dir_all(&settings.cache_dir).map_err(failed)?;
    let temporary = tempfile::Builder::new().prefix(".rebuild-").tempdir_in(&settings.cache_dir).map_err(failed)?;
    let folder = match &args.keep {
        Some(folder) => std::path::absolute(folder).map_err(failed)?,
        None => temporary.path().join("layout"),
    };
    let rebuilt = rebuild::rebuild(&chosen.source, &folder, &reader, settings, ui).await?;
    let report = Report { schema: 1, same: rebuilt.is_same(), rebuilt };
    ui.result(&report, |report| text(&report.rebuilt))?;
    if report.same {
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!("`{}` does not come out again", report.rebuilt.image);
    let hint = "build again with `--keep DIR`, and compare with `esker diff` and `esker inspect`";
    Err(Failure::no(message, Some(hint.to_owned())))
}

fn text(rebuilt: &Rebuilt) -> String {
    if rebuilt.is_same() {
        return format!("{} came out again: {}\n", rebuilt.image, rebuilt.digest);
    }
    let mut out = format!("{} is {}, and came out as {}\n", rebuilt.image, rebuilt.digest, rebuilt.rebuilt);
    out.extend(rebuilt.platforms.iter().map(platform));
    out
}

fn platform(report: &RebuiltPlatform) -> String {
    let said = |digest: Option<crate::oci::Digest>| digest.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
    if report.manifest == report.rebuilt {
        return format!("  {} {}: the same\n", report.platform, said(report.manifest));
    }
    let mut out = format!("  {} {}, came out as {}\n", report.platform, said(report.manifest), said(report.rebuilt));
    for layer in &report.layers {
        let made = layer.created_by.as_deref().unwrap_or_default().replace(|c: char| c.is_control(), " ");
        out.push_str(&format!(
            "    layer {}: {}, came out as {}",
            layer.layer,
            said(layer.digest),
            said(layer.rebuilt)
        ));
        out.push_str(format!("  {made}").trim_end());
        out.push('\n');
    }
    if report.config_differs && report.layers.is_empty() {
        out.push_str("    the layers are the same, the configuration differs\n");
    }
    out
}
