//! Finds the user's credentials for a registry: in the files Docker and Podman keep them in, and with the programs that
//! those name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use serde::Deserialize;

use super::error::{Error, Result};
use super::helper;

/// A file with credentials, as far as it is looked into (`config.json` of Docker, containers-auth.json(5)).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
    #[serde(default)]
    auths: serde_json::Value,
}

/// What a user shows a registry. `Debug` does not.
#[derive(Clone)]
pub enum Credentials {
    /// A user name and a password.
    Password(String, String),
    /// A refresh token, to be exchanged for an access token.
    Identity(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// The first credentials for `repository` of `registry` in `files`; missing files are passed over. A program that has not
/// answered after `limit` is given up.
pub async fn find(files: &[PathBuf], registry: &str, repository: &str, limit: Duration) -> Result<Option<Credentials>> {
    for file in files.iter().filter(|file| file.exists()) {
        // Podman keeps credentials of single repositories and namespaces as well, the longest name first
        // (containers-auth.json(5)). Docker does not, and its helpers would be asked for nothing.
        let docker = file.file_name().is_some_and(|name| name == "config.json");
        let names = namespaces(registry, repository).into_iter().filter(|_| !docker);
        for name in names.chain(names_of(registry).into_iter().map(str::to_owned)) {
            if let Some(credentials) = read(file, &name, limit).await? {
                return Ok(Some(credentials));
            }
        }
    }
    Ok(None)
}

/// `quay.io/team/image`, `quay.io/team`.
fn namespaces(registry: &str, repository: &str) -> Vec<String> {
    let ends = repository.match_indices('/').map(|(at, _)| at).chain([repository.len()]);
    let mut names: Vec<_> = ends.map(|end| format!("{registry}/{}", &repository[..end])).collect();
    names.reverse();
    names
}

/// What `registry` is called in those files. Docker Hub keeps the address of its first API.
fn names_of(registry: &str) -> Vec<&str> {
    match registry {
        "docker.io" | "index.docker.io" => vec!["https://index.docker.io/v1/", "index.docker.io"],
        other => vec![other],
    }
}

/// As Docker does it: a program for this registry goes before what the file has, and one for all comes last.
async fn read(file: &Path, name: &str, limit: Duration) -> Result<Option<Credentials>> {
    let unusable = |reason: String| Error::Credentials { path: file.to_owned(), reason };
    let bytes = fs_err::read(file).map_err(|error| unusable(error.to_string()))?;
    let Config { cred_helpers, creds_store, auths } =
        serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if let Some(helper) = cred_helpers.get(name).filter(|helper| !helper.is_empty()) {
        return helper::ask(helper, name, limit).await.map_err(unusable);
    }
    let of_file = serde_json::json!({ "auths": auths }).to_string();
    match (get_credential_from_reader(of_file.as_bytes(), name), creds_store) {
        (Ok(DockerCredential::UsernamePassword(user, password)), _) => Ok(Some(Credentials::Password(user, password))),
        (Ok(DockerCredential::IdentityToken(token)), _) => Ok(Some(Credentials::Identity(token))),
        (Err(CredentialRetrievalError::NoCredentialConfigured), Some(store)) if !store.is_empty() => {
            helper::ask(&store, name, limit).await.map_err(unusable)
        }
        (Err(CredentialRetrievalError::NoCredentialConfigured), _) => Ok(None),
        (Err(error), _) => Err(unusable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_now(files: &[PathBuf], registry: &str, repository: &str) -> Result<Option<Credentials>> {
        let found = find(files, registry, repository, Duration::from_secs(60));
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(found)
    }

    fn password(files: &[PathBuf], registry: &str) -> Option<String> {
        match find_now(files, registry, "team/image").unwrap()? {
            Credentials::Password(user, password) => Some(format!("{user}/{password}")),
            Credentials::Identity(token) => Some(token),
        }
    }

    #[test]
    fn both_files_are_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let docker = dir.path().join("config.json");
        let podman = dir.path().join("auth.json");
        // `dTpw` is `u:p`, `YTpi` is `a:b`.
        let hub = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}, "ghcr.io": {"identitytoken": "t"}}}"#;
        std::fs::write(&docker, hub).unwrap();
        std::fs::write(&podman, r#"{"auths": {"docker.io": {"auth": "YTpi"}, "quay.io": {"auth": "YTpi"}}}"#).unwrap();
        let files = [dir.path().join("missing"), docker, podman.clone()];
        assert_eq!(password(&files, "docker.io").as_deref(), Some("u/p"));
        assert_eq!(password(&[podman], "docker.io").as_deref(), Some("a/b"));
        assert_eq!(password(&files, "quay.io").as_deref(), Some("a/b"));
        assert_eq!(password(&files, "ghcr.io").as_deref(), Some("t"));
        assert_eq!(password(&files, "example.org"), None);
    }

    #[test]
    fn podman_keeps_credentials_of_namespaces() {
        let dir = tempfile::tempdir().unwrap();
        let podman = dir.path().join("auth.json");
        let all = r#"{"auths": {"quay.io": {"auth": "dTpw"}, "quay.io/team": {"auth": "YTpi"}}}"#;
        std::fs::write(&podman, all).unwrap();
        let files = [podman];
        assert_eq!(password(&files, "quay.io").as_deref(), Some("a/b"));
        assert!(
            matches!(find_now(&files, "quay.io", "other/x").unwrap(), Some(Credentials::Password(user, _)) if user == "u")
        );
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.json");
        std::fs::write(&file, "{").unwrap();
        let error = find_now(std::slice::from_ref(&file), "quay.io", "team/image").unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", Credentials::Password("u".into(), "hidden".into())).contains("hidden"));
    }
}
