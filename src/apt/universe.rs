//! All packages that a request can lead to: those that are installed, and those of the archive in reach of what is asked.

use std::collections::{BTreeSet, HashMap};

use super::index::Index;
use super::package::Package;
use super::relation::Relation;

/// See the module's documentation.
pub struct Universe {
    /// The packages: of each name the installed one first, then the archive's, the latest first.
    pub packages: Vec<Package>,
    /// How many of the first are installed.
    pub installed: usize,
    by_name: HashMap<String, Vec<usize>>,
    /// By a name that they provide.
    providers: HashMap<String, Vec<usize>>,
}

impl Universe {
    /// What can be reached from `names` in `indexes`, on a system that has `installed`.
    ///
    /// # Errors
    /// What cannot be understood of a package.
    pub fn new(installed: &[Package], indexes: &[Index], names: &[String]) -> Result<Self, String> {
        let mut universe = Self {
            packages: Vec::new(),
            installed: installed.len(),
            by_name: HashMap::new(),
            providers: HashMap::new(),
        };
        installed.iter().for_each(|package| universe.add(package.clone()));
        let mut seen = BTreeSet::new();
        let mut wanted: Vec<String> = names.to_vec();
        // Sorted or not: the order in which names are met does not reach the solver, which asks by name.
        while let Some(name) = wanted.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            for package in candidates(indexes, &name)? {
                wanted.extend(package.depends.iter().flatten().map(|relation| relation.name.clone()));
                universe.add(package);
            }
            wanted.extend(indexes.iter().flat_map(|index| index.providers(&name)).cloned());
        }
        for indices in universe.providers.values_mut() {
            let packages = &universe.packages;
            indices.sort_by(|&a, &b| {
                (&packages[a].name, &packages[b].version).cmp(&(&packages[b].name, &packages[a].version))
            });
        }
        Ok(universe)
    }

    fn add(&mut self, package: Package) {
        let index = self.packages.len();
        self.by_name.entry(package.name.clone()).or_default().push(index);
        let mut names: Vec<_> = package.provides.iter().map(|provided| &provided.name).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.providers.entry(name.clone()).or_default().push(index);
        }
        self.packages.push(package);
    }

    /// The packages called `name`.
    pub fn called(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The packages that satisfy `relation`: those of its name, then those that provide it, by their names.
    pub fn satisfying(&self, relation: &Relation) -> Vec<usize> {
        let providers = self.providers.get(&relation.name).map_or(&[][..], Vec::as_slice);
        let all = self.called(&relation.name).iter().chain(providers);
        let mut found: Vec<usize> = all.copied().filter(|&index| self.packages[index].satisfies(relation)).collect();
        let mut seen = BTreeSet::new();
        found.retain(|index| seen.insert(*index));
        found
    }
}

/// The versions of `name` in the archive, the latest first; of equal ones that of the first index.
fn candidates(indexes: &[Index], name: &str) -> Result<Vec<Package>, String> {
    let mut all = Vec::new();
    for index in indexes {
        all.extend(index.packages(name).map_err(|reason| format!("`{name}`: {reason}"))?);
    }
    all.sort_by(|a: &Package, b| b.version.cmp(&a.version));
    all.dedup_by(|a, b| a.version == b.version);
    Ok(all)
}
