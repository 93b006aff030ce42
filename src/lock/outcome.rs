//! What became of the subdirs, put together: one lock, or one error that names every subdir it concerns.

use std::collections::{BTreeMap, BTreeSet};

use rattler_conda_types::{Channel, Subdir};

use super::advisor::Advisor;
use super::explain::{Explanation, Missing};
use super::movement::Held;
use super::{Error, Failure, LockSpec, LockedPackage, SubdirSpec, UnknownPackage};
use crate::channel::Client;
use crate::project::Dependency;

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
    let nowhere = unknown_everywhere(spec, &outcomes);
    if !nowhere.is_empty() {
        return Err(unknown_packages(spec, &nowhere, channels, client).await);
    }
    let advisor = Advisor { spec, channels, client };
    let mut failures = Vec::new();
    let mut all = Collected { packages: Vec::new(), held: Vec::new() };
    for (subdir, outcome) in spec.subdirs.iter().zip(outcomes) {
        match outcome {
            Outcome::Solved { packages, held } => {
                all.packages.extend(packages);
                all.held.extend(held.into_iter().map(|held| (subdir.subdir, held)));
            }
            Outcome::Unknown(names) => failures.push(missing_here(subdir, names, &advisor).await),
            Outcome::Unsolvable(explanation) => failures.push(unsolvable(subdir, &explanation, &advisor).await),
        }
    }
    if failures.is_empty() { Ok(all) } else { Err(Error::Unsolvable { image: spec.image.clone(), failures }) }
}

/// Names that no subdir which asks for them has, and that none of them could be asked for elsewhere.
fn unknown_everywhere(spec: &LockSpec, outcomes: &[Outcome]) -> BTreeSet<String> {
    let unknown = |outcome: &Outcome| match outcome {
        Outcome::Unknown(names) => names.clone(),
        Outcome::Solved { .. } | Outcome::Unsolvable(_) => BTreeSet::new(),
    };
    let known = spec.subdirs.iter().zip(outcomes).flat_map(|(subdir, outcome)| {
        let unknown = unknown(outcome);
        subdir.root_names().into_iter().filter(move |name| !unknown.contains(name))
    });
    let known: BTreeSet<String> = known.collect();
    outcomes.iter().flat_map(unknown).filter(|name| !known.contains(name)).collect()
}

/// Requested packages that `subdir` lacks.
async fn missing_here(subdir: &SubdirSpec, names: BTreeSet<String>, advisor: &Advisor<'_>) -> Failure {
    let lacks = |name: &String| format!("`{name}` is not to be had for {}", subdir.subdir);
    let explanation = names.iter().map(lacks).collect::<Vec<_>>().join("\n");
    let lines = lines(subdir, &names);
    let missing: Vec<Missing> = names.into_iter().map(|name| Missing { spec: name.clone(), root: name }).collect();
    Failure { subdir: subdir.subdir, lines, explanation, advice: advisor.on(subdir, &missing).await }
}

/// What the solver says of `subdir`, so that it can be read.
async fn unsolvable(subdir: &SubdirSpec, explanation: &str, advisor: &Advisor<'_>) -> Failure {
    let whole = Explanation::parse(explanation);
    let (mut text, left_out) = whole.folded();
    let lines = lines(subdir, &Explanation::parse(&text).names());
    let advice = advisor.on(subdir, &whole.missing()).await;
    if left_out > 0 {
        tracing::info!("all that the solver says of {}:\n{explanation}", subdir.subdir);
        text.push_str(&format!("\n({left_out} lines are left out; `-v` shows all)"));
    }
    Failure { subdir: subdir.subdir, lines, explanation: text, advice }
}

/// The requested lines of packages with these names.
fn lines(subdir: &SubdirSpec, names: &BTreeSet<String>) -> Vec<Dependency> {
    let asked = subdir.conda.iter().filter(|merged| names.contains(&merged.name));
    asked.flat_map(|merged| merged.dependencies.iter().cloned()).collect()
}

async fn unknown_packages(spec: &LockSpec, names: &BTreeSet<String>, channels: &[Channel], client: &Client) -> Error {
    let subdirs: Vec<Subdir> = spec.subdirs.iter().map(|subdir| subdir.subdir).collect();
    // A suggestion is a kindness: without one the error is the same.
    let known = client.names(channels, &subdirs).await.unwrap_or_default();
    let similar = |name: &str| {
        let score = |known: &&String| strsim::jaro_winkler(name, known);
        // A channel may list a package that no record describes.
        let others = known.iter().filter(|known| *known != name);
        let best = others.map(|known| (score(&known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(score, _)| *score > 0.85).map(|(_, known)| known.clone())
    };
    // Who asks for pip's packages asks for pip.
    let requested = spec.subdirs.iter().flat_map(|subdir| {
        let conda = subdir.conda.iter().map(|merged| (merged.name.as_str(), merged));
        conda.chain(subdir.pip.first().map(|merged| ("pip", merged)))
    });
    let mut packages: BTreeMap<&str, UnknownPackage> = BTreeMap::new();
    for (name, merged) in requested.filter(|(name, _)| names.contains(*name)) {
        let Some(line) = merged.dependencies.first() else { continue };
        packages.entry(name).or_insert_with(|| UnknownPackage {
            name: name.to_owned(),
            place: line.place.clone(),
            similar: similar(name),
        });
    }
    Error::UnknownPackages { image: spec.image.clone(), packages: packages.into_values().collect() }
}
