//! Building with the Docker engine or a BuildKit daemon, from Dockerfiles.

use std::collections::BTreeMap;

use crate::apt::AptLock;
use crate::build::Built;
use crate::build::base::BaseImage;
use crate::build::docker::{
    self as docker_build, BASE, BASE_IMAGE, BuilderChoice, Context, ContextFile, Recipe, Request, images_of,
};
use crate::cache;
use crate::docker::{Builder, DaemonAddress, Engine, Login, Secret};
use crate::lock::{Lock, LockedPackage};
use crate::oci::{Layout, Platform, reference};
use crate::project::ImageSpec;
use crate::registry::Credentials;
use crate::render::docker::RenderedFile;

use super::{BuildChoice, Error, Purpose, Session};

/// The file that says how an image is built.
const DOCKERFILE: &str = "Dockerfile";
/// What a rendered one says of itself.
const RENDERED: &str = "Rendered by `esker render`";

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
        let engine = match &docker.builder {
            Some(_) => None,
            None => Some(Engine::connect(&self.settings.docker).await.map_err(docker_build::Error::from)?),
        };
        let kind = match &engine {
            Some(engine) => engine.builder().await.map_err(docker_build::Error::from)?,
            None => Builder::BuildKit,
        };
        let mut recipes = Vec::new();
        for image in root.iter().map(|(root, _)| *root).chain([image]) {
            recipes.push(self.recipe(image, kind).await?);
        }
        let bases = self.bases(image, choice, &platforms, None).await?;
        let parent = match (&docker.builder, &root) {
            (Some(builder), Some((root, _))) => Some(self.pushed(root, builder).await?),
            _ => None,
        };
        let builder = match (&docker.builder, &engine) {
            (Some(address), _) => BuilderChoice::Daemon { address, parent: parent.as_deref() },
            (None, Some(engine)) => BuilderChoice::Engine(engine, kind),
            (None, None) => unreachable!("one of them builds"),
        };
        let logins = self.logins(&recipes, &bases, builder).await;
        let locks = root.iter().map(|(_, lock)| lock).chain([&lock]);
        let request = Request {
            image: &image.name,
            recipes,
            platforms: &platforms,
            bases: &bases,
            packages: locks.flat_map(packages).collect(),
            debian: self.locked_debian(root.as_ref().map(|(root, _)| *root), image)?,
            compression: choice.compression,
            source_date_epoch: self.settings.source_date_epoch,
            cache_dir: &self.settings.cache_dir,
            project: &self.project.root,
            state_dir: &self.project.state_dir(),
            no_cache: docker.no_cache,
            builder,
            logins,
            sbom: image.sbom && choice.sbom,
        };
        Ok(docker_build::build(&request, &self.channels(image)?, choice.layout, self.progress).await?)
    }

    /// What is locked of Debian packages for `image` and what it is built on; whether a Dockerfile installs it is its own.
    fn locked_debian(&self, root: Option<&ImageSpec>, image: &ImageSpec) -> Result<Vec<AptLock>, Error> {
        let mut locks = Vec::new();
        for image in root.into_iter().chain([image]) {
            locks.extend(AptLock::read(&image.folder)?);
        }
        Ok(locks)
    }

    /// What `image` is built from: a Dockerfile that somebody wrote, else a rendered one.
    async fn recipe<'b>(&self, image: &'b ImageSpec, builder: Builder) -> Result<Recipe<'b>, Error> {
        let by_hand = fs_err::read_to_string(image.folder.join(DOCKERFILE)).is_ok_and(|text| !text.contains(RENDERED));
        let files = match by_hand {
            true => Vec::new(),
            false => self.render(image, Purpose::Build(builder)).await?,
        };
        let file = |file: RenderedFile| ContextFile {
            path: file.path,
            executable: file.mode & 0o111 != 0,
            content: file.content,
        };
        let context = Context {
            folder: Some(image.folder.clone()),
            files: files.into_iter().map(file).collect(),
            dockerfile: DOCKERFILE.to_owned(),
        };
        let args = image.docker.build_args.clone().into_iter().collect();
        Ok(Recipe { name: &image.name, context, args })
    }

    /// What the user has for the registries that the Dockerfiles of `recipes` name, and for no others. A builder knows one
    /// login a registry, whatever the repository.
    async fn logins(
        &self,
        recipes: &[Recipe<'_>],
        bases: &BTreeMap<Platform, BaseImage>,
        builder: BuilderChoice<'_>,
    ) -> Vec<Login> {
        let mut named = Vec::new();
        match builder {
            // What they are built on is in the engine.
            BuilderChoice::Engine(..) => {
                recipes
                    .iter()
                    .for_each(|recipe| named.extend(images_of(&recipe.context.dockerfile_text(), &recipe.args)));
            }
            BuilderChoice::Daemon { parent, .. } => {
                let Some(recipe) = recipes.last() else { return Vec::new() };
                for base in bases.values() {
                    let parent = parent.map(|parent| (BASE_IMAGE, parent));
                    let below = parent.or_else(|| base.public_name().map(|base| (BASE, base)));
                    let below = below.map(|(name, image)| (name.to_owned(), image.to_owned()));
                    let args = recipe.args.clone().into_iter().chain(below).collect();
                    named.extend(images_of(&recipe.context.dockerfile_text(), &args));
                }
            }
        }
        let mut logins: BTreeMap<String, Login> = BTreeMap::new();
        for image in named {
            let registry = image.registry().to_owned();
            if logins.contains_key(&registry) {
                continue;
            }
            let secret = match self.registry.credentials(&image).await {
                Ok(Some(Credentials::Password(user, password))) => Secret::Password(user, password),
                Ok(Some(Credentials::Identity(token))) => Secret::Identity(token),
                Ok(None) => continue,
                // The registry may want none.
                Err(error) => {
                    self.progress.warning(&error.to_string());
                    continue;
                }
            };
            logins.insert(registry.clone(), Login { registry, secret });
        }
        logins.into_values().collect()
    }

    /// Where others can get `image` as it was last built: it must have been pushed.
    async fn pushed(&self, image: &ImageSpec, builder: &DaemonAddress) -> Result<String, Error> {
        let digest = Layout::open(self.project.layout_dir(&image.name))?.image_index_digest()?;
        let place = self.name_of(image).rsplit_once(':').map(|(name, _)| name.to_owned()).unwrap_or_default();
        let name = format!("{place}@{digest}");
        let missing = || docker_build::Error::LocalParent {
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

/// The packages of `lock` for every platform: a Dockerfile names what it installs with for all of them.
fn packages(lock: &Lock) -> impl Iterator<Item = &LockedPackage> {
    Platform::ALL.into_iter().flat_map(|platform| lock.packages_for(platform.subdir()))
}
