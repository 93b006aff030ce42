//! What lies beside an image of a Dockerfile: what it says of what is installed, of where that is from, and of the build.

use esker::apt::{AptLock, LockedDeb, PlatformLock};
use esker::oci::{Digest, Layout, validate};
use serde_json::{Value, json};

use crate::common::{sbom, skipped, tree};
use crate::project::{Built, Project, has_engine, host};
use crate::registry::RealRegistry;

const PREFIX: &str = "srv/conda/envs/notebook";
/// What nobody is told.
const VALUE: &str = "not-to-be-seen-9";
const DOCKERFILE: &str = r#"ARG BASE
FROM ${BASE}
ARG TOKEN
COPY locked /
COPY added /
"#;

/// A file in the image's folder.
fn put(project: &Project, path: &str, content: &[u8]) {
    project.write(&format!("project/tiny/{path}"), content);
}

/// `tiny` with a Dockerfile that puts into it what is locked, with records as installers write them that went by a mirror,
/// and packages of all kinds that are not locked. With it, the SBOM that the native engine made of the same lock.
fn project() -> (Project, Value) {
    let project = Project::new(DOCKERFILE);
    let platform = host().to_string();
    let output = format!("oci:{}", project.path("native").display());
    project.ok(&["build", "tiny", "--engine", "native", "--platform", &platform, "--output", &output]);
    let native = json(&project.ok(&["sbom", "oci:../native"]).stdout);
    let image = Layout::open(project.path("native")).unwrap().image(host()).unwrap();
    let layout = Layout::open(project.path("native")).unwrap();
    for (path, content) in esker::oci::read_files(&image, &layout, |path: &str| path.starts_with(PREFIX)).unwrap() {
        let is_record = path.contains("/conda-meta/") && path.ends_with(".json");
        let content = if is_record { mirrored(&content) } else { content };
        put(&project, &format!("locked/{path}"), &content);
    }
    put(&project, &format!("added/{PREFIX}/conda-meta/made-here-1-0.json"), br#"{"name":"made-here","version":"1"}"#);
    let metadata = "Metadata-Version: 2.1\nName: Added_Later\nVersion: 2.0\nLicense: MIT\nRequires-Dist: libfoo\n\n";
    put(
        &project,
        &format!("added/{PREFIX}/lib/python3.12/site-packages/Added-2.0.dist-info/METADATA"),
        metadata.as_bytes(),
    );
    put(&project, "added/usr/lib/os-release", b"ID=debian\nVERSION_ID=\"12\"\n");
    let status = |name: &str, version: &str| {
        let architecture = host().architecture();
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\n")
    };
    let status = [status("base-files", "12.4"), status("tree", "2.1.0-1")].join("\n");
    put(&project, "added/var/lib/dpkg/status", status.as_bytes());
    apt_lock().write(&project.path("project/tiny")).unwrap();
    project.setting(&format!("docker: {{build-args: {{TOKEN: {VALUE}}}}}"));
    (project, native)
}

/// The record as it would be had the package come by a mirror, with one hash as explicit locks have it.
fn mirrored(record: &[u8]) -> Vec<u8> {
    let mut record: Value = serde_json::from_slice(record).unwrap();
    let url = record["url"].as_str().unwrap().replace("https://", "http://127.0.0.1:9/https/");
    record["url"] = url.into();
    assert!(record["md5"].is_string(), "{record}");
    record.as_object_mut().unwrap().remove("sha256").unwrap();
    record.to_string().into_bytes()
}

/// A lock of `tree`, which is in the image.
fn apt_lock() -> AptLock {
    let tree = LockedDeb {
        name: "tree".into(),
        version: "2.1.0-1".into(),
        architecture: host().architecture().into(),
        url: format!("https://debian.example.org/pool/tree_2.1.0-1_{}.deb", host().architecture()).parse().unwrap(),
        sha256: Digest::of(b"tree").hex(),
        size: 4,
    };
    let platform = PlatformLock { base: Digest::of(b"base"), installed: Digest::of(b""), packages: vec![tree] };
    AptLock {
        requested: vec!["tree".into()],
        snapshot: "20261101T000000Z".parse().unwrap(),
        platforms: [(host(), platform)].into(),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The documents beside an image: the kind of each, its subject, and its content.
fn documents(built: &Built) -> Vec<(String, String, String)> {
    let read = |entry: &oci_spec::image::Descriptor| {
        let kind = entry.artifact_type().as_ref()?.to_string();
        let manifest: Value = built.layout.read_json(entry).unwrap();
        let content = String::from_utf8(built.layout.artifact(entry).unwrap()).unwrap();
        Some((kind, manifest["subject"]["digest"].as_str().unwrap().to_owned(), content))
    };
    built.layout.index().unwrap().manifests().iter().filter_map(read).collect()
}

fn document(built: &Built, kind: &str) -> Value {
    json(&documents(built).iter().find(|(other, ..)| other.contains(kind)).unwrap().2)
}

#[test]
fn every_package_is_listed_with_what_is_known_of_it_and_no_more() {
    if !has_engine() {
        return;
    }
    let (project, native) = project();
    let plain = project.build_with(&["--no-sbom"], &[]);
    assert!(documents(&plain).is_empty());
    let built = project.build_with(&[], &[]);
    assert_eq!(built.digest(), plain.digest(), "the image knows nothing of its documents");
    validate(&built.layout).unwrap();
    let manifest = built.image(host()).digest.to_string();
    let about: Vec<_> = documents(&built).into_iter().map(|(kind, subject, _)| (kind, subject)).collect();
    let expected = [
        ("application/spdx+json", manifest.as_str()),
        ("application/vnd.cyclonedx+json", &manifest),
        ("application/vnd.in-toto+json", built.digest()),
    ];
    assert_eq!(about, expected.map(|(kind, subject)| (kind.to_owned(), subject.to_owned())));

    let spdx = json(&project.ok(&["sbom", "tiny"]).stdout);
    assert_eq!(spdx, document(&built, "spdx"), "what is printed is what is kept");
    let packages = spdx["packages"].as_array().unwrap();
    let package = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap();
    let names: Vec<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiny", "certs", "libfoo", "made-here", "base-files", "tree", "added-later"]);

    // What is locked is told as the native engine tells it, whatever mirror it came by.
    let lock = project.read(&format!("project/tiny/conda-{}.lock", host().subdir()));
    for name in ["certs", "libfoo"] {
        let same = native["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap();
        assert_eq!(package(name), same);
        assert_eq!(same["checksums"].as_array().unwrap().len(), 2, "{same}");
        assert!(lock.contains(same["downloadLocation"].as_str().unwrap()), "{same}");
    }
    let tree = package("tree");
    assert!(tree["downloadLocation"].as_str().unwrap().contains("/pool/tree_2.1.0-1_"), "{tree}");
    assert_eq!(tree["checksums"][0]["checksumValue"], Digest::of(b"tree").hex());
    // Nothing is made up of the others.
    for name in ["made-here", "base-files", "added-later"] {
        let package = package(name);
        assert_eq!((&package["downloadLocation"], &package["checksums"]), (&json!("NOASSERTION"), &Value::Null));
    }
    assert_eq!(package("added-later")["licenseDeclared"], "MIT");
    let relations = spdx["relationships"].as_array().unwrap();
    let ids = ["added-later", "libfoo"].map(|name| package(name)["SPDXID"].clone());
    let depends = |it: &&Value| it["relationshipType"] == "DEPENDS_ON" && it["spdxElementId"] == ids[0];
    assert_eq!(relations.iter().find(depends).unwrap()["relatedSpdxElement"], ids[1]);
    let components = document(&built, "cyclonedx")["components"].as_array().unwrap().len();
    assert_eq!(components, names.len() - 1);
}

#[test]
fn provenance_says_how_it_was_built_and_no_value_of_an_argument() {
    if !has_engine() {
        return;
    }
    let (project, _) = project();
    let built = project.build_with(&["--compression", "gzip:3"], &[]);
    let statement = document(&built, "in-toto");
    let subjects: Vec<_> = statement["subject"].as_array().unwrap().iter().map(|it| &it["digest"]["sha256"]).collect();
    let manifest = built.image(host()).digest.hex();
    assert_eq!(subjects, [&json!(built.digest().trim_start_matches("sha256:")), &json!(manifest)]);
    let run = &statement["predicate"]["runDetails"];
    assert!(run["builder"]["id"].as_str().unwrap().ends_with("#docker-engine"), "{run}");
    assert_eq!(run["metadata"], json!({"esker_rebuildable": false}));
    let definition = &statement["predicate"]["buildDefinition"];
    assert!(definition["buildType"].as_str().unwrap().ends_with("#build-type-dockerfile-v1"), "{definition}");
    let parameters = &definition["externalParameters"];
    assert_eq!((&parameters["builder"], &parameters["compression"]), (&json!("buildkit"), &json!("gzip:3")));
    let dockerfile = json!({"image": "tiny", "path": "Dockerfile", "buildArgs": ["TOKEN"], "imagesWithoutDigest": []});
    assert_eq!(parameters["dockerfiles"], json!([dockerfile]));

    let inputs = definition["resolvedDependencies"].as_array().unwrap();
    let input = |name: &str| inputs.iter().find(|input| input["name"] == name).unwrap_or_else(|| panic!("{name}"));
    let sha256 = |content: &[u8]| json!({"sha256": Digest::of(content).hex()});
    assert_eq!(input("tiny/Dockerfile")["digest"], sha256(DOCKERFILE.as_bytes()));
    let status = fs_err::read(project.path("project/tiny/added/var/lib/dpkg/status")).unwrap();
    assert_eq!(input("tiny/added/var/lib/dpkg/status")["digest"], sha256(&status));
    let base = fs_err::read(project.path(&format!("base-{}.tar", host().architecture()))).unwrap();
    assert_eq!(input(&format!("base {}", host()))["digest"], sha256(&base));
    assert_eq!(input("tree 2.1.0-1")["digest"], sha256(b"tree"));
    let uris: Vec<_> = inputs.iter().filter_map(|input| input["uri"].as_str()).collect();
    assert_eq!(uris.iter().filter(|uri| uri.ends_with(".conda")).count(), 2, "{uris:?}");

    let name = std::process::Command::new("uname").arg("-n").output().unwrap();
    let name = String::from_utf8(name.stdout).unwrap();
    for private in [VALUE, name.trim(), "127.0.0.1", "file://", project.path("").to_str().unwrap()] {
        for (kind, _, text) in documents(&built) {
            assert!(!text.contains(private), "`{private}` in {kind}: {text}");
        }
    }
    let classic = project.build_with(&["--compression", "gzip:3"], &[("DOCKER_BUILDKIT", "0")]);
    let statement = document(&classic, "in-toto");
    assert_eq!(statement["predicate"]["buildDefinition"]["externalParameters"]["builder"], "classic");

    let refused = project.run(&["rebuild", "tiny"]);
    refused.fails(2, &["was built from a Dockerfile", "cannot be repeated", "esker build --engine docker"]);
    let report = json(&project.ok(&["inspect", "tiny", "--json"]).stdout);
    assert_eq!(report["attached"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["platforms"][0]["attached"].as_array().unwrap().len(), 2, "{report}");
}

#[test]
fn a_build_with_nothing_to_do_looks_into_nothing() {
    if !has_engine() {
        return;
    }
    let (project, _) = project();
    let first = project.build_with(&[], &[]);
    let (before, said) = (tree(&project.path("project")), documents(&first));
    // A layer that is not what it was cannot be looked into, and the build does not notice.
    let layer = first.image(host()).layers.last().unwrap().digest;
    let path = first.layout.blob_path(&layer);
    let content = fs_err::read(&path).unwrap();
    fs_err::write(&path, vec![0; content.len()]).unwrap();
    let again = project.build_with(&[], &[]);
    assert_eq!(again.digest(), first.digest());
    fs_err::write(&path, &content).unwrap();
    assert!(before == tree(&project.path("project")), "a build with nothing to do changed files");

    // Documents that went are made again, and those of a former image go with it.
    let (kind, _, text) = &said[0];
    let blob = first.layout.blob_path(&Digest::of(text.as_bytes()));
    fs_err::remove_file(&blob).unwrap();
    project.build_with(&[], &[]);
    assert!(before == tree(&project.path("project")), "{kind} is another");
    // A comment makes other provenance of the same image, which is not looked into for that.
    project.write("project/tiny/Dockerfile", format!("{DOCKERFILE}# a comment\n").as_bytes());
    fs_err::write(&path, vec![0; content.len()]).unwrap();
    let commented = project.build_with(&[], &[]);
    fs_err::write(&path, &content).unwrap();
    assert_eq!(commented.digest(), first.digest());
    assert_eq!(documents(&commented)[..2], said[..2]);
    assert_ne!(documents(&commented)[2], said[2]);

    project.setting("sbom: false");
    let without = project.build_with(&[], &[]);
    assert_eq!((without.digest(), documents(&without).len()), (first.digest(), 0));
    assert!(!blob.exists());
}

#[test]
fn what_cannot_be_told_ends_a_build_with_the_way_out() {
    if !has_engine() {
        return;
    }
    let project = Project::new("ARG BASE\nFROM ${BASE}\nCOPY broken.json /srv/conda/conda-meta/broken.json\n");
    put(&project, "broken.json", b"{");
    let platform = host().to_string();
    let arguments = ["build", "tiny", "--platform", &platform];
    project.run(&arguments).fails(2, &["`tiny`, for its SBOM", "conda-meta/broken.json", "--no-sbom"]);
    project.ok(&[&arguments[..], &["--no-sbom"]].concat());
}

#[test]
fn documents_are_pushed_with_an_image() {
    if !has_engine() {
        return;
    }
    let there = std::process::Command::new("docker-registry").arg("--version").output();
    if !there.is_ok_and(|output| output.status.success()) {
        return skipped("docker-registry is not installed");
    }
    let (project, _) = project();
    let built = project.build_with(&[], &[]);
    fs_err::create_dir_all(project.path("registry")).unwrap();
    let registry = RealRegistry::start(&project.path("registry"));
    let name = format!("{}/some/tiny:1", registry.address);
    let pushed = project.ok(&["push", "tiny", &name]);
    assert!(format!("{}{}", pushed.stdout, pushed.stderr).contains("3 attached documents"), "{}", pushed.stdout);
    let kept = project.ok(&["sbom", "tiny"]).stdout;
    assert_eq!(project.ok(&["sbom", &name]).stdout, kept);
    project.run(&["rebuild", &name]).fails(2, &["was built from a Dockerfile"]);
    let report = json(&project.ok(&["inspect", &name, "--json"]).stdout);
    assert_eq!(report["digest"], built.digest());
    assert_eq!(report["attached"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn judges_find_nothing_wrong() {
    if !has_engine() {
        return;
    }
    let (project, _) = project();
    project.build_with(&[], &[]);
    let file = project.path("sbom.spdx.json");
    for (format, count) in [("spdx", 7), ("cyclonedx", 6)] {
        let document = project.ok(&["sbom", "tiny", "--format", format]).stdout;
        fs_err::write(&file, document).unwrap();
        let Some(judge) = sbom::judge(format) else { return };
        assert_eq!(judge(&file), count, "{format}");
    }
}
