//! Finds the [`Advice`] on what is missing: asks the channels what they have instead, and the image what it assumes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rattler_conda_types::{Channel, MatchSpec, PackageName, RepoDataRecord, Subdir, Version, VersionWithSource};
use rattler_repodata_gateway::RepoData;

use super::advice::system;
use super::explain::Missing;
use super::{Advice, LockSpec, SubdirSpec};
use crate::channel::Client;
use crate::project::match_spec;

/// Looks up what is behind a failure.
pub(super) struct Advisor<'a> {
    pub spec: &'a LockSpec,
    pub channels: &'a [Channel],
    pub client: &'a Client,
}

/// Requirements that are looked up; a conflict of old packages can have hundreds, which tell the same story.
const MOST_LOOKUPS: usize = 40;

impl Advisor<'_> {
    /// What can be done about requirements that nothing on `asked` answers.
    pub async fn on(&self, asked: &SubdirSpec, missing: &[Missing]) -> Vec<Advice> {
        let mut advice = Vec::new();
        let (machine, packages): (Vec<&Missing>, Vec<&Missing>) =
            missing.iter().partition(|missing| missing.spec.starts_with("__"));
        for missing in packages.into_iter().take(MOST_LOOKUPS) {
            // One reason to keep a package off a subdir is enough.
            let known = |advice: &Advice| matches!(advice, Advice::Elsewhere { root, .. } if *root == missing.root);
            if !advice.iter().any(known) {
                advice.extend(self.package(asked, missing).await);
            }
        }
        let (foreign, machine) = machine.into_iter().partition(|missing| is_of_other_system(missing, asked.subdir));
        advice.extend(self.virtual_packages(asked, machine));
        // A package may have one build a system: the others' are only worth a word where there is no other reason.
        if advice.is_empty() {
            advice.extend(other_systems(foreign));
        }
        advice
    }

    async fn package(&self, asked: &SubdirSpec, missing: &Missing) -> Option<Advice> {
        let spec = match_spec(&missing.spec).ok()?;
        let name = spec.name.as_exact()?.clone();
        let all = self.records(asked.subdir, &name).await;
        let here = in_first_channel(&all);
        let is_here = here.iter().any(|record| fits(&spec, record));
        let elsewhere = if is_here { None } else { self.elsewhere(asked.subdir, &spec, missing, &here).await };
        // What others need of a package is not for the reader to change.
        if elsewhere.is_some() || here.is_empty() || !is_requested(missing, &spec) {
            return elsewhere;
        }
        if here.iter().any(|record| has_version(&spec, record)) {
            return build_advice(missing, &spec, &here);
        }
        self.other_channel(missing, &spec, &all).or_else(|| version_advice(missing, &here))
    }

    /// Whether the other subdirs of the image have what is missing.
    async fn elsewhere(
        &self,
        subdir: Subdir,
        spec: &MatchSpec,
        missing: &Missing,
        here: &[&RepoDataRecord],
    ) -> Option<Advice> {
        let name = spec.name.as_exact()?;
        let mut subdirs = Vec::new();
        for other in self.spec.subdirs.iter().map(|asked| asked.subdir).filter(|other| *other != subdir) {
            let records = self.records(other, name).await;
            let fitting = in_first_channel(&records).into_iter().filter(|record| fits(spec, record));
            if let Some(newest) = newest(fitting) {
                subdirs.push((other, newest));
            }
        }
        (!subdirs.is_empty()).then(|| Advice::Elsewhere {
            missing: missing.spec.clone(),
            needed_by: (!is_requested(missing, spec)).then(|| missing.root.clone()),
            root: missing.root.clone(),
            newest: newest(here.iter().copied()),
            subdirs,
        })
    }

    /// The version in a channel that strict priority leaves out.
    fn other_channel(&self, missing: &Missing, spec: &MatchSpec, records: &[RepoDataRecord]) -> Option<Advice> {
        let label = |record: &RepoDataRecord| {
            let is_its = |channel: &&Channel| Some(channel.canonical_name()) == record.channel;
            let channel = self.channels.iter().find(is_its)?;
            // As it is written, and as a specification takes it: a name only if it is one of conda's.
            let name = channel.name.as_ref().filter(|name| self.spec.channels.contains(name));
            Some(name.map_or_else(|| channel.base_url.as_str().trim_end_matches('/').to_owned(), Clone::clone))
        };
        let other = records.iter().find(|record| has_version(spec, record)).and_then(label)?;
        let (asked, name) = (missing.spec.clone(), missing.root.clone());
        Some(Advice::Channel { asked, name, first: records.first().and_then(label)?, other })
    }

    /// Records of `name` for `subdir`, channels in order. Without any there is no advice, and the error is the same.
    async fn records(&self, subdir: Subdir, name: &PackageName) -> Vec<RepoDataRecord> {
        let found = self.client.records_without_dependencies(self.channels, subdir, [name.clone()]).await;
        let records = found.unwrap_or_default();
        let of_name = |record: &&RepoDataRecord| record.package_record.name == *name;
        records.iter().flat_map(RepoData::iter).filter(of_name).cloned().collect()
    }

    /// Each virtual package once: of what one requested package can do with, the least; of what several need, the most.
    fn virtual_packages(&self, asked: &SubdirSpec, missing: Vec<&Missing>) -> Vec<Advice> {
        let mut least: BTreeMap<(&str, &str), (Version, &str)> = BTreeMap::new();
        for missing in missing {
            let needed = (bound(&missing.spec).unwrap_or_else(|| Version::major(0)), missing.spec.as_str());
            let known = least.entry((name(missing), &missing.root)).or_insert_with(|| needed.clone());
            *known = known.clone().min(needed);
        }
        let mut most: BTreeMap<&str, (Version, &str)> = BTreeMap::new();
        for ((name, _), needed) in least {
            let known = most.entry(name).or_insert_with(|| needed.clone());
            *known = known.clone().max(needed);
        }
        let advice = |(name, (version, spec)): (&str, (Version, &str))| {
            let assumed = asked.virtual_packages.iter().find(|package| package.name == name);
            Advice::VirtualPackage {
                needed: spec.to_owned(),
                name: name.to_owned(),
                version: version.to_string(),
                assumed: assumed.map(|package| package.version.clone()),
                file: self.spec.virtual_packages_path(),
            }
        };
        most.into_iter().map(advice).collect()
    }
}

fn is_of_other_system(missing: &Missing, subdir: Subdir) -> bool {
    system(name(missing)).is_some_and(|system| !(system.has)(subdir))
}

fn other_systems(missing: Vec<&Missing>) -> Vec<Advice> {
    let advice = missing
        .into_iter()
        .map(|missing| Advice::OtherSystem { root: missing.root.clone(), name: name(missing).to_owned() });
    let mut advice: Vec<Advice> = advice.collect();
    advice.dedup();
    advice
}

/// The name in front of a requirement's version.
fn name(missing: &Missing) -> &str {
    missing.spec.split_once(' ').map_or(missing.spec.as_str(), |(name, _)| name)
}

/// Strict priority: the records of the first channel that has any.
fn in_first_channel(records: &[RepoDataRecord]) -> Vec<&RepoDataRecord> {
    let first = records.first().map(|record| &record.channel);
    records.iter().filter(|record| Some(&record.channel) == first).collect()
}

fn has_version(spec: &MatchSpec, record: &RepoDataRecord) -> bool {
    spec.version.as_ref().is_none_or(|wanted| wanted.matches(&record.package_record.version))
}

fn fits(spec: &MatchSpec, record: &RepoDataRecord) -> bool {
    let build = &record.package_record.build;
    has_version(spec, record) && spec.build.as_ref().is_none_or(|wanted| wanted.matches(build.as_str()))
}

fn newest<'a>(records: impl Iterator<Item = &'a RepoDataRecord>) -> Option<String> {
    records.map(|record| &record.package_record.version).max().map(text)
}

fn text(version: &VersionWithSource) -> String {
    version.as_str().into_owned()
}

fn is_requested(missing: &Missing, spec: &MatchSpec) -> bool {
    spec.name.as_exact().is_some_and(|name| name.as_normalized() == missing.root)
}

/// Builds that there are of the newest version that `spec` allows, where it asks for a build.
fn build_advice(missing: &Missing, spec: &MatchSpec, records: &[&RepoDataRecord]) -> Option<Advice> {
    const MOST: usize = 4;
    spec.build.as_ref()?;
    let fitting = || records.iter().filter(|record| has_version(spec, record)).map(|record| &record.package_record);
    let newest = fitting().map(|record| &record.version).max()?;
    let mut builds: Vec<String> =
        fitting().filter(|record| record.version == *newest).map(|record| record.build.to_string()).collect();
    builds.sort_unstable();
    builds.dedup();
    if builds.len() > MOST {
        builds.truncate(MOST - 1);
        builds.push("…".to_owned());
    }
    Some(Advice::Build { asked: missing.spec.clone(), builds })
}

/// The versions around the one asked for.
fn version_advice(missing: &Missing, records: &[&RepoDataRecord]) -> Option<Advice> {
    let versions = || records.iter().map(|record| &record.package_record.version);
    let bound = bound(&missing.spec);
    let excludes = |operator: char| missing.spec.split_once(' ').is_some_and(|(_, it)| it.starts_with(operator));
    let on_side = |side: Ordering, bound_counts: bool| {
        let bound = bound.as_ref()?;
        let is_there = |order: Ordering| order == side || (bound_counts && order == Ordering::Equal);
        let versions = versions().filter(|version| is_there(version.version().cmp(bound)));
        if side == Ordering::Less { versions.max() } else { versions.min() }
    };
    // `>2.1` leaves 2.1 below it, `<1` leaves 1.0 above it.
    let below = on_side(Ordering::Less, excludes('>')).map(text);
    let above = on_side(Ordering::Greater, excludes('<')).map(text);
    Some(Advice::Version { asked: missing.spec.clone(), below, above, newest: versions().max().map(text)? })
}

/// The first version that a requirement names (`2.34` of `__glibc >=2.34,<3.0.a0`).
fn bound(spec: &str) -> Option<Version> {
    let (_, version) = spec.split_once(' ')?;
    let version = version.trim_start_matches(['=', '<', '>', '!', '~', ' ']);
    let end = version.find([',', '|', ' ']).unwrap_or(version.len());
    version[..end].trim_end_matches(['*', '.']).parse().ok()
}
