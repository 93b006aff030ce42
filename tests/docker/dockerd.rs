//! A Docker engine that keeps its images in containerd, started for one test: its BuildKit daemon gives images away. Needs
//! root and a `dockerd` of version 25 or later with its `containerd`, on the `PATH` or in the folders that
//! `ESKER_TEST_DOCKERD` names.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::skipped;
use crate::daemon::STAND_IN;
use crate::hosts::program;
use crate::project::Project;

/// A builder in a pod, which `kubectl` reaches.
pub const POD: &str = "kube-pod://buildkitd-0?namespace=ci";
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
pub struct Dockerd {
    process: Child,
    socket: PathBuf,
    _bridge: Bridge,
}

impl Dockerd {
    /// Starts it; `None`, said to be skipped, where that is not possible.
    pub fn start(folder: &Path) -> Option<Self> {
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

    /// Makes it the daemon of `docker-container://buildkitd` and of [`POD`], by programs in the project's `bin`.
    pub fn stand_in(&self, project: &Project) {
        let script = STAND_IN.replace("/var/run/docker.sock", self.socket.to_str().unwrap());
        let words = r#"["exec", "-i", "buildkitd", "buildctl", "dial-stdio"]"#;
        assert!(script.contains(words));
        let in_pod = r#"["--namespace=ci", "exec", "-i", "buildkitd-0", "--", "buildctl", "dial-stdio"]"#;
        program(project, "bin/docker", &script);
        program(project, "bin/kubectl", &script.replace(words, in_pod));
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
