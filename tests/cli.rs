//! The program as it is typed: what it does with good and bad input, and that nothing is lost in between.

#![allow(clippy::unwrap_used)]

#[path = "cli/cache.rs"]
mod cache;
#[path = "cli/check.rs"]
mod check;
mod common;
#[path = "cli/concurrent.rs"]
mod concurrent;
#[path = "cli/faults.rs"]
mod faults;
#[path = "cli/interrupted.rs"]
mod interrupted;
#[path = "cli/layers.rs"]
mod layers;
#[path = "cli/network.rs"]
mod network;
#[path = "cli/onto.rs"]
mod onto;
#[path = "cli/render.rs"]
mod render;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "cli/unsolvable.rs"]
mod unsolvable;
#[path = "cli/verifying.rs"]
mod verifying;
#[path = "cli/wheels.rs"]
mod wheels;

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use common::{Pkg, Ran, Sandbox, TinyChannel, skipped, tree};

#[test]
fn images_that_were_built_before_one_that_fails_are_told() {
    let sandbox = Sandbox::new();
    let last = Pkg::new("last", "1.0").file("share/last", "last\n");
    sandbox.channel(&Sandbox::packages().package(last));
    sandbox.environment("zz", &["last"]);
    sandbox.ok(&["lock"]);
    let archives = walkdir::WalkDir::new(sandbox.path("channel")).into_iter().map(Result::unwrap);
    for archive in archives.filter(|entry| entry.file_name().to_string_lossy().starts_with("last-")) {
        fs_err::remove_file(archive.path()).unwrap();
    }
    for command in ["build", "make"] {
        let arguments = [command, "--json", "--platform", "linux/amd64"];
        let more: &[&str] = if command == "make" { &["--only", "identity"] } else { &[] };
        let ran = sandbox.run(&[&arguments, more].concat());
        assert!(ran.code != Some(0) && ran.stderr.contains("last-1.0"), "{}", ran.stderr);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let images = report["images"].as_array().unwrap();
        let name = if command == "make" { &images[0]["built"]["image"] } else { &images[0]["image"] };
        assert_eq!((images.len(), name), (1, &"tiny".into()));
    }
}

#[test]
fn locks_and_builds_and_does_nothing_twice() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let lock = sandbox.read("project/tiny/conda-lock.yml");
    assert!(lock.contains("https://conda.anaconda.org/conda-forge/linux-aarch64/libfoo-2.1-0.conda"), "{lock}");
    assert!(!lock.contains("file://"), "a mirror's address reached the lock:\n{lock}");
    let digest = sandbox.build();
    let before = tree(&sandbox.path("project"));
    // Nothing may be fetched now: the channel is gone.
    fs_err::remove_dir_all(sandbox.path("channel")).unwrap();
    sandbox.ok(&["lock"]);
    assert_eq!(sandbox.build(), digest);
    assert!(before == tree(&sandbox.path("project")), "a run with nothing to do changed files");
}

#[test]
fn two_places_give_one_digest() {
    let build = |umask: &str, zone: &str, locale: &str, jobs: &str| {
        let sandbox = Sandbox::new();
        sandbox.ok(&["lock"]);
        let script = format!("umask {umask}; exec \"$0\" --jobs {jobs} build tiny --json");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_esker")])
            .current_dir(sandbox.path("project"))
            .envs(sandbox.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .output()
            .unwrap();
        let ran = Ran::new(output);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        report["images"][0]["digest"].as_str().unwrap().to_owned()
    };
    assert_eq!(build("022", "UTC", "C", "1"), build("077", "Asia/Kolkata", "tr_TR.UTF-8", "4"));
}

#[test]
fn a_missing_environment_is_named() {
    let sandbox = Sandbox::new();
    fs_err::remove_dir_all(sandbox.path("project/tiny")).unwrap();
    sandbox.run(&["lock"]).fails(2, &["no image", "environment.yml"]);
    sandbox.write("project/esker.yml", b"images:\n  absent: {}\n");
    sandbox.run(&["lock"]).fails(2, &["esker.yml:2:3", "absent"]);
}

#[test]
fn broken_yaml_is_shown_with_its_line() {
    let sandbox = Sandbox::new();
    sandbox.write("project/tiny/environment.yml", b"channels: [conda-forge]\ndependencies:\n\t- libfoo\n");
    sandbox.run(&["lock"]).fails(2, &["tiny/environment.yml:3:"]);
}

#[test]
fn an_unknown_image_is_suggested() {
    Sandbox::new().run(&["build", "tinny"]).fails(2, &["no image `tinny`", "tiny"]);
}

#[test]
fn an_unsolvable_environment_names_every_platform() {
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", &["libfoo >=3"]);
    sandbox.run(&["lock"]).fails(1, &["tiny", "linux-64", "linux-aarch64", "libfoo"]);
    assert!(!sandbox.path("project/tiny/conda-lock.yml").exists());
}

#[test]
fn a_machine_without_a_virtual_package_is_described_in_a_file() {
    let sandbox = Sandbox::new();
    sandbox.channel(&Sandbox::packages().package(Pkg::new("gpu", "1.0").depends("__cuda >=13")));
    sandbox.environment("tiny", &["gpu"]);
    sandbox.run(&["lock"]).fails(1, &["linux-64", "linux-aarch64", "__cuda", "virtual-packages.yml"]);
    let file = "subdirs:\n  linux-64: {packages: {__cuda: '13.0'}}\n  linux-aarch64: {packages: {__cuda: '13.0'}}\n";
    sandbox.write("project/tiny/virtual-packages.yml", file.as_bytes());
    sandbox.ok(&["lock"]);
}

#[test]
fn a_stale_lock_is_not_built() {
    let sandbox = Sandbox::new();
    let missing = "`tiny` is not locked: there is no `tiny/conda-lock.yml`";
    sandbox.run(&["build"]).fails(1, &[missing, "esker lock tiny"]);
    sandbox.ok(&["lock"]);
    sandbox.environment("tiny", &["libfoo", "certs <2024"]);
    let ran = sandbox.run(&["build"]);
    let file = sandbox.path("project/tiny/environment.yml").canonicalize().unwrap();
    let expected = format!(
        "error: the lock of `tiny` does not satisfy its environment: {}:5:5: `certs <2024` on linux-64: locked is 2024.1 \
         0 (and 1 more; `esker lock --check` shows them)\nhint: run `esker lock tiny`, or `esker make` to do all stages\n",
        file.display()
    );
    assert_eq!((ran.code, ran.stderr), (Some(1), expected));
}

#[test]
fn a_truncated_package_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let package = sandbox.path("channel/noarch/certs-2024.1-0.conda");
    let whole = fs_err::read(&package).unwrap();
    fs_err::write(&package, &whole[..whole.len() / 2]).unwrap();
    sandbox.run(&["build"]).fails(3, &["certs"]);
    fs_err::write(&package, &whole).unwrap();
    sandbox.build();
}

#[test]
fn a_package_with_another_hash_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    sandbox.channel(&Sandbox::packages().package(Pkg::new("certs", "2024.1").file("ssl/cacert.pem", "replaced\n")));
    sandbox.run(&["build"]).fails(3, &["certs 2024.1", "sha256", "not what the lock says"]);
}

#[test]
fn a_package_that_climbs_out_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.channel(&TinyChannel::new().package(Pkg::new("evil", "1.0").hostile("../../../escaped", "gotcha")));
    sandbox.environment("tiny", &["evil"]);
    sandbox.ok(&["lock"]);
    sandbox.run(&["build"]).fails(1, &["evil", "../../../escaped"]);
    let everything = tree(&sandbox.path(""));
    assert!(!everything.keys().any(|path| path.ends_with("escaped")));
}

#[test]
fn a_rebuilt_image_leaves_nothing_of_the_old_one() {
    let blobs =
        |sandbox: &Sandbox| -> Vec<_> { tree(&sandbox.path("project/.esker/images/tiny/blobs")).into_keys().collect() };
    let expected = {
        let sandbox = Sandbox::new();
        sandbox.environment("tiny", &["certs"]);
        sandbox.ok(&["lock"]);
        sandbox.build();
        blobs(&sandbox)
    };
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    sandbox.build();
    let old = blobs(&sandbox);
    sandbox.environment("tiny", &["certs"]);
    sandbox.ok(&["lock"]);
    // While somebody else uses the layout, nothing of it goes.
    let mark = esker::oci::InUse::mark(&sandbox.path("project/.esker/images/tiny")).unwrap();
    sandbox.build();
    let both = blobs(&sandbox);
    assert!(old.iter().chain(&expected).all(|blob| both.contains(blob)));
    drop(mark);
    sandbox.build();
    assert_eq!(blobs(&sandbox), expected);
}

#[test]
fn a_platform_is_the_same_alone_and_with_others() {
    let sandbox = Sandbox::new();
    sandbox.channel(
        &Sandbox::packages()
            .package(Pkg::new("late", "1.0").subdirs(&["linux-aarch64"]).timestamp_ms(Some(1_750_000_000_000))),
    );
    sandbox.environment("tiny", &["certs", "late  # [aarch64]"]);
    sandbox.ok(&["lock"]);
    let manifests = |arguments: &[&str]| -> Vec<String> {
        let report: serde_json::Value = serde_json::from_str(&sandbox.ok(arguments).stdout).unwrap();
        let platforms = report["images"][0]["platforms"].as_array().unwrap();
        platforms.iter().map(|platform| platform["manifest"].to_string()).collect()
    };
    let both = manifests(&["build", "--json"]);
    assert_eq!(manifests(&["build", "--json", "--platform", "linux/amd64"]), both[..1]);
    assert_eq!(manifests(&["build", "--json", "--platform", "linux/arm64"]), both[1..]);
}

#[test]
fn a_base_without_the_platform_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("project/esker.yml", b"base:\n  linux/amd64: rootfs:../base-amd64.tar\n");
    sandbox.ok(&["lock"]);
    sandbox.run(&["build"]).fails(2, &["tiny", "linux/arm64"]);
    // A layout that has one platform only, too.
    sandbox.ok(&["build", "--platform", "linux/amd64", "--output", "oci:../one"]);
    sandbox.run(&["build", "--base", "oci:../one"]).fails(2, &["linux/arm64", "linux/amd64"]);
}

#[test]
fn a_base_that_changed_is_noticed() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    sandbox.build();
    let mut base = fs_err::read(sandbox.path("base-amd64.tar")).unwrap();
    base.extend_from_slice(&[0; 512]);
    fs_err::write(sandbox.path("base-amd64.tar"), &base).unwrap();
    sandbox.run(&["build"]).fails(1, &["base-amd64.tar", "--update-base"]);
    sandbox.ok(&["build", "--update-base"]);
    sandbox.ok(&["build"]);
}

#[test]
fn debian_packages_are_not_left_out_silently() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    sandbox.write("project/tiny/apt.txt", b"# editors\nvim\n");
    sandbox.run(&["build"]).fails(2, &["tiny/apt-lock.yml is missing", "esker lock tiny"]);
    let settings = sandbox.read("project/esker.yml");
    sandbox.write("project/esker.yml", format!("apt: refuse\n{settings}").as_bytes());
    sandbox.run(&["build"]).fails(2, &["tiny", "vim", "apt: install", "apt: skip"]);
}

#[test]
fn files_that_would_change_the_image_are_not_left_out_silently() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    for (file, hint) in [("requirements.txt", "conda packages"), ("postBuild", "`start`")] {
        let path = format!("project/tiny/{file}");
        sandbox.write(&path, b"anything\n");
        sandbox.run(&["build"]).fails(2, &[&format!("`tiny` has a `tiny/{file}`"), hint]);
        fs_err::remove_file(sandbox.path(&path)).unwrap();
    }
    // Beside `binder/`, as in the folder of a package, it is not the image's.
    sandbox.write("project/tiny/binder/environment.yml", sandbox.read("project/tiny/environment.yml").as_bytes());
    fs_err::remove_file(sandbox.path("project/tiny/environment.yml")).unwrap();
    sandbox.write("project/tiny/requirements.txt", b"anything\n");
    sandbox.ok(&["lock"]);
    sandbox.build();
}

#[test]
fn a_run_after_ctrl_c_at_any_time_is_right() {
    let expected = {
        let sandbox = Sandbox::new();
        sandbox.ok(&["lock"]);
        sandbox.build()
    };
    let sandbox = Sandbox::new();
    let mut interrupted = 0;
    // From before anything is read to after everything is written, in steps.
    for step in 0..40 {
        let stage = if step % 2 == 0 { "lock" } else { "build" };
        let mut child = sandbox.command(&[stage]).spawn().unwrap();
        sleep(Duration::from_millis(step * 4));
        let signal = nix::sys::signal::Signal::SIGINT;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).ok();
        let status = child.wait().unwrap();
        interrupted += usize::from(!status.success());
        drop(fs_err::remove_dir_all(sandbox.path("cache/fragments")));
    }
    assert!(interrupted > 5, "only {interrupted} runs were interrupted: the test proves nothing");
    sandbox.ok(&["lock"]);
    assert_eq!(sandbox.build(), expected);
}

#[test]
fn a_wrong_flag_is_said_before_any_work() {
    let sandbox = Sandbox::new();
    for (flags, words) in [
        (["--output", "here"], ["unknown output", "oci:DIR"]),
        (["--base", "No Image"], ["`No Image` is no image", "rootfs:FILE.tar"]),
        (["--only", "jupyter.servers"], ["no check `jupyter.servers`", "`jupyter.server`"]),
    ] {
        sandbox.run(&["make", "tiny", flags[0], flags[1]]).fails(2, &words);
        assert!(!sandbox.path("project/tiny/conda-lock.yml").exists());
    }
    sandbox.run(&["make", "tiny", "--output", "oci:a", "--output", "oci:b"]).fails(2, &["can be given once"]);
}

#[test]
fn variables_are_read_as_people_set_them() {
    let sandbox = Sandbox::new();
    let run = |variables: &[(&str, &str)], arguments: &[&str]| {
        Ran::new(sandbox.command(arguments).envs(variables.iter().copied()).output().unwrap())
    };
    run(&[("ESKER_MIRROR", ""), ("ESKER_OFFLINE", "1")], &["lock"]).fails(3, &["--offline"]);
    assert_eq!(run(&[("ESKER_OFFLINE", "0")], &["lock"]).code, Some(0));
    // Empty is unset: no cache appears in the folder esker is started in.
    let cacheless =
        Ran::new(sandbox.command(&["build"]).env_remove("ESKER_CACHE_DIR").env("XDG_CACHE_HOME", "").output().unwrap());
    assert_eq!(cacheless.code, Some(0), "{}", cacheless.stderr);
    assert!(sandbox.path("home/.cache/esker").exists() && !sandbox.path("project/esker").exists());
}

#[test]
fn output_is_for_programs_and_status_is_not() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock", "-q"]);
    let ran = sandbox.ok(&["build", "-q"]);
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("oci:/") && ran.stdout.ends_with("/tiny:tiny\n"), "{}", ran.stdout);
    let images = sandbox.ok(&["images", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&images.stdout).unwrap();
    assert_eq!(report["images"][0]["name"], "tiny");
    assert!(!sandbox.run(&["build", "--no-such-flag"]).stderr.contains('\x1b'), "colours where there is no terminal");
}

#[test]
fn the_locks_of_this_repository_hold() {
    let sandbox = Sandbox::new();
    let ran = sandbox.ok(&["-C", env!("CARGO_MANIFEST_DIR"), "--offline", "lock", "--check"]);
    let expected = ["base-image", "base-notebook", "pangeo-notebook", "ml-notebook"];
    let expected: String = expected.iter().map(|image| format!("{image}: holds\n")).collect();
    assert_eq!(ran.stdout, expected);
}
