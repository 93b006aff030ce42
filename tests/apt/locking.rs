//! When a lock holds, when a new date is taken, and what is said where there is no answer.

use crate::debian::{Deb, Debian};
use crate::{DATE, common::skipped, debian};

/// The date that locks have today.
fn today() -> String {
    esker::project::Snapshot::before(jiff::Timestamp::now()).to_string()
}

#[test]
fn a_new_date_is_taken_only_when_it_is_asked_for_or_needed() {
    let Some(debian) = Debian::new() else {
        return skipped("gpg, which signs the archive of this test, is not installed");
    };
    let sandbox = &debian.sandbox;
    debian.archive("20260101T120000Z", &[Deb::new("tool", "1.0").all()]);
    let today = today();
    debian.archive(&today, &[Deb::new("tool", "2.0").all(), Deb::new("extra", "1.0").all()]);
    debian.apt_txt("tool\n");
    sandbox.ok(&["lock", "--exclude-newer", "2026-01-01T12:00:00Z"]);
    let first = debian.apt_lock();
    assert!(first.contains("snapshot: \"20260101T120000Z\"") && first.contains("version: \"1.0\""), "{first}");
    // Neither a comment nor a new day nor a new lock of conda's packages moves it.
    debian.apt_txt("# pinned\ntool\n");
    sandbox.ok(&["lock", "--relock"]);
    assert_eq!(debian.apt_lock(), first);
    // What the date has is taken from there, what it has not from today.
    debian.apt_txt("tool\ntool=1.0\n");
    sandbox.ok(&["lock"]);
    assert!(debian.apt_lock().contains("snapshot: \"20260101T120000Z\""), "{}", debian.apt_lock());
    debian.apt_txt("tool\nextra\n");
    let ran = sandbox.ok(&["lock"]);
    assert!(ran.stderr.contains("20260101T120000Z") && ran.stderr.contains(&today), "{}", ran.stderr);
    let second = debian.apt_lock();
    assert!(second.contains(&today) && second.contains("version: \"2.0\""), "{second}");

    debian.apt_txt("tool\n");
    sandbox.ok(&["lock", "--exclude-newer", "2026-01-01T12:00:00Z", "--update-apt"]);
    assert_eq!(debian.apt_lock(), first);
    sandbox.ok(&["lock", "--update-apt"]);
    assert!(debian.apt_lock().contains(&today));
}

#[test]
fn a_changed_apt_txt_is_stale_until_it_is_locked() {
    let Some(debian) = debian(&[Deb::new("tool", "1.0").all(), Deb::new("extra", "1.0").all()]) else { return };
    let sandbox = &debian.sandbox;
    debian.apt_txt("tool\n");
    sandbox.run(&["lock", "--check"]).fails(1, &["does not hold"]);
    sandbox.ok(&["lock"]);
    debian.apt_txt("extra\n");
    let ran = sandbox.run(&["lock", "--check"]);
    ran.fails(1, &["tiny", "esker lock tiny"]);
    assert!(ran.stdout.contains("- tool") && ran.stdout.contains("+ extra"), "{}", ran.stdout);
    sandbox.run(&["build"]).fails(2, &["extra is missing", "tool is not asked for", "esker lock tiny"]);
    debian.settings("apt-snapshot: 2026-01-02\n");
    let ran = sandbox.run(&["lock", "--check"]);
    assert!(
        ran.stdout.contains("- snapshot 20260101T000000Z") && ran.stdout.contains("+ snapshot 20260102T000000Z"),
        "{}",
        ran.stdout
    );
    debian.settings("apt-snapshot: 2026-01-01\n");
    sandbox.ok(&["lock"]);
    sandbox.ok(&["lock", "--check"]);
    let lock = debian.apt_lock();
    assert!(lock.contains("\"extra\"") && !lock.contains("\"tool\""), "{lock}");
    // A merge gone wrong.
    sandbox.write("project/tiny/apt-lock.yml", lock.replace("sha256: \"", "sha256: \"zz").as_bytes());
    sandbox.run(&["build"]).fails(2, &["apt-lock.yml:1:1", "extra", "SHA-256"]);
    debian.settings("apt-snapshot: 2026-01-01\napt: skip\n");
    sandbox.build();
}

#[test]
fn what_no_known_key_signed_is_not_believed() {
    let Some(debian) = debian(&[Deb::new("tool", "1.0").all()]) else { return };
    let sandbox = &debian.sandbox;
    debian.apt_txt("tool\n");
    let in_release = debian.suite_file(DATE, 0, "InRelease");
    let good = fs_err::read_to_string(&in_release).unwrap();
    fs_err::write(&in_release, good.replace("Origin: Test", "Origin: Evil")).unwrap();
    sandbox.run(&["lock"]).fails(3, &["InRelease", "does not fit the content"]);
    let unsigned = good.split("-----BEGIN PGP SIGNATURE").next().unwrap().split("\n\n").nth(1).unwrap();
    fs_err::write(&in_release, unsigned).unwrap();
    sandbox.run(&["lock"]).fails(3, &["InRelease", "no signature"]);
    // A release of another suite, truly signed.
    fs_err::copy(debian.suite_file(DATE, 1, "InRelease"), &in_release).unwrap();
    sandbox.run(&["lock"]).fails(3, &["it is the release of `bookworm-updates`"]);
    // Another key's.
    let other = crate::debian::Key::new().unwrap();
    fs_err::write(&in_release, other.sign(unsigned)).unwrap();
    sandbox.run(&["lock"]).fails(3, &["none of the keys that signed it is known"]);
    // Another list of packages than was signed.
    fs_err::write(&in_release, &good).unwrap();
    let packages = debian.suite_file(DATE, 0, "main/binary-amd64/Packages.xz");
    let whole = fs_err::read(&packages).unwrap();
    fs_err::write(&packages, b"other").unwrap();
    sandbox.run(&["lock"]).fails(3, &["Packages", "not what the lock says"]);
    fs_err::write(&packages, whole).unwrap();
    sandbox.ok(&["lock"]);
}

#[test]
fn what_cannot_be_had_names_its_line() {
    let debs = [
        Deb::new("tool", "1.0").all(),
        Deb::new("needy", "1.0").field("Depends: libbase (>= 3)").all(),
        Deb::new("lost", "1.0").field("Depends: nowhere").all(),
        Deb::new("one", "1.0").field("Conflicts: virt").field("Provides: virt").all(),
        Deb::new("two", "1.0").field("Conflicts: virt").field("Provides: virt").all(),
        Deb::new("breaker", "1.0").field("Breaks: libbase (<< 2.1)").all(),
    ];
    let Some(debian) = debian(&debs) else { return };
    let sandbox = &debian.sandbox;
    for (text, code, words) in [
        ("tool\ntoool\n", 1, &["tiny/apt.txt:2:1", "`toool`", "linux/amd64", "`bookworm`", "20260101T000000Z"][..]),
        ("tool\n\n needy\n", 1, &["tiny/apt.txt:3:2", "`needy`", "libbase", "2.0"]),
        ("lost\n", 1, &["tiny/apt.txt:1:1", "`lost`", "nowhere"]),
        ("tool=2.0\n", 1, &["tiny/apt.txt:1:1", "`tool=2.0`", "there is `1.0`"]),
        ("one\ntwo\n", 1, &["tiny/apt.txt:2:1", "`two`", "one"]),
        ("virt\n", 1, &["tiny/apt.txt:1:1", "choose one that provides it: `one`, `two`"]),
        ("breaker\n", 1, &["tiny/apt.txt:1:1", "`breaker`", "libbase"]),
        ("tool:arm64\n", 2, &["tiny/apt.txt:1:1", "`tool:arm64`", "own architecture"]),
        ("x tool/sid\n", 2, &["tiny/apt.txt:1:1", "not the name"]),
        ("tool/sid\n", 2, &["tiny/apt.txt:1:1", "`tool/sid`", "NAME=VERSION"]),
    ] {
        debian.apt_txt(text);
        sandbox.run(&["lock"]).fails(code, words);
        assert!(!sandbox.path("project/tiny/apt-lock.yml").exists(), "{text}");
    }
}

#[test]
fn a_base_that_is_no_debian_is_refused() {
    let Some(debian) = debian(&[Deb::new("tool", "1.0").all()]) else { return };
    debian.apt_txt("tool\n");
    debian.base(&[("usr/lib/os-release", "ID=alpine\n")]);
    debian.sandbox.run(&["lock"]).fails(2, &["linux/amd64", "alpine", "apt: skip"]);
}
