//! Getting an image of a layout ready to run.

use std::path::Path;

use super::docker::Docker;
use super::embedded::{Embedded, Key, Privilege, UnpackedImage};
use super::podman::Podman;
use super::{ContainerConfig, ContainerRuntime, Error};
use crate::docker;
use crate::oci::{Image, Layout, Ownership, unpack};
use crate::progress::Progress;

/// What to get ready.
pub struct Preparation<'a> {
    /// What the image is called.
    pub name: &'a str,
    /// The image.
    pub image: &'a Image,
    /// Where its blobs are.
    pub layout: &'a Layout,
    /// How it runs.
    pub config: ContainerConfig,
    /// Where it is unpacked.
    pub work_dir: &'a Path,
    /// Whether it stays there for the next run.
    pub keep: bool,
    /// The `esker` program that the embedded runner starts.
    pub runner: Option<&'a Path>,
    /// The program `podman`.
    pub podman: &'a Path,
    /// Where the Docker engine is.
    pub docker: &'a docker::Setting,
}

/// An image that is ready to run. What was made for that in an engine goes when it is dropped.
pub enum Prepared {
    /// Unpacked on disk.
    Embedded(Embedded),
    /// Known to a Docker engine.
    Docker(Docker),
    /// Known to Podman.
    Podman(Podman),
}

impl Prepared {
    /// What runs it.
    pub fn runtime(&self) -> &dyn ContainerRuntime {
        match self {
            Self::Embedded(runtime) => runtime,
            Self::Docker(runtime) => runtime,
            Self::Podman(runtime) => runtime,
        }
    }
}

impl Preparation<'_> {
    /// Unpacks the image for the embedded runner, unless it lies unpacked since an earlier run.
    ///
    /// # Errors
    /// [`Error::Image`] when the image cannot be read or unpacked; [`Error::File`].
    pub fn embedded(&self, progress: &dyn Progress) -> Result<Prepared, Error> {
        let key = Key { name: self.name, platform: self.image.platform, manifest: self.image.digest };
        let unpack = |rootfs: &Path, privilege| {
            let ownership = match privilege {
                Privilege::Root => Ownership::Keep,
                Privilege::User => Ownership::Mine,
            };
            unpack(self.image, self.layout, rootfs, ownership, progress).map_err(Error::Image)
        };
        let image = match self.keep {
            true => UnpackedImage::kept(self.work_dir, key, self.config.clone(), unpack)?,
            false => UnpackedImage::new(self.work_dir, self.config.clone(), unpack)?,
        };
        Ok(Prepared::Embedded(Embedded::new(image, self.runner)))
    }

    /// Loads the image into the Docker engine, unless it has it.
    ///
    /// # Errors
    /// [`Error::Docker`] and [`Error::Image`].
    pub async fn docker(&self, progress: &dyn Progress) -> Result<Prepared, Error> {
        let config = self.config.clone();
        let docker = Docker::prepare(self.docker, self.image, self.layout, config, progress).await?;
        Ok(Prepared::Docker(docker))
    }

    /// Loads the image into Podman, unless it has it.
    ///
    /// # Errors
    /// [`Error::Podman`] and [`Error::File`].
    pub async fn podman(&self, progress: &dyn Progress) -> Result<Prepared, Error> {
        let config = self.config.clone();
        let podman = Podman::prepare(self.podman, self.image, self.layout, config, self.work_dir, progress).await?;
        Ok(Prepared::Podman(podman))
    }
}
