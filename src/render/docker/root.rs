//! The image of the root prefix: its Dockerfile, the script behind its ONBUILD steps, and the same steps for an image that
//! was built without Docker.

use minijinja::context;
use serde::Serialize;

use super::words::{StripRule, quoted, strip_rules, with_path};
use super::{Copied, FOLDER, RenderedFile, Request, copied_from_folder, file, ignored, in_folder, locks_and, owner};
use crate::lock::{Lock, Manager};
use crate::oci::Platform;
use crate::project::{AptPolicy, ImageSpec};
use crate::render::templates::Templates;
use crate::render::{
    ACTIVATION, ContentFile, Error, ImageContent, NOTEBOOK_ENVIRONMENT, NOTEBOOK_PREFIX, ROOT_PREFIX, USER, active,
    image_content, render,
};

/// What installs packages; the root prefix has it.
const INSTALLER: &str = "micromamba";
/// Where the script is in an image.
const ONBUILD_FOLDER: &str = "srv/onbuild";

#[derive(Serialize)]
struct Archive {
    url: String,
    subdir: String,
    #[serde(skip)]
    sha256: String,
}

impl Request<'_> {
    /// Adds to what the image of the root prefix has what images need that Docker builds on it: the triggers of its
    /// Dockerfile and the script that they run. Without an installer there is nothing that they could do.
    ///
    /// # Errors
    /// When a template cannot be rendered.
    pub fn add_triggers(&self, content: &mut ImageContent) -> Result<(), Error> {
        let (image, lock) = self.root;
        let Ok(archives) = installer(image, lock) else { return Ok(()) };
        let templates = Templates::of(self.project);
        content.on_build = triggers(&dockerfile(self, &templates, content, &archives, &[])?);
        for RenderedFile { path, content: bytes, mode } in scripts(image, &templates)? {
            let path = path.replacen(FOLDER, ONBUILD_FOLDER, 1);
            content.files.push(ContentFile { path, content: bytes, mode, owner: USER });
        }
        content.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }
}

/// The files that the image of the root prefix is built from.
pub fn files(request: &Request<'_>) -> Result<Vec<RenderedFile>, Error> {
    let (image, lock) = request.root;
    let content = image_content(image, Some(image))?;
    let archives = installer(image, lock)?;
    let templates = Templates::of(request.project);
    let (copied, mut files) = placed(image, &content);
    let sums = archives.iter().map(|one| format!("{}  {INSTALLER}-{}.tar.bz2\n", one.sha256, one.subdir));
    files.push(file("docker/micromamba.sha256", sums.collect::<String>(), 0o644));
    files.extend(scripts(image, &templates)?);
    files.push(file("Dockerfile", dockerfile(request, &templates, &content, &archives, &copied)?, 0o644));
    let apt: &[&str] = if has_apt(image)? { &["apt.txt", "apt-lock.yml"] } else { &[] };
    let mut taken = vec!["Dockerfile".to_owned(), FOLDER.to_owned(), format!("{FOLDER}/**")];
    taken.extend(locks_and(image, apt));
    taken.extend(copied_from_folder(image));
    files.push(file(".dockerignore", ignored(&templates, &taken)?, 0o644));
    Ok(files)
}

/// What the ONBUILD steps run, and what they put into an image.
fn scripts(image: &ImageSpec, templates: &Templates) -> Result<[RenderedFile; 2], Error> {
    let rules: Vec<StripRule> = strip_rules(&image.strip);
    let onbuild = context! {
        image => image.name,
        root_prefix => ROOT_PREFIX,
        prefix => NOTEBOOK_PREFIX,
        environment => NOTEBOOK_ENVIRONMENT,
        owner => owner(),
        strip => rules,
    };
    let (prefix, environment) = active(false);
    let activation = context! { prefix, environment, root => ROOT_PREFIX };
    Ok([
        file("docker/onbuild", templates.render(&["onbuild.sh"], onbuild)?, 0o755),
        file("docker/init_conda.sh", render("init_conda.sh", ACTIVATION, activation)?, 0o644),
    ])
}

fn dockerfile(
    request: &Request<'_>,
    templates: &Templates,
    content: &ImageContent,
    archives: &[Archive],
    copied: &[Copied],
) -> Result<String, Error> {
    let (image, _) = request.root;
    let locks: Vec<_> = image.platforms.iter().map(|platform| super::explicit_lock(*platform)).collect();
    let (prefix, environment) = active(false);
    let account = &content.account;
    let context = context! {
        image => image.name,
        name => request.name_of(image),
        base => request.base,
        default_packages => image.docker.default_packages(),
        micromamba => archives,
        locks,
        cache_mounts => request.cache_mounts,
        labels => quoted(&image.labels),
        env => quoted(&with_path(content.env.clone())),
        account => context! {
            name => account.name,
            uid => account.uid,
            gid => account.gid,
            home => account.home,
            shell => account.shell,
        },
        owner => owner(),
        user => content.user,
        apt => has_apt(image)?,
        executables => ["/srv/start", "/srv/serve"],
        cmd => serde_json::Value::from(content.cmd.clone()).to_string(),
        files => copied,
        build_args => request.build_args(),
        prefix,
        environment,
    };
    templates.render(&[&format!("{}.Dockerfile", image.name), "base-image.Dockerfile"], context)
}

fn has_apt(image: &ImageSpec) -> Result<bool, Error> {
    Ok(image.apt == AptPolicy::Install && !image.apt_packages().map_err(Error::Apt)?.is_empty())
}

/// What follows `ONBUILD` in a Dockerfile, as the builder keeps it: on one line each.
fn triggers(dockerfile: &str) -> Vec<String> {
    let joined = dockerfile.replace("\\\n", "");
    let lines = joined.lines().filter_map(|line| line.strip_prefix("ONBUILD "));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
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

fn rendered_name(path: &str) -> &str {
    match path {
        // That of the images built on it has the plain name.
        "etc/profile.d/init_conda.sh" => "init_root.sh",
        _ => in_folder(path).unwrap_or_else(|| path.rsplit('/').next().unwrap_or(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_lines() {
        let text = "RUN x\nONBUILD COPY a \\\n    b c\n# ONBUILD no\nONBUILD RUN d\n";
        assert_eq!(triggers(text), ["COPY a b c", "RUN d"]);
    }
}
