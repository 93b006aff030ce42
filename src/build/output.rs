//! Where a built image goes besides its layout: an archive for `docker load`, the Docker engine itself, a registry, a
//! directory, or one file for machines without an engine.
//!
//! All are made from the layout, so what they hold is what the layout's digests say.

mod program;
mod sif;
mod squashfs;

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use oci_spec::distribution::Reference;

pub use self::program::ProgramError;
use super::Built;
use super::target::{ParseTargetError, Target};
use crate::docker::{self, Engine};
use crate::oci::{self, Layout, Platform, archive};
use crate::oci::{Ownership, unpack};
use crate::progress::{Progress, Task, Unit};
use crate::registry;

/// A destination, as `--output` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `oci:DIR`: an OCI layout.
    Layout(PathBuf),
    /// `docker-archive:FILE[:REFERENCE]`: what `docker load` reads.
    DockerArchive {
        /// The file.
        file: PathBuf,
        /// The name it gets when loaded, if not the image's own.
        reference: Option<String>,
    },
    /// `docker:[REFERENCE]`: the local Docker engine.
    Docker {
        /// The name it gets, if not the image's own.
        reference: Option<String>,
    },
    /// `registry:[REFERENCE]`: a registry.
    Registry {
        /// Where it goes, if not where the project's images go.
        target: Option<Target>,
    },
    /// `dir:DIR`: its root file system.
    Directory(PathBuf),
    /// `squashfs:FILE`: its root file system, as one file that can be mounted.
    Squashfs(PathBuf),
    /// `sif:FILE`: what Apptainer runs.
    Sif(PathBuf),
}

/// What an output needs besides the image.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// What the image is called unless the output says otherwise.
    pub name: &'a str,
    /// Talks to registries.
    pub registry: &'a registry::Client,
    /// Repositories that may have some of its layers.
    pub sources: &'a [Reference],
    /// Where the Docker engine is.
    pub docker: &'a docker::Setting,
    /// Where to report.
    pub progress: &'a dyn Progress,
}

/// Why an image could not be put somewhere.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination makes no sense.
    #[error(
        "unknown output `{0}`: expected `oci:DIR`, `docker-archive:FILE[:REFERENCE]`, `docker:[REFERENCE]`, \
         `registry:[REFERENCE]`, `dir:DIR`, `squashfs:FILE` or `sif:FILE`"
    )]
    Unknown(String),
    /// The registry or repository makes no sense.
    #[error(transparent)]
    Target(#[from] ParseTargetError),
    /// The image's own name leads to no registry.
    #[error("`registry:` says nothing of where `{0}` goes, and `esker.yml` has no `registry`")]
    NoRegistry(String),
    /// The registry does not take it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// There is something in the directory.
    #[error("`{}` is not empty: a root file system is unpacked into an empty directory", .0.display())]
    NotEmpty(PathBuf),
    /// A program that makes the output is missing or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An archive holds one platform, and none was chosen.
    #[error("`{output}` holds one platform, and `{image}` was built for several, none of them this machine's")]
    WhichPlatform {
        /// The output.
        output: String,
        /// The image.
        image: String,
    },
    /// The layout cannot be read.
    #[error(transparent)]
    Layout(#[from] oci::Error),
    /// The archive cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine cannot be reached, or refuses the image.
    #[error(transparent)]
    Docker(#[from] docker::Error),
}

impl Output {
    /// The directory, if it is a layout.
    pub fn layout(&self) -> Option<&Path> {
        match self {
            Self::Layout(dir) => Some(dir),
            _ => None,
        }
    }

    /// The repository, if it is a registry that has one.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Registry { target } => target.as_ref(),
            _ => None,
        }
    }

    /// Whether it needs none of the image's layers where they are in a registry.
    pub const fn is_registry(&self) -> bool {
        matches!(self, Self::Registry { .. })
    }

    /// Says where a registry's output goes that says nothing itself: to the repository of the image `image`, below the
    /// project's `registry`.
    ///
    /// # Errors
    /// [`Error::NoRegistry`] when the project has none.
    pub fn complete(&mut self, registry: Option<&str>, image: &str) -> Result<(), Error> {
        if let Self::Registry { target: target @ None } = self {
            let registry = registry.ok_or_else(|| Error::NoRegistry(image.to_owned()))?;
            *target = Some(Target::parse(&format!("{registry}/{image}"), &[])?);
        }
        Ok(())
    }

    /// Puts `built` here and returns how to call it there. For [`Output::Layout`] nothing is left to do.
    ///
    /// # Errors
    /// When the output cannot be written, or the engine, the registry or a program not be used.
    pub async fn put(&self, built: &Built, means: &Means<'_>) -> Result<String, Error> {
        let Means { name, progress, .. } = *means;
        match self {
            Self::Layout(_) => return Ok(format!("oci:{}:{}", built.layout.display(), built.image)),
            Self::DockerArchive { file, reference } => {
                let reference = reference.as_deref().unwrap_or(name);
                write_archive(built, reference, file, self, progress)?;
                return Ok(format!("docker-archive:{}:{reference}", file.display()));
            }
            Self::Docker { reference } => {
                let reference = reference.as_deref().unwrap_or(name);
                load(built, reference, self, means).await?;
                return Ok(reference.to_owned());
            }
            Self::Registry { target } => {
                let target = target.as_ref().ok_or_else(|| Error::NoRegistry(built.image.clone()))?;
                let layout = Layout::open(&built.layout)?;
                let pushed = target.push(&layout, means.sources, means.registry, progress).await?;
                return Ok(format!("{target}@{}", pushed.digest));
            }
            Self::Directory(dir) => unpack_into(built, dir, self, progress)?,
            Self::Squashfs(file) => squashfs::write(built, file, self.platform(built)?, progress)?,
            Self::Sif(file) => sif::write(built, file, self.platform(built)?, progress)?,
        }
        Ok(self.to_string())
    }

    /// The only platform, else this machine's.
    fn platform(&self, built: &Built) -> Result<Platform, Error> {
        let platforms: Vec<_> = built.platforms.iter().map(|built| built.platform).collect();
        match platforms.as_slice() {
            [only] => Ok(*only),
            several => Platform::host()
                .filter(|host| several.contains(host))
                .ok_or_else(|| Error::WhichPlatform { output: self.to_string(), image: built.image.clone() }),
        }
    }
}

/// Unpacks the root file system: as root with its owners, as anybody else as that user's.
fn unpack_into(built: &Built, dir: &Path, output: &Output, progress: &dyn Progress) -> Result<(), Error> {
    let failed = |source| Error::Write { path: dir.to_owned(), source };
    fs_err::create_dir_all(dir).map_err(failed)?;
    if fs_err::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Error::NotEmpty(dir.to_owned()));
    }
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(output.platform(built)?)?;
    let ownership = if nix::unistd::geteuid().is_root() { Ownership::Keep } else { Ownership::Mine };
    Ok(unpack(&image, &layout, dir, ownership, progress)?)
}

/// Loads the image into the engine.
async fn load(built: &Built, reference: &str, output: &Output, means: &Means<'_>) -> Result<(), Error> {
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(output.platform(built)?)?;
    let task = Task::start(means.progress, "loading into Docker", None, Unit::Bytes);
    let loaded = Engine::connect(means.docker).await?.load_image(&layout, &image, reference).await?;
    let present = match loaded.present {
        0 => String::new(),
        present => format!(", which had {present} of its {} layers", image.layers.len()),
    };
    task.finish(&format!("loaded {reference} into Docker{present}"));
    Ok(())
}

/// Writes the archive beside `file` first, so that `file` is never half an image.
fn write_archive(
    built: &Built,
    reference: &str,
    file: &Path,
    output: &Output,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(output.platform(built)?)?;
    let failed = |source| Error::Write { path: file.to_owned(), source };
    let folder = folder(file);
    let temporary = tempfile::Builder::new().prefix(".esker-").tempfile_in(folder).map_err(failed)?;
    let mut sink = BufWriter::with_capacity(1 << 20, temporary);
    archive::write_docker_archive(&layout, &image, reference, 0, &mut sink, progress)?;
    sink.flush().map_err(failed)?;
    let temporary = sink.into_inner().map_err(|error| failed(error.into_error()))?;
    let written: File = temporary.persist(file).map_err(|error| failed(error.error))?;
    drop(written);
    Ok(())
}

/// The directory that `file` is in.
fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl FromStr for Output {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || Error::Unknown(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        let reference = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        match kind {
            "oci" if !rest.is_empty() => Ok(Self::Layout(rest.into())),
            "docker-archive" if !rest.is_empty() => {
                let (file, name) = rest.split_once(':').unwrap_or((rest, ""));
                Ok(Self::DockerArchive { file: file.into(), reference: reference(name) })
            }
            "docker" => Ok(Self::Docker { reference: reference(rest) }),
            "registry" if rest.is_empty() => Ok(Self::Registry { target: None }),
            "registry" => Ok(Self::Registry { target: Some(Target::parse(rest, &[])?) }),
            "dir" if !rest.is_empty() => Ok(Self::Directory(rest.into())),
            "squashfs" if !rest.is_empty() => Ok(Self::Squashfs(rest.into())),
            "sif" if !rest.is_empty() => Ok(Self::Sif(rest.into())),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(folder) => write!(f, "oci:{}", folder.display()),
            Self::DockerArchive { file, .. } => write!(f, "docker-archive:{}", file.display()),
            Self::Docker { reference } => write!(f, "docker:{}", reference.as_deref().unwrap_or_default()),
            Self::Registry { target: Some(target) } => write!(f, "registry:{target}"),
            Self::Registry { target: None } => write!(f, "registry:"),
            Self::Directory(folder) => write!(f, "dir:{}", folder.display()),
            Self::Squashfs(file) => write!(f, "squashfs:{}", file.display()),
            Self::Sif(file) => write!(f, "sif:{}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_skopeo_reads_them() {
        let archive =
            |name: Option<&str>| Output::DockerArchive { file: "a.tar".into(), reference: name.map(Into::into) };
        for (text, expected) in [
            ("oci:some/dir", Output::Layout("some/dir".into())),
            ("docker-archive:a.tar", archive(None)),
            ("docker-archive:a.tar:localhost:5000/x:1", archive(Some("localhost:5000/x:1"))),
            ("docker:", Output::Docker { reference: None }),
            ("docker:x:1", Output::Docker { reference: Some("x:1".into()) }),
            ("registry:", Output::Registry { target: None }),
            ("registry:quay.io/a/b:1", Output::Registry { target: Target::parse("quay.io/a/b:1", &[]).ok() }),
            ("dir:a:b", Output::Directory("a:b".into())),
            ("squashfs:a", Output::Squashfs("a".into())),
            ("sif:a", Output::Sif("a".into())),
        ] {
            assert_eq!(text.parse::<Output>().unwrap(), expected);
        }
        for wrong in ["", "dir", "oci:", "docker-archive:", "tar:x", "registry:b", "dir:", "sif:", "squashfs:"] {
            assert!(wrong.parse::<Output>().is_err(), "{wrong}");
        }
    }
}
