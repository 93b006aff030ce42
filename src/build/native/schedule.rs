//! What is done for the layers that are missing, and in which order.
//!
//! Pythons are laid out, packages packed, layers put together, each as soon as what it needs is there: no core waits
//! because another is still busy with the last of a kind. Where there is a choice, layers come first, then the packages
//! of the layer with the most left to do, the longest first, so that what is left for the end is short.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::Error;
use super::fragment::{Fragment, Part, Workshop};
use super::interpreter::Interpreter;
use super::layer::{Made, PackageLayer};
use super::published::Borrowed;
use super::queue::Job;
use super::siblings::Siblings;
use crate::oci::{Digest, Layout};

/// A module that has to be compiled takes as long as so many bytes of packages that need not: 2 ms.
const MODULE: u64 = 32 << 10;
/// How many times as long a package in bzip2 takes: it decompresses to 10 MB in a quarter of a second.
const BZIP2: u64 = 2;

/// A piece of work.
#[derive(Clone, Debug)]
pub enum Step {
    /// A Python is laid out that compiles byte code.
    LayOut(Interpreter),
    /// The parts of a package are made, one for each platform; or one for all.
    Pack(Vec<Fragment>),
    /// A layer is put together.
    Write(PackageLayer),
}

/// What came of a [`Step`].
#[derive(Debug)]
pub enum Outcome {
    /// The Python is there.
    LaidOut,
    /// What is known of the parts.
    Packed(Vec<Part>),
    /// The layer with this key.
    Written(Digest, Made),
}

/// What steps need.
pub struct Place {
    /// For parts.
    pub workshop: Workshop,
    /// Parts that were not made here.
    pub borrowed: Arc<Borrowed>,
    /// Where layers go.
    pub layout: Layout,
    /// The keys of parts that were made here, just now.
    pub made: Mutex<BTreeSet<Digest>>,
}

/// The steps to `layers`, for which the parts `missing` have to be made, with `interpreters` that compile byte code.
pub fn steps(layers: Vec<PackageLayer>, missing: Vec<Fragment>, interpreters: Vec<Interpreter>) -> Vec<Job<Step>> {
    let mut jobs: Vec<Job<Step>> = Vec::new();
    let mut pythons = BTreeMap::new();
    for interpreter in interpreters {
        pythons.insert(interpreter.id.clone(), jobs.len());
        jobs.push(Job { item: Step::LayOut(interpreter), after: Vec::new() });
    }
    let packages = packages(missing, &layers);
    let mut number_of = BTreeMap::new();
    for (number, package) in packages.iter().enumerate() {
        let number = jobs.len() + layers.len() + number;
        number_of.extend(package.iter().map(|fragment| (fragment.key, number)));
    }
    for layer in layers {
        let after: BTreeSet<_> =
            layer.fragments.iter().filter_map(|fragment| number_of.get(&fragment.key).copied()).collect();
        jobs.push(Job { item: Step::Write(layer), after: after.into_iter().collect() });
    }
    for package in packages {
        let python = compiler_of(&package[0]).and_then(|id| pythons.get(id).copied());
        jobs.push(Job { item: Step::Pack(package), after: python.into_iter().collect() });
    }
    jobs
}

/// The fragments `missing`, those of one package together, in the order in which they are packed.
fn packages(missing: Vec<Fragment>, layers: &[PackageLayer]) -> Vec<Vec<Fragment>> {
    let costs: BTreeMap<Digest, u64> = missing.iter().map(|fragment| (fragment.key, cost(fragment))).collect();
    let mut urgent: BTreeMap<Digest, u64> = BTreeMap::new();
    for layer in layers {
        let of_layer = || layer.fragments.iter().filter_map(|fragment| Some((fragment.key, costs.get(&fragment.key)?)));
        let all = of_layer().map(|(_, cost)| cost).sum::<u64>();
        for (key, _) in of_layer() {
            let most = urgent.entry(key).or_default();
            *most = all.max(*most);
        }
    }
    let mut packages: BTreeMap<_, Vec<Fragment>> = BTreeMap::new();
    for fragment in missing {
        // Byte code is all that the packages of several platforms have in common.
        let alone = compiler_of(&fragment).is_none().then_some(fragment.key);
        let environment = (fragment.environment.prefix.clone(), fragment.environment.compiler_id.clone());
        let package = (fragment.package.is_conda(), fragment.planned.name.clone());
        packages.entry((environment, package, alone)).or_default().push(fragment);
    }
    let mut packages: Vec<_> = packages.into_values().collect();
    packages.sort_by_cached_key(|package| {
        let urgent = package.iter().filter_map(|fragment| urgent.get(&fragment.key)).max().copied();
        let costs = package.iter().map(|fragment| costs[&fragment.key]).sum::<u64>();
        Reverse((urgent, costs))
    });
    packages
}

/// How long it takes to pack it, as a number of bytes.
fn cost(fragment: &Fragment) -> u64 {
    let is_bzip2 = fragment.package.locked.file_name().ends_with(".tar.bz2");
    let size = if is_bzip2 { fragment.planned.size * BZIP2 } else { fragment.planned.size };
    size + fragment.planned.modules * MODULE
}

/// Which Python compiles for `fragment`, if it needs one.
pub fn compiler_of(fragment: &Fragment) -> Option<&String> {
    fragment.environment.compiler_id.as_ref().filter(|_| fragment.planned.compiles)
}

impl Place {
    fn made(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    /// Does it.
    ///
    /// # Errors
    /// Those of what is done.
    pub fn run(self, place: &Place) -> Result<Outcome, Error> {
        let workshop = &place.workshop;
        match self {
            Self::LayOut(interpreter) => workshop.lay_out(&interpreter).map(|()| Outcome::LaidOut),
            Self::Pack(fragments) => {
                let siblings = Siblings::new(fragments.len(), &workshop.room);
                let make = |fragment: Fragment| {
                    workshop.cancel.check()?;
                    let part = fragment.make(workshop, &siblings)?;
                    siblings.next();
                    place.made().insert(fragment.key);
                    Ok(part)
                };
                fragments.into_iter().map(make).collect::<Result<_, _>>().map(Outcome::Packed)
            }
            Self::Write(layer) => {
                let is_made = |key: &Digest| place.made().contains(key);
                let made = layer.write(&workshop.store, &place.borrowed, &is_made, &place.layout)?;
                Ok(Outcome::Written(layer.key, made))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::Subdir;

    use super::*;
    use crate::build::native::asked::Asked;
    use crate::build::native::fragment::Target;
    use crate::build::native::pinned::Pinned;
    use crate::build::native::prefix::PlannedPackage;
    use crate::lock::{LockedPackage, Manager};
    use crate::oci::Compression;

    fn pinned(name: &str, subdir: Subdir) -> Pinned {
        let locked = LockedPackage {
            name: name.to_owned(),
            version: "3.12".to_owned(),
            manager: Manager::Conda,
            subdir,
            dependencies: BTreeMap::new(),
            url: format!("https://channel.example.org/{subdir}/{name}-3.12-0.conda").parse().unwrap(),
            md5: None,
            sha256: None,
            category: "main".to_owned(),
            optional: false,
        };
        Pinned::of(locked, format!("{name} {subdir}"))
    }

    fn fragment(name: &str, subdir: Subdir, size: u64, modules: u64) -> Fragment {
        let planned = PlannedPackage {
            name: name.to_owned(),
            excluded: BTreeSet::new(),
            effects: Vec::new(),
            for_python: false,
            compiles: modules > 0,
            modules,
            size,
            timestamp: 0,
            license: None,
            depends: Vec::new(),
        };
        let target = Target {
            prefix: "/srv".to_owned(),
            python: None,
            compiler_id: Some(python().id),
            compression: Compression::ZSTD,
        };
        Fragment::new(pinned(name, subdir), planned, Asked::ByUrl, &Arc::new(target))
    }

    fn python() -> Interpreter {
        Interpreter::choose(&[pinned("python", Subdir::Linux64)], "3.12", "/srv").unwrap()
    }

    /// The steps, one a line, each with the numbers of those it waits for.
    fn told(layers: &[&[Fragment]]) -> Vec<String> {
        let missing: BTreeMap<_, _> =
            layers.iter().flat_map(|layer| layer.iter()).map(|part| (part.key, part.clone())).collect();
        let layers: Vec<_> = layers.iter().map(|fragments| PackageLayer::new(fragments.to_vec())).collect();
        let names = |fragments: &[Fragment]| {
            let subdirs = fragments.iter().map(|part| format!("{} {}", part.planned.name, part.package.locked.subdir));
            subdirs.collect::<Vec<_>>().join(", ")
        };
        let tell = |job: Job<Step>| match job.item {
            Step::LayOut(interpreter) => format!("python {} {:?}", interpreter.version(), job.after),
            Step::Pack(fragments) => format!("pack {} {:?}", names(&fragments), job.after),
            Step::Write(layer) => format!("write {} {:?}", names(&layer.fragments), job.after),
        };
        steps(layers, missing.into_values().collect(), vec![python()]).into_iter().map(tell).collect()
    }

    #[test]
    fn what_takes_longest_comes_first_and_what_belongs_together_follows() {
        let (x, arm) = (Subdir::Linux64, Subdir::LinuxAarch64);
        let small = [fragment("a", x, 4000, 0), fragment("b", x, 5000, 0)];
        let layers: [&[Fragment]; 3] = [&[fragment("large", x, 8000, 0)], &small, &[fragment("code", x, 10, 1)]];
        let expected = [
            "python 3.12 []",
            "write large linux-64 [7]",
            "write a linux-64, b linux-64 [5, 6]",
            "write code linux-64 [4]",
            "pack code linux-64 [0]",
            "pack b linux-64 []",
            "pack a linux-64 []",
            "pack large linux-64 []",
        ];
        assert_eq!(told(&layers), expected);
        let layers: [&[Fragment]; 4] = [
            &[fragment("lib", x, 9, 0)],
            &[fragment("lib", arm, 9, 0)],
            &[fragment("code", x, 9, 1)],
            &[fragment("code", arm, 9, 1)],
        ];
        let steps = told(&layers);
        let packed: BTreeSet<_> = steps[5..].iter().map(String::as_str).collect();
        let expected = [
            "pack code linux-64, code linux-aarch64 [0]",
            "pack code linux-aarch64, code linux-64 [0]",
            "pack lib linux-64 []",
            "pack lib linux-aarch64 []",
        ];
        assert!(packed.len() == 3 && packed.iter().all(|step| expected.contains(step)), "{packed:?}");
    }
}
