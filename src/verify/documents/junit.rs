//! What `junit.xml` says: a suite a platform, a case a check. What was not run is skipped, with the reason.

use serde::Serialize;

use super::printable;
use crate::verify::{CheckReport, Outcome, PlatformReport, Report};

#[derive(Serialize)]
pub struct Suites {
    tests: usize,
    failures: usize,
    skipped: usize,
    time: String,
    suites: Vec<Suite>,
}

#[derive(Serialize)]
struct Suite {
    name: String,
    tests: usize,
    failures: usize,
    skipped: usize,
    time: String,
    properties: Vec<Property>,
    cases: Vec<Case>,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Case {
    class: String,
    name: String,
    time: String,
    status: &'static str,
    reason: String,
    details: String,
    output: String,
}

impl Suites {
    pub fn new(reports: &[Report]) -> Self {
        let platforms = || reports.iter().flat_map(|report| report.platforms.iter().map(move |one| (report, one)));
        let suites: Vec<_> = platforms().map(|(report, platform)| Suite::new(report, platform)).collect();
        Self {
            tests: suites.iter().map(|suite| suite.tests).sum(),
            failures: suites.iter().map(|suite| suite.failures).sum(),
            skipped: suites.iter().map(|suite| suite.skipped).sum(),
            time: seconds(platforms().flat_map(|(_, platform)| &platform.checks)),
            suites,
        }
    }
}

impl Suite {
    fn new(report: &Report, platform: &PlatformReport) -> Self {
        let (_, failures, skipped) = platform.counts();
        let runtime = platform.runtime.map_or("none", |runtime| runtime.as_str());
        let properties = [
            ("index", report.digest.to_string()),
            ("manifest", platform.manifest.to_string()),
            ("runtime", runtime.to_owned()),
        ];
        Self {
            name: format!("{} {}", report.image, platform.platform),
            tests: platform.checks.len(),
            failures,
            skipped,
            time: seconds(platform.checks.iter()),
            properties: properties.map(|(name, value)| Property { name, value }).into(),
            cases: platform.checks.iter().map(|check| Case::new(report, check)).collect(),
        }
    }
}

impl Case {
    fn new(report: &Report, check: &CheckReport) -> Self {
        let (group, name) = check.name.split_once('.').unwrap_or(("", &check.name));
        let (status, reason, details) = match &check.outcome {
            Outcome::Passed => ("passed", "", String::new()),
            Outcome::Failed { reason, details } => ("failed", reason.as_str(), details.join("\n")),
            Outcome::NotRun { reason } => ("not-run", reason.as_str(), String::new()),
        };
        let facts = check.facts.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let log = check.log.iter().map(|log| format!("log: {}\n", log.display()));
        Self {
            class: format!("{}.{group}", report.image),
            name: name.to_owned(),
            time: seconds(std::iter::once(check)),
            status,
            reason: printable(reason),
            details: printable(&details),
            output: printable(&facts.chain(log).collect::<String>()),
        }
    }
}

fn seconds<'a>(checks: impl Iterator<Item = &'a CheckReport>) -> String {
    format!("{:.3}", checks.map(|check| check.seconds).sum::<f64>())
}
