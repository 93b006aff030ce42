//! Images on top of the image before.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use esker::oci::entries::LayerEntry;
use esker::oci::{Digest, Image, Layout, Ownership, Platform, unpack, walk};
use esker::progress::Silent;
use serde_json::Value;

use crate::common::{Pkg, Sandbox, TinyChannel, skipped};

const OTHERS: [&str; 4] = ["kept", "gone", "moved", "turned"];

/// Version 2 of it all: a file changed, one gone, a directory gone, one added, a link that becomes a directory, two names
/// of one file.
fn channel(version: &str) -> TinyChannel {
    let is_new = version != "1.0";
    let package = |name: &str| Pkg::new(name, version).native();
    let mut moved = package("moved").file("share/moved/same", "same").hard_link("share/moved/also", "share/moved/same");
    moved = if is_new { moved.file("share/moved/new/deep", "new") } else { moved.file("share/moved/old/deep", "old") };
    let turned = package("turned");
    let turned = if is_new { turned.file("share/turned/x", "x") } else { turned.symlink("share/turned", "moved") };
    let mut channel =
        TinyChannel::new().package(Pkg::new("kept", "1").file("share/kept", "kept")).package(moved).package(turned);
    if !is_new {
        channel = channel.package(package("gone").file("share/gone/a/b", "gone").file("share/gone/c", "gone"));
    }
    channel
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.channel(&channel("1.0"));
    sandbox.environment("tiny", &OTHERS);
    sandbox.ok(&["lock"]);
    sandbox
}

fn update(sandbox: &Sandbox, version: &str) {
    sandbox.channel(&channel(version));
    sandbox.environment("tiny", &["kept", "moved", "turned"]);
    sandbox.ok(&["lock", "--fresh"]);
}

/// Builds into the layout `name`.
fn build(sandbox: &Sandbox, name: &str, more: &[&str]) -> Value {
    let output = format!("oci:{}", sandbox.path(name).display());
    let ran = sandbox.ok(&[&["build", "tiny", "--json", "--output", &output], more].concat());
    serde_json::from_str::<Value>(&ran.stdout).unwrap()["images"][0].clone()
}

fn onto(sandbox: &Sandbox, name: &str) -> String {
    format!("oci:{}", sandbox.path(name).display())
}

fn image(sandbox: &Sandbox, name: &str) -> (Layout, Image) {
    let layout = Layout::open(sandbox.path(name)).unwrap();
    let image = layout.image(Platform::LinuxArm64).unwrap();
    (layout, image)
}

/// Every file of an image with its content, as a container sees it.
fn files(sandbox: &Sandbox, name: &str) -> BTreeMap<PathBuf, (LayerEntry, Digest)> {
    let (layout, image) = image(sandbox, name);
    let mut files = BTreeMap::new();
    walk::walk(&image, &layout, |entry, content| {
        let digest = Digest::of_reader(content).unwrap().0;
        files.insert(entry.path.clone(), (entry.clone(), digest));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    files
}

/// Every path of an image as it is on disk once unpacked: its kind and permissions, its content or target.
fn unpacked(sandbox: &Sandbox, name: &str) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let (layout, image) = image(sandbox, name);
    let root = sandbox.path(&format!("unpacked-{name}"));
    drop(fs_err::remove_dir_all(&root));
    unpack(&image, &layout, &root, Ownership::Mine, &Silent).unwrap();
    on_disk(&root)
}

fn on_disk(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let all = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    all.map(|entry| {
        let data = entry.metadata().unwrap();
        let content = match () {
            () if data.is_symlink() => fs_err::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes(),
            () if data.is_file() => fs_err::read(entry.path()).unwrap(),
            () => Vec::new(),
        };
        (entry.path().strip_prefix(root).unwrap().to_owned(), (data.mode(), content))
    })
    .collect()
}

fn layers(sandbox: &Sandbox, name: &str) -> Vec<Digest> {
    image(sandbox, name).1.layers.iter().map(|layer| layer.digest).collect()
}

fn label(sandbox: &Sandbox, name: &str, label: &str) -> Option<String> {
    let config = image(sandbox, name).1.config;
    config.config().as_ref().unwrap().labels().as_ref().unwrap().get(label).cloned()
}

#[test]
fn an_image_on_another_has_the_files_of_one_made_as_a_whole() {
    let sandbox = sandbox();
    build(&sandbox, "one", &[]);
    update(&sandbox, "2.0");
    let whole = build(&sandbox, "whole", &[]);
    let laid = build(&sandbox, "laid", &["--onto", &onto(&sandbox, "one")]);
    assert_eq!(files(&sandbox, "whole"), files(&sandbox, "laid"));
    assert_ne!(files(&sandbox, "one"), files(&sandbox, "laid"));
    assert_eq!(unpacked(&sandbox, "whole"), unpacked(&sandbox, "laid"));
    let (before, after) = (layers(&sandbox, "one"), layers(&sandbox, "laid"));
    assert_eq!(after[..after.len() - 1], before, "all layers stay, one is added");
    assert_ne!(whole["digest"], laid["digest"]);
    let index = image(&sandbox, "one").0.image_index_digest().unwrap().to_string();
    assert_eq!(label(&sandbox, "laid", "dev.esker.onto"), Some(index), "what it lies on is recorded");
    let again = build(&sandbox, "again", &["--onto", &onto(&sandbox, "one")]);
    assert_eq!(again["digest"], laid["digest"], "a function of the image before and the locks");
}

#[test]
fn the_top_layer_has_what_changed_and_no_more() {
    let sandbox = sandbox();
    build(&sandbox, "one", &[]);
    update(&sandbox, "2.0");
    build(&sandbox, "laid", &["--onto", &onto(&sandbox, "one")]);
    let (layout, image) = image(&sandbox, "laid");
    let top = Image { layers: vec![image.layers.last().unwrap().clone()], ..image };
    let mut raw = Vec::new();
    let _whole = top.layers[0]
        .read(&layout, &|_| {}, |content| {
            let mut entries = esker::oci::entries::Entries::new(content);
            while let Some(entry) = entries.next_entry().unwrap() {
                raw.push(entry.path.to_str().unwrap().to_owned());
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    let has = |path: &str| raw.iter().any(|found| found == &format!("srv/conda/envs/notebook/{path}"));
    for path in ["share/.wh.gone", "share/moved/.wh.old", "share/moved/new/deep", "share/turned/x", "share/moved"] {
        assert!(has(path), "{path} is not in {raw:#?}");
    }
    for path in ["share/kept", "share/moved/same", "share/moved/also", "share/gone", "share/.wh.turned"] {
        assert!(!has(path), "{path} is in {raw:#?}");
    }
}

#[test]
fn updates_lie_on_each_other_until_there_are_enough() {
    let sandbox = sandbox();
    let whole = build(&sandbox, "image", &[]);
    let place = onto(&sandbox, "image");
    let laid = build(&sandbox, "image", &["--onto", &place]);
    assert_eq!(laid["digest"], whole["digest"], "nothing has changed: it is the image before");
    let mut counts = Vec::new();
    for version in ["2.0", "3.0", "4.0"] {
        update(&sandbox, version);
        build(&sandbox, "image", &["--onto", &place, "--rebase-after", "2"]);
        build(&sandbox, "whole", &[]);
        assert_eq!(files(&sandbox, "whole"), files(&sandbox, "image"), "{version}");
        counts.push(label(&sandbox, "image", "dev.esker.onto.updates"));
    }
    assert_eq!(counts, [Some("1".into()), Some("2".into()), None], "then it is made as a whole");
    assert_eq!(layers(&sandbox, "image"), layers(&sandbox, "whole"));
}

#[test]
fn another_base_is_no_reason_for_a_wrong_image() {
    let sandbox = sandbox();
    build(&sandbox, "one", &[]);
    let base = sandbox.path("base-arm64.tar");
    let other = format!("rootfs:{}", sandbox.path("base-amd64.tar").display());
    fs_err::copy(sandbox.path("base-amd64.tar"), base).unwrap();
    let ran = sandbox.ok(&["build", "tiny", "--onto", &onto(&sandbox, "one"), "--base", &other]);
    assert!(ran.stderr.contains("linux/arm64 is made as a whole: the base is another"), "{}", ran.stderr);
    sandbox.run(&["build", "tiny", "--onto", "rootfs:base.tar"]).fails(2, &["`--onto` takes an image"]);
}

#[test]
fn umoci_unpacks_the_same_files() {
    if Command::new("umoci").arg("--version").output().is_err() {
        return skipped("there is no umoci on PATH");
    }
    let sandbox = sandbox();
    let gzip = ["--compression", "gzip", "--platform", "linux/arm64"];
    build(&sandbox, "one", &gzip);
    update(&sandbox, "2.0");
    build(&sandbox, "whole", &gzip);
    let place = onto(&sandbox, "one");
    build(&sandbox, "laid", &[&gzip[..], &["--onto", &place]].concat());
    let trees = ["whole", "laid"].map(|name| {
        let (image, bundle) =
            (format!("{}:tiny", sandbox.path(name).display()), sandbox.path(&format!("umoci-{name}")));
        let mut umoci = Command::new("umoci");
        let output = umoci.args(["unpack", "--rootless", "--image", &image]).arg(&bundle).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        on_disk(&bundle.join("rootfs"))
    });
    assert!(trees[0].keys().any(|path| path.ends_with("share/turned/x")), "{:#?}", trees[0].keys());
    assert_eq!(trees[0], trees[1]);
}
