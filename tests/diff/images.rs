//! Comparing what is installed in images: layouts on disk and images of a registry.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use esker::oci::{Compression, Layout, Platform};

use super::common::{Pkg, Sandbox, TinyChannel};
use super::fake_registry::{FakeRegistry, Reply};
use super::images::{Tar, add_image, index};

/// `tiny` built from two locks: `before` and `after` are layouts in the sandbox.
fn built_twice() -> Sandbox {
    let sandbox = Sandbox::new();
    let build = |name: &str| {
        sandbox.ok(&["lock"]);
        sandbox.ok(&["build", "tiny", "--output", &format!("oci:../{name}")]);
    };
    build("before");
    let libfoo = Pkg::new("libfoo", "2.0").native().depends("__glibc >=2.17");
    let certs = Pkg::new("certs", "2025.1").file("ssl/cacert.pem", "pretend\n");
    sandbox.channel(&TinyChannel::new().package(libfoo).package(certs));
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
    fs_err::remove_file(sandbox.path("project/tiny/conda-lock.yml")).unwrap();
    build("after");
    sandbox
}

const CHANGES: &str = "  downgrade  libfoo  2.1 → 2.0\n  upgrade    certs   2024.1 → 2025.1\n";

#[test]
fn layouts_are_compared_as_their_locks_are() {
    let sandbox = built_twice();
    let expected = format!("oci:../after: 1 downgraded, 1 upgraded\n{CHANGES}");
    let ran = sandbox.ok(&["diff", "oci:../before", "oci:../after"]);
    assert_eq!(ran.stdout, expected);
    let same = sandbox.ok(&["diff", "oci:../after", "oci:../after"]).stdout;
    assert_eq!(same, "oci:../after: no changes\n");
    sandbox.run(&["diff", "oci:../before", "oci:../after", "--deny", "downgrade"]).fails(1, &["downgrade of `libfoo`"]);
    let json = sandbox.ok(&["diff", "oci:../before", "oci:../after", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["images"][0]["subdirs"], serde_json::json!(["linux-64", "linux-aarch64"]));
    assert_eq!((&json["old"], &json["new"]), (&"oci:../before".into(), &"oci:../after".into()));
    // Neither a project nor a repository is needed, and nothing is left behind.
    fs_err::remove_dir_all(sandbox.path("project")).unwrap();
    fs_err::remove_dir_all(sandbox.path("cache")).unwrap();
    fs_err::create_dir(sandbox.path("project")).unwrap();
    assert_eq!(sandbox.ok(&["diff", "oci:../before", "oci:../after", "--offline"]).stdout, expected);
    assert!(!sandbox.path("cache").exists());
}

/// A server of `layout`, whose first answer for each blob breaks off in the middle.
fn registry(layout: Layout) -> (FakeRegistry, Arc<AtomicUsize>) {
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    let registry = FakeRegistry::start(layout, move |request, reply: Reply| {
        if request.is_blob() && request.earlier == 0 && reply.body.len() > 1000 {
            counted.fetch_add(1, Ordering::Relaxed);
            let half = reply.body.len() / 2;
            return reply.cut(half);
        }
        reply
    });
    (registry, cuts)
}

#[test]
fn images_of_a_registry_are_compared_and_kept_nowhere() {
    let sandbox = built_twice();
    let (old, _) = registry(Layout::open(sandbox.path("before")).unwrap());
    let (new, cuts) = registry(Layout::open(sandbox.path("after")).unwrap());
    fs_err::remove_dir_all(sandbox.path("cache")).unwrap();
    let [old_name, new_name] = [&old, &new].map(|registry| format!("{}/some/tiny:1", registry.address));
    let expected = format!("{new_name}: 1 downgraded, 1 upgraded\n{CHANGES}");
    let ran = sandbox.ok(&["diff", &old_name, &format!("docker://{new_name}")]);
    assert_eq!(ran.stdout, expected);
    assert!(cuts.load(Ordering::Relaxed) > 0, "downloads broke off");
    assert!(!sandbox.path("cache").join("blobs").exists());
    // A layer that both have is read once.
    let layers = Layout::open(sandbox.path("after")).unwrap().images().unwrap();
    let shared =
        layers[0].layers.iter().find(|layer| layers[1].layers.iter().any(|other| other.digest == layer.digest));
    if let Some(shared) = shared {
        let path = format!("/v2/some/tiny/blobs/{}", shared.digest);
        let whole = new.requests().iter().filter(|r| r.path == path && r.header("range").is_none()).count();
        assert_eq!(whole, 1);
    }
    sandbox.run(&["diff", &old_name, &new_name, "--offline"]).fails(3, &["cannot be read offline"]);
    let gone = FakeRegistry::start(Layout::open(sandbox.path("after")).unwrap(), |_, _| Reply::status(404));
    let gone = format!("docker://{}/some/tiny:2", gone.address);
    sandbox.run(&["diff", &gone, &gone]).fails(2, &["does not exist", "check the name and tag of the image"]);
    let layer = layers[0].layers.last().unwrap().digest.to_string();
    let wrong = FakeRegistry::start(Layout::open(sandbox.path("after")).unwrap(), move |request, mut reply| {
        // The size is right, the bytes are not.
        if request.path.ends_with(&layer) {
            let middle = reply.body.len() / 2;
            reply.body[middle] ^= 1;
        }
        reply
    });
    let wrong = format!("docker://{}/some/tiny:3", wrong.address);
    sandbox.run(&["diff", &wrong, &wrong]).fails(3, &[&format!("cannot read what was pulled of `{}`", &wrong[9..])]);
}

/// A record as micromamba writes it, cut down.
fn record(name: &str, version: &str) -> String {
    let url = format!("https://conda.anaconda.org/conda-forge/noarch/{name}-{version}-0.conda");
    serde_json::json!({ "name": name, "version": version, "build": "0", "url": url, "files": ["x"] }).to_string()
}

/// A layout of an image that others built: one layer on another.
fn foreign(sandbox: &Sandbox, name: &str, layers: Vec<Tar>) {
    let layout = Layout::create(sandbox.path(name)).unwrap();
    let manifest = add_image(&layout, Platform::LinuxAmd64, layers, Compression::GZIP);
    layout.set_index("foreign", &index(vec![manifest])).unwrap();
}

#[test]
fn only_what_is_left_in_the_notebook_prefix_counts() {
    let sandbox = Sandbox::new();
    let notebook = "srv/conda/envs/notebook/conda-meta";
    let lower = || {
        Tar::default()
            .file("srv/conda/conda-meta/mamba-1-0.json", &record("mamba", "1"))
            .file(&format!("{notebook}/a-1-0.json"), &record("a", "1"))
            .file(&format!("{notebook}/b-1-0.json"), &record("b", "1"))
            .file(&format!("{notebook}/history"), "")
    };
    foreign(&sandbox, "one", vec![lower()]);
    // `conda remove b`, `conda update a`, and an environment beside it that was thrown away.
    let upper = Tar::default()
        .file(&format!("{notebook}/.wh.a-1-0.json"), "")
        .file(&format!("{notebook}/.wh.b-1-0.json"), "")
        .file(&format!("{notebook}/a-2-0.json"), &record("a", "2"))
        .hardlink(&format!("{notebook}/c-1-0.json"), &format!("{notebook}/a-2-0.json"));
    foreign(&sandbox, "two", vec![lower(), upper]);
    let changed = sandbox.ok(&["diff", "oci:../one", "oci:../two"]).stdout;
    assert_eq!(changed, "oci:../two: 1 removed, 1 upgraded\n  removal  b  1\n  upgrade  a  1 → 2\n");
    // Without a notebook prefix: the one that has the most.
    let root = Tar::default().file(&format!("{notebook}/.wh..wh..opq"), "");
    let other = Tar::default()
        .file("opt/conda/conda-meta/x-1-0.json", &record("x", "1"))
        .file("opt/conda/conda-meta/y-1-0.json", &record("y", "1"));
    foreign(&sandbox, "root", vec![lower(), root, other]);
    let changed = sandbox.ok(&["diff", "oci:../one", "oci:../root"]).stdout;
    assert!(changed.starts_with("oci:../root: 2 removed, 2 added\n"), "{changed}");
    foreign(&sandbox, "none", vec![Tar::default().file("etc/passwd", "")]);
    sandbox.run(&["diff", "oci:../one", "oci:../none"]).fails(2, &["`oci:../none` has no conda packages"]);
    foreign(&sandbox, "broken", vec![Tar::default().file(&format!("{notebook}/a-1-0.json"), "{")]);
    sandbox.run(&["diff", "oci:../one", "oci:../broken"]).fails(2, &["cannot read `oci:../broken`", "a-1-0.json"]);
}

#[test]
fn an_image_is_not_compared_with_anything_else() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    for arguments in [&["diff", "oci:../x"][..], &["diff", "quay.io/a/b:1", "main"], &["diff", "main", "docker://a:1"]]
    {
        sandbox.run(arguments).fails(2, &["give two images", "docker://"]);
    }
    sandbox.run(&["diff", "oci:", "oci:../x"]).fails(2, &["`oci:` names no image"]);
    sandbox.run(&["diff", "oci:../x", "oci:../x"]).fails(2, &["cannot read `oci:../x`"]);
    sandbox.run(&["diff", "oci:../x", "oci:../y", "--image", "tiny"]).fails(2, &["`--image` means nothing"]);
    // A branch that looks like an image is a branch.
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"];
        let mut git = std::process::Command::new("git");
        git.args(identity).args(arguments).current_dir(sandbox.path("project")).env("HOME", sandbox.path("home"));
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "-m", "one"]);
    git(&["branch", "registry.example/tiny"]);
    assert_eq!(sandbox.ok(&["diff", "registry.example/tiny", "HEAD"]).stdout, "tiny: no changes\n");
}
