//! Which packages a base system is made of: all that are essential, all of priority `required`, what they need, and apt.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::{Reader, Trust, suites};
use super::error::{Error, Reason};
use super::index::Index;
use super::lockfile::LockedDeb;
use super::relation::Relation;
use super::universe::Universe;
use super::{architecture, resolve};
use crate::channel::Client;
use crate::oci::Platform;
use crate::project::{DebianRelease, Snapshot};

/// Packages that are wanted besides, where the release has them: apt, so that images can be built on the base elsewhere,
/// and the one that says that `/usr` is merged, which another that merges it is the first alternative to.
const BESIDES: [&str; 2] = ["apt", "usr-is-merged"];

/// What is to be locked for one platform.
pub struct BootstrapRequest<'a> {
    /// Which Debian.
    pub release: &'a DebianRelease,
    /// The platform.
    pub platform: Platform,
    /// The time of the archive.
    pub snapshot: &'a Snapshot,
    /// What signatures are checked with.
    pub trust: &'a Trust,
}

/// The packages of a base system, by name.
///
/// # Errors
/// When the archive cannot be had or believed, or has no such packages.
pub async fn bootstrap(request: &BootstrapRequest<'_>, client: &Client) -> Result<Vec<LockedDeb>, Error> {
    let reader = Reader::new(client, request.trust, &[])?;
    let suites = suites(&request.release.codename, request.snapshot);
    let indexes = reader.indexes(&suites, architecture(request.platform)).await?;
    let packages = packages(&indexes).map_err(|reason| Error::Bootstrap {
        base: request.release.to_string(),
        platform: request.platform,
        snapshot: request.snapshot.clone(),
        reason: Reason(reason),
    })?;
    Ok(packages)
}

fn packages(indexes: &[Index]) -> Result<Vec<LockedDeb>, String> {
    let mut names: BTreeSet<&str> = indexes.iter().flat_map(Index::essential).collect();
    if names.is_empty() {
        return Err("it has no essential packages".to_owned());
    }
    let has = |name: &&str| indexes.iter().any(|index| index.has(name));
    names.extend(BESIDES.into_iter().filter(has));
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let universe = Universe::new(&[], indexes, &names)?;
    let wanted: Vec<Relation> = names.iter().map(|name| Relation::any(name)).collect();
    let solved = resolve::resolve(&universe, &wanted, &BTreeMap::new())?;
    Ok(solved.into_iter().filter_map(LockedDeb::of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(packages: &[(&str, &str)]) -> Index {
        let paragraph = |(name, more): &(&str, &str)| {
            let sha256 = "a".repeat(64);
            format!(
                "Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 1\n\
                 SHA256: {sha256}\n{more}\n\n"
            )
        };
        Index::new(packages.iter().map(paragraph).collect(), "https://archive.example/".parse().unwrap())
    }

    fn chosen(packages_of: &[(&str, &str)]) -> Result<Vec<String>, String> {
        packages(&[index(packages_of)]).map(|debs| debs.into_iter().map(|deb| deb.name).collect())
    }

    #[test]
    fn what_is_essential_comes_with_what_it_needs_and_apt() {
        let archive = [
            ("bash", "Essential: yes\nDepends: libtinfo"),
            ("libtinfo", ""),
            ("tzdata", "Priority: required"),
            ("init", "Essential: yes\nDepends: usrmerge | usr-is-merged"),
            ("usrmerge", "Conflicts: usr-is-merged"),
            ("usr-is-merged", "Conflicts: usrmerge"),
            ("apt", "Depends: keys\nRecommends: more"),
            ("keys", ""),
            ("more", ""),
        ];
        let expected = ["apt", "bash", "init", "keys", "libtinfo", "tzdata", "usr-is-merged"];
        assert_eq!(chosen(&archive).unwrap(), expected);
        assert_eq!(chosen(&archive[..2]).unwrap(), ["bash", "libtinfo"]);
        assert!(chosen(&archive[6..]).unwrap_err().contains("essential"));
        assert!(chosen(&archive[..1]).unwrap_err().contains("libtinfo"));
    }
}
