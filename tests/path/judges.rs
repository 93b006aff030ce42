//! Other programs read what esker writes.

use esker::oci::{Digest, Layout};
use serde_json::Value;

use crate::real::{IMAGE, Project, run, text, usable};

#[test]
fn skopeo_inspects_and_copies_the_layout() {
    if !usable("skopeo", &["--version"]) {
        return;
    }
    let Some((project, digest)) = Project::built() else { return };
    let source = format!("oci:{}:{IMAGE}", project.layout().display());
    let raw = run("skopeo", &["inspect", "--raw", &source]);
    assert_eq!(Digest::of(raw.as_bytes()).to_string(), digest, "the digest of the index");
    let images = Layout::open(project.layout()).unwrap().images().unwrap();
    for (image, architecture) in images.iter().zip(["amd64", "arm64"]) {
        let shown = run("skopeo", &["--override-arch", architecture, "inspect", &source]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["Architecture"], architecture);
        assert_eq!(shown["Layers"].as_array().unwrap().len(), image.layers.len());
    }
    let copy = project.path("copy");
    run("skopeo", &["copy", "--quiet", "--all", &source, &format!("oci:{}:{IMAGE}", copy.display())]);
    let copied = Layout::open(copy).unwrap();
    assert_eq!(copied.image_index_digest().unwrap().to_string(), digest);
    let manifests = |layout: &Layout| layout.images().unwrap().iter().map(|image| image.digest).collect::<Vec<_>>();
    assert_eq!(manifests(&copied), manifests(&Layout::open(project.layout()).unwrap()));
}

#[test]
fn umoci_unpacks_gzip_layers() {
    if !usable("umoci", &["--version"]) {
        return;
    }
    let Some(project) = Project::new() else { return };
    project.ok(&["lock"]);
    let layout = project.path("gzip");
    let output = format!("oci:{}", layout.display());
    project.build(&["--compression", "gzip", "--platform", "linux/amd64", "--output", &output]);
    let bundle = project.path("bundle");
    // What `--rootless` leaves out, owners and devices, an ordinary user cannot make.
    let rootless = if nix::unistd::geteuid().is_root() { vec![] } else { vec!["--rootless"] };
    let image = format!("{}:{IMAGE}", layout.display());
    run("umoci", &[&["unpack"], rootless.as_slice(), &["--image", &image, text(&bundle)]].concat());
    let python = bundle.join("rootfs/srv/conda/envs/notebook/bin/python").canonicalize().unwrap();
    assert_eq!(fs_err::read(python).unwrap()[..4], *b"\x7fELF");
    let config: Value = serde_json::from_slice(&fs_err::read(bundle.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["/srv/start", "/srv/serve"]));
    assert_eq!(config["process"]["user"]["uid"], 1000);
}
