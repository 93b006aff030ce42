//! What became of the subdirs, put together: one lock, or one error that names every subdir it concerns.

use std::collections::{BTreeMap, BTreeSet};

use rattler_conda_types::{Channel, Subdir};

use super::movement::Held;
use super::{Error, Failure, LockSpec, LockedPackage, SubdirSpec, UnknownPackage};
use crate::channel::Client;

/// What became of one subdir.
pub(super) enum Outcome {
    /// Its packages, and what of them could not be brought to its newest version.
    Solved { packages: Vec<LockedPackage>, held: Vec<Held> },
    /// Names that no channel has.
    Unknown(BTreeSet<String>),
    /// The solver's explanation.
    Unsolvable(String),
}

/// The packages of all subdirs.
pub(super) struct Collected {
    pub packages: Vec<LockedPackage>,
    pub held: Vec<(Subdir, Held)>,
}

/// Puts the subdirs' packages together, or their failures.
pub(super) async fn collect(
    spec: &LockSpec,
    outcomes: Vec<Outcome>,
    channels: &[Channel],
    client: &Client,
) -> Result<Collected, Error> {
    let unknown: Vec<&BTreeSet<String>> = outcomes
        .iter()
        .filter_map(|outcome| if let Outcome::Unknown(names) = outcome { Some(names) } else { None })
        .collect();
    let nowhere: BTreeSet<String> = match &unknown[..] {
        [first, rest @ ..] if unknown.len() == outcomes.len() => {
            first.iter().filter(|name| rest.iter().all(|names| names.contains(*name))).cloned().collect()
        }
        _ => BTreeSet::new(),
    };
    if !nowhere.is_empty() {
        return Err(unknown_packages(spec, &nowhere, channels, client).await);
    }
    let mut failures = Vec::new();
    let mut all = Collected { packages: Vec::new(), held: Vec::new() };
    for (subdir, outcome) in spec.subdirs.iter().zip(outcomes) {
        let explanation = match outcome {
            Outcome::Solved { packages, held } => {
                all.packages.extend(packages);
                all.held.extend(held.into_iter().map(|held| (subdir.subdir, held)));
                continue;
            }
            Outcome::Unknown(names) => missing_here(subdir, &names),
            Outcome::Unsolvable(explanation) => explanation,
        };
        failures.push(Failure { subdir: subdir.subdir, explanation });
    }
    if failures.is_empty() { Ok(all) } else { Err(Error::Unsolvable { image: spec.image.clone(), failures }) }
}

fn missing_here(spec: &SubdirSpec, names: &BTreeSet<String>) -> String {
    let lines = spec.conda.iter().filter(|merged| names.contains(&merged.name)).map(|merged| {
        let place = merged.dependencies.first().map_or(String::new(), |line| line.place.to_string());
        format!("{place}: `{}` is not to be had for {}", merged.name, spec.subdir)
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn unknown_packages(spec: &LockSpec, names: &BTreeSet<String>, channels: &[Channel], client: &Client) -> Error {
    let subdirs: Vec<Subdir> = spec.subdirs.iter().map(|subdir| subdir.subdir).collect();
    // A suggestion is a kindness: without one the error is the same.
    let known = client.names(channels, &subdirs).await.unwrap_or_default();
    let similar = |name: &str| {
        let score = |known: &&String| strsim::jaro_winkler(name, known);
        let best = known.iter().map(|known| (score(&known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(score, _)| *score > 0.85).map(|(_, known)| known.clone())
    };
    let requested = spec.subdirs.iter().flat_map(|subdir| &subdir.conda);
    let mut packages: BTreeMap<&str, UnknownPackage> = BTreeMap::new();
    for merged in requested.filter(|merged| names.contains(&merged.name)) {
        let Some(line) = merged.dependencies.first() else { continue };
        packages.entry(&merged.name).or_insert_with(|| UnknownPackage {
            name: merged.name.clone(),
            place: line.place.clone(),
            similar: similar(&merged.name),
        });
    }
    Error::UnknownPackages { image: spec.image.clone(), packages: packages.into_values().collect() }
}
