//! `esker push` and the outputs of `esker build`, as a user gets them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Ran, Sandbox, skipped};
use esker::oci::{Digest, Layout, validate};
use fake_registry::writable::{Fault, Features, Writable};
use fake_registry::{Reply, Request};

#[path = "common/mod.rs"]
mod common;
#[path = "outputs/conda.rs"]
mod conda;
mod fake_registry;
#[path = "outputs/helpers.rs"]
mod helpers;
#[path = "outputs/sif.rs"]
mod sif;
#[path = "verify/tiny.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod tiny;

fn locked() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock", "tiny"]);
    sandbox
}

fn tagged(registry: &Writable, repository: &str, tag: &str) -> Option<Digest> {
    let state = registry.state();
    state.manifests.get(&(repository.to_owned(), tag.to_owned())).map(|(_, bytes)| Digest::of(bytes))
}

fn set_registry(sandbox: &Sandbox, registry: &str) {
    let text = sandbox.read("project/esker.yml");
    sandbox.write("project/esker.yml", format!("registry: {registry}\n{text}").as_bytes());
}

#[test]
fn what_was_built_is_pushed_under_each_tag() {
    let sandbox = locked();
    let registry = Writable::proper();
    let digest = sandbox.build();
    let ran = sandbox.run(&["push", "tiny"]);
    assert_eq!((ran.code, ran.stderr.contains("set `registry` in `esker.yml`")), (Some(2), true), "{}", ran.stderr);

    let to = format!("{}/x/y:z", registry.address);
    let ran = sandbox.ok(&["push", "tiny", &to, "--tag", "2,3"]);
    let lines: Vec<_> = ["z", "2", "3"].map(|tag| format!("{}/x/y:{tag}@{digest}", registry.address)).into();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), lines);
    for tag in ["z", "2", "3"] {
        assert_eq!(tagged(&registry, "x/y", tag).unwrap().to_string(), digest);
    }

    set_registry(&sandbox, &format!("{}/team", registry.address));
    let report = sandbox.ok(&["push", "--json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["images"][0]["references"][0], format!("{}/team/tiny:latest", registry.address));
    assert_eq!(tagged(&registry, "team/tiny", "latest").unwrap().to_string(), digest);

    for (arguments, expected) in [
        (vec!["push", "tiny", "x/y"], "cannot be pushed to"),
        (vec!["push", "tiny", "tiny", "quay.io/x/y"], "give one image before it"),
        (vec!["push", "tiny", "--tag", "a b"], "cannot be a tag"),
        (vec!["push", "tiny", "--offline"], "do not go together"),
        (vec!["build", "tiny", "--output", "registry:nowhere"], "cannot be pushed to"),
    ] {
        let ran = sandbox.run(&arguments);
        assert_eq!((ran.code, ran.stderr.contains(expected)), (Some(2), true), "{arguments:?}\n{}", ran.stderr);
    }
}

#[test]
fn a_build_can_go_to_a_registry() {
    let sandbox = locked();
    let registry = Writable::proper();
    set_registry(&sandbox, &registry.address);
    let to = format!("registry:{}/x/tiny:1", registry.address);
    let ran = sandbox.ok(&["build", "tiny", "--output", &to, "--output", "registry:"]);
    let digest = tagged(&registry, "x/tiny", "1").unwrap();
    let expected =
        [format!("{}/x/tiny:1@{digest}", registry.address), format!("{}/tiny:latest@{digest}", registry.address)];
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
    assert_eq!(tagged(&registry, "tiny", "latest"), Some(digest));
    assert_eq!(sandbox.build(), digest.to_string());
}

#[test]
fn all_images_can_go_to_the_project_s_registry() {
    let sandbox = Sandbox::new();
    sandbox.environment("other", &["certs"]);
    sandbox.ok(&["lock"]);
    let registry = Writable::proper();
    set_registry(&sandbox, &format!("{}/team", registry.address));
    assert_eq!(sandbox.ok(&["build", "--output", "registry:"]).stdout.lines().count(), 2);
    assert!(["team/tiny", "team/other"].iter().all(|image| tagged(&registry, image, "latest").is_some()));
    let ran = sandbox.run(&["build", "--output", &format!("registry:{}/x/y:1", registry.address)]);
    assert_eq!((ran.code, ran.stderr.contains("names one place")), (Some(2), true), "{}", ran.stderr);
}

#[test]
fn a_push_that_is_killed_at_any_time_is_finished_by_the_next() {
    let sandbox = locked();
    let digest = sandbox.build();
    let layout = Layout::open(sandbox.path("project/.esker/images/tiny")).unwrap();
    let mut killed = 0;
    for round in 0..50 {
        // Slow enough to be killed at every stage.
        let slow = |_: &Request, reply: Reply| {
            std::thread::sleep(Duration::from_millis(3));
            reply
        };
        let registry = Writable::start(Features::default(), |_| Fault::None, slow);
        let to = format!("{}/x/y:z", registry.address);
        let mut push = sandbox.command(&["push", "tiny", &to]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(2 * round));
        push.kill().unwrap();
        killed += usize::from(push.wait().unwrap().code().is_none());
        if let Some(there) = tagged(&registry, "x/y", "z") {
            assert_eq!(there.to_string(), digest, "never half an image");
        }
        sandbox.ok(&["push", "tiny", &to]);
        assert_eq!(tagged(&registry, "x/y", "z").unwrap().to_string(), digest);
    }
    assert!(killed > 5, "{killed}");
    validate(&layout).unwrap();
}

#[test]
fn who_is_not_logged_in_is_told_how() {
    let sandbox = locked();
    sandbox.build();
    let asks = |request: &Request| match request.header("authorization") {
        Some("Basic dTpw") => Fault::None,
        _ => Fault::Reply(Reply::status(401).with("www-authenticate", "Basic realm=\"fake\"")),
    };
    let registry = Writable::start(Features::default(), asks, |_, reply| reply);
    let to = format!("{}/x/y:z", registry.address);
    let ran = sandbox.run(&["push", "tiny", &to]);
    let hint = format!("docker login {}", registry.address);
    assert_eq!((ran.code, ran.stderr.contains(&hint)), (Some(3), true), "{}", ran.stderr);
    // A helper program, as `docker login` sets one up where it can.
    let helper = sandbox.path("bin/docker-credential-test");
    sandbox.write(
        "bin/docker-credential-test",
        b"#!/bin/sh\ncat > /dev/null\necho '{\"Username\": \"u\", \"Secret\": \"p\"}'\n",
    );
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let helpers = format!(r#"{{"credHelpers": {{"{}": "test"}}}}"#, registry.address);
    sandbox.write("home/.docker/config.json", helpers.as_bytes());
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let ran = Ran::new(sandbox.command(&["push", "tiny", &to]).env("PATH", path).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    // And podman's file of the variable.
    std::fs::remove_file(sandbox.path("home/.docker/config.json")).unwrap();
    sandbox.write("auth.json", format!(r#"{{"auths": {{"{}": {{"auth": "dTpw"}}}}}}"#, registry.address).as_bytes());
    let ran = sandbox.command(&["push", "tiny", &to]).env("REGISTRY_AUTH_FILE", sandbox.path("auth.json")).output();
    assert_eq!(Ran::new(ran.unwrap()).code, Some(0));
}

#[test]
fn a_layout_wants_a_directory_of_its_own() {
    let sandbox = locked();
    sandbox.write("taken/letters.txt", b"mine");
    let output = format!("oci:{}", sandbox.path("taken").display());
    let words = ["is not empty and no OCI layout: it has `letters.txt`", "a directory of its own"];
    sandbox.run(&["build", "tiny", "--output", &output]).fails(2, &words);
    let found: Vec<_> =
        fs_err::read_dir(sandbox.path("taken")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(found, ["letters.txt"]);
}

#[test]
fn a_directory_gets_the_root_file_system() {
    let sandbox = locked();
    let arguments = ["build", "tiny", "--platform", "linux/amd64", "--output"];
    let dir = sandbox.path("rootfs");
    let output = format!("dir:{}", dir.display());
    sandbox.ok(&[&arguments[..], &[&output]].concat());
    let prefix = dir.join("srv/conda/envs/notebook");
    assert_eq!(std::fs::read_to_string(prefix.join("ssl/cacert.pem")).unwrap(), "pretend\n");
    let configured = std::fs::read_to_string(prefix.join("etc/foo.conf")).unwrap();
    assert_eq!(configured, "root=/srv/conda/envs/notebook\n");
    let ran = sandbox.run(&[&arguments[..], &[&output]].concat());
    assert_eq!((ran.code, ran.stderr.contains("is not empty")), (Some(2), true), "{}", ran.stderr);
}

fn squashfs(sandbox: &Sandbox, umask: &str) -> Vec<u8> {
    let output = format!("squashfs:{}", sandbox.path("image.squashfs").display());
    let command = sandbox.command(&["build", "tiny", "--platform", "linux/amd64", "--output", &output]);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("umask {umask}; exec \"$0\" \"$@\""))
        .arg(command.get_program())
        .args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = Ran::new(shell.output().unwrap());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    std::fs::read(sandbox.path("image.squashfs")).unwrap()
}

#[test]
fn a_squashfs_file_is_the_same_whoever_makes_it() {
    if Command::new("sqfstar").arg("-version").output().is_err() {
        return skipped("`sqfstar` is not installed");
    }
    let sandboxes = [locked(), locked()];
    let first = squashfs(&sandboxes[0], "022");
    std::thread::sleep(Duration::from_millis(1100));
    let second = squashfs(&sandboxes[1], "077");
    let list = |sandbox: &Sandbox| {
        let listed = Command::new("unsquashfs").arg("-lln").arg(sandbox.path("image.squashfs")).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    let listed = list(&sandboxes[0]);
    assert_eq!(listed, list(&sandboxes[1]));
    assert!(first == second, "other folders, another time, another umask");
    let line =
        |path: &str| listed.lines().find(|line| line.ends_with(path)).unwrap_or_else(|| panic!("{path}\n{listed}"));
    let owner = |path: &str| line(path).split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(owner("squashfs-root/srv/conda/envs/notebook/ssl/cacert.pem"), "1000/1000");
    assert_eq!(owner("squashfs-root/etc/passwd"), "0/0");
    assert!(line("squashfs-root/srv/start").starts_with("-rwxr-xr-x"));
}

#[test]
fn a_program_that_is_missing_is_named() {
    let sandbox = locked();
    for (output, program) in [("squashfs", "`sqfstar`"), ("sif", "`apptainer` or `singularity`")] {
        let to = format!("{output}:{}", sandbox.path("image").display());
        let arguments = ["build", "tiny", "--platform", "linux/amd64", "--output", &to];
        let ran = Ran::new(sandbox.command(&arguments).env("PATH", "/nowhere").output().unwrap());
        assert_eq!((ran.code, ran.stderr.contains(program)), (Some(3), true), "{}", ran.stderr);
        assert!(!sandbox.path("image").exists());
    }
}

/// Apptainer is not packaged everywhere: what is run of it is recorded by a program in its place.
#[test]
fn sif_is_made_by_apptainer_from_an_archive() {
    let sandbox = locked();
    let script = b"#!/bin/sh\n[ \"$1\" = build ] || exit 1\ntar -tf \"${3#docker-archive:}\" > \"$2\"\n";
    sandbox.write("bin/apptainer", script);
    let program = sandbox.path("bin/apptainer");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
    let to = format!("sif:{}", sandbox.path("image.sif").display());
    let arguments = ["build", "tiny", "--platform", "linux/amd64", "--output", &to];
    let ran = Ran::new(sandbox.command(&arguments).env("PATH", &path).output().unwrap());
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), to.as_str()), "{}", ran.stderr);
    assert!(sandbox.read("image.sif").contains("manifest.json"), "it was given an archive");
    assert_eq!(left(&sandbox.path("")), 0, "nothing of the work stays");

    sandbox.write("bin/apptainer", b"#!/bin/sh\necho no space here >&2\nexit 255\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = Ran::new(sandbox.command(&arguments).env("PATH", &path).output().unwrap());
    assert_eq!((ran.code, ran.stderr.contains("no space here")), (Some(3), true), "{}", ran.stderr);
}

fn left(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".esker-")).count()
}

#[test]
fn an_image_is_pushed_as_it_lies_in_its_layout() {
    let sandbox = locked();
    sandbox.build();
    let layout = Layout::open(sandbox.path("project/.esker/images/tiny")).unwrap();
    let registry = Writable::proper();
    sandbox.ok(&["push", "tiny", &format!("{}/a/b", registry.address)]);
    let blobs = registry.state().blobs;
    for image in layout.images().unwrap() {
        for layer in image.layers {
            assert!(blobs.contains_key(&("a/b".to_owned(), layer.digest.to_string())));
        }
    }
}

#[test]
fn an_update_is_laid_on_an_image_of_a_registry() {
    let sandbox = locked();
    let registry = Writable::proper();
    let before_reference = format!("{}/x/tiny:1", registry.address);
    sandbox.ok(&["build", "tiny", "--output", &format!("registry:{before_reference}")]);
    let layers = |path: &str| {
        let layout = Layout::open(sandbox.path(path)).unwrap();
        let image = layout.image(esker::oci::Platform::LinuxArm64).unwrap();
        image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>()
    };
    let before = layers("project/.esker/images/tiny");
    // Nothing is left of it here.
    for folder in ["project/.esker", "cache"] {
        fs_err::remove_dir_all(sandbox.path(folder)).unwrap();
    }
    sandbox.write("project/tiny/start", b"#!/bin/sh\nexec \"$@\"\n");
    sandbox.ok(&["build", "tiny", "--onto", &before_reference, "--output", "oci:../on"]);
    let on = layers("on");
    assert_eq!((&on[..before.len()], on.len()), (&before[..], before.len() + 1), "one layer with the difference");
    validate(&Layout::open(sandbox.path("on")).unwrap()).unwrap();
}

/// A name in Docker that nothing else uses, removed when dropped.
struct InDocker(String);

impl Drop for InDocker {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["image", "rm", &self.0]).output());
    }
}

#[test]
fn docker_is_sent_the_layers_that_it_lacks() {
    let works = Command::new("docker").arg("info").args(["--format", "{{json .DriverStatus}}"]).output();
    let Some(output) = works.ok().filter(|output| output.status.success()) else {
        skipped("no Docker engine can be used");
        return;
    };
    if String::from_utf8_lossy(&output.stdout).contains("io.containerd.snapshotter") {
        skipped("this Docker engine keeps images in containerd, and is sent all layers");
        return;
    }
    let sandbox = locked();
    // Nobody else's layers: a base of its own.
    for architecture in ["amd64", "arm64"] {
        let mut bytes = fs_err::read(sandbox.path(&format!("base-{architecture}.tar"))).unwrap();
        // Without the end of the archive.
        bytes.truncate(bytes.len() - 1024);
        let mut base = tar::Builder::new(bytes);
        let unique = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(unique.len() as u64);
        header.set_mode(0o644);
        base.append_data(&mut header, "etc/unique", unique.as_bytes()).unwrap();
        sandbox.write(&format!("base-{architecture}.tar"), &base.into_inner().unwrap());
    }
    let name = InDocker(format!("esker-test-{}:1", std::process::id()));
    let load = || {
        let mut command = sandbox.command(&["build", "tiny", "--output", &format!("docker:{}", name.0)]);
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        let ran = Ran::new(command.output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let format = "{{.Id}} {{len .RootFS.Layers}}";
        let shown = Command::new("docker").args(["image", "inspect", "--format", format, &name.0]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let (id, layers) = shown.trim().split_once(' ').unwrap();
        let layout = Layout::open(sandbox.path("project/.esker/images/tiny")).unwrap();
        let image = layout.image(esker::oci::Platform::host().unwrap()).unwrap();
        assert_eq!((id, layers), (image.config_digest.to_string().as_str(), image.layers.len().to_string().as_str()));
        ran.stderr
    };
    assert!(!load().contains("which had"));
    // The same once more: nothing is sent but its configuration.
    let again = load();
    assert!(again.contains("which had "), "{again}");
    // What starts the image is in its last layer, so all below it is there.
    sandbox.write("project/tiny/start", b"#!/bin/sh\nexec \"$@\"\n");
    let changed = load();
    let (present, all) = changed.split_once("which had ").unwrap().1.split_once(" of its ").unwrap();
    let all: usize = all.split_once(' ').unwrap().0.parse().unwrap();
    assert_eq!(present.parse::<usize>().unwrap() + 1, all, "{changed}");
}
