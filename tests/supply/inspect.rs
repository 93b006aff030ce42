//! `esker inspect`, and images in archives.

use esker::oci::{Compression, Digest, Layout, Platform, canonical_json};
use serde_json::Value;

use super::common::Sandbox;
use super::fake_registry::{FakeRegistry, Reply};
use super::images::{Tar, add_image, index};
use super::{json, project};

fn inspect(sandbox: &Sandbox, image: &str) -> Value {
    json(&sandbox.ok(&["inspect", image, "--json"]).stdout)
}

/// Kind, name, bytes and files of each package.
fn packages(platform: &Value) -> Vec<(&str, &str, u64, u64)> {
    let all = platform["packages"].as_array().unwrap().iter();
    all.map(|it| {
        let number = |key: &str| it[key].as_u64().unwrap();
        (it["kind"].as_str().unwrap(), it["name"].as_str().unwrap(), number("size"), number("files"))
    })
    .collect()
}

#[test]
fn an_image_tells_what_is_in_it() {
    let sandbox = project();
    sandbox.run(&["inspect", "tiny"]).fails(1, &["`tiny` is not built", "esker build tiny"]);
    let built = json(&sandbox.ok(&["build", "tiny", "--json"]).stdout)["images"][0].clone();
    let report = inspect(&sandbox, "tiny");
    assert_eq!(report["digest"], built["digest"]);
    let kinds: Vec<_> = report["attached"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(
        kinds,
        ["application/vnd.esker.build.v1", "application/vnd.esker.inputs.v1+json", "application/vnd.in-toto+json"]
    );
    for (platform, built) in report["platforms"].as_array().unwrap().iter().zip(built["platforms"].as_array().unwrap())
    {
        for (key, expected) in [("platform", "platform"), ("manifest", "manifest"), ("id", "config")] {
            assert_eq!(platform[key], built[expected]);
        }
        assert_eq!(platform["compressed_size"], built["compressed_size"]);
        assert_eq!(platform["layers"].as_array().unwrap().len() as u64, built["layers"].as_u64().unwrap());
        let kinds: Vec<_> = platform["attached"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
        assert_eq!(kinds, ["application/spdx+json", "application/vnd.cyclonedx+json"]);
        let found = packages(platform);
        let names: Vec<_> = found.iter().map(|(kind, name, ..)| (*kind, *name)).collect();
        let expected =
            [("conda", "libfoo"), ("deb", "libc6"), ("conda", "_certs"), ("conda", "cuda-x"), ("deb", "libgcc-s1")];
        assert_eq!(names, expected);
        assert!(found[0].2 > 5000 && found[0].3 == 2, "its file and its record: {found:?}");
        assert_eq!((found[1].2, found[1].3), (3000, 1), "through the link from `/lib`");
        assert_eq!((found[4].2, found[4].3), (0, 0), "there is no list of its files");
        let sum: u64 = found.iter().map(|(_, _, size, _)| size).sum();
        assert_eq!(platform["size"].as_u64().unwrap(), sum + platform["other"].as_u64().unwrap());
    }
    assert_eq!(report["platforms"][0]["config"]["entrypoint"], serde_json::json!(["/srv/start"]));
    // Twice the same, and for people.
    assert_eq!(inspect(&sandbox, "tiny"), report);
    let shown = sandbox.ok(&["inspect", "tiny", "--platform", "linux/arm64", "--top", "1"]).stdout;
    assert!(shown.contains("linux/arm64 sha256:") && !shown.contains("linux/amd64"), "{shown}");
    assert!(shown.contains("libfoo") && shown.contains("(4 more)") && !shown.contains("libc6"), "{shown}");
    assert!(sandbox.ok(&["inspect", "tiny", "--all"]).stdout.contains("libgcc-s1"));
    sandbox.run(&["inspect", "tiny", "--platform", "linux/ppc64le"]).fails(2, &["only for linux/amd64, linux/arm64"]);
    sandbox.run(&["inspect", "toni"]).fails(2, &["toni"]);
}

#[test]
fn an_archive_is_read_like_a_layout() {
    let sandbox = project();
    let archive = format!("docker-archive:{}", sandbox.path("tiny.tar").display());
    sandbox.ok(&["build", "tiny", "--platform", "linux/amd64", "--output", &archive, "--output", "oci:../layout"]);
    let (of_archive, of_layout) = (inspect(&sandbox, &archive), inspect(&sandbox, "oci:../layout"));
    let [one, other] = [&of_archive, &of_layout].map(|report| &report["platforms"][0]);
    for key in ["id", "size", "packages", "other", "config"] {
        assert_eq!(one[key], other[key], "{key}");
    }
    assert!(of_archive["digest"].is_null() && one["manifest"].is_null());
    assert_eq!(sandbox.ok(&["diff", &archive, "oci:../layout"]).stdout, "oci:../layout: no changes\n");
    let sbom = json(&sandbox.ok(&["sbom", &archive]).stdout);
    assert_eq!(sbom["packages"][0]["versionInfo"], one["id"]);
    // What docker prints of it, with the name in the archive.
    sandbox.ok(&["inspect", &format!("{archive}:tiny:latest")]);

    sandbox.write("not.tar", b"not an archive");
    sandbox
        .run(&["inspect", "docker-archive:../not.tar"])
        .fails(2, &["`docker-archive:../not.tar`", "it is no tar archive"]);
    sandbox.write("packed.tar", b"\x1f\x8b\x08\0\0\0\0\0");
    sandbox.run(&["inspect", "docker-archive:../packed.tar"]).fails(2, &["decompress it first"]);
    sandbox.run(&["inspect", "docker-archive:../gone.tar"]).fails(3, &["gone.tar"]);
}

/// An archive of Docker's older form: a folder a layer, shared layers as links, one of them compressed.
fn saved(config: &str, layers: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<_> = layers.iter().map(|(name, _)| format!("{name}/layer.tar")).collect();
    let names = names.iter().cloned().chain(["linked/layer.tar".to_owned()]).collect::<Vec<_>>();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": null, "Layers": names }]);
    let mut tar = Tar::default().file("config.json", config).file("manifest.json", &manifest.to_string());
    for (name, content) in layers {
        tar = tar.entry(&format!("{name}/layer.tar"), tar::EntryType::Regular, "", content, 0o644);
    }
    tar.symlink("linked/layer.tar", "../one/layer.tar").bytes()
}

#[test]
fn what_others_built_and_saved_is_read_too() {
    let sandbox = Sandbox::new();
    let site = "usr/local/lib/python3.11/site-packages";
    let one = Tar::default()
        .file(
            &format!("{site}/thing-1.0.dist-info/METADATA"),
            "Metadata-Version: 2.1\nName: Thing\nVersion: 1.0\n\nText",
        )
        .file(&format!("{site}/thing-1.0.dist-info/RECORD"), "thing.py,,\nthing-1.0.dist-info/METADATA,,\n")
        .file(&format!("{site}/thing.py"), "x = 1\n")
        .file(&format!("{site}/__pycache__/thing.cpython-311.pyc"), "12345")
        .bytes();
    let two = Tar::default().file("etc/hidden", "0123456789").file(".wh.opt", "").bytes();
    let diff_ids = [&one, &two, &one].map(|layer| Digest::of(layer).to_string());
    let mut packed = Compression::GZIP.encoder(Vec::new()).unwrap();
    std::io::Write::write_all(&mut packed, &two).unwrap();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "config": { "Labels": { "evil": "a\u{1b}[31mb" } },
    });
    let layers = [("one", one), ("two", packed.finish().unwrap())];
    sandbox.write("saved.tar", &saved(&config.to_string(), &layers));
    let report = inspect(&sandbox, "docker-archive:../saved.tar");
    let platform = &report["platforms"][0];
    // `METADATA`, the module and its byte code; `RECORD`, which does not list itself, is nobody's, as is what is hidden.
    assert_eq!(packages(platform), [("pip", "thing", 52 + 6 + 5, 3)]);
    assert_eq!((platform["packages"][0]["place"].as_str(), platform["other"].as_u64()), (Some("/usr/local"), Some(52)));
    assert_eq!(platform["size"].as_u64(), Some(63 + 52), "a layer that is there twice counts once");
    let shown = sandbox.ok(&["inspect", "docker-archive:../saved.tar", "--color", "always"]).stdout;
    assert!(shown.contains("evil=a") && !shown.contains('\u{1b}'), "{shown:?}");
    // The bytes are not what the configuration says.
    let other = serde_json::to_string(&config).unwrap().replace(&diff_ids[0], &Digest::of(b"other").to_string());
    sandbox.write("wrong.tar", &saved(&other, &layers));
    sandbox.run(&["inspect", "docker-archive:../wrong.tar"]).fails(3, &["is damaged"]);
}

/// `tiny` in a registry that has documents about it, and tells of them by its API or by a tag.
fn registry(sandbox: &Sandbox, api: bool) -> FakeRegistry {
    let layout = Layout::open(sandbox.path("project/.esker/images/tiny")).unwrap();
    let subjects: Vec<_> = layout.images().unwrap().iter().map(|image| image.digest).collect();
    let all: Vec<_> = subjects.into_iter().chain([layout.image_index_digest().unwrap()]).collect();
    let lists: Vec<_> =
        all.iter().map(|it| (*it, canonical_json(&index(layout.referrers(&[*it].into()).unwrap())))).collect();
    FakeRegistry::start(layout, move |request, reply: Reply| {
        let listed = lists.iter().find(|(digest, _)| {
            let (by_api, by_tag) = (format!("/referrers/{digest}"), format!("/manifests/sha256-{}", digest.hex()));
            request.path.ends_with(if api { &by_api } else { &by_tag })
        });
        match listed {
            Some((_, list)) => Reply::body(list.clone()),
            None if request.path.contains("/referrers/") => Reply::status(404),
            None => reply,
        }
    })
}

#[test]
fn documents_of_a_registry_are_found() {
    let sandbox = project();
    sandbox.ok(&["build", "tiny"]);
    let local = inspect(&sandbox, "tiny");
    let sbom = sandbox.ok(&["sbom", "tiny", "--platform", "linux/arm64"]).stdout;
    for api in [true, false] {
        let registry = registry(&sandbox, api);
        let name = format!("{}/some/tiny:1", registry.address);
        let mut remote = inspect(&sandbox, &name);
        remote["image"] = local["image"].clone();
        assert_eq!(remote, local, "API: {api}");
        assert_eq!(sandbox.ok(&["sbom", &name, "--platform", "linux/arm64"]).stdout, sbom);
        let blobs = |registry: &FakeRegistry| registry.requests().iter().filter(|request| request.is_blob()).count();
        let before = blobs(&registry);
        sandbox.ok(&["sbom", &name, "--platform", "linux/arm64"]);
        assert_eq!(blobs(&registry) - before, 3, "two configurations and the document: no layer was pulled");
        assert_eq!(sandbox.ok(&["sbom", &name, "--platform", "linux/arm64", "--scan"]).stdout, sbom);
        sandbox.run(&["sbom", &name, "--offline"]).fails(3, &["cannot be read offline"]);
    }
}

#[test]
fn an_image_of_one_manifest_is_enough() {
    let sandbox = Sandbox::new();
    let layout = Layout::create(sandbox.path("foreign")).unwrap();
    let layer = Tar::default().file("etc/passwd", "root");
    let manifest = add_image(&layout, Platform::LinuxAmd64, vec![layer], Compression::GZIP);
    layout.set_index("foreign", &index(vec![manifest])).unwrap();
    let report = inspect(&sandbox, "oci:../foreign");
    assert_eq!((report["platforms"][0]["other"].as_u64(), packages(&report["platforms"][0])), (Some(4), vec![]));
    let sbom = json(&sandbox.ok(&["sbom", "oci:../foreign"]).stdout);
    assert_eq!((&sbom["name"], sbom["packages"].as_array().unwrap().len()), (&"foreign".into(), 1));
}
