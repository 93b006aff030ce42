//! `esker cache`: what is there, what is damaged, what goes, and that no build trips over it.

use std::sync::atomic::{AtomicBool, Ordering};

use esker::oci::{Layout, validate};

use super::*;

fn listed(sandbox: &Sandbox) -> serde_json::Value {
    serde_json::from_str(&sandbox.ok(&["cache", "--json"]).stdout).unwrap()
}

/// The file below `folder` with the most bytes, whose name has no extension or one of a package.
fn largest(folder: &Path) -> std::path::PathBuf {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let files = files.filter(|file| file.path().extension().is_none_or(|extension| extension == "conda"));
    files.max_by_key(|file| (file.metadata().unwrap().len(), file.path().to_owned())).unwrap().into_path()
}

/// Changes one byte, so that nothing but its hash tells.
fn damage(path: &Path) {
    let mut bytes = fs_err::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn what_is_there_is_counted() {
    let sandbox = Sandbox::new();
    assert_eq!(listed(&sandbox)["entries"], 0);
    assert!(!sandbox.path("cache").exists(), "looking makes nothing");
    sandbox.ok(&["lock"]);
    sandbox.build();
    let report = listed(&sandbox);
    let count = |kind: &str| {
        let kinds = report["kinds"].as_array().unwrap();
        kinds.iter().find(|entry| entry["kind"] == kind).map(|entry| entry["entries"].as_u64().unwrap())
    };
    // certs, and libfoo for two architectures.
    assert_eq!((count("packages"), count("fragments")), (Some(3), Some(3)));
    let bytes: u64 = tree(&sandbox.path("cache"))
        .iter()
        .filter(|(path, _)| !path.starts_with("tmp"))
        .map(|(_, content)| content.len() as u64)
        .sum();
    assert_eq!(report["bytes"], bytes);
    assert!(report["limit"].is_null());
    let text = Ran::new(sandbox.command(&["cache"]).env("ESKER_CACHE_LIMIT", "20GB").output().unwrap()).stdout;
    assert!(text.contains("packages              3") && text.trim_end().ends_with("limit 20 GB"), "{text}");
}

#[test]
fn damage_that_only_a_hash_shows_is_found_and_made_good() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    sandbox.ok(&["cache", "verify"]);
    for place in ["cache/packages", "cache/fragments", "project/.esker/images/tiny/blobs"] {
        damage(&largest(&sandbox.path(place)));
    }
    sandbox.run(&["cache", "verify"]).fails(1, &["3 entries were damaged", "the next build makes them anew"]);
    sandbox.ok(&["cache", "verify"]);
    assert_eq!(sandbox.build(), digest);
    validate(&Layout::open(sandbox.path("project/.esker/images/tiny")).unwrap()).unwrap();
}

#[test]
fn a_damaged_document_is_written_anew_by_the_next_build() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    let layout = sandbox.path("project/.esker/images/tiny");
    damage(&layout.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap()));
    assert!(validate(&Layout::open(&layout).unwrap()).is_err());
    assert_eq!(sandbox.build(), digest);
    validate(&Layout::open(&layout).unwrap()).unwrap();
}

#[test]
fn a_limit_is_kept_at_the_end_of_a_build() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    assert!(listed(&sandbox)["bytes"].as_u64().unwrap() > 2000);
    let base = sandbox.read("project/esker.yml");
    sandbox.write("project/esker.yml", format!("cache-limit: 2kB\n{base}").as_bytes());
    assert_eq!(sandbox.build(), digest);
    let report = listed(&sandbox);
    assert!(report["bytes"].as_u64().unwrap() <= 2000 && report["limit"] == 2000, "{report}");
    assert_eq!(sandbox.build(), digest);
    // The variable is nearer than the file.
    let mut command = sandbox.command(&["build", "tiny"]);
    assert!(command.env("ESKER_CACHE_LIMIT", "0").output().unwrap().status.success());
    assert_eq!(listed(&sandbox)["entries"], 0);
    sandbox.run(&["--cache-limit", "much", "build"]).fails(2, &["`much` is no size", "`20GB`"]);
}

#[test]
fn pruning_says_what_it_does_and_wants_to_be_told_what() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    sandbox.run(&["cache", "prune"]).fails(2, &["--max-size", "--all"]);
    sandbox.run(&["cache", "prune", "--all", "--max-size", "1GB"]).fails(2, &["cannot be used with"]);
    assert!(sandbox.ok(&["cache", "prune", "--older-than", "30d"]).stdout.starts_with("0 entries removed"));
    assert!(sandbox.ok(&["cache", "prune", "--max-size", "1GB"]).stdout.starts_with("0 entries removed"));
    let report: serde_json::Value =
        serde_json::from_str(&sandbox.ok(&["cache", "prune", "--all", "--json"]).stdout).unwrap();
    assert!(report["removed"].as_u64().unwrap() > 6 && report["left"] == 0 && report["held"] == 0, "{report}");
    assert_eq!(listed(&sandbox)["entries"], 0);
    assert_eq!(sandbox.build(), digest);
}

#[test]
fn builds_do_not_trip_over_pruning() {
    let sandbox = Sandbox::new();
    let noise: String = (0..40_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let packages = ["one", "two", "three", "four", "five", "six"];
    let package = |name: &&str| Pkg::new(name, "1.0").native().file(&format!("share/{name}"), format!("{name}{noise}"));
    sandbox.channel(&packages.iter().map(package).fold(TinyChannel::new(), TinyChannel::package));
    sandbox.environment("tiny", &packages);
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    let done = AtomicBool::new(false);
    let (prunes, removed) = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let (mut prunes, mut removed) = (0, 0);
            while !done.load(Ordering::Relaxed) {
                let report: serde_json::Value =
                    serde_json::from_str(&sandbox.ok(&["cache", "prune", "--all", "--json"]).stdout).unwrap();
                prunes += 1;
                removed += report["removed"].as_u64().unwrap();
            }
            (prunes, removed)
        });
        for round in 0..12 {
            let builds: Vec<_> = (0..2)
                .map(|n| {
                    let place = sandbox.path(&format!("image-{round}-{n}"));
                    let output = format!("oci:{}", place.display());
                    sandbox.command(&["build", "tiny", "--json", "--output", &output]).spawn().unwrap()
                })
                .collect();
            for build in builds {
                let ran = Ran::new(build.wait_with_output().unwrap());
                assert_eq!(ran.code, Some(0), "{}", ran.stderr);
                let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
                assert_eq!(report["images"][0]["digest"], digest.as_str());
            }
        }
        done.store(true, Ordering::Relaxed);
        pruning.join().unwrap()
    });
    assert!(prunes > 5 && removed > 20, "{prunes} prunes removed {removed} entries: the test proves nothing");
}
