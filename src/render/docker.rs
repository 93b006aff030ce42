//! The files that Docker or BuildKit builds an image from: Dockerfile, `.dockerignore`, and what they need beside them.
//!
//! The image of the root prefix does the work: its ONBUILD steps install what the folder of a child asks for, be that an
//! image of this project or a repository for Binder. So the Dockerfiles of all other images are a few lines.

mod root;
mod words;

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;
use minijinja::context;
use serde::Serialize;

use self::words::quoted;
use super::templates::Templates;
use super::{Error, environment_variables};
use crate::lock::Lock;
use crate::oci::Platform;
use crate::project::{AptPolicy, ImageSpec};

/// The folder, below an image's, of what is rendered besides Dockerfile and `.dockerignore`.
pub const FOLDER: &str = "docker";
/// What an image's folder may have for the ONBUILD steps, besides locks.
const BUILD_FILES: [&str; 6] =
    ["apt.txt", "apt-lock.yml", "preBuild", "jupyter_notebook_config.py", "requirements.txt", "postBuild"];

/// What Dockerfiles of a project are rendered from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The project's root, where its own templates are.
    pub project: &'a Path,
    /// The image.
    pub image: &'a ImageSpec,
    /// The image of the root prefix, and its lock.
    pub root: (&'a ImageSpec, &'a Lock),
    /// The registry and namespace of the project's images.
    pub registry: Option<&'a str>,
    /// The system below, with its digest; `None` if no registry has it.
    pub base: Option<&'a str>,
    /// All images of the project: the ONBUILD steps of the root image take the arguments of each.
    pub images: &'a IndexMap<String, ImageSpec>,
    /// Whether steps keep what they download in the builder's cache, which the classic builder cannot.
    pub cache_mounts: bool,
}

/// One file of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// Path in the image's folder.
    pub path: String,
    /// Content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

#[derive(Serialize)]
struct Copied {
    source: String,
    path: String,
    owner: Option<String>,
}

/// Renders the files that `request.image` is built from.
///
/// # Errors
/// [`Error::NoInstaller`] where the root prefix cannot install anything, [`Error::BinderFolder`], and what
/// [`image_content`] says.
pub fn files(request: &Request<'_>) -> Result<Vec<RenderedFile>, Error> {
    let image = request.image;
    if image.files != image.folder {
        return Err(Error::BinderFolder { image: image.name.clone(), folder: image.files.clone() });
    }
    let mut files = if image.name == request.root.0.name { root::files(request)? } else { notebook(request)? };
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

impl Request<'_> {
    /// What `image` is called in the project's registry, without a tag.
    fn name_of(&self, image: &ImageSpec) -> String {
        self.registry.map_or_else(|| image.name.clone(), |registry| format!("{registry}/{}", image.name))
    }

    /// The names of all images' arguments.
    fn build_args(&self) -> BTreeSet<&str> {
        self.images.values().flat_map(|image| image.docker.build_args.keys()).map(String::as_str).collect()
    }
}

fn notebook(request: &Request<'_>) -> Result<Vec<RenderedFile>, Error> {
    let (image, root) = (request.image, request.root.0);
    let own = environment_variables(image, false)?;
    let roots = environment_variables(root, true)?;
    // Those of an environment come with the root image's ONBUILD steps.
    let is_own = |name: &str, value: &String| {
        !["CONDA_PREFIX", "CONDA_DEFAULT_ENV"].contains(&name) && roots.get(name) != Some(value)
    };
    let mut env: IndexMap<String, String> = [("PANGEO_ENV".to_owned(), image.name.clone())].into();
    let written = image.environments.first().map(|own| &own.variables).into_iter().flatten().chain(&image.env);
    let written: IndexMap<_, _> = written.collect();
    for (name, value) in own.iter().filter(|(name, value)| is_own(name, value)) {
        // As it is written, as the values that it refers to are those of the image below.
        env.insert(name.clone(), written.get(name).map_or_else(|| value.clone(), |value| (*value).clone()));
    }
    let copied: Vec<_> = super::CONFIGURATION
        .iter()
        .filter(|(name, ..)| image.file(name).is_some())
        .map(|(name, path, _)| Copied { source: (*name).to_owned(), path: (*path).to_owned(), owner: Some(owner()) })
        .collect();
    let platforms = image.platforms.iter().map(|platform| explicit_lock(*platform));
    let dockerfile = context! {
        image => image.name,
        root => root.name,
        locks => platforms.collect::<Vec<_>>(),
        base_tag => image.docker.base_tag(),
        base_name => request.name_of(root),
        build_args => quoted(&image.docker.build_args),
        labels => quoted(&image.labels),
        env => quoted(&env),
        files => copied,
    };
    let templates = Templates::of(request.project);
    let name = format!("{}.Dockerfile", image.name);
    let rendered = templates.render(&[&name, "notebook.Dockerfile"], dockerfile)?;
    let ignored = if ["postBuild", "requirements.txt", "preBuild"].iter().any(|name| image.file(name).is_some()) {
        // They may read whatever lies beside them.
        "# Rendered by `esker render`: what the build has no use for.\npackages.txt\nconda-osx-*.lock\n".to_owned()
    } else {
        let apt = image.apt != AptPolicy::Skip;
        let build_files = BUILD_FILES.into_iter().filter(|name| apt || !name.starts_with("apt"));
        let mut taken = vec!["Dockerfile".to_owned()];
        taken.extend(locks_and(image, &build_files.chain(["start"]).collect::<Vec<_>>()));
        taken.extend(copied_from_folder(image));
        taken.dedup();
        ignored(&templates, &taken)?
    };
    Ok(vec![file("Dockerfile", rendered, 0o644), file(".dockerignore", ignored, 0o644)])
}

/// The file in an image's folder that comes to be at `path`.
fn in_folder(path: &str) -> Option<&'static str> {
    match path {
        "srv/start" => Some("start"),
        "etc/jupyter/jupyter_notebook_config.py" => Some("jupyter_notebook_config.py"),
        _ => super::CONFIGURATION.iter().find(|(_, place, _)| *place == path).map(|(name, ..)| *name),
    }
}

fn copied_from_folder(image: &ImageSpec) -> Vec<String> {
    let names = super::CONFIGURATION.iter().map(|(name, ..)| *name).chain(["start", "jupyter_notebook_config.py"]);
    names.filter(|name| image.file(name).is_some()).map(str::to_owned).collect()
}

fn locks_and(image: &ImageSpec, names: &[&str]) -> Vec<String> {
    let there = names.iter().filter(|name| image.folder.join(name).is_file()).map(|name| (*name).to_owned());
    image.platforms.iter().map(|platform| explicit_lock(*platform)).chain(there).collect()
}

fn explicit_lock(platform: Platform) -> String {
    format!("conda-{}.lock", platform.subdir())
}

fn ignored(templates: &Templates, paths: &[String]) -> Result<String, Error> {
    templates.render(&["dockerignore"], context! { paths })
}

fn owner() -> String {
    format!("{}:{}", super::USER.0, super::USER.1)
}

fn file(path: &str, content: impl Into<Vec<u8>>, mode: u32) -> RenderedFile {
    RenderedFile { path: path.to_owned(), content: content.into(), mode }
}
