//! Plans a prefix before any of it is written: which package's file stands at each path.
//!
//! Where several packages bring the same path, the one that is installed last wins: packages are taken in rattler's
//! topological order, dependencies first, so a dependent's file replaces its dependency's, as with conda. Only winners
//! are written, so no path is in two layers. A path through a file or a link is an error: what it means would depend on
//! the order in which layers are unpacked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;

use rattler_conda_types::PackageRecord;
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::error::Error;
use super::install::Installed;
use super::package::Info;
use super::paths::PrefixPath;
use super::pinned::Pinned;
use super::python::Python;

/// How the packages of one environment share a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixPlan {
    /// The environment's Python.
    pub python: Option<Python>,
    /// The packages, by name.
    pub packages: Vec<PlannedPackage>,
}

/// What the plan says of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPackage {
    /// Its name.
    pub name: String,
    /// Its paths in the prefix that other packages win.
    pub excluded: BTreeSet<PrefixPath>,
    /// Whether its files depend on the environment's Python.
    pub for_python: bool,
    /// Whether byte code has to be compiled for it.
    pub compiles: bool,
    /// Bytes of its archive.
    pub size: u64,
    /// When it was built, in seconds since 1970.
    pub timestamp: u64,
}

/// A package that was looked into.
#[derive(Debug)]
pub struct Inspected {
    archive: Archive,
    info: Info,
}

/// Reads what `package` says about itself, and checks that it is what the lock says.
///
/// # Errors
/// When the archive is damaged or hostile, or holds another package.
pub fn inspect(package: &Pinned) -> Result<Inspected, Error> {
    let archive = package.archive()?;
    let info = Info::read(&archive)?;
    check_identity(package, &info, &archive)?;
    Ok(Inspected { archive, info })
}

/// What `info` says must be what the lock says: everything is named after it.
///
/// # Errors
/// [`Error::OtherPackage`].
pub fn check_identity(package: &Pinned, info: &Info, archive: &Archive) -> Result<(), Error> {
    let index = &info.index;
    let found = (index.name.as_normalized(), index.version.to_string(), Some(index.build.as_str()));
    if found == (package.name(), package.locked.version.clone(), package.locked.build()) {
        return Ok(());
    }
    let found = format!("{} {} {}", index.name.as_normalized(), index.version, index.build);
    Err(Error::OtherPackage { package: archive.name.clone(), found })
}

impl PrefixPlan {
    /// Plans `prefix` for these packages.
    ///
    /// # Errors
    /// [`Error::Clash`], [`Error::NoPython`], [`Error::Path`], [`Error::LinkScript`].
    pub fn new(packages: &[Inspected], prefix: &str, skip_link_scripts: &[String]) -> Result<Self, Error> {
        super::link_scripts::check(packages.iter().map(|p| (&p.archive, &p.info)), skip_link_scripts)?;
        let python = packages.iter().find(|p| p.info.index.name.as_normalized() == "python");
        let python = python.and_then(|package| Python::of(&package.info.index));
        let installed = packages
            .iter()
            .map(|p| Installed::of(&p.info, &p.archive, python.as_ref(), prefix))
            .collect::<Result<Vec<_>, _>>()?;
        let excluded = losers(&installed, &install_order(packages)?);
        check_clashes(packages, &installed)?;
        let mut planned: Vec<_> = packages
            .iter()
            .zip(installed)
            .zip(excluded)
            .map(|((package, installed), excluded)| {
                let installed = installed.without(&excluded);
                let compiles = installed.needs_compiler();
                PlannedPackage {
                    name: package.info.index.name.as_normalized().to_owned(),
                    for_python: compiles || package.info.index.noarch.is_python(),
                    compiles,
                    excluded,
                    size: package.archive.size(),
                    timestamp: package.info.timestamp,
                }
            })
            .collect();
        planned.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { python, packages: planned })
    }
}

/// Indices of `packages` in the order they would be installed.
fn install_order(packages: &[Inspected]) -> Result<Vec<usize>, Error> {
    let mut records = packages.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let indices: HashMap<_, _> = records.iter().enumerate().map(|(i, record)| (record.name.clone(), i)).collect();
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(PackageRecord::sort_topologically(records).iter().map(|record| indices[&record.name]).collect())
}

fn record(package: &Inspected) -> Result<PackageRecord, Error> {
    PackageRecord::from_index_json(package.info.index.clone(), None, None, None).map_err(|error| Error::Metadata {
        package: package.archive.name.clone(),
        file: "info/index.json",
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

/// For every package, the paths that a later one brings as well.
fn losers(installed: &[Installed], order: &[usize]) -> Vec<BTreeSet<PrefixPath>> {
    let mut excluded = vec![BTreeSet::new(); installed.len()];
    let mut owners: HashMap<&PrefixPath, usize> = HashMap::new();
    for &index in order {
        for path in installed[index].files.keys() {
            if let Some(loser) = owners.insert(path, index) {
                excluded[loser].insert(path.clone());
            }
        }
    }
    excluded
}

/// Refuses a path below something that is a file or a link.
fn check_clashes(packages: &[Inspected], installed: &[Installed]) -> Result<(), Error> {
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, installed) in installed.iter().enumerate() {
        files.extend(installed.files.keys().map(|path| (path.as_str(), index)));
    }
    let mut directories: HashSet<&str> = HashSet::new();
    for (index, installed) in installed.iter().enumerate() {
        let listed = installed.directories.iter();
        let all = installed.files.keys().map(|path| (path, None)).chain(listed.map(|path| (path, Some(path.as_str()))));
        for (path, itself) in all {
            for above in itself.into_iter().chain(path.ancestors()) {
                if !directories.insert(above) {
                    break;
                }
                if let Some(other) = files.get(above) {
                    return Err(Error::Clash {
                        path: path.to_string(),
                        package: packages[index].archive.name.clone(),
                        above: above.to_owned(),
                        other: packages[*other].archive.name.clone(),
                    });
                }
            }
        }
    }
    Ok(())
}
