//! Running an image through the Docker engine.

mod traces;

use std::collections::HashMap;
use std::net::SocketAddr;

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use self::traces::{Known, Trace, Traces};
use super::config::HUB_USER;
use super::{
    Command, ContainerConfig, ContainerRuntime, Error, Exit, Network, Program, Running, RuntimeKind, Stop, Tail,
};
use crate::docker::{self, Container, Engine, Outputs, Setting};
use crate::oci::{Image, Layout};
use crate::progress::{Progress, Task, Unit};

/// The port that images announce.
const PORT: u16 = 8888;

/// Runs containers of one image that the engine has. What it brought there goes when it is dropped.
#[derive(Debug)]
pub struct Docker {
    engine: Engine,
    /// Its name or id in the engine.
    image: String,
    config: ContainerConfig,
    traces: Traces,
}

impl Docker {
    /// Sees that the engine that `setting` leads to has `image` of `layout`, which has the configuration `config`.
    ///
    /// # Errors
    /// [`Error::Docker`] and [`Error::Image`].
    pub async fn prepare(
        setting: &Setting,
        image: &Image,
        layout: &Layout,
        config: ContainerConfig,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let engine = Engine::connect(setting).await?;
        let traces = Traces::new(setting);
        let id = image.config_digest.to_string();
        if engine.has_image(&id).await? {
            return Ok(Self { engine, image: id, config, traces });
        }
        let _task = Task::start(progress, "loading the image into Docker", None, Unit::Bytes);
        let tag = format!("esker-verify:{}", &image.config_digest.hex()[..12]);
        let image = traces.load(&engine, layout, image, &tag).await.map_err(|error| match error {
            docker::Error::Image(unreadable) => Error::Image(unreadable),
            refused => refused.into(),
        })?;
        Ok(Self { engine, image, config, traces })
    }

    fn container(&self, command: &Command, name: &str) -> Container {
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
            name: name.to_owned(),
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
        let (name, trace) = Trace::of_container();
        let container = self.container(command, &name);
        let reachable = container.port.is_some();
        self.traces.create(&self.engine, container, &trace).await?;
        let guard = Created { engine: self.engine.clone(), id: name, trace, known: self.traces.known() };
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
    /// Its name.
    id: String,
    trace: Trace,
    known: Known,
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

    /// Removes the container. That it is gone already is fine; one that stays is tried again at the end.
    async fn remove(&self) {
        if self.engine.remove(&self.id).await.is_ok() {
            self.known.forget(&self.trace);
        }
    }
}
