//! `esker inspect`: what is inside an image.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde::Serialize;

use super::args::InspectArgs;
use super::failure::Failure;
use super::source::{self, Chosen};
use super::ui::Ui;
use crate::installed::{Attached, Contents, Installed, LayerContents};
use crate::oci::{Digest, Platform};
use crate::settings::Settings;

#[derive(Serialize)]
struct Report {
    schema: u32,
    image: String,
    /// Of the index; nothing for an archive.
    digest: Option<Digest>,
    platforms: Vec<PlatformReport>,
    /// Documents about all platforms.
    attached: Vec<Document>,
}

/// One platform's image.
#[derive(Serialize)]
struct PlatformReport {
    platform: Platform,
    manifest: Option<Digest>,
    /// Digest of the configuration: the id that an engine gives the image.
    id: Digest,
    created: Option<String>,
    compressed_size: u64,
    /// Bytes of the files that are left of all layers.
    size: u64,
    config: Config,
    layers: Vec<LayerContents>,
    packages: Vec<Installed>,
    /// Bytes of files that belong to no package.
    other: u64,
    attached: Vec<Document>,
}

/// What the image does when it is run.
#[derive(Serialize)]
struct Config {
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    user: Option<String>,
    working_dir: Option<String>,
    exposed_ports: Vec<String>,
    env: Vec<String>,
    labels: BTreeMap<String, String>,
}

/// A document beside the image.
#[derive(Serialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    digest: String,
    annotations: BTreeMap<String, String>,
}

pub async fn run(args: &InspectArgs, settings: &Settings, ui: &Ui) -> Result<ExitCode, Failure> {
    let chosen = Chosen::find(&args.image, settings)?;
    let client = source::client(settings);
    let mut reader = source::reader(&client, &[&chosen.source], settings, ui);
    let (digest, images) = reader.images(&chosen.source).await?;
    let has: Vec<_> = images.iter().map(|image| image.platform).collect();
    let wanted = args.platform.map(|asked| source::platform(Some(asked), &has)).transpose()?;
    let contents = reader.contents(&chosen.source, wanted).await?;
    let manifests = contents.iter().filter_map(|contents| contents.manifest);
    let subjects: BTreeSet<_> = manifests.chain(digest).collect();
    let attached = reader.attached(&chosen.source, &subjects).await?;
    let of = |subject: Option<Digest>| documents(&attached, subject);
    let platforms: Vec<_> = contents.iter().map(|contents| platform(contents, of(contents.manifest))).collect();
    // An image without an index has one digest, and its documents are listed with the platform.
    let alone = contents.iter().any(|contents| contents.manifest == digest);
    let all = if alone { Vec::new() } else { of(digest) };
    let report = Report { schema: 1, image: chosen.source.to_string(), digest, platforms, attached: all };
    let shown = if args.all { usize::MAX } else { args.top };
    ui.result(&report, |report| text::text(report, shown))?;
    Ok(ExitCode::SUCCESS)
}

fn documents(attached: &[Attached], subject: Option<Digest>) -> Vec<Document> {
    let about = attached.iter().filter(|attached| Some(attached.subject) == subject);
    let mut documents: Vec<_> = about
        .map(|attached| Document {
            kind: attached.kind(),
            digest: attached.descriptor.digest().to_string(),
            annotations: attached.descriptor.annotations().clone().unwrap_or_default().into_iter().collect(),
        })
        .collect();
    documents.sort_by(|a, b| (&a.kind, &a.digest).cmp(&(&b.kind, &b.digest)));
    documents
}

fn platform(contents: &Contents, attached: Vec<Document>) -> PlatformReport {
    let image = &contents.image;
    PlatformReport {
        platform: image.platform,
        manifest: contents.manifest,
        id: image.config_digest,
        created: image.config.created().clone(),
        compressed_size: image.compressed_size(),
        size: contents.packages.iter().map(|package| package.size).sum::<u64>() + contents.other,
        config: config(image),
        layers: contents.layers.clone(),
        packages: contents.packages.clone(),
        other: contents.other,
        attached,
    }
}

fn config(image: &crate::oci::Image) -> Config {
    let config = image.config.config().clone().unwrap_or_default();
    Config {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        user: config.user().clone().filter(|user| !user.is_empty()),
        working_dir: config.working_dir().clone().filter(|folder| !folder.is_empty()),
        exposed_ports: config.exposed_ports().clone().unwrap_or_default(),
        env: config.env().clone().unwrap_or_default(),
        labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
    }
}
