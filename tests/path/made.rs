//! `esker make` goes all the way, and then has nothing to do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::real::{Project, host, json};
use crate::verified::{all_passed, packages_are_the_locks};

/// How long a second run may take. Far more than it needs, far less than verifying takes.
const NOTHING_TO_DO: Duration = Duration::from_secs(10);

#[test]
fn make_locks_builds_verifies_and_then_changes_nothing() {
    let Some(project) = Project::new() else { return };
    let arguments = project.build_arguments("make", &[]);
    // One platform: what runs another under emulation is for those who have the time.
    let host = host();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--platform", &host]).collect();
    let first = json(&project.ok(&arguments));
    let first = &first["images"][0];
    assert_eq!(first["verified"]["already"], false);
    let platforms = first["verified"]["report"]["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 1);
    all_passed(&platforms[0], "embedded");
    packages_are_the_locks(&project);

    let before = files(&project);
    let start = SystemTime::now();
    let second = json(&project.ok(&arguments));
    let took = start.elapsed().unwrap();
    let second = &second["images"][0];
    assert_eq!(second["verified"]["already"], true);
    assert_eq!(second["built"]["digest"], first["built"]["digest"]);
    assert_eq!(second["locked"]["written"], serde_json::json!([]));
    let after = files(&project);
    let differ = |path: &&PathBuf| before.get(*path) != after.get(*path);
    let changed: Vec<_> = before.keys().chain(after.keys()).filter(differ).collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(took < NOTHING_TO_DO, "{took:?}");
}

/// Every file of the project with its content's size and when it was written, which is enough to tell a change.
fn files(project: &Project) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let entries = walkdir::WalkDir::new(project.path("project")).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            (entry.into_path(), (metadata.len(), metadata.modified().unwrap()))
        })
        .collect()
}
