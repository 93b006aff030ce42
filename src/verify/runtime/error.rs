//! Why an image could not be run. All of these are about the machine at hand, not about the image, but for
//! [`Error::Setup`].

use std::io;
use std::path::PathBuf;

use super::PodmanError;

/// Why an image could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or its administrator forbids what the embedded runner needs.
    #[error("containers are not permitted here: cannot {step}{}", because(*.why))]
    NotPermitted {
        /// The step that was refused.
        step: String,
        /// What is known to forbid it, if anything is.
        why: Option<Obstacle>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The machine cannot set up containers.
    #[error("cannot {step} for a container")]
    Machine {
        /// The step that failed.
        step: String,
        /// The reason.
        source: io::Error,
    },
    /// The image cannot be set up: a program that is not in it, a `/dev` that is a file. Checks fail by this.
    #[error("cannot {step} in the container")]
    Setup {
        /// The step.
        step: String,
        /// The reason.
        source: io::Error,
    },
    /// The program that sets up containers could not be started.
    #[error("cannot start `{program}` to run a container")]
    Runner {
        /// esker's own program.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The container disappeared: somebody killed it.
    #[error("the container was killed from outside")]
    Lost,
    /// A file of the unpacked image.
    #[error("cannot use `{path}`")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// No port is free on the loopback interface.
    #[error("no free port on the loopback interface")]
    NoPort(#[source] io::Error),
    /// The image cannot be read or unpacked.
    #[error(transparent)]
    Image(crate::oci::Error),
    /// No HTTP client can be made to talk to a server in a container.
    #[error("cannot make an HTTP client")]
    Client(#[source] Box<reqwest::Error>),
    /// The Docker engine.
    #[error(transparent)]
    Docker(#[from] crate::docker::Error),
    /// Podman.
    #[error(transparent)]
    Podman(#[from] PodmanError),
}

/// A known reason why an ordinary user gets no user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's kernels).
    UsernsCloneOff,
    /// `user.max_user_namespaces` is 0.
    NoUserNamespaces,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu 24.04).
    AppArmor,
}

impl Obstacle {
    /// The kernel setting (a file below /proc/sys, dots for slashes) and the value of it that forbids namespaces.
    pub const fn setting(self) -> (&'static str, &'static str) {
        match self {
            Self::UsernsCloneOff => ("kernel.unprivileged_userns_clone", "0"),
            Self::NoUserNamespaces => ("user.max_user_namespaces", "0"),
            Self::AppArmor => ("kernel.apparmor_restrict_unprivileged_userns", "1"),
        }
    }

    /// What an administrator can do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::UsernsCloneOff => "sysctl kernel.unprivileged_userns_clone=1",
            Self::NoUserNamespaces => "sysctl user.max_user_namespaces=15000",
            Self::AppArmor => "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        }
    }

    /// Looks for the obstacle on this machine.
    pub fn find() -> Option<Self> {
        [Self::UsernsCloneOff, Self::NoUserNamespaces, Self::AppArmor].into_iter().find(|obstacle| {
            let (name, value) = obstacle.setting();
            let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
            fs_err::read_to_string(path).is_ok_and(|text| text.trim() == value)
        })
    }
}

fn because(obstacle: Option<Obstacle>) -> String {
    obstacle.map_or_else(String::new, |obstacle| {
        let (name, value) = obstacle.setting();
        format!(" (`{name}` is {value})")
    })
}

impl Error {
    /// What the reader can do about it, if anything.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NotPermitted { why: Some(obstacle), .. } => {
                Some(format!("run `{}` as root, or use `--runtime docker`", obstacle.remedy()))
            }
            Self::NotPermitted { why: None, .. } => {
                Some("allow user namespaces here, run as root, or use `--runtime docker`".to_owned())
            }
            Self::Docker(error) => error.remedy(),
            Self::Podman(error) => error.remedy(),
            Self::Setup { .. }
            | Self::Machine { .. }
            | Self::Runner { .. }
            | Self::Lost
            | Self::File { .. }
            | Self::NoPort(_)
            | Self::Image(_)
            | Self::Client(_) => None,
        }
    }
}
