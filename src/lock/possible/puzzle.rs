//! Names, records and requirements, each known by its number, and which records are gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, PackageName, ParseStrictness, RepoDataRecord};

/// What stays the same while records go.
#[derive(Default)]
pub(super) struct Puzzle {
    numbers: HashMap<String, usize>,
    pub names: Vec<Name>,
    pub records: Vec<Record>,
    requirements: Vec<Requirement>,
}

/// Which records are gone.
#[derive(Clone, Default)]
pub(super) struct State {
    /// Of each record, whether it stays.
    pub stays: Vec<bool>,
    /// Names that lost a record.
    pub lost: BTreeSet<usize>,
    /// Whether nothing is left of a name that every answer needs.
    pub hopeless: bool,
    /// Of each requirement, how many candidates are left.
    left: Vec<u32>,
}

#[derive(Default)]
pub(super) struct Name {
    pub records: Vec<usize>,
    /// Whether channels decide among its records: these are not judged here.
    unjudged: bool,
}

pub(super) struct Record {
    pub record: Arc<RepoDataRecord>,
    name: usize,
    requires: Vec<u32>,
    /// Names that it leads to besides: by extras, and by requirements that are not judged here.
    besides: Vec<u32>,
    /// The requirements it is a candidate for.
    answers: Vec<u32>,
}

/// What some records ask for in the same words.
struct Requirement {
    /// `None` if there are no records of that name.
    name: Option<usize>,
    candidates: Vec<u32>,
    /// The records that have it.
    users: Vec<u32>,
}

/// What is known of the words of a requirement.
#[derive(Clone, Copy)]
enum Words {
    /// A requirement, by number.
    Judged(u32),
    /// For the solver to judge; the name it leads to, if there are records of it.
    Unjudged(Option<u32>),
}

impl Puzzle {
    /// Reads `all` records. Those with a requirement that nothing answers are gone from the start.
    pub fn new(
        all: &[&Arc<RepoDataRecord>],
        specs: &[MatchSpec],
        virtual_packages: &[GenericVirtualPackage],
    ) -> (Self, State) {
        let mut puzzle = Self::default();
        for record in all {
            let name = puzzle.add_name(record.package_record.name.as_normalized());
            let first = puzzle.names[name].records.first().map(|first| &puzzle.records[*first].record);
            let unjudged = first.is_some_and(|first| first.channel != record.channel);
            puzzle.names[name].unjudged |= unjudged;
            puzzle.names[name].records.push(puzzle.records.len());
            let record = Arc::clone(record);
            puzzle.records.push(Record { record, name, requires: vec![], besides: vec![], answers: vec![] });
        }
        for spec in specs.iter().filter(|spec| spec.channel.is_some() || spec.url.is_some()) {
            if let Some(name) = puzzle.number_of(spec) {
                puzzle.names[name].unjudged = true;
            }
        }
        puzzle.read_requirements(all, virtual_packages);
        let left: Vec<u32> = puzzle.requirements.iter().map(|wanted| small(wanted.candidates.len())).collect();
        let mut state = State { stays: vec![true; all.len()], left, ..State::default() };
        let unanswered = puzzle.requirements.iter().filter(|wanted| wanted.candidates.is_empty());
        puzzle.remove(&mut state, unanswered.flat_map(|wanted| &wanted.users).map(|user| *user as usize), false);
        (puzzle, state)
    }

    fn add_name(&mut self, name: &str) -> usize {
        if let Some(number) = self.number(name) {
            return number;
        }
        self.numbers.insert(name.to_owned(), self.names.len());
        self.names.push(Name::default());
        self.names.len() - 1
    }

    /// The number of a name, if there are records of it.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The number of the name that `spec` is about, if there are records of it.
    pub fn number_of(&self, spec: &MatchSpec) -> Option<usize> {
        self.number(spec.name.as_exact()?.as_normalized())
    }

    fn read_requirements(&mut self, all: &[&Arc<RepoDataRecord>], virtual_packages: &[GenericVirtualPackage]) {
        let mut known: HashMap<&str, Words> = HashMap::new();
        for (number, record) in all.iter().enumerate() {
            for text in &record.package_record.depends {
                let words = *known.entry(text).or_insert_with(|| self.read(text, virtual_packages));
                match words {
                    Words::Judged(requirement) => {
                        self.requirements[requirement as usize].users.push(small(number));
                        self.records[number].requires.push(requirement);
                    }
                    Words::Unjudged(name) => self.records[number].besides.extend(name),
                }
            }
            for text in record.package_record.extra_depends.values().flatten() {
                let name = self.number(&PackageName::normalized_name_from_matchspec_str(text));
                self.records[number].besides.extend(name.map(small));
            }
        }
    }

    /// Reads a requirement and finds its candidates.
    fn read(&mut self, text: &str, virtual_packages: &[GenericVirtualPackage]) -> Words {
        let spec = MatchSpec::from_str(text, ParseStrictness::Lenient).ok();
        let exact = spec.as_ref().and_then(|spec| spec.name.as_exact());
        let (Some(spec), Some(exact)) = (&spec, exact) else {
            let name = self.number(&PackageName::normalized_name_from_matchspec_str(text));
            return Words::Unjudged(name.map(small));
        };
        let name = self.number_of(spec);
        let is_virtual = |package: &GenericVirtualPackage| package.name == *exact && spec.matches(package);
        if spec.condition.is_some() || virtual_packages.iter().any(is_virtual) {
            return Words::Unjudged(name.map(small));
        }
        let records = name.map_or(&[][..], |name| &self.names[name].records);
        let answers = |number: &usize| spec.matches(&*self.records[*number].record);
        let candidates: Vec<u32> = records.iter().copied().filter(answers).map(small).collect();
        let number = small(self.requirements.len());
        for candidate in &candidates {
            self.records[*candidate as usize].answers.push(number);
        }
        self.requirements.push(Requirement { name, candidates, users: vec![] });
        Words::Judged(number)
    }

    /// The names that a record leads to.
    pub fn leads(&self, number: usize) -> impl Iterator<Item = usize> {
        let record = &self.records[number];
        let required = record.requires.iter().filter_map(|requirement| self.requirements[*requirement as usize].name);
        required.chain(record.besides.iter().map(|name| *name as usize))
    }

    /// One of the records left of `name` is in every answer: removes what none of them leaves room for. Returns the names
    /// that they all require.
    pub fn narrow(&self, state: &mut State, name: usize) -> Vec<usize> {
        let records = &self.names[name].records;
        let left: Vec<usize> = records.iter().copied().filter(|number| state.stays[*number]).collect();
        state.hopeless |= left.is_empty();
        let mut asked: HashMap<usize, (usize, BTreeSet<u32>)> = HashMap::new();
        for number in &left {
            let mut seen = HashSet::new();
            for requirement in &self.records[*number].requires {
                // Of several requirements of a name one is enough: fewer leave more room.
                if let Some(name) = self.requirements[*requirement as usize].name
                    && seen.insert(name)
                {
                    let (count, requirements) = asked.entry(name).or_default();
                    *count += 1;
                    requirements.insert(*requirement);
                }
            }
        }
        asked.retain(|_, (count, _)| *count == left.len());
        for (name, (_, requirements)) in &asked {
            let wanted = requirements.iter().map(|requirement| &self.requirements[*requirement as usize]);
            let allowed: HashSet<u32> = wanted.flat_map(|wanted| &wanted.candidates).copied().collect();
            let records = self.names[*name].records.iter().copied();
            self.remove(state, records.filter(|number| !allowed.contains(&small(*number))), false);
        }
        asked.into_keys().collect()
    }

    /// Removes records, and those that cannot do without them; where channels decide, only by `force`.
    pub fn remove(&self, state: &mut State, numbers: impl Iterator<Item = usize>, force: bool) {
        let mut todo: Vec<(usize, bool)> = numbers.map(|number| (number, force)).collect();
        while let Some((number, force)) = todo.pop() {
            let record = &self.records[number];
            if !state.stays[number] || (self.names[record.name].unjudged && !force) {
                continue;
            }
            state.stays[number] = false;
            state.lost.insert(record.name);
            for requirement in &record.answers {
                let left = &mut state.left[*requirement as usize];
                *left -= 1;
                if *left == 0 {
                    let users = &self.requirements[*requirement as usize].users;
                    todo.extend(users.iter().map(|user| (*user as usize, false)));
                }
            }
        }
    }
}

/// `number` in half the room: there are never four thousand million records, names or requirements.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
