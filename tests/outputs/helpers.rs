//! Programs that keep credentials (`docker-credential-NAME`), as Docker's and Podman's files name them.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::common::{Ran, Sandbox};
use crate::fake_registry::writable::{Fault, Features, Writable};
use crate::fake_registry::{Reply, Request};
use crate::locked;

/// What nobody may see. `dTpoaWRkZW4tc2VjcmV0` is `u:hidden-secret`.
const SECRET: &str = "hidden-secret";
const ENCODED: &str = "dTpoaWRkZW4tc2VjcmV0";

/// Somebody with an image, and a registry that wants to know who pushes.
struct World {
    sandbox: Sandbox,
    registry: Writable,
}

impl World {
    fn new() -> Self {
        let sandbox = locked();
        sandbox.build();
        let before = |request: &Request| match request.header("authorization") {
            Some(given) if given == format!("Basic {ENCODED}") => Fault::None,
            _ => Fault::Reply(Reply::status(401).with("www-authenticate", "Basic realm=\"fake\"")),
        };
        Self { sandbox, registry: Writable::start(Features::default(), before, |_, reply| reply) }
    }

    /// A helper that does this after it has noted what it was asked.
    fn helper(&self, name: &str, script: &str) {
        let path = self.sandbox.path(&format!("bin/docker-credential-{name}"));
        let note = self.sandbox.path(&format!("asked-{name}"));
        let text = format!("#!/bin/sh\n{{ echo \"$@\"; cat; }} >> '{}'\n{script}\n", note.display());
        self.sandbox.write(&format!("bin/docker-credential-{name}"), text.as_bytes());
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What the helper was asked, each time; all of it is forgotten.
    fn asked(&self, name: &str) -> String {
        let note = self.sandbox.path(&format!("asked-{name}"));
        let text = fs_err::read_to_string(&note).unwrap_or_default();
        drop(fs_err::remove_file(note));
        text
    }

    fn docker(&self, config: &Value) {
        self.sandbox.write("home/.docker/config.json", config.to_string().as_bytes());
    }

    /// Pushes, with all that is logged; no secret is in it.
    fn push(&self) -> Ran {
        let path = format!("{}:{}", self.sandbox.path("bin").display(), std::env::var("PATH").unwrap());
        let to = format!("{}/x/y:z", self.registry.address);
        let mut command = self.sandbox.command(&["push", "tiny", &to, "-vvv", "--json"]);
        command.env("REGISTRY_AUTH_FILE", self.sandbox.path("auth.json"));
        let ran = Ran::new(command.env("PATH", path).output().unwrap());
        for text in [SECRET, ENCODED] {
            assert!(!ran.stderr.contains(text) && !ran.stdout.contains(text), "{}", ran.stderr);
        }
        ran
    }

    fn pushes(&self) {
        let ran = self.push();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    }
}

fn answer(user: &str, secret: &str) -> String {
    format!("echo '{}'", json!({ "ServerURL": "x", "Username": user, "Secret": secret }))
}

#[test]
fn programs_of_one_registry_and_of_all_are_asked() {
    let world = World::new();
    let address = world.registry.address.clone();
    world.helper("kept", &answer("u", SECRET));
    world.helper("wrong", &answer("u", "another"));
    let asked = format!("get\n{address}");
    world.docker(&json!({ "credsStore": "kept" }));
    world.pushes();
    assert_eq!(world.asked("kept"), asked, "once");
    world.docker(&json!({ "credHelpers": { &address: "kept" } }));
    world.pushes();
    assert_eq!(world.asked("kept"), asked);
    // The program of a registry goes before the file and before that of all, which is for other registries.
    let wrong = json!({ &address: { "auth": "dTpw" } });
    world.docker(&json!({ "credHelpers": { &address: "kept" }, "credsStore": "wrong", "auths": wrong }));
    world.pushes();
    assert_eq!((world.asked("kept"), world.asked("wrong")), (asked.clone(), String::new()));
    world.docker(&json!({ "credHelpers": { "quay.io": "wrong" }, "credsStore": "kept", "auths": { &address: {} } }));
    world.pushes();
    assert_eq!((world.asked("kept"), world.asked("wrong")), (asked.clone(), String::new()));
    // What is in the file needs no program.
    world.docker(&json!({ "credsStore": "wrong", "auths": { &address: { "auth": ENCODED } } }));
    world.pushes();
    assert_eq!(world.asked("wrong"), "");
    // Podman's file names programs, too.
    world.docker(&json!({}));
    world.sandbox.write("auth.json", json!({ "credHelpers": { &address: "kept" } }).to_string().as_bytes());
    world.pushes();
    assert_eq!(world.asked("kept"), asked);
}

#[test]
fn a_program_may_have_a_token_that_gets_others() {
    let sandbox = locked();
    sandbox.build();
    let before = |request: &Request| {
        let realm = format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.header("host").unwrap());
        let is_granted =
            request.path.starts_with("/token") || request.header("authorization") == Some("Bearer granted");
        if is_granted { Fault::None } else { Fault::Reply(Reply::status(401).with("www-authenticate", &realm)) }
    };
    let after = |request: &Request, reply: Reply| {
        if !request.path.starts_with("/token") {
            return reply;
        }
        assert_eq!(request.method, "POST", "a refresh token is posted");
        Reply::body(json!({ "access_token": "granted" }).to_string())
    };
    let world = World { sandbox, registry: Writable::start(Features::default(), before, after) };
    world.helper("tokens", &answer("<token>", SECRET));
    world.docker(&json!({ "credsStore": "tokens" }));
    world.pushes();
    assert!(world.registry.log().iter().any(|line| line.starts_with("POST /token")), "{:#?}", world.registry.log());
}

#[test]
fn programs_that_are_missing_or_fail_are_named() {
    let world = World::new();
    let address = world.registry.address.clone();
    world.helper("fails", &format!("echo {SECRET}; echo {SECRET} >&2; exit 1"));
    world.helper("babbles", &format!("echo {SECRET}"));
    world.helper("deaf", "exec <&-; exit 2");
    for (name, words) in [
        ("gone", "`docker-credential-gone` is not on `PATH`"),
        ("../bin/docker-credential-fails", "is no name of a helper"),
        ("fails", "`docker-credential-fails` failed"),
        ("babbles", "`docker-credential-babbles` answered with something else than credentials"),
        ("deaf", "`docker-credential-deaf` failed"),
    ] {
        for config in [json!({ "credsStore": name }), json!({ "credHelpers": { &address: name } })] {
            world.docker(&config);
            world.push().fails(3, &[words, "config.json", &address]);
        }
    }
    assert_eq!(world.asked("gone"), "");
}

#[test]
fn a_program_that_knows_nothing_leaves_it_to_the_next_file() {
    let world = World::new();
    let address = world.registry.address.clone();
    world.helper("empty", "echo 'credentials not found in native keychain'; exit 1");
    world.docker(&json!({ "credsStore": "empty" }));
    let ran = world.push();
    ran.fails(3, &["denies access", &format!("docker login {address}")]);
    assert!(!ran.stderr.contains("docker-credential-empty"), "{}", ran.stderr);
    let podman = json!({ "auths": { &address: { "auth": ENCODED } } });
    world.sandbox.write("auth.json", podman.to_string().as_bytes());
    world.pushes();
    // As it is where the first file has no programs.
    world.docker(&json!({ "credHelpers": { &address: "empty" } }));
    world.pushes();
}
