//! A Python that runs on this machine, from the packages of the same lock, for compiling byte code.
//!
//! Only `python` and what it needs to start are laid out, once, in the cache. It is the one thing of a lock that is
//! ever executed here, and it is executed on every architecture that images are built on, so that all write the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rattler::install::link::copy_and_replace_placeholders;
use rattler_conda_types::Subdir;
use rattler_conda_types::package::{PathType, PrefixPlaceholder};
use serde::{Deserialize, Serialize};

use super::archive::{Archive, Section, What};
use super::error::{Error, HostSubdir};
use super::install::{Installed, Origin};
use super::package::{Info, ListedPath, read_all};
use super::paths::{PathFault, PrefixPath, link_target};
use super::pinned::Pinned;
use super::store::{self, Store};
use super::work::Cancel;
use crate::cache;
use crate::oci::{Digest, Platform};

/// The packages of a Python for this machine.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// `3.12`.
    version: String,
    /// `python` and what it needs, by name.
    pub packages: Vec<Pinned>,
    /// SHA-256 of `python`: what the byte code depends on.
    pub id: String,
}

impl Interpreter {
    /// Major and minor version: `3.12`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Which subdir's packages run here.
    pub fn subdir() -> HostSubdir {
        HostSubdir(Platform::host().map(Platform::subdir))
    }

    /// Chooses from `packages`, those of the lock for [`subdir`](Self::subdir).
    ///
    /// # Errors
    /// [`Error::NoHostPython`] when there is no `python` of this version among them.
    pub fn choose(packages: &[Pinned], version: &str, prefix: &str) -> Result<Self, Error> {
        let by_name: BTreeMap<&str, &Pinned> =
            packages.iter().filter(|package| package.is_conda()).map(|package| (package.name(), package)).collect();
        let python = by_name.get("python").filter(|python| is_version(&python.locked.version, version));
        let python = python.ok_or_else(|| Error::NoHostPython {
            prefix: prefix.to_owned(),
            version: version.to_owned(),
            subdir: Self::subdir(),
        })?;
        let mut needed = BTreeSet::new();
        let mut open = vec![python.name()];
        while let Some(name) = open.pop() {
            // noarch packages are data and Python modules: the compiler needs none.
            let Some(package) = by_name.get(name).filter(|package| !package.locked.is_noarch()) else { continue };
            if needed.insert(name) {
                open.extend(package.locked.dependencies.keys().map(String::as_str));
            }
        }
        let id = python.sha256.clone();
        let packages = needed.into_iter().map(|name| by_name[name].clone()).collect();
        Ok(Self { version: version.to_owned(), packages, id })
    }

    /// Lays it out in the cache, unless it is there; returns its program. The packages must have been fetched.
    ///
    /// # Errors
    /// When a package is damaged or hostile, or the cache cannot be written.
    pub fn lay_out(&self, store: &Store, cancel: &Cancel) -> Result<PathBuf, Error> {
        let hashes: Vec<_> = self.packages.iter().map(|package| &package.sha256).collect();
        let key = store::key("pythons", &hashes);
        let prefix = store.path("pythons", &key);
        let program = prefix.join("bin").join(format!("python{}", self.version));
        if store.get::<LaidOut>("pythons", &key).is_some() && program.exists() {
            return Ok(program);
        }
        let folder = store.temporary_directory()?;
        for package in &self.packages {
            Unpacking { archive: package.archive()?, root: folder.path(), prefix: &prefix, cancel }.run()?;
        }
        let digest = cache::tree_digest(folder.path()).map_err(Error::read(folder.path()))?;
        store::make_parent(&prefix)?;
        let folder = folder.keep();
        match fs_err::rename(&folder, &prefix) {
            Ok(()) => {}
            // Another build was quicker; it made the same.
            Err(_) if program.exists() => drop(fs_err::remove_dir_all(&folder)),
            Err(error) => return Err(Error::write(&prefix)(error)),
        }
        store.put("pythons", &key, &LaidOut { digest })?;
        Ok(program)
    }
}

/// What is known of an interpreter in the cache.
#[derive(Serialize, Deserialize)]
struct LaidOut {
    /// Of all its files.
    digest: Digest,
}

fn is_version(full: &str, wanted: &str) -> bool {
    full.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// One package being laid out below `root`, to be moved to `prefix`.
struct Unpacking<'a> {
    archive: Archive,
    root: &'a Path,
    prefix: &'a Path,
    cancel: &'a Cancel,
}

impl Unpacking<'_> {
    fn run(&self) -> Result<(), Error> {
        let prefix = self.prefix.to_str().ok_or_else(|| {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the cache's path is not UTF-8");
            Error::Write { path: self.prefix.to_owned(), source }
        })?;
        let info = Info::read(&self.archive)?;
        let installed = Installed::of(&info, &self.archive, None, prefix)?;
        let members: BTreeMap<&str, &ListedPath> = installed
            .files
            .values()
            .filter_map(|origin| match origin {
                Origin::Member(index) => Some((info.paths[*index].path.as_str(), &info.paths[*index])),
                _ => None,
            })
            .collect();
        self.archive.walk(Section::Content, &mut |member| {
            self.cancel.check()?;
            let Some(listed) = members.get(member.path.as_str()) else { return Ok(()) };
            match member.what {
                What::File(size, data) => self.file(listed, member.executable, size, data, prefix),
                What::Symlink(target) => self.symlink(listed, &target, prefix),
                What::Hardlink(target) => self.copy(listed, &target),
                What::Directory => Ok(()),
            }
        })
    }

    /// Where `path` is on disk. Nothing is written through a link, whichever package it is of.
    fn place(&self, path: &PrefixPath) -> Result<PathBuf, Error> {
        let above: Vec<_> = path.ancestors().collect();
        for directory in above.into_iter().rev() {
            let place = self.root.join(directory);
            match fs_err::symlink_metadata(&place) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(self.archive.fault(path.as_str().as_bytes(), PathFault::OtherType)),
                Err(_) => fs_err::create_dir(&place).map_err(Error::write(&place))?,
            }
        }
        Ok(self.root.join(path.as_str()))
    }

    /// The same, with nothing there. Where packages overlap, any of the files serves to compile.
    fn free_place(&self, path: &PrefixPath) -> Result<PathBuf, Error> {
        let place = self.place(path)?;
        if fs_err::symlink_metadata(&place).is_ok() {
            fs_err::remove_file(&place).map_err(Error::write(&place))?;
        }
        Ok(place)
    }

    fn file(
        &self,
        listed: &ListedPath,
        executable: bool,
        size: u64,
        data: &mut dyn Read,
        prefix: &str,
    ) -> Result<(), Error> {
        let place = self.free_place(&listed.path)?;
        let mut file = fs_err::File::create_new(&place).map_err(Error::write(&place))?;
        let content = read_all(&self.archive, &listed.path, size, data)?;
        let content = match &listed.entry.prefix_placeholder {
            None => content,
            Some(placeholder) => self.moved(&content, placeholder, &listed.path, prefix)?,
        };
        file.write_all(&content).map_err(Error::write(&place))?;
        let mode = if executable { 0o755 } else { 0o644 };
        file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(Error::write(&place))
    }

    fn moved(
        &self,
        content: &[u8],
        placeholder: &PrefixPlaceholder,
        path: &PrefixPath,
        prefix: &str,
    ) -> Result<Vec<u8>, Error> {
        let mut moved = Vec::new();
        let (from, mode) = (&placeholder.placeholder, placeholder.file_mode);
        copy_and_replace_placeholders(content, &mut moved, from, prefix, &Subdir::Linux64, mode).map_err(|source| {
            Error::Placeholder {
                package: self.archive.name.clone(),
                path: path.to_string(),
                prefix: prefix.to_owned(),
                source,
            }
        })?;
        Ok(moved)
    }

    fn symlink(&self, listed: &ListedPath, target: &[u8], prefix: &str) -> Result<(), Error> {
        let fault = |fault| self.archive.fault(listed.path.as_str().as_bytes(), fault);
        let target = link_target(&listed.path, target, prefix, []).map_err(fault)?;
        if target.starts_with('/') || listed.entry.path_type != PathType::SoftLink {
            return Err(fault(PathFault::Escapes(target)));
        }
        let place = self.free_place(&listed.path)?;
        symlink(target, &place).map_err(Error::write(&place))
    }

    fn copy(&self, listed: &ListedPath, target: &PrefixPath) -> Result<(), Error> {
        let source = self.place(target)?;
        let place = self.free_place(&listed.path)?;
        let is_file = fs_err::symlink_metadata(&source).is_ok_and(|found| found.is_file());
        if !is_file {
            let fault = PathFault::DanglingHardLink(target.to_string());
            return Err(self.archive.fault(listed.path.as_str().as_bytes(), fault));
        }
        fs_err::copy(&source, &place).map(drop).map_err(Error::write(&place))
    }
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn versions_match_by_parts() {
        assert!(is_version("3.12.1", "3.12") && is_version("3.12", "3.12"));
        assert!(!is_version("3.120", "3.12") && !is_version("3.1", "3.12"));
    }
}
