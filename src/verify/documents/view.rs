//! What of reports is shown to people, and in which words.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::space::{Line, Space};
use super::{Described, printable, read};
use crate::verify::checks::{ALL, INFO, PICTURE};
use crate::verify::{CheckReport, Error, Outcome, PlatformReport, Report, RuntimeKind, folder_name};

/// All images of a run.
#[derive(Clone, Serialize)]
pub struct Views {
    version: &'static str,
    title: String,
    images: Vec<Image>,
}

#[derive(Clone, Serialize)]
struct Image {
    name: String,
    digest: String,
    status: &'static str,
    outcome: String,
    platforms: Vec<Platform>,
}

#[derive(Clone, Serialize)]
struct Platform {
    platform: String,
    /// What links within the page lead to.
    anchor: String,
    manifest: String,
    status: &'static str,
    ran: &'static str,
    passed: usize,
    failed: usize,
    not_run: usize,
    failures: Vec<Check>,
    info: Vec<Line>,
    /// The same as blocks of Markdown.
    outputs: Vec<Output>,
    groups: Vec<Group>,
    /// Nothing for what could not be looked into.
    space: Option<Space>,
}

#[derive(Clone, Serialize)]
struct Output {
    name: String,
    value: String,
    fence: String,
}

#[derive(Clone, Serialize)]
struct Group {
    name: String,
    checks: Vec<Check>,
}

#[derive(Clone, Serialize)]
struct Check {
    name: String,
    why: &'static str,
    status: &'static str,
    outcome: &'static str,
    reason: String,
    details: String,
    facts: Vec<Line>,
    log: String,
    log_path: String,
    /// A PNG in base64, if one was taken.
    picture: String,
    time: String,
    /// Of the slowest check's time.
    percent: String,
}

/// Reads a log that a report names.
type ReadLog<'a> = &'a dyn Fn(&Path) -> Result<String, Error>;

impl Views {
    /// # Errors
    /// When a log cannot be read.
    pub fn new(images: &[Described], log: ReadLog<'_>) -> Result<Self, Error> {
        let names: Vec<_> = images.iter().map(|image| image.report.image.as_str()).collect();
        let title = format!("{}: esker verify", names.join(", "));
        let images = images.iter().map(|image| Image::new(image, log)).collect::<Result<_, _>>()?;
        Ok(Self { version: env!("CARGO_PKG_VERSION"), title, images })
    }

    /// The same for Markdown, in whose tables `|` has a meaning.
    pub fn for_markdown(&self) -> Self {
        let mut views = self.clone();
        let platforms = views.images.iter_mut().flat_map(|image| &mut image.platforms);
        for space in platforms.filter_map(|platform| platform.space.as_mut()) {
            for package in &mut space.packages {
                for text in [&mut package.name, &mut package.version, &mut package.build, &mut package.licence] {
                    *text = cell(text);
                }
            }
            space.layers.iter_mut().for_each(|layer| layer.made_by = cell(&layer.made_by));
        }
        views
    }
}

/// `text` in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

impl Image {
    fn new(described: &Described, log: ReadLog<'_>) -> Result<Self, Error> {
        let report = &described.report;
        let failed = report.failures().count();
        let platforms = report.platforms.iter().map(|platform| {
            let contents = described.contents.iter().find(|contents| contents.image.platform == platform.platform);
            Platform::new(report, platform, contents.map(Space::new), log)
        });
        let (status, outcome) = match failed {
            0 => ("passed", "passed".to_owned()),
            more => ("failed", format!("{more} failed")),
        };
        let platforms = platforms.collect::<Result<_, _>>()?;
        Ok(Self { name: report.image.clone(), digest: report.digest.to_string(), status, outcome, platforms })
    }
}

impl Platform {
    fn new(image: &Report, report: &PlatformReport, space: Option<Space>, log: ReadLog<'_>) -> Result<Self, Error> {
        let (passed, failed, not_run) = report.counts();
        let slowest = report.checks.iter().map(|check| check.seconds).fold(0.0, f64::max);
        let checks = report.checks.iter().map(|check| Check::new(check, slowest, log));
        let checks = checks.collect::<Result<Vec<_>, _>>()?;
        let info = info(report);
        let status = match (failed, report.runtime) {
            (0, Some(_)) => "passed",
            (0, None) => "not-run",
            _ => "failed",
        };
        let ran = match report.runtime {
            Some(RuntimeKind::Embedded) => "run by esker",
            Some(RuntimeKind::Docker) => "run by Docker",
            Some(RuntimeKind::Podman) => "run by Podman",
            None => "layers only",
        };
        Ok(Self {
            platform: report.platform.to_string(),
            anchor: format!("{}-{}", image.image, folder_name(report.platform)),
            manifest: report.manifest.to_string(),
            status,
            ran,
            passed,
            failed,
            not_run,
            failures: checks.iter().filter(|check| check.status == "failed").cloned().collect(),
            outputs: info.iter().map(Output::new).collect(),
            info,
            groups: grouped(checks),
            space,
        })
    }
}

/// What the commands of `info:` printed.
fn info(report: &PlatformReport) -> Vec<Line> {
    let facts = report.checks.iter().filter(|check| check.name == INFO).flat_map(|check| &check.facts);
    facts.map(|(name, value)| Line::new(name.trim_start_matches("info."), value)).collect()
}

fn grouped(checks: Vec<Check>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for check in checks {
        let name = check.name.split('.').next().unwrap_or_default().to_owned();
        match groups.last_mut().filter(|group| group.name == name) {
            Some(group) => group.checks.push(check),
            None => groups.push(Group { name, checks: vec![check] }),
        }
    }
    groups
}

impl Output {
    fn new(line: &Line) -> Self {
        // A fence is longer than any in what it holds.
        let longest = line.value.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let (name, value) = (cell(&line.name), line.value.trim_end().to_owned());
        Self { name, value, fence: "`".repeat((longest + 1).max(3)) }
    }
}

impl Check {
    fn new(report: &CheckReport, slowest: f64, log: ReadLog<'_>) -> Result<Self, Error> {
        let known = ALL.iter().find(|check| check.name == report.name);
        let (status, outcome, reason, details) = match &report.outcome {
            Outcome::Passed => ("passed", "passed", "", String::new()),
            Outcome::Failed { reason, details } => ("failed", "failed", reason.as_str(), details.join("\n")),
            Outcome::NotRun { reason } => ("not-run", "not run", reason.as_str(), String::new()),
        };
        // Those of `info` are shown by themselves.
        let facts = report.facts.iter().filter(|_| report.name != INFO);
        let text = report.log.as_deref().map(log).transpose()?.unwrap_or_default();
        let path = report.log.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        // An earlier run's picture, of a report that still holds, may have been removed since.
        let picture = report.facts.get(PICTURE).map(Path::new).filter(|path| path.is_file());
        let picture = picture.map(read).transpose()?;
        let is_noticeable = report.seconds >= 0.005;
        Ok(Self {
            name: report.name.clone(),
            why: known.map_or("", |check| check.why),
            status,
            outcome,
            reason: printable(reason),
            details: printable(&details),
            facts: facts.map(|(name, value)| Line::new(name, value)).collect(),
            log: printable(&text),
            log_path: path,
            picture: picture.map(|png| STANDARD.encode(png)).unwrap_or_default(),
            time: if is_noticeable { format!("{:.2} s", report.seconds) } else { String::new() },
            percent: format!("{:.1}", 100.0 * report.seconds / slowest.max(0.001)),
        })
    }
}
