//! Specifications as people write them, from `environment.yml` to a lock.

use esker::lock::{Error, Lock, LockSpec, holds, solve};
use esker::progress::Silent;
use rattler_conda_types::Subdir;

use super::{World, versions, world};
use crate::common::{Pkg, Sandbox, TinyChannel};

/// A world with a second channel, `second/`, that no environment lists.
fn with_second(first: &TinyChannel, second: &TinyChannel) -> (World, String) {
    let world = world(first);
    second.write(world.folder.path().join("channel/second"));
    let url = format!("{}second", world.server.url());
    (world, url)
}

/// Locks `dependencies`, checks that the lock holds, and that locking once more keeps it.
async fn locked(world: &World, dependencies: &[&str]) -> Lock {
    let lock = world.lock(dependencies).await.unwrap_or_else(|error| panic!("{dependencies:?}: {error}"));
    let spec = LockSpec::of(&world.image(dependencies)).unwrap();
    assert_eq!(holds(&spec, &lock), [], "{dependencies:?}");
    let again = solve(&spec, Some(&lock), &world.client(), &Silent).await.unwrap();
    assert_eq!(again, lock, "{dependencies:?}");
    lock
}

async fn unsolvable(world: &World, dependencies: &[&str]) -> String {
    let error = world.lock(dependencies).await.unwrap_err();
    assert!(matches!(error, Error::Unsolvable { .. }), "{dependencies:?}: {error}");
    error.to_string()
}

fn md5_of(world: &World, file: &str) -> String {
    let path = world.folder.path().join("channel").join(file);
    hex::encode(rattler_digest::compute_file_digest::<rattler_digest::Md5>(path).unwrap())
}

#[tokio::test]
async fn versions_in_every_spelling() {
    let world = world(&TinyChannel::standard().package(Pkg::new("python", "3.11.9").native().build("h0_0", 0)));
    for (spec, version) in [
        ("python 3.12.*", "3.12.1"),
        ("python=3.12", "3.12.1"),
        ("python 3.12.1", "3.12.1"),
        ("python=3.11.9=h0*", "3.11.9"),
        ("python[version='>=3.11,<3.12']", "3.11.9"),
        ("python>=3.11=h0*", "3.11.9"),
    ] {
        let lock = locked(&world, &[&format!("\"{spec}\"")]).await;
        assert!(versions(&lock, Subdir::Linux64).contains(&format!("python={version}")), "{spec}");
    }
    // conda, too, takes it for 3.12.0 alone.
    assert!(unsolvable(&world, &["python 3.12"]).await.contains("python"));
}

#[tokio::test]
async fn brackets_choose_by_hash_subdir_and_feature() {
    let channel = TinyChannel::new()
        .package(Pkg::new("a", "1").build("plain_0", 0))
        .package(Pkg::new("a", "1").build("special_0", 0).track_features("special"))
        .package(Pkg::new("a", "1").build("native_0", 0).native());
    let world = world(&channel);
    let build = |lock: &Lock| lock.packages_for(Subdir::Linux64).next().unwrap().build().unwrap().to_owned();
    let md5 = md5_of(&world, "noarch/a-1-special_0.conda");
    assert_eq!(build(&locked(&world, &[&format!("a[md5={md5}]")]).await), "special_0");
    assert_eq!(build(&locked(&world, &["a[track_features=special]"]).await), "special_0");
    assert_eq!(build(&locked(&world, &["a[subdir=noarch,build=plain*]"]).await), "plain_0");
    assert_eq!(build(&locked(&world, &["conda-forge/noarch::a=1=plain*"]).await), "plain_0");
    unsolvable(&world, &["a[subdir=linux-64]"]).await;
    assert_eq!(build(&locked(&world, &["a[subdir=linux-64]  # [linux64]", "a"]).await), "native_0");
}

#[tokio::test]
async fn a_name_twice_means_both() {
    let channel =
        (1..=4).fold(TinyChannel::new(), |channel, version| channel.package(Pkg::new("a", &version.to_string())));
    let world = world(&channel);
    let lock = locked(&world, &["a >=2", "a <4"]).await;
    assert_eq!(versions(&lock, Subdir::Linux64), ["a=3"]);
}

#[tokio::test]
async fn virtual_packages_may_be_asked_for() {
    let world = world(&TinyChannel::standard());
    let lock = locked(&world, &["certs", "__glibc>=2.17"]).await;
    assert_eq!(versions(&lock, Subdir::Linux64), ["certs=2024.1"]);
    assert!(unsolvable(&world, &["certs", "__glibc>=2.34"]).await.contains("__glibc"));
}

#[tokio::test]
async fn a_channel_that_a_line_names_need_not_be_listed() {
    let first = TinyChannel::new().package(Pkg::new("a", "1")).package(Pkg::new("b", "1").depends("a"));
    let second = TinyChannel::new()
        .package(Pkg::new("a", "3").depends("c"))
        .package(Pkg::new("b", "9"))
        .package(Pkg::new("c", "1"));
    let (world, url) = with_second(&first, &second);
    let lock = locked(&world, &[&format!("{url}::a"), "b"]).await;
    // `a` alone comes from there, and what no listed channel has.
    assert_eq!(versions(&lock, Subdir::Linux64), ["a=3", "b=1", "c=1"]);
    assert!(lock.packages[0].url.as_str().starts_with(&url));
    assert_eq!(lock.channels.len(), 1);
    let error = world.lock(&[&format!("{url}::a >3")]).await.unwrap_err();
    assert!(matches!(error, Error::Unsolvable { .. }), "{error}");
    let error = world.lock(&[&format!("{}third::a", world.server.url())]).await.unwrap_err();
    assert!(matches!(error, Error::Fetch(esker::channel::Error::NoChannel { .. })), "{error}");
}

#[tokio::test]
async fn a_url_in_a_channel_is_that_package() {
    let world = world(&TinyChannel::standard().package(Pkg::new("certs", "2025.1")));
    let url = "https://conda.anaconda.org/conda-forge/noarch/certs-2024.1-0.conda";
    let md5 = md5_of(&world, "noarch/certs-2024.1-0.conda");
    for line in [url.to_owned(), format!("{url}#{md5}")] {
        let lock = locked(&world, &[&line]).await;
        assert_eq!(lock.packages[0].url.as_str(), url);
        assert_eq!(lock.packages[0].md5.as_ref(), Some(&md5));
    }
    assert_eq!(world.server.gets("certs-2024.1-0.conda"), 0, "repodata tells all that is needed");
    unsolvable(&world, &[&format!("{url}#{}", "0".repeat(32))]).await;
}

#[tokio::test]
async fn a_url_outside_of_the_channels_is_locked_with_its_md5() {
    let first = TinyChannel::standard().package(Pkg::new("a", "1")).package(Pkg::new("user", "1").depends("a >=2"));
    let second = TinyChannel::new()
        .package(Pkg::new("a", "2").depends("certs"))
        .package(Pkg::new("n", "1").native().subdirs(&["linux-64"]));
    let (world, second) = with_second(&first, &second);
    // No channel is needed around it.
    for subdir in ["noarch", "linux-64"] {
        fs_err::remove_file(world.folder.path().join("channel/second").join(subdir).join("repodata.json")).unwrap();
    }
    let md5 = md5_of(&world, "second/noarch/a-2-0.conda");
    let lock = locked(&world, &[&format!("{second}/noarch/a-2-0.conda#{md5}"), "user"]).await;
    assert_eq!(versions(&lock, Subdir::LinuxAarch64), ["a=2", "certs=2024.1", "user=1"]);
    assert_eq!(lock.packages[0].url.as_str(), format!("{second}/noarch/a-2-0.conda"));
    assert_eq!(lock.packages[0].md5, Some(md5));

    let error = world.lock(&[&format!("{second}/noarch/a-2-0.conda")]).await.unwrap_err();
    assert!(matches!(error, Error::NoHash { .. }), "{error}");
    let error = world.lock(&[&format!("{second}/noarch/a-2-0.conda#{}", "0".repeat(32))]).await.unwrap_err();
    assert!(matches!(error, Error::Fetch(esker::channel::Error::WrongHash(_))), "{error}");
    let error = world.lock(&[&format!("{second}/noarch/a-7-0.conda")]).await.unwrap_err();
    assert!(matches!(error, Error::Fetch(esker::channel::Error::File { .. })), "{error}");

    let native = format!("{second}/linux-64/n-1-0.conda#{}", md5_of(&world, "second/linux-64/n-1-0.conda"));
    let error = world.lock(&[&native]).await.unwrap_err().to_string();
    assert!(
        error.contains("on linux-aarch64") && error.contains("is for linux-64") && !error.contains("on linux-64:"),
        "{error}"
    );
    let lock = locked(&world, &[&format!("{native}  # [linux64]"), "certs"]).await;
    assert_eq!(versions(&lock, Subdir::Linux64), ["certs=2024.1", "n=1"]);
    assert_eq!(versions(&lock, Subdir::LinuxAarch64), ["certs=2024.1"]);
}

#[test]
fn a_lint_is_said_once_and_the_lock_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", &["libfoo>1.*", "certs 2024.1"]);
    sandbox.environment("child", &["certs"]);
    sandbox.write("project/esker.yml", b"images:\n  tiny: {}\n  child: {parent: tiny}\n");
    let ran = sandbox.ok(&["lock"]);
    let warnings: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 1, "{}", ran.stderr);
    assert!(warnings[0].contains("tiny/environment.yml:4:5: `.*` means nothing"), "{}", warnings[0]);
    assert!(sandbox.read("project/child/conda-lock.yml").contains("libfoo-2.1-"));
    // What cannot be solved is not left without the likely reason.
    sandbox.environment("tiny", &["libfoo 2"]);
    let reason = "tiny/environment.yml:4:5: `libfoo 2` asks for 2 and not for 2.1; write `libfoo=2`";
    sandbox.run(&["lock", "tiny"]).fails(1, &[reason]);
}

#[test]
fn who_asks_for_pips_packages_asks_for_pip() {
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", &["libfoo", "pip:\n    - cowsay"]);
    sandbox.run(&["lock"]).fails(1, &["tiny/environment.yml:6:7: no channel has a package `pip`"]);
}
