//! Delta images: the layers of the image before stay, and what changed comes in one layer on top.
//!
//! Whiteouts are taken to weigh nothing. *All layers kept* is what clients by chain need. For clients by digest it is
//! enough to keep the layers that many packages share: those of single packages are replaced as ever.

use std::collections::BTreeSet;

use esker::build::native::plan::{Group, LayerPlan};

use super::history::Locked;
use super::{bytes, share, sizes};

const LIMIT: usize = 80;
/// Docker's limit, but for the base and the last layer.
const MOST: usize = 120;

struct Outcome {
    digest: f64,
    chain: f64,
    growth: f64,
}

/// Prints what is pulled when the image is made anew every so many updates.
pub fn report(locks: &[&Locked]) {
    println!("\nDelta images of pangeo-notebook, N={LIMIT}: by digest / by chain, at × the image's size (mean)\n");
    println!("| made anew every | all layers kept | shared layers kept |\n|---|---|---|");
    for every in [1, 2, 4, 8, 16] {
        let cells = [all_kept, shared_kept].map(|onto| {
            let outcome = simulate(locks, every, onto);
            format!(" {:.3} / {:.3} at × {:.2} |", outcome.digest, outcome.chain, outcome.growth)
        });
        println!("| {every} updates |{}", cells.concat());
    }
}

/// An image before: its layers, the lowest first, and how many of the uppermost are shared.
#[derive(Clone, Default)]
struct Image {
    layers: Vec<Group>,
    shared: usize,
}

fn plan(lock: &Locked) -> Image {
    let layers = LayerPlan::new(&lock.packages, LIMIT, &[]).groups(&lock.packages);
    Image { shared: layers.len().min(2), layers }
}

fn wanted(lock: &Locked) -> Group {
    lock.packages.iter().map(|package| package.id.clone()).collect()
}

/// What is not in `layers`, as a layer on top of them.
fn topped(mut layers: Vec<Group>, wanted: &Group) -> Vec<Group> {
    let held: BTreeSet<&String> = layers.iter().flatten().collect();
    let delta: Group = wanted.iter().filter(|id| !held.contains(id)).cloned().collect();
    layers.extend(Some(delta).filter(|delta| !delta.is_empty()));
    layers
}

fn all_kept(before: &Image, lock: &Locked) -> Image {
    let layers = topped(before.layers.clone(), &wanted(lock));
    Image { shared: before.shared, layers }
}

fn shared_kept(before: &Image, lock: &Locked) -> Image {
    let kept = before.layers[before.layers.len() - before.shared..].to_vec();
    let held: BTreeSet<&String> = kept.iter().flatten().collect();
    let planned = plan(lock);
    let own = planned.layers.len() - planned.shared;
    let is_free = |layer: &&Group| layer.iter().all(|id| !held.contains(id));
    let own: Vec<Group> = planned.layers[..own].iter().filter(is_free).cloned().collect();
    let below = own.len();
    let layers = topped(own.into_iter().chain(kept).collect(), &wanted(lock));
    Image { shared: layers.len() - below, layers }
}

fn simulate(locks: &[&Locked], every: usize, onto: fn(&Image, &Locked) -> Image) -> Outcome {
    let mut all_sizes = super::Sizes::new();
    let mut before = Image::default();
    let mut sums = Outcome { digest: 0.0, chain: 0.0, growth: 0.0 };
    for (number, lock) in locks.iter().enumerate() {
        all_sizes.extend(sizes(&lock.packages));
        let whole: u64 = lock.packages.iter().map(|package| package.size).sum();
        let mut next = if number % every == 0 { plan(lock) } else { onto(&before, lock) };
        if next.layers.len() > MOST {
            next = plan(lock);
        }
        if number > 0 {
            let sum = |layers: &[&Group]| share(layers.iter().map(|layer| bytes(layer, &all_sizes)).sum(), whole);
            let kept = next.layers.iter().zip(&before.layers).take_while(|(new, old)| new == old).count();
            sums.chain += sum(&next.layers.iter().skip(kept).collect::<Vec<_>>());
            sums.digest += sum(&next.layers.iter().filter(|layer| !before.layers.contains(layer)).collect::<Vec<_>>());
            sums.growth += sum(&next.layers.iter().collect::<Vec<_>>());
        }
        before = next;
    }
    let updates = (locks.len() - 1) as f64;
    Outcome { digest: sums.digest / updates, chain: sums.chain / updates, growth: sums.growth / updates }
}
