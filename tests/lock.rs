//! Locking, from a channel over HTTP to files on disk.

#![allow(clippy::unwrap_used)]

#[path = "lock/cancelled.rs"]
mod cancelled;
#[path = "lock/channels.rs"]
mod channels;
mod common;
#[path = "lock/corpus.rs"]
mod corpus;
#[path = "lock/formats.rs"]
mod formats;
#[path = "lock/hostile.rs"]
mod hostile;
#[path = "lock/inputs.rs"]
mod inputs;
#[path = "lock/judges.rs"]
mod judges;
#[path = "lock/order.rs"]
mod order;
#[path = "lock/pip.rs"]
mod pip;
#[path = "lock/records.rs"]
mod records;
#[path = "lock/repodata.rs"]
mod repodata;
#[path = "lock/unsolvable.rs"]
mod unsolvable;

use std::path::{Path, PathBuf};

use common::{CONDA_FORGE, Fault, Pkg, Server, TinyChannel};
use esker::channel::{Client, Options};
use esker::lock::{Error, Lock, LockSpec, Stale, holds, solve};
use esker::progress::{Progress, Silent, Unit};
use esker::project::{AptPolicy, DebianSettings, Environment, ImageSpec, Relocking, VirtualPackages};
use indexmap::IndexMap;
use rattler_conda_types::Subdir;

/// A channel behind a server, an image beside it, and a client.
struct World {
    server: Server,
    folder: tempfile::TempDir,
}

fn world(channel: &TinyChannel) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    channel.write(folder.path().join("channel"));
    World { server: Server::start(folder.path().join("channel")), folder }
}

impl World {
    fn client(&self) -> Client {
        let cache = self.folder.path().join("cache");
        Client::new(Options { mirrors: vec![self.server.mirror()], ..Options::new(cache) }).expect("a client")
    }

    /// The image of an environment with these dependencies, for both arches.
    fn image(&self, dependencies: &[&str]) -> ImageSpec {
        let lines: String = dependencies.iter().map(|line| format!("  - {line}\n")).collect();
        self.image_of(&format!("channels: [conda-forge]\ndependencies:\n{lines}"))
    }

    fn image_of(&self, environment: &str) -> ImageSpec {
        let folder = self.folder.path().join("image");
        fs_err::create_dir_all(&folder).expect("a folder");
        let path = folder.join("environment.yml");
        fs_err::write(&path, environment).expect("a file");
        ImageSpec {
            name: "image".into(),
            files: folder.clone(),
            folder,
            parent: None,
            environments: vec![Environment::read(&path).expect("a valid environment")],
            platforms: vec![],
            subdirs: vec![Subdir::Linux64, Subdir::LinuxAarch64],
            virtual_packages: VirtualPackages::default(),
            mirrors: vec![],
            base: None,
            env: IndexMap::new(),
            labels: IndexMap::new(),
            info: indexmap::IndexMap::new(),
            apt: AptPolicy::Skip,
            debian: DebianSettings::default(),
            skip_link_scripts: vec![],
            strip: esker::project::Strip::default(),
            layers: 80,
            relocking: Relocking::default(),
            sbom: true,
            cache_from: vec![],
            docker: Default::default(),
        }
    }

    async fn lock(&self, dependencies: &[&str]) -> Result<Lock, Error> {
        self.relock(dependencies, None).await
    }

    async fn relock(&self, dependencies: &[&str], existing: Option<&Lock>) -> Result<Lock, Error> {
        let spec = LockSpec::of(&self.image(dependencies)).expect("a request");
        solve(&spec, existing, &self.client(), &Silent).await
    }
}

/// Keeps warnings and notes.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<String>>);

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no thread panicked").clone()
    }
}

impl Progress for Heard {
    fn started(&self, _: u64, _: &str, _: Option<u64>, _: Unit) {}
    fn advanced(&self, _: u64, _: u64) {}
    fn finished(&self, _: u64, _: Option<&str>) {}
    fn warning(&self, message: &str) {
        self.0.lock().expect("no thread panicked").push(format!("warning: {message}"));
    }
    fn note(&self, message: &str) {
        self.0.lock().expect("no thread panicked").push(message.to_owned());
    }
}

fn versions(lock: &Lock, subdir: Subdir) -> Vec<String> {
    lock.packages_for(subdir).map(|package| format!("{}={}", package.name, package.version)).collect()
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut entries: Vec<_> = fs_err::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let file = |path: PathBuf| {
        let modified = fs_err::metadata(&path).and_then(|metadata| metadata.modified()).expect("a time");
        (path.clone(), fs_err::read(path).expect("a file"), modified)
    };
    entries.into_iter().map(file).collect()
}

#[test]
fn a_channel_is_the_same_every_time() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let channel = TinyChannel::standard()
        .package(Pkg::new("linked", "1").native().file("lib/a", "a").hard_link("lib/b", "lib/a"))
        .package(Pkg::new("climber", "1").native().hostile("../../escaped", "out"));
    let [first, second] = folders.each_ref().map(|folder| channel.write(folder.path()).records);
    assert_eq!(first, second);
}

#[tokio::test]
async fn both_arches_are_locked_with_canonical_urls() {
    let world = world(&TinyChannel::standard());
    let lock = world.lock(&["hello", "legacy"]).await.unwrap();
    for subdir in [Subdir::Linux64, Subdir::LinuxAarch64] {
        assert_eq!(versions(&lock, subdir), ["hello=1.0", "legacy=0.9", "libfoo=2.1", "python=3.12.1"]);
    }
    assert!(lock.packages.iter().all(|package| package.url.as_str().starts_with(CONDA_FORGE)));
    let python = lock.packages.iter().find(|package| package.name == "python").unwrap();
    let dependencies: Vec<_> = python.dependencies.iter().map(|(name, version)| format!("{name} {version}")).collect();
    assert_eq!(dependencies, ["__glibc >=2.17", "libfoo >=2,<3"]);
    let legacy = lock.packages.iter().find(|package| package.name == "legacy").unwrap();
    assert_eq!(legacy.url.as_str(), format!("{CONDA_FORGE}linux-64/legacy-0.9-0.tar.bz2"));
}

#[tokio::test]
async fn a_lock_is_read_as_it_was_written() {
    let world = world(&TinyChannel::standard());
    let image = world.image(&["hello"]);
    let spec = LockSpec::of(&image).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    let written = lock.write(&image).unwrap();
    let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["conda-linux-64.lock", "conda-linux-aarch64.lock", "conda-lock.yml"]);
    assert_eq!(Lock::read(&image.lock_path()).unwrap().unwrap(), lock);
    let explicit = fs_err::read_to_string(image.explicit_lock_path(Subdir::LinuxAarch64)).unwrap();
    let lines: Vec<_> = explicit.lines().collect();
    let head = [
        "# Generated by esker.",
        "# platform: linux-aarch64",
        &format!("# input_hash: {}", lock.content_hash[&Subdir::LinuxAarch64]),
        "@EXPLICIT",
    ];
    assert_eq!(lines[..4], head);
    let order: Vec<_> =
        lines[4..].iter().map(|line| line.rsplit('/').next().unwrap().split('-').next().unwrap()).collect();
    assert_eq!(order, ["libfoo", "python", "hello"]);
}

#[tokio::test]
async fn a_lock_that_holds_is_left_alone_without_a_network() {
    let world = world(&TinyChannel::standard());
    let image = world.image(&["hello"]);
    let spec = LockSpec::of(&image).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    lock.write(&image).unwrap();
    let (before, asked) = (files(&image.folder), world.server.requests().len());

    let read = Lock::read(&image.lock_path()).unwrap().unwrap();
    assert_eq!(holds(&spec, &read), []);
    assert_eq!(read.write(&image).unwrap(), [] as [PathBuf; 0]);
    assert_eq!(files(&image.folder), before);
    assert_eq!(world.server.requests().len(), asked);

    // Looser than before: still answered.
    let looser = LockSpec::of(&world.image(&["hello >=0.5", "python"])).unwrap();
    assert_eq!(holds(&looser, &read), []);
}

#[tokio::test]
async fn what_no_longer_holds_is_named() {
    let world = world(&TinyChannel::standard());
    let lock = world.lock(&["hello"]).await.unwrap();
    let stale = |dependencies: &[&str]| {
        let spec = LockSpec::of(&world.image(dependencies)).unwrap();
        holds(&spec, &lock).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let file = world.folder.path().join("image/environment.yml");
    assert_eq!(
        stale(&["hello >=2"])[0],
        format!("{}:3:5: `hello >=2` on linux-64: locked is 1.0 pyhd8ed1ab_0", file.display())
    );
    assert!(stale(&["hello", "certs"])[0].ends_with("`certs` on linux-64: not locked"));
    assert_eq!(stale(&["python"])[0], "nothing needs `hello` on linux-64 any more");
    assert!(stale(&["hello", "__glibc >=2.40"])[0].ends_with("`__glibc >=2.40` on linux-64: not locked"));

    let spec = LockSpec::of(&world.image(&["hello"])).unwrap();
    let channels = LockSpec { channels: vec!["other".into(), "conda-forge".into()], ..spec.clone() };
    assert!(matches!(holds(&channels, &lock)[..], [Stale::Channels { .. }]));
    let mut less = spec.clone();
    less.subdirs.pop();
    assert!(matches!(holds(&less, &lock)[..], [Stale::Subdirs { .. }]));
    let mut old = spec;
    old.subdirs[0].virtual_packages.retain(|package| package.name != "__glibc");
    assert_eq!(
        holds(&old, &lock).iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["`python` on linux-64 needs `__glibc >=2.17`, which is not there"]
    );
}

#[tokio::test]
async fn every_subdir_without_a_solution_is_named() {
    let channel = TinyChannel::standard()
        .package(Pkg::new("picky", "1").depends("python <3"))
        .package(Pkg::new("half", "1").subdirs(&["linux-64"]));
    let world = world(&channel);
    let error = world.lock(&["hello", "picky"]).await.unwrap_err();
    let Error::Unsolvable { failures, .. } = &error else { panic!("{error}") };
    let subdirs: Vec<_> = failures.iter().map(|failure| failure.subdir).collect();
    assert_eq!(subdirs, [Subdir::Linux64, Subdir::LinuxAarch64]);
    assert!(failures[0].explanation.contains("picky"), "{error}");

    let error = world.lock(&["hello", "half"]).await.unwrap_err();
    let Error::Unsolvable { failures, .. } = &error else { panic!("{error}") };
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].subdir, Subdir::LinuxAarch64);
}

#[tokio::test]
async fn an_unknown_package_is_named_with_its_line() {
    let world = world(&TinyChannel::standard());
    let error = world.lock(&["python", "helo >=1"]).await.unwrap_err();
    let Error::UnknownPackages { packages, .. } = &error else { panic!("{error}") };
    assert_eq!(packages.len(), 1);
    assert_eq!((packages[0].place.line, packages[0].similar.as_deref()), (4, Some("hello")));
}

#[tokio::test]
async fn the_order_of_lines_does_not_matter() {
    let mut channel = TinyChannel::new();
    // Either `a` or `b` can be the newest, not both: the order of decisions decides.
    for (version, other) in [("1", ">=2"), ("2", "<2")] {
        channel = channel
            .package(Pkg::new("a", version).depends(&format!("c {other}")))
            .package(Pkg::new("b", version).depends(&format!("c {}", if version == "1" { "<2" } else { ">=2" })))
            .package(Pkg::new("c", version));
    }
    let world = world(&channel);
    let [first, second] = [world.lock(&["a", "b"]).await.unwrap(), world.lock(&["b", "a"]).await.unwrap()];
    assert_eq!(first, second);
    assert_eq!(first.content_hash, second.content_hash);
}

#[tokio::test]
async fn locked_packages_stay_until_asked_otherwise() {
    let old = TinyChannel::standard();
    let folder = world(&old);
    let lock = folder.lock(&["hello"]).await.unwrap();
    let new = TinyChannel::standard()
        .package(Pkg::new("libfoo", "2.2").native())
        .package(Pkg::new("hello", "1.1").noarch_python().depends("python >=3.12"))
        .package(Pkg::new("extra", "1").depends("libfoo"));
    new.write(folder.folder.path().join("channel"));

    let kept = folder.relock(&["hello", "extra"], Some(&lock)).await.unwrap();
    assert_eq!(versions(&kept, Subdir::Linux64), ["extra=1", "hello=1.0", "libfoo=2.1", "python=3.12.1"]);
    let moved = folder.relock(&["hello >=1.1"], Some(&lock)).await.unwrap();
    assert_eq!(versions(&moved, Subdir::Linux64), ["hello=1.1", "libfoo=2.1", "python=3.12.1"]);
    let fresh = folder.lock(&["hello"]).await.unwrap();
    assert_eq!(versions(&fresh, Subdir::Linux64), ["hello=1.1", "libfoo=2.2", "python=3.12.1"]);
}

#[tokio::test]
async fn what_a_channel_removed_is_replaced_and_what_it_changed_is_refused() {
    let folder = world(&TinyChannel::new().package(Pkg::new("a", "1")).package(Pkg::new("a", "2").build("1", 1)));
    let lock = folder.lock(&["a"]).await.unwrap();
    assert_eq!(versions(&lock, Subdir::Linux64), ["a=2"]);
    let changed = TinyChannel::new().package(Pkg::new("a", "2").build("1", 1).file("share/new", "content"));
    changed.write(folder.folder.path().join("channel"));
    let error = folder.relock(&["a"], Some(&lock)).await.unwrap_err();
    assert!(matches!(error, Error::HashChanged { .. }), "{error}");
    let removed = TinyChannel::new().package(Pkg::new("a", "1")).package(Pkg::new("a", "2").build("1", 1).removed());
    removed.write(folder.folder.path().join("channel"));
    let again = folder.relock(&["a"], Some(&lock)).await.unwrap();
    assert_eq!(versions(&again, Subdir::Linux64), ["a=1"]);
}

#[tokio::test]
async fn channels_may_fail_a_little_and_lack_a_subdir() {
    let world = world(&TinyChannel::standard());
    world.server.inject("noarch/repodata.json", Fault::Status(500), 2);
    world.server.inject("linux-64/repodata.json", Fault::Truncate, 1);
    fs_err::remove_dir_all(world.folder.path().join("channel/linux-aarch64")).unwrap();
    let lock = world.lock(&["certs"]).await.unwrap();
    assert_eq!(versions(&lock, Subdir::LinuxAarch64), ["certs=2024.1"]);
    fs_err::remove_dir_all(world.folder.path().join("channel/noarch")).unwrap();
    let error = world.lock(&["certs"]).await.unwrap_err();
    assert!(matches!(error, Error::Fetch(esker::channel::Error::NoChannel { .. })), "{error:?}");
}

#[tokio::test]
async fn a_channel_that_wants_credentials_says_so() {
    let world = world(&TinyChannel::standard());
    world.server.require_authorization("Bearer right");
    let error = world.lock(&["certs"]).await.unwrap_err();
    assert!(matches!(error, Error::Fetch(esker::channel::Error::Unauthorized { status: 401, .. })), "{error:?}");
}

#[tokio::test]
async fn strict_priority_holds() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1")));
    let second = world.folder.path().join("channel/second");
    TinyChannel::new().package(Pkg::new("a", "3")).write(&second);
    let environment = |spec: &str| {
        let second = format!("{}second", world.server.url());
        world.image_of(&format!("channels: [conda-forge, '{second}']\ndependencies: ['{spec}']\n"))
    };
    let spec = LockSpec::of(&environment("a")).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    assert_eq!(versions(&lock, Subdir::Linux64), ["a=1"]);
    let spec = LockSpec::of(&environment("a >=2")).unwrap();
    let error = solve(&spec, None, &world.client(), &Silent).await.unwrap_err();
    assert!(matches!(error, Error::Unsolvable { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_md5_is_computed_from_the_verified_package() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1").sha256_only()));
    let lock = world.lock(&["a"]).await.unwrap();
    let package = lock.packages.first().unwrap();
    let archive = world.folder.path().join("channel/noarch/a-1-0.conda");
    let digest = rattler_digest::compute_file_digest::<rattler_digest::Md5>(archive).unwrap();
    assert_eq!(package.md5, Some(hex::encode(digest)));
}

#[tokio::test]
async fn offline_solves_from_the_cache_or_says_what_is_missing() {
    let world = world(&TinyChannel::standard());
    let offline = || {
        let cache = world.folder.path().join("cache");
        Client::new(Options { mirrors: vec![world.server.mirror()], offline: true, ..Options::new(cache) }).unwrap()
    };
    let spec = LockSpec::of(&world.image(&["hello"])).unwrap();
    let error = solve(&spec, None, &offline(), &Silent).await.unwrap_err();
    let Error::Fetch(esker::channel::Error::Offline { what }) = &error else { panic!("{error:?}") };
    assert!(what.starts_with(world.server.url().as_str()), "{what}");
    assert_eq!(world.server.requests(), [""; 0]);
    let online = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    let asked = world.server.requests().len();
    assert_eq!(solve(&spec, None, &offline(), &Silent).await.unwrap(), online);
    assert_eq!(world.server.requests().len(), asked);
}

#[tokio::test]
async fn a_channel_nobody_serves_is_told_from_one_that_does_not_exist() {
    let world = world(&TinyChannel::standard());
    let channel = |url: &str| {
        let image = world.image_of(&format!("channels: ['{url}']\ndependencies: [python]\n"));
        LockSpec::of(&image).unwrap()
    };
    let solve = async |url: &str| match solve(&channel(url), None, &world.client(), &Silent).await.unwrap_err() {
        Error::Fetch(error) => error,
        error => panic!("{error:?}"),
    };
    let missing = solve(&format!("{}nothing", world.server.url())).await;
    assert!(matches!(missing, esker::channel::Error::NoChannel { .. }), "{missing:?}");
    let unknown = solve("http://host.invalid/channel").await;
    assert!(matches!(unknown, esker::channel::Error::Dns { .. }), "{unknown:?}");
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = solve(&format!("http://{nowhere}/channel")).await;
    assert!(matches!(closed, esker::channel::Error::Connect { .. }), "{closed:?}");
    fs_err::write(world.folder.path().join("channel/noarch/repodata.json"), "{ garbage").unwrap();
    let garbage = solve("conda-forge").await;
    assert!(matches!(garbage, esker::channel::Error::Repodata { .. }), "{garbage:?}");
}

#[tokio::test]
async fn a_package_is_of_the_categories_of_all_that_bring_it_in() {
    let channel = ["app", "dev", "docs"].into_iter().fold(TinyChannel::new(), |channel, name| {
        channel.package(Pkg::new(name, "1").depends(if name == "app" { "core" } else { "tool" }))
    });
    let channel = channel.package(Pkg::new("core", "1")).package(Pkg::new("tool", "1").depends("core"));
    let world = world(&channel);
    let mut image = world.image(&["app"]);
    for (category, name) in [("dev", "dev"), ("docs", "docs")] {
        let path = image.folder.join(format!("{category}.yml"));
        let text = format!("channels: [conda-forge]\ncategory: {category}\ndependencies: [{name}]\n");
        fs_err::write(&path, text).unwrap();
        image.environments.push(Environment::read(&path).unwrap());
    }
    let spec = LockSpec::of(&image).unwrap();
    let lock = solve(&spec, None, &world.client(), &Silent).await.unwrap();
    let found: Vec<String> =
        lock.packages_for(Subdir::Linux64).map(|p| format!("{} {} {}", p.name, p.category, p.optional)).collect();
    assert_eq!(
        found,
        ["app main false", "core main false", "dev dev true", "docs docs true", "tool dev true", "tool docs true"]
    );
    assert_eq!(lock.explicit(Subdir::Linux64).matches("/tool-1-0.conda").count(), 1);
}
