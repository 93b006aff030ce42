//! Running an image through the Docker engine.

use std::collections::HashMap;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use super::config::HUB_USER;
use super::{
    Command, ContainerConfig, ContainerRuntime, Error, Exit, Network, Program, Running, RuntimeKind, Stop, Tail,
};
use crate::docker::{Container, Engine, Outputs};

/// The port that images announce.
const PORT: u16 = 8888;

/// Runs containers of one image that the engine has.
#[derive(Clone, Debug)]
pub struct Docker {
    engine: Engine,
    image: String,
    config: ContainerConfig,
}

impl Docker {
    /// Runs containers of `image`, a name or id the engine knows, which has the configuration `config`.
    pub const fn new(engine: Engine, image: String, config: ContainerConfig) -> Self {
        Self { engine, image, config }
    }

    fn container(&self, command: &Command) -> Container {
        let (entrypoint, cmd) = match &command.program {
            Program::Default => (None, None),
            Program::Arguments(arguments) => (None, Some(arguments.clone())),
            Program::Instead(argv) => (Some(argv.clone()), None),
        };
        let home = self.config.variable("HOME").unwrap_or("/home/jovyan").to_owned();
        let (uid, gid) = command.user.unwrap_or(HUB_USER);
        let volume = command.volume_over_home.then(|| (home, format!("mode=0755,uid={uid},gid={gid}")));
        let tmp = command.read_only.then(|| ("/tmp".to_owned(), "mode=1777".to_owned()));
        Container {
            image: self.image.clone(),
            entrypoint,
            cmd,
            env: command.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            user: (self.config.is_root() || command.user.is_some()).then(|| format!("{uid}:{gid}")),
            tmpfs: volume.into_iter().chain(tmp).collect::<HashMap<_, _>>(),
            read_only: command.read_only,
            binds: command.mounts.iter().map(|mount| (mount.source.clone(), mount.target.clone())).collect(),
            gpus: command.gpus,
            port: match command.network {
                Network::Reachable(port) => Some(port),
                Network::None => None,
            },
        }
    }

    async fn launch(&self, command: &Command) -> Result<Running, Error> {
        let container = self.container(command);
        let reachable = container.port.is_some();
        let id = self.engine.create(container).await?;
        let guard = Created { engine: self.engine.clone(), id };
        let (outputs, address) = match guard.start(reachable).await {
            Ok(started) => started,
            Err(error) => {
                guard.remove().await;
                return Err(match error {
                    crate::docker::Error::NotExecutable(_) => {
                        let step = "execute the program".to_owned();
                        Error::Setup { step, source: std::io::Error::other(error) }
                    }
                    error => Error::Docker(error),
                });
            }
        };
        let (stdout, stderr) = (Tail::default(), Tail::default());
        let (requests, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(guard.supervise(received, outputs, stdout.clone(), stderr.clone()));
        Ok(Running::new(address, stdout, stderr, requests, task))
    }
}

impl ContainerRuntime for Docker {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn listen(&self) -> Result<SocketAddr, Error> {
        Ok(SocketAddr::from(([0, 0, 0, 0], PORT)))
    }

    fn start<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Running, Error>> {
        Box::pin(self.launch(command))
    }
}

/// A container of ours in the engine.
struct Created {
    engine: Engine,
    id: String,
}

impl Created {
    async fn start(&self, reachable: bool) -> Result<(Outputs, Option<SocketAddr>), crate::docker::Error> {
        let outputs = self.engine.attach(&self.id).await?;
        self.engine.start(&self.id).await?;
        let address = if reachable { Some(self.engine.published(&self.id).await?) } else { None };
        Ok((outputs, address))
    }

    async fn supervise(
        self,
        requests: mpsc::UnboundedReceiver<Stop>,
        outputs: Outputs,
        stdout: Tail,
        stderr: Tail,
    ) -> Result<Exit, Error> {
        let logs = outputs.copy(|bytes| stdout.push(bytes), |bytes| stderr.push(bytes));
        let ((), code) = tokio::join!(logs, self.serve(requests));
        self.remove().await;
        Ok(Exit::Code(i32::try_from(code?).unwrap_or(i32::MAX)))
    }

    /// Does what is asked until the container has ended.
    async fn serve(&self, mut requests: mpsc::UnboundedReceiver<Stop>) -> Result<i64, crate::docker::Error> {
        let mut ended = std::pin::pin!(self.engine.wait(&self.id));
        loop {
            let signal = tokio::select! {
                code = &mut ended => return code,
                stop = requests.recv() => stop.unwrap_or(Stop::Kill),
            };
            // An engine refuses to signal what has just ended.
            match signal {
                Stop::Terminate => self.engine.kill(&self.id, "SIGTERM").await.unwrap_or_default(),
                Stop::Kill => {
                    self.engine.kill(&self.id, "SIGKILL").await.unwrap_or_default();
                    return ended.await;
                }
            }
        }
    }

    /// Removes the container. That it is gone already is fine.
    async fn remove(&self) {
        self.engine.remove(&self.id).await.unwrap_or_default();
    }
}
