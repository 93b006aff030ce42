//! From a channel's record to an entry of a lock.

use std::collections::BTreeMap;

use rattler_conda_types::{RepoDataRecord, Subdir};
use rattler_digest::{Md5, compute_file_digest};

use super::spelling::Requirement;
use super::{Error, LockedPackage, Manager};
use crate::channel::Client;

impl LockedPackage {
    /// The entry for `record` on `subdir`. conda-lock's format demands an MD5: where the channel tells none, the package
    /// is fetched (and its SHA-256 checked) to compute it.
    pub(super) async fn of(
        record: &RepoDataRecord,
        subdir: Subdir,
        category: &str,
        client: &Client,
    ) -> Result<Self, Error> {
        let package = &record.package_record;
        let mut locked = Self {
            name: package.name.as_normalized().to_owned(),
            version: package.version.as_str().into_owned(),
            manager: Manager::Conda,
            subdir,
            dependencies: dependencies(&package.depends),
            url: record.url.clone(),
            md5: package.md5.map(hex::encode),
            sha256: package.sha256.map(hex::encode),
            category: category.to_owned(),
            optional: category != "main",
        };
        if locked.md5.is_none() {
            locked.md5 = Some(computed_md5(&locked, client).await?);
        }
        Ok(locked)
    }
}

async fn computed_md5(package: &LockedPackage, client: &Client) -> Result<String, Error> {
    if package.sha256.is_none() {
        return Err(Error::NoHash { url: Box::new(package.url.clone()) });
    }
    let path = client.package(package).await?;
    let digest = compute_file_digest::<Md5>(&path);
    digest.map(hex::encode).map_err(|source| Error::Read { path, source })
}

/// Requirements of a record as a lock has them: names, and the version part of each. Those of a repeated name are joined
/// as conda merges them.
pub(super) fn dependencies(depends: &[String]) -> BTreeMap<String, String> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for requirement in depends.iter().map(|depend| Requirement::parse(depend)) {
        let known = versions.entry(requirement.name).or_default();
        known.extend(Some(requirement.version).filter(|version| !version.is_empty()));
    }
    let joined = |mut versions: Vec<String>| {
        versions.sort_unstable();
        versions.join(",")
    };
    versions.into_iter().map(|(name, versions)| (name, joined(versions))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_keep_the_version_only() {
        let depends = ["python_abi 3.12.* *_cp312", "a >=1,<2", "b", "a !=1.5", "c 1.2 h_0", "__glibc >=2.17,<3.0.a0"];
        let found = dependencies(&depends.map(str::to_owned));
        let found: Vec<(&str, &str)> = found.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
        let expected =
            [("__glibc", ">=2.17,<3.0.a0"), ("a", "!=1.5,>=1,<2"), ("b", ""), ("c", "1.2"), ("python_abi", "3.12.*")];
        assert_eq!(found, expected);
    }
}
