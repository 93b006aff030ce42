//! A real JupyterHub starts a real single-user server in the image, and a user logs in.
//!
//! The hub comes from PyPI, its proxy (`configurable-http-proxy`) from Debian. Everything listens on loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::common::{judges, skipped};
use crate::real::{Project, host, run, text, usable};

const PASSWORD: &str = "for-this-test";
const USER: &str = "ada";
/// Where Debian's proxy finds its modules, also where `node` is not Debian's.
const NODE_PATH: &str = "NODE_PATH=/usr/share/nodejs:/usr/lib/nodejs";
/// How long the hub may take to end, its users' servers with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hub, which is ended when dropped, and an image and containers of this test in Docker, which are removed.
struct Hub {
    process: Child,
    name: String,
    log: PathBuf,
}

impl Hub {
    fn start(home: &Path, image: &str, folder: &Path) -> (Self, u16) {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/path/hub/jupyterhub_config.py");
        let log = folder.join("hub.log");
        let output = fs_err::File::create(&log).unwrap();
        // Held all at once, so that they differ.
        let ports = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = ports.map(|listener| listener.local_addr().unwrap().port());
        let mut command = Command::new("env");
        command
            .args([NODE_PATH, "python3", "-m", "jupyterhub", "-f", text(&config)])
            .current_dir(folder)
            .env("PYTHONPATH", home);
        for (name, port) in ["HUB_PORT", "HUB_OWN_PORT", "HUB_PROXY_PORT"].iter().zip(ports) {
            command.env(name, port.to_string());
        }
        command.env("HUB_IMAGE", image).env("HUB_CONTAINERS", image.replace(':', "-")).env("HUB_PASSWORD", PASSWORD);
        command.stdin(Stdio::null()).stderr(output.into_parts().0).stdout(Stdio::null());
        (Self { process: command.spawn().unwrap(), name: image.to_owned(), log }, ports[0])
    }

    fn log(&self) -> String {
        fs_err::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // It ends its proxy and its users' servers itself.
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap_or_default();
        let begin = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) {
            if begin.elapsed() > PATIENCE {
                drop(self.process.kill());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let container = format!("{}-{USER}", self.name.replace(':', "-"));
        drop(Command::new("docker").args(["rm", "--force", "--volumes", &container]).output());
        drop(Command::new("docker").args(["image", "rm", &self.name]).output());
    }
}

#[test]
fn a_hub_starts_the_image_for_a_user_who_logs_in() {
    if !usable("docker", &["version"]) || !usable("env", &[NODE_PATH, "configurable-http-proxy", "--version"]) {
        return;
    }
    let Some(home) = judges::installed("jupyterhub", &["jupyterhub"]) else { return };
    let Some(project) = Project::new() else { return };
    project.ok(&["lock"]);
    let image = format!("esker-hub-{}:test", std::process::id());
    project.build(&["--platform", &host(), "--output", &format!("docker:{image}")]);
    if !run("docker", &["info", "--format", "{{.OSType}}"]).contains("linux") {
        return skipped("the Docker engine runs no Linux containers");
    }
    let (hub, port) = Hub::start(&home, &image, &project.path(""));

    let visit = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/path/hub/visit.py");
    let address = format!("http://127.0.0.1:{port}");
    let output = Command::new("python3").args([text(&visit), &address, USER, PASSWORD]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let faults = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{faults}\n{}", hub.log());
    let status: Value = serde_json::from_str(&said).unwrap();
    assert!(status["started"].is_string(), "{status}");
    assert!(hub.log().contains(&format!("User logged in: {USER}")), "{}", hub.log());
}
