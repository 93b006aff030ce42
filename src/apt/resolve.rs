//! Which packages to install: the question put to resolvo, the solver that rattler uses for conda's packages.
//!
//! What is installed stays as it is, so every answer only adds. Of alternatives the first is preferred, of versions what
//! is locked and then the latest, and a real package before those that provide its name: as apt prefers them. Recommended
//! packages are not looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use resolvo::utils::{Pool, VersionSet};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider, Interner,
    KnownDependencies, NameId, Problem, Requirement, SolvableId, Solver, SolverCache, StringId, UnsolvableOrCancelled,
    VersionSetId, VersionSetUnionId,
};

use super::package::Package;
use super::relation::Relation;
use super::universe::Universe;

/// Which packages of the universe, all of one name, are meant; and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Allowed {
    indices: Vec<usize>,
    shown: String,
}

/// A package of the universe.
#[derive(Clone, Debug)]
struct Solvable {
    index: usize,
    version: String,
}

impl fmt::Display for Solvable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

impl VersionSet for Allowed {
    type V = Solvable;
}

struct Provider<'a> {
    universe: &'a Universe,
    pool: Pool<Allowed>,
    /// The solvable of each package.
    solvables: Vec<SolvableId>,
    /// Versions to prefer, by name.
    preferred: &'a BTreeMap<String, String>,
}

/// The packages to add to those that are installed so that `wanted` are there, by name.
///
/// # Errors
/// In the solver's words, why there is no answer.
pub fn resolve(
    universe: &Universe,
    wanted: &[Relation],
    preferred: &BTreeMap<String, String>,
) -> Result<Vec<Package>, String> {
    let provider = Provider::new(universe, preferred);
    let mut requirements = Vec::new();
    for index in 0..universe.installed {
        requirements.push(provider.only(index).into());
    }
    for relation in wanted {
        let Some(requirement) = provider.requirement(std::slice::from_ref(relation)) else {
            return Err(format!("nothing is or provides `{relation}`"));
        };
        requirements.push(ConditionalRequirement { condition: None, requirement });
    }
    let problem = Problem::new().requirements(requirements);
    let mut solver = Solver::new(provider);
    let solution = match solver.solve(problem) {
        Ok(solution) => solution,
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
            return Err(conflict.display_user_friendly(&solver).to_string().trim_end().to_owned());
        }
        // Nothing asks it to stop.
        Err(UnsolvableOrCancelled::Cancelled(_)) => return Err("the solver was stopped".to_owned()),
    };
    let provider = solver.provider();
    let indices: BTreeSet<usize> = solution.iter().map(|&solvable| provider.index(solvable)).collect();
    let mut added: Vec<Package> = indices
        .into_iter()
        .filter(|&index| index >= universe.installed)
        .map(|index| universe.packages[index].clone())
        .collect();
    added.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(added)
}

impl<'a> Provider<'a> {
    fn new(universe: &'a Universe, preferred: &'a BTreeMap<String, String>) -> Self {
        let pool = Pool::new();
        let solvable = |(index, package): (usize, &Package)| {
            let name = pool.intern_package_name(package.name.as_str());
            pool.intern_solvable(name, Solvable { index, version: package.version.to_string() })
        };
        let solvables = universe.packages.iter().enumerate().map(solvable).collect();
        Self { universe, pool, solvables, preferred }
    }

    fn index(&self, solvable: SolvableId) -> usize {
        self.pool.resolve_solvable(solvable).record.index
    }

    fn only(&self, index: usize) -> VersionSetId {
        let package = &self.universe.packages[index];
        let name = self.pool.intern_package_name(package.name.as_str());
        self.pool.intern_version_set(name, Allowed { indices: vec![index], shown: package.version.to_string() })
    }

    /// One of `alternatives`; `None` if there is nothing that satisfies any of them.
    fn requirement(&self, alternatives: &[Relation]) -> Option<Requirement> {
        let mut sets: Vec<VersionSetId> = Vec::new();
        for relation in alternatives {
            let mut by_name: Vec<(&str, Vec<usize>)> = Vec::new();
            for index in self.universe.satisfying(relation) {
                let name = self.universe.packages[index].name.as_str();
                match by_name.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, indices)) => indices.push(index),
                    None => by_name.push((name, vec![index])),
                }
            }
            for (name, mut indices) in by_name {
                indices.sort_unstable();
                let shown = match &relation.version {
                    Some(_) if name == relation.name => relation.to_string().replacen(name, "", 1).trim().to_owned(),
                    _ if name == relation.name => "*".to_owned(),
                    _ => format!("(as `{relation}`)"),
                };
                let name = self.pool.intern_package_name(name);
                let set = self.pool.intern_version_set(name, Allowed { indices, shown });
                if !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
        match &sets[..] {
            [] => None,
            [only] => Some((*only).into()),
            [first, rest @ ..] => Some(self.pool.intern_version_set_union(*first, rest.iter().copied()).into()),
        }
    }

    /// That nothing satisfies any of `alternatives`, and what there is instead.
    fn lacking(&self, alternatives: &[Relation]) -> String {
        let wanted = alternatives.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        let called = alternatives.iter().flat_map(|relation| self.universe.called(&relation.name));
        let there: Vec<String> = called
            .map(|&index| {
                let package = &self.universe.packages[index];
                let base = if index < self.universe.installed { " in the base" } else { "" };
                format!("{} {}{base}", package.name, package.version)
            })
            .collect();
        match &there[..] {
            [] => format!("it needs {wanted}, which nothing is or provides"),
            there => format!("it needs {wanted}, and there is {}", there.join(", ")),
        }
    }

    /// What `package` forbids: of each name that a conflict concerns, all but those it concerns are allowed.
    fn constraints(&self, package: &Package) -> Vec<VersionSetId> {
        let mut sets = Vec::new();
        for relation in &package.conflicts {
            let mut names: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
            for index in self.universe.satisfying(relation) {
                let other = &self.universe.packages[index];
                // A package may provide what it conflicts with, to be the only one (Debian policy 7.6.2).
                if other.name != package.name {
                    names.entry(&other.name).or_default().insert(index);
                }
            }
            for (name, forbidden) in names {
                let indices = self.universe.called(name).iter().copied().filter(|index| !forbidden.contains(index));
                let shown = format!("(none that `{relation}` means, which {} is in conflict with)", package.name);
                let name = self.pool.intern_package_name(name);
                sets.push(self.pool.intern_version_set(name, Allowed { indices: indices.collect(), shown }));
            }
        }
        sets
    }
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl fmt::Display + '_ {
        let package = &self.universe.packages[self.index(solvable)];
        format!("{} {}", package.name, package.version)
    }

    fn display_merged_solvables(&self, solvables: &[SolvableId]) -> impl fmt::Display + '_ {
        let mut shown: Vec<String> = solvables.iter().map(|&id| self.display_solvable(id).to_string()).collect();
        shown.sort();
        shown.dedup();
        shown.join(" | ")
    }

    fn display_name(&self, name: NameId) -> impl fmt::Display + '_ {
        self.pool.resolve_package_name(name).clone()
    }

    fn display_version_set(&self, version_set: VersionSetId) -> impl fmt::Display + '_ {
        self.pool.resolve_version_set(version_set).shown.clone()
    }

    fn display_string(&self, string_id: StringId) -> impl fmt::Display + '_ {
        self.pool.resolve_string(string_id).to_owned()
    }

    fn version_set_name(&self, version_set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(version_set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(&self, candidates: &[SolvableId], set: VersionSetId, inverse: bool) -> Vec<SolvableId> {
        let allowed = self.pool.resolve_version_set(set);
        let is_wanted = |id: &SolvableId| allowed.indices.contains(&self.index(*id)) != inverse;
        candidates.iter().copied().filter(is_wanted).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let called = self.universe.called(self.pool.resolve_package_name(name));
        let candidates: Vec<SolvableId> = called.iter().map(|&index| self.solvables[index]).collect();
        let installed = called.first().filter(|&&index| index < self.universe.installed);
        let locked = installed.map(|&index| self.solvables[index]);
        (!candidates.is_empty()).then(|| Candidates { candidates, locked, ..Candidates::default() })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let preference = |&id: &SolvableId| {
            let index = self.index(id);
            let package = &self.universe.packages[index];
            let is_locked =
                self.preferred.get(&package.name).is_some_and(|version| version == package.version.as_str());
            // Within one name, the universe has the latest first.
            (!is_locked, index)
        };
        solvables.sort_by_key(preference);
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let package = &self.universe.packages[self.index(solvable)];
        let mut known = KnownDependencies { requirements: Vec::new(), constrains: self.constraints(package) };
        // What is installed was found to be in order when it was installed; a base may be cut down on purpose.
        if package.file.is_none() {
            return Dependencies::Known(known);
        }
        for group in &package.depends {
            let Some(requirement) = self.requirement(group) else {
                return Dependencies::Unknown(self.pool.intern_string(self.lacking(group)));
            };
            known.requirements.push(ConditionalRequirement { condition: None, requirement });
        }
        Dependencies::Known(known)
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::{Paragraph, paragraphs};
    use super::super::index::Index;
    use super::*;

    /// Packages of an archive: name and version, then more lines of its paragraph.
    fn index(packages: &[(&str, &str)]) -> Index {
        let paragraph = |(label, more): &(&str, &str)| {
            let (name, version) = label.split_once(' ').unwrap();
            let sha256 = "a".repeat(64);
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 1\n\
                 SHA256: {sha256}\n{more}\n\n"
            )
        };
        let text = packages.iter().map(paragraph).collect();
        Index::new(text, "https://archive.example/".parse().unwrap())
    }

    fn installed(text: &str) -> Vec<Package> {
        paragraphs(text).map(|paragraph| Package::read(&Paragraph::parse(paragraph), None).unwrap()).collect()
    }

    /// What is added for `wanted` to a base that has `base 1.0`, which provides `vi`.
    fn added(archive: &[(&str, &str)], wanted: &str, preferred: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let base = installed("Package: base\nVersion: 1.0\nArchitecture: amd64\nProvides: vi\nConflicts: evil\n");
        let wanted: Vec<Relation> = wanted.split(',').map(|one| Relation::parse(one).unwrap()).collect();
        let names: Vec<String> = wanted.iter().map(|relation| relation.name.clone()).collect();
        let universe = Universe::new(&base, &[index(archive)], &names).unwrap();
        let preferred = preferred.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        let added = resolve(&universe, &wanted, &preferred)?;
        Ok(added.iter().map(|package| format!("{} {}", package.name, package.version)).collect())
    }

    #[test]
    fn packages_are_chosen_as_apt_prefers_them() {
        let archive = [
            ("tool 1.0", "Depends: lib"),
            ("tool 1.1", "Depends: lib (>= 2), first | second"),
            ("lib 2.0", ""),
            ("lib 1.0", ""),
            ("first 1.0", ""),
            ("second 1.0", ""),
            ("editor 1.0", "Depends: vi | nano"),
            ("nano 1.0", ""),
            ("mailer 1.0", "Depends: default-mta | mta"),
            ("exim 1.0", "Provides: mta"),
            ("postfix 1.0", "Provides: mta (= 3)"),
            ("strict 1.0", "Depends: mta (>= 2)"),
            ("other 1.0", "Depends: gone | second, lib"),
            ("recommending 1.0", "Recommends: nano\nSuggests: first"),
        ];
        for (wanted, expected) in [
            ("tool", &["first 1.0", "lib 2.0", "tool 1.1"][..]),
            ("tool (= 1.0)", &["lib 2.0", "tool 1.0"]),
            ("tool,second", &["lib 2.0", "second 1.0", "tool 1.1"]),
            ("editor", &["editor 1.0"]),
            ("mailer", &["exim 1.0", "mailer 1.0"]),
            ("strict", &["postfix 1.0", "strict 1.0"]),
            ("other", &["lib 2.0", "other 1.0", "second 1.0"]),
            ("recommending", &["recommending 1.0"]),
            ("base", &[]),
        ] {
            assert_eq!(added(&archive, wanted, &[]).unwrap(), expected, "{wanted}");
        }
        let locked = [("tool", "1.0"), ("lib", "1.0")];
        assert_eq!(added(&archive, "tool", &locked).unwrap(), ["lib 1.0", "tool 1.0"]);
    }

    #[test]
    fn what_excludes_another_is_not_chosen_with_it() {
        let archive = [
            ("a 1.0", "Depends: b | c"),
            ("b 1.0", "Conflicts: d"),
            ("c 1.0", ""),
            ("d 1.0", "Breaks: e (<< 2)"),
            ("e 1.0", ""),
            ("e 2.0", "Conflicts: a"),
            ("evil 1.0", ""),
            ("evil2 1.0", "Provides: evil"),
            ("newer 1.0", "Depends: base (>= 2)"),
            ("base 2.0", ""),
            ("loop 1.0", "Depends: pool"),
            ("pool 1.0", "Pre-Depends: loop"),
        ];
        assert_eq!(added(&archive, "a,d", &[]).unwrap(), ["a 1.0", "c 1.0", "d 1.0"]);
        assert_eq!(added(&archive, "d,e", &[]).unwrap(), ["d 1.0", "e 2.0"]);
        assert_eq!(added(&archive, "a,e", &[]).unwrap(), ["a 1.0", "b 1.0", "e 1.0"]);
        assert_eq!(added(&archive, "loop", &[]).unwrap(), ["loop 1.0", "pool 1.0"]);
        for (wanted, word) in
            [("a,d,e", "e"), ("evil", "base"), ("evil2", "evil"), ("newer", "base"), ("base (= 2.0)", "base")]
        {
            let error = added(&archive, wanted, &[]).unwrap_err();
            assert!(error.contains(word), "{wanted}: {error}");
        }
    }
}
