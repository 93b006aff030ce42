//! A BuildKit daemon that gives images away: that of a Docker engine which keeps its images in containerd, started for
//! this test alone. Needs root and a `dockerd` of version 25 or later with its `containerd`, on the `PATH` or in the folders
//! that `ESKER_TEST_DOCKERD` names.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use esker::oci::{Platform, validate};

use crate::common::{judges, skipped};
use crate::daemon::STAND_IN;
use crate::hosts::program;
use crate::project::{Project, host};
use crate::registry::RealRegistry;

/// The first version whose BuildKit exports images.
const SINCE: u32 = 25;

/// A network bridge for the engine. With none it would remove `docker0`, whoever's that is.
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        let number = std::process::id() % 250;
        let bridge = Self(format!("esker{number}"));
        // From the range that is for tests of networks (RFC 2544).
        let address = format!("198.18.{number}.1/24");
        for arguments in [
            vec!["link", "add", "name", &bridge.0, "type", "bridge"],
            vec!["address", "add", &address, "dev", &bridge.0],
            vec!["link", "set", &bridge.0, "up"],
        ] {
            assert!(Command::new("ip").args(&arguments).status().unwrap().success(), "{arguments:?}");
        }
        bridge
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["link", "delete", &self.0]).status());
    }
}

/// A Docker engine of its own, with its files in a folder of the test.
struct Dockerd {
    process: Child,
    socket: PathBuf,
    _bridge: Bridge,
}

impl Dockerd {
    /// Starts it; `None`, said to be skipped, where that is not possible.
    fn start(folder: &Path) -> Option<Self> {
        // In the form of `PATH`, before it.
        let given = std::env::var_os("ESKER_TEST_DOCKERD").unwrap_or_default();
        let usual = std::env::var_os("PATH").unwrap();
        let programs = std::env::split_paths(&given).chain(std::env::split_paths(&usual));
        let path = std::env::join_paths(programs.filter(|folder| folder.is_absolute())).unwrap();
        let version = Command::new("dockerd").arg("--version").env("PATH", &path).output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let number = version.strip_prefix("Docker version ").and_then(|rest| rest.split('.').next()?.parse().ok());
        if number.is_none_or(|number: u32| number < SINCE) || !nix::unistd::geteuid().is_root() {
            skipped(&format!("no `dockerd` of version {SINCE} or later can be started (`ESKER_TEST_DOCKERD`)"));
            return None;
        }
        fs_err::create_dir_all(folder).unwrap();
        let config = r#"{"features": {"containerd-snapshotter": true}, "storage-driver": "overlayfs"}"#;
        fs_err::write(folder.join("daemon.json"), config).unwrap();
        let socket = folder.join("docker.sock");
        let bridge = Bridge::new();
        let file = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
        let log = fs_err::File::create(folder.join("log")).unwrap();
        let process = Command::new("dockerd")
            .args([file("config-file", "daemon.json"), file("data-root", "data"), file("exec-root", "exec")])
            .args([file("pidfile", "pid"), format!("--host=unix://{}", socket.display())])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"])
            .arg(format!("--bridge={}", bridge.0))
            .env("PATH", path)
            .stdout(Stdio::null())
            .stderr(log.into_parts().0)
            .spawn()
            .unwrap();
        let mut dockerd = Self { process, socket, _bridge: bridge };
        let begin = Instant::now();
        while std::os::unix::net::UnixStream::connect(&dockerd.socket).is_err() {
            let log = || fs_err::read_to_string(folder.join("log")).unwrap();
            assert!(dockerd.process.try_wait().unwrap().is_none(), "{}", log());
            assert!(begin.elapsed() < Duration::from_secs(60), "{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(dockerd)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // It ends its containerd itself, if it is asked to end.
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn a_daemon_builds_images_and_images_on_them() {
    if judges::python().is_none() {
        return skipped("there is no Python");
    }
    // The step that runs something needs no network, and the engine's daemon has none.
    let below = "ARG BASE\nFROM ${BASE}\nUSER root\nRUN --network=none mkdir /made\nCOPY note /made/note\n";
    let project = Project::new("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY note /made/above\n");
    let Some(dockerd) = Dockerd::start(&project.path("dockerd")) else { return };
    fs_err::create_dir_all(project.path("registry")).unwrap();
    let registry = RealRegistry::start(&project.path("registry"));
    program(&project, "bin/docker", &STAND_IN.replace("/var/run/docker.sock", dockerd.socket.to_str().unwrap()));
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
    let variables = [("PATH", path.as_str())];

    // The base is an image in a registry.
    project.environment("base", &["certs"]);
    project.ok(&["lock", "base"]);
    project.ok(&["build", "base", "--engine", "native"]);
    project.ok(&["push", "base", &format!("{}/base:1", registry.address)]);
    project.write("project/tiny/note", b"a note\n");
    project.write("project/base-image/note", b"below\n");
    project.write("project/base-image/Dockerfile", below.as_bytes());
    project.environment("base-image", &["certs"]);
    let settings = format!(
        "engine: docker\nregistry: {0}/built\nbase: {0}/base:1\nbuildkitd: docker-container://buildkitd\n",
        registry.address
    );
    project.write("project/esker.yml", settings.as_bytes());
    project.ok(&["lock"]);

    let build = |image: &str, more: &[&str]| {
        let mut command = project.command(&["build", image, "--json"]);
        let ran = crate::common::Ran::new(command.args(more).envs(variables).output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let layout = esker::oci::Layout::open(project.path("project/.esker/images").join(image)).unwrap();
        validate(&layout).unwrap();
        (report["images"][0]["digest"].as_str().unwrap().to_owned(), layout, ran.stderr)
    };
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let platforms: &[&str] = match esker::verify::runtime::embedded::can_run(Platform::LinuxArm64) {
        Ok(()) if host() == Platform::LinuxAmd64 => &both,
        _ => &["--platform", if host() == Platform::LinuxAmd64 { "linux/amd64" } else { "linux/arm64" }],
    };
    let (digest, layout, said) = build("base-image", platforms);
    let entries = layout.index().unwrap();
    let documents = entries.manifests().iter().filter(|entry| entry.artifact_type().is_some()).count();
    assert_eq!(documents, 2 * layout.images().unwrap().len() + 1, "two SBOMs each, and the provenance of all");
    assert!(said.contains("RUN --network=none mkdir /made"), "{said}");
    let (again, _, _) = build("base-image", &[platforms, &["--no-cache"]].concat());
    assert_eq!(digest, again);
    let reference = esker::oci::reference::parse(&format!("{}/built/base-image:latest", registry.address)).unwrap();
    project.ok(&["push", "base-image"]);
    assert_eq!(reference.repository(), "built/base-image");

    let (_, above, _) = build("tiny", platforms);
    for image in above.images().unwrap() {
        let lower = layout.image(image.platform).unwrap();
        let digests = |layers: &[esker::oci::Layer]| layers.iter().map(|layer| layer.digest).collect::<Vec<_>>();
        assert_eq!(digests(&image.layers)[..lower.layers.len()], digests(&lower.layers), "as they were pushed");
        let files = esker::oci::read_files(&image, &above, |path: &str| path.starts_with("made/")).unwrap();
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
        assert_eq!(files, [("made/above", &b"a note\n"[..]), ("made/note", b"below\n")]);
    }
}
