//! Changes of locks for a terminal.

use anstyle::Style;

use crate::cli::ui::{BAD, GOOD, NOTABLE, PLAIN};
use crate::lock::diff::{Change, ImageDiff};
use crate::project::ChangeKind;

/// A line an image, and a line a change below it, in columns.
pub fn text(images: &[ImageDiff]) -> String {
    images.iter().map(image).collect()
}

fn image(image: &ImageDiff) -> String {
    let mut out = format!("{}: {}\n", image.image, image.diff.summary());
    let rows: Vec<_> = image.diff.changes.iter().map(|change| (change, columns(image, change))).collect();
    let width = |column: usize| rows.iter().map(|(_, columns)| columns[column].chars().count()).max().unwrap_or(0);
    let (kind, name, what) = (width(0), width(1), width(2));
    for (change, columns) in &rows {
        let style = style(change.kind);
        let line = format!("{:name$}  {:what$}  {}", columns[1], columns[2], columns[3]);
        out.push_str(&format!("  {style}{:kind$}{style:#}  {}\n", columns[0], line.trim_end()));
    }
    out
}

/// Kind, name, versions, and the platforms if it is not all of them.
fn columns(image: &ImageDiff, change: &Change) -> [String; 4] {
    let [old, new] = change.sides();
    let what = match (&change.old, &change.new) {
        (Some(_), Some(_)) => format!("{old} → {new}"),
        _ => format!("{old}{new}"),
    };
    let subdirs: Vec<_> = change.subdirs.iter().map(|subdir| subdir.as_str()).collect();
    let everywhere = subdirs.len() == image.diff.subdirs.len();
    let platforms = if everywhere { String::new() } else { subdirs.join(", ") };
    [change.kind.to_string(), change.label(), what, platforms]
}

fn style(kind: ChangeKind) -> Style {
    match kind {
        ChangeKind::Downgrade | ChangeKind::Removal => BAD,
        ChangeKind::Source => NOTABLE,
        ChangeKind::Addition | ChangeKind::Upgrade => GOOD,
        ChangeKind::Rebuild => PLAIN,
    }
}
