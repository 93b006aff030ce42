//! What a plan has to know of a package, so that it can be made without the archive: what is in `info/`, the paths, and
//! the link scripts.
//!
//! It is read once for each package and kept in the cache, and goes out with images ([`super::published`]). Digests are
//! the larger half of what packages say of their files, and needed only where a wheel and another package have the same
//! path: those of files that this is usual for are in it, for others the archives are looked into again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rattler_conda_types::package::{EntryPoint, FileMode, IndexJson, PathType, PathsEntry, PrefixPlaceholder};
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::error::Error;
use super::link_scripts::Scripts;
use super::package::{Info, ListedPath};
use super::paths::PrefixPath;
use super::pinned::Pinned;
use super::prefix::{Inspected, check_identity};
use super::store::{self, Store};
use super::wheel::{DescribedWheel, Wheel};
use crate::oci::Digest;

/// The kind under which descriptions are kept in the [`Store`]: with the other things that plans are made of.
const KIND: &str = "plans";

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Described {
    /// A package of conda's.
    Conda(Box<DescribedConda>),
    /// One of pip's.
    Wheel(Box<DescribedWheel>),
}

/// A package of conda's, as it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DescribedConda {
    size: u64,
    built: u64,
    index: IndexJson,
    /// Files that are the same in every prefix.
    files: Vec<PrefixPath>,
    /// Files with a placeholder.
    moved: Vec<PrefixPath>,
    links: Vec<PrefixPath>,
    directories: Vec<PrefixPath>,
    /// Of files that other packages often have as well.
    digests: BTreeMap<PrefixPath, Digest>,
    entry_points: Vec<EntryPoint>,
    scripts: Scripts,
}

/// Whether packages of one namespace each bring the file `path`.
pub fn is_often_shared(path: &PrefixPath) -> bool {
    matches!(path.name(), "__init__.py" | "py.typed")
}

impl Described {
    /// What a plan needs of `package`; nothing for what could not be read again.
    pub fn of(package: &Inspected) -> Option<Self> {
        match package {
            Inspected::Conda(archive, info, scripts) => {
                let paths = |wanted: &dyn Fn(&PathsEntry) -> bool| {
                    let listed = info.paths.iter().filter(|listed| wanted(&listed.entry));
                    listed.map(|listed| listed.path.clone()).collect::<Vec<_>>()
                };
                let is_moved = |entry: &PathsEntry| entry.prefix_placeholder.is_some();
                let is = |entry: &PathsEntry, kind| entry.path_type == kind;
                let shared = info.paths.iter().filter(|listed| is_often_shared(&listed.path));
                let digests = shared
                    .filter(|listed| !is_moved(&listed.entry))
                    .filter_map(|listed| Some((listed.path.clone(), Digest::from_bytes(listed.entry.sha256?.into()))));
                Some(Self::Conda(Box::new(DescribedConda {
                    size: archive.size(),
                    built: info.timestamp,
                    index: info.index.clone(),
                    files: paths(&|entry| is(entry, PathType::HardLink) && !is_moved(entry)),
                    moved: paths(&|entry| is(entry, PathType::HardLink) && is_moved(entry)),
                    links: paths(&|entry| is(entry, PathType::SoftLink)),
                    directories: paths(&|entry| is(entry, PathType::Directory)),
                    digests: digests.collect(),
                    entry_points: info.entry_points.clone(),
                    scripts: scripts.clone(),
                })))
            }
            Inspected::Wheel(wheel) => wheel.described().map(|wheel| Self::Wheel(Box::new(wheel))),
        }
    }

    /// What a plan takes for `package`, of whose archive nothing can be read; `None` if this is another's description, or
    /// no package could have it.
    pub fn inspected(&self, package: &Pinned) -> Option<Inspected> {
        match self {
            Self::Conda(conda) if package.is_conda() => conda.inspected(package),
            Self::Wheel(wheel) if !package.is_conda() => {
                Wheel::of_described(package, wheel).map(|wheel| Inspected::Wheel(Box::new(wheel)))
            }
            _ => None,
        }
    }
}

impl DescribedConda {
    fn inspected(&self, package: &Pinned) -> Option<Inspected> {
        let archive = Archive::of_size(package.path().to_owned(), package.locked.file_name(), self.size).ok()?;
        let list = |paths: &[PrefixPath], kind, moved| {
            paths.iter().map(|path| listed(path, kind, moved, self.digests.get(path))).collect::<Vec<_>>()
        };
        let mut paths = list(&self.files, PathType::HardLink, false);
        paths.extend(list(&self.moved, PathType::HardLink, true));
        paths.extend(list(&self.links, PathType::SoftLink, false));
        paths.extend(list(&self.directories, PathType::Directory, false));
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        if paths.windows(2).any(|pair| pair[0].path == pair[1].path) {
            return None;
        }
        let (entry_points, timestamp) = (self.entry_points.clone(), self.built);
        let info = Info { index: self.index.clone(), paths, entry_points, timestamp };
        check_identity(package, &info, &archive).ok()?;
        Some(Inspected::Conda(archive, Box::new(info), self.scripts.clone()))
    }
}

/// An entry as far as plans look at it.
fn listed(path: &PrefixPath, path_type: PathType, moved: bool, digest: Option<&Digest>) -> ListedPath {
    let placeholder =
        PrefixPlaceholder { file_mode: FileMode::Text, placeholder: String::new(), experimental_offsets: None };
    let entry = PathsEntry {
        relative_path: PathBuf::from(path.as_str()),
        no_link: false,
        path_type,
        prefix_placeholder: moved.then_some(placeholder),
        sha256: digest.map(|digest| digest.bytes().into()),
        size_in_bytes: None,
    };
    ListedPath { path: path.clone(), entry }
}

fn key(package: &Pinned) -> Digest {
    store::key("described", &(package.is_conda(), &package.sha256))
}

/// The description of `package`, if its archive was read before.
pub fn known(store: &Store, package: &Pinned) -> Option<Described> {
    store.get(KIND, &key(package))
}

/// Keeps what was read of `package`, which must have come out of its archive.
///
/// # Errors
/// When the cache cannot be written.
pub fn remember(store: &Store, package: &Pinned, inspected: &Inspected) -> Result<(), Error> {
    match Described::of(inspected) {
        Some(described) => store.put(KIND, &key(package), &described),
        None => Ok(()),
    }
}
