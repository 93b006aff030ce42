//! Programs that nobody here wrote judge the documents, and the layout they lie in.

use super::common::sbom;
use super::images::{available, run};
use super::{json, project};

fn judge(format: &str) -> Option<Vec<usize>> {
    let judge = sbom::judge(format)?;
    let sandbox = project();
    sandbox.ok(&["build", "tiny"]);
    let counts = ["linux/amd64", "linux/arm64"].map(|platform| {
        let document = sandbox.ok(&["sbom", "tiny", "--platform", platform, "--format", format]).stdout;
        sandbox.write("sbom.spdx.json", document.as_bytes());
        judge(&sandbox.path("sbom.spdx.json"))
    });
    Some(counts.to_vec())
}

#[test]
fn spdx_tools_find_nothing_wrong() {
    if let Some(counts) = judge("spdx") {
        assert_eq!(counts, [6, 6], "the image and five packages");
    }
}

#[test]
fn cyclonedx_finds_nothing_wrong() {
    if let Some(counts) = judge("cyclonedx") {
        assert_eq!(counts, [5, 5]);
    }
}

#[test]
fn skopeo_and_umoci_take_a_layout_with_documents() {
    let sandbox = project();
    let layout = sandbox.path("layout");
    let output = format!("oci:{}", layout.display());
    let built = sandbox.ok(&["build", "tiny", "--compression", "gzip", "--output", &output, "--json"]).stdout;
    let digest = json(&built)["images"][0]["digest"].as_str().unwrap().to_owned();
    let source = format!("{output}:tiny");
    if available("skopeo") {
        let raw = run("skopeo", &["inspect", "--raw", &source]);
        assert_eq!(esker::oci::Digest::of(&raw.stdout).to_string(), digest);
        let copy = sandbox.path("copy");
        run("skopeo", &["copy", "--quiet", "--all", &source, &format!("oci:{}:tiny", copy.display())]);
        let copied = esker::oci::Layout::open(copy).unwrap();
        assert_eq!(copied.image_index_digest().unwrap().to_string(), digest);
    }
    if available("umoci") {
        for architecture in ["amd64", "arm64"] {
            let bundle = sandbox.path(architecture);
            let image = format!("{}:tiny-{architecture}", layout.display());
            run("umoci", &["unpack", "--rootless", "--image", &image, bundle.to_str().unwrap()]);
            assert!(bundle.join("rootfs/srv/conda/envs/notebook/ssl/cacert.pem").is_file());
        }
        let names = run("umoci", &["list", "--layout", layout.to_str().unwrap()]);
        assert_eq!(String::from_utf8(names.stdout).unwrap(), "tiny\ntiny-amd64\ntiny-arm64\n");
    }
}
