//! The packages of a lock, conda's and pip's, with the digest and the place on disk that the engine goes by.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rattler_conda_types::Subdir;

use super::archive::Archive;
use super::error::Error;
use crate::channel::Client;
use crate::lock::{Lock, LockedPackage, Manager};
use crate::oci::Digest;
use crate::progress::Progress;

/// A locked package whose content is known by its SHA-256.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// As the lock has it.
    pub locked: LockedPackage,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: String,
    path: PathBuf,
}

impl Pinned {
    /// One that is nowhere.
    #[cfg(test)]
    pub fn of(locked: LockedPackage, sha256: String) -> Self {
        Self { locked, sha256, path: PathBuf::new() }
    }

    /// The archive; must have been [fetched](fetch).
    ///
    /// # Errors
    /// When it is not there.
    pub fn archive(&self) -> Result<Archive, Error> {
        Archive::open(self.path.clone(), self.locked.file_name())
    }

    /// Where the archive is, or will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether conda installs it; else it is a wheel.
    pub fn is_conda(&self) -> bool {
        self.locked.manager == Manager::Conda
    }

    /// Whether the archive is there.
    pub fn is_on_disk(&self) -> bool {
        self.path.is_file()
    }

    /// The normalised name.
    pub fn name(&self) -> &str {
        &self.locked.name
    }
}

/// Whether a package is the same one for every architecture.
pub fn is_noarch(locked: &LockedPackage) -> bool {
    match locked.manager {
        Manager::Conda => locked.is_noarch(),
        Manager::Pip => locked.file_name().ends_with("-none-any.whl"),
    }
}

/// The packages of `lock` for `subdir`: conda's by name, then pip's by name. Nothing is fetched unless the lock gives no
/// SHA-256.
///
/// # Errors
/// [`Error::NotLocked`], [`Error::LockedTwice`], [`Error::Packages`].
pub async fn pin(lock: &Lock, subdir: Subdir, prefix: &str, client: &Client) -> Result<Vec<Pinned>, Error> {
    let mut pinned = Vec::new();
    for locked in lock.packages_for(subdir) {
        pinned.push(pin_one(locked, client).await?);
    }
    if pinned.is_empty() && !lock.subdirs.contains(&subdir) {
        return Err(Error::NotLocked { prefix: prefix.to_owned(), subdir });
    }
    // conda and pip have names of their own: conda's `zstd` is a library, pip's a module.
    let key = |package: &Pinned| (package.locked.manager, package.locked.name.clone());
    pinned.sort_by_key(key);
    match pinned.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        Some(pair) => {
            Err(Error::LockedTwice { prefix: prefix.to_owned(), package: pair[0].locked.name.clone(), subdir })
        }
        None => Ok(pinned),
    }
}

async fn pin_one(locked: &LockedPackage, client: &Client) -> Result<Pinned, Error> {
    let failed = |error| Error::Packages(Box::new(error));
    let path = client.package_path(locked).map_err(failed)?;
    let sha256 = match &locked.sha256 {
        Some(sha256) => sha256.to_ascii_lowercase(),
        None => {
            let path = client.package(locked).await.map_err(failed)?;
            let file = fs_err::File::open(&path).map_err(Error::read(&path))?;
            Digest::of_reader(file).map_err(Error::read(&path))?.0.hex()
        }
    };
    Ok(Pinned { locked: locked.clone(), sha256, path })
}

/// Fetches those of `packages` that are not on disk yet, and returns how many they were.
///
/// # Errors
/// [`Error::Packages`].
pub async fn fetch(
    packages: impl IntoIterator<Item = &Pinned>,
    client: &Client,
    progress: &dyn Progress,
) -> Result<usize, Error> {
    let missing: BTreeMap<_, _> = packages
        .into_iter()
        .filter(|package| !client.has(&package.path))
        .map(|package| (&package.sha256, &package.locked))
        .collect();
    let missing: Vec<_> = missing.into_values().collect();
    if !missing.is_empty() {
        client.packages(&missing, progress).await.map_err(|error| Error::Packages(Box::new(error)))?;
    }
    Ok(missing.len())
}
