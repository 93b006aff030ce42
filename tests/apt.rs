//! `apt.txt`, from a signed archive to a layer: with a small Debian made here.

#![allow(clippy::unwrap_used)]

#[path = "apt/bootstrap.rs"]
mod bootstrap;
mod common;
#[path = "apt/debian.rs"]
mod debian;
mod fake_registry;
#[path = "apt/hostile.rs"]
mod hostile;
#[path = "apt/locking.rs"]
mod locking;
#[path = "apt/published.rs"]
mod published;
#[path = "apt/real.rs"]
mod real;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use common::{Ran, skipped};
use debian::{Deb, Debian};
use esker::oci::entries::{EntryKind, LayerEntry};
use esker::oci::{Layout, Platform, walk};

/// A day long ago.
const DATE: &str = "20260101T000000Z";

/// A small Debian whose locks are of [`DATE`]; `None`, said to be skipped, where there is no gpg.
fn debian(debs: &[Deb]) -> Option<Debian> {
    let Some(debian) = Debian::new() else {
        skipped("gpg, which signs the archive of this test, is not installed");
        return None;
    };
    debian.settings("apt-snapshot: 2026-01-01\n");
    debian.archive(DATE, debs);
    Some(debian)
}

/// Paths of an image with their entries and contents.
type Files = BTreeMap<String, (LayerEntry, Vec<u8>)>;

/// Every path of the image with its entry and content.
fn files(layout: &Path) -> Files {
    files_of(layout, Platform::LinuxAmd64, usize::MAX)
}

/// Every path of the lowest `layers` of the image for `platform`.
fn files_of(layout: &Path, platform: Platform, layers: usize) -> Files {
    let layout = Layout::open(layout).unwrap();
    let mut image = layout.image(platform).unwrap();
    image.layers.truncate(layers);
    let mut files = BTreeMap::new();
    walk(&image, &layout, |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        files.insert(entry.path.to_str().unwrap().to_owned(), (entry.clone(), bytes));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    files
}

/// Packages that use what a real one may: compressions, links, configuration, scripts, users.
fn packages() -> Vec<Deb> {
    let postinst = "#!/bin/sh\nset -e\n# Automatically added by dh_installalternatives/13\n\
        if [ \"$1\" = \"configure\" ]; then\n update-alternatives --install /usr/bin/edit edit /usr/bin/tool 50\nfi\n\
        # End automatically added section\n";
    let tool = Deb::new("tool", "1:1.0-1")
        .field("Depends: libtool (= 2.0~rc1), libbase (>= 1.0), editor | virtual-editor")
        .field("Conffiles: ignored")
        .control("conffiles", "/etc/tool.conf\n/etc/kept.conf\n")
        .control("postinst", postinst)
        .control("md5sums", "00  usr/bin/tool\n")
        .directory("./usr/bin/")
        .file("./usr/bin/tool", "#!/bin/sh\n")
        .mode(0o755)
        .entry(b"./usr/bin/tool2", tar::EntryType::Link, 0o755, "", "./usr/bin/tool")
        .file("./etc/tool.conf", "a = 1\n")
        .file("./etc/kept.conf", "of the package\n")
        .file("./usr/share/doc/tool/changelog", "long\n")
        .file("./usr/share/doc/tool/copyright", "mine\n");
    let libtool = Deb::new("libtool", "2.0~rc1")
        .field("Multi-Arch: same")
        .compressed("zst")
        .directory("./lib/")
        .directory("./lib/x/")
        .file("./lib/x/libtool.so.2", "library")
        .link("./lib/x/libtool.so", "libtool.so.2");
    let nano = Deb::new("nano", "1").field("Provides: virtual-editor").compressed("gz").all();
    let users = Deb::new("users", "1")
        .all()
        .control(
            "postinst",
            "#!/bin/sh\n# Automatically added by dh_installsysusers/13\nif [ \"$1\" = \"configure\" ]; then\n   \
             systemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} users.conf\nfi\n# End automatically added section\n",
        )
        .file("./usr/lib/sysusers.d/users.conf", "u daemon2 - \"A daemon\" /var/lib/d2\n");
    vec![tool, libtool, nano, users]
}

#[test]
fn packages_are_locked_installed_and_seen_by_dpkg() {
    let Some(debian) = debian(&packages()) else { return };
    let excludes = "path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\n";
    debian.base(&[("etc/kept.conf", "of the base\n"), ("etc/dpkg/dpkg.cfg.d/slim", excludes)]);
    debian.apt_txt("# tools\ntool=1:1.0-1 # with an epoch\n\nusers\n");
    let sandbox = &debian.sandbox;
    sandbox.ok(&["lock"]);
    let lock = debian.apt_lock();
    let url = "https://snapshot.debian.org/archive/debian/20260101T000000Z/pool/main/tool/tool_1%3a1.0-1_amd64.deb";
    assert!(lock.contains(url) && lock.contains("requested: [\"tool=1:1.0-1\", \"users\"]"), "{lock}");
    assert!(!lock.contains("file://"), "a mirror's address reached the lock:\n{lock}");
    let ran = sandbox.ok(&["lock"]);
    assert!(ran.stdout.contains("up to date (linux-64 2, apt linux/amd64 4)"), "{}", ran.stdout);
    sandbox.ok(&["lock", "--check"]);
    sandbox.build();

    let files = files(&sandbox.path("project/.esker/images/tiny"));
    let text = |path: &str| String::from_utf8(files[path].1.clone()).unwrap();
    assert_eq!(text("usr/lib/x/libtool.so.2"), "library", "`/lib` leads to `/usr/lib`");
    assert_eq!(files["lib"].0.kind, EntryKind::Symlink("usr/lib".into()));
    assert_eq!((files["usr/bin/tool"].0.mode, files["usr/bin/tool"].0.mtime), (0o755, 1_750_000_000));
    assert_eq!(files["usr/bin/tool2"].0.kind, EntryKind::Hardlink("usr/bin/tool".into()));
    assert_eq!(files["usr/bin/edit"].0.kind, EntryKind::Symlink("/etc/alternatives/edit".into()));
    assert_eq!(files["etc/alternatives/edit"].0.kind, EntryKind::Symlink("/usr/bin/tool".into()));
    assert_eq!((text("etc/tool.conf"), text("etc/kept.conf")), ("a = 1\n".into(), "of the base\n".into()));
    assert!(files.contains_key("usr/share/doc/tool/copyright") && !files.contains_key("usr/share/doc/tool/changelog"));
    assert!(text("etc/passwd").contains("\ndaemon2:x:100:100:A daemon:/var/lib/d2:/usr/sbin/nologin\n"));
    assert!(text("etc/passwd").contains("\njovyan:x:1000:1000:"), "the image's own account is there, too");
    let status = text("var/lib/dpkg/status");
    assert!(status.contains("Package: tool\nStatus: install ok installed\nVersion: 1:1.0-1\n"), "{status}");
    assert!(status.contains("Conffiles:\n /etc/kept.conf ") && status.contains("Package: libbase\n"), "{status}");
    assert_eq!(
        text("var/lib/dpkg/info/libtool:amd64.list"),
        "/.\n/lib\n/lib/x\n/lib/x/libtool.so.2\n/lib/x/libtool.so\n"
    );
    assert_eq!(text("var/lib/dpkg/info/tool.md5sums"), "00  usr/bin/tool\n");
    assert_eq!(files["var/lib/dpkg/info/tool.postinst"].0.mode, 0o755);
}

#[test]
fn the_layer_is_the_same_from_another_cache_and_comes_from_the_cache() {
    let Some(debian) = debian(&packages()) else { return };
    debian.apt_txt("tool\n");
    let sandbox = &debian.sandbox;
    sandbox.ok(&["lock"]);
    let digest = sandbox.build();
    fs_err::remove_dir_all(sandbox.path("project/.esker")).unwrap();
    fs_err::rename(sandbox.path("cache"), sandbox.path("cache-of-another")).unwrap();
    assert_eq!(sandbox.build(), digest);
    // Nothing is unpacked again: the packages are gone.
    fs_err::remove_dir_all(sandbox.path("cache/packages")).unwrap();
    fs_err::remove_dir_all(sandbox.path("archive")).unwrap();
    assert_eq!(sandbox.build(), digest);
    // An image without them is another one.
    debian.apt_txt("");
    let ran = sandbox.ok(&["lock"]);
    assert!(ran.stdout.contains("tiny: locked"), "{}", ran.stdout);
    assert!(!sandbox.path("project/tiny/apt-lock.yml").exists());
    assert_ne!(sandbox.build(), digest);
}

#[test]
fn a_base_with_other_packages_is_refused_until_it_is_locked_for() {
    let Some(debian) = debian(&packages()) else { return };
    debian.apt_txt("users\n");
    let sandbox = &debian.sandbox;
    sandbox.ok(&["lock"]);
    let lock = debian.apt_lock();
    // Another file, the same packages.
    debian.base(&[("etc/new", "")]);
    sandbox.ok(&["build", "--update-base"]);
    sandbox.ok(&["lock"]);
    assert_ne!(debian.apt_lock(), lock, "the base's digest is in the lock");
    let status = "Package: libbase\nStatus: install ok installed\nVersion: 3.0\nArchitecture: amd64\n\n";
    debian.base(&[("var/lib/dpkg/status", status)]);
    sandbox.run(&["build", "--update-base"]).fails(2, &["base with other packages", "esker lock"]);
    sandbox.ok(&["lock"]);
    sandbox.build();
}

#[test]
fn an_image_with_them_comes_out_again_without_its_project() {
    let Some(debian) = debian(&packages()) else { return };
    debian.settings("apt-snapshot: 2026-01-01\nskip-maintainer-scripts: [libtool]\n");
    debian.apt_txt("tool\nusers\n");
    let sandbox = &debian.sandbox;
    sandbox.ok(&["lock"]);
    sandbox.ok(&["build", "tiny", "--output", "oci:../image"]);
    for folder in ["project", "cache"] {
        fs_err::remove_dir_all(sandbox.path(folder)).unwrap();
    }
    fs_err::remove_file(sandbox.path("base-amd64.tar")).unwrap();
    fs_err::create_dir(sandbox.path("project")).unwrap();
    let mirrors =
        [("https://conda.anaconda.org/conda-forge/", "channel"), ("https://snapshot.debian.org/archive/", "archive")];
    let mirrors = mirrors.map(|(url, folder)| format!("{url}=file://{}/", sandbox.path(folder).display())).join("\n");
    let rebuild =
        || Ran::new(sandbox.command(&["rebuild", "oci:../image"]).env("ESKER_MIRROR", &mirrors).output().unwrap());
    let ran = rebuild();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("oci:../image came out again: sha256:"), "{}", ran.stdout);
    // It is the packages that it is made of: without them it cannot be.
    fs_err::remove_dir_all(sandbox.path("cache")).unwrap();
    fs_err::remove_dir_all(sandbox.path("archive")).unwrap();
    assert_ne!(rebuild().code, Some(0));
}
