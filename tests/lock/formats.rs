//! Formats of locks: what is taken over from those that are there, what is exported, and files that are no locks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use esker::channel::{Client, Options};
use esker::lock::{Error, Lock, LockSpec, LockedPackage, Manager, holds, solve};
use esker::progress::Silent;
use rattler_conda_types::Subdir;
use rattler_lock::{CondaPackageData, LockFile};

use super::common::{Pkg, Sandbox, TinyChannel};
use super::{versions, world};

const BOTH: [Subdir; 2] = [Subdir::Linux64, Subdir::LinuxAarch64];

/// A project that is locked, and a channel that has something newer of everything since.
fn locked_and_moved_on() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let newer = Sandbox::packages()
        .package(Pkg::new("libfoo", "2.2").native().depends("__glibc >=2.17"))
        .package(Pkg::new("certs", "2025.1"));
    sandbox.channel(&newer);
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
    sandbox
}

fn remove(sandbox: &Sandbox, names: &[&str]) {
    for name in names {
        fs_err::remove_file(sandbox.path("project/tiny").join(name)).unwrap();
    }
}

/// Locks `tiny` and returns what is locked for each subdir, and what was said.
fn relocked(sandbox: &Sandbox) -> ([Vec<String>; 2], String) {
    let said = sandbox.ok(&["lock"]).stderr;
    let lock = Lock::read(&sandbox.path("project/tiny/conda-lock.yml")).unwrap().unwrap();
    (BOTH.map(|subdir| versions(&lock, subdir)), said)
}

const OLD: [&str; 2] = ["certs=2024.1", "libfoo=2.1"];
const NEW: [&str; 2] = ["certs=2025.1", "libfoo=2.2"];

#[test]
fn versions_of_explicit_locks_are_kept() {
    let sandbox = locked_and_moved_on();
    let before = sandbox.read("project/tiny/conda-lock.yml");
    remove(&sandbox, &["conda-lock.yml"]);
    let (versions, said) = relocked(&sandbox);
    assert_eq!(versions, [OLD, OLD]);
    assert!(said.contains("`tiny/conda-linux-64.lock`, `tiny/conda-linux-aarch64.lock`"), "{said}");
    assert_eq!(sandbox.read("project/tiny/conda-lock.yml"), before);

    // What conda prints, of one subdir; the other is solved anew.
    remove(&sandbox, &["conda-lock.yml", "conda-linux-64.lock", "conda-linux-aarch64.lock"]);
    let listed = "# This file may be used to create an environment using:\n# platform: linux-64\n@EXPLICIT\n\
                  https://conda.anaconda.org/conda-forge/noarch/certs-2024.1-0.conda\n\
                  https://conda.anaconda.org/conda-forge/linux-64/libfoo-2.1-0.conda\n";
    sandbox.write("project/tiny/conda-linux-64.lock", listed.as_bytes());
    assert_eq!(relocked(&sandbox).0, [OLD, NEW]);

    // Preferred is not demanded, and a lock that is there goes before.
    remove(&sandbox, &["conda-lock.yml"]);
    sandbox.environment("tiny", &["libfoo >=2.2", "certs"]);
    assert_eq!(relocked(&sandbox).0, [["certs=2024.1", "libfoo=2.2"], NEW]);
    sandbox.write("project/tiny/conda-linux-64.lock", b"what\n");
    assert_eq!(relocked(&sandbox).0, [["certs=2024.1", "libfoo=2.2"], NEW]);
}

#[test]
fn an_explicit_lock_that_is_none_is_refused() {
    let sandbox = locked_and_moved_on();
    let good = sandbox.read("project/tiny/conda-linux-64.lock");
    remove(&sandbox, &["conda-lock.yml"]);
    for (broken, place, words) in [
        (good.replace("@EXPLICIT\n", "@EXPLICIT\nwhat\n"), ":5:1: ", "`what` is no URL of a package"),
        (good.replace("@EXPLICIT\n", ""), ":1:1: ", "no line `@EXPLICIT`"),
        (good.replace("/noarch/", "/win-64/"), ":5:1: ", "win-64/certs-2024.1-0.conda` is not for linux-64"),
        (good.replace("platform: linux-64", "platform: osx-64"), ":2:1: ", "a lock for osx-64"),
        (format!("{good}<<<<<<< HEAD\n"), ":7:1: ", "a merge conflict; take either side whole"),
    ] {
        sandbox.write("project/tiny/conda-linux-64.lock", broken.as_bytes());
        sandbox.run(&["lock"]).fails(2, &["tiny/conda-linux-64.lock", place, words]);
    }
    // Under the URL of the lock there are other bytes now.
    let line = good.lines().find(|line| line.contains("/certs-")).unwrap();
    let (url, _) = line.split_once('#').unwrap();
    let changed = good.replace(line, &format!("{url}#{}", "0".repeat(32)));
    sandbox.write("project/tiny/conda-linux-64.lock", changed.as_bytes());
    sandbox.run(&["lock"]).fails(1, &["certs-2024.1-0.conda` changed"]);
}

#[test]
fn versions_of_a_pixi_lock_are_kept() {
    let sandbox = locked_and_moved_on();
    // The channel still has the old ones, so they can be exported; pixi's own file of before version 7 is like this.
    let exported = sandbox.ok(&["export", "tiny", "--format", "pixi"]).stdout;
    let old = "version: 6\nenvironments:\n  test:\n    channels:\n    - url: https://conda.anaconda.org/conda-forge/\n    \
               packages:\n      linux-64:\n      - conda: https://conda.anaconda.org/conda-forge/linux-64/libfoo-2.1-0.conda\n\
               packages:\n- conda: https://conda.anaconda.org/conda-forge/linux-64/libfoo-2.1-0.conda\n  depends:\n  \
               - __glibc >=2.17\n  size: 1\n";
    let write = |text: &str| sandbox.write("project/tiny/pixi.lock", text.as_bytes());
    let start_over = || {
        remove(&sandbox, &["conda-lock.yml", "conda-linux-64.lock", "conda-linux-aarch64.lock"]);
    };
    start_over();
    write(&exported);
    let (versions, said) = relocked(&sandbox);
    assert_eq!(versions, [OLD, OLD]);
    assert!(said.contains("`tiny/pixi.lock`"), "{said}");
    start_over();
    write(old);
    assert_eq!(relocked(&sandbox).0, [["certs=2025.1", "libfoo=2.1"], NEW]);
    start_over();
    write(&old.replace("  test:\n", "  docs:\n    channels: []\n    packages: {}\n  test:\n"));
    sandbox.run(&["lock"]).fails(2, &["tiny/pixi.lock:1:1: ", "`docs`, `test`"]);
    write(&format!("<<<<<<< HEAD\n{old}"));
    sandbox.run(&["lock"]).fails(2, &["tiny/pixi.lock:1:1: a merge conflict"]);
    write(&old.replace("packages:\n- conda", "packages: [\n- conda"));
    sandbox.run(&["lock"]).fails(2, &["tiny/pixi.lock:", "no `pixi.lock` that can be read", "run `esker lock`"]);
    write("version: 99\n");
    sandbox.run(&["lock"]).fails(2, &["tiny/pixi.lock:1:1: ", "99"]);
    // An explicit lock goes before it.
    sandbox.write("project/tiny/conda-linux-64.lock", b"# platform: linux-64\n@EXPLICIT\n");
    assert_eq!(relocked(&sandbox).0, [NEW, NEW]);
}

/// URL, MD5 and SHA-256 of what a `pixi.lock` has for `subdir`, in order.
fn of_pixi(lock: &LockFile, subdir: Subdir) -> Vec<[Option<String>; 3]> {
    let environment = lock.default_environment().unwrap();
    let Some(platform) = lock.platform(subdir.as_str()) else { return Vec::new() };
    let packages = environment.conda_packages(platform).unwrap().filter_map(CondaPackageData::as_binary);
    let mut rows: Vec<_> = packages
        .map(|data| {
            let record = &data.package_record;
            [Some(data.location.to_string()), record.md5.map(hex::encode), record.sha256.map(hex::encode)]
        })
        .collect();
    rows.sort();
    rows
}

fn of_lock(lock: &Lock, subdir: Subdir) -> Vec<[Option<String>; 3]> {
    let packages = lock.packages_for(subdir);
    let mut rows: Vec<_> =
        packages.map(|package| [Some(package.url.to_string()), package.md5.clone(), package.sha256.clone()]).collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn a_pixi_lock_has_what_is_locked_with_whole_records() {
    let channel = TinyChannel::standard().package(
        Pkg::new("weighed", "1").build("h1_7", 7).constrains("certs >=2024").track_features("heavy").depends("hello"),
    );
    let world = world(&channel);
    let spec = LockSpec::of(&world.image(&["weighed", "legacy"])).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    let text = lock.pixi_lock(&lock.subdirs, &spec, &world.client()).await.unwrap();
    let read = LockFile::from_str_with_base_directory(&text, None).unwrap();
    for subdir in BOTH {
        assert_eq!(of_pixi(&read, subdir), of_lock(&lock, subdir));
        assert_eq!(of_pixi(&read, subdir).len(), 5);
    }
    assert_eq!(read.default_environment().unwrap().channels()[0].url, "https://conda.anaconda.org/conda-forge/");
    let package = read.packages().iter().find(|package| package.name() == "weighed").unwrap();
    let record = &package.as_binary_conda().unwrap().package_record;
    assert_eq!((record.build_number, &record.constrains), (7, &vec!["certs >=2024".to_owned()]));
    assert_eq!((&record.track_features, &record.depends), (&vec!["heavy".to_owned()], &vec!["hello".to_owned()]));

    let asked = world.server.requests().len();
    let cache = world.folder.path().join("cache");
    let options = Options { mirrors: vec![world.server.mirror()], offline: true, ..Options::new(cache) };
    assert_eq!(lock.pixi_lock(&lock.subdirs, &spec, &Client::new(options).unwrap()).await.unwrap(), text);
    assert_eq!(world.server.requests().len(), asked);
    let one = lock.pixi_lock(&[Subdir::LinuxAarch64], &spec, &world.client()).await.unwrap();
    let one = LockFile::from_str_with_base_directory(&one, None).unwrap();
    assert_eq!(of_pixi(&one, Subdir::LinuxAarch64), of_lock(&lock, Subdir::LinuxAarch64));
    assert!(of_pixi(&one, Subdir::Linux64).is_empty());
}

#[tokio::test]
async fn pip_packages_go_to_a_pixi_lock_and_back() {
    let world = world(&TinyChannel::standard());
    let spec = LockSpec::of(&world.image(&["python"])).unwrap();
    let mut lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    let cowsay = LockedPackage {
        name: "cowsay".into(),
        version: "6.1".into(),
        manager: Manager::Pip,
        url: "https://files.pythonhosted.org/packages/cowsay-6.1-py3-none-any.whl".parse().unwrap(),
        md5: None,
        sha256: Some("ab".repeat(32)),
        dependencies: [("wcwidth".to_owned(), ">=0.2,<1".to_owned()), ("rich".to_owned(), "*".to_owned())].into(),
        ..lock.packages[0].clone()
    };
    lock.packages.push(cowsay.clone());
    let text = lock.pixi_lock(&lock.subdirs, &spec, &world.client()).await.unwrap();
    let read = LockFile::from_str_with_base_directory(&text, None).unwrap();
    let package = read.packages().iter().find_map(|package| package.as_pypi()?.as_wheel()).unwrap();
    let requirements: Vec<_> = package.requires_dist.iter().map(ToString::to_string).collect();
    assert_eq!(requirements, ["rich", "wcwidth>=0.2,<1"]);
    assert_eq!(read.default_environment().unwrap().pypi_indexes().unwrap().indexes.len(), 1);

    let folder = world.folder.path().join("pixi");
    fs_err::create_dir(&folder).unwrap();
    assert!(Lock::preferred(&folder, &BOTH).unwrap().is_none());
    fs_err::write(folder.join("pixi.lock"), text).unwrap();
    let preferred = Lock::preferred(&folder, &BOTH).unwrap().unwrap().lock;
    let pip: Vec<_> = preferred.packages.iter().filter(|package| package.manager == Manager::Pip).collect();
    assert_eq!(pip, [&LockedPackage { dependencies: Default::default(), ..cowsay }]);

    lock.packages.last_mut().unwrap().version = "what?".into();
    let error = lock.pixi_lock(&lock.subdirs, &spec, &world.client()).await.unwrap_err();
    assert!(error.to_string().contains("cowsay-6.1-py3-none-any.whl` cannot be written to a `pixi.lock`"), "{error}");
}

#[tokio::test]
async fn what_a_channel_no_longer_has_is_not_exported_to_pixi() {
    let folder = world(&TinyChannel::new().package(Pkg::new("a", "1").file("x", "1")).package(Pkg::new("b", "1")));
    let spec = LockSpec::of(&folder.image(&["a", "b"])).unwrap();
    let lock = solve(&spec, None, &folder.client(), &Silent).await.unwrap();
    TinyChannel::new().package(Pkg::new("a", "1").file("x", "2")).write(folder.folder.path().join("channel"));
    let error = lock.pixi_lock(&lock.subdirs, &spec, &folder.client()).await.unwrap_err();
    assert!(matches!(&error, Error::HashChanged { url, .. } if url.path().ends_with("/a-1-0.conda")), "{error}");
    TinyChannel::new().package(Pkg::new("a", "1").file("x", "1")).write(folder.folder.path().join("channel"));
    let error = lock.pixi_lock(&lock.subdirs, &spec, &folder.client()).await.unwrap_err();
    let Error::NotOffered { urls, .. } = &error else { panic!("{error}") };
    assert_eq!(urls.iter().map(url::Url::path).collect::<Vec<_>>(), ["/conda-forge/noarch/b-1-0.conda"]);
}

#[test]
fn a_pixi_lock_is_printed_for_all_subdirs_or_one() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let all = sandbox.ok(&["export", "tiny", "--format", "pixi"]).stdout;
    let one = sandbox.ok(&["export", "tiny", "--format", "pixi", "--subdir", "linux-64"]).stdout;
    assert!(all.contains("linux-aarch64/libfoo-2.1-0.conda") && !one.contains("linux-aarch64"), "{one}");
    assert_eq!(sandbox.ok(&["export", "tiny", "--format", "pixi", "--offline"]).stdout, all);
    sandbox.run(&["export", "tiny", "--format", "pixi", "--subdir", "win-64"]).fails(2, &["linux-64, linux-aarch64"]);
    sandbox.channel(&TinyChannel::new());
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
    sandbox
        .run(&["export", "tiny", "--format", "pixi"])
        .fails(1, &["no channel offers what is locked for `tiny`", "libfoo-2.1-0.conda", "esker lock"]);
}

#[test]
fn custom_metadata_stays_when_a_lock_changes() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let path = "project/tiny/conda-lock.yml";
    let custom = "  custom_metadata:\n    reviewed: '2026-01-30'\n";
    let run = "  time_metadata:\n    created_at: '2024-01-01T00:00:00Z'\n";
    let text = sandbox.read(path).replace("package:\n", &format!("{run}{custom}package:\n"));
    sandbox.write(path, text.as_bytes());
    sandbox.ok(&["lock"]);
    assert_eq!(sandbox.read(path), text);
    sandbox.environment("tiny", &["certs"]);
    sandbox.ok(&["lock"]);
    let changed = sandbox.read(path);
    assert!(changed.contains(&format!("  - environment.yml\n{custom}package:\n- name: certs\n")), "{changed}");
    assert!(!changed.contains("libfoo"));
}

#[test]
fn a_file_that_is_no_lock_is_told_with_its_place_and_a_remedy() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    let path = "project/tiny/conda-lock.yml";
    let good = sandbox.read(path);
    let pixi = sandbox.ok(&["export", "tiny", "--format", "pixi"]).stdout;
    let line = |text: &str, start: &str| {
        let at = text.lines().position(|line| line.starts_with(start)).unwrap();
        format!("conda-lock.yml:{}:", at + 1)
    };
    let conflict = good.replace("package:\n", "<<<<<<< HEAD\npackage:\n=======\npackage:\n>>>>>>> other\n");
    let rest = good.replace("package:\n", "package:\n=======\n");
    let newer = good.replace("version: 1\n", "version: 2\n");
    let stray = good.replacen("  platform: linux-64", "  platform: osx-arm64", 1);
    let garbage = good.replace("  sources:", "  sources: [");
    let restore = "restore the file, or remove it and run `esker lock`";
    for (text, place, problem, remedy) in [
        (&conflict, line(&conflict, "<<<<<<<"), "a merge conflict", "take either side whole and lock again"),
        (&rest, line(&rest, "======="), "a merge conflict", "take either side whole and lock again"),
        (&newer, line(&newer, "version: 2"), "only version 1", restore),
        (&stray, line(&stray, "  platform: osx-arm64"), "not declared", restore),
        (&garbage, line(&garbage, "  - environment.yml"), "broken YAML", restore),
        (&pixi, "conda-lock.yml`".to_owned(), "a lock of pixi", "rename it to `pixi.lock`"),
        (&String::new(), "conda-lock.yml:1:1:".to_owned(), "", restore),
    ] {
        sandbox.write(path, text.as_bytes());
        for command in
            [&["lock"][..], &["lock", "--check"], &["export", "tiny"], &["diff", "tiny/conda-lock.yml", "x.yml"]]
        {
            sandbox.write("project/x.yml", good.as_bytes());
            sandbox.run(command).fails(2, &[&place, problem, remedy]);
        }
        assert_eq!(sandbox.read(path), *text, "it is left for its owner to look at");
    }
}

/// Where a write was cut short there is no lock, or one that is known not to hold.
#[tokio::test]
async fn a_lock_that_is_cut_anywhere_is_none_or_stale() {
    let world = world(&TinyChannel::standard());
    let mut image = world.image(&["certs", "libfoo"]);
    image.subdirs.pop();
    let spec = LockSpec::of(&image).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    let text = lock.to_conda_lock_yaml();
    let mut stale = 0;
    // In front of it are comments.
    for end in text.find("version: 1").unwrap()..text.len() {
        let Ok(cut) = Lock::parse(Path::new("x"), &text[..end]) else { continue };
        assert!(cut == lock || !holds(&spec, &cut).is_empty(), "cut at {end}:\n{}", &text[..end]);
        stale += usize::from(cut != lock);
    }
    assert!(stale > 0, "cuts between packages can be read");
}
