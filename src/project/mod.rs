//! What is asked for: the project's folder, `esker.yml`, the image folders and their `environment.yml`.
//!
//! Everything a user writes is read here, with the file, line and column of whatever is wrong.

mod apt;
mod base;
mod config;
mod discover;
mod docker;
mod environment;
mod error;
mod fields;
mod merge;
mod release;
mod relock;
mod requirement;
mod resolve;
mod review;
mod selector;
mod snapshot;
mod spec;
mod strip;
mod text;
mod virtual_packages;
mod yaml;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use oci_spec::distribution::Reference;
use rattler_conda_types::Subdir;

use crate::cache::Size;
use crate::oci::Platform;

pub use apt::AptRequest;
pub use base::{ParseBaseError, ParseMirrorError};
pub use docker::DockerSettings;
pub use error::{ChannelConflict, Conflict, Error, Help};
pub use fields::SUBDIRS;
pub use merge::{Merged, MergedSpec, merge};
pub use release::DebianRelease;
pub use relock::{Age, Cutoff, RelockPolicy, Relocking};
pub use requirement::{Requirement, RequirementError, parse_requirement, requirement, sha256_of, wheel_url};
pub use review::{ChangeKind, Denied};
pub use snapshot::Snapshot;
pub use spec::{SpecError, lint, match_spec};
pub use strip::Strip;

/// A folder of images, read and checked.
#[derive(Clone, Debug)]
pub struct Project {
    /// The folder that holds `esker.yml`, or would; absolute.
    pub root: PathBuf,
    /// The registry and namespace that images are named after (`quay.io/pangeo`), if the project has one.
    pub registry: Option<String>,
    /// What builds images (`engine:`).
    pub engine: EngineKind,
    /// The BuildKit daemon that builds instead of the Docker engine (`buildkitd:`).
    pub buildkitd: Option<String>,
    /// What the cache may have after a build (`cache-limit:`).
    pub cache_limit: Option<Size>,
    /// The images by name, parents before children, else by name.
    pub images: IndexMap<String, ImageSpec>,
    /// Which image's environment is the root prefix `/srv/conda` (`root:`, by default `base-image` if it exists).
    pub root_image: Option<String>,
    /// Changes of locks that `esker diff` refuses (`deny:`, `allow:`).
    pub denied: Denied,
}

/// What builds images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// esker itself: packages to layers, with nothing run.
    #[default]
    Native,
    /// The Docker engine or a BuildKit daemon, from Dockerfiles.
    Docker,
}

/// One image: its own folder and all it inherits.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    /// The folder's name, and the image's.
    pub name: String,
    /// The image's folder; absolute.
    pub folder: PathBuf,
    /// The folder that holds its build files: `binder/`, else `.binder/`, else [`folder`](Self::folder).
    pub files: PathBuf,
    /// The image whose environment this one extends.
    pub parent: Option<String>,
    /// Environments to merge: its own, its parent's, its grandparent's.
    pub environments: Vec<Environment>,
    /// Platforms that images are built for, in the order they are listed in the index.
    pub platforms: Vec<Platform>,
    /// Subdirs the environment is solved for: at least those of `platforms`.
    pub subdirs: Vec<Subdir>,
    /// `virtual-packages.yml`, if the folder has one.
    pub virtual_packages: VirtualPackages,
    /// Channel mirrors of `esker.yml`, the image's own before the project's.
    pub mirrors: Vec<Mirror>,
    /// The system that images are built on.
    pub base: Option<BaseSource>,
    /// Extra environment variables of the image (`env:`), over those every image has.
    pub env: IndexMap<String, String>,
    /// Extra labels of the image (`labels:`).
    pub labels: IndexMap<String, String>,
    /// Commands whose outputs verify tells, by what they are called (`info:`).
    pub info: IndexMap<String, String>,
    /// What is done about the packages of `apt.txt`.
    pub apt: AptPolicy,
    /// How they are locked and installed.
    pub debian: DebianSettings,
    /// Packages whose link scripts are known not to matter and are left out (`skip-link-scripts:`).
    pub skip_link_scripts: Vec<String>,
    /// Files of packages that are left out (`strip:`).
    pub strip: Strip,
    /// The most layers the conda packages may take (`layers:`).
    pub layers: usize,
    /// What its lock may move.
    pub relocking: Relocking,
    /// Whether SBOMs and provenance are put beside the image (`sbom:`).
    pub sbom: bool,
    /// Images that builds take what has not changed from, in the order they are asked (`cache-from:`).
    pub cache_from: Vec<Reference>,
    /// How its Dockerfile is rendered (`docker:`).
    pub docker: DockerSettings,
}

/// What `apt.txt` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AptPolicy {
    /// Its packages are locked and installed.
    #[default]
    Install,
    /// A non-empty `apt.txt` is an error.
    Refuse,
    /// `apt.txt` is left out of the image; verify reports it as not run.
    Skip,
}

/// How Debian packages are locked and installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebianSettings {
    /// The time of the archive they come from (`apt-snapshot:`), instead of that of the lock.
    pub snapshot: Option<Snapshot>,
    /// Packages whose maintainer scripts are known not to matter (`skip-maintainer-scripts:`).
    pub skip_maintainer_scripts: Vec<String>,
}

/// Where the base system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseSource {
    /// The same source for every platform.
    Any(BaseReference),
    /// One source a platform.
    PerPlatform(IndexMap<Platform, BaseReference>),
}

/// One base system, as written in `base:` or `--base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseReference {
    /// `debian:bookworm`: made here of Debian's packages; no registry is asked.
    Debian(DebianRelease),
    /// An image in a registry: `docker.io/library/debian:bookworm-slim`.
    Registry(oci_spec::distribution::Reference),
    /// `oci:DIR`, an OCI layout; relative to the project's root.
    Layout(PathBuf),
    /// `rootfs:FILE.tar`, a root file system; relative to the project's root.
    Rootfs(PathBuf),
}

/// A channel URL prefix and where to fetch it from instead: `FROM=TO`. Several for one prefix are tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The canonical prefix, as it is written to locks.
    pub from: url::Url,
    /// `http(s)://` or `file://`.
    pub to: url::Url,
}

/// One `environment.yml`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The file; absolute.
    pub path: PathBuf,
    /// `name:`, if it has one.
    pub name: Option<String>,
    /// Channels in order of priority, without `nodefaults`.
    pub channels: Vec<String>,
    /// Where each of them stands.
    pub channel_places: Vec<Place>,
    /// conda dependencies, in the file's order.
    pub dependencies: Vec<Dependency>,
    /// `pip:` requirements, in the file's order, all blocks together.
    pub pip: Vec<Dependency>,
    /// `platforms:`, if it has the key.
    pub platforms: Option<Vec<Subdir>>,
    /// `category:`, if it has the key.
    pub category: Option<String>,
    /// `variables:`, in the file's order.
    pub variables: IndexMap<String, String>,
}

/// One line of `dependencies:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The spec as written, trimmed, without the comment.
    pub spec: String,
    /// The subdirs its selector (`# [linux64]`) keeps it for; `None` without a selector.
    pub selector: Option<Vec<Subdir>>,
    /// Where it stands.
    pub place: Place,
}

/// A place in a user's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

/// `virtual-packages.yml`: versions of virtual packages by subdir, laid over the defaults name by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualPackages {
    /// The file, if there is one.
    pub path: Option<PathBuf>,
    /// `replace: true`: nothing of the defaults stays.
    pub replace: bool,
    /// Version (and, where one is written, the build string) by name by subdir.
    pub subdirs: IndexMap<Subdir, IndexMap<String, String>>,
}

impl Project {
    /// Where built layouts, stamps and recorded digests of this project go: `.esker` in the root.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join(".esker")
    }

    /// The layout that `build` writes and `verify` reads when nothing else is asked for.
    pub fn layout_dir(&self, image: &str) -> PathBuf {
        self.state_dir().join("images").join(image)
    }
}

impl ImageSpec {
    /// The image's `conda-lock.yml`.
    pub fn lock_path(&self) -> PathBuf {
        self.folder.join("conda-lock.yml")
    }

    /// The image's explicit lock for `subdir`.
    pub fn explicit_lock_path(&self, subdir: Subdir) -> PathBuf {
        self.folder.join(format!("conda-{subdir}.lock"))
    }

    /// The image's `packages.txt`.
    pub fn packages_path(&self) -> PathBuf {
        self.folder.join("packages.txt")
    }

    /// The file `name` of the image's build files, if it exists.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.files.join(name)).filter(|path: &PathBuf| Path::is_file(path))
    }
}
