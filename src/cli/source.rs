//! Which image is meant where it need not be one of the project: [`Chosen`].

use super::failure::Failure;
use super::ui::Ui;
use crate::installed::{ImageSource, Reader};
use crate::oci::{Layout, Platform};
use crate::pipeline::left_of;
use crate::project::Project;
use crate::registry;
use crate::settings::Settings;

/// An image to look into.
pub struct Chosen {
    /// Where it is.
    pub source: ImageSource,
    /// What it is called, without registry and tag.
    pub name: String,
}

impl Chosen {
    /// Finds the image `text`: with a prefix what that says; else an image of the project, if there is one of that name;
    /// else a registry's.
    ///
    /// # Errors
    /// When it is none of these, or an image of the project that was not built.
    pub fn find(text: &str, settings: &Settings) -> Result<Self, Failure> {
        if let Some(source) = ImageSource::explicit(text) {
            return Ok(Self::of(source?));
        }
        let project = Project::open(&settings.directory);
        if let Some((project, image)) = project.as_ref().ok().and_then(|it| Some((it, it.images.get(text)?))) {
            let folder = project.layout_dir(&image.name);
            if !folder.join("index.json").is_file() {
                let hint = format!("run `esker build {text}`");
                return Err(Failure::no(format!("`{text}` is not built"), Some(hint)));
            }
            return Ok(Self { source: ImageSource::Layout(folder), name: image.name.clone() });
        }
        match ImageSource::implied(text) {
            Some(source) => Ok(Self::of(source)),
            // What is wrong with the project, or that it has no such image.
            None => Err(project
                .and_then(|project| project.image(text).map(drop))
                .err()
                .map_or_else(|| Failure::usage(&format!("`{text}` names no image")), Failure::from)),
        }
    }

    fn of(source: ImageSource) -> Self {
        let name = match &source {
            ImageSource::Layout(path) => Layout::open(path).ok().and_then(|layout| layout.name()),
            ImageSource::Archive(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
            ImageSource::Registry(reference) => reference.repository().rsplit('/').next().map(str::to_owned),
        };
        Self { source, name: name.filter(|name| !name.is_empty()).unwrap_or_else(|| "image".to_owned()) }
    }
}

/// A client of registries, with the credentials of `settings`.
pub fn client(settings: &Settings) -> registry::Client {
    registry::Client::new(registry::Options {
        auth_files: settings.credentials.registry_auth_files.clone(),
        insecure: settings.plain_http.clone(),
        ..registry::Options::default()
    })
}

/// A reader of `images`, with what the project around notes of layers that its builds left in registries.
pub fn reader<'a>(
    client: &'a registry::Client,
    images: &[&ImageSource],
    settings: &Settings,
    ui: &'a Ui,
) -> Reader<'a> {
    let mut reader = Reader::new(client, ui, settings.offline);
    let Ok(project) = Project::open(&settings.directory) else { return reader };
    for image in images {
        if let ImageSource::Layout(path) = image {
            reader.left(path.clone(), left_of(&project, path));
        }
    }
    reader
}

/// The platform that is meant, of those an image has: the one that was asked for, else the only one, else this machine's.
pub fn platform(asked: Option<Platform>, has: &[Platform]) -> Result<Platform, Failure> {
    let names = || has.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (asked, has) {
        (Some(asked), _) if has.contains(&asked) => Ok(asked),
        (Some(asked), _) => Err(Failure::usage(&format!("the image is not for {asked}, only for {}", names()))),
        (None, [only]) => Ok(*only),
        (None, _) => Platform::host()
            .filter(|host| has.contains(host))
            .ok_or_else(|| Failure::usage(&format!("choose one of {} with `--platform`", names()))),
    }
}
