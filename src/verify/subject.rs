//! One platform of an image as the checks see it: what was asked for, and what the layers hold.

use super::checks::may_hold_secrets;
use super::installed::{Prefix, is_record};
use super::runtime::ContainerConfig;
use super::tree::{Tree, Wanted};
use crate::lock::{Lock, LockedPackage, Manager};
use crate::oci::{Error, Image, Layout, Platform};
use crate::project::ImageSpec;

/// The notebook environment's prefix in an image, relative to its root.
const NOTEBOOK_PREFIX: &str = "srv/conda/envs/notebook";
/// The prefix of conda itself, relative to the image's root.
pub const ROOT_PREFIX: &str = "srv/conda";

/// Files whose content checks look into, besides conda's records.
const FILES: [&str; 7] = [
    "etc/passwd",
    "etc/profile.d/init_conda.sh",
    "srv/conda/.condarc",
    "srv/conda/etc/dask.yml",
    "srv/start",
    "usr/lib/os-release",
    "var/lib/dpkg/status",
];

/// One platform of an image, read.
pub struct Subject<'a> {
    /// What was asked for.
    pub spec: &'a ImageSpec,
    /// The environment's lock.
    pub lock: &'a Lock,
    /// The lock of the root prefix, if the image has one.
    pub root: Option<&'a Lock>,
    /// The image.
    pub image: Image,
    /// What its configuration says about running it.
    pub container: ContainerConfig,
    /// Its files.
    pub tree: Tree,
    /// Where its environment is, relative to the image's root: in the image of the root prefix, that.
    pub prefix: &'static str,
    /// What is installed in [`prefix`](Self::prefix).
    pub installed: Prefix,
    /// What is installed in the root prefix below it; nothing where that is the environment itself.
    pub installed_root: Prefix,
}

/// What an image was made from.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The image in the project.
    pub spec: &'a ImageSpec,
    /// Its lock.
    pub lock: &'a Lock,
    /// The lock of the root prefix, if it has one.
    pub root: Option<&'a Lock>,
    /// Whether its environment is the root prefix.
    pub is_root: bool,
}

impl<'a> Subject<'a> {
    /// Reads the layers of `image`.
    ///
    /// # Errors
    /// When a layer is missing or damaged.
    pub fn read(asked: Asked<'a>, image: Image, layout: &Layout) -> Result<Self, Error> {
        let wanted = Wanted {
            content: &|path, size| FILES.contains(&path) || is_record(path) || may_hold_secrets(path, size),
            // What packages bring is below the prefixes.
            digest: &|path| path.starts_with("srv/conda/"),
        };
        let tree = Tree::read(&image, layout, &wanted)?;
        Ok(Self::new(asked, image, tree))
    }

    /// Puts a subject together from an image and its files.
    pub fn new(asked: Asked<'a>, image: Image, mut tree: Tree) -> Self {
        let prefix = if asked.is_root { ROOT_PREFIX } else { NOTEBOOK_PREFIX };
        let installed = Prefix::read(&tree, prefix);
        let installed_root = if asked.is_root { Prefix::default() } else { Prefix::read(&tree, ROOT_PREFIX) };
        // The records of a large environment are 100 MiB and have been read.
        tree.contents.retain(|path, _| !is_record(path) || may_hold_secrets(path, 0));
        Self {
            spec: asked.spec,
            lock: asked.lock,
            root: asked.root,
            container: ContainerConfig::new(&image.config),
            prefix,
            installed,
            installed_root,
            image,
            tree,
        }
    }

    /// The platform.
    pub const fn platform(&self) -> Platform {
        self.image.platform
    }

    /// Whether its environment is the root prefix.
    pub fn is_root(&self) -> bool {
        self.prefix == ROOT_PREFIX
    }

    /// The locked conda package of this name for this platform.
    pub fn locked(&self, name: &str) -> Option<&'a LockedPackage> {
        conda_packages(self.lock, self.platform()).find(|package| package.name == name)
    }

    /// Content of the image's `/etc/passwd`.
    pub fn passwd(&self) -> &str {
        self.tree.text("etc/passwd").unwrap_or_default()
    }
}

/// The conda packages of `lock` for `platform`.
pub fn conda_packages(lock: &Lock, platform: Platform) -> impl Iterator<Item = &LockedPackage> {
    lock.packages_for(platform.subdir()).filter(|package| package.manager == Manager::Conda)
}
