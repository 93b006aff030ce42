//! rattler's solver, asked about one subdir as often as it takes.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, RepoDataRecord};
use rattler_repodata_gateway::RepoData;
use rattler_solve::resolvo::Solver;
use rattler_solve::{CancellationToken, ChannelPriority, SolveError, SolveStrategy, SolverImpl, SolverTask};
use url::Url;

use super::favour::Picks;
use super::possible::Possible;
use super::reachable::reachable;
use crate::channel::Records;

/// So many records besides the pinned ones the solver goes through in no time.
const FEW: usize = 10_000;

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
    /// What an answer can have, worked out when it is first needed.
    pub possible: OnceLock<Possible>,
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
    /// Whether nobody is told why there is no answer.
    pub quietly: bool,
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
        if wish.quietly && self.possible.get().is_none() {
            let few = reachable(self.some_records(|_| true), &specs, &pins);
            if few.iter().map(Vec::len).sum::<usize>() <= FEW {
                return self.ask(few, &specs, &pins, wish);
            }
        }
        let unsolvable = match self.possible().left(&pins, wish.also) {
            Some(left) if left.hopeless => SolveError::Unsolvable(Vec::new()),
            Some(left) => match self.ask(self.some_records(|number| left.stays[number]), &specs, &pins, wish) {
                Err(SolveError::Unsolvable(reasons)) => SolveError::Unsolvable(reasons),
                other => return other,
            },
            None => return self.ask(self.some_records(|_| true), &specs, &pins, wish),
        };
        if wish.quietly {
            return Err(unsolvable);
        }
        // An explanation is to tell of all there is.
        self.ask(self.some_records(|_| true), &specs, &pins, wish)
    }

    fn possible(&self) -> &Possible {
        let all = || self.records.iter().flat_map(RepoData::iter_arc);
        self.possible.get_or_init(|| Possible::new(all(), &self.specs, &self.virtual_packages))
    }

    /// The records whose numbers, counted over all lists, are `wanted`.
    fn some_records(&self, wanted: impl Fn(usize) -> bool) -> Vec<Vec<&RepoDataRecord>> {
        let mut number = 0..;
        let mut is_wanted = |_: &&RepoDataRecord| number.next().is_some_and(&wanted);
        self.records.iter().map(|data| data.iter().filter(&mut is_wanted).collect()).collect()
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
