//! `esker layers`: which packages share a layer, and what an update of the lock would make clients pull.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde::Serialize;

use super::args::LayersArgs;
use super::failure::Failure;
use super::ui::{Ui, bytes};
use crate::build::native::{Group, PlannedLayer, Seen};
use crate::git::Repository;
use crate::lock::Lock;
use crate::oci::Platform;
use crate::pipeline::{self, Session};
use crate::progress::Progress;
use crate::project::ImageSpec;

/// How many packages of a layer the table names.
const NAMED: usize = 5;

#[derive(Serialize)]
struct Report {
    schema: u32,
    image: String,
    platform: Platform,
    /// Bytes of all layers.
    size: u64,
    /// The lowest first.
    layers: Vec<Row>,
    update: Option<Update>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    layer: PlannedLayer,
    /// Other images of the project with the same layer.
    shared_with: Vec<String>,
    /// Whether the image of the other revision has no such layer; false if there is none.
    new: bool,
}

/// What an update from the locks of a revision makes clients pull, in bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Update {
    since: String,
    /// Of the packages that changed.
    changed: u64,
    /// For clients that keep layers by digest.
    by_digest: u64,
    /// For clients that pull everything above the first layer that changed.
    by_chain: u64,
}

pub async fn run(args: &LayersArgs, session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let image = session.project.image(&args.image)?;
    let asked: Vec<Platform> = args.platform.into_iter().collect();
    let platform = session.platforms(image, &asked)?[0];
    let now = |image: &ImageSpec| session.existing_lock(image);
    let seen = Seen::default();
    let Some(layers) = session.planned_layers(image, platform, &now, &seen).await? else {
        let hint = format!("run `esker lock {}`", image.name);
        return Err(Failure::no(format!("`{}` is not locked", image.name), Some(hint)));
    };
    let before = before(args.since.as_deref(), image, platform, (session, &seen), ui).await?;
    let update = before.as_ref().map(|(since, old)| update(since, old, &layers));
    let others = others(image, platform, session, &seen).await?;
    let old = before.as_ref().map(|(_, old)| old.as_slice());
    let report = Report {
        schema: 1,
        image: image.name.clone(),
        platform,
        size: sum(&layers),
        layers: layers.into_iter().map(|layer| row(layer, &others, old)).collect(),
        update,
    };
    ui.result(&report, human)?;
    Ok(ExitCode::SUCCESS)
}

fn key(layer: &PlannedLayer) -> (&str, &Group) {
    (&layer.prefix, &layer.group)
}

fn sum<'a>(layers: impl IntoIterator<Item = &'a PlannedLayer>) -> u64 {
    layers.into_iter().map(|layer| layer.size).sum()
}

fn row(layer: PlannedLayer, others: &[(String, Vec<PlannedLayer>)], old: Option<&[PlannedLayer]>) -> Row {
    let has = |layers: &[PlannedLayer]| layers.iter().any(|other| key(other) == key(&layer));
    let shared_with = others.iter().filter(|(_, layers)| has(layers)).map(|(name, _)| name.clone()).collect();
    let new = old.is_some_and(|old| !has(old));
    Row { layer, shared_with, new }
}

/// The layers of the other images that are locked for the platform.
async fn others(
    image: &ImageSpec,
    platform: Platform,
    session: &Session<'_>,
    seen: &Seen,
) -> Result<Vec<(String, Vec<PlannedLayer>)>, Failure> {
    let mut others = Vec::new();
    let for_platform = |other: &&ImageSpec| other.name != image.name && other.platforms.contains(&platform);
    for other in session.project.images.values().filter(for_platform) {
        let locks = |image: &ImageSpec| session.existing_lock(image);
        let layers = session.planned_layers(other, platform, &locks, seen).await?;
        others.extend(layers.map(|layers| (other.name.clone(), layers)));
    }
    Ok(others)
}

/// The layers by the locks of `since`, or of `HEAD` where there is one.
async fn before(
    since: Option<&str>,
    image: &ImageSpec,
    platform: Platform,
    (session, seen): (&Session<'_>, &Seen),
    ui: &Ui,
) -> Result<Option<(String, Vec<PlannedLayer>)>, Failure> {
    let revision = since.unwrap_or("HEAD");
    let found = Repository::around(&session.project.root)
        .and_then(|repository| repository.commit(revision).map(|commit| (repository, commit)));
    let (repository, commit) = match found {
        Ok(found) => found,
        // Nobody asked: a project need not be in a repository, or have a commit.
        Err(_) if since.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let texts = lock_texts(&commit, &repository, session)?;
    let then = |image: &ImageSpec| lock_of(image, revision, &texts, session);
    let layers = session.planned_layers(image, platform, &then, seen).await;
    match layers? {
        Some(layers) => Ok(Some((revision.to_owned(), layers))),
        None => {
            ui.note(&format!("{} is not locked in {revision}", image.name));
            Ok(None)
        }
    }
}

/// Every lock of the project at `commit`, by its path from the root.
fn lock_texts(
    commit: &str,
    repository: &Repository,
    session: &Session<'_>,
) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let paths: Vec<_> = session.project.images.values().map(|image| lock_path(image, session)).collect();
    let asked: Vec<_> = paths.iter().map(|path| (commit.to_owned(), path.clone())).collect();
    let mut found = Vec::new();
    repository.files(&asked, |content| found.push(content))?;
    Ok(paths.into_iter().zip(found).filter_map(|(path, content)| Some((path, content?))).collect())
}

fn lock_path(image: &ImageSpec, session: &Session<'_>) -> String {
    session.relative(&image.lock_path()).display().to_string()
}

fn lock_of(
    image: &ImageSpec,
    revision: &str,
    texts: &BTreeMap<String, Vec<u8>>,
    session: &Session<'_>,
) -> Result<Option<Lock>, pipeline::Error> {
    let path = lock_path(image, session);
    let Some(text) = texts.get(&path) else { return Ok(None) };
    let name = format!("{revision}:{path}");
    Ok(Some(Lock::parse(name.as_ref(), &String::from_utf8_lossy(text))?))
}

fn update(since: &str, old: &[PlannedLayer], new: &[PlannedLayer]) -> Update {
    let had: BTreeSet<_> = old.iter().flat_map(|layer| layer.group.iter().map(|id| (&layer.prefix, id))).collect();
    let changed = new.iter().flat_map(|layer| layer.packages.iter().map(move |package| (layer, package)));
    let changed = changed.filter(|(layer, package)| !had.contains(&(&layer.prefix, &package.id)));
    let kept: BTreeSet<_> = old.iter().map(key).collect();
    let same = new.iter().zip(old).take_while(|(new, old)| key(new) == key(old)).count();
    Update {
        since: since.to_owned(),
        changed: changed.map(|(_, package)| package.size).sum(),
        by_digest: sum(new.iter().filter(|layer| !kept.contains(&key(layer)))),
        by_chain: sum(&new[same..]),
    }
}

fn human(report: &Report) -> String {
    let estimated = report.layers.iter().any(|row| row.layer.estimated);
    let about = |estimated: bool| if estimated { "~" } else { "" };
    let mut text = format!(
        "{} for {}: {} layers, {}{} to pull besides the base\n",
        report.image,
        report.platform,
        report.layers.len(),
        about(estimated),
        bytes(report.size)
    );
    let mut prefix = "";
    for row in &report.layers {
        if row.layer.prefix != prefix {
            prefix = &row.layer.prefix;
            text.push_str(&format!("{prefix}\n"));
        }
        let size = format!("{}{}", about(row.layer.estimated), bytes(row.layer.size));
        let mark = if row.new { "*" } else { " " };
        let shared = row.shared_with.join(", ");
        let shared = if shared.is_empty() { shared } else { format!(" [also in {shared}]") };
        text.push_str(&format!("  {mark}{size:>11}  {}{shared}\n", packages(&row.layer)));
    }
    if estimated {
        text.push_str("~ is an estimate, by the packages' own size: the layer was not built on this machine\n");
    }
    text + &report.update.as_ref().map_or_else(String::new, |update| since(update, report.size))
}

/// The largest of a layer's packages.
fn packages(layer: &PlannedLayer) -> String {
    let mut largest: Vec<_> = layer.packages.iter().collect();
    largest.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.name.cmp(&b.name)));
    let names: Vec<_> = largest.iter().take(NAMED).map(|named| format!("{} {}", named.name, named.version)).collect();
    let more = largest.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

fn since(update: &Update, size: u64) -> String {
    if (update.by_chain, update.changed) == (0, 0) {
        return format!("no layer has changed since {}\n", update.since);
    }
    let share = |part: u64| format!("{} ({:.0} %)", bytes(part), 100.0 * part as f64 / size.max(1) as f64);
    format!(
        "since {}: {} of packages changed; {} are pulled by clients that keep layers by digest (marked *), {} by those \
         that pull all above the first change\n",
        update.since,
        bytes(update.changed),
        share(update.by_digest),
        share(update.by_chain)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::native::Named;

    fn layer(packages: &[(&str, u64)]) -> PlannedLayer {
        let named = |&(name, size): &(&str, u64)| Named {
            name: name.into(),
            version: "1".into(),
            size,
            id: format!("{name} {size}"),
        };
        let packages: Vec<_> = packages.iter().map(named).collect();
        PlannedLayer {
            prefix: "/p".into(),
            size: packages.iter().map(|package| package.size).sum(),
            estimated: true,
            group: packages.iter().map(|package| package.id.clone()).collect(),
            packages,
        }
    }

    #[test]
    fn an_update_costs_what_changed_its_layers_or_all_above() {
        let old = [layer(&[("a", 1)]), layer(&[("b", 10)]), layer(&[("c", 100), ("d", 1000)])];
        let new = [layer(&[("a", 1)]), layer(&[("b", 20)]), layer(&[("c", 100), ("d", 1000)])];
        let expected = Update { since: "v1".into(), changed: 20, by_digest: 20, by_chain: 1120 };
        assert_eq!(update("v1", &old, &new), expected);
        let expected = Update { since: "v1".into(), changed: 0, by_digest: 0, by_chain: 0 };
        assert_eq!(update("v1", &old, &old), expected);
        let grown = [old[0].clone(), old[1].clone(), layer(&[("c", 100), ("d", 2000)])];
        let expected = Update { since: "v1".into(), changed: 2000, by_digest: 2100, by_chain: 2100 };
        assert_eq!(update("v1", &old, &grown), expected);
    }
}
