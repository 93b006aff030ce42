//! Why a package is locked: the ways from what was asked for to it.
//!
//! There may be millions of ways through a real environment. What a reader wants to know is which requests bring the
//! package in, so each request gets one: the shortest, and of these the first by name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rattler_conda_types::Subdir;

use super::holds::pip_name;
use super::{Lock, LockSpec, LockedPackage, Manager, SubdirSpec};
use crate::project::{Dependency, MergedSpec};

/// One way to a package, on all subdirs where it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The lines that ask for the first link.
    pub requested: Vec<Dependency>,
    /// From what is asked for to the package.
    pub links: Vec<Link>,
    /// Where, in the lock's order.
    pub subdirs: Vec<Subdir>,
}

/// One package of a way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// What the link before requires of its version; empty for anything, and for the first.
    pub requirement: String,
}

/// The ways from the requests of `spec` to `package`, the shortest first. Only on `subdir`, if given. `None` if nothing
/// locked is called so. A virtual package (`__glibc`) counts as locked where something needs it.
///
/// A lock that no longer answers `spec` may hold packages that no way leads to.
pub fn why(lock: &Lock, spec: &LockSpec, package: &str, subdir: Option<Subdir>) -> Option<Vec<Chain>> {
    let mut rows: BTreeMap<(usize, Vec<Link>), Chain> = BTreeMap::new();
    let mut known = false;
    for asked in spec.subdirs.iter().filter(|asked| subdir.is_none_or(|subdir| subdir == asked.subdir)) {
        let graph = Graph::new(lock, asked.subdir);
        known |= graph.knows(package);
        let towards = graph.towards(package);
        for (name, requested) in requests(asked) {
            let Some(links) = graph.links(&name, package, &towards) else { continue };
            let chain = || Chain { requested: requested.to_vec(), links: links.clone(), subdirs: Vec::new() };
            let row = rows.entry((links.len(), links.clone())).or_insert_with(chain);
            row.subdirs.push(asked.subdir);
            let more: Vec<_> = requested.iter().filter(|line| !row.requested.contains(line)).cloned().collect();
            row.requested.extend(more);
        }
    }
    known.then(|| rows.into_values().collect())
}

/// What is asked for, by the name it is locked under.
fn requests(spec: &SubdirSpec) -> impl Iterator<Item = (String, &[Dependency])> {
    let of = |merged: &'_ MergedSpec| merged.name.clone();
    spec.conda.iter().chain(&spec.pip).map(move |merged| (of(merged), &merged.dependencies[..]))
}

/// What depends on what, on one subdir.
struct Graph<'a> {
    /// Requirements of each package by name.
    needs: BTreeMap<String, BTreeMap<String, &'a str>>,
    /// Names of those that need a package.
    needed_by: BTreeMap<String, BTreeSet<String>>,
}

impl<'a> Graph<'a> {
    fn new(lock: &'a Lock, subdir: Subdir) -> Self {
        let mut graph = Self { needs: BTreeMap::new(), needed_by: BTreeMap::new() };
        for package in lock.packages_for(subdir) {
            let name = name(package);
            for (needed, version) in &package.dependencies {
                graph.needed_by.entry(needed.clone()).or_default().insert(name.clone());
                graph.needs.entry(name.clone()).or_default().insert(needed.clone(), version);
            }
            graph.needs.entry(name).or_default();
        }
        graph
    }

    fn knows(&self, package: &str) -> bool {
        self.needs.contains_key(package) || (package.starts_with("__") && self.needed_by.contains_key(package))
    }

    /// For every package that needs `target` in the end: the next one on the shortest way.
    fn towards(&self, target: &str) -> BTreeMap<&str, &str> {
        let mut next: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue: VecDeque<&str> =
            self.needed_by.get_key_value(target).map(|(name, _)| name.as_str()).into_iter().collect();
        while let Some(name) = queue.pop_front() {
            for before in self.needed_by.get(name).into_iter().flatten() {
                if before != target && !next.contains_key(before.as_str()) {
                    next.insert(before, name);
                    queue.push_back(before);
                }
            }
        }
        next
    }

    fn links(&self, from: &str, target: &str, towards: &BTreeMap<&str, &str>) -> Option<Vec<Link>> {
        let mut links = vec![Link { name: from.to_owned(), requirement: String::new() }];
        let mut at = from;
        while at != target {
            let next = *towards.get(at)?;
            let requirement = self.needs.get(at).and_then(|needs| needs.get(next)).copied().unwrap_or_default();
            links.push(Link { name: next.to_owned(), requirement: requirement.to_owned() });
            at = next;
        }
        self.knows(from).then_some(links)
    }
}

/// The name a package is asked for by.
fn name(package: &LockedPackage) -> String {
    match package.manager {
        Manager::Conda => package.name.clone(),
        Manager::Pip => pip_name(&package.name),
    }
}

#[cfg(test)]
mod tests {
    use super::super::diff::tests::package;
    use super::*;
    use crate::project::Place;

    fn lock(edges: &[(&str, &str)]) -> Lock {
        let packages = edges.iter().map(|(name, needs)| {
            let mut package = package(Subdir::Linux64, &format!("{name} 1.0 0"));
            package.dependencies =
                needs.split_whitespace().map(|needed| (needed.to_owned(), ">=1".to_owned())).collect();
            package
        });
        Lock { packages: packages.collect(), subdirs: vec![Subdir::Linux64], ..Lock::default() }
    }

    fn spec(names: &[&str]) -> LockSpec {
        let place = |line| Place { file: "environment.yml".into(), line, column: 5 };
        let merged = names.iter().enumerate().map(|(index, name)| MergedSpec {
            name: (*name).to_owned(),
            category: "main".into(),
            dependencies: vec![Dependency { spec: (*name).to_owned(), selector: None, place: place(index + 1) }],
        });
        let subdir = SubdirSpec {
            subdir: Subdir::Linux64,
            conda: merged.collect(),
            pip: vec![],
            virtual_packages: vec![],
            content_hash: String::new(),
        };
        LockSpec {
            image: "x".into(),
            folder: "/x".into(),
            channels: vec![],
            channel_places: vec![],
            sources: vec![],
            subdirs: vec![subdir],
        }
    }

    fn chains(lock: &Lock, requested: &[&str], package: &str) -> Option<Vec<String>> {
        let text = |chain: &Chain| chain.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(" ");
        Some(why(lock, &spec(requested), package, None)?.iter().map(text).collect())
    }

    #[test]
    fn each_request_has_its_shortest_way() {
        let lock = lock(&[("a", "b c"), ("b", "d"), ("c", "e"), ("e", "d"), ("d", "__glibc"), ("z", "d"), ("y", "")]);
        let ways = chains(&lock, &["a", "z", "y", "d"], "d").unwrap();
        assert_eq!(ways, ["d", "z d", "a b d"]);
        assert_eq!(chains(&lock, &["z"], "__glibc").unwrap(), ["z d __glibc"]);
        assert_eq!(chains(&lock, &["a"], "nothing"), None);
        assert_eq!(chains(&lock, &["a"], "y").unwrap(), [""; 0], "locked, but nothing asks for it");
    }

    #[test]
    fn cycles_end() {
        let lock = lock(&[("python", "pip"), ("pip", "python setuptools"), ("setuptools", "python")]);
        assert_eq!(chains(&lock, &["python"], "setuptools").unwrap(), ["python pip setuptools"]);
        assert_eq!(chains(&lock, &["python"], "python").unwrap(), ["python"]);
    }

    #[test]
    fn requirements_and_lines_are_told() {
        let lock = lock(&[("a", "b"), ("b", "")]);
        let chain = &why(&lock, &spec(&["a"]), "b", None).unwrap()[0];
        assert_eq!((chain.links[1].requirement.as_str(), chain.requested[0].place.line), (">=1", 1));
        assert!(why(&lock, &spec(&["a"]), "b", Some(Subdir::Osx64)).is_none());
    }
}
