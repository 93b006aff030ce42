//! Where the Docker engine is: as Docker's own command finds it.
//!
//! `DOCKER_HOST` goes before `DOCKER_CONTEXT`, that before `currentContext` in Docker's `config.json`; where nothing is
//! said the engine is behind the usual socket. A context is a folder named by the SHA-256 of its name, with a
//! `meta.json` that holds an address, and another folder for its certificates.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::Error;
use crate::oci::Digest;

/// Where an engine is when nothing is said.
const DEFAULT: &str = "unix:///var/run/docker.sock";
/// The context that stands for no context.
const NO_CONTEXT: &str = "default";
/// Ports of engines, without and with TLS.
const PORTS: [u16; 2] = [2375, 2376];

/// What the environment says of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// Docker's configuration: `DOCKER_CONFIG`, else `~/.docker`.
    pub config_dir: Option<PathBuf>,
    /// `DOCKER_TLS_VERIFY`: TCP is to be TLS.
    pub tls_verify: bool,
    /// `DOCKER_CERT_PATH`: the folder of certificates, instead of Docker's configuration.
    pub cert_path: Option<PathBuf>,
    /// Whether images are to be built by BuildKit (`DOCKER_BUILDKIT`).
    pub buildkit: Option<bool>,
    /// The program `ssh`; by name or path.
    pub ssh: PathBuf,
}

/// A way to an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A socket of this machine.
    Unix(PathBuf),
    /// HTTP at `HOST:PORT`.
    Tcp(String),
    /// HTTPS at `HOST:PORT`.
    Tls {
        /// `HOST:PORT`.
        authority: String,
        /// The folder with `ca.pem`, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
    /// A machine that ssh reaches, and that has Docker's command.
    Ssh(Ssh),
}

/// A machine that ssh reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// Its name, perhaps one of ssh's configuration.
    pub host: String,
    /// Who to be there, if not ssh's own choice.
    pub user: Option<String>,
    /// Its port, if not ssh's own choice.
    pub port: Option<u16>,
    /// The engine's socket there, if not Docker's own choice.
    pub socket: Option<String>,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) | Self::Tls { authority, .. } => write!(f, "tcp://{authority}"),
            Self::Ssh(ssh) => write!(f, "ssh://{}", ssh.host),
        }
    }
}

/// `config.json`, as far as it matters here.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

/// `meta.json` of a context.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

impl Setting {
    /// Finds out where the engine is.
    ///
    /// # Errors
    /// [`Error::Host`] and [`Error::Context`].
    pub fn host(&self) -> Result<Host, Error> {
        if let Some(host) = &self.host {
            let folder = self.cert_path.clone().or_else(|| self.config_dir.clone());
            let certificates = folder.filter(|_| self.tls_verify || host.starts_with("https://"));
            return parse(host, certificates.as_deref()).map_err(wrong("DOCKER_HOST", host));
        }
        match self.context_name()? {
            Some((name, from)) => self.of_context(&name, from),
            None => parse(DEFAULT, None).map_err(wrong("docker", DEFAULT)),
        }
    }

    /// The context that is chosen, and by what.
    fn context_name(&self) -> Result<Option<(String, &'static str)>, Error> {
        let named = self.context.clone().map(|name| (name, "`DOCKER_CONTEXT`"));
        let (name, from) = match named {
            Some(named) => named,
            None => (self.current_context()?, "Docker's `config.json`"),
        };
        Ok(Some((name, from)).filter(|(name, _)| !name.is_empty() && name != NO_CONTEXT))
    }

    fn current_context(&self) -> Result<String, Error> {
        let Some(path) = self.config_dir.as_ref().map(|dir| dir.join("config.json")) else { return Ok(String::new()) };
        let unusable = |reason: String| Error::Context {
            name: NO_CONTEXT.to_owned(),
            from: format!("`{}`", path.display()),
            reason,
        };
        match std::fs::read(&path) {
            Ok(text) => {
                let config: Config = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
                Ok(config.current_context)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    fn of_context(&self, name: &str, from: &str) -> Result<Host, Error> {
        let failed = |reason: String| Error::Context { name: name.to_owned(), from: from.to_owned(), reason };
        let contexts = self.config_dir.as_ref().map(|dir| dir.join("contexts"));
        let contexts = contexts.ok_or_else(|| failed("there is no home directory to look for it in".to_owned()))?;
        let id = Digest::of(name.as_bytes()).hex();
        let meta = contexts.join("meta").join(&id).join("meta.json");
        let text = std::fs::read(&meta).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed("there is no such context".to_owned()),
            _ => failed(error.to_string()),
        })?;
        let meta: Meta = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
        let docker = meta.endpoints.docker.ok_or_else(|| failed("it has no Docker engine".to_owned()))?;
        if docker.skip_tls_verify {
            return Err(failed("it asks for TLS without looking at certificates, which is refused".to_owned()));
        }
        let certificates = contexts.join("tls").join(id).join("docker");
        let certificates = Some(certificates).filter(|folder| folder.is_dir());
        let said = if docker.host.is_empty() { DEFAULT } else { &docker.host };
        parse(said, certificates.as_deref()).map_err(wrong(&format!("context {name}"), said))
    }
}

fn wrong(from: &str, host: &str) -> impl FnOnce(&'static str) -> Error {
    let (from, host) = (format!("`{from}`"), host.to_owned());
    // A password has no place in an address, and still less in a message.
    let host = Url::parse(&host).ok().filter(|url| url.password().is_some()).map_or(host, |mut url| {
        let _cannot_have_one = url.set_password(Some("***"));
        url.to_string()
    });
    move |reason| Error::Host { from, host, reason: reason.to_owned() }
}

/// Reads an address; TCP is TLS where there are `certificates`.
fn parse(host: &str, certificates: Option<&Path>) -> Result<Host, &'static str> {
    let (scheme, rest) = host.split_once("://").ok_or("it has no scheme")?;
    match scheme {
        "unix" if rest.is_empty() => Err("it has no path"),
        "unix" => Ok(Host::Unix(rest.into())),
        "tcp" | "http" | "https" => {
            let rest = rest.trim_end_matches('/');
            if rest.is_empty() || rest.contains(['/', '@']) {
                return Err("a host and a port are expected");
            }
            let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let port = PORTS[usize::from(certificates.is_some())];
            let authority = if has_port { rest.to_owned() } else { format!("{rest}:{port}") };
            match certificates {
                Some(folder) => Ok(Host::Tls { authority, certificates: folder.to_owned() }),
                None if scheme == "https" => Err("there are no certificates for it: set `DOCKER_CERT_PATH`"),
                None => Ok(Host::Tcp(authority)),
            }
        }
        "ssh" => ssh(host),
        _ => Err("its scheme is not known"),
    }
}

fn ssh(host: &str) -> Result<Host, &'static str> {
    let url = Url::parse(host).map_err(|_| "it is no address")?;
    if url.password().is_some() {
        return Err("a password has no place in it: ssh asks for it, or uses a key");
    }
    let name = url.host_str().filter(|name| !name.is_empty()).ok_or("it has no host")?;
    Ok(Host::Ssh(Ssh {
        host: name.trim_start_matches('[').trim_end_matches(']').to_owned(),
        user: Some(url.username().to_owned()).filter(|user| !user.is_empty()),
        port: url.port(),
        socket: Some(url.path().to_owned()).filter(|path| !["", "/"].contains(&path.as_str())),
    }))
}

#[cfg(test)]
mod tests;
