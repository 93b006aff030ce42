//! Engines that are elsewhere: behind ssh, behind TLS, in a context. Elsewhere is here, behind a relay.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use esker::oci::Digest;

use crate::common::{Ran, judges, skipped};
use crate::project::{Project, has_engine, host};

const DOCKERFILE: &str = "ARG BASE\nFROM ${BASE}\nRUN mkdir /made && echo far > /made/file\n";

/// Speaks TLS with whoever has a certificate of `ca.pem`, and passes on what they say to the engine of this machine.
const TLS_RELAY: &str = r#"
import socket, ssl, sys, threading

context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile="ca.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.load_cert_chain("server.pem", "server-key.pem")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def pump(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

def serve(plain):
    try:
        outside = context.wrap_socket(plain, server_side=True)
    except OSError:
        return
    inside = socket.socket(socket.AF_UNIX)
    inside.connect("/var/run/docker.sock")
    threading.Thread(target=pump, args=(outside, inside), daemon=True).start()
    pump(inside, outside)

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// A program of this text in the sandbox.
pub fn program(project: &Project, name: &str, text: &str) -> String {
    project.write(name, text.as_bytes());
    fs_err::set_permissions(project.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    project.path(name).to_str().unwrap().to_owned()
}

#[test]
fn an_engine_behind_ssh_builds_the_same() {
    if !has_engine() {
        return;
    }
    let project = Project::new(DOCKERFILE);
    let here = project.build_with(&[], &[]);
    let log = project.path("asked");
    let relay =
        format!("#!/bin/sh\necho \"$*\" >> {}\nunset DOCKER_HOST\nexec docker system dial-stdio\n", log.display());
    let ssh = program(&project, "bin/ssh", &relay);
    let far = [("DOCKER_HOST", "ssh://me@build.example.org:2222"), ("ESKER_SSH", ssh.as_str())];
    for (arguments, buildkit) in [(&["--no-cache"][..], "1"), (&[], "1"), (&["--no-cache"], "0")] {
        let variables = [&far[..], &[("DOCKER_BUILDKIT", buildkit)]].concat();
        let there = project.build_with(arguments, &variables);
        assert_eq!(there.files(host(), "made/")["made/file"], "far\n");
        assert_eq!(there.digest() == here.digest(), buildkit == "1");
    }
    let asked = fs_err::read_to_string(log).unwrap();
    let expected = "-o ConnectTimeout=30 -T -l me -p 2222 -- build.example.org docker system dial-stdio";
    assert!(asked.lines().all(|line| line == expected), "{asked}");

    let refusing = program(&project, "bin/refuses", "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n");
    let mut build = project.command(&["build", "tiny"]);
    let ran = Ran::new(build.envs(far).env("ESKER_SSH", refusing).output().unwrap());
    ran.fails(3, &["ssh://build.example.org", "Permission denied (publickey)."]);
}

#[test]
fn an_engine_of_a_context_builds() {
    if !has_engine() {
        return;
    }
    let project = Project::new(DOCKERFILE);
    let folder = format!("home/.docker/contexts/meta/{}", Digest::of(b"here").hex());
    let meta = r#"{"Name": "here", "Metadata": {}, "Endpoints": {"docker": {"Host": "unix:///var/run/docker.sock"}}}"#;
    project.write(&format!("{folder}/meta.json"), meta.as_bytes());
    let built = project.build_with(&[], &[("DOCKER_CONTEXT", "here")]);
    assert_eq!(built.files(host(), "made/")["made/file"], "far\n");
    let mut build = project.command(&["build", "tiny"]);
    Ran::new(build.env("DOCKER_CONTEXT", "gone").output().unwrap()).fails(2, &["`gone`", "no such context"]);
    // Outputs and verify ask the same.
    project.write("home/.docker/config.json", br#"{"currentContext": "gone"}"#);
    let arguments = ["build", "tiny", "--engine", "native", "--output", "docker:", "--platform", "linux/amd64"];
    project.run(&arguments).fails(2, &["`gone`", "`config.json`"]);
}

#[test]
fn an_engine_behind_tls_builds_for_those_with_a_certificate() {
    if !has_engine() {
        return;
    }
    let Some(mut python) = judges::python() else { return skipped("there is no Python") };
    let project = Project::new(DOCKERFILE);
    project.write("certs/relay.py", TLS_RELAY.as_bytes());
    let folder = project.path("certs");
    if !certificates(&folder) {
        return skipped("there is no openssl that makes certificates");
    }
    python.arg("relay.py").current_dir(&folder).stdout(Stdio::piped());
    let relay = Relay(python.spawn().unwrap());
    let (relay, port) = relay.port();
    let address = format!("tcp://127.0.0.1:{port}");
    let folder = folder.to_str().unwrap();
    let built =
        project.build_with(&[], &[("DOCKER_HOST", &address), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", folder)]);
    assert_eq!(built.files(host(), "made/")["made/file"], "far\n");

    let strangers = project.path("strangers");
    fs_err::create_dir_all(&strangers).unwrap();
    assert!(certificates(&strangers));
    let mut build = project.command(&["build", "tiny"]);
    build.env("DOCKER_HOST", &address).env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", &strangers);
    Ran::new(build.output().unwrap()).fails(3, &[&address]);
    drop(relay);
}

/// A relay, ended when it is dropped.
pub struct Relay(pub Child);

impl Relay {
    pub fn port(mut self) -> (Self, u16) {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        (self, port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Makes an authority, a certificate of a server at 127.0.0.1, and one of a client, called as Docker calls them.
pub fn certificates(folder: &Path) -> bool {
    fs_err::write(folder.join("openssl.cnf"), "[req]\ndistinguished_name=name\n[name]\n").unwrap();
    let request = |key: &str, certificate: &str, rest: &[&str]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-config", "openssl.cnf", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        openssl.args(["-keyout", key, "-out", certificate]).args(rest).current_dir(folder);
        openssl.output().is_ok_and(|output| output.status.success())
    };
    let signed = ["-CA", "ca.pem", "-CAkey", "ca-key.pem", "-addext", "basicConstraints=CA:FALSE"];
    let of = |subject: &'static str, rest: &[&'static str]| [&["-subj", subject], &signed[..], rest].concat();
    request("ca-key.pem", "ca.pem", &["-subj", "/CN=authority", "-addext", "basicConstraints=critical,CA:TRUE"])
        && request("server-key.pem", "server.pem", &of("/CN=server", &["-addext", "subjectAltName=IP:127.0.0.1"]))
        && request("key.pem", "cert.pem", &of("/CN=client", &["-addext", "extendedKeyUsage=clientAuth"]))
}
