//! The Docker engine: the only importer of bollard.
//!
//! No API version is pinned: engines refuse versions newer than their own, and nothing here needs a new one.

mod build;
mod connect;
mod daemon;
mod error;
mod host;
mod image;
mod login;
mod pipe;
mod ssh;
mod steps;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, Mount, MountType, PortBinding};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, ImportImageOptions, KillContainerOptionsBuilder,
    RemoveContainerOptionsBuilder, RemoveImageOptions,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncReadExt;

pub use self::build::{BuildRequest, EngineImage};
pub use self::connect::Builder;
pub use self::daemon::{BuildkitDaemon, DaemonAddress};
pub use self::error::Error;
pub use self::host::{Host, Setting, Ssh};
pub use self::image::{Loaded, Sent};
pub use self::login::{Login, Secret};
pub use self::pipe::{Sink, Source};

/// The outputs of a container.
pub struct Outputs {
    attached: AttachContainerResults,
}

impl Outputs {
    /// Passes them on until the container ends.
    pub async fn copy(mut self, stdout: impl Fn(&[u8]), stderr: impl Fn(&[u8])) {
        while let Some(Ok(output)) = self.attached.output.next().await {
            match output {
                LogOutput::StdErr { message } => stderr(&message),
                LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
                    stdout(&message);
                }
            }
        }
    }
}

/// A connection to a Docker engine.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: bollard::Docker,
    host: Arc<Host>,
    /// Whether BuildKit is to build, if somebody said so.
    buildkit: Option<bool>,
}

/// A container to create. Nobody's root, no capabilities, removed by [`Engine::remove`] alone.
#[derive(Clone, Debug, Default)]
pub struct Container {
    /// Its own name, which no other container has.
    pub name: String,
    /// Id or name of the image.
    pub image: String,
    /// Replaces the image's entrypoint, and empties its command.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub cmd: Option<Vec<String>>,
    /// Environment variables over the image's, `NAME=value`.
    pub env: Vec<String>,
    /// `UID:GID`, if the image's own user is not to be taken.
    pub user: Option<String>,
    /// Directories with an empty tmpfs over them, and its mount options.
    pub tmpfs: HashMap<String, String>,
    /// Whether the image's own files can only be read.
    pub read_only: bool,
    /// Directories of the engine's machine, and where they are seen, read-only.
    pub binds: Vec<(PathBuf, String)>,
    /// Whether it gets all GPUs of the engine's machine.
    pub gpus: bool,
    /// TCP port to publish at a free port of 127.0.0.1; no network without.
    pub port: Option<u16>,
}

impl Engine {
    /// Loads an archive that `docker load` understands and returns the name or id of the image.
    ///
    /// # Errors
    /// [`Error::Archive`], [`Error::Refused`] and [`Error::NothingLoaded`].
    pub async fn load_file(&self, archive: &Path) -> Result<String, Error> {
        let unreadable = |source| Error::Archive { path: archive.to_owned(), source };
        let file = tokio::fs::File::open(archive).await.map_err(unreadable)?;
        self.load(chunks(file)).await
    }

    /// Loads an archive as it is produced; see [`load_file`](Self::load_file).
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::NothingLoaded`].
    pub async fn load(
        &self,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<String, Error> {
        let body = bollard::body_try_stream(archive);
        let answers = self.docker.import_image(ImportImageOptions::default(), body, None);
        let answers: Vec<_> = answers.try_collect().await.map_err(refused("load the image"))?;
        let answer: String = answers.into_iter().filter_map(|info| info.stream).collect();
        loaded_image(&answer).ok_or(Error::NothingLoaded { answer })
    }

    /// Loads the archive that `write` writes, as it does so; `write` runs on a thread of its own. Returns what came of
    /// the loading and what `write` returned: when one side fails, so does the other.
    ///
    /// # Errors
    /// [`Error::Panicked`].
    async fn load_written<T: Send + 'static>(
        &self,
        write: impl FnOnce(Sink) -> T + Send + 'static,
    ) -> Result<(Result<String, Error>, T), Error> {
        let (stream, writing) = pipe::written(write);
        let loaded = self.load(stream).await;
        let written = writing.await.map_err(|_| Error::Panicked)?;
        Ok((loaded, written))
    }

    /// Whether the engine has an image of this name or id.
    ///
    /// # Errors
    /// [`Error::Refused`] for other answers than yes and no.
    pub async fn has_image(&self, image: &str) -> Result<bool, Error> {
        match self.docker.inspect_image(image).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(source) => Err(refused("look for the image")(source)),
        }
    }

    /// Removes an image.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn remove_image(&self, image: &str) -> Result<(), Error> {
        let removed = self.docker.remove_image(image, None::<RemoveImageOptions>, None).await;
        removed.map(drop).map_err(refused("remove the image"))
    }

    /// Creates a container.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn create(&self, container: Container) -> Result<(), Error> {
        let options = CreateContainerOptionsBuilder::new().name(&container.name).build();
        let created = self.docker.create_container(Some(options), create_body(container)).await;
        created.map(drop).map_err(refused("create a container"))
    }

    /// Starts a container.
    ///
    /// # Errors
    /// [`Error::NotExecutable`] when it is the image's fault that it does not start, else [`Error::Refused`].
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        self.docker.start_container(id, None).await.map_err(|source| match source {
            bollard::errors::Error::DockerResponseServerError { status_code: 400 | 404, .. } => {
                Error::NotExecutable(Box::new(source))
            }
            source => refused("start the container")(source),
        })
    }

    /// Where the container's published port can be reached.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::NoPort`].
    pub async fn published(&self, id: &str) -> Result<SocketAddr, Error> {
        let details = self.docker.inspect_container(id, None).await.map_err(refused("inspect the container"))?;
        let ports = details.network_settings.and_then(|settings| settings.ports).unwrap_or_default();
        let binding = ports.into_values().flatten().flatten().find(|binding| binding.host_port.is_some());
        let address = binding.and_then(|binding| {
            format!("{}:{}", binding.host_ip.unwrap_or_default(), binding.host_port.unwrap_or_default()).parse().ok()
        });
        address.ok_or_else(|| Error::NoPort { container: id.to_owned() })
    }

    /// Listens to a container's outputs. To be called before it starts: the engine's logs can lack the end of what a
    /// short program printed.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn attach(&self, id: &str) -> Result<Outputs, Error> {
        let options = AttachContainerOptionsBuilder::new().stream(true).stdout(true).stderr(true).build();
        let attached = self.docker.attach_container(id, Some(options)).await;
        attached.map(|attached| Outputs { attached }).map_err(refused("attach to the container"))
    }

    /// Waits until the container ends, and returns its exit code: 128 and more for signals.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn wait(&self, id: &str) -> Result<i64, Error> {
        match std::pin::pin!(self.docker.wait_container(id, None)).next().await {
            Some(Ok(response)) => Ok(response.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(source)) => Err(refused("wait for the container")(source)),
            None => Ok(0),
        }
    }

    /// Sends a signal (`SIGTERM`) to the container's program.
    ///
    /// # Errors
    /// [`Error::Refused`], also when it has ended.
    pub async fn kill(&self, id: &str, signal: &str) -> Result<(), Error> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.docker.kill_container(id, Some(options)).await.map_err(refused("send a signal to the container"))
    }

    /// Removes a container, running or not, and its volumes.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        self.docker.remove_container(id, Some(options)).await.map_err(refused("remove the container"))
    }
}

fn refused(step: &str) -> impl FnOnce(bollard::errors::Error) -> Error {
    let step = step.to_owned();
    move |source| Error::Refused { step, source: Box::new(source) }
}

fn chunks(file: tokio::fs::File) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = bytes::BytesMut::with_capacity(1 << 20);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

/// Finds the image in an engine's answer: `Loaded image: NAME`, or `Loaded image ID: sha256:…` when it has no name.
fn loaded_image(answer: &str) -> Option<String> {
    let line = answer.lines().find(|line| line.starts_with("Loaded image"))?;
    line.split_once(": ").map(|(_, image)| image.trim().to_owned())
}

fn create_body(container: Container) -> ContainerCreateBody {
    let port = container.port.map(|port| format!("{port}/tcp"));
    let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: None };
    let bind = |(source, target): (PathBuf, String)| Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target),
        read_only: Some(true),
        ..Mount::default()
    };
    // As `docker run --gpus all` asks for them.
    let gpus =
        || DeviceRequest { count: Some(-1), capabilities: Some(vec![vec!["gpu".to_owned()]]), ..Default::default() };
    let host = HostConfig {
        network_mode: port.is_none().then(|| "none".to_owned()),
        port_bindings: port.clone().map(|port| HashMap::from([(port, Some(vec![binding]))])),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        tmpfs: Some(container.tmpfs),
        readonly_rootfs: Some(container.read_only),
        mounts: Some(container.binds.into_iter().map(bind).collect()),
        device_requests: container.gpus.then(|| vec![gpus()]),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(container.image),
        entrypoint: container.entrypoint,
        cmd: container.cmd,
        env: Some(container.env),
        user: container.user,
        exposed_ports: port.map(|port| vec![port]),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_are_found_in_the_answer() {
        assert_eq!(loaded_image("Loaded image: esker/base:latest\n").as_deref(), Some("esker/base:latest"));
        assert_eq!(loaded_image("note\nLoaded image ID: sha256:ab\n").as_deref(), Some("sha256:ab"));
        assert_eq!(loaded_image("open /manifest.json: no such file"), None);
    }
}
