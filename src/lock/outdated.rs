//! Which locked packages have a newer version in their channels.

use std::collections::BTreeMap;
use std::str::FromStr;

use rattler_conda_types::{
    Channel, MatchSpec, Matches, PackageName, RepoDataRecord, Subdir, Version, VersionWithSource,
};

use super::{Error, Lock, LockSpec, LockedPackage, Manager, SubdirSpec};
use crate::channel::{Client, Records};
use crate::project::MergedSpec;

/// A locked package of which there is a newer version, on all subdirs where that is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// Its name.
    pub name: String,
    /// The version that is locked.
    pub locked: String,
    /// The newest version that what is asked for allows; `None` for a package that is not asked for by name.
    pub allowed: Option<String>,
    /// The newest version of all.
    pub newest: String,
    /// Where, in the lock's order.
    pub subdirs: Vec<Subdir>,
}

/// What makes a row: name, locked, allowed, newest.
type Row = (String, String, Option<String>, String);

/// Compares the requested packages of `lock`, or `every` package, with what the channels have. By name.
///
/// Whether a newer version could be installed beside the others is a question for a solver: this looks at versions.
/// As strict channel priority demands, only the first channel that has a package counts.
///
/// # Errors
/// When a channel cannot be reached or read.
pub async fn outdated(spec: &LockSpec, lock: &Lock, client: &Client, every: bool) -> Result<Vec<Outdated>, Error> {
    let channels = spec.resolved_channels()?;
    let mut rows: BTreeMap<Row, Vec<Subdir>> = BTreeMap::new();
    for asked in &spec.subdirs {
        for row in of_subdir(asked, lock, client, &channels, every).await? {
            rows.entry(row).or_default().push(asked.subdir);
        }
    }
    let outdated = |((name, locked, allowed, newest), subdirs)| Outdated { name, locked, allowed, newest, subdirs };
    Ok(rows.into_iter().map(outdated).collect())
}

async fn of_subdir(
    asked: &SubdirSpec,
    lock: &Lock,
    client: &Client,
    channels: &[Channel],
    every: bool,
) -> Result<Vec<Row>, Error> {
    let wanted = |package: &&LockedPackage| {
        let requested = || asked.conda.iter().any(|spec| spec.name == package.name);
        package.manager == Manager::Conda && (every || requested())
    };
    let packages: Vec<&LockedPackage> = lock.packages_for(asked.subdir).filter(wanted).collect();
    let names = packages.iter().filter_map(|package| package.name.parse::<PackageName>().ok());
    let records = client.records_without_dependencies(channels, asked.subdir, names).await?;
    let available = by_name(&records);
    let row = |package: &&LockedPackage| {
        let records = available.get(package.name.as_str())?;
        let specs: Vec<MatchSpec> =
            asked.conda.iter().filter(|spec| spec.name == package.name).flat_map(MergedSpec::match_specs).collect();
        row(package, records, &specs)
    };
    Ok(packages.iter().filter_map(row).collect())
}

fn by_name(records: &Records) -> BTreeMap<&str, Vec<&RepoDataRecord>> {
    let mut by_name: BTreeMap<&str, Vec<&RepoDataRecord>> = BTreeMap::new();
    for record in records.iter().flat_map(|data| data.iter()) {
        by_name.entry(record.package_record.name.as_normalized()).or_default().push(record);
    }
    by_name
}

fn row(package: &LockedPackage, records: &[&RepoDataRecord], specs: &[MatchSpec]) -> Option<Row> {
    let locked = Version::from_str(&package.version).ok()?;
    let first = &records.first()?.channel;
    // `channel::name` goes past the order of channels.
    let channel = specs.iter().find(|spec| spec.channel.is_some());
    let of_channel = channel.map(|spec| MatchSpec {
        name: spec.name.clone(),
        channel: spec.channel.clone(),
        ..MatchSpec::default()
    });
    let counts = |record: &&RepoDataRecord| match &of_channel {
        Some(spec) => spec.matches(*record),
        None => record.channel == *first,
    };
    let available: Vec<&RepoDataRecord> = records.iter().copied().filter(counts).collect();
    let allowed = available.iter().copied().filter(|record| specs.iter().all(|spec| spec.matches(*record)));
    let newest = newest(available.iter().copied()).filter(|newest| *newest.version() > locked)?;
    let allowed = (!specs.is_empty()).then(|| self::newest(allowed).map(|version| version.as_str().into_owned()));
    Some((package.name.clone(), package.version.clone(), allowed.flatten(), newest.as_str().into_owned()))
}

fn newest<'a>(records: impl Iterator<Item = &'a RepoDataRecord>) -> Option<&'a VersionWithSource> {
    records.map(|record| &record.package_record.version).max_by(|a, b| a.version().cmp(b.version()))
}
