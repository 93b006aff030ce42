//! What came of the checks: one value that people and programs are shown alike.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checks::Finding;
use super::runtime::RuntimeKind;
use crate::oci::{Digest, Platform};

/// The version of the report's form. It grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// What came of one check. There is no fourth way: what did not run is never counted as passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed {
        /// Why, in a line.
        reason: String,
        /// What was found, or the end of what a program printed.
        details: Vec<String>,
    },
    /// Nobody knows.
    NotRun {
        /// Why not.
        reason: String,
    },
}

impl Outcome {
    /// It does not hold, for this reason.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), details: Vec::new() }
    }

    /// It was not tried, for this reason.
    pub fn not_run(reason: impl Into<String>) -> Self {
        Self::NotRun { reason: reason.into() }
    }

    /// It holds if there are no `faults`; else `reason` and the faults say what is wrong.
    pub fn of_faults(reason: &str, faults: Vec<String>) -> Self {
        if faults.is_empty() { Self::Passed } else { Self::Failed { reason: reason.to_owned(), details: faults } }
    }

    /// The same, with the lines of `text` among the details of a failure.
    #[must_use]
    pub fn with_output(self, text: &str) -> Self {
        match self {
            Self::Failed { reason, mut details } => {
                details.extend(text.lines().map(str::to_owned));
                Self::Failed { reason, details }
            }
            other => other,
        }
    }
}

/// One check on one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check's name.
    pub name: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it learned by the way, such as a server's version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// Where the outputs of its containers are, if they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

impl CheckReport {
    /// The report of a check that took `duration` to find this out.
    pub fn new(name: &str, finding: Finding, duration: Duration) -> Self {
        let Finding { outcome, facts } = finding;
        Self { name: name.to_owned(), outcome, seconds: duration.as_secs_f64(), facts, log: None }
    }

    /// Whether it does not hold.
    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. })
    }
}

/// The checks of one platform.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlatformReport {
    /// The platform.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// What ran it; `None` if it could not run here.
    pub runtime: Option<RuntimeKind>,
    /// How many packages its environment has.
    pub packages: usize,
    /// Every check, in the order of the table.
    pub checks: Vec<CheckReport>,
}

/// All checks of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The image's name.
    pub image: String,
    /// Digest of the image index.
    pub digest: Digest,
    /// One report a platform.
    pub platforms: Vec<PlatformReport>,
}

/// The reports of all images of a run: the form of `--json` and of `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reports {
    /// [`SCHEMA`].
    pub schema: u32,
    /// One report an image.
    pub images: Vec<Report>,
}

impl Reports {
    /// These, in the form of today.
    pub const fn new(images: Vec<Report>) -> Self {
        Self { schema: SCHEMA, images }
    }
}

impl Report {
    /// The checks that failed, with their platform.
    pub fn failures(&self) -> impl Iterator<Item = (Platform, &CheckReport)> {
        let checks = self.platforms.iter().flat_map(|p| p.checks.iter().map(|check| (p.platform, check)));
        checks.filter(|(_, check)| check.failed())
    }

    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }
}

impl PlatformReport {
    /// How many checks passed, failed, and were not run.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Outcome) -> bool| self.checks.iter().filter(|check| wanted(&check.outcome)).count();
        (
            count(|outcome| *outcome == Outcome::Passed),
            count(|outcome| matches!(outcome, Outcome::Failed { .. })),
            count(|outcome| matches!(outcome, Outcome::NotRun { .. })),
        )
    }

    /// A fact that a check learned.
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.checks.iter().find_map(|check| check.facts.get(name)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_serialises_flat() {
        let outcome = Outcome::failed("no").with_output("a\nb");
        let check = CheckReport { name: "x.y".into(), outcome, seconds: 0.5, facts: BTreeMap::new(), log: None };
        let json = serde_json::to_value(&check).unwrap();
        let expected = serde_json::json!({
            "name": "x.y", "status": "failed", "reason": "no", "details": ["a", "b"], "seconds": 0.5
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<CheckReport>(json).unwrap(), check);
    }
}
