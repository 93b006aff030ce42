//! conda's own code reads the records of both prefixes. No channel here has conda, but conda-lock has most of it in itself.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::common::Sandbox;
use crate::common::judges::{judged, python};

/// What conda finds in a prefix: addresses and files of its packages, what its history says was asked for, and what is
/// installed by it.
const SCRIPT: &str = "
import json, sys
from conda_lock._vendor.conda.core.prefix_data import PrefixData
from conda_lock._vendor.conda.history import History
records = list(PrefixData(sys.argv[1]).iter_records_sorted())
history = History(sys.argv[1])
print(json.dumps({
    'dists': [record.dist_str() for record in records],
    'urls': [record.url for record in records],
    'sha256': [record.sha256 for record in records],
    'files': sorted(file for record in records for file in record.files),
    'requested': sorted(history.get_requested_specs_map()),
    'state': sorted(history.get_state()),
}))
";

fn texts(found: &Value, what: &str) -> BTreeSet<String> {
    let texts = found[what].as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap_or_else(|| panic!("{what}: {text}")).to_owned()).collect()
}

/// Addresses in the explicit lock of an image.
fn locked(sandbox: &Sandbox, image: &str) -> BTreeSet<String> {
    let lock = sandbox.read(&format!("project/{image}/conda-linux-64.lock"));
    let lines = lock.lines().filter(|line| line.starts_with("https://"));
    lines.map(|line| line.split('#').next().unwrap().to_owned()).collect()
}

/// Every file below `folder` that packages may have, relative to it.
fn files(folder: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    let relative = files.map(|entry| entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
    relative.filter(|path| !path.starts_with("conda-meta/") && !path.starts_with("envs/")).collect()
}

#[test]
fn conda_reads_what_is_installed_in_both_prefixes() {
    let sandbox = Sandbox::new();
    sandbox.environment("base-image", &["certs"]);
    sandbox.ok(&["lock"]);
    let root = sandbox.path("rootfs");
    let output = format!("dir:{}", root.display());
    sandbox.ok(&["build", "tiny", "--platform", "linux/amd64", "--output", &output]);
    for (image, prefix) in [("base-image", "srv/conda"), ("tiny", "srv/conda/envs/notebook")] {
        let Some(mut python) = python() else { return };
        let prefix = root.join(prefix);
        let judge = python.args(["-c", SCRIPT]).arg(&prefix).env("CONDA_NO_PLUGINS", "true");
        let found: Value = serde_json::from_str(&judged(judge.env("HOME", sandbox.path("home")))).unwrap();
        assert_eq!(texts(&found, "urls"), locked(&sandbox, image), "{image}: {found}");
        assert_eq!(texts(&found, "sha256").len(), texts(&found, "urls").len(), "{image}: {found}");
        assert_eq!(texts(&found, "state"), texts(&found, "dists"), "{image}: {found}");
        let environment = sandbox.read(&format!("project/{image}/environment.yml"));
        let asked = texts(&found, "requested");
        assert!(!asked.is_empty() && asked.iter().all(|name| environment.contains(name)), "{image}: {asked:?}");
        // Settings of esker's are nobody's.
        let (listed, there) = (texts(&found, "files"), files(&prefix));
        let missing: Vec<_> = listed.difference(&there).collect();
        assert!(!listed.is_empty() && missing.is_empty(), "{image}: {missing:?}");
    }
}
