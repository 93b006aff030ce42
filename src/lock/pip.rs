//! What is to be installed by pip, beside what conda installs.
//!
//! Requirements below `pip:` are answered when the conda packages are known: their Python decides which wheels and
//! markers count, and what they provide is never installed a second time. Locked entries are kept as they are while they
//! answer; else `uv` is asked (see [`uv`](super::uv)), which prefers their versions. Only wheels are locked.

mod provided;
mod solve;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use pep508_rs::VersionOrUrl;
use pep508_rs::pep440_rs::{Version, VersionSpecifiers};
use rattler_conda_types::Subdir;

use self::provided::provided;
use self::solve::Solve;
pub(super) use self::target::Target;
use self::target::major_minor;
use super::{Error, Lock, LockSpec, LockedPackage, Manager, Relock, Stale, SubdirSpec};
use crate::channel::Client;
use crate::project::{Dependency, RelockPolicy, Requirement, requirement, sha256_of, wheel_url};

/// Names of pip packages, normalised (PEP 503).
pub(super) fn pip_name(name: &str) -> String {
    let words: Vec<&str> = name.split(['.', '_', '-']).filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}

/// What pip is asked for on one subdir, and what conda has for it.
pub(super) struct Pip<'a> {
    subdir: Subdir,
    target: Target,
    provided: BTreeMap<String, &'a LockedPackage>,
    /// The lines whose markers hold.
    wanted: Vec<(&'a Dependency, Requirement)>,
}

impl<'a> Pip<'a> {
    /// `None` if nothing is asked of pip, or there is no Python it could be for.
    pub fn new(spec: &'a SubdirSpec, conda: impl Iterator<Item = &'a LockedPackage>) -> Option<Self> {
        if spec.pip.is_empty() {
            return None;
        }
        let conda: Vec<&LockedPackage> = conda.filter(|package| package.manager == Manager::Conda).collect();
        let python = conda.iter().find(|package| package.name == "python")?;
        let target = Target::new(spec.subdir, &python.version, &spec.virtual_packages)?;
        let lines = spec.pip.iter().flat_map(|merged| &merged.dependencies);
        let wanted = lines.filter_map(|line| Some((line, requirement(&line.spec).ok()?)));
        let wanted: Vec<_> = wanted.filter(|(_, wanted)| wanted.evaluate_markers(&target.markers, &[])).collect();
        (!wanted.is_empty()).then(|| Self { subdir: spec.subdir, target, provided: provided(conda), wanted })
    }

    /// Why `locked`, all of pip's packages, do not answer. `same_request` tells that nothing was asked for differently
    /// when they were locked.
    pub fn stale(&self, locked: &[&LockedPackage], same_request: bool) -> Vec<Stale> {
        let by_name: BTreeMap<String, &LockedPackage> =
            locked.iter().map(|package| (pip_name(&package.name), *package)).collect();
        let mut stale = Vec::new();
        for (line, wanted) in &self.wanted {
            let found = self.find(wanted.name.as_ref(), &by_name);
            // A lock does not tell which extras were asked for.
            let extras_known =
                wanted.extras.is_empty() || same_request || self.provided.contains_key(wanted.name.as_ref());
            if !(extras_known && found.is_some_and(|found| answers(wanted, found))) {
                let locked = found.map(|found| found.version.clone());
                let (requirement, place) = (line.spec.clone(), line.place.clone());
                stale.push(Stale::Requirement { subdir: self.subdir, requirement, place, locked });
            }
        }
        let needed = self.needed(&by_name);
        for (name, package) in &by_name {
            if !needed.contains(name) {
                stale.push(Stale::Orphan { subdir: self.subdir, package: package.name.clone() });
                continue;
            }
            for (dependency, version) in &package.dependencies {
                let found = self.find(&pip_name(dependency), &by_name);
                if !found.is_some_and(|found| version_matches(version, &found.version)) {
                    stale.push(Stale::Dependency {
                        subdir: self.subdir,
                        package: package.name.clone(),
                        requirement: format!("{dependency} {version}").trim().to_owned(),
                        found: found.map(|found| found.version.clone()),
                    });
                }
            }
        }
        stale
    }

    /// Names of `locked` packages that may move though they need not.
    fn moving(&self, how: &Relock<'_>, locked: &[&LockedPackage]) -> BTreeSet<String> {
        let by_name: BTreeMap<String, &LockedPackage> =
            locked.iter().map(|package| (pip_name(&package.name), *package)).collect();
        let named = how.update.iter().chain(how.refresh).map(|name| pip_name(name));
        let mut moving: BTreeSet<String> = match how.policy {
            RelockPolicy::Fresh => by_name.keys().cloned().collect(),
            RelockPolicy::Requested => self.wanted.iter().map(|(_, wanted)| wanted.name.to_string()).collect(),
            RelockPolicy::Minimal => BTreeSet::new(),
        };
        moving.extend(named);
        if how.recursive {
            moving.extend(reached(how.update.iter().map(|name| pip_name(name)), &by_name));
        }
        moving.retain(|name| by_name.contains_key(name));
        moving
    }

    /// What there is by this name: conda's, which pip leaves alone, else pip's.
    fn find<'b>(&'b self, name: &str, pip: &BTreeMap<String, &'b LockedPackage>) -> Option<&'b LockedPackage> {
        self.provided.get(name).or_else(|| pip.get(name)).copied()
    }

    /// Names that the requirements lead to, through packages of pip's own.
    fn needed(&self, pip: &BTreeMap<String, &LockedPackage>) -> BTreeSet<String> {
        let own = |name: &String| !self.provided.contains_key(name);
        let roots = self.wanted.iter().map(|(_, wanted)| wanted.name.to_string()).filter(own);
        let own: BTreeMap<String, &LockedPackage> =
            pip.iter().filter(|(name, _)| own(name)).map(|(name, package)| (name.clone(), *package)).collect();
        reached(roots, &own)
    }
}

/// Those of `packages` that `names` name, and all that they depend on.
fn reached(names: impl Iterator<Item = String>, packages: &BTreeMap<String, &LockedPackage>) -> BTreeSet<String> {
    let mut todo: Vec<String> = names.collect();
    let mut reached = BTreeSet::new();
    while let Some(name) = todo.pop() {
        let Some(package) = packages.get(&name) else { continue };
        if reached.insert(name) {
            todo.extend(package.dependencies.keys().map(|name| pip_name(name)));
        }
    }
    reached
}

/// Why the pip packages of `lock` do not answer `spec`.
pub(super) fn stale(spec: &SubdirSpec, lock: &Lock) -> Vec<Stale> {
    let locked: Vec<&LockedPackage> =
        lock.packages_for(spec.subdir).filter(|package| package.manager == Manager::Pip).collect();
    match Pip::new(spec, lock.packages_for(spec.subdir)) {
        Some(pip) => pip.stale(&locked, lock.content_hash.get(&spec.subdir) == Some(&spec.content_hash)),
        None => {
            let orphan =
                |package: &&LockedPackage| Stale::Orphan { subdir: spec.subdir, package: package.name.clone() };
            locked.iter().map(orphan).collect()
        }
    }
}

/// Lines that ask for extras of what conda provides, each once: a lock cannot say what these are.
pub(super) fn extras_of_conda(spec: &LockSpec, lock: &Lock) -> BTreeSet<String> {
    let mut warnings = BTreeSet::new();
    for subdir in &spec.subdirs {
        let Some(pip) = Pip::new(subdir, lock.packages_for(subdir.subdir)) else { continue };
        for (line, _) in pip
            .wanted
            .iter()
            .filter(|(_, wanted)| !wanted.extras.is_empty() && pip.provided.contains_key(wanted.name.as_ref()))
        {
            let message = "conda provides the package; what its extras need must be listed, too";
            warnings.insert(format!("{}: `{}`: {message}", line.place, line.spec));
        }
    }
    warnings
}

/// The pip packages that answer `spec` beside the conda packages `conda`, moved as `how` says; the inner error says why
/// there are none.
///
/// # Errors
/// When uv, or what a wheel says of itself, cannot be had.
pub(super) async fn solve(
    image: &str,
    spec: &SubdirSpec,
    how: &Relock<'_>,
    conda: &[LockedPackage],
    client: &Client,
) -> Result<Result<Vec<LockedPackage>, String>, Error> {
    let Some(pip) = Pip::new(spec, conda.iter()) else { return Ok(Ok(Vec::new())) };
    let existing = how.existing;
    let before: Vec<&LockedPackage> = existing.into_iter().flat_map(|lock| lock.packages_for(spec.subdir)).collect();
    let locked: Vec<&LockedPackage> =
        before.iter().copied().filter(|package| package.manager == Manager::Pip).collect();
    let moving = pip.moving(how, &locked);
    let is_python = |package: &&&LockedPackage| package.manager == Manager::Conda && package.name == "python";
    let python_before = before.iter().find(is_python).and_then(|python| major_minor(&python.version));
    let same_request = existing.is_some_and(|lock| lock.content_hash.get(&spec.subdir) == Some(&spec.content_hash));
    let same_python = python_before == major_minor(&pip.target.python);
    if (same_python || locked.is_empty()) && moving.is_empty() && pip.stale(&locked, same_request).is_empty() {
        return Ok(Ok(locked.into_iter().cloned().collect()));
    }
    let kept: Vec<&LockedPackage> =
        locked.into_iter().filter(|package| !moving.contains(&pip_name(&package.name))).collect();
    Solve { image, spec, pip: &pip, kept: &kept, how, client }.run().await
}

/// Whether `package`, of conda or pip, answers `wanted`, whose markers hold.
fn answers(wanted: &Requirement, package: &LockedPackage) -> bool {
    match (&wanted.version_or_url, wheel_url(wanted)) {
        (_, Some(url)) => {
            let mut bare = url.clone();
            bare.set_fragment(None);
            let same_hash = sha256_of(url).is_none_or(|hash| package.sha256.as_ref() == Some(&hash));
            package.manager == Manager::Pip && package.url == bare && same_hash
        }
        (Some(VersionOrUrl::VersionSpecifier(specifiers)), _) => {
            Version::from_str(&python_version(&package.version)).is_ok_and(|version| specifiers.contains(&version))
        }
        _ => true,
    }
}

/// Whether `version` is one that `wanted` allows. conda-lock writes some in Poetry's words: what cannot be read holds.
fn version_matches(wanted: &str, version: &str) -> bool {
    let wanted = if wanted == "*" { "" } else { wanted };
    match (VersionSpecifiers::from_str(wanted), Version::from_str(&python_version(version))) {
        (Ok(wanted), Ok(version)) => wanted.contains(&version),
        _ => true,
    }
}

/// A conda package's version as PEP 440 spells it; where it is none, that of the numbers it begins with.
fn python_version(version: &str) -> String {
    let end = version.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(version.len());
    let parsed = [version, version[..end].trim_matches('.')].into_iter().find_map(|text| Version::from_str(text).ok());
    parsed.map_or_else(|| "0".to_owned(), |version| version.to_string())
}

#[cfg(test)]
mod tests;
