//! Reads the packages of a `pixi.lock`.

use std::collections::BTreeMap;
use std::path::Path;

use rattler_conda_types::{PackageRecord, Subdir};
use rattler_lock::{Environment, LockFile, LockedPackage as PixiPackage, ParseCondaLockError, PypiDistributionData};
use url::Url;

use super::ENVIRONMENT;
use crate::lock::conflict::refuse_markers;
use crate::lock::record::dependencies;
use crate::lock::{Error, Lock, LockedPackage, Manager};
use crate::project::Place;

/// The packages that the environment `default` of a `pixi.lock`, or its only one, has for `subdirs`; `path` is for
/// messages. What pixi builds from source itself is not among them.
///
/// # Errors
/// [`Error::ConflictMarker`], or [`Error::Format`] when it is no `pixi.lock`, or one of several other environments.
pub(in crate::lock) fn parse(path: &Path, text: &str, subdirs: &[Subdir]) -> Result<Lock, Error> {
    refuse_markers(path, text)?;
    let file = LockFile::from_str_with_base_directory(text, path.parent()).map_err(|error| broken(path, &error))?;
    let environment = environment(path, &file)?;
    let mut lock = Lock::default();
    for subdir in subdirs {
        // A platform may have a name of its own; the one that is called like its subdir comes first.
        let mut platforms: Vec<_> = environment.platforms().filter(|platform| platform.subdir() == *subdir).collect();
        platforms.sort_by_key(|platform| (platform.name().as_str() != subdir.as_str(), platform.name().to_string()));
        let Some(packages) = platforms.first().and_then(|platform| environment.packages(*platform)) else { continue };
        lock.subdirs.push(*subdir);
        lock.packages.extend(packages.filter_map(|package| locked(package, *subdir)));
    }
    lock.sort();
    Ok(lock)
}

fn environment<'a>(path: &Path, file: &'a LockFile) -> Result<Environment<'a>, Error> {
    let mut all: Vec<_> = file.environments().collect();
    match (file.environment(ENVIRONMENT), all.len()) {
        (Some(environment), _) => Ok(environment),
        (None, 1) => Ok(all.remove(0).1),
        (None, _) => {
            all.sort_by_key(|(name, _)| *name);
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            let problem = format!("no environment `{ENVIRONMENT}`, and which of `{}` is meant?", names.join("`, `"));
            Err(Error::Format { place: place(path, 1, 1), problem })
        }
    }
}

fn broken(path: &Path, error: &ParseCondaLockError) -> Error {
    let location = match error {
        ParseCondaLockError::ParseError(error) => error.location(),
        _ => None,
    };
    let (line, column) = location.map_or((1, 1), |location| (location.line(), location.column()));
    Error::Format { place: place(path, line, column), problem: format!("no `pixi.lock` that can be read: {error}") }
}

fn place(path: &Path, line: usize, column: usize) -> Place {
    Place { file: path.to_path_buf(), line, column }
}

fn locked(package: &PixiPackage, subdir: Subdir) -> Option<LockedPackage> {
    let url = package.location().as_url()?.clone();
    match package {
        PixiPackage::Conda(data) => Some(conda(&data.as_binary()?.package_record, subdir, url)),
        PixiPackage::Pypi(data) => Some(pip(data.as_wheel()?, subdir, url)),
    }
}

fn conda(record: &PackageRecord, subdir: Subdir, url: Url) -> LockedPackage {
    LockedPackage {
        name: record.name.as_normalized().to_owned(),
        version: record.version.as_str().into_owned(),
        manager: Manager::Conda,
        subdir,
        dependencies: dependencies(&record.depends),
        url,
        md5: record.md5.map(hex::encode),
        sha256: record.sha256.map(hex::encode),
        category: "main".to_owned(),
        optional: false,
    }
}

fn pip(data: &PypiDistributionData, subdir: Subdir, url: Url) -> LockedPackage {
    let sha256 = data.hash.as_ref().and_then(|hash| hash.sha256().map(hex::encode));
    LockedPackage {
        name: data.name.to_string(),
        version: data.version.to_string(),
        manager: Manager::Pip,
        subdir,
        dependencies: BTreeMap::new(),
        url,
        md5: None,
        sha256,
        category: "main".to_owned(),
        optional: false,
    }
}
