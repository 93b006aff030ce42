//! `esker build`: locks to images.

use std::process::ExitCode;
use std::time::Instant;

use oci_spec::distribution::Reference;
use serde::Serialize;

use super::args::{BuildArgs, BuildOptions, Engine};
use super::failure::Failure;
use super::lock::selected;
use super::push::sources;
use super::ui::{Ui, bytes};
use crate::build::native::published::CacheFrom;
use crate::build::output::{Means, Output};
use crate::build::target::Target;
use crate::build::{Built, FromCache};
use crate::docker::DaemonAddress;
use crate::pipeline::{BuildChoice, DockerChoice, Session};
use crate::progress::Progress;
use crate::project::{BaseReference, EngineKind, ImageSpec};

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<BuiltReport>,
}

/// One built image and where it is.
#[derive(Serialize)]
pub struct BuiltReport {
    #[serde(flatten)]
    pub built: Built,
    pub outputs: Vec<String>,
    pub seconds: f64,
}

pub async fn run(args: &BuildArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let images = selected(&args.images, session)?;
    if images.len() > 1 && args.build.names_one_place() {
        return Err(Failure::usage("`--output` names one place: give one image with it"));
    }
    if images.len() > 1 && args.build.onto.is_some() {
        return Err(Failure::usage("`--onto` names one image: give one image with it"));
    }
    args.build.destinations()?;
    args.build.onto()?;
    args.build.docker(session)?;
    sources(&args.build.cache_from)?;
    let mut built = Vec::new();
    let mut failed = None;
    for image in images {
        match build(image, &args.build, Layers::Anywhere, session, ui).await {
            Ok(image) => built.push(image),
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        }
    }
    session.limit_cache();
    // What was built is there, whatever became of the next.
    if failed.is_none() || !built.is_empty() {
        ui.result(&Report { schema: 1, images: built }, |report| {
            report.images.iter().flat_map(|image| &image.outputs).map(|output| format!("{output}\n")).collect()
        })?;
    }
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

impl BuildOptions {
    /// Where the image goes, and the base of the command line. To be asked first: what is wrong here must not show
    /// after minutes of work.
    pub fn destinations(&self) -> Result<(Vec<Output>, Option<BaseReference>), Failure> {
        let outputs = self.output.iter().map(|text| text.parse()).collect::<Result<Vec<Output>, _>>()?;
        if outputs.iter().filter_map(Output::layout).count() > 1 {
            return Err(Failure::usage("`--output oci:DIR` can be given once"));
        }
        Ok((outputs, self.base.as_deref().map(BaseReference::parse).transpose()?))
    }

    /// Whether an output is a place for one image. Engines and registries keep images apart by their own names.
    pub fn names_one_place(&self) -> bool {
        self.output.iter().any(|output| !matches!(output.as_str(), "docker:" | "registry:"))
    }
}

impl BuildOptions {
    /// Who builds, if not esker itself. To be asked first, as destinations.
    pub fn docker(&self, session: &Session<'_>) -> Result<Option<DockerChoice>, Failure> {
        let engine = match self.engine {
            Some(Engine::Native) => EngineKind::Native,
            Some(Engine::Docker) => EngineKind::Docker,
            None if self.builder.is_some() => EngineKind::Docker,
            None => session.project.engine,
        };
        if engine == EngineKind::Native {
            return match (&self.builder, self.no_cache) {
                (Some(_), _) => Err(Failure::usage("`--builder` is for `--engine docker`")),
                (None, true) => Err(Failure::usage("`--no-cache` is for `--engine docker`")),
                (None, false) => Ok(None),
            };
        }
        for (given, name) in [(self.onto.is_some(), "--onto"), (!self.cache_from.is_empty(), "--cache-from")] {
            if given {
                return Err(Failure::usage(&format!("`{name}` is for `--engine native`")));
            }
        }
        let builder = self.builder.as_ref().or(session.project.buildkitd.as_ref());
        let certificates = || self.builder_certs.clone().filter(|folder| !folder.as_os_str().is_empty());
        let secured = |address: DaemonAddress| address.secured(certificates());
        let builder = builder.map(|address| address.parse().and_then(secured)).transpose()?;
        Ok(Some(DockerChoice { builder, no_cache: self.no_cache }))
    }

    /// The image to lay the new one on.
    pub fn onto(&self) -> Result<Option<BaseReference>, Failure> {
        let onto = self.onto.as_deref().map(BaseReference::parse).transpose()?;
        if let Some(BaseReference::Rootfs(_) | BaseReference::Debian(_)) = onto {
            return Err(Failure::usage("`--onto` takes an image: a registry reference or oci:DIR"));
        }
        Ok(onto)
    }
}

/// Where the layers of an image have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// Where the outputs need them.
    Anywhere,
    /// In its layout, whatever the outputs are.
    Here,
}

/// Builds one image and puts it where `options` say.
pub async fn build(
    image: &ImageSpec,
    options: &BuildOptions,
    layers: Layers,
    session: &Session<'_>,
    ui: &Ui,
) -> Result<BuiltReport, Failure> {
    let start = Instant::now();
    let (mut outputs, base) = options.destinations()?;
    for output in &mut outputs {
        output.complete(session.project.registry.as_deref(), &image.name)?;
    }
    let onto = options.onto()?;
    let layout = match outputs.iter().find_map(Output::layout) {
        Some(folder) => {
            std::path::absolute(folder).map_err(|error| Failure::io("cannot use the output folder", &error))?
        }
        None => session.project.layout_dir(&image.name),
    };
    let cache_from = cache_from(image, options, &outputs)?;
    let only_pushed = !outputs.is_empty() && outputs.iter().all(Output::is_registry);
    let choice = BuildChoice {
        platforms: &options.platform,
        base: base.as_ref(),
        update_base: options.update_base,
        compression: options.compression,
        onto: onto.as_ref().map(|onto| (onto, options.rebase_after)),
        sbom: !options.no_sbom,
        cache_from: &cache_from,
        remote: only_pushed && onto.is_none() && layers == Layers::Anywhere,
        docker: options.docker(session)?,
        layout: &layout,
    };
    let mark = session.mark(image, &layout)?;
    let built = session.build(image, &choice).await?;
    let mut places = Vec::new();
    let name = session.name_of(image);
    let mount_from = cache_from.all();
    let means = Means {
        name: &name,
        registry: &session.registry,
        sources: &mount_from,
        docker: &session.settings.docker,
        progress: ui,
    };
    if outputs.is_empty() {
        outputs.push(Output::Layout(layout.clone()));
    }
    for output in &outputs {
        places.push(output.put(&built, &means).await?);
    }
    if choice.remote {
        let targets = outputs.iter().filter_map(Output::target).map(Target::reference);
        session.note_remote(image, &built, &targets.chain(mount_from.iter().cloned()).collect::<Vec<_>>())?;
    }
    session.tidy(&built, mark);
    ui.note(&format!("{} {}", built.image, built.digest));
    for platform in &built.platforms {
        ui.note(&format!(
            "  {} {}: {} layers ({} reused), {} to pull, {} unpacked",
            platform.platform,
            platform.manifest,
            platform.layers,
            platform.reused_layers,
            bytes(platform.compressed_size),
            bytes(platform.unpacked_size),
        ));
    }
    if let Some(line) = taken(&built) {
        ui.note(&format!("  {line}"));
    }
    let seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    Ok(BuiltReport { built, outputs: places, seconds })
}

/// The images to take from: those that are named, and what a push will replace.
fn cache_from(image: &ImageSpec, options: &BuildOptions, outputs: &[Output]) -> Result<CacheFrom, Failure> {
    let mut named = sources(&options.cache_from)?;
    named.extend(image.cache_from.iter().cloned());
    let targets = || outputs.iter().filter_map(Output::target);
    let tagged = targets().flat_map(Target::references);
    let mut cache = CacheFrom { named: Vec::new(), replaced: Vec::new() };
    let add = |list: &mut Vec<Reference>, reference: Reference| {
        if !list.contains(&reference) {
            list.push(reference);
        }
    };
    named.into_iter().for_each(|reference| add(&mut cache.named, reference));
    tagged.chain(targets().map(Target::latest)).for_each(|reference| add(&mut cache.replaced, reference));
    Ok(cache)
}

/// What did not have to be made, and what had to be downloaded.
pub fn taken(built: &Built) -> Option<String> {
    let FromCache { layers, layer_bytes, parts, part_bytes } = built.from_cache;
    let mut taken = Vec::new();
    if layers > 0 {
        taken.push(format!("{layers} layers ({}) taken from published images", bytes(layer_bytes)));
    }
    if parts > 0 {
        taken.push(format!("{parts} packages ({}) taken from published layers", bytes(part_bytes)));
    }
    if built.downloaded_packages > 0 {
        taken.push(format!("{} packages downloaded", built.downloaded_packages));
    }
    (!taken.is_empty()).then(|| taken.join(", "))
}
