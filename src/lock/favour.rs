//! Records that may be installed, by name, and which of them a lock has.
//!
//! A favoured record is taken by the solver even if it is gone from its channel, listed as removed, or shadowed by a
//! channel of higher priority. So each is looked up among the live ones first; a lock's own words are never turned into
//! a record, as they lack `constrains` and more.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rattler_conda_types::{MatchSpec, Matches, PackageName, RepoDataRecord, Subdir};
use rattler_repodata_gateway::RepoData;

use super::{Error, Lock, LockedPackage, Manager};
use crate::channel::Records;

/// One record a name.
pub(super) type Picks = BTreeMap<PackageName, Arc<RepoDataRecord>>;

/// What of a lock is still to be had.
#[derive(Default)]
pub(super) struct Locked {
    /// The live records.
    pub picks: Picks,
    /// Packages, as `name version`, that no channel offers any more.
    pub gone: Vec<String>,
}

/// Records that strict channel priority allows, by name.
pub(super) struct Live<'a> {
    by_name: HashMap<&'a str, Vec<&'a Arc<RepoDataRecord>>>,
}

impl<'a> Live<'a> {
    /// Of each name the records of the first channel that has it; where `specs` name a channel, those of that one.
    pub fn new(records: &'a Records, specs: &[MatchSpec]) -> Self {
        let chosen =
            specs.iter().filter_map(|spec| Some((spec.name.as_exact()?.as_normalized(), spec.channel.as_ref()?)));
        let chosen: HashMap<&str, String> = chosen.map(|(name, channel)| (name, channel.canonical_name())).collect();
        let mut first: HashMap<&str, Option<&str>> = HashMap::new();
        let mut by_name: HashMap<&str, Vec<_>> = HashMap::new();
        for record in records.iter().flat_map(RepoData::iter_arc) {
            let channel = record.channel.as_deref();
            let name = record.package_record.name.as_normalized();
            let first = *first.entry(name).or_insert(channel);
            let wanted = chosen.get(name).map_or(first, |channel| Some(channel.as_str()));
            let found = by_name.entry(name).or_default();
            if wanted == channel {
                found.push(record);
            }
        }
        Self { by_name }
    }

    /// Finds the packages that `lock` has for `subdir`: by URL, else by name, version and build.
    ///
    /// # Errors
    /// [`Error::HashChanged`] if one has another hash now.
    pub fn locked(&self, lock: &Lock, subdir: Subdir) -> Result<Locked, Error> {
        let mut locked = Locked::default();
        for package in lock.packages_for(subdir).filter(|package| package.manager == Manager::Conda) {
            match self.find(package) {
                Some(record) => {
                    check_hash(package, record)?;
                    locked.picks.insert(record.package_record.name.clone(), Arc::clone(record));
                }
                // Not asked for any more is not gone.
                None if self.by_name.contains_key(package.name.as_str()) => {
                    locked.gone.push(format!("{} {}", package.name, package.version));
                }
                None => {}
            }
        }
        Ok(locked)
    }

    /// The record of the highest version that all of `specs` for `name` and `allowed` let pass.
    pub fn newest(
        &self,
        name: &PackageName,
        specs: &[MatchSpec],
        allowed: impl Fn(&RepoDataRecord) -> bool,
    ) -> Option<&'a Arc<RepoDataRecord>> {
        let records = self.by_name.get(name.as_normalized())?.iter().copied();
        let fits = |record: &&Arc<RepoDataRecord>| matches_all(specs, record) && allowed(record);
        records.filter(fits).max_by(|a, b| a.package_record.version.cmp(&b.package_record.version))
    }

    fn find(&self, package: &LockedPackage) -> Option<&'a Arc<RepoDataRecord>> {
        let records = self.by_name.get(package.name.as_str())?;
        let is_twin = |record: &&&Arc<RepoDataRecord>| {
            record.package_record.version.as_str() == package.version
                && Some(record.package_record.build.as_str()) == package.build()
        };
        let by_url = records.iter().find(|record| record.url == package.url);
        by_url.or_else(|| records.iter().find(is_twin)).copied()
    }
}

/// Whether `record` is one that all of `specs` for its name allow.
pub(super) fn matches_all(specs: &[MatchSpec], record: &RepoDataRecord) -> bool {
    let name = &record.package_record.name;
    specs.iter().filter(|spec| spec.name.as_exact() == Some(name)).all(|spec| spec.matches(record))
}

/// Checks that `record` is what `package` was locked as, if it has its URL.
///
/// # Errors
/// [`Error::HashChanged`] if not.
pub(super) fn check_hash(package: &LockedPackage, record: &RepoDataRecord) -> Result<(), Error> {
    if record.url != package.url {
        return Ok(());
    }
    let (md5, sha256) = (record.package_record.md5.map(hex::encode), record.package_record.sha256.map(hex::encode));
    for (locked, offered) in [(&package.sha256, sha256), (&package.md5, md5)] {
        if let (Some(locked), Some(offered)) = (locked, offered)
            && !locked.eq_ignore_ascii_case(&offered)
        {
            return Err(Error::HashChanged { url: Box::new(package.url.clone()), locked: locked.clone(), offered });
        }
    }
    Ok(())
}
