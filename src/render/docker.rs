//! The files that Docker or BuildKit builds an image from: Dockerfile, `.dockerignore`, and what they need beside them.
//!
//! The image of the root prefix does the work: its ONBUILD steps install what the folder of a child asks for, be that an
//! image of this project or a repository for Binder. So the Dockerfiles of all other images are a few lines.

use std::path::Path;

use indexmap::IndexMap;
use minijinja::context;
use serde::Serialize;

use super::templates::Templates;
use super::{Error, ImageContent, NOTEBOOK_ENVIRONMENT, NOTEBOOK_PREFIX, ROOT_PREFIX, environment_variables};
use super::{active, image_content, render};
use crate::lock::{Lock, Manager};
use crate::oci::Platform;
use crate::project::{AptPolicy, ImageSpec, Strip};

/// The folder, below an image's, of what is rendered besides Dockerfile and `.dockerignore`.
pub const FOLDER: &str = "docker";
/// What installs packages; the root prefix has it.
const INSTALLER: &str = "micromamba";
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
    /// What the project's images are called in its registry, up to the image's own name: `quay.io/example/`, or nothing.
    pub registry: &'a str,
    /// The system below, with its digest; `None` if no registry has it.
    pub base: Option<&'a str>,
    /// Arguments that the ONBUILD steps of the root image pass on.
    pub build_args: &'a [String],
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
struct Archive {
    url: String,
    subdir: String,
    #[serde(skip)]
    sha256: String,
}

#[derive(Serialize)]
struct Copied {
    source: String,
    path: String,
    owner: Option<String>,
}

#[derive(Serialize)]
struct StripRule {
    verb: &'static str,
    regex: String,
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
    let mut files = if image.name == request.root.0.name { root(request)? } else { notebook(request)? };
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn root(request: &Request<'_>) -> Result<Vec<RenderedFile>, Error> {
    let (image, lock) = request.root;
    // What is built on it says by a variable who it is, or brings a /srv/start of its own.
    let named = ImageSpec { name: format!("${{PANGEO_ENV:-{}}}", image.name), ..image.clone() };
    let content = image_content(&named, Some(&named))?;
    let archives = installer(image, lock)?;
    let has_apt = image.apt == AptPolicy::Install && !image.apt_packages().map_err(Error::Apt)?.is_empty();
    let (copied, mut files) = placed(image, &content);
    let locks: Vec<_> = image.platforms.iter().map(|platform| format!("conda-{}.lock", platform.subdir())).collect();
    let onbuild = context! {
        image => image.name,
        root_prefix => ROOT_PREFIX,
        prefix => NOTEBOOK_PREFIX,
        environment => NOTEBOOK_ENVIRONMENT,
        strip => strip_rules(&image.strip),
    };
    let templates = Templates::of(request.project);
    let onbuild = templates.render(&["onbuild.sh"], onbuild)?;
    let (prefix, environment) = active(false);
    let activation = context! { prefix, environment, root => ROOT_PREFIX };
    let sums: String =
        archives.iter().map(|one| format!("{}  {INSTALLER}-{}.tar.bz2\n", one.sha256, one.subdir)).collect();
    files.extend([
        file("docker/onbuild", onbuild, 0o755),
        file("docker/init_conda.sh", render("init_conda.sh", super::ACTIVATION, activation)?, 0o644),
        file("docker/micromamba.sha256", sums, 0o644),
    ]);
    let dockerfile = context! {
        image => image.name,
        name => format!("{}{}", request.registry, image.name),
        base => request.base,
        default_packages => image.docker.default_packages(),
        micromamba => archives,
        locks,
        cache_mounts => request.cache_mounts,
        labels => quoted(&image.labels),
        env => quoted(&with_path(content.env.clone())),
        account => context! {
            name => content.account.name,
            uid => content.account.uid,
            gid => content.account.gid,
            home => content.account.home,
            shell => content.account.shell,
        },
        owner => format!("{}:{}", super::USER.0, super::USER.1),
        user => content.user,
        apt => has_apt,
        executables => ["/srv/start", "/srv/serve"],
        cmd => serde_json::Value::from(content.cmd.clone()).to_string(),
        files => copied,
        build_args => request.build_args,
        prefix,
        environment,
    };
    let name = format!("{}.Dockerfile", image.name);
    let rendered = templates.render(&[&name, "base-image.Dockerfile"], dockerfile)?;
    let mut taken = vec!["Dockerfile".to_owned(), FOLDER.to_owned(), format!("{FOLDER}/**")];
    taken.extend(locks_and(image, has_apt.then_some(["apt.txt", "apt-lock.yml"]).as_slice().as_flattened()));
    taken.extend(copied_from_folder(image));
    files.push(file("Dockerfile", rendered, 0o644));
    files.push(file(".dockerignore", ignored(&templates, &taken)?, 0o644));
    Ok(files)
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
        base_name => format!("{}{}", request.registry, root.name),
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

/// The archives of what installs packages, one a platform.
fn installer(image: &ImageSpec, lock: &Lock) -> Result<Vec<Archive>, Error> {
    let of_platform = |platform: &Platform| {
        let subdir = platform.subdir();
        let package = lock.packages_for(subdir).find(|p| p.manager == Manager::Conda && p.name == INSTALLER);
        let no_installer = || Error::NoInstaller { image: image.name.clone(), platform: *platform };
        let package = package.filter(|package| package.file_name().ends_with(".tar.bz2")).ok_or_else(no_installer)?;
        let sha256 = package.sha256.clone().ok_or_else(no_installer)?;
        let url = package.public_url().to_string();
        // ARG PACKAGE_MIRROR stands for the scheme, so that the same line fetches from elsewhere.
        let url = url.strip_prefix("https:/").map_or_else(|| url.clone(), |rest| format!("${{PACKAGE_MIRROR}}{rest}"));
        Ok(Archive { url, subdir: subdir.to_string(), sha256 })
    };
    image.platforms.iter().map(of_platform).collect()
}

/// Where the files of `content` come from: those that the folder has from there, the others are rendered beside them.
fn placed(image: &ImageSpec, content: &ImageContent) -> (Vec<Copied>, Vec<RenderedFile>) {
    let (mut copied, mut rendered) = (Vec::new(), Vec::new());
    for part in &content.files {
        let own = in_folder(&part.path).filter(|name| image.file(name).is_some());
        let source = own.map_or_else(|| format!("{FOLDER}/{}", rendered_name(&part.path)), str::to_owned);
        if own.is_none() {
            rendered.push(file(&source, part.content.clone(), part.mode));
        }
        let owner = (part.owner != (0, 0)).then(|| format!("{}:{}", part.owner.0, part.owner.1));
        copied.push(Copied { source, path: part.path.clone(), owner });
    }
    (copied, rendered)
}

/// The file in an image's folder that comes to be at `path`.
fn in_folder(path: &str) -> Option<&'static str> {
    match path {
        "srv/start" => Some("start"),
        "etc/jupyter/jupyter_notebook_config.py" => Some("jupyter_notebook_config.py"),
        _ => super::CONFIGURATION.iter().find(|(_, place, _)| *place == path).map(|(name, ..)| *name),
    }
}

fn rendered_name(path: &str) -> &str {
    match path {
        // That of the images built on it has the plain name.
        "etc/profile.d/init_conda.sh" => "init_root.sh",
        _ => in_folder(path).unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path)),
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

/// `PATH` with the system's behind it.
fn with_path(mut env: IndexMap<String, String>) -> IndexMap<String, String> {
    if let Some(path) = env.get_mut("PATH")
        && !path.contains("${PATH}")
    {
        path.push_str(":${PATH}");
    }
    env
}

/// `NAME=value` of each, as words of a Dockerfile, in which `${NAME}` alone means a variable.
fn quoted(values: &IndexMap<String, String>) -> Vec<String> {
    values.iter().map(|(name, value)| format!("{name}={}", word(value))).collect()
}

fn word(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+%".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut word = String::from("\"");
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        if matches!(c, '"' | '\\') || (c == '$' && rest.peek() != Some(&'{')) {
            word.push('\\');
        }
        word.push(c);
    }
    word + "\""
}

/// The rules in the order in which a file's first one decides: those written last come first.
fn strip_rules(strip: &Strip) -> Vec<StripRule> {
    let rule = |text: &String| match text.strip_prefix('!') {
        Some(pattern) => StripRule { verb: "keep", regex: regex(pattern) },
        None => StripRule { verb: "take", regex: regex(text) },
    };
    strip.texts().iter().rev().map(rule).collect()
}

/// An extended regular expression for paths that `pattern` fits; see [`Strip`].
fn regex(pattern: &str) -> String {
    let mut out = String::from(if pattern.contains('/') { "^" } else { "(^|/)" });
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let (length, text) = match c {
            '*' if rest.starts_with("**/") => (3, "(.*/)?".to_owned()),
            '*' if rest.starts_with("**") => (2, ".*".to_owned()),
            '*' => (1, "[^/]*".to_owned()),
            '?' => (1, "[^/]".to_owned()),
            '[' if rest.contains(']') => {
                let end = rest.find(']').map_or(1, |end| end + 1);
                (end, rest[..end].replacen("[!", "[^", 1))
            }
            // It stands between single quotes.
            '\'' => (1, ".".to_owned()),
            c if c.is_alphanumeric() || "-_/".contains(c) => (c.len_utf8(), c.to_string()),
            c => (c.len_utf8(), format!("\\{c}")),
        };
        out.push_str(&text);
        rest = &rest[length..];
    }
    out + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_dockerfile() {
        for (value, expected) in [
            ("/a:b", "/a:b"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("${PATH}:/x", "\"${PATH}:/x\""),
            ("$5 \"x\" \\", "\"\\$5 \\\"x\\\" \\\\\""),
        ] {
            assert_eq!(word(value), expected);
        }
    }

    #[test]
    fn patterns_become_expressions() {
        for (pattern, expected) in [
            ("*.a", r"(^|/)[^/]*\.a$"),
            ("lib/python*/x/**/*.js", r"^lib/python[^/]*/x/(.*/)?[^/]*\.js$"),
            ("share/[!a]?/**", r"^share/[^a][^/]/.*$"),
        ] {
            assert_eq!(regex(pattern), expected);
        }
    }

    #[test]
    fn the_last_rule_decides_first() {
        let verbs: Vec<_> = strip_rules(&Strip::default()).into_iter().map(|rule| rule.verb).collect();
        assert_eq!(verbs, ["keep", "take", "take", "take"]);
    }
}
