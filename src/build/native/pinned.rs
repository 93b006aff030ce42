//! The conda packages of a lock, with the digest and the place on disk that the engine goes by.

use std::path::PathBuf;

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
    /// The archive; must have been [fetched](fetch).
    ///
    /// # Errors
    /// When it is not there.
    pub fn archive(&self) -> Result<Archive, Error> {
        Archive::open(self.path.clone(), self.locked.file_name())
    }

    /// The normalised name.
    pub fn name(&self) -> &str {
        &self.locked.name
    }
}

/// The packages of `lock` for `subdir`, by name. Nothing is fetched unless the lock gives no SHA-256.
///
/// # Errors
/// [`Error::NotLocked`], [`Error::PipPackage`], [`Error::Packages`].
pub async fn pin(lock: &Lock, subdir: Subdir, prefix: &str, client: &Client) -> Result<Vec<Pinned>, Error> {
    let mut pinned = Vec::new();
    for locked in lock.packages_for(subdir) {
        if locked.manager == Manager::Pip {
            return Err(Error::PipPackage { package: locked.name.clone() });
        }
        pinned.push(pin_one(locked, client).await?);
    }
    if pinned.is_empty() && !lock.subdirs.contains(&subdir) {
        return Err(Error::NotLocked { prefix: prefix.to_owned(), subdir });
    }
    pinned.sort_by(|a, b| a.locked.name.cmp(&b.locked.name));
    match pinned.windows(2).find(|pair| pair[0].name() == pair[1].name()) {
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

/// Fetches those of `packages` that are not on disk yet.
///
/// # Errors
/// [`Error::Packages`].
pub async fn fetch(
    packages: impl IntoIterator<Item = &Pinned>,
    client: &Client,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let missing: Vec<_> = packages.into_iter().filter(|package| !package.path.is_file()).map(|p| &p.locked).collect();
    if !missing.is_empty() {
        client.packages(&missing, progress).await.map_err(|error| Error::Packages(Box::new(error)))?;
    }
    Ok(())
}
