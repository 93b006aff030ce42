//! What a plan of layers has to know of packages besides their lock: how large they are, and when they were built.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::package::Info;
use super::pinned::{Pinned, is_noarch};
use super::plan::Candidate;
use super::store::{self, Store};
use super::wheel::Wheel;
use crate::lock::LockedPackage;

/// The kind under which a set of packages' facts is kept in the [`Store`].
const KIND: &str = "plans";

/// What the archive of a package says and its lock does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Bytes of the archive.
    pub size: u64,
    /// When it was built, in seconds since 1970.
    pub built: u64,
}

impl Facts {
    /// Reads them out of the archive, which is on disk.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read(package: &Pinned) -> Result<Self, Error> {
        if !package.is_conda() {
            let wheel = Wheel::open(package)?;
            return Ok(Self { size: wheel.size, built: wheel.timestamp });
        }
        let archive = package.archive()?;
        Ok(Self { size: archive.size(), built: Info::read(&archive)?.timestamp })
    }
}

/// The facts of `packages`, if this set of them was looked at before.
pub fn known(store: &Store, packages: &[Pinned]) -> Option<Vec<Facts>> {
    store.get(KIND, &key(packages)).filter(|facts: &Vec<Facts>| facts.len() == packages.len())
}

/// Keeps what was read of `packages`.
///
/// # Errors
/// When the cache cannot be written.
pub fn remember(store: &Store, packages: &[Pinned], facts: &[Facts]) -> Result<(), Error> {
    store.put(KIND, &key(packages), &facts)
}

fn key(packages: &[Pinned]) -> crate::oci::Digest {
    store::key("facts", &packages.iter().map(|package| &package.sha256).collect::<Vec<_>>())
}

/// `package` as the plan sees it.
pub fn candidate(package: &Pinned, facts: Facts) -> Candidate {
    Candidate::of(&package.locked, &package.sha256, facts.size, facts.built)
}

impl Candidate {
    /// A locked package with this SHA-256, of `size` bytes, built at `built` (seconds since 1970).
    pub fn of(locked: &LockedPackage, sha256: &str, size: u64, built: u64) -> Self {
        Self {
            name: locked.name.clone(),
            id: sha256.to_owned(),
            size,
            built,
            noarch: is_noarch(locked),
            pins: locked
                .dependencies
                .iter()
                .filter(|(_, wanted)| pins(wanted, &locked.version))
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }
}

/// Whether a package of `version` that wants another as `requirement` wants exactly its own version of it.
fn pins(requirement: &str, version: &str) -> bool {
    requirement.strip_prefix("==").unwrap_or(requirement) == version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_the_same_version_and_no_other() {
        for (requirement, expected) in [
            ("21.0.0", true),
            ("==21.0.0", true),
            ("21.0.0.*", false),
            (">=21.0.0", false),
            ("=21.0.0", false),
            ("", false),
            ("21.0", false),
        ] {
            assert_eq!(pins(requirement, "21.0.0"), expected, "{requirement}");
        }
    }
}
