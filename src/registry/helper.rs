//! Programs that keep credentials: `docker-credential-NAME get` reads a registry's name and prints what it has of it (the
//! protocol of docker-credential-helpers).

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::credentials::Credentials;

/// What the protocol has a helper say that knows nothing of a registry; most add where they looked.
const NOT_FOUND: &str = "credentials not found";
/// A user's name that says that the secret is a refresh token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for its credentials for `registry`, and ends it if it has not answered after `limit`. An error
/// has nothing of what it printed, in which there may be a secret.
pub async fn ask(name: &str, registry: &str, limit: Duration) -> Result<Option<Credentials>, String> {
    let program = format!("docker-credential-{name}");
    // A name is part of a program's, and no way to a file.
    if name.contains('/') {
        return Err(format!("`{program}` is no name of a helper"));
    }
    let seconds = limit.as_secs_f64();
    let answered = tokio::time::timeout(limit, run(&program, registry)).await;
    let (is_success, printed) = answered.map_err(|_| format!("`{program}` has not answered after {seconds} s"))??;
    if !is_success {
        let is_unknown = String::from_utf8_lossy(&printed).contains(NOT_FOUND);
        return if is_unknown { Ok(None) } else { Err(format!("`{program}` failed")) };
    }
    match serde_json::from_slice::<Answer>(&printed) {
        Ok(Answer { username, secret }) if username == TOKEN => Ok(Some(Credentials::Identity(secret))),
        Ok(Answer { username, secret }) => Ok(Some(Credentials::Password(username, secret))),
        Err(_) => Err(format!("`{program}` answered with something else than credentials")),
    }
}

/// Whether the helper succeeded, and what it printed.
async fn run(program: &str, registry: &str) -> Result<(bool, Vec<u8>), String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("`{program}` is not on `PATH`"),
        _ => format!("cannot run `{program}`: {error}"),
    };
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(registry.as_bytes()).await {
            // It need not read what it does not want to know.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    Ok((output.status.success(), output.stdout))
}
