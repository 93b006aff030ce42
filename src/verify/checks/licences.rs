//! Under which licences the packages of an image are.
//!
//! Who publishes an image hands out all that is in it. What a channel says of a package's licence is all that can be
//! known here; a few packages (`_libgcc_mutex`) have none, and are listed. conda packages that the environment asks for by
//! name must have one: they were chosen, and can be looked up. Many wheels have theirs in a file alone.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::requested;
use super::{Finding, Outcome};
use crate::verify::subject::Subject;

pub fn recorded(subject: &Subject<'_>) -> Finding {
    let prefixes = [&subject.installed, &subject.installed_root];
    let conda = prefixes.iter().flat_map(|prefix| prefix.packages.values().map(|p| (&p.name, p.license.as_deref())));
    let wheels = prefixes.iter().flat_map(|prefix| prefix.wheels.iter().map(|w| (&w.name, w.license.as_deref())));
    let mut licences: BTreeMap<&str, usize> = BTreeMap::new();
    let mut without = BTreeSet::new();
    for (name, licence) in conda.chain(wheels) {
        match licence.and_then(|text| text.lines().next()).map(str::trim).filter(|text| !text.is_empty()) {
            Some(licence) => *licences.entry(licence).or_default() += 1,
            None => drop(without.insert(name.as_str())),
        }
    }
    let asked = requested(subject);
    let is_fault = |name: &&&str| asked.contains(**name) && prefixes.iter().any(|p| p.packages.contains_key(**name));
    let faults = without.iter().filter(is_fault).map(|name| (*name).to_owned()).collect();
    let mut facts = BTreeMap::new();
    facts.insert("licences".to_owned(), by_count(&licences));
    if !without.is_empty() {
        facts.insert("without-licence".to_owned(), without.into_iter().collect::<Vec<_>>().join(", "));
    }
    let reason = "packages that the environment asks for have no licence in their records";
    Finding { outcome: Outcome::of_faults(reason, faults), facts }
}

/// `BSD-3-Clause 40, MIT 30`: the most frequent first.
fn by_count(licences: &BTreeMap<&str, usize>) -> String {
    let mut sorted: Vec<_> = licences.iter().collect();
    sorted.sort_by_key(|(licence, count)| (std::cmp::Reverse(**count), **licence));
    sorted.iter().map(|(licence, count)| format!("{licence} {count}")).collect::<Vec<_>>().join(", ")
}
