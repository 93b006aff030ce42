//! Images that are built again from what is recorded beside them.

use esker::oci::{Artifact, Layout, canonical_json};
use oci_spec::image::Descriptor;
use serde_json::Value;

use super::common::Sandbox;
use super::fake_registry::{FakeRegistry, Reply};
use super::images::index;
use super::{json, project};

const INPUTS: &str = "application/vnd.esker.inputs.v1+json";

/// `tiny` built into `image`, and nothing left of its project and of what was cached.
fn published() -> (Sandbox, String) {
    let sandbox = project();
    sandbox.write("project/tiny/start", b"#!/bin/sh\n# own\nexec \"$@\"\n");
    sandbox.write("project/tiny/jupyter_notebook_config.py", b"\xff\xfe no text");
    let settings =
        "layers: 4\nenv: {B: '2', A: \"1\"}\nlabels: {org.opencontainers.image.source: https://example.org}\n";
    sandbox.write("project/esker.yml", format!("{}{settings}", sandbox.read("project/esker.yml")).as_bytes());
    let report = sandbox.ok(&["build", "tiny", "--compression", "zstd:5", "--output", "oci:../image", "--json"]).stdout;
    fs_err::remove_dir_all(sandbox.path("cache")).unwrap();
    fs_err::remove_dir_all(sandbox.path("project")).unwrap();
    for architecture in ["amd64", "arm64"] {
        fs_err::remove_file(sandbox.path(&format!("base-{architecture}.tar"))).unwrap();
    }
    fs_err::create_dir(sandbox.path("project")).unwrap();
    let digest = json(&report)["images"][0]["digest"].as_str().unwrap().to_owned();
    (sandbox, digest)
}

#[test]
fn an_image_comes_out_again_without_its_project() {
    let (sandbox, digest) = published();
    let ran = sandbox.ok(&["rebuild", "oci:../image"]);
    assert_eq!(ran.stdout, format!("oci:../image came out again: {digest}\n"));
    let report = json(&sandbox.ok(&["rebuild", "oci:../image", "--json", "--keep", "../again"]).stdout);
    assert_eq!((&report["same"], &report["rebuilt"]), (&true.into(), &digest.as_str().into()));
    assert_eq!(sandbox.ok(&["inspect", "oci:../again", "--json"]).code, Some(0));
    let left = fs_err::read_dir(sandbox.path("cache")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".rebuild")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(fs_err::read_dir(sandbox.path("project")).unwrap().count(), 0, "nothing is written here");
}

#[test]
fn an_image_of_a_registry_comes_out_again() {
    let (sandbox, digest) = published();
    let layout = Layout::open(sandbox.path("image")).unwrap();
    let subject = layout.image_index_digest().unwrap();
    let list = canonical_json(&index(layout.referrers(&[subject].into()).unwrap()));
    let registry = FakeRegistry::start(layout, move |request, reply: Reply| match &request.path {
        path if path.ends_with(&format!("/referrers/{subject}")) => Reply::body(list.clone()),
        path if path.contains("/referrers/") => Reply::status(404),
        _ => reply,
    });
    let name = format!("{}/some/tiny:1", registry.address);
    assert_eq!(sandbox.ok(&["rebuild", &name]).stdout, format!("{name} came out again: {digest}\n"));
    sandbox.run(&["rebuild", &name, "--offline"]).fails(3, &["cannot be read offline"]);
}

/// Replaces what is recorded by what `change` makes of it.
fn altered(sandbox: &Sandbox, change: impl FnOnce(&mut Value)) {
    let layout = Layout::open(sandbox.path("image")).unwrap();
    let digest = layout.image_index_digest().unwrap();
    let kind = |descriptor: &Descriptor| descriptor.artifact_type().as_ref().unwrap().to_string();
    let referrers = layout.referrers(&[digest].into()).unwrap();
    let old = referrers.iter().find(|descriptor| kind(descriptor) == INPUTS).unwrap();
    let mut inputs: Value = serde_json::from_slice(&layout.artifact(old).unwrap()).unwrap();
    change(&mut inputs);
    let top = layout.index().unwrap().manifests()[0].clone();
    let content = canonical_json(&inputs);
    let artifact = Artifact { subject: &top, media_type: INPUTS, content: &content, annotations: Default::default() };
    let new = layout.put_artifact(&artifact).unwrap();
    let images: esker::oci::Document = esker::oci::Document::parse(&layout.read(&top).unwrap(), "top").unwrap();
    let esker::oci::Document::Index(images) = images else { panic!("an index") };
    layout.set_index_with("tiny", &images, &[new]).unwrap();
}

#[test]
fn what_differs_is_named() {
    let (sandbox, digest) = published();
    altered(&sandbox, |inputs| {
        let files = inputs["content"]["files"].as_array_mut().unwrap();
        let start = files.iter_mut().find(|file| file["path"] == "srv/start").unwrap();
        start["text"] = "#!/bin/sh\n# another\n".into();
    });
    let ran = sandbox.run(&["rebuild", "oci:../image"]);
    ran.fails(1, &["`oci:../image` does not come out again", "--keep"]);
    assert!(ran.stdout.starts_with(&format!("oci:../image is {digest}, and came out as sha256:")), "{}", ran.stdout);
    let layers: Vec<_> = ran.stdout.lines().filter(|line| line.starts_with("    layer ")).collect();
    assert_eq!(layers.len(), 2, "one a platform: {}", ran.stdout);
    assert!(layers.iter().all(|line| line.ends_with("esker: accounts, start script, settings")), "{layers:?}");
    let report = sandbox.run(&["rebuild", "oci:../image", "--json"]);
    assert_eq!(json(&report.stdout)["same"], false);

    altered(&sandbox, |inputs| inputs["content"]["workdir"] = "/elsewhere".into());
    let report = json(&sandbox.run(&["rebuild", "oci:../image", "--json"]).stdout);
    assert_eq!(report["platforms"][0]["config_differs"], true);
}

#[test]
fn what_cannot_be_built_again_is_refused() {
    let (sandbox, _) = published();
    let refused = |change: &dyn Fn(&mut Value), code: i32, words: &[&str]| {
        altered(&sandbox, change);
        sandbox.run(&["rebuild", "oci:../image"]).fails(code, words);
    };
    let lock = |from: &'static str, to: &'static str| {
        move |inputs: &mut Value| {
            let lock = &mut inputs["environments"][0]["lock"];
            *lock = lock.as_str().unwrap().replace(from, to).into();
        }
    };
    let forge = "https://conda.anaconda.org/conda-forge/";
    refused(&lock(forge, "https://conda.anaconda.org/t/${TOKEN}/c/"), 2, &["holds a variable", "${TOKEN}"]);
    refused(&lock("https://conda.anaconda.org/t/${TOKEN}/c/", "file:///etc/"), 2, &["is not fetched over HTTP"]);
    refused(&|inputs| inputs["environments"][0]["lock"] = "[".into(), 2, &["a lock in the recorded inputs"]);
    refused(&|inputs| inputs["unknown"] = 1.into(), 2, &["the recorded inputs are not valid", "unknown"]);
    refused(&|inputs| inputs["format"] = 999.into(), 2, &["format 999", "use an esker that writes that format"]);

    let plain = project();
    plain.ok(&["build", "tiny", "--no-sbom", "--output", "oci:../image"]);
    plain.run(&["rebuild", "oci:../image"]).fails(2, &["is not recorded what it was built from"]);
    let archive = format!("docker-archive:{}", plain.path("a.tar").display());
    plain.ok(&["build", "tiny", "--platform", "linux/amd64", "--output", &archive]);
    plain.run(&["rebuild", &archive]).fails(2, &["is not recorded"]);
}
