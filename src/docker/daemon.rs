//! A BuildKit daemon of its own, on another machine or in a cluster, for builds that outgrow this one.
//!
//! What is built is sent there and comes back as an archive like the engine's. A daemon in a container or a pod is
//! reached as BuildKit's own tools do it: `docker exec` or `kubectl exec` runs `buildctl dial-stdio` there, behind a
//! socket of this process that only this user can open.

mod address;
mod tls;

use std::path::Path;
use std::process::Stdio;
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

pub use self::address::DaemonAddress;
use self::address::Way;
use super::steps::Steps;
use super::{BuildRequest, Error, login};
use crate::progress::Progress;

/// How long the end of what a daemon says is waited for when a build has ended.
const GRACE: Duration = Duration::from_secs(3);

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
    /// [`Error::NoBuilder`]; [`Error::BuilderCertificates`] when those for it cannot be used.
    pub async fn connect(address: &DaemonAddress) -> Result<Self, Error> {
        let failed = |reason: String| Error::NoBuilder { at: address.to_string(), reason };
        let endpoint = |uri: String| Endpoint::from_shared(uri).map_err(|error| failed(error.to_string()));
        let (endpoint, relay) = match address.way() {
            Way::Direct(uri) => (endpoint(uri.clone())?, None),
            Way::Tcp(server) => match address.certificates() {
                None => (endpoint(format!("http://{server}"))?, None),
                Some(folder) => {
                    let secured = endpoint(format!("https://{server}"))?;
                    let config = tls::config(folder, address.server_name())?;
                    (secured.tls_config(config).map_err(|error| tls::unusable(folder, causes(&error)))?, None)
                }
            },
            Way::Through(command) => {
                let relay = Relay::start(command.clone()).map_err(|error| failed(error.to_string()))?;
                (endpoint(relay.uri())?, Some(relay))
            }
        };
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
        let logins = login::all(&request.logins);
        let logins =
            logins.as_ref().map(|logins| logins.iter().map(|(name, login)| (name.as_str(), login.clone())).collect());
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
            logins,
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
