//! Where a BuildKit daemon is, and with which certificates it is spoken to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::tls;
use crate::docker::Error;

/// Where a BuildKit daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonAddress {
    text: String,
    way: Way,
    /// The name in the daemon's certificate, if it is not that of the address.
    server_name: Option<String>,
    /// The folder of certificates; without, nothing is encrypted.
    certificates: Option<PathBuf>,
}

/// How it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// An address that gRPC knows.
    Direct(String),
    /// A host and a port.
    Tcp(String),
    /// A program whose input and output are the daemon's.
    Through(Vec<String>),
}

impl FromStr for DaemonAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::BuilderAddress(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let mut server_name = None;
        let way = match scheme {
            "tcp" => {
                let (server, name) = match rest.split_once("?servername=") {
                    Some((server, name)) => (server, Some(name).filter(|name| is_name(name))),
                    None => (rest, None),
                };
                let (host, port) = server.rsplit_once(':').ok_or_else(wrong)?;
                let is_port = port.parse::<u16>().is_ok() && !host.is_empty() && !server.contains(['/', '@', '?']);
                let is_whole = name.is_some() || server == rest;
                server_name = name.map(str::to_owned);
                (is_port && is_whole).then(|| Way::Tcp(server.to_owned()))
            }
            "unix" => rest.starts_with('/').then(|| Way::Direct(format!("unix://{rest}"))),
            "docker-container" => is_name(rest).then(|| {
                Way::Through(["docker", "exec", "-i", rest, "buildctl", "dial-stdio"].map(str::to_owned).into())
            }),
            "kube-pod" => pod(text),
            _ => None,
        };
        Ok(Self { text: text.to_owned(), way: way.ok_or_else(wrong)?, server_name, certificates: None })
    }
}

impl DaemonAddress {
    /// The same, spoken to by TLS with the certificates in `folder`, if there is one.
    ///
    /// # Errors
    /// [`Error::BuilderCertificates`] where there can be no TLS, or where it is asked for without certificates.
    pub fn secured(self, folder: Option<PathBuf>) -> Result<Self, Error> {
        match (&folder, &self.way) {
            (None, _) if self.server_name.is_some() => {
                Err(tls::unusable(Path::new(""), "`servername` is for TLS, and no folder is given".to_owned()))
            }
            (Some(folder), Way::Direct(_) | Way::Through(_)) => {
                Err(tls::unusable(folder, format!("`{self}` is not reached by TLS: only `tcp://` is")))
            }
            _ => Ok(Self { certificates: folder, ..self }),
        }
    }

    pub(super) const fn way(&self) -> &Way {
        &self.way
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(super) fn certificates(&self) -> Option<&Path> {
        self.certificates.as_deref()
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
