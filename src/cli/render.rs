//! `esker render`: Dockerfiles and what belongs to them, written or compared.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use similar::TextDiff;

use super::args::RenderArgs;
use super::failure::Failure;
use super::lock::selected;
use super::ui::{BAD, GOOD, Ui};
use crate::pipeline::{Purpose, Session, is_written};
use crate::project::ImageSpec;
use crate::render::docker::RenderedFile;

/// Unchanged lines that are shown around changed ones.
const CONTEXT: usize = 3;

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<Rendered>,
}

#[derive(Serialize)]
struct Rendered {
    image: String,
    /// All files, relative to the project's root.
    files: Vec<PathBuf>,
    /// Those that were written.
    written: Vec<PathBuf>,
    /// Those that are to be written, of `--check`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differ: Vec<Difference>,
}

#[derive(Serialize)]
struct Difference {
    file: PathBuf,
    diff: String,
}

pub async fn run(args: &RenderArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut images = Vec::new();
    for image in selected(&args.images, session)? {
        let purpose = if args.check { Purpose::Check } else { Purpose::Write };
        let files = session.render(image, purpose).await?;
        let relative = |path: &PathBuf| session.relative(path);
        let differ = if args.check { differences(image, &files, session) } else { Vec::new() };
        let written = if args.check { Vec::new() } else { session.write_rendered(image, &files)? };
        images.push(Rendered {
            image: image.name.clone(),
            files: files.iter().map(|file| session.relative(&image.folder.join(&file.path))).collect(),
            written: written.iter().map(relative).collect(),
            differ,
        });
    }
    let report = Report { schema: 1, images };
    ui.result(&report, |report| report.images.iter().map(human).collect())?;
    let differ = report.images.iter().map(|image| image.differ.len()).sum::<usize>();
    if differ == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let files = if differ == 1 { "1 file is" } else { &format!("{differ} files are") };
    Err(Failure::no(
        format!("{files} not as rendered"),
        Some("run `esker render`, and commit what it writes".to_owned()),
    ))
}

fn differences(image: &ImageSpec, files: &[RenderedFile], session: &Session<'_>) -> Vec<Difference> {
    let stale = files.iter().filter(|file| !is_written(&image.folder.join(&file.path), file));
    let difference = |file: &RenderedFile| {
        let path = image.folder.join(&file.path);
        // A file that is missing, or cannot be read, differs in all its lines.
        let found = fs_err::read(&path).unwrap_or_default();
        let file_path = session.relative(&path);
        let diff = diff(&String::from_utf8_lossy(&found), &String::from_utf8_lossy(&file.content), &file_path);
        Difference { file: file_path, diff }
    };
    stale.map(difference).collect()
}

fn diff(found: &str, rendered: &str, path: &Path) -> String {
    let names = (format!("{}", path.display()), format!("{} (rendered)", path.display()));
    let diff = TextDiff::from_lines(found, rendered);
    let text = diff.unified_diff().context_radius(CONTEXT).header(&names.0, &names.1).to_string();
    if text.is_empty() { format!("{}: its permissions differ\n", path.display()) } else { text }
}

fn human(image: &Rendered) -> String {
    let coloured = |line: &str| match line.chars().next() {
        Some('-') => format!("{BAD}{line}{BAD:#}\n"),
        Some('+') => format!("{GOOD}{line}{GOOD:#}\n"),
        _ => format!("{line}\n"),
    };
    if !image.differ.is_empty() {
        return image.differ.iter().flat_map(|one| one.diff.lines().map(coloured)).collect();
    }
    if image.written.is_empty() {
        return format!("{}: up to date\n", image.image);
    }
    let names: Vec<_> = image.written.iter().map(|path| path.display().to_string()).collect();
    format!("{}: rendered {}\n", image.image, names.join(", "))
}
