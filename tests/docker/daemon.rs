//! A BuildKit daemon of its own. The one in the Docker engine of this machine stands in for it: it speaks the same over
//! gRPC, but cannot give images away, so what is shown here ends where an image would be.

use esker::docker::{BuildRequest, BuildkitDaemon, Error};
use esker::oci::tar::{Entry, Kind, TarWriter};
use esker::progress::Silent;

use crate::common::{Ran, judges, skipped};
use crate::hosts::{Relay, certificates, program};
use crate::project::{Project, has_engine, host};

/// What `docker exec -i NAME buildctl dial-stdio` does, with the daemon that is part of the engine.
pub const STAND_IN: &str = r#"#!/usr/bin/env python3
import os, socket, sys, threading

assert sys.argv[1:] == ["exec", "-i", "buildkitd", "buildctl", "dial-stdio"], sys.argv
daemon = socket.socket(socket.AF_UNIX)
daemon.connect("/var/run/docker.sock")
daemon.sendall(b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
answer = b""
while not answer.endswith(b"\r\n\r\n"):
    answer += daemon.recv(1)
assert b" 101 " in answer.splitlines()[0], answer

def send():
    while data := os.read(0, 1 << 16):
        daemon.sendall(data)
    daemon.shutdown(socket.SHUT_WR)

threading.Thread(target=send, daemon=True).start()
while data := daemon.recv(1 << 16):
    os.write(1, data)
"#;

#[test]
fn a_daemon_in_a_container_is_reached_and_what_it_cannot_see_is_said() {
    if !has_engine() {
        return;
    }
    if judges::python().is_none() {
        return skipped("there is no Python");
    }
    let project = Project::new("ARG BASE\nFROM ${BASE}\n");
    program(&project, "bin/docker", "#!/bin/sh\nexit 1\n");
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
    let builder = ["build", "tiny", "--builder", "docker-container://buildkitd"];
    let build = || Ran::new(project.command(&builder).env("PATH", &path).output().unwrap());
    build().fails(3, &["`docker-container://buildkitd` cannot be reached"]);
    program(&project, "bin/docker", STAND_IN);
    build().fails(2, &["docker-container://buildkitd", "`rootfs:../base-amd64.tar`, which is in no registry"]);

    // What is built on another image needs that one where the daemon can get it.
    project.environment("base-image", &["certs"]);
    project.write("project/base-image/Dockerfile", b"ARG BASE\nFROM ${BASE}\n");
    project.ok(&["lock"]);
    build().fails(2, &["build the image first"]);
    project.ok(&["build", "base-image"]);
    build().fails(1, &["`base-image`, which it builds on", "`esker push base-image`"]);
}

/// Speaks gRPC's TLS with whoever has a certificate of `ca.pem`, and passes on what they say to the engine's daemon.
const TLS_RELAY: &str = r#"
import socket, ssl, subprocess, threading

context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="ca.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain("server.pem", "server-key.pem")
context.set_alpn_protocols(["h2"])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def serve(plain):
    try:
        outside = context.wrap_socket(plain, server_side=True)
    except OSError:
        return
    command = ["python3", "stand-in", "exec", "-i", "buildkitd", "buildctl", "dial-stdio"]
    daemon = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def answer():
        while data := daemon.stdout.read(1 << 16):
            outside.sendall(data)

    threading.Thread(target=answer, daemon=True).start()
    try:
        while data := outside.recv(1 << 16):
            daemon.stdin.write(data)
    except OSError:
        pass
    daemon.kill()

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

#[test]
fn a_daemon_behind_tls_builds_for_those_with_a_certificate() {
    if !has_engine() {
        return;
    }
    let Some(mut python) = judges::python() else { return skipped("there is no Python") };
    let project = Project::new("ARG BASE\nFROM ${BASE}\n");
    project.write("certs/relay.py", TLS_RELAY.as_bytes());
    project.write("certs/stand-in", STAND_IN.as_bytes());
    for folder in ["certs", "strangers"] {
        fs_err::create_dir_all(project.path(folder)).unwrap();
        if !certificates(&project.path(folder)) {
            return skipped("there is no openssl that makes certificates");
        }
    }
    python.arg("relay.py").current_dir(project.path("certs")).stdout(std::process::Stdio::piped());
    let (relay, port) = Relay(python.spawn().unwrap()).port();
    let build = |address: &str, folder: Option<&str>| {
        let mut build = project.command(&["build", "tiny", "--builder", address]);
        build.envs(folder.map(|folder| ("ESKER_BUILDER_CERTS", project.path(folder))));
        Ran::new(build.output().unwrap())
    };
    let address = format!("tcp://127.0.0.1:{port}");
    // The daemon has answered; what it cannot see comes after that.
    let answered = "which is in no registry";
    build(&address, Some("certs")).fails(2, &[answered]);
    build(&format!("tcp://localhost:{port}?servername=127.0.0.1"), Some("certs")).fails(2, &[answered]);
    let arguments = ["build", "tiny", "--builder", &address, "--builder-certs", "../certs"];
    project.run(&arguments).fails(2, &[answered]);

    for (address, folder) in [
        (address.as_str(), Some("strangers")),
        (&address, None),
        (&format!("tcp://127.0.0.1:{port}?servername=elsewhere.example.org"), Some("certs")),
    ] {
        build(address, folder).fails(3, &["the BuildKit daemon at", "cannot be reached"]);
    }
    build(&address, Some("nowhere")).fails(2, &["`ca.pem`", "`--builder-certs`"]);
    build("docker-container://buildkitd", Some("certs")).fails(2, &["only `tcp://`"]);
    drop(relay);
}

#[tokio::test]
async fn a_build_is_handed_over_and_its_end_is_told() {
    if !has_engine() {
        return;
    }
    let Some(python) = judges::python() else { return skipped("there is no Python") };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("buildkitd.sock");
    let relay = folder.path().join("relay.py");
    let serve = format!(
        r#"
import socket, subprocess
listener = socket.socket(socket.AF_UNIX)
listener.bind("{}")
listener.listen()
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    subprocess.Popen(["python3", "stand-in", "exec", "-i", "buildkitd", "buildctl", "dial-stdio"],
                     stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)
    connection.close()
"#,
        socket.display()
    );
    fs_err::write(&relay, serve).unwrap();
    fs_err::write(folder.path().join("stand-in"), STAND_IN).unwrap();
    let mut python = tokio::process::Command::from(python);
    let mut relay = python
        .arg("relay.py")
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    tokio::io::AsyncReadExt::read_exact(relay.stdout.as_mut().unwrap(), &mut ready).await.unwrap();

    let daemon = BuildkitDaemon::connect(&format!("unix://{}", socket.display()).parse().unwrap()).await.unwrap();
    let mut context = TarWriter::new(Vec::new());
    let text = b"FROM scratch\n";
    let kind = Kind::File(text.len() as u64);
    let entry = Entry { path: "Dockerfile".into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0 };
    context.append(&entry, &text[..]).unwrap();
    let request = BuildRequest {
        dockerfile: "Dockerfile".into(),
        args: [].into(),
        platform: host(),
        tag: "localhost/esker-test/daemon:x".into(),
        host_network: false,
        no_cache: true,
        logins: Vec::new(),
    };
    let archive = folder.path().join("image.tar");
    let built = daemon.build(&request, context.end().unwrap(), &archive, &Silent).await;
    let Err(Error::Build { reason, .. }) = &built else { panic!("{built:?}") };
    assert!(reason.contains("exporter"), "an engine's daemon has none for archives: {reason}");
    relay.kill().await.unwrap();
}
