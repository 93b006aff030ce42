//! Where a built image goes besides its layout: an archive for `docker load`, or the Docker engine itself.
//!
//! Both are made from the layout, so what they hold is what the layout's digests say.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Built;
use crate::docker::{self, Engine};
use crate::oci::{self, Layout, Platform, archive};
use crate::progress::{Progress, Silent, Task, Unit};

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
}

/// Why an image could not be put somewhere.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The destination makes no sense.
    #[error("unknown output `{0}`: expected `oci:DIR`, `docker-archive:FILE[:REFERENCE]` or `docker:[REFERENCE]`")]
    Unknown(String),
    /// An archive holds one platform, and none was chosen.
    #[error("an archive holds one platform, and `{image}` was built for several, none of them this machine's")]
    WhichPlatform {
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
            Self::DockerArchive { .. } | Self::Docker { .. } => None,
        }
    }

    /// Puts `built` here and returns how to call it there. For [`Output::Layout`] nothing is left to do.
    ///
    /// `name` is what the image is called unless this output says otherwise.
    ///
    /// # Errors
    /// When the archive cannot be written or the engine not be used.
    pub async fn put(&self, built: &Built, name: &str, progress: &dyn Progress) -> Result<String, Error> {
        match self {
            Self::Layout(_) => Ok(format!("oci:{}:{}", built.layout.display(), built.image)),
            Self::DockerArchive { file, reference } => {
                let reference = reference.as_deref().unwrap_or(name);
                write_archive(built, reference, file, progress)?;
                Ok(format!("docker-archive:{}:{reference}", file.display()))
            }
            Self::Docker { reference } => {
                let reference = reference.as_deref().unwrap_or(name);
                load(built, reference, progress).await?;
                Ok(reference.to_owned())
            }
        }
    }
}

/// Hands the archive to the engine as it is made: nothing of it touches the disk.
async fn load(built: &Built, reference: &str, progress: &dyn Progress) -> Result<(), Error> {
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(archive_platform(built)?)?;
    let engine = Engine::connect().await?;
    let task = Task::start(progress, "loading into Docker", None, Unit::Bytes);
    let name = reference.to_owned();
    let write = move |sink| {
        let mut sink = BufWriter::with_capacity(1 << 20, sink);
        archive::write_docker_archive(&layout, &image, &name, &mut sink, &Silent)?;
        sink.flush().map_err(|source| oci::Error::Sink { source })
    };
    let (loaded, written) = engine.load_written(write).await?;
    // What the engine says of a broken stream is worth more than that its stream broke.
    loaded?;
    written?;
    task.finish(&format!("loaded {reference} into Docker"));
    Ok(())
}

/// Writes the archive beside `file` first, so that `file` is never half an image.
fn write_archive(built: &Built, reference: &str, file: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(archive_platform(built)?)?;
    let failed = |source| Error::Write { path: file.to_owned(), source };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".esker-").tempfile_in(folder).map_err(failed)?;
    let mut sink = BufWriter::with_capacity(1 << 20, temporary);
    archive::write_docker_archive(&layout, &image, reference, &mut sink, progress)?;
    sink.flush().map_err(failed)?;
    let temporary = sink.into_inner().map_err(|error| failed(error.into_error()))?;
    let written: File = temporary.persist(file).map_err(|error| failed(error.error))?;
    drop(written);
    Ok(())
}

/// The only platform, else this machine's.
fn archive_platform(built: &Built) -> Result<Platform, Error> {
    let platforms: Vec<_> = built.platforms.iter().map(|built| built.platform).collect();
    match platforms.as_slice() {
        [only] => Ok(*only),
        several => Platform::host()
            .filter(|host| several.contains(host))
            .ok_or_else(|| Error::WhichPlatform { image: built.image.clone() }),
    }
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
        ] {
            assert_eq!(text.parse::<Output>().unwrap(), expected);
        }
        for wrong in ["", "dir", "oci:", "docker-archive:", "tar:x"] {
            assert!(wrong.parse::<Output>().is_err(), "{wrong}");
        }
    }
}
