//! Which categories a locked package belongs to, by conda-lock's rule: those of all lines that bring it in, or `main` alone
//! if one of these is of `main`. The file format knows one category an entry, so a package of two is in it twice.

use std::collections::{BTreeMap, BTreeSet};

use super::pip::pip_name;
use super::{LockedPackage, Manager, SubdirSpec};
use crate::project::MergedSpec;

const MAIN: &str = "main";

/// `packages`, one entry each, with the categories that `spec` gives them, an entry each.
pub(super) fn categorised(packages: &[LockedPackage], spec: &SubdirSpec) -> Vec<LockedPackage> {
    let of = |manager, roots| Categories::new(packages, manager, roots);
    let (conda, pip) = (of(Manager::Conda, &spec.conda), of(Manager::Pip, &spec.pip));
    let entries = packages.iter().flat_map(|package| {
        let categories = match package.manager {
            Manager::Conda => conda.of(&package.name),
            Manager::Pip => pip.of(&pip_name(&package.name)),
        };
        categories.into_iter().map(|category| LockedPackage {
            category: category.to_owned(),
            optional: category != MAIN,
            ..package.clone()
        })
    });
    entries.collect()
}

/// Categories by package, of one installer.
struct Categories<'a>(BTreeMap<String, BTreeSet<&'a str>>);

impl<'a> Categories<'a> {
    fn new(packages: &[LockedPackage], manager: Manager, roots: &'a [MergedSpec]) -> Self {
        let name = |name: &str| if manager == Manager::Pip { pip_name(name) } else { name.to_owned() };
        let packages = packages.iter().filter(|package| package.manager == manager);
        let graph: BTreeMap<String, Vec<String>> = packages
            .map(|package| (name(&package.name), package.dependencies.keys().map(|other| name(other)).collect()))
            .collect();
        let mut categories: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for category in roots.iter().map(|root| root.category.as_str()).collect::<BTreeSet<_>>() {
            let mut todo: Vec<String> =
                roots.iter().filter(|root| root.category == category).map(|root| root.name.clone()).collect();
            while let Some(name) = todo.pop() {
                let dependencies = graph.get(&name).cloned().unwrap_or_default();
                if categories.entry(name).or_default().insert(category) {
                    todo.extend(dependencies);
                }
            }
        }
        Self(categories)
    }

    fn of(&self, name: &str) -> Vec<&'a str> {
        match self.0.get(name) {
            Some(categories) if !categories.contains(MAIN) => categories.iter().copied().collect(),
            // What no line asks for is there for pip.
            _ => vec![MAIN],
        }
    }
}
