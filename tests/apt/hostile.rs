//! Packages that no archive should have: refused by name, and nothing is built.

use tar::EntryType;

use crate::debian;
use crate::debian::Deb;

/// Locks `debs`, of which the first is asked for, and builds: that must fail with `words`.
fn refused(debs: &[Deb], code: i32, words: &[&str]) {
    let Some(debian) = debian(debs) else { return };
    debian.base(&[("etc/link -> ../../../tmp", ""), ("usr/bin/", ""), ("usr/lib/folder/", "")]);
    debian.apt_txt("bad\n");
    debian.sandbox.ok(&["lock"]);
    debian.sandbox.run(&["build"]).fails(code, words);
}

fn bad() -> Deb {
    Deb::new("bad", "1.0")
}

#[test]
fn paths_that_no_package_may_have_are_refused() {
    refused(&[bad().file("./../../etc/evil", "x")], 3, &["bad 1.0", "lead out of the image"]);
    refused(&[bad().entry(b"./dev/sda", EntryType::Block, 0o600, "", "")], 1, &["bad 1.0", "/dev/sda", "device"]);
    refused(&[bad().entry(b"./run/p", EntryType::Fifo, 0o600, "", "")], 1, &["bad 1.0", "/run/p", "pipe"]);
    refused(&[bad().file("./usr/bin/su", "x").mode(0o4755)], 1, &["bad 1.0", "/usr/bin/su", "set-user-id"]);
    refused(&[bad().file("./usr/bin/x", "x").owner(1000)], 1, &["bad 1.0", "/usr/bin/x", "1000"]);
    refused(&[bad().file("./usr/.wh.bin", "")], 1, &["bad 1.0", "remove a file"]);
    refused(&[bad().file("./var/lib/dpkg/status", "")], 1, &["bad 1.0", "dpkg's own database"]);
    refused(&[bad().file("./usr/lib/base.so/x", "")], 1, &["bad 1.0", "no directory"]);
    refused(&[bad().file("./usr/lib/folder", "")], 1, &["bad 1.0", "directory"]);
    refused(
        &[bad().link("./usr/x", "/etc").entry(b"./usr/y", EntryType::Link, 0o644, "", "etc/passwd")],
        1,
        &["bad 1.0", "/usr/y"],
    );
}

#[test]
fn what_the_base_diverts_is_refused() {
    let Some(debian) = debian(&[bad().file("./usr/bin/perf", "x")]) else { return };
    debian.base(&[(
        "var/lib/dpkg/diversions",
        "/bin/sh\n/bin/sh.distrib\ndash\n/usr/bin/perf\n/usr/bin/perf.old\nwrapper\n",
    )]);
    debian.apt_txt("bad\n");
    debian.sandbox.ok(&["lock"]);
    debian.sandbox.run(&["build"]).fails(1, &["bad 1.0", "/usr/bin/perf", "diverted by `wrapper`"]);
}

#[test]
fn links_of_the_base_do_not_lead_out() {
    let Some(debian) = debian(&[bad().file("./etc/link/evil", "x")]) else { return };
    debian.base(&[("etc/link -> ../../../tmp", "")]);
    debian.apt_txt("bad\n");
    debian.sandbox.ok(&["lock"]);
    debian.sandbox.build();
    let files = crate::files(&debian.sandbox.path("project/.esker/images/tiny"));
    assert_eq!(files["tmp/evil"].1, b"x", "`..` stops at the image's root");
}

#[test]
fn files_of_other_packages_are_not_overwritten_unless_they_are_replaced() {
    refused(&[bad().file("./lib/base.so", "x")], 1, &["`bad`", "`libbase`", "/usr/lib/base.so"]);
    let other = Deb::new("other", "1.0").file("./usr/share/x", "of other").all();
    let depends = bad().field("Depends: other");
    refused(&[depends.clone().file("./usr/share/x", "x"), other.clone()], 1, &["`bad`", "`other`", "/usr/share/x"]);

    let replaces = depends
        .field("Replaces: other (<< 2), libbase (<< 3)")
        .file("./usr/share/x", "of bad")
        .file("./lib/base.so", "new");
    let Some(debian) = debian(&[replaces, other]) else { return };
    debian.apt_txt("bad\n");
    debian.sandbox.ok(&["lock"]);
    debian.sandbox.build();
    let files = crate::files(&debian.sandbox.path("project/.esker/images/tiny"));
    let text = |path: &str| String::from_utf8(files[path].1.clone()).unwrap();
    assert_eq!((text("usr/share/x"), text("usr/lib/base.so")), ("of bad".into(), "new".into()));
    assert_eq!(text("var/lib/dpkg/info/other.list"), "/.\n", "it lost its file");
    assert_eq!(text("var/lib/dpkg/info/libbase:amd64.list"), "/.\n/lib\n");
}

#[test]
fn scripts_that_are_not_known_are_refused_unless_they_are_said_not_to_matter() {
    let script = "#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n  useradd evil\nfi\n";
    let deb = bad().control("postinst", script).file("./usr/bin/bad", "x");
    refused(std::slice::from_ref(&deb), 1, &["bad 1.0", "`postinst`", "`useradd`", "skip-maintainer-scripts"]);
    refused(&[bad().control("preinst", "#!/usr/bin/perl\n")], 1, &["bad 1.0", "`preinst`", "no shell script"]);
    refused(
        &[bad().file("./etc/ld.so.conf.d/bad.conf", "/opt/lib\n")],
        1,
        &["bad 1.0", "`ldconfig` would have to read"],
    );
    let Some(debian) = debian(&[deb]) else { return };
    debian.settings("apt-snapshot: 2026-01-01\nskip-maintainer-scripts: [bad]\n");
    debian.apt_txt("bad\n");
    debian.sandbox.ok(&["lock"]);
    debian.sandbox.build();
}

#[test]
fn archives_that_are_not_what_they_say_are_refused() {
    let control = "Package: other\nVersion: 1.0\nArchitecture: amd64\n";
    refused(&[bad().control("control", control)], 1, &["bad 1.0", "other 1.0"]);
    let Some(debian) = debian(&[bad().file("./usr/bin/bad", "x")]) else { return };
    debian.apt_txt("bad\n");
    debian.sandbox.ok(&["lock"]);
    let pool = debian.sandbox.path("archive/debian/20260101T000000Z/pool/main/bad/bad_1.0_amd64.deb");
    let bytes = fs_err::read(&pool).unwrap();
    fs_err::write(&pool, &bytes[..bytes.len() - 1]).unwrap();
    debian.sandbox.run(&["build"]).fails(3, &["bad", "not what the lock says"]);
    fs_err::remove_file(&pool).unwrap();
    debian.sandbox.run(&["build"]).fails(3, &["bad_1.0_amd64.deb", "does not exist"]);
}
