//! Layouts, unpacking and archives, judged by other programs where they are installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use esker::oci::{
    self, Compression, Digest, Layout, Ownership, Platform, read_files, unpack, validate, write_docker_archive,
};
use esker::progress::Silent;
use images::skip::skipped;
use images::{Tar, add_image, available, index, layout_of, run, two_platforms};
use tempfile::tempdir;

mod images;

/// Unpacks an image of `layers` as an ordinary user would, next to a file that must not change.
fn unpacked(layers: Vec<Tar>) -> (tempfile::TempDir, oci::error::Result<()>) {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("outside"), "safe").unwrap();
    let layout = layout_of(&dir.path().join("layout"), layers);
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let outcome = unpack(&image, &layout, &dir.path().join("root"), Ownership::Mine, &Silent);
    assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "safe");
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["layout", "outside", "root"], "nothing was made outside of the root");
    (dir, outcome)
}

/// Every path below `root`, with what is there.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let below = walkdir::WalkDir::new(root).min_depth(1);
    below.into_iter().map(|entry| describe(root, &entry.unwrap())).collect()
}

fn describe(root: &Path, entry: &walkdir::DirEntry) -> (String, String) {
    let path = entry.path().strip_prefix(root).unwrap().display().to_string();
    let kind = entry.file_type();
    let what = if kind.is_dir() {
        "/".to_owned()
    } else if kind.is_symlink() {
        format!("-> {}", fs::read_link(entry.path()).unwrap().display())
    } else {
        fs::read_to_string(entry.path()).unwrap()
    };
    (path, what)
}

fn assert_tree(layers: Vec<Tar>, expected: &[(&str, &str)]) {
    let (dir, outcome) = unpacked(layers);
    outcome.unwrap();
    let expected: BTreeMap<_, _> = expected.iter().map(|&(path, what)| (path.to_owned(), what.to_owned())).collect();
    assert_eq!(tree(&dir.path().join("root")), expected);
}

#[test]
fn a_layout_gives_back_what_was_put_in() {
    let dir = tempdir().unwrap();
    two_platforms(dir.path(), Compression::ZSTD);
    let layout = Layout::open(dir.path()).unwrap();
    let images = layout.images().unwrap();
    let platforms: Vec<_> = images.iter().map(|image| image.platform).collect();
    assert_eq!(platforms, [Platform::LinuxAmd64, Platform::LinuxArm64], "each once, though listed twice");
    let arm = layout.image(Platform::LinuxArm64).unwrap();
    let files = read_files(&arm, &layout, |path| path.starts_with("etc/")).unwrap();
    assert_eq!(files["etc/platform"], b"linux/arm64");
    let missing = layout.image(Platform::LinuxPpc64le).unwrap_err().to_string();
    assert!(missing.ends_with("has no image for linux/ppc64le, only for linux/amd64, linux/arm64"), "{missing}");
}

#[test]
fn a_layout_is_the_same_bytes_every_time() {
    let digests = [(), ()].map(|()| {
        let dir = tempdir().unwrap();
        let layout = two_platforms(dir.path(), Compression::GZIP);
        let top = fs::read(dir.path().join("index.json")).unwrap();
        (layout.image_index_digest().unwrap(), Digest::of(&top), tree_names(dir.path()))
    });
    assert_eq!(digests[0], digests[1]);
}

fn tree_names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        walkdir::WalkDir::new(root).into_iter().map(|e| e.unwrap().file_name().display().to_string()).skip(1).collect();
    names.sort();
    names
}

#[test]
fn a_layout_is_not_made_among_other_files() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "").unwrap();
    assert!(matches!(Layout::create(dir.path()), Err(oci::Error::Occupied { .. })));
    assert!(matches!(Layout::open(dir.path()), Err(oci::Error::NotALayout { .. })));
    assert_eq!(tree_names(dir.path()), ["thesis.tex"]);
}

#[test]
fn content_is_checked_where_it_enters_and_where_it_leaves() {
    let dir = tempdir().unwrap();
    let layout = layout_of(&dir.path().join("layout"), vec![Tar::default().file("a", "a")]);
    let mut writer = layout.writer_for(Digest::of(b"right"), 5).unwrap();
    writer.write_all(b"wrong").unwrap();
    assert!(matches!(writer.commit(), Err(oci::Error::Corrupt { .. })));
    assert!(!layout.has(&Digest::of(b"wrong"), 5) && !layout.has(&Digest::of(b"right"), 5));

    let file = dir.path().join("file");
    fs::write(&file, "content").unwrap();
    layout.import(&file, &Digest::of(b"content"), 7).unwrap();
    assert_eq!(fs::read(layout.blob_path(&Digest::of(b"content"))).unwrap(), b"content");
    assert!(
        matches!(layout.import(&file, &Digest::of(b"other"), 5), Err(oci::Error::Corrupt { path, .. }) if path == file)
    );

    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let blob = layout.blob_path(&image.layers[0].digest);
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).unwrap();
    let outcome = unpack(&image, &layout, &dir.path().join("root"), Ownership::Mine, &Silent);
    assert!(matches!(outcome, Err(oci::Error::Corrupt { .. })), "{outcome:?}");
    fs::write(layout.blob_path(&image.digest), "{}").unwrap();
    assert!(matches!(layout.image(Platform::LinuxAmd64), Err(oci::Error::Corrupt { .. })));
}

#[test]
fn pruning_removes_what_the_index_no_longer_leads_to() {
    let dir = tempdir().unwrap();
    let layout = layout_of(dir.path(), vec![Tar::default().file("old", "old")]);
    let old = layout.image(Platform::LinuxAmd64).unwrap();
    let shared = Tar::default().file("new", "new");
    let manifest = add_image(&layout, Platform::LinuxAmd64, vec![shared], Compression::GZIP);
    layout.set_index("test", &index(vec![manifest])).unwrap();
    let before = fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count();
    assert!(layout.prune().unwrap() > 0);
    let after = fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count();
    assert_eq!((before, after), (8, 4), "index, manifest, configuration and layer of one image went");
    assert!(!layout.has(&old.layers[0].digest, old.layers[0].size));
    layout.image(Platform::LinuxAmd64).unwrap();
}

#[test]
fn temporary_files_of_the_dead_are_removed_and_of_the_living_kept() {
    let dir = tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let writer = layout.writer().unwrap();
    let stale = dir.path().join("blobs/sha256/.tmp-stale");
    let file = fs::File::create(&stale).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).unwrap();
    Layout::create(dir.path()).unwrap();
    assert!(!stale.exists());
    let (digest, size) = writer.commit().unwrap();
    assert!(layout.has(&digest, size));
}

#[test]
fn hostile_layers_reach_nothing_outside() {
    let refused = [
        ("climbing", vec![Tar::default().file("../outside", "x")]),
        ("climbing in the middle", vec![Tar::default().dir("a").file("a/../../outside", "x")]),
        ("a hard link out", vec![Tar::default().hardlink("x", "../outside")]),
        ("a file below a file", vec![Tar::default().file("a", "x").file("a/b", "x")]),
        ("links in a circle", vec![Tar::default().symlink("a", "b").symlink("b", "a").file("a/x", "x")]),
        ("the root as a file", vec![Tar::default().file("/", "").file(".", "x")]),
    ];
    for (what, layers) in refused {
        let (_dir, outcome) = unpacked(layers);
        let refused = matches!(outcome, Err(oci::Error::Layer { .. } | oci::Error::Unpack { .. }));
        assert!(refused, "{what}: {outcome:?}");
    }
}

#[test]
fn links_lead_inside_the_root_wherever_they_point() {
    assert_tree(vec![Tar::default().file("/outside", "x")], &[("outside", "x")]);
    let through_parent = Tar::default().symlink("up", "..").file("up/outside", "x");
    assert_tree(vec![through_parent], &[("up", "-> .."), ("outside", "x")]);
    let planted = Tar::default().symlink("link", "../outside");
    assert_tree(vec![planted, Tar::default().file("link", "x")], &[("link", "x")]);
    let absolute = Tar::default().symlink("tmp", "/usr/tmp");
    assert_tree(
        vec![absolute, Tar::default().file("tmp/x", "x")],
        &[("tmp", "-> /usr/tmp"), ("usr", "/"), ("usr/tmp", "/"), ("usr/tmp/x", "x")],
    );
    let linked = Tar::default().symlink("s", "../outside").hardlink("h", "s").file("h", "x");
    assert_tree(vec![linked], &[("s", "-> ../outside"), ("h", "x")]);
}

#[test]
fn a_directory_that_becomes_a_link_in_the_middle_of_a_layer_leads_nowhere() {
    let dir = tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    let link = victim.to_str().unwrap();
    let replaced = Tar::default().dir("a").file("a/x", "x").symlink("a", link).file("a/y", "y");
    let removed = Tar::default().file(".wh.b", "").symlink("b", link).file("b/y", "y");
    let layout = layout_of(&dir.path().join("layout"), vec![Tar::default().file("b/x", "x"), removed, replaced]);
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let root = dir.path().join("root");
    unpack(&image, &layout, &root, Ownership::Mine, &Silent).unwrap();
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    assert!(root.join(victim.strip_prefix("/").unwrap()).join("y").is_file());
}

#[test]
fn a_directory_that_becomes_a_link_does_not_pass_its_mode_on() {
    let dir = tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::create_dir(victim.join("d")).unwrap();
    let before = fs::metadata(victim.join("d")).unwrap();
    let layers =
        vec![Tar::default().dir("a").dir_mode("a/d", 0o777), Tar::default().symlink("a", victim.to_str().unwrap())];
    let layout = layout_of(&dir.path().join("layout"), layers);
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    unpack(&image, &layout, &dir.path().join("root"), Ownership::Mine, &Silent).unwrap();
    let after = fs::metadata(victim.join("d")).unwrap();
    assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()));
}

#[test]
fn layers_write_through_links_of_lower_layers() {
    let base = Tar::default().dir("usr").dir("usr/bin").symlink("bin", "usr/bin").file("usr/bin/sh", "sh");
    assert_tree(
        vec![base, Tar::default().file("bin/foo", "foo")],
        &[("usr", "/"), ("usr/bin", "/"), ("bin", "-> usr/bin"), ("usr/bin/sh", "sh"), ("usr/bin/foo", "foo")],
    );
}

#[test]
fn whiteouts_remove_what_lower_layers_brought_and_nothing_else() {
    let lower = || Tar::default().dir("d").file("d/a", "a").file("d/b", "b").dir("d/e").file("d/e/f", "f");
    assert_tree(
        vec![lower(), Tar::default().file("d/.wh.a", "")],
        &[("d", "/"), ("d/b", "b"), ("d/e", "/"), ("d/e/f", "f")],
    );
    assert_tree(vec![lower(), Tar::default().file(".wh.d", "")], &[]);
    let opaque = Tar::default().dir("d").file("d/new", "new").file("d/.wh..wh..opq", "");
    assert_tree(vec![lower(), opaque], &[("d", "/"), ("d/new", "new")]);
    let replaced = Tar::default().file("d/a", "A").file("d/.wh.a", "");
    assert_tree(vec![lower(), replaced], &[("d", "/"), ("d/a", "A"), ("d/b", "b"), ("d/e", "/"), ("d/e/f", "f")]);
    let ours = Tar::default().file("d/e/mine", "m").file(".wh.d", "");
    assert_tree(vec![lower(), ours], &[("d", "/"), ("d/e", "/"), ("d/e/mine", "m")]);
    let bookkeeping = Tar::default().file(".wh..wh.plnk", "").file("d/.wh..", "").file("d/.wh...", "");
    assert_eq!(fs_of(vec![lower(), bookkeeping]).len(), 5);
}

fn fs_of(layers: Vec<Tar>) -> BTreeMap<String, String> {
    let (dir, outcome) = unpacked(layers);
    outcome.unwrap();
    tree(&dir.path().join("root"))
}

#[test]
fn walking_decides_as_unpacking_does() {
    let lower = || {
        let one = Tar::default().dir("d").file("d/a", "a").file("d/b", "b").dir("d/e").file("d/e/f", "f");
        one.hardlink("d/link", "d/b").file("k", "k")
    };
    let uppers = [
        Tar::default().file("d/.wh.a", "").file("d/b", "B"),
        Tar::default().file(".wh.d", "").dir("d").file("d/new", "n"),
        Tar::default().dir("d/e").file("d/e/.wh..wh..opq", "").file("d/e/g", "g"),
        Tar::default().symlink("d", "k"),
        Tar::default().file("d/a", "1").file("d/.wh.a", ""),
        Tar::default().dir("k").file("k/x", "x"),
    ];
    for (number, upper) in uppers.into_iter().enumerate() {
        let dir = tempdir().unwrap();
        let layout = layout_of(&dir.path().join("layout"), vec![lower(), Tar::default().file("z", "z"), upper]);
        let image = layout.image(Platform::LinuxAmd64).unwrap();
        let mut read: BTreeMap<_, _> = read_files(&image, &layout, |_| true).unwrap();
        // The name `d/link` is of the file as it was in its layer, before an upper layer replaced `d/b`.
        read.remove("d/link");
        let root = dir.path().join("root");
        unpack(&image, &layout, &root, Ownership::Mine, &Silent).unwrap();
        let mut files = tree(&root);
        files.retain(|path, what| what != "/" && !what.starts_with("->") && path != "d/link");
        let read: BTreeMap<_, _> = read.into_iter().map(|(p, c)| (p, String::from_utf8(c).unwrap())).collect();
        assert_eq!(read, files, "upper layer {number}");
    }
}

#[test]
fn hard_links_read_as_the_file_they_name() {
    let dir = tempdir().unwrap();
    let layout = layout_of(dir.path(), vec![Tar::default().file("a", "content").hardlink("b", "a").hardlink("c", "b")]);
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let files = read_files(&image, &layout, |path| path == "c").unwrap();
    assert_eq!(files, BTreeMap::from([("c".to_owned(), b"content".to_vec())]));
}

#[test]
fn owners_modes_and_times_are_kept_as_far_as_may_be() {
    let layers = || {
        let tar = Tar::default().dir_mode("d", 0o555).file_mode("d/suid", "x", 0o4755).hardlink("d/other", "d/suid");
        vec![tar.device("null").symlink("l", "d")]
    };
    let (dir, outcome) = unpacked(layers());
    outcome.unwrap();
    let root = dir.path().join("root");
    let file = fs::metadata(root.join("d/suid")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.mtime(), file.nlink()), (0o755, 1_577_836_800, 2));
    let d = fs::metadata(root.join("d")).unwrap();
    assert_eq!((d.mode() & 0o7777, d.mtime()), (0o755, 1_577_836_800));
    assert_eq!(fs::symlink_metadata(root.join("l")).unwrap().mtime(), 1_577_836_800);
    assert!(!root.join("null").exists());

    if !nix::unistd::geteuid().is_root() {
        skipped("keeping owners needs root");
        return;
    }
    let layout = layout_of(&dir.path().join("kept-layout"), layers());
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let root = dir.path().join("kept");
    unpack(&image, &layout, &root, Ownership::Keep, &Silent).unwrap();
    let file = fs::metadata(root.join("d/suid")).unwrap();
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid()), (0o4755, 1234, 1234));
    assert_eq!(fs::symlink_metadata(root.join("l")).unwrap().uid(), 1234);
    assert_eq!(fs::metadata(root.join("d")).unwrap().permissions().mode() & 0o7777, 0o555);
}

#[test]
fn skopeo_reads_and_copies_the_layout() {
    if !available("skopeo") {
        return;
    }
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::ZSTD);
    let source = format!("oci:{}:small", layout.path().display());
    for platform in ["amd64", "arm64"] {
        let shown = run("skopeo", &["--override-arch", platform, "inspect", &source]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(shown["Architecture"], platform);
    }
    let copy = dir.path().join("copy");
    run("skopeo", &["copy", "--all", &source, &format!("oci:{}:small", copy.display())]);
    let copied = Layout::open(copy).unwrap();
    assert_eq!(copied.image_index_digest().unwrap(), layout.image_index_digest().unwrap());
}

#[test]
fn umoci_unpacks_each_platform() {
    if !available("umoci") {
        return;
    }
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    for platform in ["amd64", "arm64"] {
        let bundle = dir.path().join(platform);
        let image = format!("{}:small-{platform}", layout.path().display());
        run("umoci", &["unpack", "--rootless", "--image", &image, bundle.to_str().unwrap()]);
        let read = fs::read_to_string(bundle.join("rootfs/etc/platform")).unwrap();
        assert_eq!(read, format!("linux/{platform}"));
    }
    let single = layout_of(&dir.path().join("single"), vec![Tar::default().file("f", "f")]);
    let bundle = dir.path().join("bundle");
    let image = format!("{}:test", single.path().display());
    run("umoci", &["unpack", "--rootless", "--image", &image, bundle.to_str().unwrap()]);
}

fn archive_of(layout: &Layout, platform: Platform, tag: &str) -> Vec<u8> {
    let image = layout.image(platform).unwrap();
    let mut bytes = Vec::new();
    write_docker_archive(layout, &image, tag, 0, &mut bytes, &Silent).unwrap();
    bytes
}

#[test]
fn an_archive_is_the_same_however_its_layers_were_compressed() {
    let dir = tempdir().unwrap();
    let archives = [Compression::GZIP, Compression::ZSTD, Compression::None].map(|compression| {
        let layout = two_platforms(&dir.path().join(compression.to_string()), compression);
        archive_of(&layout, Platform::LinuxArm64, "small:latest")
    });
    assert_eq!(archives[0], archives[1]);
    assert_eq!(archives[0], archives[2]);
}

#[test]
fn an_archive_is_a_layout_and_what_docker_and_skopeo_load() {
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::ZSTD);
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let name = format!("esker-test-{}:latest", std::process::id());
    let file = dir.path().join("image.tar");
    fs::write(&file, archive_of(&layout, Platform::LinuxAmd64, &name)).unwrap();

    let opened = dir.path().join("opened");
    tar::Archive::new(fs::File::open(&file).unwrap()).unpack(&opened).unwrap();
    let opened = Layout::open(opened).unwrap();
    validate(&opened).unwrap();
    assert_eq!(opened.image(Platform::LinuxAmd64).unwrap().config_digest, image.config_digest);

    if available("skopeo") {
        for kind in ["docker-archive", "oci-archive"] {
            let shown = run("skopeo", &["inspect", "--config", "--raw", &format!("{kind}:{}", file.display())]);
            assert_eq!(Digest::of(&shown.stdout), image.config_digest, "{kind}");
        }
    }
    let answers = std::process::Command::new("docker").arg("version").output().is_ok_and(|o| o.status.success());
    if !answers {
        skipped("no Docker engine answers");
        return;
    }
    run("docker", &["load", "--input", file.to_str().unwrap()]);
    let shown = run("docker", &["image", "inspect", "--format", "{{.Id}} {{.Architecture}}", &name]);
    run("docker", &["image", "rm", &name]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    // An image's id is its configuration's digest, or its manifest's where containerd keeps the images.
    let ids = [image.config_digest, opened.image(Platform::LinuxAmd64).unwrap().digest];
    assert!(ids.iter().any(|id| shown.trim_end() == format!("{id} amd64")), "{shown}");
}

#[test]
fn validation_finds_each_kind_of_damage() {
    let dir = tempdir().unwrap();
    type Damage<'a> = &'a dyn Fn(&Layout);
    let damages: [(&str, Damage<'_>); 4] = [
        ("a missing layer", &|layout| fs::remove_file(top_layer(layout)).unwrap()),
        ("a cut layer", &|layout| {
            let bytes = fs::read(top_layer(layout)).unwrap();
            fs::write(top_layer(layout), &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("a damaged manifest", &|layout| {
            fs::write(layout.blob_path(&layout.images().unwrap()[0].digest), "{}").unwrap();
        }),
        ("no index", &|layout| fs::remove_file(layout.path().join("index.json")).unwrap()),
    ];
    for (what, damage) in damages {
        let layout = two_platforms(&dir.path().join(what), Compression::GZIP);
        validate(&layout).unwrap();
        damage(&layout);
        assert_eq!(validate(&layout).unwrap_err().len(), 1, "{what}");
    }
}

#[test]
fn validation_compares_what_descriptors_and_configurations_say() {
    let dir = tempdir().unwrap();
    let layout = Layout::create(dir.path()).unwrap();
    let mut arm = add_image(&layout, Platform::LinuxArm64, vec![Tar::default().file("a", "a")], Compression::GZIP);
    let amd = add_image(&layout, Platform::LinuxAmd64, vec![Tar::default().file("b", "b")], Compression::GZIP);
    arm.set_platform(amd.platform().clone());
    layout.set_index("test", &index(vec![arm.clone()])).unwrap();
    let problems = validate(&layout).unwrap_err();
    assert!(problems[0].to_string().ends_with("listed for linux/amd64 and configured for linux/arm64"), "{problems:?}");

    // The layer of one image under the configuration of the other.
    let mut manifest: oci_spec::image::ImageManifest = layout.read_json(&amd).unwrap();
    manifest.set_layers(layout.read_json::<oci_spec::image::ImageManifest>(&arm).unwrap().layers().clone());
    let mixed = layout.put_json(oci_spec::image::MediaType::ImageManifest, &manifest).unwrap();
    layout.set_index("test", &index(vec![mixed])).unwrap();
    let problems = validate(&layout).unwrap_err();
    assert_eq!(problems.len(), 1, "its diff_id differs: {problems:?}");
}

fn top_layer(layout: &Layout) -> std::path::PathBuf {
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    layout.blob_path(&image.layers.last().unwrap().digest)
}
