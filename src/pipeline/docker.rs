//! Building with the Docker engine or a BuildKit daemon, from Dockerfiles.

use crate::build::Built;
use crate::build::docker::{self, BuilderChoice, Context, Recipe, Request};
use crate::cache;
use crate::docker::DaemonAddress;
use crate::lock::{Lock, LockedPackage};
use crate::oci::{Layout, Platform, reference};
use crate::project::ImageSpec;

use super::{BuildChoice, Error, Session};

/// The file that says how an image is built.
const DOCKERFILE: &str = "Dockerfile";

/// Who builds from Dockerfiles, and how.
#[derive(Clone, Debug, Default)]
pub struct DockerChoice {
    /// The BuildKit daemon that builds instead of the Docker engine.
    pub builder: Option<DaemonAddress>,
    /// Make every step anew.
    pub no_cache: bool,
}

impl Session<'_> {
    /// Builds `image` from its Dockerfile into the layout of `choice`.
    pub(super) async fn build_with_docker(
        &self,
        image: &ImageSpec,
        choice: &BuildChoice<'_>,
        docker: &DockerChoice,
    ) -> Result<Built, Error> {
        let platforms = self.platforms(image, choice.platforms)?;
        // From before the base is looked up to when the image is there.
        let _run = cache::Run::begin(&self.settings.cache_dir)?;
        let lock = self.current_lock(image)?;
        let root = self.root_of(image).map(|root| Ok::<_, Error>((root, self.current_lock(root)?))).transpose()?;
        let recipes = root.iter().map(|(root, _)| *root).chain([image]);
        let recipes = recipes.map(recipe).collect::<Result<Vec<_>, Error>>()?;
        let bases = self.bases(image, choice, &platforms).await?;
        let parent = match (&docker.builder, &root) {
            (Some(builder), Some((root, _))) => Some(self.pushed(root, builder).await?),
            _ => None,
        };
        let builder = match &docker.builder {
            Some(address) => BuilderChoice::Daemon { address, parent: parent.as_deref() },
            None => BuilderChoice::Engine(&self.settings.docker),
        };
        let locks = root.iter().map(|(_, lock)| lock).chain([&lock]);
        let request = Request {
            image: &image.name,
            recipes,
            platforms: &platforms,
            bases: &bases,
            packages: locks.flat_map(|lock| packages(lock, &platforms)).collect(),
            compression: choice.compression,
            source_date_epoch: self.settings.source_date_epoch,
            cache_dir: &self.settings.cache_dir,
            project: &self.project.root,
            state_dir: &self.project.state_dir(),
            no_cache: docker.no_cache,
            builder,
        };
        Ok(docker::build(&request, &self.channels(image)?, choice.layout, self.progress).await?)
    }

    /// Where others can get `image` as it was last built: it must have been pushed.
    async fn pushed(&self, image: &ImageSpec, builder: &DaemonAddress) -> Result<String, Error> {
        let digest = Layout::open(self.project.layout_dir(&image.name))?.image_index_digest()?;
        let place = self.name_of(image).rsplit_once(':').map(|(name, _)| name.to_owned()).unwrap_or_default();
        let name = format!("{place}@{digest}");
        let missing = || docker::Error::LocalParent {
            builder: builder.to_string(),
            image: image.name.clone(),
            reference: name.clone(),
        };
        if self.project.registry.is_none() {
            return Err(missing().into());
        }
        let reference = reference::parse(&name).map_err(|_| missing())?;
        match self.registry.manifest(&reference, Some(digest)).await {
            Ok(_) => Ok(name),
            Err(error) => {
                tracing::info!(%error, "the image that is built on cannot be found");
                Err(missing().into())
            }
        }
    }
}

/// What `image` is built from.
fn recipe(image: &ImageSpec) -> Result<Recipe<'_>, Error> {
    let path = image.folder.join(DOCKERFILE);
    if !path.is_file() {
        return Err(docker::Error::NoDockerfile { image: image.name.clone(), path }.into());
    }
    let context = Context { folder: Some(image.folder.clone()), files: Vec::new(), dockerfile: DOCKERFILE.to_owned() };
    Ok(Recipe { name: &image.name, context })
}

/// The packages of `lock` for `platforms`.
fn packages<'a>(lock: &'a Lock, platforms: &'a [Platform]) -> impl Iterator<Item = &'a LockedPackage> {
    platforms.iter().flat_map(|platform| lock.packages_for(platform.subdir()))
}
