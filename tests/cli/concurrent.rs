//! Several runs at once on one cache, some of them killed without a chance to clean up.

#![allow(clippy::unwrap_used)]

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rattler_digest::{Sha256, compute_file_digest};

use super::common::{Fault, Pkg, Ran, Sandbox, Server, TinyChannel, shard, tree};

const PACKAGES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

fn channel() -> TinyChannel {
    let noise: String = (0..20_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let package = |name: &&str| Pkg::new(name, "1.0").file(&format!("share/{name}"), format!("{name}{noise}"));
    PACKAGES.iter().map(package).fold(TinyChannel::new(), TinyChannel::package)
}

/// A locked sandbox, a server of its channel that takes its time, and the digest its image must have.
fn slow() -> (Sandbox, Server, String) {
    let sandbox = Sandbox::new();
    sandbox.channel(&channel());
    sandbox.environment("tiny", &PACKAGES);
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    shard(&sandbox.path("channel"));
    let server = Server::start(sandbox.path("channel"));
    for suffix in [".conda", ".msgpack.zst", ".json"] {
        server.inject(suffix, Fault::Slow(12), usize::MAX);
    }
    (sandbox, server, digest)
}

fn start(sandbox: &Sandbox, server: &Server, cache: &str, arguments: &[&str]) -> Child {
    let mirror = format!("https://conda.anaconda.org/conda-forge/={}", server.url());
    let mut command = sandbox.command(arguments);
    command.env("ESKER_MIRROR", mirror).env("ESKER_CACHE_DIR", sandbox.path(cache)).spawn().unwrap()
}

/// Whatever has the name of a package is that package.
fn assert_whole(sandbox: &Sandbox, cache: &str) -> usize {
    let folder = sandbox.path(cache).join("packages");
    let files = if folder.exists() { tree(&folder) } else { Default::default() };
    let packages = files.keys().filter(|path| path.extension().is_some_and(|extension| extension == "conda"));
    let check = |path: &std::path::PathBuf| {
        let hash = hex::encode(compute_file_digest::<Sha256>(folder.join(path)).unwrap());
        assert!(path.starts_with(&hash), "{} has {hash}", path.display());
    };
    packages.inspect(|path| check(path)).count()
}

#[test]
fn runs_that_are_killed_leave_nothing_that_others_trip_over() {
    let (sandbox, server, digest) = slow();
    let mut killed_at_work = 0;
    for round in 0..10_u64 {
        let cache = format!("cache-{round}");
        // A lock that does not hold any more: every run of `lock` asks the channel.
        let stale = sandbox
            .read("project/tiny/conda-lock.yml")
            .replace("- name: six\n  version: '1.0'", "- name: six\n  version: '0.9'");
        sandbox.write("project/two/conda-lock.yml", stale.as_bytes());
        sandbox.write(
            "project/two/environment.yml",
            sandbox.read("project/tiny/environment.yml").replace("- six", "- six >=1").as_bytes(),
        );
        let [mut first, mut second] = ["lock", "build"].map(|stage| {
            let image = if stage == "lock" { "two" } else { "tiny" };
            start(&sandbox, &server, &cache, &[stage, image])
        });
        let survivor = start(&sandbox, &server, &cache, &["build", "tiny"]);
        sleep(Duration::from_millis(30 + round * 43 % 400));
        for child in [&mut first, &mut second] {
            child.kill().ok();
            killed_at_work += usize::from(!child.wait().unwrap().success());
        }
        assert_whole(&sandbox, &cache);
        let ran = Ran::new(survivor.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let ran = Ran::new(start(&sandbox, &server, &cache, &["lock", "two"]).wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(assert_whole(&sandbox, &cache), PACKAGES.len());
        let offline = start(&sandbox, &server, &cache, &["--offline", "build", "tiny", "--json"]);
        let ran = Ran::new(offline.wait_with_output().unwrap());
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["images"][0]["digest"], digest.as_str(), "{}", ran.stderr);
    }
    assert!(killed_at_work > 8, "only {killed_at_work} runs were killed at work: the test proves nothing");
}

#[test]
fn runs_at_once_share_what_they_fetch_without_waiting_for_ever() {
    let (sandbox, server, _) = slow();
    let start_time = Instant::now();
    let runs: Vec<Child> = (0..4).map(|_| start(&sandbox, &server, "cache-shared", &["build", "tiny"])).collect();
    for run in runs {
        let ran = Ran::new(run.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
    assert!(start_time.elapsed() < Duration::from_secs(60));
    assert_eq!(assert_whole(&sandbox, "cache-shared"), PACKAGES.len());
    let parts =
        tree(&sandbox.path("cache-shared")).into_keys().filter(|path| path.to_string_lossy().ends_with(".part"));
    assert_eq!(parts.count(), 0);
}
