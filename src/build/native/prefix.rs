//! Plans a prefix before any of it is written: which package's file stands at each path.
//!
//! Where several packages bring the same path, the one that is installed last wins: packages are taken in rattler's
//! topological order, dependencies first, so a dependent's file replaces its dependency's, as with conda. Only winners
//! are written, so no path is in two layers. A path through a file or a link is an error: what it means would depend on
//! the order in which layers are unpacked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;

use rattler_conda_types::PackageRecord;
use rattler_conda_types::package::PathType;
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::asked::Asked;
use super::candidates::Facts;
use super::effects::Effect;
use super::error::Error;
use super::install::{Installed, Origin};
use super::link_scripts::{self, Scripts};
use super::overlap;
use super::package::Info;
use super::paths::PrefixPath;
use super::pinned::Pinned;
use super::python::Python;
use super::wheel::Wheel;
use crate::oci::Digest;
use crate::project::Strip;
use crate::supply::requirement_name;

/// How the packages of one environment share a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixPlan {
    /// The environment's Python.
    pub python: Option<Python>,
    /// The packages, in the order of the lock: conda's by name, then pip's.
    pub packages: Vec<PlannedPackage>,
}

/// What the plan says of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPackage {
    /// Its name.
    pub name: String,
    /// Its paths in the prefix that other packages win, and those that are left out.
    pub excluded: BTreeSet<PrefixPath>,
    /// What is made for its link script.
    pub effects: Vec<Effect>,
    /// Whether its files depend on the environment's Python.
    pub for_python: bool,
    /// Whether byte code has to be compiled for it.
    pub compiles: bool,
    /// How many modules that are: for the order of work only. Older caches do not say.
    #[serde(default)]
    pub modules: u64,
    /// Bytes of its archive.
    pub size: u64,
    /// When it was built, in seconds since 1970.
    pub timestamp: u64,
    /// Its licence, in its own words.
    pub license: Option<String>,
    /// Names of the packages it requires.
    pub depends: Vec<String>,
}

/// A package that was looked into.
#[derive(Debug)]
pub enum Inspected {
    /// One of conda's.
    Conda(Archive, Box<Info>, Scripts),
    /// One of pip's.
    Wheel(Box<Wheel>),
}

impl Inspected {
    /// File name of the package.
    pub fn file_name(&self) -> &str {
        match self {
            Self::Conda(archive, ..) => &archive.name,
            Self::Wheel(wheel) => &wheel.name,
        }
    }

    /// What a plan of layers has to know of it.
    pub fn facts(&self) -> Facts {
        match self {
            Self::Conda(archive, info, _) => Facts { size: archive.size(), built: info.timestamp },
            Self::Wheel(wheel) => Facts { size: wheel.size, built: wheel.timestamp },
        }
    }

    fn conda(&self) -> Option<(&Archive, &Info)> {
        match self {
            Self::Conda(archive, info, _) => Some((archive, info)),
            Self::Wheel(_) => None,
        }
    }

    fn installed(&self, python: Option<&Python>, prefix: &str) -> Result<Installed, Error> {
        match self {
            Self::Conda(archive, info, _) => Installed::of(info, archive, python, prefix),
            // Whatever a wheel was asked for, the files that say so are its own.
            Self::Wheel(wheel) => wheel.installed(Asked::ByUrl, python, prefix),
        }
    }

    /// The digest of what the package has at a place, where that is known without reading it.
    pub fn digest_of(&self, origin: &Origin) -> Option<Digest> {
        match (self, origin) {
            (Self::Wheel(wheel), _) => wheel.digest_of(origin),
            (Self::Conda(_, info, _), Origin::Member(index)) => {
                let entry = &info.paths[*index].entry;
                let is_unchanged = entry.path_type == PathType::HardLink && entry.prefix_placeholder.is_none();
                entry.sha256.filter(|_| is_unchanged).map(|hash| Digest::from_bytes(hash.into()))
            }
            _ => None,
        }
    }

    /// What the plan says of it, when `installed` is left of its files.
    fn planned(&self, name: &str, installed: &Installed, excluded: BTreeSet<PrefixPath>) -> PlannedPackage {
        let modules = installed.modules() as u64;
        let compiles = modules > 0;
        let Facts { size, built: timestamp } = self.facts();
        let for_python = self.conda().is_none_or(|(_, info)| compiles || info.index.noarch.is_python());
        let (license, depends) = match self {
            Self::Conda(_, info, _) => {
                let depends = info.index.depends.iter().map(|text| requirement_name(text)).collect();
                (info.index.license.clone(), depends)
            }
            Self::Wheel(wheel) => (wheel.license.clone(), wheel.depends.clone()),
        };
        let (name, effects) = (name.to_owned(), Vec::new());
        PlannedPackage { name, excluded, effects, for_python, compiles, modules, size, timestamp, license, depends }
    }
}

/// Reads what `package` says about itself, and checks that it is what the lock says. Returns it with its name.
///
/// # Errors
/// When the archive is damaged or hostile, or holds another package.
pub fn inspect(package: &Pinned) -> Result<(String, Inspected), Error> {
    let name = package.name().to_owned();
    if !package.is_conda() {
        return Ok((name, Inspected::Wheel(Box::new(Wheel::open(package)?))));
    }
    let archive = package.archive()?;
    let info = Info::read(&archive)?;
    check_identity(package, &info, &archive)?;
    let scripts = link_scripts::read(&archive, &info)?;
    Ok((name, Inspected::Conda(archive, Box::new(info), scripts)))
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
    /// Plans `prefix` for these packages, which are named and in the order of the lock.
    ///
    /// # Errors
    /// [`Error::Clash`], [`Error::Overlap`], [`Error::NoPython`], [`Error::Path`], [`Error::LinkScript`].
    pub fn new(
        packages: &[(String, Inspected)],
        prefix: &str,
        skip_link_scripts: &[String],
        strip: &Strip,
    ) -> Result<Self, Error> {
        let (names, packages): (Vec<_>, Vec<_>) = packages.iter().map(|(name, package)| (name, package)).unzip();
        let conda = packages.iter().filter_map(|package| match package {
            Inspected::Conda(_, info, scripts) => Some((info.as_ref(), scripts)),
            Inspected::Wheel(_) => None,
        });
        let effects = link_scripts::check(conda, skip_link_scripts)?;
        let mut indices = packages.iter().filter_map(|package| package.conda()).map(|(_, info)| &info.index);
        let python = indices.find(|index| index.name.as_normalized() == "python").and_then(Python::of);
        let installed = packages.iter().map(|package| package.installed(python.as_ref(), prefix));
        let mut installed = installed.collect::<Result<Vec<_>, _>>()?;
        for ((name, package), installed) in names.iter().zip(&packages).zip(&mut installed) {
            if let Some(effects) = effects.get(*name).filter(|_| package.conda().is_some()) {
                installed.add_effects(effects);
            }
        }
        let mut excluded = losers(&installed, &install_order(&packages)?);
        overlap::settle(&packages, &installed, &mut excluded)?;
        check_clashes(&packages, &installed)?;
        for (installed, excluded) in installed.iter().zip(&mut excluded) {
            excluded.extend(installed.members().filter(|path| strip.takes(path.as_str())).cloned());
        }
        let planned = names.into_iter().zip(packages).zip(installed.into_iter().zip(excluded));
        let packages = planned.map(|((name, package), (installed, excluded))| {
            let installed = installed.without(&excluded);
            let effects = effects.get(name).filter(|_| package.conda().is_some()).cloned().unwrap_or_default();
            PlannedPackage { effects, ..package.planned(name, &installed, excluded) }
        });
        Ok(Self { python, packages: packages.collect() })
    }
}

/// Indices of conda's among `packages` in the order they would be installed.
fn install_order(packages: &[&Inspected]) -> Result<Vec<usize>, Error> {
    let mut records = Vec::new();
    let mut indices = HashMap::new();
    for (index, (archive, info)) in packages.iter().enumerate().filter_map(|(i, package)| Some((i, package.conda()?))) {
        let record = record(archive, info)?;
        indices.insert(record.name.clone(), index);
        records.push(record);
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(PackageRecord::sort_topologically(records).iter().map(|record| indices[&record.name]).collect())
}

fn record(archive: &Archive, info: &Info) -> Result<PackageRecord, Error> {
    PackageRecord::from_index_json(info.index.clone(), None, None, None).map_err(|error| Error::Metadata {
        package: archive.name.clone(),
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
fn check_clashes(packages: &[&Inspected], installed: &[Installed]) -> Result<(), Error> {
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
                        package: packages[index].file_name().to_owned(),
                        above: above.to_owned(),
                        other: packages[*other].file_name().to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}
