//! What moves when a lock is made anew: what was asked to, and of the rest only what then must.
//!
//! The solver knows two kinds of preference. A *pin* is the only record of its name, so that too many of them have no
//! solution; a *favour* is tried first and given up at the first conflict, also where another order of decisions would
//! have met none. Neither alone moves as little as possible. So the solver is asked several times: with everything
//! pinned that may stay; where that has no solution, with favours; and then pins are added to that answer, a half of what
//! moved at a time, as long as there is a solution. What still moves cannot stay beside all that stays.

use std::collections::BTreeSet;
use std::sync::Arc;

use rattler_conda_types::version_spec::RangeOperator;
use rattler_conda_types::{MatchSpec, Matches, PackageName, ParseStrictness, RepoDataRecord, Version, VersionSpec};
use rattler_solve::SolveError;

use super::favour::{Live, Picks, matches_all};
use super::solver::{Question, Wish};
use crate::project::RelockPolicy;

/// Times the solver is asked at most to find out what may stay after all.
const ATTEMPTS_TO_KEEP: usize = 48;

/// What is wanted of one subdir's lock.
pub(super) struct Wanted {
    /// What is locked now.
    pub locked: Picks,
    /// What to take rather than the newest where nothing is locked, or what is locked may move.
    pub preferred: Picks,
    pub policy: RelockPolicy,
    /// Whether another build of the same version is reason enough to move.
    pub rebuilds: bool,
    /// Packages to bring to their newest versions, by name.
    pub update: BTreeSet<PackageName>,
    /// Packages that move together with those, newest or not.
    pub along: BTreeSet<PackageName>,
    /// Packages to bring to their newest versions without a word where they cannot.
    pub refresh: BTreeSet<PackageName>,
}

/// One subdir's lock on its way to what is wanted.
pub(super) struct Movement<'a> {
    pub question: &'a Question,
    pub live: &'a Live<'a>,
    pub wanted: &'a Wanted,
}

/// The answer.
pub(super) struct Moved {
    /// All packages.
    pub picks: Picks,
    /// Packages of `update` for which there is a newer version that cannot be had.
    pub held: Vec<Held>,
}

/// A package that was to be updated and is not the newest that its specs allow.
pub(super) struct Held {
    pub name: PackageName,
    /// The version it has.
    pub version: String,
    /// The newest that its specs allow.
    pub newest: String,
    /// Why not, in the solver's words.
    pub reason: String,
}

impl Movement<'_> {
    /// Decides what moves.
    ///
    /// # Errors
    /// When there is no solution, whatever moves.
    pub fn answer(&self) -> Result<Moved, SolveError> {
        let mut held = Vec::new();
        let mut targets = self.named(&mut held)?;
        if self.wanted.policy != RelockPolicy::Minimal {
            self.by_policy(&mut targets)?;
        }
        Ok(Moved { picks: self.settle(&targets)?, held })
    }

    /// What the packages that were named, here or in the settings, move to.
    fn named(&self, held: &mut Vec<Held>) -> Result<Picks, SolveError> {
        let known = |name: &&PackageName| self.wanted.locked.contains_key(*name) || self.is_requested(name);
        let newest: Vec<&PackageName> = self.wanted.update.union(&self.wanted.refresh).filter(known).collect();
        let named: BTreeSet<&PackageName> =
            newest.iter().copied().chain(self.wanted.along.iter().filter(known)).collect();
        if named.is_empty() {
            return Ok(Picks::new());
        }
        let keep = self.kept(|name| !named.contains(name));
        let prefer = without(&self.wanted.preferred, |name| named.contains(name));
        let favours = [&keep, &prefer];
        // The solver decides in the order of specs, and what it decides first is least hindered by favours.
        let first: Vec<MatchSpec> =
            newest.iter().filter(|name| self.is_requested(name)).map(|name| any(name)).collect();
        let mut answer = self.question.solve(&Wish { favours: &favours, also: &first, ..Wish::default() })?;
        let mut reached = Picks::new();
        for name in newest {
            if let Some(reason) = self.raise(name, &mut answer, &reached, &favours)?
                && self.wanted.update.contains(name)
            {
                held.push(reason);
            }
            if let Some(record) = answer.get(name) {
                reached.insert(name.clone(), Arc::clone(record));
            }
        }
        answer.retain(|name, record| match named.contains(name) {
            true => reached.contains_key(name) || self.is_news(name, record),
            false => false,
        });
        Ok(answer)
    }

    /// Raises `name` in `answer` as far as it goes while `reached` stays; says why it goes no further.
    fn raise(
        &self,
        name: &PackageName,
        answer: &mut Picks,
        reached: &Picks,
        favours: &[&Picks],
    ) -> Result<Option<Held>, SolveError> {
        let allowed = |record: &RepoDataRecord| !self.question.excluded.contains_key(&record.url);
        while let Some(record) = answer.get(name) {
            let version = record.package_record.version.clone();
            let newest = self.live.newest(name, &self.question.specs, allowed);
            let Some(newest) = newest.filter(|newest| newest.package_record.version > version) else { break };
            let above = [above(name, version.version())];
            match self.question.solve(&Wish { pins: &[reached], favours, also: &above, quietly: false }) {
                Ok(higher) => *answer = higher,
                Err(SolveError::Unsolvable(reasons)) => {
                    return Ok(Some(Held {
                        name: name.clone(),
                        version: version.as_str().into_owned(),
                        newest: newest.package_record.version.as_str().into_owned(),
                        reason: reasons.join("\n"),
                    }));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    /// Adds to `targets` what the policy moves: upwards only, and not to another build of the same version.
    fn by_policy(&self, targets: &mut Picks) -> Result<(), SolveError> {
        let favours = [&self.wanted.preferred];
        let newest = self.question.solve(&Wish { pins: &[targets], favours: &favours, ..Wish::default() })?;
        for (name, record) in newest {
            let moves = self.wanted.policy == RelockPolicy::Fresh || self.is_requested(&name);
            if moves && self.is_news(&name, &record) {
                targets.entry(name).or_insert(record);
            }
        }
        Ok(())
    }

    /// Whether `record` is reason enough to move what is locked.
    fn is_news(&self, name: &PackageName, record: &RepoDataRecord) -> bool {
        self.wanted.locked.get(name).is_none_or(|locked| {
            let (old, new) = (&locked.package_record.version, &record.package_record.version);
            new > old || (self.wanted.rebuilds && new == old)
        })
    }

    /// The answer in which `targets` are as they are and as much as possible of the rest is as it was.
    fn settle(&self, targets: &Picks) -> Result<Picks, SolveError> {
        let mut keep = self.kept(|name| !targets.contains_key(name));
        // Where nothing is locked, the preferred is what to keep.
        for (name, record) in &self.wanted.preferred {
            let is_free = !targets.contains_key(name) && !self.wanted.locked.contains_key(name);
            if is_free && self.is_allowed(record) {
                keep.insert(name.clone(), Arc::clone(record));
            }
        }
        if !keep.is_empty() {
            match self.question.solve(&Wish { pins: &[targets, &keep], quietly: true, ..Wish::default() }) {
                Err(SolveError::Unsolvable(_)) => {}
                other => return other,
            }
        }
        let favours = [&keep, &self.wanted.preferred];
        let answer = self.question.solve(&Wish { pins: &[targets], favours: &favours, ..Wish::default() })?;
        self.with_more_kept(answer, targets, keep)
    }

    /// `answer` with more of `keep` in it, as long as there is a solution.
    fn with_more_kept(&self, mut answer: Picks, targets: &Picks, mut keep: Picks) -> Result<Picks, SolveError> {
        keep.retain(|name, _| answer.contains_key(name));
        let stays = |name: &PackageName, record: &Arc<RepoDataRecord>, answer: &Picks| {
            answer.get(name).is_some_and(|other| other.url == record.url)
        };
        let mut pins = targets.clone();
        let mut moved = Vec::new();
        for (name, record) in keep {
            match stays(&name, &record, &answer) {
                true => drop(pins.insert(name, record)),
                false => moved.push((name, record)),
            }
        }
        moved.retain(|(_, record)| fits_beside(record, &pins));
        let mut attempts = ATTEMPTS_TO_KEEP;
        let mut todo = if moved.is_empty() { vec![] } else { vec![moved] };
        while let Some(mut some) = todo.pop().filter(|_| attempts > 0) {
            some.retain(|(_, record)| fits_beside(record, &pins));
            if some.is_empty() {
                continue;
            }
            attempts -= 1;
            let more: Picks = some.iter().cloned().collect();
            let favours = [&answer];
            match self.question.solve(&Wish { pins: &[&pins, &more], favours: &favours, also: &[], quietly: true }) {
                Ok(better) => {
                    pins.extend(more);
                    answer = better;
                }
                Err(SolveError::Unsolvable(_)) if some.len() > 1 => {
                    let rest = some.split_off(some.len() / 2);
                    todo.extend([rest, some]);
                }
                Err(SolveError::Unsolvable(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(answer)
    }

    /// The locked records that `may` stay and that the specs still allow.
    fn kept(&self, may: impl Fn(&PackageName) -> bool) -> Picks {
        let stays = |(name, record): &(&PackageName, &Arc<RepoDataRecord>)| may(name) && self.is_allowed(record);
        self.wanted.locked.iter().filter(stays).map(|(name, record)| (name.clone(), Arc::clone(record))).collect()
    }

    fn is_allowed(&self, record: &RepoDataRecord) -> bool {
        matches_all(&self.question.specs, record)
    }

    fn is_requested(&self, name: &PackageName) -> bool {
        self.question.specs.iter().any(|spec| spec.name.as_exact() == Some(name))
    }
}

/// Whether `record` and `pins` say nothing against each other. Saves asking the solver what is plain.
fn fits_beside(record: &RepoDataRecord, pins: &Picks) -> bool {
    pins.values().all(|pin| !refuses(record, pin) && !refuses(pin, record))
}

/// Whether a requirement or constraint of `one` is for the name of `other` and not met by it.
fn refuses(one: &RepoDataRecord, other: &RepoDataRecord) -> bool {
    let (package, name) = (&one.package_record, &other.package_record.name);
    let about = package.depends.iter().chain(&package.constrains).filter(|spec| spec.starts_with(name.as_normalized()));
    let specs = about.filter_map(|spec| MatchSpec::from_str(spec, ParseStrictness::Lenient).ok());
    specs.into_iter().any(|spec| spec.name.as_exact() == Some(name) && !spec.matches(other))
}

fn without(picks: &Picks, leave_out: impl Fn(&PackageName) -> bool) -> Picks {
    picks.iter().filter(|(name, _)| !leave_out(name)).map(|(name, record)| (name.clone(), Arc::clone(record))).collect()
}

fn any(name: &PackageName) -> MatchSpec {
    MatchSpec { name: name.clone().into(), ..MatchSpec::default() }
}

fn above(name: &PackageName, version: &Version) -> MatchSpec {
    MatchSpec { version: Some(VersionSpec::Range(RangeOperator::Greater, version.clone())), ..any(name) }
}
