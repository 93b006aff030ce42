//! Images of a registry that asks who pulls: the builder gets the login, and nobody else does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::{Ran, judges, skipped};
use crate::daemon::STAND_IN;
use crate::dockerd::Dockerd;
use crate::hosts::program;
use crate::project::{Project, has_engine, host};
use crate::registry::RealRegistry;

const USER: &str = "team";
const PASSWORD: &str = "not-to-be-seen-7";
/// `htpasswd -nbBC 5 team not-to-be-seen-7`
const USERS: &str = "team:$2b$05$tI8Hg7gYErCiEIOcvoZ30.14tNwntanwQDNc3TtQV/vX1OACKBdXi\n";

/// A project whose Dockerfile takes files from an image in a registry behind a password, which is there; `None`, said to be
/// skipped, where there is no registry to be had.
fn guarded() -> Option<(Project, RealRegistry)> {
    let there = std::process::Command::new("docker-registry").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        skipped("docker-registry is not installed");
        return None;
    }
    let project = Project::new("");
    fs_err::create_dir_all(project.path("registry")).unwrap();
    let registry = RealRegistry::guarded(&project.path("registry"), USERS);
    let dockerfile = format!(
        "ARG BASE\nARG FROM=other.example.org/x\nARG FROM={}/team/tools:1\nFROM ${{FROM}} AS tools\nFROM ${{BASE}}\n\
         COPY --from=tools /etc/passwd /made/\n",
        registry.address
    );
    project.write("project/tiny/Dockerfile", dockerfile.as_bytes());
    // A helper, which tells what it was asked for.
    let helper = format!(
        "#!/bin/sh\nread -r host\necho \"$host\" >> {}\nprintf '{{\"ServerURL\": \"%s\", \"Username\": \"{USER}\", \
         \"Secret\": \"{PASSWORD}\"}}' \"$host\"\n",
        project.path("asked").display()
    );
    program(&project, "bin/docker-credential-spy", &helper);
    log_in(&project, &registry);
    project.environment("tools", &["certs"]);
    project.ok(&["lock", "tools"]);
    let reference = format!("{}/team/tools:1", registry.address);
    ok(&project, &["build", "tools", "--engine", "native", "--compression", "gzip"]);
    ok(&project, &["push", "tools", &reference]);
    fs_err::write(project.path("asked"), "").unwrap();
    Some((project, registry))
}

fn log_in(project: &Project, registry: &RealRegistry) {
    let config = serde_json::json!({"credHelpers": {&registry.address: "spy", "other.example.org": "spy"}});
    project.write("home/.docker/config.json", config.to_string().as_bytes());
}

/// esker, with the helper among the programs.
fn run(project: &Project, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
    let mut command = project.command(arguments);
    Ran::new(command.env("PATH", path).envs(variables.iter().copied()).output().unwrap())
}

fn ok(project: &Project, arguments: &[&str]) {
    let ran = run(project, arguments, &[]);
    assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
}

/// The password is nowhere in what was said and left, in none of the forms it is sent in.
#[track_caller]
fn assert_unseen(project: &Project, ran: &Ran) {
    let forms = [PASSWORD.to_owned(), STANDARD.encode(format!("{USER}:{PASSWORD}"))];
    let said = [ran.stdout.as_bytes(), ran.stderr.as_bytes()].map(<[u8]>::to_vec);
    let left = crate::common::tree(&project.path("project")).into_values();
    for text in said.into_iter().chain(left) {
        let text = String::from_utf8_lossy(&text);
        for form in &forms {
            let at = text.find(form.as_str());
            assert_eq!(at, None, "…{}…", at.map_or("", |at| text.get(at.saturating_sub(200)..at).unwrap_or_default()));
        }
    }
}

#[test]
fn the_engine_gets_the_login_of_the_registry_that_is_named() {
    if !has_engine() {
        return;
    }
    let Some((project, registry)) = guarded() else { return };
    let platform = host().to_string();
    let build = ["build", "tiny", "--json", "--no-cache", "--platform", &platform, "-vvv"];
    for buildkit in ["1", "0"] {
        let variables = [("DOCKER_BUILDKIT", buildkit)];
        let ran = run(&project, &build, &variables);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_unseen(&project, &ran);
        let asked = fs_err::read_to_string(project.path("asked")).unwrap();
        assert_eq!(asked.trim(), registry.address, "and no other's");
        fs_err::write(project.path("asked"), "").unwrap();

        let layout = esker::oci::Layout::open(project.path("project/.esker/images/tiny")).unwrap();
        let image = layout.image(host()).unwrap();
        let secret = |_: &str| true;
        let files = esker::oci::read_files(&image, &layout, secret).unwrap();
        assert!(files.contains_key("made/passwd"));
        let has = |content: &Vec<u8>| String::from_utf8_lossy(content).contains(PASSWORD);
        assert!(!files.values().any(has));

        // Without a login the engine is refused, and says which image it was. The classic builder would use what is there.
        let pulled = format!("{}/team/tools:1", registry.address);
        drop(std::process::Command::new("docker").args(["image", "rm", "--force", &pulled]).output());
        project.write("home/.docker/config.json", b"{}");
        let name = format!("{}/team/tools", registry.address);
        run(&project, &["build", "tiny", "--no-cache", "--platform", &platform], &variables).fails(1, &[&name]);
        // A wrong one is not told either.
        let wrong = STANDARD.encode(format!("{USER}:wrong-{PASSWORD}"));
        let config = serde_json::json!({"auths": {&registry.address: {"auth": wrong}}});
        project.write("home/.docker/config.json", config.to_string().as_bytes());
        let ran = run(&project, &build, &variables);
        ran.fails(1, &[&name]);
        assert_unseen(&project, &ran);
        log_in(&project, &registry);
    }
}

/// Has a BuildKit daemon build on the guarded base.
fn build_by_daemon(project: &Project, registry: &RealRegistry, more: &[&str]) -> Ran {
    let (base, platform) = (format!("{}/team/tools:1", registry.address), host().to_string());
    let builder = "docker-container://buildkitd";
    let build = ["build", "tiny", "--builder", builder, "--base", &base, "--platform", &platform, "-vvv"];
    run(project, &[&build[..], more].concat(), &[])
}

#[test]
fn a_daemon_gets_the_login_of_a_base() {
    if !has_engine() {
        return;
    }
    if judges::python().is_none() {
        return skipped("there is no Python");
    }
    let Some((project, registry)) = guarded() else { return };
    program(&project, "bin/docker", STAND_IN);
    project.write("project/tiny/Dockerfile", b"ARG BASE\nFROM ${BASE}\n");
    // It has the base, and ends where an image would be: the engine's own daemon gives none away.
    let ran = build_by_daemon(&project, &registry, &[]);
    ran.fails(1, &["exporter"]);
    assert_unseen(&project, &ran);
}

#[test]
fn a_daemon_that_exports_builds_on_a_base_behind_a_login() {
    if judges::python().is_none() {
        return skipped("there is no Python");
    }
    let Some((project, registry)) = guarded() else { return };
    let Some(dockerd) = Dockerd::start(&project.path("dockerd")) else { return };
    dockerd.stand_in(&project);
    project.write("project/tiny/Dockerfile", b"ARG BASE\nFROM ${BASE}\nCOPY note /made/note\n");
    project.write("project/tiny/note", b"a note\n");
    let ran = build_by_daemon(&project, &registry, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_unseen(&project, &ran);
    let layout = esker::oci::Layout::open(project.path("project/.esker/images/tiny")).unwrap();
    let files = esker::oci::read_files(&layout.image(host()).unwrap(), &layout, |_: &str| true).unwrap();
    assert_eq!(files["made/note"], b"a note\n");
    assert!(files.keys().any(|path| path.starts_with("srv/conda/")), "the base's files are below");
    assert!(!files.values().any(|content| String::from_utf8_lossy(content).contains(PASSWORD)));

    // Without a login there is no base, and it is said what to do.
    project.write("home/.docker/config.json", b"{}");
    let hint = format!("docker login {}", registry.address);
    build_by_daemon(&project, &registry, &["--no-cache"]).fails(3, &["team/tools", &hint]);
}
