//! From a channel's record to an entry of a lock.

use std::collections::{BTreeMap, HashMap};

use rattler_conda_types::{MatchSpec, PackageRecord, ParseMatchSpecOptions, RepoDataRecord, RepodataRevision, Subdir};
use rattler_digest::{Md5, compute_file_digest};

use super::spelling::Requirement;
use super::{Error, LockedPackage, Manager};
use crate::channel::{Client, Records};

impl LockedPackage {
    /// The entry for `record` on `subdir`, in the category `main`. conda-lock's format demands an MD5: where the channel tells none, the package
    /// is fetched (and its SHA-256 checked) to compute it.
    pub(super) async fn of(record: &RepoDataRecord, subdir: Subdir, client: &Client) -> Result<Self, Error> {
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
            category: "main".to_owned(),
            optional: false,
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

/// The records of `names` that are newer than what `solution` has, and that the solver passed over because it could not
/// read what they depend on.
pub(super) fn unreadable(records: &Records, solution: &[RepoDataRecord], names: &[String]) -> Vec<String> {
    let solved = solution.iter().map(|record| (record.package_record.name.as_normalized(), &record.package_record));
    let solved: HashMap<&str, &PackageRecord> =
        solved.filter(|(name, _)| names.iter().any(|known| known == name)).collect();
    let is_newer = |record: &&RepoDataRecord| {
        let chosen = solved.get(record.package_record.name.as_normalized());
        chosen.is_some_and(|chosen| record.package_record.version > chosen.version)
    };
    let newer = records.iter().flat_map(|data| data.iter()).filter(is_newer);
    newer.filter_map(|record| Some(format!("`{}` is passed over: {}", record.url, fault(record)?))).collect()
}

/// What of a record cannot be read as a requirement.
fn fault(record: &RepoDataRecord) -> Option<String> {
    let package = &record.package_record;
    // As the solver reads them.
    let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
    package.depends.iter().chain(&package.constrains).find_map(|requirement| {
        let error = MatchSpec::from_str(requirement, options).err()?;
        Some(format!("it requires `{requirement}`, which cannot be understood ({error})"))
    })
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
