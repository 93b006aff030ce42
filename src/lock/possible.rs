//! Which records can be part of an answer at all.
//!
//! Of the records of all names that a request leads to, half cannot: they are for another Python than is asked for, or
//! need what nothing offers. The solver finds that out, too, but only after it has worked out what each of them requires,
//! which is most of what a solve costs. Here a record goes when the request does not allow it, when one of its
//! requirements has no candidate left, or when what must be in every answer leaves no room for it; and so on, until
//! nothing changes. What stays is still a superset of every answer. `constrains` are left to the solver.
//!
//! Requirements are read once a request. The solver is then asked about it many times, each time with other pins, and
//! what these leave is found from there: with most names pinned, next to nothing.

mod puzzle;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, RepoDataRecord};

use puzzle::{Puzzle, State};

/// What can be part of an answer to a request.
pub(super) struct Possible {
    puzzle: Puzzle,
    state: State,
    /// The request's names.
    roots: Vec<usize>,
    /// Names that are in every answer.
    needed: BTreeSet<usize>,
}

/// What can be part of an answer when some records are pinned.
pub(super) struct Left {
    /// Of each record, in order, whether it can; of pinned names none, as the solver adds the pins themselves.
    pub stays: Vec<bool>,
    /// Whether there certainly is no answer.
    pub hopeless: bool,
}

impl Possible {
    /// Works out what answers to `specs` can have of `records`.
    pub fn new<'a>(
        records: impl Iterator<Item = &'a Arc<RepoDataRecord>>,
        specs: &[MatchSpec],
        virtual_packages: &[GenericVirtualPackage],
    ) -> Self {
        let (puzzle, mut state) = Puzzle::new(&records.collect::<Vec<_>>(), specs, virtual_packages);
        let mut needed = BTreeSet::new();
        let roots = require(&puzzle, &mut state, specs);
        state.lost.clear();
        narrow(&puzzle, &mut state, &mut needed, &roots);
        Self { puzzle, state, roots, needed }
    }

    /// What is left when `pins` are the only records of their names, and `also` is asked for, too; `None` if a pin is no
    /// record that is known here.
    pub fn left(&self, pins: &[&RepoDataRecord], also: &[MatchSpec]) -> Option<Left> {
        let (mut state, mut needed) = (self.state.clone(), self.needed.clone());
        state.lost.clear();
        let mut pinned = HashSet::new();
        for pin in pins {
            // Nothing leads to a name without records.
            let Some(name) = self.puzzle.number(pin.package_record.name.as_normalized()) else { continue };
            let records = &self.puzzle.names[name].records;
            let kept = *records.iter().find(|number| self.puzzle.records[**number].record.url == pin.url)?;
            pinned.insert(name);
            self.puzzle.remove(&mut state, records.iter().copied().filter(|number| *number != kept), true);
        }
        let more = require(&self.puzzle, &mut state, also);
        narrow(&self.puzzle, &mut state, &mut needed, &more);
        let roots = self.roots.iter().chain(&more).copied();
        let mut stays = self.reached(&state, roots);
        for name in &pinned {
            self.puzzle.names[*name].records.iter().for_each(|number| stays[*number] = false);
        }
        Some(Left { stays, hopeless: state.hopeless })
    }

    /// Of the records that stay those of names that `roots` lead to through records that stay.
    fn reached(&self, state: &State, roots: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut todo: Vec<usize> = roots.collect();
        let mut seen: HashSet<usize> = todo.iter().copied().collect();
        let mut reached = vec![false; state.stays.len()];
        while let Some(name) = todo.pop() {
            for number in self.puzzle.names[name].records.iter().filter(|number| state.stays[**number]) {
                reached[*number] = true;
                todo.extend(self.puzzle.leads(*number).filter(|name| seen.insert(*name)));
            }
        }
        reached
    }
}

/// Removes what `specs` do not allow, and returns their names.
fn require(puzzle: &Puzzle, state: &mut State, specs: &[MatchSpec]) -> Vec<usize> {
    let mut names = Vec::new();
    for spec in specs {
        let Some(name) = puzzle.number_of(spec) else { continue };
        let refused = |number: &usize| !spec.matches(&*puzzle.records[*number].record);
        puzzle.remove(state, puzzle.names[name].records.iter().copied().filter(refused), false);
        names.push(name);
    }
    names
}

/// Removes what is not possible beside `names`, which are in every answer, and beside what was needed and lost records.
fn narrow(puzzle: &Puzzle, state: &mut State, needed: &mut BTreeSet<usize>, names: &[usize]) {
    let mut todo: VecDeque<usize> = VecDeque::new();
    let mut common: Vec<usize> = names.to_vec();
    loop {
        let lost: Vec<usize> =
            std::mem::take(&mut state.lost).into_iter().filter(|name| needed.contains(name)).collect();
        let news: Vec<usize> = common.into_iter().filter(|name| needed.insert(*name)).chain(lost).collect();
        for name in news {
            if !todo.contains(&name) {
                todo.push_back(name);
            }
        }
        let Some(name) = todo.pop_front() else { return };
        common = puzzle.narrow(state, name);
    }
}

#[cfg(test)]
mod tests;
