//! Which records can be part of an answer at all.
//!
//! Of the records of all names that a request leads to, half cannot: they are for another Python than is asked for, or
//! need what nothing offers. The solver finds that out, too, but only after it has worked out what each of them requires.
//! Here a record goes when the request does not allow it, when one of its requirements has no candidate left, or when what
//! must be in every answer leaves no room for it; and so on, until nothing changes. What stays is still a superset of every
//! answer. `constrains` are left to the solver.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, ParseStrictness, RepoDataRecord};

/// `records` without those that no answer to `specs` can have, in their order.
pub(super) fn possible<'a>(
    records: Vec<Vec<&'a RepoDataRecord>>,
    specs: &[MatchSpec],
    virtual_packages: &[GenericVirtualPackage],
) -> Vec<Vec<&'a RepoDataRecord>> {
    let mut puzzle = Puzzle::new(records.iter().flatten().copied(), specs);
    puzzle.read_requirements(virtual_packages);
    puzzle.answer(specs);
    let mut stays = puzzle.records.into_iter().map(|record| record.stays);
    let mut kept =
        |list: Vec<_>| -> Vec<&RepoDataRecord> { list.into_iter().filter(|_| stays.next() == Some(true)).collect() };
    records.into_iter().map(&mut kept).collect()
}

/// Names, records and requirements, each known by its number.
struct Puzzle<'a> {
    numbers: HashMap<&'a str, usize>,
    names: Vec<Name>,
    records: Vec<Record<'a>>,
    requirements: Vec<Requirement>,
    /// Names that lost a record.
    lost: BTreeSet<usize>,
}

struct Name {
    records: Vec<usize>,
    /// Whether channels decide among its records: these are not judged here.
    unjudged: bool,
}

struct Record<'a> {
    record: &'a RepoDataRecord,
    name: usize,
    stays: bool,
    requires: Vec<usize>,
    /// The requirements it is a candidate for.
    answers: Vec<usize>,
}

/// What some records ask for in the same words.
struct Requirement {
    name: usize,
    candidates: Vec<usize>,
    /// How many of them are left.
    left: usize,
    /// The records that have it.
    users: Vec<usize>,
}

impl<'a> Puzzle<'a> {
    fn new(records: impl Iterator<Item = &'a RepoDataRecord>, specs: &[MatchSpec]) -> Self {
        let mut puzzle = Self {
            numbers: HashMap::new(),
            names: Vec::new(),
            records: Vec::new(),
            requirements: Vec::new(),
            lost: BTreeSet::new(),
        };
        for record in records {
            let name = puzzle.name(record.package_record.name.as_normalized());
            let first = puzzle.names[name].records.first().map(|first| puzzle.records[*first].record);
            puzzle.names[name].unjudged |= first.is_some_and(|first| first.channel != record.channel);
            puzzle.names[name].records.push(puzzle.records.len());
            puzzle.records.push(Record { record, name, stays: true, requires: vec![], answers: vec![] });
        }
        for spec in specs.iter().filter(|spec| spec.channel.is_some() || spec.url.is_some()) {
            if let Some(name) = puzzle.number(spec) {
                puzzle.names[name].unjudged = true;
            }
        }
        puzzle
    }

    fn name(&mut self, name: &'a str) -> usize {
        *self.numbers.entry(name).or_insert_with(|| {
            self.names.push(Name { records: Vec::new(), unjudged: false });
            self.names.len() - 1
        })
    }

    /// The number of the name that `spec` is about, if there are records of that name.
    fn number(&self, spec: &MatchSpec) -> Option<usize> {
        self.numbers.get(spec.name.as_exact()?.as_normalized()).copied()
    }

    fn read_requirements(&mut self, virtual_packages: &[GenericVirtualPackage]) {
        let mut known: HashMap<&str, Option<usize>> = HashMap::new();
        let mut hopeless = Vec::new();
        for number in 0..self.records.len() {
            for text in &self.records[number].record.package_record.depends {
                let requirement = *known.entry(text).or_insert_with(|| self.requirement(text, virtual_packages));
                let Some(requirement) = requirement else { continue };
                self.requirements[requirement].users.push(number);
                self.records[number].requires.push(requirement);
                if self.requirements[requirement].left == 0 {
                    hopeless.push(number);
                }
            }
        }
        self.remove(hopeless);
    }

    /// Reads a requirement and finds its candidates; `None` if it is for the solver to judge.
    fn requirement(&mut self, text: &str, virtual_packages: &[GenericVirtualPackage]) -> Option<usize> {
        let spec = MatchSpec::from_str(text, ParseStrictness::Lenient).ok()?;
        let exact = spec.name.as_exact()?;
        if spec.condition.is_some()
            || virtual_packages.iter().any(|package| package.name == *exact && spec.matches(package))
        {
            return None;
        }
        // No record has the name of a requirement without a number: it has no candidates either.
        let name = self.number(&spec).unwrap_or(usize::MAX);
        let records = self.names.get(name).map_or(&[][..], |name| &name.records);
        let candidates: Vec<usize> =
            records.iter().copied().filter(|number| spec.matches(self.records[*number].record)).collect();
        for candidate in &candidates {
            self.records[*candidate].answers.push(self.requirements.len());
        }
        self.requirements.push(Requirement { name, left: candidates.len(), candidates, users: vec![] });
        Some(self.requirements.len() - 1)
    }

    /// Removes what cannot be part of an answer to `specs`.
    fn answer(&mut self, specs: &[MatchSpec]) {
        let mut needed = BTreeSet::new();
        for spec in specs {
            let Some(name) = self.number(spec) else { continue };
            let refused = |number: &usize| !spec.matches(self.records[*number].record);
            self.remove(self.names[name].records.iter().copied().filter(refused).collect());
            needed.insert(name);
        }
        self.lost.clear();
        let mut todo: VecDeque<usize> = needed.iter().copied().collect();
        while let Some(name) = todo.pop_front() {
            let common = self.narrow(name);
            let lost: Vec<usize> =
                std::mem::take(&mut self.lost).into_iter().filter(|name| needed.contains(name)).collect();
            let news = common.into_iter().filter(|name| needed.insert(*name)).chain(lost);
            for name in news.collect::<Vec<_>>() {
                if !todo.contains(&name) {
                    todo.push_back(name);
                }
            }
        }
    }

    /// One of the records left of `name` is in every answer: removes what none of them leaves room for. Returns the names
    /// that they all require.
    fn narrow(&mut self, name: usize) -> Vec<usize> {
        let left: Vec<usize> =
            self.names[name].records.iter().copied().filter(|number| self.records[*number].stays).collect();
        let mut asked: HashMap<usize, (usize, BTreeSet<usize>)> = HashMap::new();
        for number in &left {
            let mut seen = HashSet::new();
            for requirement in &self.records[*number].requires {
                let name = self.requirements[*requirement].name;
                // Of several requirements of a name one is enough: fewer leave more room.
                if seen.insert(name) {
                    let (count, requirements) = asked.entry(name).or_default();
                    *count += 1;
                    requirements.insert(*requirement);
                }
            }
        }
        asked.retain(|name, (count, _)| *name < self.names.len() && *count == left.len());
        for (name, (_, requirements)) in &asked {
            let candidates = requirements.iter().flat_map(|requirement| &self.requirements[*requirement].candidates);
            let allowed: HashSet<usize> = candidates.copied().collect();
            self.remove(self.names[*name].records.iter().copied().filter(|number| !allowed.contains(number)).collect());
        }
        asked.into_keys().collect()
    }

    /// Removes records, and those that cannot do without them.
    fn remove(&mut self, mut todo: Vec<usize>) {
        while let Some(number) = todo.pop() {
            let record = &mut self.records[number];
            if !record.stays || self.names[record.name].unjudged {
                continue;
            }
            record.stays = false;
            self.lost.insert(record.name);
            for requirement in &record.answers {
                let requirement = &mut self.requirements[*requirement];
                requirement.left -= 1;
                if requirement.left == 0 {
                    todo.extend(&requirement.users);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
