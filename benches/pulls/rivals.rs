//! Plans that esker's is compared with.

use std::collections::BTreeMap;

use esker::build::native::plan::Candidate;

use super::Layers;

/// The packages by size, the largest first.
fn by_size(packages: &[Candidate]) -> Vec<&Candidate> {
    let mut all: Vec<&Candidate> = packages.iter().collect();
    all.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    all
}

fn layers<'a>(groups: impl IntoIterator<Item = Vec<&'a Candidate>>) -> Layers {
    let groups = groups.into_iter().filter(|group| !group.is_empty());
    groups.map(|group| group.into_iter().map(|package| package.id.clone()).collect()).collect()
}

/// A layer each for `own`, by name.
fn alone<'a>(own: &[&'a Candidate]) -> Vec<Vec<&'a Candidate>> {
    let mut own = own.to_vec();
    own.sort_by(|a, b| a.name.cmp(&b.name));
    own.into_iter().map(|package| vec![package]).collect()
}

fn remainders<'a>(rest: &[&'a Candidate]) -> [Vec<&'a Candidate>; 2] {
    let (noarch, arch) = rest.iter().copied().partition(|package| package.noarch);
    [noarch, arch]
}

/// The largest packages have a layer each, the others two.
pub fn size_ranked(packages: &[Candidate], limit: usize) -> Layers {
    let all = by_size(packages);
    let (own, rest) = all.split_at(all.len().min(limit - 2));
    layers(alone(own).into_iter().chain(remainders(rest)))
}

/// The largest have a layer each; the others share eight, by the half-year they were built in, older ones together.
pub fn by_age(packages: &[Candidate], limit: usize) -> Layers {
    const LAYERS: usize = 8;
    const HALF_YEAR: u64 = 182 * 24 * 3600;
    let all = by_size(packages);
    let (own, rest) = all.split_at(all.len().min(limit - LAYERS));
    let mut ages: BTreeMap<u64, Vec<&Candidate>> = BTreeMap::new();
    rest.iter().for_each(|package| ages.entry(package.built / HALF_YEAR).or_default().push(package));
    while ages.len() > LAYERS
        && let Some((_, oldest)) = ages.pop_first()
        && let Some(mut next) = ages.first_entry()
    {
        next.get_mut().extend(oldest);
    }
    layers(alone(own).into_iter().chain(ages.into_values()))
}

/// The largest half of the layers have a package each, the next hold two each, neighbours by name, the others two.
pub fn pairs(packages: &[Candidate], limit: usize) -> Layers {
    let all = by_size(packages);
    let (own, others) = all.split_at(all.len().min(limit / 2));
    let (middle, rest) = others.split_at(others.len().min(2 * (limit - limit / 2 - 2)));
    let mut middle = middle.to_vec();
    middle.sort_by(|a, b| a.name.cmp(&b.name));
    layers(alone(own).into_iter().chain(middle.chunks(2).map(<[_]>::to_vec)).chain(remainders(rest)))
}
