//! Running programs in an image: the seam between the embedded runner, the Docker engine and Podman.

pub mod config;
pub mod docker;
pub mod embedded;
mod error;
pub mod podman;
mod prepare;
mod recorded;
mod running;
mod tail;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use config::ContainerConfig;
pub use error::Error;
pub use podman::PodmanError;
pub use prepare::{Preparation, Prepared};
pub use recorded::Recorded;
pub use running::{Output, Running, Stop};
pub use tail::Tail;

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// esker itself: no daemon and no other program.
    #[default]
    Embedded,
    /// The local Docker engine.
    Docker,
    /// Podman, by its program.
    Podman,
}

impl RuntimeKind {
    /// Its name, as in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Whether its containers can be given GPUs: an engine has a hook for the driver's files and devices.
    pub const fn has_gpus(self) -> bool {
        match self {
            Self::Embedded => false,
            Self::Docker | Self::Podman => true,
        }
    }
}

/// A place where one platform of one image is ready to run.
pub trait ContainerRuntime: Send + Sync {
    /// Which runtime this is.
    fn kind(&self) -> RuntimeKind;

    /// Address and port, as seen in the container, where a server must listen to be reached from here.
    ///
    /// # Errors
    /// When no port is free.
    fn listen(&self) -> Result<SocketAddr, Error>;

    /// Starts a program in a container of its own, that shares nothing with other containers of the image.
    fn start<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Running, Error>>;
}

impl dyn ContainerRuntime + '_ {
    /// Runs a program to its end, or kills it and all that it started when `timeout` has passed.
    ///
    /// # Errors
    /// When it cannot be run; a program that fails is no error here.
    pub async fn run(&self, command: &Command, timeout: Duration) -> Result<Output, Error> {
        self.start(command).await?.wait(timeout).await
    }
}

/// A program to run in a container.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program.
    pub program: Program,
    /// Environment variables over those of the image.
    pub env: Vec<(String, String)>,
    /// Whether an empty volume of the user's is laid over `HOME`, as hubs do.
    pub volume_over_home: bool,
    /// The network it sees.
    pub network: Network,
    /// User and group in the place of the image's.
    pub user: Option<(u32, u32)>,
    /// Whether nothing can be written but `/tmp`, `/dev/shm` and the volume over `HOME`.
    pub read_only: bool,
    /// Directories of this machine that it sees.
    pub mounts: Vec<Mount>,
    /// Whether it gets all of this machine's GPUs. The embedded runner has none to give: see
    /// [`RuntimeKind::has_gpus`].
    pub gpus: bool,
}

/// A directory of this machine, to be seen but not written in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is, absolute. Everybody must be able to read it, as the container's user is somebody else.
    pub source: PathBuf,
    /// Where it is seen, absolute; made if it is not there.
    pub target: String,
}

/// Which program a container runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The image's entrypoint and its command: what `docker run IMAGE` does.
    Default,
    /// The image's entrypoint with other arguments: what KubeSpawner does.
    Arguments(Vec<String>),
    /// Another program in the place of the entrypoint.
    Instead(Vec<String>),
}

/// What network a container sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// None at all.
    None,
    /// One that lets a server on this port (see [`ContainerRuntime::listen`]) be reached from here. The embedded
    /// runner shares the host's network: a port of its own would need a privileged helper.
    Reachable(u16),
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed because its time was up.
    TimedOut,
}

impl Exit {
    /// Whether it ended well.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("killed when its time was up"),
        }
    }
}

impl Command {
    /// `program` with the image's environment, a HOME of the image's, and no network.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            env: Vec::new(),
            volume_over_home: false,
            network: Network::None,
            user: None,
            read_only: false,
            mounts: Vec::new(),
            gpus: false,
        }
    }

    /// The image's entrypoint with `arguments`.
    pub fn arguments<S: Into<String>>(arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(Program::Arguments(arguments.into_iter().map(Into::into).collect()))
    }

    /// `argv` in the place of the entrypoint.
    pub fn instead<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self::new(Program::Instead(argv.into_iter().map(Into::into).collect()))
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with an empty volume over `HOME`.
    #[must_use]
    pub fn over_empty_home(mut self) -> Self {
        self.volume_over_home = true;
        self
    }

    /// The same with a server on `port` that can be reached.
    #[must_use]
    pub fn reachable_at(mut self, port: u16) -> Self {
        self.network = Network::Reachable(port);
        self
    }

    /// The same with another user and group than the image's.
    #[must_use]
    pub fn as_user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// The same with the image's files read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The same with the directory `source` of this machine at `target`, read-only.
    #[must_use]
    pub fn mount(mut self, source: &Path, target: &str) -> Self {
        self.mounts.push(Mount { source: source.to_owned(), target: target.to_owned() });
        self
    }

    /// The same with this machine's GPUs.
    #[must_use]
    pub fn with_gpus(mut self) -> Self {
        self.gpus = true;
        self
    }
}

/// A port of the loopback interface that is free at this moment.
fn free_port() -> Result<u16, Error> {
    let free = std::net::TcpListener::bind(loopback(0)).and_then(|listener| listener.local_addr());
    free.map(|address| address.port()).map_err(Error::NoPort)
}

/// A loopback address with this port.
fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)
}
