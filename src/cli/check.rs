//! `esker lock --check`: what of an image's lock does not hold, as a diff of what is locked and what is asked.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rattler_conda_types::Subdir;
use rayon::prelude::*;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::failure::Failure;
use super::ui::{BAD, GOOD, Ui};
use crate::lock::Stale;
use crate::pipeline::{self, AptStale, Session};
use crate::project::{ImageSpec, Place};

/// Lines of one reason that people are shown; `--json` has them all.
const MOST_LINES: usize = 10;

#[derive(Serialize)]
struct Report {
    schema: u32,
    images: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    image: String,
    holds: bool,
    reasons: Vec<Reason>,
    /// The image's subdirs, to leave out where a reason is the same on all of them.
    #[serde(skip)]
    subdirs: Vec<String>,
}

/// Why a lock does not hold, on all subdirs where that is the same.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Reason {
    kind: Kind,
    subdirs: Vec<String>,
    /// Where it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<At>,
    /// The locked package that needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    /// What is locked, and should not be.
    locked: Vec<String>,
    /// What should be there instead.
    wanted: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    NotLocked,
    Channels,
    Sources,
    Subdirs,
    Requirement,
    Dependency,
    Orphan,
    Explicit,
    Apt,
}

/// A place, its file relative to the project's root.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct At {
    file: PathBuf,
    line: usize,
    column: usize,
}

pub fn run(images: &[&ImageSpec], session: &Session<'_>, ui: &Ui) -> Result<ExitCode, Failure> {
    let (mut checked, mut failures) = (Vec::new(), Vec::new());
    let answers: Vec<_> = images.par_iter().map(|image| check(image, session)).collect();
    for answer in answers {
        match answer {
            Ok(image) => checked.push(image),
            Err(error) => failures.push(Failure::from(error)),
        }
    }
    let report = Report { schema: 1, images: checked };
    ui.result(&report, |report| report.images.iter().map(human).collect())?;
    failures.extend(no(&report));
    match Failure::worst(failures, ui) {
        Some(failure) => Err(failure),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn check(image: &ImageSpec, session: &Session<'_>) -> Result<Checked, pipeline::Error> {
    let mut reasons = match session.check(image) {
        Ok(stale) => collapsed(stale.into_iter().map(|stale| Reason::of(stale, &session.project.root)).collect()),
        Err(pipeline::Error::NotLocked { path, .. }) => {
            vec![Reason { wanted: vec![path.display().to_string()], ..Reason::new(Kind::NotLocked) }]
        }
        Err(other) => return Err(other),
    };
    if let Some(AptStale { locked, wanted }) = session.check_apt(image)? {
        reasons.push(Reason { locked, wanted, ..Reason::new(Kind::Apt) });
    }
    let subdirs = names(&image.subdirs);
    Ok(Checked { image: image.name.clone(), holds: reasons.is_empty(), reasons, subdirs })
}

/// That the answer is no, and what to do.
fn no(report: &Report) -> Option<Failure> {
    let stale: Vec<&str> =
        report.images.iter().filter(|image| !image.holds).map(|image| image.image.as_str()).collect();
    let message = match stale[..] {
        [] => return None,
        [image] => format!("the lock of `{image}` does not hold"),
        _ => format!("the locks of `{}` do not hold", stale.join("`, `")),
    };
    Some(Failure::no(message, Some(format!("run `esker lock {}`", stale.join(" ")))))
}

impl Reason {
    const fn new(kind: Kind) -> Self {
        Self { kind, subdirs: Vec::new(), place: None, package: None, locked: Vec::new(), wanted: Vec::new() }
    }

    fn on(kind: Kind, subdir: Subdir) -> Self {
        Self { subdirs: vec![subdir.to_string()], ..Self::new(kind) }
    }

    /// `stale` as it is reported; `root` is the project's.
    fn of(stale: Stale, root: &Path) -> Self {
        match stale {
            Stale::Channels { locked, wanted } => Self { locked, wanted, ..Self::new(Kind::Channels) },
            Stale::Sources { locked, wanted } => Self { locked, wanted, ..Self::new(Kind::Sources) },
            Stale::Subdirs { locked, wanted } => {
                let (locked, wanted) = (names(&locked), names(&wanted));
                let without = |a: &[String], b: &[String]| a.iter().filter(|it| !b.contains(it)).cloned().collect();
                Self {
                    locked: without(&locked, &wanted),
                    wanted: without(&wanted, &locked),
                    ..Self::new(Kind::Subdirs)
                }
            }
            Stale::Requirement { subdir, requirement, place, locked } => {
                let locked = locked.map(|locked| format!("{} {locked}", name(&requirement)));
                Self {
                    place: Some(At::new(&place, root)),
                    locked: locked.into_iter().collect(),
                    wanted: vec![requirement],
                    ..Self::on(Kind::Requirement, subdir)
                }
            }
            Stale::Dependency { subdir, package, requirement, found } => {
                let found = found.map(|found| format!("{} {found}", name(&requirement)));
                Self {
                    package: Some(package),
                    locked: found.into_iter().collect(),
                    wanted: vec![requirement],
                    ..Self::on(Kind::Dependency, subdir)
                }
            }
            Stale::Orphan { subdir, package } => Self { locked: vec![package], ..Self::on(Kind::Orphan, subdir) },
            Stale::Explicit { subdir, path, found, rendered } => {
                let (locked, wanted) = changes(&found, &rendered);
                let package = Some(relative(&path, root).display().to_string());
                Self { package, locked, wanted, ..Self::on(Kind::Explicit, subdir) }
            }
        }
    }

    /// What the diff below it is about.
    fn heading(&self) -> String {
        match (self.kind, &self.place, &self.package) {
            (Kind::Requirement, Some(place), _) => format!("{}:{}:{}", place.file.display(), place.line, place.column),
            (Kind::Dependency, _, Some(package)) => format!("needed by {package}"),
            (Kind::Explicit, _, Some(file)) => file.clone(),
            (Kind::NotLocked, ..) => "missing".to_owned(),
            (Kind::Channels, ..) => "channels".to_owned(),
            (Kind::Sources, ..) => "files".to_owned(),
            (Kind::Subdirs, ..) => "platforms".to_owned(),
            (Kind::Apt, ..) => "Debian packages".to_owned(),
            (Kind::Orphan, ..) => "needed by nothing".to_owned(),
            (Kind::Requirement, None, _) => "asked for".to_owned(),
            (Kind::Dependency, _, None) => "needed".to_owned(),
            (Kind::Explicit, _, None) => "explicit lock".to_owned(),
        }
    }
}

impl At {
    fn new(place: &Place, root: &Path) -> Self {
        Self { file: relative(&place.file, root), line: place.line, column: place.column }
    }
}

/// Reasons that differ in their subdir alone as one, and all orphans of the same subdirs as one.
fn collapsed(reasons: Vec<Reason>) -> Vec<Reason> {
    let mut together: Vec<Reason> = Vec::new();
    for mut reason in reasons {
        let same = |known: &&mut Reason| {
            known.kind != Kind::Subdirs
                && (known.kind, &known.place, &known.package, &known.locked, &known.wanted)
                    == (reason.kind, &reason.place, &reason.package, &reason.locked, &reason.wanted)
        };
        match together.iter_mut().find(same) {
            Some(known) => known.subdirs.append(&mut reason.subdirs),
            None => together.push(reason),
        }
    }
    let mut orphans: Vec<Reason> = Vec::new();
    let (loose, mut rest): (Vec<Reason>, Vec<Reason>) =
        together.into_iter().partition(|reason| reason.kind == Kind::Orphan);
    for mut reason in loose {
        match orphans.iter_mut().find(|known| known.subdirs == reason.subdirs) {
            Some(known) => known.locked.append(&mut reason.locked),
            None => orphans.push(reason),
        }
    }
    rest.append(&mut orphans);
    rest
}

/// An image and, below it, what is locked (`-`) and what is asked (`+`).
fn human(image: &Checked) -> String {
    if image.holds {
        return format!("{}: holds\n", image.image);
    }
    let mut out = format!("{}: stale\n", image.image);
    for reason in &image.reasons {
        let everywhere = reason.subdirs.is_empty() || reason.subdirs.len() == image.subdirs.len();
        let subdirs = if everywhere { String::new() } else { format!(" ({})", reason.subdirs.join(", ")) };
        out.push_str(&format!("  {}{subdirs}\n", reason.heading()));
        let locked = reason.locked.iter().map(|line| format!("  {BAD}- {line}{BAD:#}\n"));
        let wanted = reason.wanted.iter().map(|line| format!("  {GOOD}+ {line}{GOOD:#}\n"));
        out.extend(shortened(locked.collect()));
        out.extend(shortened(wanted.collect()));
    }
    out
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MOST_LINES);
    if more > 0 {
        lines.truncate(MOST_LINES);
        lines.push(format!("    … {more} more\n"));
    }
    lines
}

/// The lines that only `old` has, and those that only `new` has, but for the first one.
fn changes(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
    let body = |text: &str| text.split_once('\n').map_or(String::new(), |(_, body)| body.to_owned());
    let (old, new) = (body(old), body(new));
    let diff = TextDiff::from_lines(&old, &new);
    let with = |tag: ChangeTag| {
        let changes = diff.iter_all_changes().filter(|change| change.tag() == tag);
        changes.map(|change| change.value().trim_end().to_owned()).collect()
    };
    (with(ChangeTag::Delete), with(ChangeTag::Insert))
}

/// The name that a requirement begins with.
fn name(requirement: &str) -> &str {
    let spec = requirement.rsplit_once("::").map_or(requirement, |(_, spec)| spec);
    let end = spec.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(spec.len());
    &spec[..end]
}

fn names(subdirs: &[Subdir]) -> Vec<String> {
    subdirs.iter().map(ToString::to_string).collect()
}

fn relative(path: &Path, root: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}
