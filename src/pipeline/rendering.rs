//! The render stage: Dockerfiles and what belongs to them.

use std::path::PathBuf;

use super::{Error, Session};
use crate::build::base::{self, BaseRequest};
use crate::build::pins::Pins;
use crate::docker::Builder;
use crate::lock::Lock;
use crate::oci::{Compression, layout};
use crate::project::{BaseReference, ImageSpec};
use crate::render::docker::{self, RenderedFile};

/// What Dockerfiles are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be written: what is not pinned yet is looked up.
    Write,
    /// To be compared: nothing is looked up or written.
    Check,
    /// To be built at once: whoever builds says what the base is.
    Build(Builder),
}

impl Session<'_> {
    /// Renders the files that Docker builds `image` from.
    ///
    /// # Errors
    /// [`Error::NoRoot`] in a project without an image for the root prefix, [`Error::BaseNotPinned`], and what rendering
    /// says.
    pub async fn render(&self, image: &ImageSpec, purpose: Purpose) -> Result<Vec<RenderedFile>, Error> {
        let root = self.root_image().ok_or_else(|| Error::NoRoot { image: image.name.clone() })?;
        let lock = self.current_lock(root)?;
        if image.name != root.name {
            self.current_lock(image)?;
        }
        let is_built = matches!(purpose, Purpose::Build(_));
        let base = match image.name == root.name && !is_built {
            true => self.digest_pinned(root, purpose).await?,
            false => None,
        };
        let request = docker::Request {
            base: base.as_deref(),
            cache_mounts: !matches!(purpose, Purpose::Build(Builder::Classic(_))),
            ..self.rendering(image, root, &lock)
        };
        Ok(docker::files(&request)?)
    }

    /// What Dockerfiles of `image` are rendered from, but for the base.
    pub(super) fn rendering<'r>(
        &'r self,
        image: &'r ImageSpec,
        root: &'r ImageSpec,
        lock: &'r Lock,
    ) -> docker::Request<'r> {
        docker::Request {
            project: &self.project.root,
            image,
            root: (root, lock),
            registry: self.project.registry.as_deref(),
            base: None,
            images: &self.project.images,
            cache_mounts: true,
        }
    }

    /// Writes `files` into the folder of `image`; returns those that were not there like this.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_rendered(&self, image: &ImageSpec, files: &[RenderedFile]) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        for file in files {
            let path = image.folder.join(&file.path);
            if is_written(&path, file) {
                continue;
            }
            let failed = |source| Error::WriteRendered { path: self.relative(&path), source };
            let folder = path.parent().expect("a file in the image's folder");
            fs_err::create_dir_all(folder).map_err(failed)?;
            layout::write_atomically(&path, &file.content)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(file.mode);
            fs_err::set_permissions(&path, mode).map_err(failed)?;
            written.push(path);
        }
        Ok(written)
    }

    /// The base of `image` as a registry has it, with its digest; `None` if none has it.
    async fn digest_pinned(&self, image: &ImageSpec, purpose: Purpose) -> Result<Option<String>, Error> {
        let mut pins = Pins::load(&self.project.root)?;
        let mut named: Vec<String> = Vec::new();
        for &platform in &image.platforms {
            let none = || Error::NoBase { image: image.name.clone(), platform };
            let source = image.base.as_ref().and_then(|base| base.for_platform(platform)).ok_or_else(none)?;
            let source = pins.kept(source).into_owned();
            let BaseReference::Registry(reference) = &source else { return Ok(None) };
            let name = source.to_string();
            if pins.get(&name).is_none() {
                if purpose == Purpose::Check {
                    return Err(Error::BaseNotPinned { base: name });
                }
                let request = BaseRequest {
                    source: &source,
                    platform,
                    project_root: &self.project.root,
                    cache_dir: &self.settings.cache_dir,
                    pinned: None,
                    compression: Compression::ZSTD,
                    offline: self.settings.offline,
                };
                pins.record(&base::resolve(request, &self.registry, self.progress).await?);
                pins.save()?;
            }
            let digest = pins.get(&name).map(|pin| pin.digest).filter(|_| reference.digest().is_none());
            named.push(digest.map_or_else(|| name.clone(), |digest| format!("{name}@{digest}")));
        }
        named.dedup();
        match <[String; 1]>::try_from(named) {
            Ok([base]) => Ok(Some(base)),
            Err(bases) => Err(Error::SeveralBases { image: image.name.clone(), bases }),
        }
    }
}

/// Whether the folder has `file` as it is to be.
pub fn is_written(path: &std::path::Path, file: &RenderedFile) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let is_executable = |mode: u32| mode & 0o100 != 0;
    let same_mode = || {
        let metadata = fs_err::metadata(path);
        metadata.is_ok_and(|found| is_executable(found.permissions().mode()) == is_executable(file.mode))
    };
    fs_err::read(path).is_ok_and(|content| content == file.content) && same_mode()
}
