//! What takes the space in an image: by kind of package, by package, by layer.

use indicatif::HumanBytes;
use serde::Serialize;

use super::printable;
use crate::installed::{Contents, Installed, LayerContents};
use crate::supply::Kind;

/// Bars of a chart; what is beyond is one bar more.
const TOP: usize = 25;
/// Characters of a digest in a chart, and of what made a layer.
const SHORT: (usize, usize) = (19, 90);

#[derive(Clone, Serialize)]
pub struct Space {
    to_pull: String,
    unpacked: String,
    kinds: Vec<Share>,
    charts: Vec<Chart>,
    pub packages: Vec<Package>,
    pub layers: Vec<Layer>,
    pub config: Vec<Line>,
}

/// A part of a whole.
#[derive(Clone, Serialize)]
struct Share {
    class: &'static str,
    label: &'static str,
    size: String,
    start: String,
    percent: String,
}

#[derive(Clone, Serialize)]
struct Chart {
    title: &'static str,
    bars: Vec<Bar>,
}

#[derive(Clone, Serialize)]
struct Bar {
    class: &'static str,
    label: String,
    title: String,
    size: String,
    percent: String,
}

#[derive(Clone, Serialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub build: String,
    pub licence: String,
    kind: &'static str,
    layer: String,
    files: usize,
    size: String,
}

#[derive(Clone, Serialize)]
pub struct Layer {
    index: usize,
    digest: String,
    pub made_by: String,
    packages: usize,
    unpacked: String,
    size: String,
}

/// Something that is called by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    pub name: String,
    pub value: String,
}

impl Line {
    pub fn new(name: &str, value: &str) -> Self {
        Self { name: printable(name), value: printable(value) }
    }
}

impl Space {
    pub fn new(contents: &Contents) -> Self {
        let packages: u64 = contents.packages.iter().map(|package| package.size).sum();
        Self {
            to_pull: size(contents.image.compressed_size()),
            unpacked: size(packages + contents.other),
            kinds: shares(contents),
            charts: vec![
                Chart { title: "By package, unpacked", bars: by_package(contents) },
                Chart { title: "By layer, to pull", bars: by_layer(contents) },
            ],
            packages: contents.packages.iter().map(Package::new).collect(),
            layers: contents.layers.iter().enumerate().map(Layer::new).collect(),
            config: config(contents),
        }
    }
}

impl Package {
    fn new(installed: &Installed) -> Self {
        let component = &installed.component;
        Self {
            name: printable(&component.name),
            version: printable(&component.version),
            build: printable(component.build.as_deref().unwrap_or_default()),
            licence: printable(component.license.as_deref().unwrap_or_default()),
            kind: component.kind.as_str(),
            layer: installed.layer.map(|layer| layer.to_string()).unwrap_or_default(),
            files: installed.files,
            size: size(installed.size),
        }
    }
}

impl Layer {
    fn new((index, layer): (usize, &LayerContents)) -> Self {
        let made_by: String = layer.created_by.as_deref().unwrap_or_default().chars().take(SHORT.1).collect();
        Self {
            index,
            digest: layer.digest.to_string(),
            made_by: printable(&made_by),
            packages: layer.packages,
            unpacked: size(layer.unpacked_size),
            size: size(layer.size),
        }
    }
}

fn shares(contents: &Contents) -> Vec<Share> {
    let of = |kind: Kind| {
        let packages = contents.packages.iter().filter(|package| package.component.kind == kind);
        packages.map(|package| package.size).sum::<u64>()
    };
    let kinds = [
        ("conda", "conda packages", of(Kind::Conda)),
        ("pip", "pip packages", of(Kind::Pip)),
        ("deb", "Debian packages", of(Kind::Deb)),
        ("other", "other files", contents.other),
    ];
    let total = kinds.iter().map(|(.., bytes)| bytes).sum::<u64>();
    let mut before = 0;
    let mut share = |(class, label, bytes): (_, _, u64)| {
        let start = percent(before, total);
        before += bytes;
        Share { class, label, size: size(bytes), start, percent: percent(bytes, total) }
    };
    kinds.into_iter().filter(|(.., bytes)| *bytes > 0).map(&mut share).collect()
}

/// Name, title, class and bytes of a bar.
type Weighed = (String, String, &'static str, u64);

fn by_package(contents: &Contents) -> Vec<Bar> {
    let bar = |package: &Installed| {
        let component = &package.component;
        let title = format!("{} {} in {}", component.name, component.version, component.place);
        (component.name.clone(), title, component.kind.as_str(), package.size)
    };
    let other = ("no package's".to_owned(), "files that belong to no package".to_owned(), "other", contents.other);
    bars(contents.packages.iter().map(bar).collect(), "packages", Some(other))
}

fn by_layer(contents: &Contents) -> Vec<Bar> {
    let bar = |(index, layer): (usize, &LayerContents)| {
        let digest: String = layer.digest.to_string().chars().take(SHORT.0).collect();
        let made_by: String = layer.created_by.as_deref().unwrap_or(&digest).chars().take(SHORT.1).collect();
        // Packages are in order of their bytes.
        let mut inside = contents.packages.iter().filter(|package| package.layer == Some(index));
        let label = match (inside.next(), inside.count()) {
            (None, _) => format!("{index}: {made_by}"),
            (Some(largest), 0) => format!("{index}: {}", largest.component.name),
            (Some(largest), more) => format!("{index}: {} + {more}", largest.component.name),
        };
        (label, format!("layer {index}, {digest}…: {made_by}"), "layer", layer.size)
    };
    let mut layers: Vec<_> = contents.layers.iter().enumerate().map(bar).collect();
    layers.sort_by_key(|(.., bytes)| std::cmp::Reverse(*bytes));
    bars(layers, "layers", None)
}

/// The largest of `weighed`, which are in that order, and the rest in one; beside them `last`.
fn bars(mut weighed: Vec<Weighed>, what: &str, last: Option<Weighed>) -> Vec<Bar> {
    let rest = weighed.split_off(weighed.len().min(TOP));
    if !rest.is_empty() {
        let label = format!("{} more {what}", rest.len());
        weighed.push((label.clone(), label, "other", rest.iter().map(|(.., bytes)| bytes).sum()));
    }
    weighed.extend(last.filter(|(.., bytes)| *bytes > 0));
    let most = weighed.iter().map(|(.., bytes)| *bytes).max().unwrap_or(0);
    let bar = |(label, title, class, bytes): Weighed| {
        let (label, title) = (printable(&label), printable(&title));
        Bar { label, title, class, size: size(bytes), percent: percent(bytes, most) }
    };
    weighed.into_iter().map(bar).collect()
}

fn config(contents: &Contents) -> Vec<Line> {
    let config = contents.image.config.config().clone().unwrap_or_default();
    let words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default().join(" ");
    let single = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut lines = vec![
        ("entrypoint".to_owned(), words(config.entrypoint())),
        ("command".to_owned(), words(config.cmd())),
        ("user".to_owned(), single(config.user())),
        ("directory".to_owned(), single(config.working_dir())),
        ("ports".to_owned(), words(config.exposed_ports())),
        ("created".to_owned(), single(contents.image.config.created())),
    ];
    let labels = config.labels().clone().unwrap_or_default();
    let mut labels: Vec<_> =
        labels.into_iter().map(|(name, value)| ("label".to_owned(), format!("{name}={value}"))).collect();
    labels.sort();
    lines.extend(labels);
    lines.extend(config.env().iter().flatten().map(|variable| ("variable".to_owned(), variable.clone())));
    let said = lines.iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| Line::new(name, value)).collect()
}

fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// `part` of `whole` in per cent, with a tenth.
fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}", 100.0 * part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_top_is_summed() {
        let one = |bytes: u64| (format!("p{bytes}"), String::new(), "conda", bytes);
        let weighed: Vec<_> = (1..=30).rev().map(one).collect();
        let bars = bars(weighed, "packages", Some(("none's".into(), String::new(), "other", 3)));
        let labels: Vec<_> =
            bars.iter().map(|bar| (bar.label.as_str(), bar.size.as_str(), bar.percent.as_str())).collect();
        assert_eq!((labels.len(), labels[0]), (TOP + 2, ("p30", "30 B", "100.0")));
        assert_eq!(labels[TOP..], [("5 more packages", "15 B", "50.0"), ("none's", "3 B", "10.0")]);
    }

    #[test]
    fn a_part_of_nothing_is_nothing() {
        assert_eq!(percent(0, 0), "0.0");
    }
}
