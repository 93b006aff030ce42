//! A BuildKit daemon that gives images away.

use esker::oci::{Platform, validate};

use crate::common::{judges, skipped};
use crate::dockerd::{Dockerd, POD};
use crate::project::{Project, host};
use crate::registry::RealRegistry;

#[test]
fn a_daemon_builds_images_and_images_on_them() {
    if judges::python().is_none() {
        return skipped("there is no Python");
    }
    // The step that runs something needs no network, and the engine's daemon has none.
    let below = "ARG BASE\nFROM ${BASE}\nUSER root\nRUN --network=none mkdir /made\nCOPY note /made/note\n";
    let project = Project::new("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY note /made/above\n");
    let Some(dockerd) = Dockerd::start(&project.path("dockerd")) else { return };
    fs_err::create_dir_all(project.path("registry")).unwrap();
    let registry = RealRegistry::start(&project.path("registry"));
    dockerd.stand_in(&project);
    let path = format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap());
    let variables = [("PATH", path.as_str())];

    // The base is an image in a registry.
    project.environment("base", &["certs"]);
    project.ok(&["lock", "base"]);
    project.ok(&["build", "base", "--engine", "native"]);
    project.ok(&["push", "base", &format!("{}/base:1", registry.address)]);
    project.write("project/tiny/note", b"a note\n");
    project.write("project/base-image/note", b"below\n");
    project.write("project/base-image/Dockerfile", below.as_bytes());
    project.environment("base-image", &["certs"]);
    let settings = format!(
        "engine: docker\nregistry: {0}/built\nbase: {0}/base:1\nbuildkitd: docker-container://buildkitd\n",
        registry.address
    );
    project.write("project/esker.yml", settings.as_bytes());
    project.ok(&["lock"]);

    let build = |image: &str, more: &[&str]| {
        let mut command = project.command(&["build", image, "--json"]);
        let ran = crate::common::Ran::new(command.args(more).envs(variables).output().unwrap());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let layout = esker::oci::Layout::open(project.path("project/.esker/images").join(image)).unwrap();
        validate(&layout).unwrap();
        (report["images"][0]["digest"].as_str().unwrap().to_owned(), layout, ran.stderr)
    };
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let platforms: &[&str] = match esker::verify::runtime::embedded::can_run(Platform::LinuxArm64) {
        Ok(()) if host() == Platform::LinuxAmd64 => &both,
        _ => &["--platform", if host() == Platform::LinuxAmd64 { "linux/amd64" } else { "linux/arm64" }],
    };
    let (digest, layout, said) = build("base-image", platforms);
    let entries = layout.index().unwrap();
    let documents = entries.manifests().iter().filter(|entry| entry.artifact_type().is_some()).count();
    assert_eq!(documents, 2 * layout.images().unwrap().len() + 1, "two SBOMs each, and the provenance of all");
    assert!(said.contains("RUN --network=none mkdir /made"), "{said}");
    let (again, _, _) = build("base-image", &[platforms, &["--no-cache"]].concat());
    assert_eq!(digest, again);
    let (in_pod, _, _) = build("base-image", &[platforms, &["--no-cache", "--builder", POD]].concat());
    assert_eq!(digest, in_pod);
    let reference = esker::oci::reference::parse(&format!("{}/built/base-image:latest", registry.address)).unwrap();
    project.ok(&["push", "base-image"]);
    assert_eq!(reference.repository(), "built/base-image");

    let (_, above, _) = build("tiny", platforms);
    for image in above.images().unwrap() {
        let lower = layout.image(image.platform).unwrap();
        let digests = |layers: &[esker::oci::Layer]| layers.iter().map(|layer| layer.digest).collect::<Vec<_>>();
        assert_eq!(digests(&image.layers)[..lower.layers.len()], digests(&lower.layers), "as they were pushed");
        let files = esker::oci::read_files(&image, &above, |path: &str| path.starts_with("made/")).unwrap();
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
        assert_eq!(files, [("made/above", &b"a note\n"[..]), ("made/note", b"below\n")]);
    }
}
