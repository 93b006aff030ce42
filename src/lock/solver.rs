//! rattler's solver, asked about one subdir as often as it takes.

use std::collections::HashMap;
use std::sync::Arc;

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, RepoDataRecord};
use rattler_solve::resolvo::Solver;
use rattler_solve::{CancellationToken, ChannelPriority, SolveError, SolveStrategy, SolverImpl, SolverTask};
use url::Url;

use super::favour::Picks;
use super::possible::possible;
use super::reachable::reachable;
use crate::channel::Records;

/// What is the same each time the solver is asked.
pub(super) struct Question {
    /// All that is available.
    pub records: Arc<Records>,
    /// What must be there, in the order the solver decides.
    pub specs: Vec<MatchSpec>,
    /// What is there anyway.
    pub virtual_packages: Vec<GenericVirtualPackage>,
    /// Records that must not be taken, by URL, and why not.
    pub excluded: HashMap<Url, Arc<str>>,
    /// Stops the solver.
    pub cancel: CancellationToken,
}

/// What differs from one time to the next.
#[derive(Clone, Copy, Default)]
pub(super) struct Wish<'a> {
    /// The only records that may be taken of their names.
    pub pins: &'a [&'a Picks],
    /// Records to try first, the first of a name; given up at the first conflict.
    pub favours: &'a [&'a Picks],
    /// More specs, which the solver decides first.
    pub also: &'a [MatchSpec],
}

/// Stops the solver when nobody waits for it any more.
pub(super) struct CancelOnDrop(pub CancellationToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Question {
    /// The solver's answer, one record a name. It depends on the records and the wish alone.
    pub fn solve(&self, wish: &Wish<'_>) -> Result<Picks, SolveError> {
        let specs: Vec<MatchSpec> = wish.also.iter().chain(&self.specs).cloned().collect();
        let pins = first_of_each(wish.pins);
        let all = || -> Vec<Vec<&RepoDataRecord>> { self.records.iter().map(|data| data.iter().collect()).collect() };
        if pins.is_empty() {
            let few = possible(all(), &specs, &self.virtual_packages);
            match self.ask(few, &specs, &pins, wish) {
                // An explanation is to tell of all there is.
                Err(SolveError::Unsolvable(_)) => {}
                other => return other,
            }
        } else if wish.also.is_empty() {
            // Nobody is told why not everything can stay.
            return self.ask(reachable(all(), &specs, &pins), &specs, &pins, wish);
        }
        self.ask(all(), &specs, &pins, wish)
    }

    fn ask(
        &self,
        records: Vec<Vec<&RepoDataRecord>>,
        specs: &[MatchSpec],
        pins: &[&RepoDataRecord],
        wish: &Wish<'_>,
    ) -> Result<Picks, SolveError> {
        let task = SolverTask {
            pinned_packages: pins.to_vec(),
            locked_packages: first_of_each(wish.favours),
            virtual_packages: self.virtual_packages.clone(),
            specs: specs.to_vec(),
            channel_priority: ChannelPriority::Strict,
            strategy: SolveStrategy::Highest,
            excluded_candidates: self.excluded.clone(),
            cancellation_token: Some(self.cancel.clone()),
            ..records.into_iter().collect()
        };
        let records = Solver.solve(task)?.records.into_iter();
        Ok(records.map(|record| (record.package_record.name.clone(), Arc::new(record))).collect())
    }
}

/// The record of each name in the first map that has the name.
fn first_of_each<'a>(maps: &[&'a Picks]) -> Vec<&'a RepoDataRecord> {
    let mut first: std::collections::BTreeMap<_, &RepoDataRecord> = std::collections::BTreeMap::new();
    for (name, record) in maps.iter().flat_map(|map| map.iter()) {
        first.entry(name).or_insert(record);
    }
    first.into_values().collect()
}
