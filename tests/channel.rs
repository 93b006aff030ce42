//! Fetching packages, from servers that fail.

mod common;
#[path = "channel/credentials.rs"]
mod credentials;
#[path = "channel/mirrors.rs"]
mod mirrors;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use common::{Fault, Pkg, Server, TinyChannel, skipped};
use esker::channel::{Client, Error, Options};
use esker::lock::LockedPackage;
use esker::progress::Silent;
use rattler_conda_types::Subdir;

struct World {
    server: Server,
    client: Client,
    foo: LockedPackage,
    _folders: [tempfile::TempDir; 2],
}

/// A channel with one package, `foo`, behind a server, and a client that never saw it.
fn world(change: impl FnOnce(Pkg) -> Pkg, options: impl FnOnce(&mut Options)) -> World {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
    let package = change(Pkg::new("foo", "1.0").file("share/foo", noise()));
    let written = TinyChannel::new().package(package).write(folders[0].path());
    let server = Server::start(folders[0].path());
    let mut chosen = Options::new(folders[1].path());
    chosen.mirrors = vec![server.mirror()];
    options(&mut chosen);
    let client = Client::new(chosen).expect("a client");
    World { server, client, foo: written.locked("foo", Subdir::Linux64), _folders: folders }
}

/// Bytes that do not compress, so that half an archive is most of it.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(100_000).collect()
}

/// What is kept; `tmp` only tells who uses the cache.
fn files_in(folder: &std::path::Path) -> Vec<String> {
    let is_kept = |entry: &walkdir::DirEntry| entry.depth() != 1 || entry.file_name() != "tmp";
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_entry(is_kept).flatten();
    entries.filter(|e| e.file_type().is_file()).map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_package_is_fetched_once_and_kept() {
    let world = world(|foo| foo, |_| {});
    let twice = [&world.foo, &world.foo];
    let paths = world.client.packages(&twice, &Silent).await.unwrap();
    assert_eq!(world.server.gets("foo-1.0-0.conda"), 1);
    assert_eq!(paths[0], paths[1]);
    assert_eq!(files_in(world.client.cache_dir()), ["foo-1.0-0.conda"]);
    world.client.package(&world.foo).await.unwrap();
    assert_eq!(world.server.gets("foo-1.0-0.conda"), 1);
}

#[tokio::test]
async fn a_server_may_fail_twice() {
    for fault in [Fault::Status(500), Fault::Status(429), Fault::Reset] {
        let world = world(|foo| foo, |_| {});
        world.server.inject("foo-1.0-0.conda", fault, 2);
        world.client.package(&world.foo).await.unwrap();
        assert_eq!(world.server.gets("foo-1.0-0.conda"), 3, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_keeps_failing_is_named() {
    let world = world(|foo| foo, |_| {});
    world.server.inject("foo-1.0-0.conda", Fault::Status(503), usize::MAX);
    let error = world.client.package(&world.foo).await.unwrap_err();
    assert!(matches!(&error, Error::Status { status: 503, url } if url.port() == world.server.url().port()), "{error}");
}

#[tokio::test]
async fn a_body_cut_short_is_continued() {
    let world = world(|foo| foo, |_| {});
    world.server.inject("foo-1.0-0.conda", Fault::Truncate, 2);
    let path = world.client.package(&world.foo).await.unwrap();
    assert_eq!(world.server.gets("foo-1.0-0.conda"), 3);
    assert_eq!(files_in(path.parent().unwrap()), ["foo-1.0-0.conda"]);
}

#[tokio::test]
async fn a_body_cut_short_every_time_is_an_error_that_says_so() {
    let world = world(|foo| foo, |_| {});
    world.server.inject("foo-1.0-0.conda", Fault::Truncate, usize::MAX);
    let error = world.client.package(&world.foo).await.unwrap_err();
    assert!(matches!(error, Error::Truncated { received, expected: Some(n), .. } if received < n), "{error}");
    assert_eq!(files_in(world.client.cache_dir()), [""; 0]);
}

#[tokio::test]
async fn half_an_archive_on_the_server_is_a_wrong_hash() {
    let world = world(Pkg::truncated, |_| {});
    let error = world.client.package(&world.foo).await.unwrap_err();
    let Error::WrongHash(wrong) = &error else { panic!("{error}") };
    assert_eq!((wrong.package.as_str(), wrong.algorithm), ("foo 1.0", "sha256"));
    assert_eq!(Some(&wrong.expected), world.foo.sha256.as_ref());
    assert_eq!(files_in(world.client.cache_dir()), [""; 0]);
}

#[tokio::test]
async fn garbage_is_tried_once_more_and_never_kept() {
    let world = world(|foo| foo, |_| {});
    world.server.inject("foo-1.0-0.conda", Fault::Corrupt, 1);
    world.client.package(&world.foo).await.unwrap();
    assert_eq!(world.server.gets("foo-1.0-0.conda"), 2);
}

#[tokio::test]
async fn an_md5_alone_is_checked() {
    let world = world(Pkg::md5_only, |_| {});
    world.client.package(&world.foo).await.unwrap();
    let wrong = LockedPackage { md5: Some("0".repeat(32)), ..world.foo.clone() };
    let error = world.client.package(&wrong).await.unwrap_err();
    assert!(matches!(error, Error::WrongHash(wrong) if wrong.algorithm == "md5"));
    let both = LockedPackage { sha256: Some("0".repeat(64)), ..world.foo.clone() };
    assert!(matches!(world.client.package(&both).await, Err(Error::WrongHash(_))));
    let none = LockedPackage { md5: None, ..world.foo };
    assert!(matches!(world.client.package(&none).await, Err(Error::NoHash { .. })));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let world = world(|foo| foo, |_| {});
    let missing = LockedPackage { url: world.foo.url.join("bar-1.0-0.conda").unwrap(), ..world.foo.clone() };
    assert!(matches!(world.client.package(&missing).await, Err(Error::NotFound { .. })));
    world.server.require_authorization("Bearer right");
    assert!(matches!(world.client.package(&world.foo).await, Err(Error::Unauthorized { status: 401, .. })));

    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed =
        LockedPackage { url: format!("http://{nowhere}/foo-1.0-0.conda").parse().unwrap(), ..world.foo.clone() };
    assert!(matches!(world.client.package(&closed).await, Err(Error::Connect { .. })));
    let unknown = LockedPackage { url: "http://host.invalid/foo-1.0-0.conda".parse().unwrap(), ..world.foo.clone() };
    assert!(matches!(world.client.package(&unknown).await, Err(Error::Dns { .. })));
}

#[tokio::test]
async fn credentials_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let netrc = folder.path().join("netrc");
    fs_err::write(&netrc, "machine 127.0.0.1 login u password p\n").unwrap();
    let basic = world(|foo| foo, |options| options.netrc = Some(netrc.clone()));
    basic.server.require_authorization("Basic dTpw");
    basic.client.package(&basic.foo).await.unwrap();

    let file = folder.path().join("credentials.json");
    fs_err::write(&file, r#"{"127.0.0.1": {"BearerToken": "secret"}}"#).unwrap();
    let token = world(|foo| foo, |options| options.auth_file = Some(file.clone()));
    token.server.require_authorization("Bearer secret");
    token.client.package(&token.foo).await.unwrap();
}

#[tokio::test]
async fn secrets_of_a_mirror_stay_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Sends the client elsewhere, where there is nothing; keeps what it was told on the way.
    let answering = std::thread::spawn(move || {
        let answers = ["302 Found\r\nlocation: /elsewhere", "404 Not Found"];
        answers.map(|answer| {
            let (stream, _) = listener.accept().unwrap();
            let lines = BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            let head: Vec<String> = lines.collect();
            write!(&stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            head.join("\n").to_ascii_lowercase()
        })
    });
    let to = format!("http://user:hidden@{address}/t/hidden/").parse().unwrap();
    let world = world(|foo| foo, |options| options.mirrors[0].to = to);
    let error = world.client.package(&world.foo).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("hidden"), "{error:?}");
    let [first, second] = answering.join().unwrap();
    assert!(first.contains("/t/hidden/") && second.contains("/elsewhere"), "{first}\n{second}");
    assert!(!second.contains("referer"), "{second}");
}

#[tokio::test]
async fn offline_takes_the_cache_or_names_what_is_missing() {
    let online = world(|foo| foo, |_| {});
    let offline = |cache: &std::path::Path| {
        Client::new(Options { offline: true, mirrors: vec![online.server.mirror()], ..Options::new(cache) }).unwrap()
    };
    let error = offline(online.client.cache_dir()).package(&online.foo).await.unwrap_err();
    assert!(matches!(&error, Error::Offline { what } if what == "foo-1.0-0.conda"), "{error}");
    online.client.package(&online.foo).await.unwrap();
    offline(online.client.cache_dir()).package(&online.foo).await.unwrap();
    assert_eq!(online.server.gets("foo-1.0-0.conda"), 1);
}

#[tokio::test]
async fn a_mirror_may_be_a_folder() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let written = TinyChannel::standard().write(folders[0].path());
    let options = Options { offline: true, mirrors: vec![written.mirror()], ..Options::new(folders[1].path()) };
    let client = Client::new(options).unwrap();
    let locked = written.locked("hello", Subdir::Linux64);
    let path = client.package(&locked).await.unwrap();
    assert_eq!(fs_err::read(path).unwrap(), fs_err::read(written.archive("noarch", locked.file_name())).unwrap());
}

/// Where the test below finds a small disk, in the process that has one.
const SMALL_DISK: &str = "ESKER_TEST_SMALL_DISK";

/// Runs itself again with a tmpfs of one megabyte, in a mount namespace of its own.
#[tokio::test]
async fn a_full_disk_is_its_own_error() {
    if let Some(disk) = std::env::var_os(SMALL_DISK) {
        return fill(std::path::Path::new(&disk)).await;
    }
    let disk = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=1m none "$0" || exit 77; exec "$1" --exact a_full_disk_is_its_own_error"#;
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .args([disk.path(), &std::env::current_exe().unwrap()])
        .env(SMALL_DISK, disk.path())
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        other => skipped(&format!("no mount namespace to be had here: {other:?}")),
    }
}

async fn fill(disk: &std::path::Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let big: Vec<u8> =
        std::iter::repeat_n(noise(), 30).flatten().enumerate().map(|(i, b)| b ^ (i >> 9) as u8).collect();
    let channel = TinyChannel::new().package(Pkg::new("big", "1.0").file("share/big", big));
    let written = channel.write(folder.path());
    let client = Client::new(Options { mirrors: vec![written.mirror()], ..Options::new(disk) }).expect("a client");
    let error = client.package(&written.locked("big", Subdir::Linux64)).await.expect_err("there is no room");
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_eq!(files_in(disk), [""; 0]);

    fs_err::write(disk.join("filler"), noise()).expect("room for this");
    while fs_err::OpenOptions::new()
        .append(true)
        .open(disk.join("filler"))
        .is_ok_and(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]).is_ok())
    {}
    let conda_forge = rattler_conda_types::Channel::from_url(
        "https://conda.anaconda.org/conda-forge".parse::<url::Url>().expect("a URL"),
    );
    let error =
        client.records(&[conda_forge], Subdir::Linux64, ["big".parse().expect("a name")]).await.expect_err("no room");
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
}
