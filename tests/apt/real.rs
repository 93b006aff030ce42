//! A base made of Debian's own packages, held against one that dpkg installed with all scripts run: that of
//! `tests/real/make.py base`, which has `ca-certificates` besides and goes without what a machine makes for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use esker::oci::Platform;
use esker::oci::entries::{Entries, EntryKind};
use serde_json::Value;

use crate::common::skipped;
use crate::debian::Debian;
use crate::{DATE, Files, files_of};

/// What differs in paths between a base that esker makes and one that dpkg installed, and why.
const MACHINE: [&str; 16] = [
    // Written by programs for themselves.
    "etc/.pwd.lock",
    "var/cache/debconf/config.dat",
    "var/cache/debconf/passwords.dat",
    "var/cache/debconf/templates.dat",
    "var/lib/apt/extended_states",
    "var/lib/dpkg/arch",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/dpkg/triggers/Unincorp",
    // Written by the program that installs.
    "etc/fstab",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/debian.sources",
    "etc/dpkg/dpkg.cfg.d/slim",
    // Without the name of the program that made it.
    "etc/ld.so.cache",
    // Without the day of the last change of passwords; in another order.
    "etc/shadow",
];
/// Services for an init that no container has.
const SERVICES: [&str; 3] = ["etc/systemd/system/", "etc/rc", "var/lib/systemd/"];
/// Packages that the judge has besides, and where they keep what they make.
const BESIDES: [&str; 4] = ["bzip2", "ca-certificates", "libssl3", "openssl"];
const CERTIFICATES: [&str; 3] = ["etc/ssl", "etc/ca-certificates", "usr/local/share/ca-certificates"];
/// Folders whose content the judge goes without.
const DROPPED: [&str; 11] = [
    "dev/",
    "run/",
    "tmp/",
    "var/log/",
    "var/cache/apt/",
    "var/lib/apt/lists/",
    "usr/share/man/",
    "usr/share/info/",
    "usr/share/locale/",
    "usr/share/doc/",
    "usr/share/lintian/",
];

/// An archive of the packages that the judge was made of, for both architectures; `None`, said to be skipped, where there
/// are none.
fn debian() -> Option<(Debian, PathBuf)> {
    let Some(real) = std::env::var_os("ESKER_REAL").map(PathBuf::from) else {
        skipped("`ESKER_REAL` does not name a folder with a real base (`make real` makes one)");
        return None;
    };
    let Some(debian) = Debian::new() else {
        skipped("gpg, which signs the archive of this test, is not installed");
        return None;
    };
    let pins = fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/pins.json")).unwrap();
    let pins: Value = serde_json::from_slice(&pins).unwrap();
    let pool = debian.folder("debian", DATE).join("pool");
    fs_err::create_dir_all(&pool).unwrap();
    let mut lists = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let mut packages = String::new();
        for pin in pins["debs"][architecture].as_array().unwrap().iter().filter(|pin| pin["base"] == true) {
            let name = format!("{}.deb", pin["sha256"].as_str().unwrap());
            let file = real.join("downloads").join(&name);
            let Ok(output) = Command::new("dpkg-deb").arg("-f").arg(&file).output() else {
                skipped("dpkg-deb, which reads packages, is not installed");
                return None;
            };
            assert!(output.status.success(), "{}", file.display());
            let size = fs_err::metadata(&file).unwrap().len();
            if !pool.join(&name).exists() {
                fs_err::os::unix::fs::symlink(&file, pool.join(&name)).unwrap();
            }
            let control = String::from_utf8(output.stdout).unwrap();
            let sha256 = &name[..64];
            packages.push_str(&format!(
                "{}\nFilename: pool/{name}\nSize: {size}\nSHA256: {sha256}\n\n",
                control.trim_end()
            ));
        }
        lists.push((architecture, packages));
    }
    debian.publish(DATE, &lists);
    Some((debian, real))
}

/// Paths of a tar archive.
fn files_of_tar(path: &Path) -> Files {
    let mut files = BTreeMap::new();
    let mut entries = Entries::new(fs_err::File::open(path).unwrap());
    while let Some(entry) = entries.next_entry().unwrap() {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entries, &mut bytes).unwrap();
        files.insert(entry.path.to_str().unwrap().to_owned(), (entry, bytes));
    }
    files
}

/// dpkg's paragraphs by package, their lines in order.
fn installed(files: &Files) -> BTreeMap<String, BTreeSet<String>> {
    let status = String::from_utf8(files["var/lib/dpkg/status"].1.clone()).unwrap();
    let paragraphs = status.trim().split("\n\n");
    let packages = paragraphs.map(|text| {
        let name = text.lines().next().unwrap().replace("Package: ", "");
        (name, text.lines().map(str::to_owned).collect())
    });
    packages.filter(|(name, _)| !BESIDES.contains(&name.as_str())).collect()
}

/// Whether `path` may differ from what dpkg makes.
fn may_differ(path: &str, theirs: &Files) -> bool {
    let is_of_others = BESIDES.iter().any(|package| {
        let info = |suffix: &str| format!("var/lib/dpkg/info/{package}{suffix}");
        let lists = [".list", ":amd64.list", ":arm64.list"].iter().filter_map(|suffix| theirs.get(&info(suffix)));
        // Lists have paths as the package has them: /bin leads to /usr/bin.
        let is = |line: &str| line.get(1..) == Some(path) || path.strip_prefix("usr") == Some(line);
        let has = |list: &[u8]| String::from_utf8_lossy(list).lines().any(is);
        lists.into_iter().any(|(_, list)| has(list)) || path.starts_with(&info(".")) || path.starts_with(&info(":"))
    });
    let is_in = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    is_of_others
        || MACHINE.contains(&path)
        || is_in(&SERVICES)
        || is_in(&DROPPED)
        || is_in(&CERTIFICATES)
        || path.starts_with("var/lib/dpkg/triggers/update-ca-certificates")
}

#[test]
fn a_system_of_debians_own_packages_is_as_dpkg_installs_it() {
    let Some((debian, real)) = debian() else { return };
    debian.settings_on("debian:bookworm@2026-01-01", "linux/amd64, linux/arm64", "");
    debian.ok(&["lock"]);
    debian.ok(&["build"]);
    let layout = debian.sandbox.path("project/.esker/images/tiny");
    for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
        let ours = files_of(&layout, platform, 1);
        let theirs = files_of_tar(&real.join(format!("base/rootfs-{}.tar", platform.architecture())));
        let (own, other) = (installed(&ours), installed(&theirs));
        let differ: Vec<_> = own.keys().chain(other.keys()).filter(|name| own.get(*name) != other.get(*name)).collect();
        assert!(differ.is_empty() && own.len() == 88, "{platform}: {differ:?}");
        let mut differences = Vec::new();
        let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        for path in paths.into_iter().filter(|path| !may_differ(path, &theirs)) {
            let described = |files: &Files| {
                files.get(path).map(|(entry, bytes)| {
                    let is_file = matches!(entry.kind, EntryKind::File | EntryKind::Hardlink(_));
                    let kind = if is_file { EntryKind::File } else { entry.kind.clone() };
                    (kind, entry.mode, entry.uid, entry.gid, bytes.clone())
                })
            };
            let (ours, theirs) = (described(&ours), described(&theirs));
            if ours != theirs {
                differences.push(path.as_str());
            }
        }
        assert_eq!(differences, EXPECTED, "{platform}");
    }
    works(&debian);
}

/// What is left: the same records and fields in another order.
const EXPECTED: [&str; 2] = ["var/lib/dpkg/diversions", "var/lib/dpkg/status"];

/// What the programs of the system say of it, run in it.
fn works(debian: &Debian) {
    let scripts = [
        ("dpkg -l | grep -c ^ii", "88\n"),
        ("dpkg --audit && dpkg -V && apt-get check -qq && echo clean", "clean\n"),
        (
            "perl -e 'print 6 * 7' && awk 'BEGIN { print 42 }' && which awk pager",
            "4242\n/usr/bin/awk\n/usr/bin/pager\n",
        ),
        ("useradd -m bob && echo bob:secret | chpasswd && su bob -c 'id -un' && groups bob", "bob\nbob : bob\n"),
        ("passwd -S root | cut -d ' ' -f 1-3", "root L never\n"),
        ("ldd /bin/bash | grep -c 'not found'", "0\n"),
        (
            "cp /etc/shells /tmp && update-shells && cmp /etc/shells /tmp/shells && tail -1 /etc/shells",
            "/usr/bin/dash\n",
        ),
        ("cp -r /etc/pam.d /tmp && pam-auth-update --package && diff -r /etc/pam.d /tmp/pam.d && echo same", "same\n"),
        ("update-alternatives --query awk | grep ^Value", "Value: /usr/bin/mawk\n"),
        (
            "ldconfig -p | grep '=>' > /tmp/ours && ldconfig && ldconfig -p | grep '=>' | diff - /tmp/ours && \
             wc -l < /tmp/ours",
            "72\n",
        ),
        ("dpkg-divert --truename /bin/sh && cat /etc/timezone && date -d @0 +%Z", "/bin/sh.distrib\nEtc/UTC\nUTC\n"),
        ("DEBIAN_FRONTEND=noninteractive dpkg-reconfigure tzdata 2>&1 | grep -c UTC", "3\n"),
    ];
    say(debian, &[&ACCOUNTS[..], &scripts].concat());
}

/// What has to be right of accounts: nothing that pwck(8) and grpck(8) would mend, and no password for the image's user.
const ACCOUNTS: [(&str, &str); 4] = [
    ("pwck -r -q && grpck -r && echo clean", "clean\n"),
    ("passwd -S jovyan", "jovyan L never 0 99999 7 -1\n"),
    ("grep ^jovyan: /etc/shadow /etc/gshadow", "/etc/shadow:jovyan:!::0:99999:7:::\n/etc/gshadow:jovyan:!::\n"),
    ("stat -c '%a %u %G' /etc/shadow /etc/gshadow", "640 0 shadow\n640 0 shadow\n"),
];

/// Runs scripts in the image's system, which say what they are expected to.
fn say(debian: &Debian, scripts: &[(&str, &str)]) {
    let root = debian.sandbox.path("root");
    let output = format!("dir:{}", root.display());
    debian.ok(&["build", "--platform", "linux/amd64", "--output", &output]);
    let null = root.join("dev/null");
    let made = Command::new("mknod").args(["-m", "666"]).arg(&null).args(["c", "1", "3"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return skipped("only root may change its root and make devices");
    }
    for (script, expected) in scripts {
        let mut chroot = Command::new("chroot");
        chroot.arg(&root).args(["/bin/sh", "-c", script]);
        let output = chroot.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, *expected, "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// On a base that dpkg installed, whose accounts have days of their last changes.
#[test]
fn accounts_are_complete_on_a_base_of_dpkgs() {
    let Some((debian, real)) = debian() else { return };
    let base = real.join("base/rootfs-amd64.tar");
    debian.settings_on(&format!("rootfs:{}", base.display()), "linux/amd64", "");
    debian.ok(&["lock"]);
    say(&debian, &ACCOUNTS);
    let root = debian.sandbox.path("root");
    let theirs = files_of_tar(&base);
    let (before, after) = (&theirs["etc/shadow"].1, fs_err::read_to_string(root.join("etc/shadow")));
    let Ok(after) = after else { return skipped("only root may read the file with passwords") };
    assert_eq!(after, format!("{}jovyan:!::0:99999:7:::\n", String::from_utf8_lossy(before)));
}
