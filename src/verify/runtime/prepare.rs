//! Getting an image of a layout ready to run.

use std::path::Path;

use super::docker::Docker;
use super::embedded::{Embedded, Key, Privilege, UnpackedImage};
use super::podman::Podman;
use super::{ContainerConfig, ContainerRuntime, Error};
use crate::docker::{self, Engine};
use crate::oci::{Image, Layout, Ownership, unpack};
use crate::progress::{Progress, Task, Unit};

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

/// An image that is ready to run, until it is removed.
pub enum Prepared {
    /// Unpacked on disk.
    Embedded(Embedded),
    /// Known to a Docker engine.
    Docker {
        /// What runs it.
        runtime: Docker,
        /// The engine, and the image's name in it if it is to be removed.
        loaded: Option<(Engine, String)>,
    },
    /// Known to Podman.
    Podman(Podman),
}

impl Prepared {
    /// What runs it.
    pub fn runtime(&self) -> &dyn ContainerRuntime {
        match self {
            Self::Embedded(runtime) => runtime,
            Self::Docker { runtime, .. } => runtime,
            Self::Podman(runtime) => runtime,
        }
    }

    /// Removes what was made to run it in an engine. For Podman, dropping does the same.
    pub async fn remove(self) {
        if let Self::Docker { loaded: Some((engine, image)), .. } = self {
            // The image is whole and harmless; failing to remove it proves nothing about what was checked.
            engine.remove_image(&image).await.unwrap_or_default();
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
        let engine = Engine::connect(self.docker).await?;
        let id = self.image.config_digest.to_string();
        if engine.has_image(&id).await? {
            let runtime = Docker::new(engine, id, self.config.clone());
            return Ok(Prepared::Docker { runtime, loaded: None });
        }
        let _task = Task::start(progress, "loading the image into Docker", None, Unit::Bytes);
        let tag = format!("esker-verify:{}", &self.image.config_digest.hex()[..12]);
        let loaded = engine.load_image(self.layout, self.image, &tag).await.map_err(|error| match error {
            docker::Error::Image(unreadable) => Error::Image(unreadable),
            refused => refused.into(),
        })?;
        let name = loaded.name;
        let runtime = Docker::new(engine.clone(), name.clone(), self.config.clone());
        Ok(Prepared::Docker { runtime, loaded: Some((engine, name)) })
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
