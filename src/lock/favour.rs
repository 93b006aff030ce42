//! Which records a solve should keep: those of the lock before, as far as channels still offer them.
//!
//! A favoured record is taken by the solver even if it is gone from its channel, listed as removed, or shadowed by a
//! channel of higher priority. So each is looked up among the live ones first; a lock's own words are never turned into
//! a record, as they lack `constrains` and more.

use std::collections::HashMap;
use std::sync::Arc;

use rattler_conda_types::{RepoDataRecord, Subdir};
use rattler_repodata_gateway::RepoData;

use super::{Error, Lock, LockedPackage, Manager};
use crate::channel::Records;

/// What of a lock can be kept.
#[derive(Default)]
pub(super) struct Favoured {
    /// Live records to prefer.
    pub records: Vec<Arc<RepoDataRecord>>,
    /// Locked packages that no channel offers any more.
    pub gone: Vec<String>,
}

/// Finds the packages that `lock` has for `subdir` among `records`: by URL, else by name, version and build.
///
/// # Errors
/// [`Error::HashChanged`] if one has another hash there.
pub(super) fn favoured(lock: &Lock, subdir: Subdir, records: &Records) -> Result<Favoured, Error> {
    let live = Live::new(records);
    let mut favoured = Favoured::default();
    for package in lock.packages_for(subdir).filter(|package| package.manager == Manager::Conda) {
        match live.find(package) {
            Some(record) => {
                check_hash(package, record)?;
                favoured.records.push(Arc::clone(record));
            }
            // Not asked for any more is not gone.
            None if live.knows(&package.name) => {
                favoured.gone.push(format!("{} {}", package.name, package.version));
            }
            None => {}
        }
    }
    Ok(favoured)
}

/// Records that strict channel priority allows, by name.
struct Live<'a> {
    by_name: HashMap<&'a str, (Option<&'a str>, Vec<&'a Arc<RepoDataRecord>>)>,
}

impl<'a> Live<'a> {
    fn new(records: &'a Records) -> Self {
        let mut by_name: HashMap<&str, (Option<&str>, Vec<_>)> = HashMap::new();
        for record in records.iter().flat_map(RepoData::iter_arc) {
            let channel = record.channel.as_deref();
            let name = record.package_record.name.as_normalized();
            let (first, found) = by_name.entry(name).or_insert_with(|| (channel, Vec::new()));
            if *first == channel {
                found.push(record);
            }
        }
        Self { by_name }
    }

    fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    fn find(&self, package: &LockedPackage) -> Option<&'a Arc<RepoDataRecord>> {
        let (_, records) = self.by_name.get(package.name.as_str())?;
        let is_twin = |record: &&&Arc<RepoDataRecord>| {
            record.package_record.version.as_str() == package.version
                && Some(record.package_record.build.as_str()) == package.build()
        };
        let by_url = records.iter().find(|record| record.url == package.url);
        by_url.or_else(|| records.iter().find(is_twin)).copied()
    }
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
