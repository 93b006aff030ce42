//! What it would save to give parts of the largest packages layers of their own.
//!
//! How much of a package stays from one release to the next is in `shares.json`, which `benches/splitting.py` measured. A
//! package with parts takes as many layers, and others of its size lose theirs.

use std::collections::{BTreeMap, BTreeSet};

use esker::build::native::plan::{Candidate, Group, LayerPlan};
use serde::Deserialize;

use super::history::Locked;
use super::{share, sizes};

const LIMIT: usize = 80;
const PARTS: [usize; 3] = [2, 4, 8];
const PACKAGES: [usize; 5] = [1, 2, 4, 8, 16];

/// Of a package: the shares that stay, by number of parts, and as `most` if each file were a part.
#[derive(Deserialize)]
struct Shares {
    /// Where the next version comes.
    update: BTreeMap<String, f64>,
    /// Where the same version is built again.
    rebuild: BTreeMap<String, f64>,
}

/// The two locks of an update.
type Update<'a> = (&'a Locked, &'a Locked);
/// Shares by package.
type Book = BTreeMap<String, Shares>;

/// Prints what is pulled when some packages have parts.
pub fn report(locks: &[&Locked]) -> Result<(), Box<dyn std::error::Error>> {
    let book: Book = serde_json::from_str(include_str!("shares.json"))?;
    let updates: Vec<Update<'_>> = locks.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let whole = mean(&updates, |update| pulled(update, LIMIT, &|_, _| 0.0));
    let measured = mean(&updates, |update| pulled(update, LIMIT, &|name, _| f64::from(book.contains_key(name))));
    let most = mean(&updates, |update| pulled(update, LIMIT, &|name, new| stays(&book, name, "most", update, new)));
    println!(
        "\nParts of pangeo-notebook's packages, by digest, N={LIMIT}: {whole:.3} without any; the measured packages are"
    );
    println!("{:.3} of it, and what does not change in them {:.3}\n", whole - measured, whole - most);
    println!("| packages (if layers were free) |{}", PARTS.map(|parts| format!(" {parts} parts |")).concat());
    println!("|---|{}", "---|".repeat(PARTS.len()));
    for count in PACKAGES {
        let cells = PARTS.map(|parts| {
            let divided = best(&updates, &book, parts, count);
            let stay = |update: Update<'_>, name: &str, new: &Candidate| match divided.contains(name) {
                true => stays(&book, name, &parts.to_string(), update, new),
                false => 0.0,
            };
            let with = |limit| mean(&updates, |update| pulled(update, limit, &|name, new| stay(update, name, new)));
            // Two are for what is shared.
            let left = LIMIT.checked_sub(divided.len() * (parts - 1)).filter(|left| *left >= 2);
            let paid = left.map_or_else(|| "–".to_owned(), |left| format!("{:.3}", with(left)));
            format!(" {paid} ({:.3}) |", with(LIMIT))
        });
        println!("| {count} |{}", cells.concat());
    }
    Ok(())
}

fn mean(updates: &[Update<'_>], of: impl Fn(Update<'_>) -> f64) -> f64 {
    updates.iter().map(|update| of(*update)).sum::<f64>() / updates.len() as f64
}

/// The share of `new`, a package of the update's lock, that the one before had.
fn stays(book: &Book, name: &str, key: &str, (old, lock): Update<'_>, new: &Candidate) -> f64 {
    let Some(shares) = book.get(name).filter(|_| old.packages.iter().any(|package| package.name == new.name)) else {
        return 0.0;
    };
    let is_rebuilt = old.versions.get(name) == lock.versions.get(name);
    *if is_rebuilt { &shares.rebuild } else { &shares.update }.get(key).unwrap_or(&0.0)
}

/// What an update pulls by digest, where `stays` says what does not come again of a package that changed.
fn pulled((old, new): Update<'_>, limit: usize, stays: &dyn Fn(&str, &Candidate) -> f64) -> f64 {
    let groups = |lock: &Locked| LayerPlan::new(&lock.packages, limit, &[]).groups(&lock.packages);
    let (before, had) = (groups(old), sizes(&old.packages));
    let by_id: BTreeMap<&String, &Candidate> = new.packages.iter().map(|package| (&package.id, package)).collect();
    let package = |id: &String| {
        let package = by_id[id];
        // A package with parts keeps to its own layers, even if another of its release changes.
        let share = if had.contains_key(id) { 0.0 } else { stays(&package.name, package) };
        package.size as f64 * (1.0 - share)
    };
    let layer = |layer: &Group| layer.iter().map(package).sum::<f64>();
    let layers = groups(new);
    let all = layers.iter().filter(|group| !before.contains(group)).map(layer).sum::<f64>();
    all / new.packages.iter().map(|package| package.size).sum::<u64>() as f64
}

/// The packages that gain most by parts: known afterwards, so no rule could choose better.
fn best(updates: &[Update<'_>], book: &Book, parts: usize, count: usize) -> BTreeSet<String> {
    let mut gains: BTreeMap<&String, f64> = BTreeMap::new();
    for &update in updates {
        let (old, new) = update;
        let whole = new.packages.iter().map(|package| package.size).sum();
        let had = sizes(&old.packages);
        for package in new.packages.iter().filter(|package| !had.contains_key(&package.id)) {
            if let Some((name, _)) = book.get_key_value(&package.name) {
                let stays = stays(book, name, &parts.to_string(), update, package);
                *gains.entry(name).or_default() += share(package.size, whole) * stays;
            }
        }
    }
    let mut gains: Vec<_> = gains.into_iter().filter(|(_, gain)| *gain > 0.0).collect();
    gains.sort_by(|a, b| b.1.total_cmp(&a.1));
    gains.into_iter().take(count).map(|(name, _)| name.clone()).collect()
}
