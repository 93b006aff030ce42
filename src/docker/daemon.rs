//! A BuildKit daemon of its own, on another machine or in a cluster, for builds that outgrow this one.
//!
//! What is built is sent there and comes back as an archive like the engine's. A daemon in a container or a pod is
//! reached as BuildKit's own tools do it: `docker exec` or `kubectl exec` runs `buildctl dial-stdio` there, behind a
//! socket of this process that only this user can open.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use bollard::grpc::build::ImageBuildOutputCompression;
use bollard::grpc::build::{ImageBuildFrontendOptions, ImageBuildLoadInput, ImageBuildNetworkMode, ImageBuildPlatform};
use bollard::grpc::driver::buildkitd::{ControlClient, Endpoint};
use bollard::grpc::driver::{Export, ImageExporterEnum};
use bollard::grpc::error::GrpcError;
use bollard::grpc::export::ImageExporterOutput;
use bollard::grpc::{BuildRef, driver};
use bollard::moby::buildkit::v1::{ListWorkersRequest, StatusRequest};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::steps::Steps;
use super::{BuildRequest, Error};
use crate::progress::Progress;

/// How long the end of what a daemon says is waited for when a build has ended.
const GRACE: Duration = Duration::from_secs(3);

/// Where a BuildKit daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonAddress {
    text: String,
    way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Way {
    /// An address that gRPC knows.
    Direct(String),
    /// A program whose input and output are the daemon's.
    Through(Vec<String>),
}

impl FromStr for DaemonAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::BuilderAddress(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let way = match scheme {
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
                let is_port = port.parse::<u16>().is_ok() && !host.is_empty() && !rest.contains(['/', '@', '?']);
                is_port.then(|| Way::Direct(format!("http://{rest}")))
            }
            "unix" => rest.starts_with('/').then(|| Way::Direct(format!("unix://{rest}"))),
            "docker-container" => is_name(rest).then(|| {
                Way::Through(["docker", "exec", "-i", rest, "buildctl", "dial-stdio"].map(str::to_owned).into())
            }),
            "kube-pod" => pod(text),
            _ => None,
        };
        Ok(Self { text: text.to_owned(), way: way.ok_or_else(wrong)? })
    }
}

impl fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether `text` names one thing, and is no option of a program.
fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-:@".contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_part)
}

fn pod(text: &str) -> Option<Way> {
    let url = Url::parse(text).ok()?;
    let name = url.host_str().filter(|name| is_name(name))?;
    let mut command: Vec<String> = vec!["kubectl".to_owned()];
    let mut container = Vec::new();
    for (key, value) in url.query_pairs() {
        if !is_name(&value) {
            return None;
        }
        match &*key {
            "context" | "namespace" => command.push(format!("--{key}={value}")),
            "container" => container.push(format!("--container={value}")),
            _ => return None,
        }
    }
    command.extend(["exec".to_owned(), "-i".to_owned()]);
    command.extend(container);
    command.extend([name, "--", "buildctl", "dial-stdio"].map(str::to_owned));
    let is_plain = ["", "/"].contains(&url.path()) && url.port().is_none() && url.username().is_empty();
    is_plain.then_some(Way::Through(command))
}

/// A BuildKit daemon that answers.
pub struct BuildkitDaemon {
    address: DaemonAddress,
    endpoint: Endpoint,
    _relay: Option<Relay>,
}

impl BuildkitDaemon {
    /// Finds the daemon at `address`, and sees that it answers.
    ///
    /// # Errors
    /// [`Error::NoBuilder`].
    pub async fn connect(address: &DaemonAddress) -> Result<Self, Error> {
        let failed = |reason: String| Error::NoBuilder { at: address.to_string(), reason };
        let (uri, relay) = match &address.way {
            Way::Direct(uri) => (uri.clone(), None),
            Way::Through(command) => {
                let relay = Relay::start(command.clone()).map_err(|error| failed(error.to_string()))?;
                (relay.uri(), Some(relay))
            }
        };
        let endpoint = Endpoint::from_shared(uri).map_err(|error| failed(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| failed(causes(&error)))?;
        let workers = ControlClient::new(channel).list_workers(ListWorkersRequest::default()).await;
        workers.map_err(|status| failed(status.message().to_owned()))?;
        Ok(Self { address: address.clone(), endpoint, _relay: relay })
    }

    /// Where it is.
    pub const fn address(&self) -> &DaemonAddress {
        &self.address
    }

    /// Builds `request` with the tar file `context`, and writes what `docker save` would to `archive`. What the daemon
    /// says goes to `progress` as it comes.
    ///
    /// # Errors
    /// [`Error::Step`] when a step of the Dockerfile failed, else [`Error::Build`]; [`Error::NoBuilder`] when the
    /// connection is lost.
    pub async fn build(
        &self,
        request: &BuildRequest,
        context: Vec<u8>,
        archive: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let id = BuildRef::random();
        let mut steps = Steps::new(request.platform, progress);
        let build = driver::buildkitd::BuildkitDaemon::new(self.endpoint.clone()).export(
            ImageExporterEnum::Docker(
                ImageExporterOutput::builder(&request.tag)
                    .compression(&ImageBuildOutputCompression::Uncompressed)
                    .force_compression(true)
                    .dest(archive),
            ),
            options(request),
            ImageBuildLoadInput::Upload(context.into()),
            None,
            Some(id.clone()),
        );
        let built = {
            let (mut build, mut follow) = (std::pin::pin!(build), std::pin::pin!(self.follow(id, &mut steps)));
            tokio::select! {
                built = &mut build => {
                    // The last of what was said may still be on its way; of a build that never began, nothing is.
                    drop(tokio::time::timeout(GRACE, follow).await);
                    built
                }
                () = &mut follow => build.await,
            }
        };
        built.map_err(|error| match error {
            GrpcError::TonicStatus { err } => steps.failure(err.message()),
            other => Error::NoBuilder { at: self.address.to_string(), reason: causes(&other) },
        })
    }

    /// Tells the steps of a build until it ends. What cannot be told is no reason for a build to fail.
    async fn follow(&self, id: BuildRef, steps: &mut Steps<'_>) {
        let Ok(channel) = self.endpoint.connect().await else { return };
        let request = StatusRequest { r#ref: id.into() };
        let Ok(answer) = ControlClient::new(channel).status(request).await else { return };
        let mut answers = answer.into_inner();
        while let Ok(Some(status)) = answers.message().await {
            steps.status(&status);
        }
    }
}

fn options(request: &BuildRequest) -> ImageBuildFrontendOptions {
    let platform = ImageBuildPlatform {
        os: "linux".to_owned(),
        architecture: request.platform.architecture().to_owned(),
        variant: None,
    };
    let mut options = ImageBuildFrontendOptions::builder()
        .dockerfile(Path::new(&request.dockerfile))
        .platforms(&platform)
        .nocache(request.no_cache);
    if request.host_network {
        options = options.force_network_mode(&ImageBuildNetworkMode::Host);
    }
    for (name, value) in &request.args {
        options = options.buildarg(name, value);
    }
    options.build()
}

/// An error and its causes in one line: gRPC's own say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}

/// A socket whose connections are each the input and output of a program.
struct Relay {
    folder: tempfile::TempDir,
    accepting: JoinHandle<()>,
}

impl Relay {
    fn start(command: Vec<String>) -> std::io::Result<Self> {
        // Its folder is this user's alone, whatever the umask.
        let folder = tempfile::Builder::new().prefix("esker-").tempdir()?;
        let listener = UnixListener::bind(folder.path().join("buildkit"))?;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connect(stream, command.clone()));
            }
        });
        Ok(Self { folder, accepting })
    }

    fn uri(&self) -> String {
        format!("unix://{}", self.folder.path().join("buildkit").display())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Passes a connection on, until either side ends it. What went wrong the program says on stderr, for the user to see.
async fn connect(mut stream: UnixStream, command: Vec<String>) {
    let [program, arguments @ ..] = command.as_slice() else { return };
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    match child.spawn() {
        Ok(mut child) => {
            let (stdin, stdout) = (child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
            let mut daemon = tokio::io::join(stdout, stdin);
            if let Err(error) = tokio::io::copy_bidirectional(&mut stream, &mut daemon).await {
                tracing::debug!(%error, "a connection to the BuildKit daemon ended");
            }
        }
        Err(error) => tracing::warn!(%error, program, "cannot be started"),
    }
}

#[cfg(test)]
mod tests;
