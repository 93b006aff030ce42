//! What `esker build --json` says, and what it asked a server for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Ran;

/// A build of one image.
pub struct Built {
    pub report: Value,
    pub stderr: String,
    /// Files of packages that it asked for.
    pub asked: BTreeSet<String>,
}

impl Built {
    /// What `ran` built with these `requests`, of which those are for packages that end in one of `endings`.
    pub fn new(ran: Ran, requests: &[String], endings: &[&str]) -> Self {
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        let files = requests.iter().filter_map(|line| line.rsplit('/').next());
        let asked = files.filter(|name| endings.iter().any(|end| name.ends_with(end)));
        Self { report: report["images"][0].clone(), asked: asked.map(str::to_owned).collect(), stderr: ran.stderr }
    }

    /// Of the image's index.
    pub fn digest(&self) -> &str {
        self.report["digest"].as_str().unwrap()
    }

    /// How many `layers` or `parts` came from published images.
    pub fn taken(&self, what: &str) -> u64 {
        self.report["from_cache"][what].as_u64().unwrap()
    }
}
