//! Packages straight to OCI layers, with no daemon and no emulation.
//!
//! ```text
//! Lock ─► Pinned ─► PrefixPlan ─► Fragment ─► Part ─► PackageLayer ─► layer blob ─► image
//!         (sha256)  (who wins     (what is    (cached  (which parts    (parts one    (index of
//!                    each path)    to make)    tar)     share one)      after another) platforms)
//! ```
//!
//! Nothing of the target is executed and no prefix is laid out: the members of each archive stream through
//! (`archive`), are checked (`paths`, `packing`), moved to the prefix, and come out as compressed tar entries
//! (`fragment`). A part depends on its package and a few words about the environment, so it is made once and kept
//! (`store`); layers are parts one after another (`layer`). What is in the cache is never needed for the result to
//! be right, and never changes it.
//!
//! What is missing is made in one go (`schedule`, `queue`): a layer is put together as soon as its last part is there, while
//! other packages are still being packed. Platforms share what `noarch` packages come to, and byte code (`siblings`).
//!
//! Memory stays bounded: files are streamed except those with a placeholder, which share a budget (`work`).

mod archive;
mod asked;
mod attach;
mod bases;
mod candidates;
mod debian;
mod described;
mod effects;
mod engine;
mod entries;
mod error;
mod fragment;
mod history;
pub(super) mod image;
pub mod inputs;
mod install;
mod interpreter;
mod layer;
mod leaving;
mod link_scripts;
mod looked;
mod making;
mod overlap;
mod overview;
mod package;
mod packing;
mod paths;
mod pinned;
pub mod plan;
mod planning;
mod prefix;
pub mod published;
mod pyc;
mod python;
mod queue;
mod record;
mod schedule;
mod siblings;
pub(super) mod store;
mod system;
mod wheel;
mod work;

use std::collections::BTreeMap;
use std::path::Path;

use rattler_conda_types::Subdir;

pub use asked::{Asked, AskedFor};
pub use error::{Error, HostSubdir};
pub use overview::{Named, Overview, PlannedLayer, Seen};
pub use paths::PathFault;
pub use plan::Group;
use published::Published;

use super::Built;
use super::base::BaseImage;
use super::debian::DebianRequest;
use crate::channel::Client;
use crate::lock::{Lock, LockedPackage};
use crate::oci::{Compression, Platform};
use crate::progress::Progress;
use crate::project::{ImageSpec, Strip};
use crate::render::ImageContent;

/// The most layers of an environment below another. The root prefix changes seldom, and as a whole.
const LOWER_LAYERS: usize = 3;

/// An image to be built.
pub struct Request<'a> {
    /// What the image is called.
    pub image: &'a str,
    /// Its environments, the lowest first: the root prefix, if it has one, then the notebook's.
    pub environments: Vec<Environment<'a>>,
    /// For which platforms, in the order they are listed in the index.
    pub platforms: &'a [Platform],
    /// The base system of each platform.
    pub bases: &'a BTreeMap<Platform, BaseImage>,
    /// Debian packages that are installed on the bases, if any.
    pub debian: Option<DebianRequest<'a>>,
    /// What is added besides packages.
    pub content: &'a ImageContent,
    /// How layers are compressed.
    pub compression: Compression,
    /// The time that the image carries, in seconds since 1970; by default that of its newest package.
    pub source_date_epoch: Option<u64>,
    /// Where parts of layers are kept. Several builds may share it at the same time.
    pub cache_dir: &'a Path,
    /// How many threads work.
    pub jobs: usize,
    /// Whether SBOMs and provenance are put beside the images.
    pub sbom: bool,
    /// What it has to do with images in registries.
    pub reuse: Reuse<'a>,
}

/// What a build takes from images that were published, and leaves for those that will be built on another machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reuse<'a> {
    /// Images to take from.
    pub from: Option<&'a Published<'a>>,
    /// Whether layers that they have are left where they are: the layout lacks them, and only a registry can be filled
    /// from it.
    pub remote: bool,
    /// Whether a record for later builds is put beside the image.
    pub record: bool,
}

/// A prefix and what is in it.
pub struct Environment<'a> {
    /// Absolute path in the image.
    pub prefix: &'a str,
    /// Its packages.
    pub lock: &'a Lock,
    /// Packages whose link scripts are known not to matter.
    pub skip_link_scripts: &'a [String],
    /// Files of packages that are left out.
    pub strip: &'a Strip,
    /// The most layers it may take; an environment below another takes at most three.
    pub layers: usize,
    /// The locks it extends, the farthest first: layers that serve their images are kept together.
    pub parents: Vec<Parent<'a>>,
    /// The specs that were asked for, for `conda-meta/history`.
    pub requested: BTreeMap<Subdir, Vec<String>>,
    /// The pip packages that were asked for.
    pub asked: AskedFor,
}

/// An image that another one extends.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its packages.
    pub lock: &'a Lock,
    /// The most layers it may take.
    pub layers: usize,
}

impl<'a> Environment<'a> {
    /// The environment of `image`, solved as `lock`, at `prefix`.
    pub fn of(image: &'a ImageSpec, lock: &'a Lock, prefix: &'a str) -> Self {
        let wanted = |subdir: Subdir| {
            let all = image.environments.iter().flat_map(|environment| &environment.dependencies);
            let here = all.filter(|dep| dep.selector.as_ref().is_none_or(|subdirs| subdirs.contains(&subdir)));
            let mut specs: Vec<_> = here.map(|dependency| dependency.spec.clone()).collect();
            specs.sort();
            specs.dedup();
            (subdir, specs)
        };
        Self {
            prefix,
            lock,
            skip_link_scripts: &image.skip_link_scripts,
            strip: &image.strip,
            layers: image.layers,
            parents: Vec::new(),
            requested: lock.subdirs.iter().copied().map(wanted).collect(),
            asked: asked::asked_for(image, &lock.subdirs),
        }
    }

    /// Why `package` is installed, if it is pip's.
    fn asked(&self, package: &LockedPackage) -> Asked {
        let asked = self.asked.get(&package.subdir).and_then(|asked| asked.get(&wheel::plain(&package.name)));
        asked.copied().unwrap_or_default()
    }
}

/// Builds the image into the OCI layout at `layout`, which is made when needed.
///
/// Dropping the future stops the work; what is in the cache and in the layout stays valid.
///
/// # Errors
/// See [`Error`].
pub async fn build(
    request: &Request<'_>,
    client: &Client,
    layout: &Path,
    progress: &dyn Progress,
) -> Result<Built, Error> {
    let from = request.reuse.from;
    match engine::Engine::open(request, from, client, layout, progress)?.build().await {
        Err(error @ Error::Misdescribed { .. }) => {
            progress.warning(&format!("nothing is taken from published images: {error}"));
            engine::Engine::open(request, None, client, layout, progress)?.build().await
        }
        built => built,
    }
}
