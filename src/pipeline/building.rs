//! Building an image from its locks, by esker itself.

use std::collections::BTreeMap;
use std::path::Path;

use super::{DockerChoice, Error, Session};
use crate::build::base::{self, BaseImage, BaseRequest};
use crate::build::debian::DebianRequest;
use crate::build::native::Reuse;
use crate::build::native::published::CacheFrom;
use crate::build::onto::Onto;
use crate::build::{Built, native};
use crate::oci::{Compression, Platform};
use crate::project::{self, BaseReference, ImageSpec};
use crate::{cache, render};

/// Files of repo2docker's that change what is in an image. Left out in silence, the image would not be what was asked.
const UNSUPPORTED: [&str; 3] = ["requirements.txt", "preBuild", "postBuild"];

/// How to build.
#[derive(Clone, Debug)]
pub struct BuildChoice<'a> {
    /// Platforms, none for the image's own.
    pub platforms: &'a [Platform],
    /// Instead of the project's base.
    pub base: Option<&'a BaseReference>,
    /// Record the base's digest anew.
    pub update_base: bool,
    /// Compression of layers.
    pub compression: Compression,
    /// The image to lay this one on, and after how many updates to make it as a whole.
    pub onto: Option<(&'a BaseReference, u32)>,
    /// Put SBOMs and provenance beside the image, if its settings do not say otherwise.
    pub sbom: bool,
    /// Images to take from what has not changed.
    pub cache_from: &'a CacheFrom,
    /// Whether layers that those have may stay out of the layout.
    pub remote: bool,
    /// Who builds, if not esker itself.
    pub docker: Option<DockerChoice>,
    /// Where the layout goes.
    pub layout: &'a Path,
}

impl Session<'_> {
    pub(super) async fn build_natively(&self, image: &ImageSpec, choice: &BuildChoice<'_>) -> Result<Built, Error> {
        let packages = image.apt_packages()?;
        if !packages.is_empty() && image.apt == project::AptPolicy::Refuse {
            return Err(Error::Apt { image: image.name.clone(), packages });
        }
        if let Some(file) = UNSUPPORTED.iter().find_map(|name| image.file(name)) {
            return Err(Error::UnsupportedFile { image: image.name.clone(), file: self.relative(&file) });
        }
        let platforms = self.platforms(image, choice.platforms)?;
        // From before the base is looked up to when the image is there.
        let _run = cache::Run::begin(&self.settings.cache_dir)?;
        let lock = self.current_lock(image)?;
        let apt = self.current_apt(image)?;
        let root = self.root_of(image).map(|root| Ok::<_, Error>((root, self.current_lock(root)?))).transpose()?;
        let parents = self.parents_of(image, &|parent| self.existing_lock(parent))?;
        let root = root.as_ref().map(|(root, lock)| (*root, lock));
        let environments = self.environments(image, &lock, root, &parents);
        let mut content = render::image_content(image, self.root_image())?;
        if self.is_root(image) {
            self.rendering(image, image, &lock).add_triggers(&mut content)?;
        }
        let published = self.published(choice.cache_from);
        let bases = self.bases(image, choice, &platforms, published.as_ref()).await?;
        let request = native::Request {
            image: &image.name,
            environments,
            platforms: &platforms,
            bases: &bases,
            debian: apt.as_ref().map(|lock| DebianRequest { lock, skip: &image.debian.skip_maintainer_scripts }),
            content: &content,
            compression: choice.compression,
            source_date_epoch: self.settings.source_date_epoch,
            cache_dir: &self.settings.cache_dir,
            jobs: self.settings.jobs,
            sbom: image.sbom && choice.sbom,
            // An image on the image before has other layers than those that are made here.
            reuse: Reuse { from: published.as_ref(), remote: choice.remote, record: choice.onto.is_none() },
        };
        let before = self.before(choice, &platforms).await?;
        let built = native::build(&request, &self.channels(image)?, choice.layout, self.progress).await?;
        let Some((_, rebase_after)) = choice.onto else { return Ok(built) };
        let (compression, progress) = (choice.compression, self.progress);
        let onto = Onto { before: &before, bases: &bases, compression, rebase_after, progress };
        Ok(tokio::task::block_in_place(|| onto.apply(built))?)
    }

    /// The images that are to be laid on, of the platforms that they have.
    async fn before(
        &self,
        choice: &BuildChoice<'_>,
        platforms: &[Platform],
    ) -> Result<BTreeMap<Platform, BaseImage>, Error> {
        let mut images = BTreeMap::new();
        let Some((source, _)) = choice.onto else { return Ok(images) };
        for &platform in platforms {
            let request = BaseRequest {
                source,
                platform,
                project_root: &self.project.root,
                cache_dir: &self.settings.cache_dir,
                pinned: None,
                compression: choice.compression,
                offline: self.settings.offline,
            };
            match base::resolve(request, &self.registry, self.progress).await {
                Ok(image) => drop(images.insert(platform, image)),
                Err(base::Error::NoPlatform { .. }) => {
                    self.progress.note(&format!("{platform} is made as a whole: `{source}` is not for it"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(images)
    }
}
