//! Layers of images that stayed where they are: a build for registries alone leaves out of the layout what published images
//! have. What needs them afterwards fetches them, each by its digest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

use super::{Error, Session};
use crate::build::Built;
use crate::oci::{self, Digest, Layer, Layout, Platform, canonical_json, layout, reference};
use crate::progress::{Task, Unit};
use crate::project::{ImageSpec, Project};
use crate::registry;

/// How many downloads run at once.
const AT_ONCE: usize = 4;

/// Where layers of an image can be had.
#[derive(Serialize, Deserialize)]
struct Remote {
    /// Of the image index in the layout.
    digest: Digest,
    /// An image of each repository that has its layers.
    references: Vec<String>,
}

impl Session<'_> {
    /// Notes that `references` have the layers that the layout of `built` may lack.
    ///
    /// # Errors
    /// [`Error::Layout`] when the note cannot be written.
    pub fn note_remote(&self, image: &ImageSpec, built: &Built, references: &[Reference]) -> Result<(), Error> {
        let mut seen = HashSet::new();
        // Layers are a repository's: other tags of it have no others.
        let repositories = references.iter().filter(|it| seen.insert((it.registry(), it.repository())));
        let references = repositories.map(ToString::to_string).collect();
        let path = remote_path(self.project, &image.name);
        let folder = path.parent().expect("a file in the state folder");
        fs_err::create_dir_all(folder).map_err(|source| oci::Error::Write { path: folder.to_owned(), source })?;
        layout::write_atomically(&path, &canonical_json(&Remote { digest: built.digest, references }))?;
        Ok(())
    }

    /// Where the layers can be had that `layout`, which holds `image`, lacks.
    pub(super) fn remote_sources(&self, image: &ImageSpec, layout: &Layout) -> Vec<Reference> {
        noted(&remote_path(self.project, &image.name), layout)
    }

    /// Brings the layers for `platforms`, all of them if none is named, that `layout` lacks and registries have.
    ///
    /// # Errors
    /// When the layout cannot be read, or a registry has a layer no more.
    pub(super) async fn complete(
        &self,
        image: &ImageSpec,
        layout: &Layout,
        platforms: &[Platform],
    ) -> Result<(), Error> {
        let images = layout.images()?.into_iter();
        let images = images.filter(|image| platforms.is_empty() || platforms.contains(&image.platform));
        let mut missing: Vec<Layer> = images.flat_map(|image| image.layers).collect();
        missing.retain(|layer| !layout.has(&layer.digest, layer.size));
        missing.sort_by_key(|layer| layer.digest);
        missing.dedup_by_key(|layer| layer.digest);
        let sources = if missing.is_empty() { vec![] } else { self.remote_sources(image, layout) };
        if sources.is_empty() || self.settings.offline {
            return Ok(());
        }
        let total = missing.iter().map(|layer| layer.size).sum();
        let task = Task::start(self.progress, "pulling layers that are in the registry", Some(total), Unit::Bytes);
        let count = |bytes| task.advance(bytes);
        // Collected: a stream over the closure itself could not move to another thread (rust-lang/rust#102211).
        let pulls: Vec<_> = missing.iter().map(|layer| self.pull(layer, &sources, layout, &count)).collect();
        futures::stream::iter(pulls).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(())
    }

    /// Brings one layer from the first of `sources` that has it.
    async fn pull(
        &self,
        layer: &Layer,
        sources: &[Reference],
        layout: &Layout,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<(), registry::Error> {
        let mut result = Ok(());
        for source in sources {
            result = self.registry.blob(source, &layer.descriptor, layout, count).await.map(drop);
            if result.is_ok() {
                break;
            }
        }
        result
    }
}

/// Where the layers can be had that the layout at `path` lacks, if it is one that `project` keeps an image in.
pub fn left_of(project: &Project, path: &Path) -> Vec<Reference> {
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    let is_it = |image: &&String| project.layout_dir(image).canonicalize().is_ok_and(|layout| layout == path);
    let (image, layout) = (project.images.keys().find(is_it), Layout::open(&path).ok());
    image.zip(layout).map(|(image, layout)| noted(&remote_path(project, image), &layout)).unwrap_or_default()
}

/// What the note at `path` says; nothing if it is not of what `layout` holds now.
fn noted(path: &Path, layout: &Layout) -> Vec<Reference> {
    // A note that cannot be read is none: what is missing is told as if there had never been one.
    let note = fs_err::read(path).ok().and_then(|bytes| serde_json::from_slice::<Remote>(&bytes).ok());
    let note = note.filter(|note| layout.image_index_digest().is_ok_and(|digest| digest == note.digest));
    note.map(|note| note.references.iter().filter_map(|name| reference::parse(name).ok()).collect()).unwrap_or_default()
}

fn remote_path(project: &Project, image: &str) -> PathBuf {
    project.state_dir().join("remote").join(format!("{image}.json"))
}
