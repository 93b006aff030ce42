//! Engines behind ssh: each request goes through a `docker system dial-stdio` of its own on the other machine, as
//! Docker's own command does it. The program `ssh` is run, so its configuration, keys, agent and known hosts hold.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bollard::BollardRequest;
use bollard::errors::Error;
use http::{HeaderValue, header};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use super::host::Ssh;

/// The most of what ssh says that an error repeats.
const MOST_SAID: u64 = 2000;

/// Sends `request` to the engine of `target`.
pub async fn send(program: PathBuf, target: Ssh, request: BollardRequest) -> Result<Response<Incoming>, Error> {
    let mut child = start(&program, &target)?;
    let (stdin, stdout) = (child.stdin.take().expect("it is piped"), child.stdout.take().expect("it is piped"));
    let stream = TokioIo::new(tokio::io::join(stdout, stdin));
    let (mut sender, connection) = http1::handshake(stream).await?;
    // Whoever uses an upgraded connection keeps it, and with it the program, running.
    let connection = tokio::spawn(connection.with_upgrades());
    match sender.send_request(to_origin(request)).await {
        Ok(response) => {
            tokio::spawn(async move {
                // Either way it has ended; what came of it is seen in the response's body.
                drop(connection.await);
                drop(sender);
                drop(child.wait().await);
            });
            Ok(response)
        }
        Err(error) => Err(explain(child, &program, &error).await),
    }
}

/// `request` as it goes to a server, not to a proxy.
fn to_origin(mut request: BollardRequest) -> BollardRequest {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().entry(header::HOST).or_insert(HeaderValue::from_static("docker"));
    request
}

fn start(program: &Path, target: &Ssh) -> Result<Child, Error> {
    let mut command = Command::new(program);
    command.args(arguments(target)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().map_err(|error| {
        let text = format!("`{}` cannot be started: {error}", program.display());
        Error::IOError { err: io::Error::new(error.kind(), text) }
    })
}

fn arguments(target: &Ssh) -> Vec<String> {
    let mut arguments: Vec<String> = ["-o", "ConnectTimeout=30", "-T"].map(str::to_owned).into();
    if let Some(user) = &target.user {
        arguments.extend(["-l".to_owned(), user.clone()]);
    }
    if let Some(port) = target.port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--".to_owned(), target.host.clone(), "docker".to_owned()]);
    if let Some(socket) = &target.socket {
        arguments.extend(["--host".to_owned(), format!("unix://{}", quoted(socket))]);
    }
    arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
    arguments
}

/// `text` for the shell that ssh starts on the other side.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What ssh said is worth more than that the connection ended.
async fn explain(mut child: Child, program: &Path, error: &hyper::Error) -> Error {
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        // What cannot be read of it cannot be told.
        drop(stderr.take(MOST_SAID).read_to_string(&mut said).await);
    }
    let said = if said.trim().is_empty() { error.to_string() } else { said.trim().replace('\n', "; ") };
    Error::IOError { err: io::Error::other(format!("`{}` said: {said}", program.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_is_asked_as_docker_asks_it() {
        let target = Ssh {
            host: "build.example.org".to_owned(),
            user: Some("me".to_owned()),
            port: Some(2222),
            socket: Some("/run/it's.sock".to_owned()),
        };
        assert_eq!(
            arguments(&target).join(" "),
            r"-o ConnectTimeout=30 -T -l me -p 2222 -- build.example.org docker --host unix://'/run/it'\''s.sock' system dial-stdio"
        );
    }
}
