//! conda-lock and py-rattler on what esker locks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use esker::lock::{Lock, LockSpec, solve};
use esker::progress::Silent;
use rattler_conda_types::Subdir;

use super::common::TinyChannel;
use super::common::judges::{judged, python, rendered};
use super::{World, world};

async fn locked(world: &World, environment: &str) -> Lock {
    let spec = LockSpec::of(&world.image_of(environment)).unwrap();
    solve(&spec, None, &world.client(), &Silent).await.unwrap()
}

#[tokio::test]
async fn conda_lock_reads_and_renders_what_is_locked() {
    let Some(_) = python() else { return };
    let world = world(&TinyChannel::standard());
    let environment = "channels: [conda-forge]\ndependencies: [hello, legacy, certs]\n";
    let image = world.image_of(environment);
    let lock = locked(&world, environment).await;
    lock.write(&image).unwrap();
    for subdir in &lock.subdirs {
        let Some(python) = python() else { return };
        let expected = fs_err::read_to_string(image.explicit_lock_path(*subdir)).unwrap();
        let rendered = rendered(python, &image.lock_path(), subdir.as_str());
        assert_eq!(rendered.replacen("by conda-lock.", "by esker.", 1), expected);
    }
}

/// Reads a lock and writes it again.
const REWRITE: &str = "
import pathlib, sys
from conda_lock.lockfile import parse_conda_lock_file, write_conda_lock_file
old, new = map(pathlib.Path, sys.argv[1:])
write_conda_lock_file(parse_conda_lock_file(old), new, None)
";

#[tokio::test]
async fn conda_lock_writes_the_same_bytes() {
    let Some(mut python) = python() else { return };
    let world = world(&TinyChannel::standard());
    let environment = "channels: [conda-forge]\ncategory: dev\ndependencies: [hello, legacy, certs]\n";
    let image = world.image_of(environment);
    let mut lock = locked(&world, environment).await;
    lock.custom_metadata = curious_texts();
    lock.write(&image).unwrap();
    let again = world.folder.path().join("again");
    fs_err::create_dir(&again).unwrap();
    let again = again.join("conda-lock.yml");
    judged(python.args(["-c", REWRITE]).arg(image.lock_path()).arg(&again));
    let (ours, theirs) = (fs_err::read_to_string(image.lock_path()).unwrap(), fs_err::read_to_string(again).unwrap());
    let different = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
    assert_eq!(different, None);
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(Lock::read(&image.lock_path()).unwrap().unwrap().custom_metadata, lock.custom_metadata);
}

/// Texts that YAML has to quote, escape and fold, of all lengths up to some lines.
fn curious_texts() -> BTreeMap<String, String> {
    let words = [
        "a",
        "word",
        " ",
        "  ",
        "\n",
        "\n\n",
        "é",
        "\"",
        "\\",
        ": ",
        "#",
        " #",
        "-",
        "'",
        "1",
        ".",
        "\t",
        "\u{2028}",
        "\u{85}",
        "\u{feff}",
        "\u{1f600}",
        "{",
        "%",
        "2026-01-01",
        "yes",
        "\r",
        "\0",
    ];
    // A linear congruential generator: the same texts every time.
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0) % below
    };
    let mut text = |index: usize| {
        // The first half of plain words mostly: what folds.
        let choice = if index < 200 { 4 } else { words.len() };
        (0..next(90)).map(|_| words[next(choice)]).collect()
    };
    (0..400).map(|index| (format!("k{index:03}"), text(index))).collect()
}

/// Installs what an explicit lock names.
const INSTALL: &str = "
import asyncio, os, pathlib, sys
from rattler import BuildString, PackageRecord, RepoDataRecord, install
from rattler.explicit_environment import ExplicitEnvironmentSpec
lock, prefix, cache = map(pathlib.Path, sys.argv[1:])
spec = ExplicitEnvironmentSpec.from_path(lock)
records = []
for entry in spec.packages:
    url, md5 = entry.url.split('#')
    channel, subdir, file = url.rsplit('/', 2)
    name, version, build = file.removesuffix('.conda').removesuffix('.tar.bz2').rsplit('-', 2)
    noarch = 'python' if build.startswith('py') else 'generic' if subdir == 'noarch' else None
    record = PackageRecord(name, version, BuildString(build), 0, subdir, noarch=noarch, md5=bytes.fromhex(md5))
    records.append(RepoDataRecord(record, file, url, channel))
asyncio.run(install(records, prefix, cache_dir=cache, platform=spec.platform, show_progress=False))
# Its threads may still be at work when Python takes itself apart, which ends in a crash now and then.
sys.stdout.flush()
os._exit(0)
";

#[tokio::test]
async fn py_rattler_installs_from_the_explicit_lock() {
    let Some(mut python) = python() else { return };
    let world = world(&TinyChannel::standard());
    let environment = format!("channels: ['{}']\ndependencies: [hello, legacy, certs]\n", world.server.url());
    let lock = locked(&world, &environment).await;
    let path = |name: &str| world.folder.path().join(name);
    fs_err::write(path("conda-linux-64.lock"), lock.explicit(Subdir::Linux64)).unwrap();
    let (prefix, cache) = (path("prefix"), path("their-cache"));
    judged(python.args(["-c", INSTALL]).arg(path("conda-linux-64.lock")).arg(&prefix).arg(cache));
    for file in ["ssl/cacert.pem", "lib/python3.12/site-packages/hello/cli.py", "bin/hello", "bin/python3.12"] {
        assert!(prefix.join(file).is_file(), "{file}");
    }
    let legacy = fs_err::read_to_string(prefix.join("bin/legacy")).unwrap();
    assert!(legacy.starts_with(&format!("#!{}/bin/python", prefix.display())), "{legacy}");
    let records = fs_err::read_dir(prefix.join("conda-meta")).unwrap().flatten().map(|entry| entry.path());
    let records = records.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count();
    assert_eq!(records, lock.packages_for(Subdir::Linux64).count());
}

/// Prints the URLs that a `pixi.lock` has for linux-64.
const READ_PIXI: &str = "
import pathlib, sys
from rattler import LockFile
lock = LockFile.from_path(pathlib.Path(sys.argv[1]))
for platform, packages in lock.default_environment().packages_by_platform().items():
    if platform.name == 'linux-64':
        print(*sorted(package.location for package in packages), sep='\\n')
";

#[tokio::test]
async fn py_rattler_reads_the_exported_pixi_lock() {
    let Some(mut python) = python() else { return };
    let world = world(&TinyChannel::standard());
    let environment = "channels: [conda-forge]\ndependencies: [hello, legacy, certs]\n";
    let spec = LockSpec::of(&world.image_of(environment)).unwrap();
    let lock = locked(&world, environment).await;
    let path = world.folder.path().join("pixi.lock");
    fs_err::write(&path, lock.pixi_lock(&lock.subdirs, &spec, &world.client()).await.unwrap()).unwrap();
    let printed = judged(python.args(["-c", READ_PIXI]).arg(path));
    let mut urls: Vec<_> = lock.packages_for(Subdir::Linux64).map(|package| package.url.as_str()).collect();
    urls.sort_unstable();
    assert_eq!(printed.lines().collect::<Vec<_>>(), urls);
}
