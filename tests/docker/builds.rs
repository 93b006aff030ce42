//! Images from Dockerfiles: what is in them, that they come out the same, and what is said when they do not.

use esker::oci::{Platform, validate};
use serde_json::json;

use crate::common::{Ran, skipped};
use crate::project::{Project, has_engine, host};

/// Something of every kind: a step that leaves times, a file of the folder, settings that OCI's types do not know.
const DOCKERFILE: &str = r#"ARG BASE
FROM ${BASE}
ENV PROJECT=UNIQUE
RUN mkdir /made && echo "$RANDOM" > /dev/null && echo made > /made/file
COPY note /made/note
ENV GREETING="good day"
HEALTHCHECK --interval=3s CMD ["/bin/sh", "-c", "true"]
ONBUILD RUN echo child > /made/child
CMD ["/bin/sh"]
"#;

/// The builder's cache is the engine's: what other runs of this test left there must not serve this one.
fn unique(dockerfile: &str, project: &Project) -> String {
    dockerfile.replace("UNIQUE", project.path("project").to_str().unwrap())
}

fn noted(dockerfile: &str) -> Project {
    let project = Project::new(dockerfile);
    project.write("project/tiny/Dockerfile", unique(dockerfile, &project).as_bytes());
    project.write("project/tiny/note", b"a note\n");
    project
}

#[test]
fn a_dockerfile_becomes_an_image_like_any_other() {
    if !has_engine() {
        return;
    }
    let project = noted(DOCKERFILE);
    let built = project.build_with(&[], &[]);
    let files = built.files(host(), "made/");
    assert_eq!(files["made/file"], "made\n");
    assert_eq!(files["made/note"], "a note\n");
    assert!(built.said.contains("RUN mkdir /made"), "{}", built.said);

    let configuration = built.configuration();
    assert_eq!(configuration["config"]["OnBuild"], json!(["RUN echo child > /made/child"]));
    assert_eq!(configuration["config"]["Healthcheck"]["Interval"], json!(3_000_000_000u64));
    assert!(configuration["config"]["Env"].as_array().unwrap().contains(&json!("GREETING=good day")));
    assert_eq!(configuration["created"], "1980-01-01T00:00:00Z", "a root file system tells no time");
    assert_eq!(built.report["platforms"][0]["layers"], 3);
    validate(&built.layout).unwrap();

    // The base keeps its layer, which other images have, too.
    let native = project.ok(&["build", "tiny", "--engine", "native", "--output", "oci:../native", "--json"]).stdout;
    let native: serde_json::Value = serde_json::from_str(&native).unwrap();
    assert_ne!(native["images"][0]["digest"], built.report["digest"]);
    let other = esker::oci::Layout::open(project.path("native")).unwrap().image(host()).unwrap();
    assert_eq!(built.image(host()).layers[0].digest, other.layers[0].digest);
}

#[test]
fn the_same_comes_out_again_with_the_builder_s_cache_and_without() {
    if !has_engine() {
        return;
    }
    let project = noted(DOCKERFILE);
    for variables in [&[][..], &[("DOCKER_BUILDKIT", "0")]] {
        let first = project.build_with(&["--no-cache"], variables);
        let warm = project.build_with(&[], variables);
        assert_eq!(warm.digest(), first.digest());
        assert_eq!(warm.report["platforms"][0]["reused_layers"], 3, "nothing is taken out of the engine again");
        // Another second, so that whatever is stamped is stamped otherwise.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let anew = project.build_with(&["--no-cache"], variables);
        assert_eq!(anew.digest(), first.digest(), "{variables:?}");
        assert_eq!(variables.is_empty(), !anew.said.contains("classic builder"), "{}", anew.said);
    }
    project.build_with(&[], &[]);
    project.write("project/tiny/note", b"another note\n");
    let changed = project.build_with(&[], &[]);
    assert_eq!(changed.report["platforms"][0]["reused_layers"], 2, "{}", changed.said);
    let stamped = project.build_with(&[], &[("SOURCE_DATE_EPOCH", "1700000000")]);
    assert_eq!(stamped.configuration()["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn a_step_that_fails_is_told_with_its_output() {
    if !has_engine() {
        return;
    }
    let step = "RUN echo first words; echo last words >&2; exit 7";
    let project = Project::new(&format!("ARG BASE\nFROM ${{BASE}}\n{step}\n"));
    for (builder, code) in [("1", "7"), ("0", "7")] {
        let mut command = project.command(&["build", "tiny", "--platform", &host().to_string()]);
        let ran = Ran::new(command.env("DOCKER_BUILDKIT", builder).output().unwrap());
        ran.fails(1, &["exit 7", "first words", "last words", code, &host().to_string()]);
        let message = ran.stderr.split("error").last().unwrap();
        assert!(message.contains("its output ended with"), "{}", ran.stderr);
    }
    assert!(!project.path("project/.esker/images/tiny/index.json").exists(), "nothing is half there");
    project.write("project/tiny/Dockerfile", b"ARG BASE\nFROM ${BASE}\nRUM true\n");
    project.run(&["build", "tiny"]).fails(1, &["RUM"]);
    let nowhere = project.command(&["build", "tiny"]).env("DOCKER_HOST", "unix:///nowhere/docker.sock").output();
    Ran::new(nowhere.unwrap()).fails(3, &["/nowhere/docker.sock", "--engine native"]);
}

#[test]
fn packages_come_from_esker_s_cache_and_only_those_that_are_locked() {
    if !has_engine() {
        return;
    }
    let fetch = r#"fetch() { exec 3<>"/dev/tcp/$host/$port"; \
        printf 'GET /https/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' "$1" >&3; cat <&3; }"#;
    let dockerfile = format!(
        r#"ARG BASE
FROM ${{BASE}}
ARG PACKAGE_MIRROR
SHELL ["/bin/bash", "-euc"]
RUN address="${{PACKAGE_MIRROR#http://}}"; address="${{address%/https}}"; \
    host="${{address%:*}}"; port="${{address#*:}}"; \
    {fetch}; mkdir /got; \
    fetch conda.anaconda.org/conda-forge/noarch/FILE | head -n1 > /got/locked; \
    fetch conda.anaconda.org/conda-forge/noarch/other-1-0.conda | head -n1 > /got/other
"#
    );
    let project = Project::new(&dockerfile);
    let lock = project.read("project/tiny/conda-linux-64.lock");
    let file = lock.lines().find(|line| line.contains("/certs-")).unwrap().rsplit('/').next().unwrap();
    let file = file.split('#').next().unwrap().to_owned();
    project.write("project/tiny/Dockerfile", dockerfile.replace("FILE", &file).as_bytes());
    let built = project.build_with(&[], &[]);
    let got = built.files(host(), "got/");
    assert!(got["got/locked"].contains(" 200 "), "{got:?}");
    assert!(got["got/other"].contains(" 404 "), "{got:?}");
    assert_eq!(built.report["downloaded_packages"], 1);
    let history = built.configuration()["history"].to_string();
    assert!(history.contains("PACKAGE_MIRROR=") && !history.contains("127.0.0.1"), "{history}");
    let again = project.build_with(&["--no-cache"], &[]);
    assert_eq!((again.digest(), &again.report["downloaded_packages"]), (built.digest(), &json!(0)));
}

#[test]
fn an_image_is_built_on_the_image_of_the_root_prefix() {
    if !has_engine() {
        return;
    }
    let project = Project::new("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo tiny > /made/tiny\n");
    project.environment("base-image", &["certs"]);
    project.write("project/base-image/Dockerfile", unique(DOCKERFILE, &project).as_bytes());
    project.write("project/base-image/note", b"below\n");
    project.ok(&["lock"]);
    let built = project.build_with(&[], &[]);
    let files = built.files(host(), "made/");
    let expected = [("child", "child\n"), ("file", "made\n"), ("note", "below\n"), ("tiny", "tiny\n")];
    assert_eq!(files, expected.map(|(name, text)| (format!("made/{name}"), text.to_owned())).into());
    // The image below, built by itself, has the same layers: they are pulled once.
    let report = project.ok(&["build", "base-image", "--platform", &host().to_string(), "--json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["images"][0]["platforms"][0]["reused_layers"], 3);
    let below = esker::oci::Layout::open(project.path("project/.esker/images/base-image")).unwrap();
    let below = below.image(host()).unwrap();
    let digests = |layers: &[esker::oci::Layer]| layers.iter().map(|layer| layer.digest).collect::<Vec<_>>();
    assert_eq!(digests(&built.image(host()).layers)[..3], digests(&below.layers));
}

#[test]
fn platforms_become_one_index() {
    if !has_engine() {
        return;
    }
    if host() != Platform::LinuxAmd64 || !std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        skipped("this machine does not run programs for arm64");
        return;
    }
    let project = Project::new("ARG BASE\nFROM ${BASE}\nRUN mkdir /made\nCOPY Dockerfile /made/\n");
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    for variables in [&[][..], &[("DOCKER_BUILDKIT", "0")]] {
        let built = project.build_with(&platforms, variables);
        assert_eq!(built.report["platforms"].as_array().unwrap().len(), 2);
        for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
            assert_eq!(built.image(platform).platform, platform);
            assert!(built.files(platform, "made/").contains_key("made/Dockerfile"), "{platform}");
        }
        let index = built.layout.index().unwrap();
        let documents = index.manifests().iter().filter(|entry| entry.artifact_type().is_some()).count();
        assert_eq!(documents, 5, "two SBOMs each, and the provenance of both");
        assert_eq!(index.manifests().len(), 3 + documents, "the index of both, and a tag for each");
    }
    let alone = project.build_with(&["--platform", "linux/arm64"], &[]);
    assert_eq!(alone.report["platforms"][0]["platform"], "linux/arm64");
}

#[test]
fn what_is_for_one_engine_is_refused_by_the_other() {
    let project = Project::new("FROM scratch\n");
    for (arguments, expected) in [
        (vec!["--onto", "oci:x"], "`--onto` is for `--engine native`"),
        (vec!["--cache-from", "quay.io/x/y"], "`--cache-from` is for `--engine native`"),
        (vec!["--engine", "native", "--builder", "tcp://x:1"], "`--builder` is for `--engine docker`"),
        (vec!["--engine", "native", "--no-cache"], "`--no-cache` is for `--engine docker`"),
        (vec!["--builder", "x:1"], "is no address of a BuildKit daemon"),
    ] {
        project.run(&[vec!["build", "tiny"], arguments].concat()).fails(2, &[expected]);
    }
    project.setting("buildkitd: nowhere");
    project.run(&["build", "tiny"]).fails(2, &["`nowhere` is no address"]);
    let text = project.read("project/esker.yml").replace("engine: docker", "engine: podman");
    project.write("project/esker.yml", text.as_bytes());
    project.run(&["images"]).fails(2, &["write `native` or `docker`"]);
}
