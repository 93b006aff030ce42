//! `base: debian:bookworm`: a system made of packages alone, with a small Debian made here.

use esker::oci::entries::EntryKind;

use crate::debian::{Deb, Debian};
use crate::{DATE, debian, files};

/// A Debian whose essential packages have what the real ones of their names have.
pub fn essential() -> Vec<Deb> {
    let accounts = "root:*:0:0:root:/root:/bin/bash\n_apt:*:42:65534::/nonexistent:/usr/sbin/nologin\n";
    vec![
        Deb::new("base-files", "12.4")
            .field("Essential: yes")
            .field("Pre-Depends: awk")
            .control("postinst", "#!/bin/sh\nwhatever the table knows\n")
            .directory("./bin/")
            .directory("./usr/")
            .directory("./usr/bin/")
            .directory("./var/")
            .directory("./var/run/")
            .directory("./tmp/")
            .mode(0o1777)
            .file("./usr/lib/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n")
            .file("./usr/share/base-files/profile", "PATH=x\n"),
        Deb::new("base-passwd", "3.6")
            .field("Essential: yes")
            .control("preinst", "#!/bin/sh\ncat > /etc/passwd\n")
            .file("./usr/share/base-passwd/passwd.master", accounts)
            .file("./usr/share/base-passwd/group.master", "root:*:0:\nmail:*:8:\nshadow:*:42:\nutmp:*:43:\n"),
        Deb::new("mawk", "1.3")
            .field("Provides: awk")
            .control("postinst", "#!/bin/sh\nupdate-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5\n")
            .file("./usr/bin/mawk", "awk"),
        Deb::new("dash", "0.5").field("Essential: yes").file("./bin/dash", "shell").link("./bin/sh", "dash"),
        Deb::new("bash", "5.2")
            .field("Essential: yes")
            .field("Depends: base-files")
            .control(
                "postinst",
                "#!/bin/sh\nif [ ! -e /bin/sh ]; then\n ln -s bash /bin/sh\nfi\nupdate-alternatives --install \
                 /usr/share/man/man7/builtins.7.gz builtins.7.gz /usr/share/man/man7/bash-builtins.7.gz 10 || true\n",
            )
            .control("conffiles", "/etc/bash.bashrc\n")
            .file("./etc/bash.bashrc", "PS1=x\n")
            .file("./usr/share/man/man7/bash-builtins.7.gz", "manual")
            .file("./usr/share/doc/bash/README", "text")
            .file("./usr/share/doc/bash/copyright", "GPL"),
        Deb::new("tzdata", "2026a").field("Priority: required").all(),
        Deb::new("apt", "2.6").file("./usr/bin/apt-get", "apt"),
        Deb::new("other", "1.0").file("./usr/bin/other", "x"),
    ]
}

/// A project on the base `base`, with an archive of `debs`.
fn project(base: &str, debs: &[Deb]) -> Option<Debian> {
    let debian = debian(debs)?;
    debian.settings_on(base, "linux/amd64", "apt-snapshot: 2026-01-01\n");
    Some(debian)
}

fn digest(debian: &Debian) -> String {
    let report: serde_json::Value = serde_json::from_str(&debian.ok(&["build", "tiny", "--json"]).stdout).unwrap();
    report["images"][0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_system_is_made_of_packages_without_a_registry() {
    let Some(debian) = project("debian:bookworm", &essential()) else { return };
    let ran = debian.ok(&["lock"]);
    assert!(ran.stdout.contains("locked"), "{}", ran.stdout);
    let lock = debian.sandbox.read("project/base-lock.yml");
    for expected in [
        "\"debian:bookworm\":",
        "snapshot: \"20260101T000000Z\"",
        "url: \"https://snapshot.debian.org/archive/debian/20260101T000000Z/pool/main/mawk/mawk_1.3_amd64.deb\"",
    ] {
        assert!(lock.contains(expected), "{expected}:\n{lock}");
    }
    assert!(!lock.contains("other_1.0") && !lock.contains("file://"), "{lock}");
    debian.ok(&["build"]);
    let files = files(&debian.sandbox.path("project/.esker/images/tiny"));
    let text = |path: &str| String::from_utf8(files[path].1.clone()).unwrap();
    for (path, target) in [
        ("bin", "usr/bin"),
        ("lib64", "usr/lib64"),
        ("usr/bin/sh", "dash"),
        ("usr/bin/awk", "/etc/alternatives/awk"),
        ("var/run", "/run"),
        ("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
    ] {
        assert_eq!(files[path].0.kind, EntryKind::Symlink(target.into()), "{path}");
    }
    for (path, mode, group) in [
        ("tmp", 0o1777, 0),
        ("etc/shadow", 0o640, 42),
        ("var/mail", 0o2775, 8),
        ("var/log/btmp", 0o660, 43),
        ("etc/machine-id", 0o444, 0),
    ] {
        assert_eq!((files[path].0.mode, files[path].0.gid), (mode, group), "{path}");
    }
    assert_eq!((text("usr/bin/dash"), text("etc/profile")), ("shell".into(), "PATH=x\n".into()));
    assert!(text("etc/passwd").starts_with("root:x:0:0:root:/root:/bin/bash\n_apt:x:42:"), "{}", text("etc/passwd"));
    assert!(text("etc/passwd").contains("\njovyan:x:1000:"), "the image's own account is there, too");
    assert!(text("etc/apt/sources.list.d/debian.sources").contains("Suites: bookworm-security\n"));
    let status = text("var/lib/dpkg/status");
    assert_eq!(status.matches("Status: install ok installed\n").count(), 7, "{status}");
    assert!(text("var/lib/dpkg/info/bash.list").contains("/usr/share/man/man7/bash-builtins.7.gz\n"));
}

#[test]
fn a_locked_system_is_the_same_wherever_it_is_made_and_from_the_cache() {
    let Some(debian) = project("debian:bookworm", &essential()) else { return };
    let sandbox = &debian.sandbox;
    // Locked by the build, as other bases are.
    debian.ok(&["lock"]);
    let built = digest(&debian);
    let lock = sandbox.read("project/base-lock.yml");
    assert!(lock.contains("platforms:\n      linux/amd64: sha256:"), "{lock}");
    // The archive moves on; what is locked stays, and needs neither keys nor lists.
    let mut newer = essential();
    newer[7] = Deb::new("other", "2.0").field("Essential: yes").all();
    debian.archive(DATE, &newer);
    fs_err::remove_dir_all(sandbox.path("archive/debian/20260101T000000Z/dists")).unwrap();
    fs_err::remove_dir_all(sandbox.path("project/.esker")).unwrap();
    fs_err::rename(sandbox.path("cache"), sandbox.path("cache-of-another")).unwrap();
    assert_eq!(sandbox.build(), built);
    // And then not even packages.
    fs_err::remove_dir_all(sandbox.path("archive")).unwrap();
    fs_err::remove_dir_all(sandbox.path("cache/packages")).unwrap();
    fs_err::remove_dir_all(sandbox.path("project/.esker")).unwrap();
    assert_eq!(sandbox.build(), built);
    assert_eq!(sandbox.read("project/base-lock.yml"), lock);
    // What is asked for anew is locked anew.
    debian.archive(DATE, &newer);
    debian.ok(&["build", "--update-base"]);
    assert!(sandbox.read("project/base-lock.yml").contains("other_2.0_all.deb"));
    assert_ne!(sandbox.build(), built);
}

#[test]
fn a_slim_system_goes_without_documentation_and_so_does_what_is_installed_on_it() {
    let more = Deb::new("more", "1").file("./usr/share/doc/more/README", "x").file("./usr/bin/more", "x");
    let debs = [essential(), vec![more]].concat();
    let Some(debian) = project("debian:bookworm-slim@2026-01-01", &debs) else { return };
    debian.apt_txt("more\n");
    debian.ok(&["lock"]);
    assert!(debian.apt_lock().contains("more_1_amd64.deb") && !debian.apt_lock().contains("bash"));
    debian.ok(&["build"]);
    let files = files(&debian.sandbox.path("project/.esker/images/tiny"));
    let has = |path: &str| files.contains_key(path);
    assert!(has("usr/share/doc/bash/copyright") && has("etc/dpkg/dpkg.cfg.d/slim") && has("usr/bin/more"));
    assert!(!has("usr/share/doc/bash/README") && !has("usr/share/doc/more/README"));
    assert!(!has("usr/share/man/man7/builtins.7.gz"), "what is left out is no alternative");
    assert!(debian.sandbox.read("project/base-lock.yml").contains("\"debian:bookworm-slim@20260101T000000Z\":"));
}

#[test]
fn scripts_that_are_not_known_are_refused_by_name() {
    let mut debs = essential();
    debs.push(Deb::new("bad", "1.0").field("Essential: yes").control("postinst", "#!/bin/sh\nuseradd evil\n"));
    let Some(debian) = project("debian:bookworm", &debs) else { return };
    debian.ok(&["lock"]);
    debian.run(&["build"]).fails(1, &["`debian:bookworm`", "bad 1.0", "`useradd`", "skip-maintainer-scripts"]);
    debian.settings_on("debian:bookworm", "linux/amd64", "skip-maintainer-scripts: [bad]\n");
    debian.ok(&["build"]);
    debs.pop();
    debs.push(Deb::new("bad", "1.0").field("Essential: yes").file("./usr/bin/su", "x").mode(0o4755));
    debian.archive(DATE, &debs);
    fs_err::remove_file(debian.sandbox.path("project/base-lock.yml")).unwrap();
    debian.settings_on("debian:bookworm@2026-01-01", "linux/amd64", "");
    debian.run(&["build"]).fails(1, &["bad 1.0", "/usr/bin/su", "set-user-id"]);
}

#[test]
fn an_archive_that_cannot_be_believed_or_has_no_system_is_refused() {
    let Some(debian) = project("debian:bookworm", &essential()[7..]) else { return };
    debian.run(&["lock"]).fails(1, &["`debian:bookworm`", "linux/amd64", "20260101T000000Z", "no essential packages"]);
    debian.archive(DATE, &essential());
    // A key of another's.
    debian.sandbox.write("other.asc", &crate::debian::Key::new().unwrap().public());
    let other = debian.sandbox.path("other.asc");
    let mut command = debian.sandbox.command(&["lock"]);
    crate::common::Ran::new(command.env("ESKER_DEBIAN_KEYRING", other).output().unwrap())
        .fails(3, &["none of the keys that signed it is known"]);
    let mut command = debian.sandbox.command(&["lock"]);
    crate::common::Ran::new(command.env("ESKER_DEBIAN_KEYRING", "/nowhere").output().unwrap()).fails(3, &["/nowhere"]);
    assert!(!debian.sandbox.path("project/base-lock.yml").exists());
}

#[test]
fn what_was_pinned_as_docker_hubs_image_stays() {
    let Some(debian) = project("debian:bookworm", &essential()) else { return };
    let pin =
        format!("version: 1\nbases:\n  docker.io/library/debian:bookworm:\n    digest: sha256:{}\n", "0".repeat(64));
    debian.sandbox.write("project/base-lock.yml", pin.as_bytes());
    debian.ok(&["lock"]);
    debian.run(&["build", "--offline"]).fails(3, &["`docker.io/library/debian:bookworm`", "not in the cache"]);
    assert_eq!(debian.sandbox.read("project/base-lock.yml"), pin);
    debian.ok(&["build", "--update-base"]);
    assert!(debian.sandbox.read("project/base-lock.yml").contains("\"debian:bookworm\":"));
    debian.ok(&["build", "--offline"]);
}

#[test]
fn a_base_of_the_command_line_is_for_this_once_and_none_to_lay_images_on() {
    let Some(debian) = project("rootfs:../base-amd64.tar", &essential()) else { return };
    debian.ok(&["lock"]);
    debian.ok(&["build", "--base", "debian:bookworm@2026-01-01"]);
    assert!(files(&debian.sandbox.path("project/.esker/images/tiny")).contains_key("usr/bin/dash"));
    let lock = debian.sandbox.path("project/base-lock.yml");
    assert!(!fs_err::read_to_string(lock).unwrap_or_default().contains("debian:"));
    debian.run(&["build", "--onto", "debian:bookworm"]).fails(2, &["--onto"]);
}
