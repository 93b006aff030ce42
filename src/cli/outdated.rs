//! `esker outdated`: locked packages of which channels have a newer version.

use std::process::ExitCode;

use serde::Serialize;

use super::args::OutdatedArgs;
use super::failure::Failure;
use super::lock::selected;
use super::ui::Ui;
use crate::lock::outdated::Outdated;
use crate::pipeline::Session;

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<Image>,
}

#[derive(Serialize)]
struct Image {
    image: String,
    outdated: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    locked: String,
    allowed: Option<String>,
    newest: String,
    subdirs: Vec<String>,
    everywhere: bool,
}

pub async fn run(args: &OutdatedArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let mut images = Vec::new();
    for image in selected(&args.images, session)? {
        match session.outdated(image, args.all).await? {
            Some(outdated) => {
                let rows = outdated.into_iter().map(|outdated| row(outdated, image.subdirs.len()));
                images.push(Image { image: image.name.clone(), outdated: rows.collect() });
            }
            None => ui.note_unlocked(&image.name),
        }
    }
    ui.result(&Report { schema: 1, images }, |report| report.images.iter().map(text).collect())?;
    Ok(ExitCode::SUCCESS)
}

fn row(outdated: Outdated, subdirs: usize) -> Row {
    Row {
        name: outdated.name,
        locked: outdated.locked,
        allowed: outdated.allowed,
        newest: outdated.newest,
        everywhere: outdated.subdirs.len() == subdirs,
        subdirs: outdated.subdirs.iter().map(ToString::to_string).collect(),
    }
}

fn text(image: &Image) -> String {
    if image.outdated.is_empty() {
        return format!("{}: all up to date\n", image.image);
    }
    let mut rows = vec![["package", "locked", "allowed", "newest", ""].map(str::to_owned)];
    rows.extend(image.outdated.iter().map(columns));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [name, locked, allowed, newest] = [0, 1, 2, 3].map(width);
    let mut out = format!("{}:\n", image.image);
    for row in &rows {
        let line =
            format!("  {:name$}  {:locked$}  {:allowed$}  {:newest$}  {}", row[0], row[1], row[2], row[3], row[4]);
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn columns(row: &Row) -> [String; 5] {
    let platforms = if row.everywhere { String::new() } else { row.subdirs.join(", ") };
    let allowed = row.allowed.clone().unwrap_or_else(|| "-".to_owned());
    [row.name.clone(), row.locked.clone(), allowed, row.newest.clone(), platforms]
}
