//! Which environments an image is made of, and the layers they make.

use super::{Error, Session};
use crate::build::native::{Environment, Overview, Parent, PlannedLayer, Seen};
use crate::lock::Lock;
use crate::oci::{Compression, Platform};
use crate::project::ImageSpec;
use crate::render;

/// Where locks are taken from: the working tree, or a revision.
pub type Locks<'a> = dyn Fn(&ImageSpec) -> Result<Option<Lock>, Error> + 'a;

impl<'a> Session<'a> {
    /// The images that `image` extends and that are locked, the farthest first.
    ///
    /// # Errors
    /// When a lock cannot be read.
    pub(super) fn parents_of(&self, image: &ImageSpec, locks: &Locks<'_>) -> Result<Vec<(&'a ImageSpec, Lock)>, Error> {
        let mut parents = Vec::new();
        let mut next = image.parent.as_ref();
        while let Some(parent) = next.and_then(|name| self.project.images.get(name)) {
            parents.extend(locks(parent)?.map(|lock| (parent, lock)));
            next = parent.parent.as_ref();
        }
        parents.reverse();
        Ok(parents)
    }

    /// The environments of `image`, the lowest first: the root prefix, if it has one, and its own.
    pub(super) fn environments<'b>(
        &self,
        image: &'b ImageSpec,
        lock: &'b Lock,
        root: Option<(&'b ImageSpec, &'b Lock)>,
        parents: &'b [(&'a ImageSpec, Lock)],
    ) -> Vec<Environment<'b>> {
        let root = root.map(|(root, lock)| Environment::of(root, lock, render::ROOT_PREFIX));
        let prefix = if self.is_root(image) { render::ROOT_PREFIX } else { render::NOTEBOOK_PREFIX };
        let parents = parents.iter().map(|(parent, lock)| Parent { lock, layers: parent.layers }).collect();
        let own = Environment { parents, ..Environment::of(image, lock, prefix) };
        root.into_iter().chain([own]).collect()
    }

    /// The layers that a build of `image` from these `locks` would make for `platform`, the lowest first, without the
    /// base's and the last; `seen` is kept from one call to the next; `None` if the image, or the one of its root prefix, is not locked there.
    ///
    /// # Errors
    /// When a lock cannot be read or lacks the platform, or sizes of packages cannot be found out.
    pub async fn planned_layers(
        &self,
        image: &ImageSpec,
        platform: Platform,
        locks: &Locks<'_>,
        seen: &Seen,
    ) -> Result<Option<Vec<PlannedLayer>>, Error> {
        let Some(lock) = locks(image)? else { return Ok(None) };
        let root = self.root_of(image).map(|root| Ok::<_, Error>((root, locks(root)?))).transpose()?;
        let root = match &root {
            None => None,
            Some((root, Some(lock))) => Some((*root, lock)),
            Some((_, None)) => return Ok(None),
        };
        let parents = self.parents_of(image, locks)?;
        let client = self.channels(image)?;
        let overview = Overview {
            client: &client,
            cache_dir: &self.settings.cache_dir,
            compression: Compression::ZSTD,
            seen,
            jobs: self.settings.jobs,
            progress: self.progress,
        };
        Ok(Some(overview.layers(&self.environments(image, &lock, root, &parents), platform.subdir()).await?))
    }
}
