//! Debian packages: from `apt.txt` to `apt-lock.yml`.
//!
//! ```text
//! InRelease ─gpgv─► Release ─sha256─► Packages ─► Universe ─resolve─► AptLock
//! (snapshot)       (hashes)          (index)     (in reach)          (URL, sha256)
//! ```
//!
//! Packages come from a dated archive, so that a lock can be made again, and are resolved against what the base has
//! installed. What the lock says is installed by [`crate::build::debian`]; signatures matter here alone, as the lock has
//! hashes.

mod archive;
mod base;
mod bootstrap;
pub mod compression;
pub mod control;
mod error;
mod fetch;
mod index;
mod lockfile;
mod package;
pub mod relation;
mod release;
mod resolve;
mod signature;
mod universe;
pub mod version;

use std::collections::BTreeMap;

use archive::{Reader, Suite, suites};
pub use archive::{Trust, sources};
use index::Index;
use package::Package;
use relation::{Operator, Relation};
use universe::Universe;

use crate::channel::Client;
use crate::oci::{Digest, Platform};
use crate::project::{AptRequest, Snapshot};

pub use base::{BaseSystem, STATUS, installed_digest};
pub use bootstrap::{BootstrapRequest, bootstrap};
pub use error::{Error, Reason};
pub use fetch::fetch;
pub use lockfile::{AptLock, FILE, LockedDeb, PlatformLock};

/// What is to be locked for one platform.
pub struct LockRequest<'a> {
    /// The lines of `apt.txt`.
    pub requests: &'a [AptRequest],
    /// The base.
    pub base: &'a BaseSystem,
    /// Digest of the base's manifest.
    pub base_digest: Digest,
    /// The time of the archive.
    pub snapshot: &'a Snapshot,
    /// Versions to prefer, by name: what is locked.
    pub preferred: &'a BTreeMap<String, String>,
    /// What signatures are checked with.
    pub trust: &'a Trust,
}

/// Debian's name of a platform's architecture.
pub const fn architecture(platform: Platform) -> &'static str {
    match platform {
        Platform::LinuxAmd64 => "amd64",
        Platform::LinuxArm64 => "arm64",
        Platform::LinuxPpc64le => "ppc64el",
    }
}

/// Resolves the packages of one platform.
///
/// # Errors
/// [`Error::Unknown`] and [`Error::Unsatisfiable`] name the line that cannot be had; the others are of the archive.
pub async fn lock(request: &LockRequest<'_>, client: &Client) -> Result<PlatformLock, Error> {
    let base = request.base;
    let reader = Reader::new(client, request.trust, &base.keyrings)?;
    let suites = suites(&base.codename, request.snapshot);
    let indexes = reader.indexes(&suites, architecture(base.platform)).await?;
    let packages = request.resolve(&indexes, &suites)?.into_iter().filter_map(LockedDeb::of).collect();
    Ok(PlatformLock { base: request.base_digest, installed: base.digest(), packages })
}

impl LockRequest<'_> {
    fn resolve(&self, indexes: &[Index], suites: &[Suite]) -> Result<Vec<Package>, Error> {
        let platform = self.base.platform;
        let names: Vec<String> = self.requests.iter().map(|request| request.name.clone()).collect();
        let universe = Universe::new(&self.base.installed, indexes, &names)
            .map_err(|reason| Error::Archive { url: suites[0].root.clone(), reason })?;
        let mut wanted = Vec::new();
        for request in self.requests {
            wanted.push(self.wanted(request, &universe, suites)?);
        }
        let solve = |count: usize| resolve::resolve(&universe, &wanted[..count], self.preferred);
        solve(wanted.len()).map_err(|reason| {
            // The line to blame is the first that cannot be had with those above it.
            let blamed = (1..wanted.len()).find_map(|count| Some((count, solve(count).err()?)));
            let (count, reason) = blamed.unwrap_or((wanted.len(), reason));
            self.unsatisfiable(&self.requests[count - 1], platform, reason)
        })
    }

    fn unsatisfiable(&self, request: &AptRequest, platform: Platform, reason: String) -> Error {
        Error::Unsatisfiable {
            place: request.place.clone(),
            package: request.to_string(),
            platform,
            reason: Reason(reason),
        }
    }

    /// What a line asks for: a package, or the only one that provides a name that none has.
    fn wanted(&self, request: &AptRequest, universe: &Universe, suites: &[Suite]) -> Result<Relation, Error> {
        let unknown = |help: Option<String>| Error::Unknown {
            place: request.place.clone(),
            package: request.to_string(),
            platform: self.base.platform,
            suites: format!("{} of {}", list(suites.iter().map(|suite| suite.name.as_str())), self.snapshot),
            help,
        };
        let mut relation = Relation::any(&request.name);
        if let Some(version) = &request.version {
            let version =
                version.parse().map_err(|error: version::ParseVersionError| unknown(Some(format!(": {error}"))))?;
            relation.version = Some((Operator::Equal, version));
        }
        let called = universe.called(&request.name);
        let has = |index: &usize| relation.allows(&universe.packages[*index].version);
        if called.iter().any(has) {
            return Ok(relation);
        }
        if !called.is_empty() {
            let versions = called.iter().map(|&index| universe.packages[index].version.as_str());
            return Err(unknown(Some(format!("; there is {}", list(versions)))));
        }
        let mut providers: Vec<&str> =
            universe.satisfying(&relation).iter().map(|&index| universe.packages[index].name.as_str()).collect();
        providers.dedup();
        match &providers[..] {
            [] => Err(unknown(None)),
            [only] => Ok(Relation { name: (*only).to_owned(), ..relation }),
            several => Err(unknown(Some(format!("; choose one that provides it: {}", list(several.iter().copied()))))),
        }
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    items.map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}
