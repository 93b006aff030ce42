//! Every form in which a channel may tell its records, fetched anew and from the cache.

#![allow(clippy::unwrap_used)]

use esker::channel::{Client, Options};
use esker::lock::{LockSpec, solve};
use esker::progress::Silent;
use rattler_conda_types::Subdir;

use super::common::{Fault, Pkg, TinyChannel, compress, shard};
use super::{World, versions, world};

const ALL: [&str; 3] = ["hello=1.0", "libfoo=2.1", "python=3.12.1"];

/// A world whose channel has its records in this form only, but for the plain one that all channels have.
fn world_with(form: &str) -> World {
    let world = world(&TinyChannel::standard());
    let channel = world.folder.path().join("channel");
    match form {
        "repodata.json.zst" => compress(&channel),
        "repodata_shards.msgpack.zst" => shard(&channel),
        _ => {}
    }
    world
}

#[tokio::test]
async fn all_forms_give_one_lock_cold_and_warm() {
    let mut locks = Vec::new();
    for form in ["repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst"] {
        let world = world_with(form);
        let cold = world.lock(&["hello"]).await.unwrap();
        assert_eq!(versions(&cold, Subdir::LinuxAarch64), ALL);
        let asked = world.server.requests();
        assert_eq!(world.server.gets("/repodata.json") > 0, form == "repodata.json", "{form}: {asked:?}");
        assert_eq!(world.server.gets(&format!("/noarch/{form}")), 1, "{form}: {asked:?}");

        assert_eq!(world.lock(&["hello"]).await.unwrap(), cold, "{form}");
        let again = world.server.requests()[asked.len()..].to_vec();
        assert!(again.iter().all(|line| !line.contains("/shards/")), "{form}: {again:?}");
        // One question a subdir says that nothing changed; and two whether there is a better form than the plain one.
        let most = if form.contains("shards") { 3 } else { 9 };
        assert!(again.len() <= most, "{form}: {again:?}");
        locks.push(cold);
    }
    assert!(locks.iter().all(|lock| *lock == locks[0]));
}

#[tokio::test]
async fn shards_are_fetched_for_what_is_asked_and_needed_only() {
    let world = world_with("repodata_shards.msgpack.zst");
    world.lock(&["hello"]).await.unwrap();
    let shards = world.server.requests().iter().filter(|line| line.contains("/shards/")).count();
    assert_eq!(
        shards,
        5,
        "hello, and python and libfoo for two subdirs, not certs or legacy: {:?}",
        world.server.requests()
    );
}

#[tokio::test]
async fn shards_are_read_offline() {
    let world = world_with("repodata_shards.msgpack.zst");
    let online = world.lock(&["hello"]).await.unwrap();
    let asked = world.server.requests().len();
    let cache = world.folder.path().join("cache");
    let options = Options { mirrors: vec![world.server.mirror()], offline: true, ..Options::new(cache) };
    let client = Client::new(options).unwrap();
    let spec = LockSpec::of(&world.image(&["hello"])).unwrap();
    assert_eq!(solve(&spec, None, &client, &Silent).await.unwrap(), online);
    let other = LockSpec::of(&world.image(&["certs"])).unwrap();
    let error = solve(&other, None, &client, &Silent).await.unwrap_err();
    assert!(matches!(error, esker::lock::Error::Fetch(esker::channel::Error::Offline { .. })), "{error:?}");
    assert_eq!(world.server.requests().len(), asked);
}

#[tokio::test]
async fn a_shard_that_is_not_what_its_index_says_is_refused() {
    let world = world_with("repodata_shards.msgpack.zst");
    world.server.inject(".msgpack.zst", Fault::Corrupt, usize::MAX);
    let error = world.lock(&["hello"]).await.unwrap_err();
    assert!(matches!(error, esker::lock::Error::Fetch(esker::channel::Error::Repodata { .. })), "{error:?}");
    world.server.inject(".msgpack.zst", Fault::Status(500), 2);
    assert_eq!(versions(&world.lock(&["hello"]).await.unwrap(), Subdir::Linux64), ALL);
}

#[tokio::test]
async fn new_records_are_seen_at_once() {
    for form in ["repodata.json", "repodata.json.zst", "repodata_shards.msgpack.zst"] {
        let world = world_with(form);
        world.lock(&["certs"]).await.unwrap();
        let channel = world.folder.path().join("channel");
        TinyChannel::standard().package(Pkg::new("certs", "2025.1")).write(&channel);
        match form {
            "repodata.json.zst" => compress(&channel),
            "repodata_shards.msgpack.zst" => shard(&channel),
            _ => {}
        }
        assert_eq!(versions(&world.lock(&["certs"]).await.unwrap(), Subdir::Linux64), ["certs=2025.1"], "{form}");
    }
}
