//! What is said about images beside them and out of them: SBOMs, provenance, `esker inspect`.

#![allow(clippy::unwrap_used)]
#![allow(clippy::duplicate_mod, reason = "`common` and `images` both say when a test is skipped")]

mod common;
#[path = "supply/documents.rs"]
mod documents;
mod fake_registry;
mod images;
#[path = "supply/inspect.rs"]
mod inspect;
#[path = "supply/judges.rs"]
mod judges;
#[path = "supply/rebuild.rs"]
mod rebuild;

use common::{Pkg, Sandbox, TinyChannel};
use images::Tar;
use serde_json::Value;

const STATUS: &str = "\
Package: libc6
Status: install ok installed
Architecture: ARCH
Version: 2.36-9+deb12u4
Depends: libgcc-s1

Package: libgcc-s1
Status: install ok installed
Architecture: ARCH
Version: 12.2.0-14
Depends: libc6 (>= 2.35)

Package: gone
Status: deinstall ok config-files
Architecture: ARCH
Version: 1
";

/// `tiny` on a base that has Debian packages, with a package of each kind of licence; locked.
fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.channel(
        &TinyChannel::new()
            .package(
                Pkg::new("libfoo", "2.1")
                    .native()
                    .license("MIT OR Apache-2.0")
                    .depends("__glibc >=2.17")
                    .depends("_certs >=2024")
                    .file("lib/libfoo.so.2.1", vec![7; 5000]),
            )
            .package(Pkg::new("_certs", "2024.1").license("Mozilla 2.0").file("ssl/cacert.pem", "pretend\n"))
            .package(Pkg::new("cuda-x", "1!2.0+rc1").license("LicenseRef-NVIDIA-EULA").file("share/x", "x")),
    );
    sandbox.environment("tiny", &["libfoo", "_certs", "cuda-x"]);
    for architecture in ["amd64", "arm64"] {
        let base = Tar::default()
            .file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
            .file("etc/group", "root:x:0:\n")
            .file("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n")
            .file("usr/lib/libc.so.6", &"c".repeat(3000))
            .file("var/lib/dpkg/status", &STATUS.replace("ARCH", architecture))
            .file(&format!("var/lib/dpkg/info/libc6:{architecture}.list"), "/.\n/lib\n/lib/libc.so.6\n");
        sandbox.write(&format!("base-{architecture}.tar"), &base.bytes());
    }
    sandbox.ok(&["lock"]);
    sandbox
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The artifacts that `index.json` of the layout at `path` lists: kind and digest.
fn artifacts(sandbox: &Sandbox, path: &str) -> Vec<(String, String)> {
    let index = json(&sandbox.read(&format!("{path}/index.json")));
    let entries = index["manifests"].as_array().unwrap().iter();
    let artifacts = entries.filter_map(|entry| Some((entry["artifactType"].as_str()?, entry["digest"].as_str()?)));
    artifacts.map(|(kind, digest)| (kind.to_owned(), digest.to_owned())).collect()
}

/// The blob of the layout at `path`.
fn blob(sandbox: &Sandbox, path: &str, digest: &str) -> String {
    sandbox.read(&format!("{path}/blobs/sha256/{}", digest.trim_start_matches("sha256:")))
}
