//! Merges the environments of an image and its ancestors into one request.
//!
//! conda-lock keeps the last file's line where two files name one package, which silently drops the other constraint.
//! Here all of them hold. Where two can be seen to exclude each other the merge fails with both lines, long before a
//! solver would say so in its own words; what cannot be seen is left to the solver. Where no name repeats, the result
//! is conda-lock's.

use std::path::Path;

use indexmap::IndexMap;
use indexmap::map::Entry;
use rattler_conda_types::{MatchSpec, StringMatcher, Subdir, Version, VersionSpec};

use super::requirement::requirement;
use super::spec::{match_spec, name_of};
use super::{ChannelConflict, Conflict, Dependency, Environment, Error};

/// What an image asks for, for one subdir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Channels in order of priority.
    pub channels: Vec<String>,
    /// conda packages, in the order they are first named: own file, parent's, grandparent's.
    pub conda: Vec<MergedSpec>,
    /// pip requirements, in the same order.
    pub pip: Vec<MergedSpec>,
}

/// One package and all that is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedSpec {
    /// The normalised name: conda's rules for conda packages, PEP 503's for pip's.
    pub name: String,
    /// conda-lock's category: `main` if any file with that category (or none given) names the package.
    pub category: String,
    /// The lines that must all hold, at least one; a line that repeats another exactly is left out.
    pub dependencies: Vec<Dependency>,
}

impl MergedSpec {
    fn new(name: String, category: String, dependency: Dependency) -> Self {
        Self { name, category, dependencies: vec![dependency] }
    }

    /// The specs of a conda package, for a solver: all must hold.
    pub fn match_specs(&self) -> impl Iterator<Item = MatchSpec> {
        self.dependencies.iter().filter_map(|dependency| match_spec(&dependency.spec).ok())
    }
}

/// The category of environments that give none.
const MAIN: &str = "main";

/// Merges `environments` (own, parent, grandparent) for `subdir`.
///
/// # Errors
/// [`Error::Conflict`] for two lines that exclude each other, [`Error::Channels`] for channel lists without a common
/// order, [`Error::NoChannels`] if no file names a channel, [`Error::Spec`] for a line that is no specification.
pub fn merge(environments: &[Environment], subdir: Subdir) -> Result<Merged, Error> {
    let (mut conda, mut pip) = (IndexMap::new(), IndexMap::new());
    for environment in environments {
        let category = environment.category.as_deref().unwrap_or(MAIN);
        for dependency in selected(&environment.dependencies, subdir) {
            add_conda(&mut conda, dependency, category)?;
        }
        for dependency in selected(&environment.pip, subdir) {
            add(&mut pip, pip_name(&dependency.spec), dependency, category);
        }
    }
    Ok(Merged {
        channels: merge_channels(environments)?,
        conda: conda.into_values().collect(),
        pip: pip.into_values().collect(),
    })
}

/// The dependencies whose selector keeps them for `subdir`.
fn selected(dependencies: &[Dependency], subdir: Subdir) -> impl Iterator<Item = &Dependency> {
    dependencies
        .iter()
        .filter(move |dependency| dependency.selector.as_ref().is_none_or(|subdirs| subdirs.contains(&subdir)))
}

fn add_conda(merged: &mut IndexMap<String, MergedSpec>, dependency: &Dependency, category: &str) -> Result<(), Error> {
    let spec = parsed(dependency)?;
    let name = name_of(&spec).map(|name| name.as_normalized().to_owned()).unwrap_or_default();
    for earlier in merged.get(&name).into_iter().flat_map(|merged| &merged.dependencies) {
        if let Some(reason) = contradiction(&parsed(earlier)?, &spec) {
            let (first, second) = (earlier.clone(), dependency.clone());
            return Err(Error::Conflict(Box::new(Conflict { name, first, second, reason })));
        }
    }
    add(merged, name, dependency, category);
    Ok(())
}

fn parsed(dependency: &Dependency) -> Result<MatchSpec, Error> {
    match_spec(&dependency.spec).map_err(|source| Error::Spec {
        place: dependency.place.clone(),
        spec: dependency.spec.clone(),
        source,
    })
}

fn add(merged: &mut IndexMap<String, MergedSpec>, name: String, dependency: &Dependency, category: &str) {
    match merged.entry(name) {
        Entry::Vacant(entry) => {
            let name = entry.key().clone();
            entry.insert(MergedSpec::new(name, category.to_owned(), dependency.clone()));
        }
        Entry::Occupied(entry) => {
            let spec = entry.into_mut();
            if spec.category != MAIN {
                category.clone_into(&mut spec.category);
            }
            if spec.dependencies.iter().all(|earlier| earlier.spec != dependency.spec) {
                spec.dependencies.push(dependency.clone());
            }
        }
    }
}

/// What two specs of one package evidently differ in; `None` if both may hold.
fn contradiction(first: &MatchSpec, second: &MatchSpec) -> Option<&'static str> {
    let differ = |reason, differ: bool| differ.then_some(reason);
    let channels = first.channel.as_ref().zip(second.channel.as_ref());
    let exact_build = |spec: &MatchSpec| match &spec.build {
        Some(StringMatcher::Exact(build)) => Some(build.to_lowercase()),
        _ => None,
    };
    differ("they name different channels", channels.is_some_and(|(a, b)| a.base_url != b.base_url))
        .or_else(|| differ("they name different files", both_differ(first.url.as_ref(), second.url.as_ref())))
        .or_else(|| differ("they ask for different builds", both_differ(exact_build(first), exact_build(second))))
        .or_else(|| {
            let versions = first.version.as_ref().zip(second.version.as_ref());
            differ("no version satisfies both", versions.is_some_and(|(a, b)| are_disjoint(a, b)))
        })
}

fn both_differ<T: PartialEq>(first: Option<T>, second: Option<T>) -> bool {
    first.zip(second).is_some_and(|(first, second)| first != second)
}

/// Whether no version can satisfy both.
///
/// Constraints change their answer only at the versions they name. So it is enough to try these, and for each a version
/// just below and some just above it, and one below and one above all.
fn are_disjoint(first: &VersionSpec, second: &VersionSpec) -> bool {
    let mut named = Vec::new();
    collect_versions(first, &mut named);
    collect_versions(second, &mut named);
    let around = |version: &String| {
        ["", ".0.0.0.1", ".1", ".9999999", "dev", ".0a", "post"].map(|suffix| format!("{version}{suffix}"))
    };
    let candidates = named.iter().flat_map(around).chain(["0dev".to_owned(), "9999!9999999".to_owned()]);
    !candidates
        .filter_map(|text| text.parse::<Version>().ok())
        .any(|version| first.matches(&version) && second.matches(&version))
}

/// The versions a constraint names.
fn collect_versions(spec: &VersionSpec, versions: &mut Vec<String>) {
    match spec {
        VersionSpec::None | VersionSpec::Any => {}
        VersionSpec::Range(_, version) | VersionSpec::Exact(_, version) => versions.push(version.to_string()),
        VersionSpec::StrictRange(_, version) => versions.push(version.to_string()),
        VersionSpec::Group(_, specs) => specs.iter().for_each(|spec| collect_versions(spec, versions)),
    }
}

/// The normalised name of a pip requirement; the whole line if it is none, which reading the file refuses.
fn pip_name(line: &str) -> String {
    requirement(line).map_or_else(|_| line.to_owned(), |requirement| requirement.name.to_string())
}

/// The longest of the channel lists, if every other one is the end of it.
fn merge_channels(environments: &[Environment]) -> Result<Vec<String>, Error> {
    // The own file's list among equally long ones: `max_by_key` would take the last.
    let longest = environments.iter().rev().max_by_key(|environment| environment.channels.len());
    let Some(longest) = longest.filter(|environment| !environment.channels.is_empty()) else {
        let path = environments.first().map_or(Path::new("environment.yml"), |environment| &environment.path);
        return Err(Error::NoChannels { path: path.to_owned() });
    };
    for environment in environments {
        if !longest.channels.ends_with(&environment.channels) {
            return Err(Error::Channels(Box::new(ChannelConflict {
                path: environment.path.clone(),
                channels: environment.channels.clone(),
                longest: longest.path.clone(),
                longest_channels: longest.channels.clone(),
            })));
        }
    }
    Ok(longest.channels.clone())
}

#[cfg(test)]
mod tests;
