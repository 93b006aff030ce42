//! Why the Docker engine, or a BuildKit daemon, did not do what it was asked for.

use std::path::PathBuf;

/// The error of this module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What says where the engine is makes no sense.
    #[error("{from} says that the Docker engine is at `{host}`: {reason}")]
    Host {
        /// What says so: a variable, or a context of Docker's.
        from: String,
        /// What it says.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A context of Docker's is not there, or cannot be read.
    #[error("Docker's context `{name}`, which {from} names, cannot be used: {reason}")]
    Context {
        /// Its name.
        name: String,
        /// What names it.
        from: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No engine answers.
    #[error("the Docker engine at {at} cannot be reached")]
    Unreachable {
        /// Where it was looked for.
        at: String,
        /// Why not.
        source: Box<bollard::errors::Error>,
    },
    /// The engine refused.
    #[error("the Docker engine cannot {step}")]
    Refused {
        /// What was asked, to complete "cannot …".
        step: String,
        /// Its answer.
        source: Box<bollard::errors::Error>,
    },
    /// The image has no program to start, or none that can be executed.
    #[error("the Docker engine cannot execute the program")]
    NotExecutable(#[source] Box<bollard::errors::Error>),
    /// The engine took an archive without saying what it had loaded.
    #[error("the Docker engine did not say which image it loaded: `{answer}`")]
    NothingLoaded {
        /// What it said.
        answer: String,
    },
    /// An archive to load cannot be read.
    #[error("cannot read `{path}`")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// An image to load cannot be read.
    #[error(transparent)]
    Image(crate::oci::Error),
    /// What passes data to or from the engine ended in a panic.
    #[error("passing data to or from the Docker engine ended in a panic")]
    Panicked,
    /// A container has no port where one was published.
    #[error("the Docker engine published no port for container `{container}`")]
    NoPort {
        /// The container.
        container: String,
    },
    /// A step of a Dockerfile failed.
    #[error("`{step}` failed for {platform}: {reason}{}", last(output))]
    Step {
        /// The step, as the Dockerfile has it.
        step: String,
        /// The platform that was built.
        platform: crate::oci::Platform,
        /// The builder's reason.
        reason: String,
        /// The last lines of its output.
        output: Vec<String>,
    },
    /// A Dockerfile cannot be built, for no fault of one of its steps.
    #[error("the image cannot be built for {platform}: {reason}")]
    Build {
        /// The platform.
        platform: crate::oci::Platform,
        /// The builder's reason.
        reason: String,
    },
    /// The classic builder cannot be told a login.
    #[error("the engine's classic builder cannot be told the login at {}: it has a character that gets lost", registries.join(", "))]
    Login {
        /// The registries of the logins that go together.
        registries: Vec<String>,
    },
    /// The address of a BuildKit daemon makes no sense.
    #[error(
        "`{0}` is no address of a BuildKit daemon: expected `tcp://HOST:PORT[?servername=NAME]`, `unix://PATH`, \
         `docker-container://NAME` or `kube-pod://POD[?namespace=…&container=…&context=…]`"
    )]
    BuilderAddress(String),
    /// TLS cannot be spoken to a BuildKit daemon.
    #[error("the certificates for the BuildKit daemon{} cannot be used: {reason}", folder_in(folder))]
    BuilderCertificates {
        /// Where they are to be; empty if nothing says so.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// No BuildKit daemon answers.
    #[error("the BuildKit daemon at `{at}` cannot be reached: {reason}")]
    NoBuilder {
        /// Its address.
        at: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// The HTTP status of the engine's answer, if it is an answer that was no.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } => match **source {
                bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(status_code),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the reader can do about it, if anything.
    pub fn remedy(&self) -> Option<String> {
        let foreign = |output: &[String], reason: &str| {
            let mut lines = output.iter().map(String::as_str).chain([reason]);
            lines.any(|line| line.contains("exec format error") || line.contains("Exec format error"))
        };
        let text = match self {
            Self::Unreachable { .. } => {
                "start Docker, point `DOCKER_HOST` or a context at an engine, or do without: \
                                         `--engine native`, `--runtime embedded`"
            }
            Self::Host { .. } => "write unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]",
            Self::Context { .. } => "see `docker context ls`, or set `DOCKER_HOST`",
            Self::Step { output, reason, .. } if foreign(output, reason) => {
                "the engine cannot run programs of that platform: register qemu in its machine's binfmt_misc (Debian's \
                 package `qemu-user-static`), or build for its own with `--platform`"
            }
            Self::Login { .. } => "build with BuildKit (leave `DOCKER_BUILDKIT` unset), or use another password",
            Self::BuilderCertificates { .. } => {
                "`--builder-certs` (`ESKER_BUILDER_CERTS`) names a folder with `ca.pem` and, where the daemon asks who \
                 builds, `cert.pem` and `key.pem`"
            }
            Self::NoBuilder { .. } => "see whether buildkitd runs there, or build without `--builder`",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn folder_in(folder: &std::path::Path) -> String {
    if folder.as_os_str().is_empty() { String::new() } else { format!(" in `{}`", folder.display()) }
}

fn last(output: &[String]) -> String {
    if output.is_empty() { String::new() } else { format!("; its output ended with\n  {}", output.join("\n  ")) }
}
