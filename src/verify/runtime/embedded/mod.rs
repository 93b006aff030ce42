//! The embedded runner: containers from nothing but the kernel, as root and as an ordinary user.
//!
//! esker runs itself twice (`outer`, `inner`) under a hidden subcommand and talks to the first by socket. User
//! (unless root), mount, PID, IPC and UTS namespaces are always new; the network namespace is new, and empty, unless
//! a server must be reached. There are no cgroups: a container is limited by its time alone.
//!
//! An ordinary user has one user id to give. All files of the image belong to it, and appear in the container as the
//! image's user's; owners are checked from the layers instead, where they are true.

mod image;
mod inner;
mod kept;
mod loopback;
mod outer;
mod privilege;
mod protocol;
mod rootfs;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;

pub use image::UnpackedImage;
pub use kept::Key;
pub use privilege::{binfmt_handler, can_run};
pub use protocol::Privilege;

use self::protocol::{Blame, Channel, Event, Failure, Request, Spec, to_line};
use super::error::Obstacle;
use super::running::Stop;
use super::{
    Command, ContainerRuntime, Error, Exit, Network, Program, Running, RuntimeKind, Tail, free_port, loopback,
};

/// The hidden subcommand of the `esker` program that [`runner_main`] implements.
pub const SUBCOMMAND: &str = "__run-container";
const OUTER: &str = "outer";
const INNER: &str = "inner";

/// The hidden subcommand's body; `args` is what follows [`SUBCOMMAND`]. To be called while the process has one thread.
pub fn runner_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let stage = args.into_iter().next().unwrap_or_default();
    let (Ok(control), Ok(report)) = (Channel::from_stdin(), Channel::from_stdin()) else { return ExitCode::FAILURE };
    let event = match stage.to_str() {
        Some(OUTER) => outer::run(control),
        Some(INNER) => inner::run(control),
        _ => None,
    };
    match event.map(|event| report.send(&event)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs containers of one unpacked image.
#[derive(Debug)]
pub struct Embedded {
    image: UnpackedImage,
    /// The esker program; another one only in tests, which are no esker themselves.
    program: PathBuf,
}

impl Embedded {
    /// Runs containers of `image`. `program` is an `esker` that knows [`SUBCOMMAND`]; by default this process's own.
    pub fn new(image: UnpackedImage, program: Option<&Path>) -> Self {
        Self { image, program: program.unwrap_or(Path::new("/proc/self/exe")).to_owned() }
    }

    fn spec(&self, command: &Command) -> Spec {
        let config = &self.image.config;
        let argv = match &command.program {
            Program::Default => [&config.entrypoint[..], &config.cmd].concat(),
            Program::Arguments(arguments) => [&config.entrypoint[..], arguments].concat(),
            Program::Instead(argv) => argv.clone(),
        };
        Spec {
            directory: self.image.directory().to_owned(),
            privilege: self.image.privilege,
            argv,
            env: config.env.iter().chain(&command.env).cloned().collect(),
            cwd: config.working_dir.clone(),
            owner: command.user.unwrap_or(self.image.owner),
            volume: command.volume_over_home.then(|| config.variable("HOME").unwrap_or("/home/jovyan").to_owned()),
            read_only: command.read_only,
            mounts: command.mounts.clone(),
            network: command.network,
            hostname: "esker".to_owned(),
        }
    }

    fn spawn(&self, control: StdUnixStream) -> Result<Child, Error> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args([SUBCOMMAND, OUTER]).env_clear().kill_on_drop(true);
        command.stdin(Stdio::from(OwnedFd::from(control))).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for esker, which then ends its containers.
        command.process_group(0);
        command.spawn().map_err(|source| Error::Runner { program: self.program.clone(), source })
    }

    fn launch(&self, command: &Command) -> Result<Running, Error> {
        let runner = |source| Error::Runner { program: self.program.clone(), source };
        let (ours, theirs) = StdUnixStream::pair().map_err(runner)?;
        ours.set_nonblocking(true).map_err(runner)?;
        let control = UnixStream::from_std(ours).map_err(runner)?;
        let child = self.spawn(theirs)?;
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let (requests, received) = mpsc::unbounded_channel();
        let container = Container { child, control, spec: self.spec(command), requests: received };
        let task = tokio::spawn(container.supervise(stdout.clone(), stderr.clone()));
        let address = match command.network {
            Network::Reachable(port) => Some(loopback(port)),
            Network::None => None,
        };
        Ok(Running::new(address, stdout, stderr, requests, task))
    }
}

impl ContainerRuntime for Embedded {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Embedded
    }

    fn listen(&self) -> Result<SocketAddr, Error> {
        free_port().map(loopback)
    }

    fn start<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Running, Error>> {
        Box::pin(async move { self.launch(command) })
    }
}

/// A container in the hands of the task that owns it.
struct Container {
    child: Child,
    control: UnixStream,
    spec: Spec,
    requests: mpsc::UnboundedReceiver<Stop>,
}

impl Container {
    async fn supervise(mut self, stdout: Tail, stderr: Tail) -> Result<Exit, Error> {
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let (out, err) = (out.expect("was asked to be piped"), err.expect("was asked to be piped"));
        // The pipes close with the last process of the container, as stage one ends after it.
        let (_, _, exit) = tokio::join!(stdout.fill(out), stderr.fill(err), self.converse());
        exit
    }

    async fn converse(mut self) -> Result<Exit, Error> {
        let (events, mut requests) = self.control.into_split();
        let mut events = BufReader::new(events).lines();
        // If this fails, stage one is dead, and there is no event to come.
        requests.write_all(&to_line(&self.spec)).await.unwrap_or_default();
        let mut requests = Some(requests);
        let event = loop {
            tokio::select! {
                line = events.next_line() => break line.ok().flatten(),
                stop = self.requests.recv(), if requests.is_some() => match (stop, &mut requests) {
                    (Some(Stop::Terminate), Some(to)) => {
                        to.write_all(&to_line(&Request::Terminate)).await.unwrap_or_default();
                    }
                    // Closing the socket is what kills: as it does when esker dies.
                    _ => requests = None,
                },
            }
        };
        self.child.wait().await.map_err(|_| Error::Lost)?;
        match event.and_then(|line| serde_json::from_str(&line).ok()) {
            Some(Event::Exited(exit)) => Ok(exit),
            Some(Event::Failed(failure)) => Err(refusal(&failure, self.spec.privilege)),
            Some(Event::Ready) | None => Err(Error::Lost),
        }
    }
}

/// Tells an image that cannot be set up from a machine that cannot do it, and that from one that forbids it.
fn refusal(failure: &Failure, privilege: Privilege) -> Error {
    let (step, source) = (failure.step.clone(), failure.source());
    // ENOSPC is how the kernel says that there are too many namespaces.
    let forbidden = matches!(source.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::StorageFull);
    match failure.blame {
        Blame::Image => Error::Setup { step, source },
        Blame::Machine if forbidden => {
            let why = (privilege == Privilege::User).then(Obstacle::find).flatten();
            Error::NotPermitted { step, why, source }
        }
        Blame::Machine => Error::Machine { step, source },
    }
}
