//! What is inside an image, for a terminal.

use super::{Document, PlatformReport, Report};
use crate::cli::ui::bytes;
use crate::installed::{Installed, LayerContents};
use crate::supply::Kind;

/// What made a layer is cut to this many characters.
const LINE: usize = 90;

/// For each platform what it is, its largest packages and its layers; `shown` packages at most.
pub fn text(report: &Report, shown: usize) -> String {
    let digest = report.digest.map(|digest| format!(" {digest}")).unwrap_or_default();
    let mut out = format!("{}{digest}\n", report.image);
    out.extend(report.attached.iter().map(document));
    for platform in &report.platforms {
        out.push('\n');
        out.push_str(&head(platform));
        out.push_str(&packages(platform, shown));
        out.push_str(&layers(&platform.layers));
    }
    out
}

fn head(report: &PlatformReport) -> String {
    let manifest = report.manifest.map(|digest| format!(" {digest}")).unwrap_or_default();
    let count = |kind: Kind| report.packages.iter().filter(|package| package.component.kind == kind).count();
    let counts = [Kind::Conda, Kind::Pip, Kind::Deb].map(|kind| (kind, count(kind)));
    let counts: Vec<_> =
        counts.iter().filter(|(_, count)| *count > 0).map(|(kind, n)| format!("{n} {}", kind.as_str())).collect();
    let config = &report.config;
    let mut lines = vec![format!("{}{manifest}", report.platform)];
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("  {name:11} {}", plain(value)));
        }
    };
    line("id", &report.id.to_string());
    line("created", report.created.as_deref().unwrap_or_default());
    line("size", &format!("{} to pull, {} of files", bytes(report.compressed_size), bytes(report.size)));
    line("packages", &counts.join(", "));
    line("entrypoint", &config.entrypoint.join(" "));
    line("command", &config.cmd.join(" "));
    line("user", config.user.as_deref().unwrap_or_default());
    line("directory", config.working_dir.as_deref().unwrap_or_default());
    line("ports", &config.exposed_ports.join(", "));
    for (name, value) in &config.labels {
        line("label", &format!("{name}={value}"));
    }
    let mut out = lines.join("\n") + "\n";
    out.extend(report.attached.iter().map(document));
    out
}

fn document(document: &Document) -> String {
    format!("  {:11} {} {}\n", "attached", plain(&document.kind), document.digest)
}

/// `text` as it may go to a terminal: what an image says of itself could hold control sequences.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn packages(report: &PlatformReport, shown: usize) -> String {
    let row = |package: &Installed| {
        let component = &package.component;
        let version = match &component.build {
            Some(build) => format!("{} {build}", component.version),
            None => component.version.clone(),
        };
        let layer = package.layer.map(|layer| layer.to_string()).unwrap_or_default();
        let license = component.license.clone().unwrap_or_default();
        let kind = component.kind.as_str().to_owned();
        [bytes(package.size), layer, kind, component.name.clone(), version, license]
    };
    let rows = report.packages.iter().take(shown).map(row);
    let mut rows: Vec<_> = [["size", "layer", "kind", "package", "version", "licence"].map(str::to_owned)]
        .into_iter()
        .chain(rows)
        .collect();
    let rest = report.packages.iter().skip(shown);
    let (more, size) = rest.fold((0, 0), |(count, size), package| (count + 1, size + package.size));
    if more > 0 {
        let named = format!("({more} more)");
        rows.push([bytes(size), String::new(), String::new(), named, String::new(), String::new()]);
    }
    let other = "(no package's)".to_owned();
    rows.push([bytes(report.other), String::new(), String::new(), other, String::new(), String::new()]);
    table(&rows)
}

fn layers(layers: &[LayerContents]) -> String {
    let row = |(index, layer): (usize, &LayerContents)| {
        let made: String = layer.created_by.as_deref().unwrap_or_default().chars().take(LINE).collect();
        [bytes(layer.size), index.to_string(), bytes(layer.unpacked_size), layer.packages.to_string(), made]
    };
    let head = ["to pull", "layer", "unpacked", "packages", "made by"].map(str::to_owned);
    let rows: Vec<_> = [head].into_iter().chain(layers.iter().enumerate().map(row)).collect();
    table(&rows)
}

/// Rows in columns, the first two to the right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells: Vec<_> = cells
            .map(
                |(column, (cell, &width))| {
                    if column < 2 { format!("{cell:>width$}") } else { format!("{cell:width$}") }
                },
            )
            .collect();
        format!("  {}\n", plain(cells.join("  ").trim_end()))
    };
    rows.iter().map(line).collect()
}
