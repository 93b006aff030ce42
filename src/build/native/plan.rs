//! Decides which packages share a layer, and in which order the layers lie.
//!
//! Clients pull layers they do not have. The rule, which `benches/pulls.rs` measures against others on years of
//! pangeo-notebook's locks:
//!
//! 1. Packages of one release belong together: they cannot change one without the other. A package that requires another
//!    at exactly its own version (`libparquet 21.0.0` wants `libarrow ==21.0.0`) is in one *unit* with it.
//! 2. A layer of the parent image whose packages are all here is a unit as it is, so that its blob serves both images.
//! 3. The largest units get a layer each, the others share two: one for `noarch` packages (which is the same for every
//!    architecture) and one for the rest.
//!
//! Layers are ordered by when their newest package was built, the oldest lowest, and the shared ones, which change with
//! almost every update, come last. A package that stays keeps its time, so the order of the layers of one image is that
//! of the image before it, with what changed above it, and no image before it has to be known.
//!
//! All of it is a function of the locks: membership depends on sizes and requirements, never on a guess at what will
//! change or on what was built before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the plan needs to know of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// What tells it from other packages and other versions of it: the SHA-256 of its archive.
    pub id: String,
    /// Bytes of its archive.
    pub size: u64,
    /// When it was built, in seconds since 1970.
    pub built: u64,
    /// Whether it is the same package for every architecture.
    pub noarch: bool,
    /// Packages that it requires at exactly its own version.
    pub pins: Vec<String>,
}

/// The packages of one layer, by [`Candidate::id`].
pub type Group = BTreeSet<String>;

/// The layers of one environment, the lowest first, each a list of indices into the candidates, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    /// Indices into the candidates.
    pub layers: Vec<Vec<usize>>,
}

impl LayerPlan {
    /// Distributes `candidates` over at most `limit` layers (at least one), keeping the layers of `parent` that have
    /// nothing else than candidates.
    pub fn new(candidates: &[Candidate], limit: usize, parent: &[Group]) -> Self {
        let name = |index: &usize| candidates[*index].name.as_str();
        let bytes = |unit: &[usize]| unit.iter().map(|&index| candidates[index].size).sum::<u64>();
        let mut units = units(candidates, parent);
        units.sort_by(|a, b| bytes(b).cmp(&bytes(a)).then_with(|| name(&a[0]).cmp(name(&b[0]))));
        let mut rest: Vec<usize> =
            units.split_off(units.len().min(limit.saturating_sub(2))).into_iter().flatten().collect();
        let newest = |unit: &[usize]| unit.iter().map(|&index| candidates[index].built).max();
        units.sort_by(|a, b| newest(a).cmp(&newest(b)).then_with(|| name(&a[0]).cmp(name(&b[0]))));
        rest.sort_by(|a, b| name(a).cmp(name(b)));
        let (noarch, arch): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|&index| limit >= 2 && candidates[index].noarch);
        units.extend([noarch, arch].into_iter().filter(|layer| !layer.is_empty()));
        Self { layers: units }
    }

    /// The layers by what is in them, for the plan of an image that extends this one.
    pub fn groups(&self, candidates: &[Candidate]) -> Vec<Group> {
        let group = |layer: &Vec<usize>| layer.iter().map(|&index| candidates[index].id.clone()).collect();
        self.layers.iter().map(group).collect()
    }
}

/// What stays together, each by name.
fn units(candidates: &[Candidate], parent: &[Group]) -> Vec<Vec<usize>> {
    let by_id: HashMap<&str, usize> = candidates.iter().enumerate().map(|(i, c)| (c.id.as_str(), i)).collect();
    let here = |group: &Group| group.iter().map(|id| by_id.get(id.as_str()).copied()).collect::<Option<Vec<_>>>();
    let mut inherited = BTreeSet::new();
    let mut units: Vec<Vec<usize>> = Vec::new();
    for group in parent.iter().filter_map(here).filter(|group| !group.is_empty()) {
        // Packages of the same content have one id, so a group may claim what another has.
        if group.iter().all(|index| !inherited.contains(index)) {
            inherited.extend(group.iter().copied());
            units.push(group);
        }
    }
    units.extend(releases(candidates, &inherited));
    for unit in &mut units {
        unit.sort_by(|&a, &b| candidates[a].name.cmp(&candidates[b].name));
    }
    units
}

/// The candidates but for those of `inherited`, those of one release together. `noarch` packages keep to themselves.
fn releases(candidates: &[Candidate], inherited: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    let own = || (0..candidates.len()).filter(|index| !inherited.contains(index));
    let by_name: HashMap<&str, usize> = own().map(|index| (candidates[index].name.as_str(), index)).collect();
    let mut release: Vec<usize> = (0..candidates.len()).collect();
    for index in own() {
        let pinned = candidates[index].pins.iter().filter_map(|name| by_name.get(name.as_str()));
        for &other in pinned.filter(|&&other| candidates[other].noarch == candidates[index].noarch) {
            let (a, b) = (first(&release, index), first(&release, other));
            release[a.max(b)] = a.min(b);
        }
    }
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in own() {
        members.entry(first(&release, index)).or_default().push(index);
    }
    members.into_values().collect()
}

/// The member that stands for the release of `index`.
fn first(release: &[usize], mut index: usize) -> usize {
    while release[index] != index {
        index = release[index];
    }
    index
}

#[cfg(test)]
mod tests;
