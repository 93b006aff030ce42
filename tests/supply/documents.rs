//! The documents beside an image.

use esker::oci::{Layout, validate};
use serde_json::Value;

use super::common::{Sandbox, tree};
use super::{artifacts, blob, json, project};

const LAYOUT: &str = "project/.esker/images/tiny";
const RECORD: &str = "application/vnd.esker.build.v1";

fn build(sandbox: &Sandbox, more: &[&str]) -> Value {
    json(&sandbox.ok(&[&["build", "tiny", "--json"], more].concat()).stdout)["images"][0].clone()
}

/// The types of all documents in the layout.
fn kinds(sandbox: &Sandbox) -> Vec<String> {
    artifacts(sandbox, LAYOUT).into_iter().map(|(kind, _)| kind).collect()
}

/// The provenance in the layout.
fn statement(sandbox: &Sandbox) -> (Value, String) {
    let (_, digest) = artifacts(sandbox, LAYOUT).into_iter().find(|(kind, _)| kind.contains("in-toto")).unwrap();
    let manifest = json(&blob(sandbox, LAYOUT, &digest));
    assert_eq!(manifest["annotations"]["in-toto.io/predicate-type"], "https://slsa.dev/provenance/v1");
    let text = blob(sandbox, LAYOUT, manifest["layers"][0]["digest"].as_str().unwrap());
    (manifest, text)
}

#[test]
fn documents_lie_beside_an_image_and_change_nothing_of_it() {
    let sandbox = project();
    let plain = build(&sandbox, &["--no-sbom"]);
    assert_eq!(kinds(&sandbox), [RECORD], "that is for the next build");
    let documented = build(&sandbox, &[]);
    assert_eq!(documented["digest"], plain["digest"]);
    let sboms = ["application/spdx+json", "application/vnd.cyclonedx+json"];
    assert_eq!(
        kinds(&sandbox),
        [&sboms[..], &sboms[..], &["application/vnd.in-toto+json", "application/vnd.esker.inputs.v1+json", RECORD]]
            .concat()
    );
    let layout = Layout::open(sandbox.path(LAYOUT)).unwrap();
    validate(&layout).unwrap();
    assert_eq!(layout.image_index_digest().unwrap().to_string(), plain["digest"]);
    assert_eq!(layout.images().unwrap().len(), 2, "documents are no images");
    // Each names its subject.
    let subjects: Vec<_> = artifacts(&sandbox, LAYOUT)
        .iter()
        .map(|(_, digest)| json(&blob(&sandbox, LAYOUT, digest))["subject"]["digest"].clone())
        .collect();
    let manifest = |index: usize| plain["platforms"][index]["manifest"].clone();
    let whole = || plain["digest"].clone();
    assert_eq!(subjects, [manifest(0), manifest(0), manifest(1), manifest(1), whole(), whole(), whole()]);

    let before = tree(&sandbox.path("project"));
    build(&sandbox, &[]);
    assert!(before == tree(&sandbox.path("project")), "a build with nothing to do changed files");
    // One that is gone is made again, and those of a former image go with it.
    let (_, digest) = &artifacts(&sandbox, LAYOUT)[0];
    let document = json(&blob(&sandbox, LAYOUT, digest))["layers"][0]["digest"].as_str().unwrap().to_owned();
    fs_err::remove_file(sandbox.path(&format!("{LAYOUT}/blobs/{}", document.replace(':', "/")))).unwrap();
    assert_eq!(validate(&layout).unwrap_err().len(), 1);
    build(&sandbox, &[]);
    assert!(before == tree(&sandbox.path("project")));
    sandbox.write("project/esker.yml", format!("{}sbom: false\n", sandbox.read("project/esker.yml")).as_bytes());
    build(&sandbox, &[]);
    assert_eq!(kinds(&sandbox), [RECORD]);
    assert!(!sandbox.path(&format!("{LAYOUT}/blobs/{}", document.replace(':', "/"))).exists());
}

#[test]
fn two_places_keep_the_same_documents() {
    let [one, other] = [(), ()].map(|()| {
        let sandbox = project();
        build(&sandbox, &[]);
        tree(&sandbox.path(LAYOUT))
    });
    assert!(one == other);
}

#[test]
fn what_is_kept_is_what_the_layers_say() {
    let sandbox = project();
    build(&sandbox, &[]);
    for platform in ["linux/amd64", "linux/arm64"] {
        for format in ["spdx", "cyclonedx"] {
            let sbom = |image: &str, more: &[&str]| {
                let arguments = [&["sbom", image, "--platform", platform, "--format", format], more].concat();
                sandbox.ok(&arguments).stdout
            };
            let kept = sbom("tiny", &[]);
            assert!(artifacts(&sandbox, LAYOUT).iter().any(|(_, digest)| {
                let manifest = json(&blob(&sandbox, LAYOUT, digest));
                blob(&sandbox, LAYOUT, manifest["layers"][0]["digest"].as_str().unwrap()) == kept.trim_end()
            }));
            assert_eq!(sbom("tiny", &["--scan"]), kept, "{platform} {format}");
            assert_eq!(sbom("oci:.esker/images/tiny", &["--scan"]), kept);
        }
    }
    build(&sandbox, &["--no-sbom", "--platform", "linux/amd64"]);
    let made = sandbox.ok(&["sbom", "tiny"]).stdout;
    assert!(made.contains("pkg:conda/libfoo@2.1"), "{made}");
}

#[test]
fn an_sbom_has_every_package_with_its_origin_licence_and_hashes() {
    let sandbox = project();
    build(&sandbox, &[]);
    let spdx = json(&sandbox.ok(&["sbom", "tiny", "--platform", "linux/amd64"]).stdout);
    let packages = spdx["packages"].as_array().unwrap();
    let package = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap();
    let names: Vec<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tiny", "_certs", "cuda-x", "libfoo", "libc6", "libgcc-s1"]);
    let libfoo = package("libfoo");
    let url = "https://conda.anaconda.org/conda-forge/linux-64/libfoo-2.1-0.conda";
    assert_eq!((&libfoo["downloadLocation"], &libfoo["licenseDeclared"]), (&url.into(), &"MIT OR Apache-2.0".into()));
    let purl = "pkg:conda/libfoo@2.1?build=0&channel=conda-forge&subdir=linux-64&type=conda";
    assert_eq!(libfoo["externalRefs"][0]["referenceLocator"], purl);
    let lock = sandbox.read("project/tiny/conda-lock.yml");
    for checksum in libfoo["checksums"].as_array().unwrap() {
        assert!(lock.contains(checksum["checksumValue"].as_str().unwrap()), "{checksum}");
    }
    assert_eq!(package("libc6")["licenseDeclared"], "NOASSERTION");
    let purl = "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12";
    assert_eq!(package("libc6")["externalRefs"][0]["referenceLocator"], purl);
    let named: Vec<_> = spdx["hasExtractedLicensingInfos"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(named, ["Mozilla 2.0", "NVIDIA-EULA"]);
    let relations = spdx["relationships"].as_array().unwrap().iter();
    let depends = relations.filter(|relation| relation["relationshipType"] == "DEPENDS_ON");
    let depends: Vec<_> =
        depends.map(|it| [&it["spdxElementId"], &it["relatedSpdxElement"]].map(|id| id.as_str().unwrap())).collect();
    let (libfoo, certs) = (libfoo["SPDXID"].as_str().unwrap(), package("_certs")["SPDXID"].as_str().unwrap());
    let [libc, libgcc] = ["SPDXRef-deb-amd64-libc6", "SPDXRef-deb-amd64-libgcc-s1"];
    assert_eq!(depends, [[libfoo, certs], [libc, libgcc], [libgcc, libc]]);
}

#[test]
fn provenance_tells_what_went_in_and_nothing_of_where() {
    let sandbox = project();
    let built = build(&sandbox, &["--compression", "gzip:3"]);
    let (manifest, text) = statement(&sandbox);
    assert_eq!(manifest["subject"]["digest"], built["digest"]);
    let statement = json(&text);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    let subjects: Vec<_> = statement["subject"].as_array().unwrap().iter().map(|it| &it["digest"]["sha256"]).collect();
    let digests = [&built["digest"], &built["platforms"][0]["manifest"], &built["platforms"][1]["manifest"]];
    assert_eq!(subjects, digests.map(|digest| &digest.as_str().unwrap()[7..]));
    let definition = &statement["predicate"]["buildDefinition"];
    let parameters = &definition["externalParameters"];
    assert_eq!(parameters["compression"], "gzip:3");
    assert_eq!(parameters["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    let inputs = definition["resolvedDependencies"].as_array().unwrap();
    let count = |of: &dyn Fn(&Value) -> bool| inputs.iter().filter(|input| of(input)).count();
    assert_eq!(count(&|input| input["uri"].as_str().is_some_and(|uri| uri.ends_with("/libfoo-2.1-0.conda"))), 2);
    assert_eq!(count(&|input| input["name"] == "/srv/start"), 1);
    // A base of this machine has a digest, and no name.
    let bases: Vec<_> = inputs.iter().filter(|it| it["name"].as_str().unwrap().starts_with("base ")).collect();
    assert_eq!(bases.len(), 2);
    assert!(bases.iter().all(|base| base["uri"].is_null() && base["digest"]["sha256"].is_string()), "{bases:?}");
    let host = std::process::Command::new("uname").arg("-n").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    for private in [host.trim(), "base-amd64", sandbox.path("").to_str().unwrap(), "file://"] {
        assert!(!text.contains(private), "`{private}` in {text}");
    }
}
