//! `esker cache`: what is in the cache, whether it is whole, and what of it may go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::args::{CacheAction, CacheArgs, PruneArgs};
use super::failure::Failure;
use super::ui::{Ui, bytes};
use crate::cache::{Cache, Kind, Pruned, Rule, Size, Verified};
use crate::oci::Layout;
use crate::progress::{Task, Unit};
use crate::project::Project;
use crate::settings::Settings;

#[derive(Serialize)]
struct ListReport {
    schema: u32,
    path: PathBuf,
    /// Bytes it may have after a build.
    limit: Option<u64>,
    kinds: Vec<KindReport>,
    entries: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct KindReport {
    kind: Kind,
    entries: usize,
    bytes: u64,
    /// Whole days since the entry that was not used for longest was used.
    oldest_days: u64,
}

#[derive(Serialize)]
struct PruneReport {
    schema: u32,
    path: PathBuf,
    #[serde(flatten)]
    pruned: Pruned,
}

#[derive(Serialize)]
struct VerifyReport {
    schema: u32,
    path: PathBuf,
    #[serde(flatten)]
    verified: Verified,
    /// Layouts of the project's images that had damaged blobs, which were dropped.
    layouts: BTreeMap<PathBuf, Vec<String>>,
}

pub fn run(args: &CacheArgs, settings: &Settings, ui: &Ui) -> Result<ExitCode, Failure> {
    // The cache is the person's, not the project's: without a project there is no limit of it and no layouts.
    let project = Project::open(&settings.directory).ok();
    let limit = settings.cache_limit.or_else(|| project.as_ref()?.cache_limit);
    let cache = Cache::new(&settings.cache_dir);
    match &args.action {
        None => list(&cache, limit, ui),
        Some(CacheAction::Verify) => verify(&cache, project.as_ref(), ui),
        Some(CacheAction::Prune(args)) => prune(&cache, args, limit, ui),
    }
}

fn list(cache: &Cache, limit: Option<Size>, ui: &Ui) -> Result<ExitCode, Failure> {
    let now = SystemTime::now();
    let mut kinds: BTreeMap<Kind, KindReport> = BTreeMap::new();
    for entry in cache.entries()? {
        let empty = KindReport { kind: entry.kind, entries: 0, bytes: 0, oldest_days: 0 };
        let kind = kinds.entry(entry.kind).or_insert(empty);
        kind.entries += 1;
        kind.bytes += entry.size;
        kind.oldest_days = kind.oldest_days.max(days(now.duration_since(entry.used).unwrap_or_default()));
    }
    let kinds: Vec<_> = kinds.into_values().collect();
    let report = ListReport {
        schema: 1,
        path: cache.path().to_owned(),
        limit: limit.map(|limit| limit.0),
        entries: kinds.iter().map(|kind| kind.entries).sum(),
        bytes: kinds.iter().map(|kind| kind.bytes).sum(),
        kinds,
    };
    ui.result(&report, |report| {
        let line = |name: &str, entries: usize, size: u64| format!("{name:<15} {entries:>7} {:>12}", bytes(size));
        let mut text = format!("{}\n", report.path.display());
        for kind in &report.kinds {
            let oldest = match kind.oldest_days {
                0 => "all used today".to_owned(),
                days => format!("unused for up to {days} days"),
            };
            text.push_str(&format!("{}  {oldest}\n", line(kind.kind.folder(), kind.entries, kind.bytes)));
        }
        let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
        text.push_str(&format!("{}  {limit}\n", line("all", report.entries, report.bytes)));
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

fn days(duration: Duration) -> u64 {
    duration.as_secs() / 86_400
}

fn prune(cache: &Cache, args: &PruneArgs, limit: Option<Size>, ui: &Ui) -> Result<ExitCode, Failure> {
    let set = limit.filter(|_| args.older_than.is_none());
    let rule = Rule {
        max_size: args.max_size.or(set).filter(|_| !args.all).map(|size| size.0),
        older_than: args.older_than.map(crate::project::Age::duration),
    };
    if rule == Rule::default() && !args.all {
        return Err(Failure::usage("no limit is set: say what to remove with `--max-size`, `--older-than` or `--all`"));
    }
    let report = PruneReport { schema: 1, path: cache.path().to_owned(), pruned: cache.prune(rule)? };
    ui.result(&report, |PruneReport { pruned, .. }| {
        let held = match pruned.held {
            0 => String::new(),
            held => format!("; {held} more stay, as a run that is still going may rely on them"),
        };
        format!("{} entries removed, {}; {} left{held}\n", pruned.removed, bytes(pruned.freed), bytes(pruned.left))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verify(cache: &Cache, project: Option<&Project>, ui: &Ui) -> Result<ExitCode, Failure> {
    let total = cache.entries()?.iter().map(|entry| entry.size).sum();
    let task = Task::start(ui, "reading the cache", Some(total), Unit::Bytes);
    let verified = cache.verify(|bytes| task.advance(bytes))?;
    drop(task);
    let mut layouts = BTreeMap::new();
    for layout in project.into_iter().flat_map(layouts_of) {
        let damaged = layout.drop_damaged()?;
        if !damaged.is_empty() {
            layouts.insert(layout.path().to_owned(), damaged.iter().map(ToString::to_string).collect());
        }
    }
    let report = VerifyReport { schema: 1, path: cache.path().to_owned(), verified, layouts };
    ui.result(&report, human)?;
    let damaged = report.verified.damaged.len() + report.layouts.values().map(Vec::len).sum::<usize>();
    match damaged {
        0 => Ok(ExitCode::SUCCESS),
        _ => {
            let hint = "they were dropped, and the next build makes them anew; if it happens again, check the disk";
            Err(Failure::no(format!("{damaged} entries were damaged"), Some(hint.to_owned())))
        }
    }
}

/// The layouts that builds of the project wrote.
fn layouts_of(project: &Project) -> Vec<Layout> {
    project.images.keys().filter_map(|image| Layout::open(project.layout_dir(image)).ok()).collect()
}

fn human(report: &VerifyReport) -> String {
    let Verified { good, unknown, leftover, bytes: read, damaged } = &report.verified;
    let mut text = String::new();
    for damage in damaged {
        text.push_str(&format!("{} {}: {}\n", damage.kind, damage.name, damage.reason));
    }
    for (layout, digests) in &report.layouts {
        for digest in digests {
            text.push_str(&format!("{}: {digest} is not what it is called\n", layout.display()));
        }
    }
    text.push_str(&format!(
        "{good} entries are whole, {} damaged, {unknown} have no hash to compare with; {} read\n",
        damaged.len(),
        bytes(*read)
    ));
    if *leftover > 0 {
        text.push_str(&format!("{leftover} halves of entries that killed runs had left were removed\n"));
    }
    text
}
