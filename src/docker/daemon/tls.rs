//! Certificates for a BuildKit daemon behind TLS, in the files that `buildctl --tlsdir` reads.

use std::io::ErrorKind;
use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::docker::Error;

/// Names of the authority's certificate, of the client's and of its key: as Docker has them, as Kubernetes does.
const NAMES: [[&str; 3]; 2] = [["ca.pem", "cert.pem", "key.pem"], ["ca.crt", "tls.crt", "tls.key"]];

/// What is in `folder`: without an authority the daemon is judged by those that this machine trusts, without a certificate
/// and its key nothing is shown to it. `server_name` is the name in its certificate, if that is not its host's.
///
/// # Errors
/// [`Error::BuilderCertificates`].
pub fn config(folder: &Path, server_name: Option<&str>) -> Result<ClientTlsConfig, Error> {
    let there = NAMES.into_iter().find(|names| names.iter().any(|name| folder.join(name).exists()));
    let [authority, certificate, key] = there.ok_or_else(|| {
        let [docker, kubernetes] = NAMES.map(|names| format!("`{}`", names.join("`, `")));
        unusable(folder, format!("it has neither {docker} nor {kubernetes}"))
    })?;
    let mut config = match read(folder, authority)? {
        Some(authority) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match (read(folder, certificate)?, read(folder, key)?) {
        (Some(certificate), Some(key)) => config = config.identity(Identity::from_pem(certificate, key)),
        (None, None) => {}
        (Some(_), None) => return Err(unusable(folder, format!("`{certificate}` is there without `{key}`"))),
        (None, Some(_)) => return Err(unusable(folder, format!("`{key}` is there without `{certificate}`"))),
    }
    Ok(match server_name {
        Some(name) => config.domain_name(name),
        None => config,
    })
}

/// The error for a folder that cannot be used.
pub fn unusable(folder: &Path, reason: String) -> Error {
    Error::BuilderCertificates { folder: folder.to_owned(), reason }
}

fn read(folder: &Path, name: &str) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(folder, format!("`{name}`: {error}"))),
    }
}
