//! What clients pull when an image is updated, over two years of the locks that pangeo's images really had.
//!
//! `cargo bench --bench pulls`, with `../shared` (or `ESKER_SHARED`); prints the tables of docs/layers.md. A client
//! *by digest* keeps each layer it has (Podman, CRI-O, containerd); one *by chain* pulls everything above the first
//! layer that changed (Docker's own store). The plans are esker's; what they are compared with is in `rivals`.
//! With `-- relocked`: the locks that esker would have made of the same requests at these dates.

#![expect(clippy::print_stdout, reason = "its result is a table")]

mod delta;
mod history;
mod relocked;
mod rivals;
mod splitting;

use std::collections::{BTreeMap, BTreeSet};

use esker::build::native::plan::{Candidate, Group, LayerPlan};
use esker::project::RelockPolicy;
use history::Locked;

const IMAGES: [&str; 3] = ["base-notebook", "pangeo-notebook", "ml-notebook"];
/// 31 January 2024.
const SINCE: i64 = 1_706_659_200;
const WEEK: i64 = 7 * 24 * 3600;
const LIMITS: [usize; 4] = [40, 64, 80, 115];

type Sizes = BTreeMap<String, u64>;
/// The layers of an image, the lowest first.
pub type Layers = Vec<Group>;
type Strategy = dyn Fn(&[Candidate], usize) -> Layers;

/// What is pulled an update, as means over all updates of the share of the image.
struct Pulled {
    bound: f64,
    digest: f64,
    chain: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (history, book) = history::read(&IMAGES, SINCE)?;
    let weekly: BTreeMap<_, _> = history.iter().map(|(image, locks)| (image.as_str(), settled(locks))).collect();
    if std::env::args().any(|argument| argument == "relocked") {
        return relocked(&weekly["pangeo-notebook"], &book);
    }
    for image in ["pangeo-notebook", "base-notebook", "ml-notebook"] {
        strategies(image, "locks that stayed a week", &weekly[image]);
    }
    strategies("pangeo-notebook", "every lock", &history["pangeo-notebook"].iter().collect::<Vec<_>>());
    delta::report(&weekly["pangeo-notebook"]);
    splitting::report(&weekly["pangeo-notebook"])?;
    sharing(&history);
    Ok(())
}

/// The same dates with esker's own locks.
fn relocked(locks: &[&Locked], book: &history::Book) -> Result<(), Box<dyn std::error::Error>> {
    let times: Vec<i64> = locks.iter().map(|lock| lock.time).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (name, policy) in
        [("minimal", RelockPolicy::Minimal), ("requested", RelockPolicy::Requested), ("fresh", RelockPolicy::Fresh)]
    {
        let locks = runtime.block_on(relocked::locks(policy, &times, book))?;
        strategies("pangeo-notebook", &format!("relocked, policy `{name}`"), &locks.iter().collect::<Vec<_>>());
    }
    Ok(())
}

/// The locks that were the newest for a week: those in between hardly anybody pulled.
fn settled(locks: &[Locked]) -> Vec<&Locked> {
    let mut settled: Vec<&Locked> = Vec::new();
    for lock in locks {
        match settled.last_mut() {
            Some(last) if lock.time - last.time < WEEK => *last = lock,
            _ => settled.push(lock),
        }
    }
    settled
}

/// Bytes of packages by their id.
pub fn sizes(packages: &[Candidate]) -> Sizes {
    packages.iter().map(|package| (package.id.clone(), package.size)).collect()
}

/// What a layer weighs.
pub fn bytes(group: &Group, sizes: &Sizes) -> u64 {
    group.iter().map(|id| sizes[id]).sum()
}

/// `part` of `whole`.
pub fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

fn esker(packages: &[Candidate], limit: usize) -> Layers {
    LayerPlan::new(packages, limit, &[]).groups(packages)
}

fn strategies(image: &str, what: &str, locks: &[&Locked]) {
    let all: [(&str, Box<Strategy>); 5] = [
        ("one layer", Box::new(|packages, _| vec![packages.iter().map(|package| package.id.clone()).collect()])),
        ("largest alone, the rest in two", Box::new(rivals::size_ranked)),
        ("the rest by when it was built", Box::new(rivals::by_age)),
        ("middle sizes in pairs", Box::new(rivals::pairs)),
        ("**esker**", Box::new(esker)),
    ];
    let bound = pulled(locks, LIMITS[0], &esker).bound;
    let updates = locks.len() - 1;
    println!("\n{image}, {what}: {updates} updates, {bound:.3} of the image changes in one\n");
    println!("| by digest / by chain (× the bound) |{}", LIMITS.map(|limit| format!(" N={limit} |")).concat());
    println!("|---|{}", "---|".repeat(LIMITS.len()));
    for (name, strategy) in &all {
        let cells = LIMITS.map(|limit| {
            let pulled = pulled(locks, limit, strategy);
            format!(" {:.3} / {:.3} ({:.2}) |", pulled.digest, pulled.chain, pulled.digest / pulled.bound)
        });
        println!("| {name} |{}", cells.concat());
    }
}

fn pulled(locks: &[&Locked], limit: usize, strategy: &Strategy) -> Pulled {
    let mut sums = Pulled { bound: 0.0, digest: 0.0, chain: 0.0 };
    let mut before: Option<(Layers, BTreeSet<&String>)> = None;
    for lock in locks {
        let sizes = sizes(&lock.packages);
        let layers = strategy(&lock.packages, limit);
        assert!(layers.len() <= limit && layers.iter().map(Group::len).sum::<usize>() == lock.packages.len());
        if let Some((old, had)) = &before {
            let whole = sizes.values().sum();
            let sum = |layers: &[&Group]| share(layers.iter().map(|layer| bytes(layer, &sizes)).sum(), whole);
            let kept = layers.iter().zip(old).take_while(|(new, old)| new == old).count();
            sums.chain += sum(&layers.iter().skip(kept).collect::<Vec<_>>());
            sums.digest += sum(&layers.iter().filter(|layer| !old.contains(layer)).collect::<Vec<_>>());
            let changed = lock.packages.iter().filter(|package| !had.contains(&package.id));
            sums.bound += share(changed.map(|package| package.size).sum(), whole);
        }
        before = Some((layers, lock.packages.iter().map(|package| &package.id).collect()));
    }
    let updates = (locks.len() - 1) as f64;
    Pulled { bound: sums.bound / updates, digest: sums.digest / updates, chain: sums.chain / updates }
}

/// What images of one commit have in common, with each planned for itself and with the parent's layers kept.
fn sharing(history: &BTreeMap<String, Vec<Locked>>) {
    println!("\nMB that two images of one commit share (mean of the last 12 commits with all three), N=80\n");
    println!(
        "| | the same packages | each planned for itself | **esker**: the parent's layers kept |\n|---|---|---|---|"
    );
    let times: Vec<i64> = history[IMAGES[2]].iter().map(|lock| lock.time).collect();
    let at = |image: &str, time: i64| history[image].iter().find(|lock| lock.time == time);
    let commits = times.iter().rev().filter_map(|&time| {
        Some([at(IMAGES[0], time)?, at(IMAGES[1], time)?, at(IMAGES[2], time)?].map(|lock| lock.packages.as_slice()))
    });
    let commits: Vec<_> = commits.take(12).collect();
    let megabytes = |sum: u64| (sum / commits.len() as u64 / 1_000_000).to_string();
    for (parent, child) in [(0, 1), (1, 2)] {
        let mut sums = [0; 3];
        for images in &commits {
            let sizes = sizes(images[child]);
            let alone = images.map(|packages| esker(packages, 80));
            let mut kept: Vec<Layers> = Vec::new();
            for packages in images {
                let above = kept.last().map_or(&[][..], Vec::as_slice);
                let layers = LayerPlan::new(packages, 80, above).groups(packages);
                kept.push(layers);
            }
            let ids: BTreeSet<&String> = images[parent].iter().map(|package| &package.id).collect();
            sums[0] += images[child].iter().filter(|p| ids.contains(&p.id)).map(|p| p.size).sum::<u64>();
            for (sum, plans) in sums[1..].iter_mut().zip([&alone[..], &kept[..]]) {
                let shared = plans[child].iter().filter(|layer| plans[parent].contains(layer));
                *sum += shared.map(|layer| bytes(layer, &sizes)).sum::<u64>();
            }
        }
        println!("| {} → {} | {} |", IMAGES[parent], IMAGES[child], sums.map(megabytes).join(" | "));
    }
}
