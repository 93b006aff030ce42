//! Running an image through Podman, as root and as an ordinary user.
//!
//! A container is created, started with its outputs attached, and removed: three commands, so that one which never
//! started is told from one whose program ended with the same exit code.

mod containers;
mod image;
mod program;

use std::net::SocketAddr;

use futures::future::BoxFuture;
use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::mpsc;

pub use program::Error as PodmanError;

use self::containers::{Created, Traces};
use self::program::Program;
use super::config::HUB_USER;
use super::{
    Command, ContainerConfig, ContainerRuntime, Error, Mount, Network, Program as Runs, Running, RuntimeKind, Tail,
    free_port, loopback,
};

/// The port that images announce.
const PORT: u16 = 8888;
/// The most open files and processes that containers get: Podman's own figures, which it cannot always set itself.
const LIMITS: [(Resource, &str, u64); 2] =
    [(Resource::RLIMIT_NOFILE, "nofile", 1 << 20), (Resource::RLIMIT_NPROC, "nproc", 1 << 15)];

/// Runs containers of one image that Podman has. What it brought into Podman's store goes when it is dropped.
#[derive(Debug)]
pub struct Podman {
    program: Program,
    /// The image's id.
    image: String,
    config: ContainerConfig,
    traces: Traces,
}

impl Podman {
    /// The arguments that create the container `name`; `port` is where its server is to be reached from here.
    fn create(&self, command: &Command, name: &str, port: Option<u16>) -> Vec<String> {
        let fixed = ["--pull=never", "--cap-drop=all", "--security-opt=no-new-privileges", "--http-proxy=false"];
        let mut arguments = vec!["create".to_owned(), format!("--name={name}")];
        arguments.extend(fixed.iter().chain(&["--systemd=false", "--log-driver=none"]).map(|&flag| flag.to_owned()));
        arguments.extend(limits());
        arguments.push(match (command.network, port) {
            (Network::Reachable(inside), Some(outside)) => format!("--publish=127.0.0.1:{outside}:{inside}"),
            _ => "--network=none".to_owned(),
        });
        if let Some((uid, gid)) = command.user.or(self.config.is_root().then_some(HUB_USER)) {
            arguments.push(format!("--user={uid}:{gid}"));
        }
        if command.volume_over_home {
            // U: owned by the container's user. Podman would copy what the image has there into it.
            let home = self.config.variable("HOME").unwrap_or("/home/jovyan");
            arguments.push(format!("--tmpfs={home}:mode=0755,notmpcopyup,U"));
        }
        if command.read_only {
            // With a tmpfs on /tmp, /run and /var/tmp.
            arguments.push("--read-only".to_owned());
        }
        if command.gpus {
            arguments.push("--device=nvidia.com/gpu=all".to_owned());
        }
        if !command.mounts.is_empty() {
            // Relabelling this machine's files for SELinux would be a change to them.
            arguments.push("--security-opt=label=disable".to_owned());
        }
        arguments.extend(command.mounts.iter().map(bind));
        arguments.extend(command.env.iter().map(|(variable, value)| format!("--env={variable}={value}")));
        match &command.program {
            Runs::Default => arguments.push(self.image.clone()),
            Runs::Arguments(words) => {
                arguments.push(self.image.clone());
                arguments.extend_from_slice(words);
            }
            Runs::Instead(argv) => {
                let (first, rest) = argv.split_at(argv.len().min(1));
                arguments.push(format!("--entrypoint={}", serde_json::json!(first)));
                arguments.push(self.image.clone());
                arguments.extend_from_slice(rest);
            }
        }
        arguments
    }

    async fn launch(&self, command: &Command) -> Result<Running, Error> {
        let port = match command.network {
            Network::Reachable(_) => Some(free_port()?),
            Network::None => None,
        };
        let created = Created::new(&self.program, &self.traces);
        let attached = created.start(&self.create(command, created.name(), port)).await;
        let child = match attached {
            Ok(child) => child,
            Err(error) => {
                created.remove().await;
                return Err(error.into());
            }
        };
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let (requests, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(created.supervise(child, received, stdout.clone(), stderr.clone()));
        Ok(Running::new(port.map(loopback), stdout, stderr, requests, task))
    }
}

impl ContainerRuntime for Podman {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Podman
    }

    fn listen(&self) -> Result<SocketAddr, Error> {
        Ok(SocketAddr::from(([0, 0, 0, 0], PORT)))
    }

    fn start<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Running, Error>> {
        Box::pin(self.launch(command))
    }
}

/// What containers may use, within what this process may: Podman asks for more, and is refused where it has not the right
/// to raise its own limits.
fn limits() -> Vec<String> {
    let known = LIMITS.iter().filter_map(|(resource, name, most)| {
        let (_, hard) = getrlimit(*resource).ok()?;
        let limit = hard.min(*most);
        Some(format!("--ulimit={name}={limit}:{limit}"))
    });
    known.collect()
}

/// A read-only bind mount. Podman reads its fields as CSV.
fn bind(mount: &Mount) -> String {
    let field = |text: String| match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    };
    let (source, target) = (format!("source={}", mount.source.display()), format!("target={}", mount.target));
    format!("--mount=type=bind,{},{},ro=true", field(source), field(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_commas_are_quoted() {
        let mount = |source: &str| bind(&Mount { source: source.into(), target: "/t".into() });
        assert_eq!(mount("/a b"), "--mount=type=bind,source=/a b,target=/t,ro=true");
        assert_eq!(mount("/a,\"b"), "--mount=type=bind,\"source=/a,\"\"b\",target=/t,ro=true");
    }

    #[test]
    fn limits_are_never_above_what_this_process_may() {
        for (limit, (resource, name, most)) in limits().iter().zip(LIMITS) {
            let (_, hard) = getrlimit(resource).unwrap();
            let numbers = limit.strip_prefix(&format!("--ulimit={name}=")).unwrap();
            let (soft, again) = numbers.split_once(':').unwrap();
            assert!(soft == again && soft.parse::<u64>().unwrap() <= hard.min(most), "{limit}");
        }
    }
}
