//! A token that a channel's URL names by a variable is in the requests, and in nothing that stays or is shown.

#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::path::Path;

use super::common::{Ran, Sandbox, Server, tree};

const TOKEN: &str = "tk-0123456789-hidden";

/// A sandbox whose image wants a channel with a token, and its server.
fn with_token() -> (Sandbox, Server) {
    let sandbox = Sandbox::new();
    Sandbox::packages().write(sandbox.path("served").join(format!("t/{TOKEN}/forge")));
    let server = Server::start(sandbox.path("served"));
    let channel = format!("{}t/$FORGE_TOKEN/forge", server.url());
    let environment = format!("channels:\n  - {channel}\ndependencies: [libfoo, certs]\n");
    sandbox.write("project/tiny/environment.yml", environment.as_bytes());
    (sandbox, server)
}

fn run(sandbox: &Sandbox, token: &str, arguments: &[&str]) -> Ran {
    Ran::new(sandbox.command(arguments).env("FORGE_TOKEN", token).output().unwrap())
}

/// Every file below `folder`, and what is in it, decompressed where it is.
fn assert_nowhere(folder: &Path, secret: &str) -> usize {
    let files = tree(folder);
    for (path, content) in &files {
        let unpacked = match content.get(..4) {
            Some([0x28, 0xb5, 0x2f, 0xfd]) => zstd::decode_all(content.as_slice()).unwrap(),
            Some([0x1f, 0x8b, ..]) => {
                let mut out = Vec::new();
                flate2::read::MultiGzDecoder::new(content.as_slice()).read_to_end(&mut out).unwrap();
                out
            }
            _ => content.clone(),
        };
        for bytes in [path.as_os_str().as_encoded_bytes(), content, &unpacked] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "`{secret}` is in {}", path.display());
        }
    }
    files.len()
}

#[test]
fn a_token_is_in_no_lock_log_cache_or_image() {
    let (sandbox, server) = with_token();
    for arguments in [&["-vv", "lock"][..], &["-vvv", "build"], &["-vv", "lock", "--check"], &["outdated", "-vv"]] {
        let ran = run(&sandbox, TOKEN, arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!ran.stderr.contains(TOKEN) && !ran.stdout.contains(TOKEN), "{arguments:?}: {}", ran.stderr);
    }
    assert!(server.requests().iter().any(|line| line.contains(TOKEN)));
    assert!(sandbox.read("project/tiny/conda-lock.yml").contains("t/${FORGE_TOKEN}/forge/noarch/certs-2024.1-0.conda"));
    assert!(assert_nowhere(&sandbox.path("project"), TOKEN) > 10);
    assert!(assert_nowhere(&sandbox.path("cache"), TOKEN) > 5);
    // Not even the variable: in an image nobody has it.
    assert_nowhere(&sandbox.path("project/.esker"), "FORGE_TOKEN");
    run(&sandbox, TOKEN, &["rebuild", "tiny"]).fails(2, &["is not recorded what it was built from", "variables"]);
}

#[test]
fn a_failure_does_not_show_the_token() {
    let (sandbox, server) = with_token();
    assert_eq!(run(&sandbox, TOKEN, &["lock"]).code, Some(0));
    for (suffix, fault) in [("certs-2024.1-0.conda", 404), ("certs-2024.1-0.conda", 403), ("certs-2024.1-0.conda", 500)]
    {
        server.inject(suffix, super::common::Fault::Status(fault), usize::MAX);
        let ran = run(&sandbox, TOKEN, &["-vv", "build"]);
        ran.fails(3, &["certs-2024.1-0.conda"]);
        assert!(!ran.stderr.contains(TOKEN), "{}", ran.stderr);
    }
    drop(server);
    let ran = run(&sandbox, TOKEN, &["-vv", "build"]);
    ran.fails(3, &["certs-2024.1-0.conda", "cannot connect"]);
    assert!(!ran.stderr.contains(TOKEN), "{}", ran.stderr);
}

#[test]
fn a_token_that_is_not_set_is_asked_for_when_it_is_needed() {
    let (sandbox, _server) = with_token();
    run(&sandbox, "", &["lock"]).fails(2, &["tiny/environment.yml:2:5: ", "`FORGE_TOKEN` is not set"]);
    assert_eq!(run(&sandbox, TOKEN, &["lock"]).code, Some(0));
    // A check and a lock that holds need no channel.
    sandbox.ok(&["lock", "--check"]);
    sandbox.ok(&["lock"]);
    sandbox.run(&["build"]).fails(2, &["tiny/environment.yml:2:5: ", "`FORGE_TOKEN` is not set"]);
    assert_eq!(run(&sandbox, TOKEN, &["build"]).code, Some(0));
    // What is in the cache needs none either.
    sandbox.ok(&["build"]);
}

#[test]
fn a_literal_token_is_refused_by_every_command() {
    let (sandbox, _server) = with_token();
    let literal = sandbox.read("project/tiny/environment.yml").replace("$FORGE_TOKEN", TOKEN);
    sandbox.write("project/tiny/environment.yml", literal.as_bytes());
    for arguments in [&["lock"][..], &["lock", "--check"], &["build"]] {
        let ran = sandbox.run(arguments);
        ran.fails(2, &["tiny/environment.yml:2:5: ", "holds a secret", "/t/$TOKEN/"]);
        assert!(!ran.stderr.contains(TOKEN), "{}", ran.stderr);
    }
}

#[test]
fn credentials_are_found_where_others_keep_them() {
    let netrc = b"machine 127.0.0.1 login u password p\n";
    let json = br#"{"127.0.0.1": {"BasicHTTP": {"username": "u", "password": "p"}}}"#;
    for (variable, file, content) in [
        (None, "home/.netrc", &netrc[..]),
        (Some("NETRC"), "elsewhere/netrc", &netrc[..]),
        (None, "home/.rattler/credentials.json", &json[..]),
        (Some("RATTLER_AUTH_FILE"), "elsewhere/auth.json", &json[..]),
    ] {
        let sandbox = Sandbox::new();
        let server = Server::start(sandbox.path("channel"));
        server.require_authorization("Basic dTpw");
        let mirror = format!("https://conda.anaconda.org/conda-forge/={}", server.url());
        let run = || {
            let path = variable.map(|name| (name, sandbox.path(file)));
            Ran::new(sandbox.command(&["-vv", "lock"]).env("ESKER_MIRROR", &mirror).envs(path).output().unwrap())
        };
        run().fails(3, &["wants other credentials (HTTP 401)", "netrc"]);
        sandbox.write(file, content);
        let ran = run();
        assert_eq!(ran.code, Some(0), "{file}: {}", ran.stderr);
        assert!(!ran.stderr.contains("dTpw"), "{}", ran.stderr);
    }
}
