//! Disks that are full, and runs that are killed: what follows ends right, and its layout is whole.

use std::path::PathBuf;
use std::time::Instant;

use esker::oci::{Layout, validate};

use super::*;

/// A locked sandbox with packages that do not compress, and the digest of its image.
fn sandbox() -> (Sandbox, String) {
    let noise = |seed: u64| -> String {
        (0..20_000_u64).map(|n| format!("{:x}", (n + seed).wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect()
    };
    let package = |n: u64| Pkg::new(&format!("p{n}"), "1.0").file(&format!("share/{n}"), noise(n * 100_000));
    let sandbox = Sandbox::new();
    sandbox.channel(&(0..6).map(package).fold(TinyChannel::new(), TinyChannel::package));
    sandbox.environment("tiny", &["p0", "p1", "p2", "p3", "p4", "p5"]);
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    (sandbox, digest)
}

/// esker with its cache and its layout in `place`.
fn build_in(sandbox: &Sandbox, place: &Path) -> Command {
    let mut command = sandbox.command(&["build", "tiny", "--json", "--output"]);
    command.arg(format!("oci:{}", place.join("image").display()));
    command.env("ESKER_CACHE_DIR", place.join("cache"));
    command
}

#[track_caller]
fn assert_right(ran: &Ran, place: &Path, digest: &str) {
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["images"][0]["digest"], digest);
    validate(&Layout::open(place.join("image")).unwrap()).unwrap();
}

#[test]
fn a_full_disk_is_said_and_survived_wherever_it_fills_up() {
    let (sandbox, digest) = sandbox();
    let place = sandbox.path("small");
    fs_err::create_dir(&place).unwrap();
    let mut failed = 0;
    // From too small for the first file to nearly enough.
    for kib in [16, 64, 200, 500, 900, 1300, 1700, 2100, 2500, 2900, 3300] {
        let Some(disk) = SmallDisk::mount(&place, kib) else {
            return skipped("a tmpfs cannot be mounted here (needs root)");
        };
        let ran = Ran::new(build_in(&sandbox, &place).output().unwrap());
        if ran.code != Some(0) {
            ran.fails(3, &["free some space"]);
            failed += 1;
            disk.enlarge();
            let again = Ran::new(build_in(&sandbox, &place).output().unwrap());
            assert_right(&again, &place, &digest);
        }
    }
    assert!(failed >= 6, "only {failed} disks were too small: the test proves nothing");
}

/// A tmpfs, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, kib: u32) -> Option<Self> {
        let size = format!("size={kib}k");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status().ok()?;
        status.success().then(|| Self(folder.to_owned()))
    }

    fn enlarge(&self) {
        let status = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn a_run_after_kill_9_at_any_time_is_right() {
    const ROUNDS: u32 = 50;
    let (sandbox, digest) = sandbox();
    let fresh = |round: u32| sandbox.path(&format!("place-{round}"));
    let start = Instant::now();
    assert_right(&Ran::new(build_in(&sandbox, &fresh(ROUNDS)).output().unwrap()), &fresh(ROUNDS), &digest);
    let mut whole = start.elapsed();
    let mut killed = 0;
    for round in 0..ROUNDS {
        let place = fresh(round);
        let start = Instant::now();
        let mut child = build_in(&sandbox, &place).spawn().unwrap();
        // All over the time that a run takes, in an order that has nothing to do with it.
        let end = whole.mul_f64(f64::from(round * 17 % ROUNDS) / f64::from(ROUNDS));
        while start.elapsed() < end {
            if child.try_wait().unwrap().is_some() {
                // The machine was busier when the time was taken.
                whole = whole.min(start.elapsed());
                break;
            }
            sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        assert_right(&Ran::new(build_in(&sandbox, &place).output().unwrap()), &place, &digest);
        fs_err::remove_dir_all(&place).unwrap();
    }
    assert!(killed > ROUNDS / 2, "only {killed} runs were killed at work: the test proves nothing");
}

#[test]
fn two_builds_at_once_on_one_cache_and_one_layout() {
    let (sandbox, digest) = sandbox();
    for round in 0..5 {
        let place = sandbox.path(&format!("place-{round}"));
        let runs: Vec<_> = (0..2).map(|_| build_in(&sandbox, &place).spawn().unwrap()).collect();
        for run in runs {
            assert_right(&Ran::new(run.wait_with_output().unwrap()), &place, &digest);
        }
    }
}
