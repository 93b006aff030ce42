//! What a lock is made from besides its request: what is locked already, and how much of that may move.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rattler_conda_types::{PackageName, RepoDataRecord, Subdir};
use rattler_solve::ExcludeNewer;
use url::Url;

use super::{Lock, Manager};
use crate::channel::Records;
use crate::project::{Cutoff, RelockPolicy};

/// Where `custom_metadata` has the cut-off.
const CUTOFF_NOTE: &str = "esker-exclude-newer";

/// How to lock. The default makes a lock from nothing.
#[derive(Clone, Debug, Default)]
pub struct Relock<'a> {
    /// What is locked.
    pub existing: Option<&'a Lock>,
    /// A lock to be like where `existing` has nothing or may move: the parent's, to share layers with.
    pub like: Option<&'a Lock>,
    /// What may move though it need not.
    pub policy: RelockPolicy,
    /// Whether another build of the same version is reason enough to move.
    pub rebuilds: bool,
    /// Packages to bring to their newest versions; what cannot is told.
    pub update: &'a [String],
    /// Whether all that those depend on may move with them.
    pub recursive: bool,
    /// Packages to bring to their newest versions where possible.
    pub refresh: &'a [String],
    /// Records published later do not count, except those that are locked.
    pub cutoff: Option<Cutoff>,
    /// Packages that the cut-off is not for.
    pub cutoff_exempt: &'a [String],
}

/// A package that was to be updated and is not the newest that its request allows.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HeldBack {
    /// The package.
    pub name: String,
    /// The version that is locked now.
    pub version: String,
    /// The newest version that the environment allows.
    pub newest: String,
    /// Where, by subdir's name.
    pub subdirs: Vec<String>,
    /// Why it cannot be taken, in the solver's words.
    pub reason: String,
}

impl Relock<'_> {
    /// What the lock notes down: what it noted before, and the cut-off it is made with.
    pub(super) fn notes(&self) -> BTreeMap<String, String> {
        let mut notes = self.existing.map(|lock| lock.custom_metadata.clone()).unwrap_or_default();
        notes.remove(CUTOFF_NOTE);
        notes.extend(self.cutoff.map(|cutoff| (CUTOFF_NOTE.to_owned(), cutoff.to_string())));
        notes
    }

    /// The packages to update.
    pub(super) fn update_names(&self) -> BTreeSet<PackageName> {
        names(self.update)
    }

    /// The packages to refresh.
    pub(super) fn refresh_names(&self) -> BTreeSet<PackageName> {
        names(self.refresh)
    }

    /// All that the updated packages depend on in the existing lock of `subdir`, if that may move too.
    pub(super) fn along(&self, subdir: Subdir) -> BTreeSet<PackageName> {
        let mut found = BTreeSet::new();
        let Some(lock) = self.existing.filter(|_| self.recursive) else { return found };
        let conda = lock.packages_for(subdir).filter(|package| package.manager == Manager::Conda);
        let by_name: HashMap<&str, _> = conda.map(|package| (package.name.as_str(), package)).collect();
        let mut todo: Vec<&str> = self.update.iter().map(String::as_str).collect();
        let mut seen: HashSet<&str> = HashSet::new();
        while let Some(name) = todo.pop() {
            if let (true, Some(package)) = (seen.insert(name), by_name.get(name)) {
                found.extend(package.name.parse::<PackageName>());
                todo.extend(package.dependencies.keys().map(String::as_str));
            }
        }
        found
    }

    /// The records that were published too late, each with the reason in words.
    pub(super) fn excluded(&self, records: &Records) -> HashMap<Url, Arc<str>> {
        let Some(cutoff) = self.cutoff else { return HashMap::new() };
        let rule = ExcludeNewer::from_datetime(cutoff.timestamp());
        let locked: HashSet<&Url> =
            [self.existing, self.like].into_iter().flatten().flat_map(|lock| &lock.packages).map(|p| &p.url).collect();
        let exempt = names(self.cutoff_exempt);
        let too_late = |record: &&RepoDataRecord| {
            !locked.contains(&record.url) && !exempt.contains(&record.package_record.name) && rule.is_excluded(record)
        };
        let late: Arc<str> = format!("published after {cutoff}, the cut-off, or at a time that is not told").into();
        let records = records.iter().flat_map(|data| data.iter());
        records.filter(too_late).map(|record| (record.url.clone(), Arc::clone(&late))).collect()
    }
}

fn names(texts: &[String]) -> BTreeSet<PackageName> {
    texts.iter().filter_map(|name| name.parse().ok()).collect()
}
