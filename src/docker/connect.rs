//! Connecting to the engine, wherever it is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::API_DEFAULT_VERSION;
use bollard::models::{SystemInfo, SystemVersion};

use super::host::{Host, Setting};
use super::{Engine, Error, refused, ssh};

/// The longest time until an engine begins to answer: it unpacks a whole image before that.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// The first API with which BuildKit is behind `/build` without the engine's being experimental.
const BUILDKIT_API: (u32, u32) = (1, 39);

/// Who builds images in an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builder {
    /// BuildKit.
    BuildKit,
    /// The builder from before BuildKit, and the reason for it.
    Classic(&'static str),
}

impl Engine {
    /// Connects to the engine that `setting` leads to, and sees that it answers.
    ///
    /// # Errors
    /// [`Error::Host`] and [`Error::Context`] where it leads nowhere; [`Error::Unreachable`].
    pub async fn connect(setting: &Setting) -> Result<Self, Error> {
        let host = setting.host()?;
        let unreachable = |source| Error::Unreachable { at: format!("`{host}`"), source: Box::new(source) };
        let docker = open(&host, setting).map_err(unreachable)?;
        docker.ping().await.map_err(unreachable)?;
        Ok(Self { docker, host: Arc::new(host), buildkit: setting.buildkit })
    }

    /// Where it is.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Who builds images in it.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn builder(&self) -> Result<Builder, Error> {
        let version = self.docker.version().await.map_err(refused("tell its version"))?;
        Ok(match self.buildkit {
            Some(false) => Builder::Classic("`DOCKER_BUILDKIT` says so"),
            _ => builder_of(&version),
        })
    }

    /// Whether the loopback interface of the engine's host network is this machine's: then what listens there can be
    /// reached by build steps. Not so if the engine is elsewhere, in a virtual machine, in a network namespace of its
    /// own, or if this process is in a container.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn shares_loopback(&self) -> Result<bool, Error> {
        if !matches!(*self.host, Host::Unix(_)) {
            return Ok(false);
        }
        let info = self.docker.info().await.map_err(refused("tell about itself"))?;
        let name = nix::unistd::gethostname().unwrap_or_default();
        Ok(is_here(&info, &name.to_string_lossy()))
    }
}

fn is_here(info: &SystemInfo, hostname: &str) -> bool {
    let security = info.security_options.iter().flatten();
    let is_rootless = security.into_iter().any(|option| option.contains("rootless"));
    let is_desktop = info.operating_system.as_deref().is_some_and(|system| system.contains("Docker Desktop"));
    !is_rootless && !is_desktop && info.name.as_deref() == Some(hostname)
}

fn builder_of(version: &SystemVersion) -> Builder {
    let components = version.components.iter().flatten();
    let number = |text: &str| -> Option<(u32, u32)> {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let api = version.api_version.as_deref().and_then(number).unwrap_or_default();
    if components.into_iter().any(|component| component.name.contains("Podman")) {
        Builder::Classic("it is Podman, which has no BuildKit")
    } else if version.os.as_deref() == Some("windows") {
        Builder::Classic("engines on Windows have no BuildKit")
    } else if api < BUILDKIT_API {
        Builder::Classic("it is older than BuildKit")
    } else {
        Builder::BuildKit
    }
}

fn open(host: &Host, setting: &Setting) -> Result<bollard::Docker, bollard::errors::Error> {
    use bollard::Docker;
    let seconds = TIMEOUT.as_secs();
    match host {
        Host::Unix(path) => Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION),
        Host::Tcp(authority) => Docker::connect_with_http(&format!("tcp://{authority}"), seconds, API_DEFAULT_VERSION),
        Host::Tls { authority, certificates } => tls(authority, certificates),
        Host::Ssh(target) => {
            let (target, program) = (target.clone(), setting.ssh.clone());
            let transport = move |request| ssh::send(program.clone(), target.clone(), request);
            Docker::connect_with_custom_transport(transport, Some("http://docker"), seconds, API_DEFAULT_VERSION)
        }
    }
}

/// With this machine's certificates as well as `ca.pem`, and with `cert.pem` as who asks.
fn tls(authority: &str, certificates: &Path) -> Result<bollard::Docker, bollard::errors::Error> {
    let file = |name: &str| certificates.join(name);
    let address = format!("tcp://{authority}");
    let (key, certificate, ca) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
    bollard::Docker::connect_with_ssl(&address, &key, &certificate, &ca, TIMEOUT.as_secs(), API_DEFAULT_VERSION)
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemVersionComponents;

    use super::*;

    #[test]
    fn buildkit_is_used_where_it_is() {
        let version = |api: &str, component: &str| SystemVersion {
            api_version: Some(api.to_owned()),
            components: Some(vec![SystemVersionComponents { name: component.to_owned(), ..Default::default() }]),
            ..SystemVersion::default()
        };
        assert_eq!(builder_of(&version("1.41", "Engine")), Builder::BuildKit);
        assert!(matches!(builder_of(&version("1.38", "Engine")), Builder::Classic(reason) if reason.contains("older")));
        assert!(
            matches!(builder_of(&version("1.41", "Podman Engine")), Builder::Classic(why) if why.contains("Podman"))
        );
    }

    #[test]
    fn loopback_is_shared_with_an_engine_of_this_machine_alone() {
        let info = |name: &str, system: &str, option: &str| SystemInfo {
            name: Some(name.to_owned()),
            operating_system: Some(system.to_owned()),
            security_options: Some(vec![option.to_owned()]),
            ..SystemInfo::default()
        };
        assert!(is_here(&info("vm", "Debian GNU/Linux 12", "name=seccomp"), "vm"));
        for elsewhere in [
            info("other", "Debian GNU/Linux 12", "name=seccomp"),
            info("vm", "Docker Desktop", "name=seccomp"),
            info("vm", "Debian GNU/Linux 12", "name=rootless"),
        ] {
            assert!(!is_here(&elsewhere, "vm"));
        }
    }
}
