//! Records as channels really have them: gone, doubled, incomplete, or not to be understood.

#![allow(clippy::unwrap_used)]

use esker::lock::{Error, Lock, LockSpec, solve};
use esker::progress::Silent;
use rattler_conda_types::Subdir;

use super::common::{CONDA_FORGE, Pkg, TinyChannel};
use super::{Heard, World, versions, world};

fn on_linux_64(lock: &Lock) -> Vec<String> {
    versions(lock, Subdir::Linux64)
}

fn rewrite(world: &World, channel: &TinyChannel) {
    channel.write(world.folder.path().join("channel"));
}

fn file_of<'a>(lock: &'a Lock, name: &str) -> &'a str {
    lock.packages.iter().find(|package| package.name == name).unwrap().file_name()
}

#[tokio::test]
async fn what_vanished_is_replaced_and_said() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1")).package(Pkg::new("a", "2")));
    let lock = world.lock(&["a"]).await.unwrap();
    rewrite(&world, &TinyChannel::new().package(Pkg::new("a", "1")));
    let heard = Heard::default();
    let spec = LockSpec::of(&world.image(&["a"])).unwrap();
    let again = solve(&spec, Some(&lock), &world.client(), &heard).await.unwrap();
    assert_eq!(on_linux_64(&again), ["a=1"]);
    assert!(heard.all().iter().any(|line| line.contains("`a 2` is no longer offered")), "{:?}", heard.all());
}

#[tokio::test]
async fn of_twins_the_conda_file_is_taken_unless_the_other_is_locked() {
    let old = || Pkg::new("a", "1").tar_bz2();
    let world = world(&TinyChannel::new().package(old()));
    let lock = world.lock(&["a"]).await.unwrap();
    assert_eq!(file_of(&lock, "a"), "a-1-0.tar.bz2");
    rewrite(&world, &TinyChannel::new().package(old()).package(Pkg::new("a", "1")).package(Pkg::new("b", "1")));
    let kept = world.relock(&["a", "b"], Some(&lock)).await.unwrap();
    assert_eq!((file_of(&kept, "a"), file_of(&kept, "b")), ("a-1-0.tar.bz2", "b-1-0.conda"));
    assert_eq!(file_of(&world.lock(&["a"]).await.unwrap(), "a"), "a-1-0.conda");
    // The locked one is gone: its twin is the same package.
    rewrite(&world, &TinyChannel::new().package(Pkg::new("a", "1")).package(Pkg::new("a", "2")));
    let moved = world.relock(&["a"], Some(&lock)).await.unwrap();
    assert_eq!(file_of(&moved, "a"), "a-1-0.conda");
}

#[tokio::test]
async fn an_md5_alone_is_locked_and_no_hash_is_refused() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1").md5_only()).package(Pkg::new("b", "1").no_hash()));
    let lock = world.lock(&["a"]).await.unwrap();
    assert!(lock.packages[0].md5.is_some() && lock.packages[0].sha256.is_none());
    assert!(lock.to_conda_lock_yaml().contains("  hash:\n    md5: "));
    let error = world.lock(&["b"]).await.unwrap_err();
    assert!(
        matches!(&error, Error::NoHash { url } if url.as_str() == format!("{CONDA_FORGE}noarch/b-1-0.conda")),
        "{error:?}"
    );
}

#[tokio::test]
async fn track_features_weigh_a_variant_down() {
    let heavy = Pkg::new("a", "1").build("heavy_1", 1).track_features("heavy");
    let world = world(&TinyChannel::new().package(heavy).package(Pkg::new("a", "1").build("light_0", 0)));
    assert_eq!(file_of(&world.lock(&["a"]).await.unwrap(), "a"), "a-1-light_0.conda");
    assert_eq!(file_of(&world.lock(&["a=1=heavy*"]).await.unwrap(), "a"), "a-1-heavy_1.conda");
}

#[tokio::test]
async fn cycles_and_repeated_names_are_no_trouble() {
    let channel = TinyChannel::new()
        .package(Pkg::new("a", "1").depends("b >=1").depends("b <3").depends("b !=2"))
        .package(Pkg::new("b", "1").depends("a"))
        .package(Pkg::new("b", "2").depends("a"))
        .package(Pkg::new("b", "3").depends("a"));
    let world = world(&channel);
    let lock = world.lock(&["a"]).await.unwrap();
    assert_eq!(on_linux_64(&lock), ["a=1", "b=1"]);
    assert_eq!(lock.packages[0].dependencies["b"], "!=2,<3,>=1");
    assert_eq!(lock.explicit(Subdir::Linux64).lines().count(), 6);
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_is_named() {
    for nonsense in ["b >=>1", "b >=1,,<", "[[", "b[version=", "=1", ""] {
        let odd = Pkg::new("a", "2").depends(nonsense);
        let world = world(&TinyChannel::new().package(Pkg::new("a", "1")).package(odd).package(Pkg::new("b", "1")));
        let heard = Heard::default();
        let spec = LockSpec::of(&world.image(&["a"])).unwrap();
        let lock = solve(&spec, None, &world.client(), &heard).await.unwrap();
        assert_eq!(on_linux_64(&lock), ["a=1"], "{nonsense}");
        let said = |line: &String| line.contains("a-2-0.conda") && line.contains(&format!("`{nonsense}`"));
        assert!(heard.all().iter().any(said), "{nonsense}: {:?}", heard.all());

        let error = world.lock(&["a >=2"]).await.unwrap_err().to_string();
        assert!(error.contains("a 2") && error.contains(&format!("'{nonsense}'")), "{error}");
    }
}

#[tokio::test]
async fn a_machine_without_what_is_needed_has_no_solution() {
    let channel = TinyChannel::new()
        .package(Pkg::new("gpu", "1").depends("__cuda >=13"))
        .package(Pkg::new("windows", "1").depends("__win"))
        .package(Pkg::new("either", "1").build("win_0", 0).depends("__win"))
        .package(Pkg::new("either", "1").build("unix_0", 0).depends("__unix"));
    let world = world(&channel);
    for (package, missing) in [("gpu", "__cuda"), ("windows", "__win")] {
        let error = world.lock(&[package]).await.unwrap_err();
        let Error::Unsolvable { failures, .. } = &error else { panic!("{error:?}") };
        assert_eq!(failures.len(), 2);
        assert!(failures.iter().all(|failure| failure.explanation.contains(missing)), "{error}");
    }
    assert_eq!(file_of(&world.lock(&["either"]).await.unwrap(), "either"), "either-1-unix_0.conda");
}

#[tokio::test]
async fn a_package_may_be_there_twice() {
    let channel = || {
        TinyChannel::new()
            .package(Pkg::new("a", "1"))
            .package(Pkg::new("a", "1").subdirs(&["linux-64"]))
            .package(Pkg::new("b", "1").depends("a"))
    };
    let world = world(&channel());
    let lock = world.lock(&["b"]).await.unwrap();
    assert_eq!(on_linux_64(&lock), ["a=1", "b=1"]);
    assert_eq!(world.relock(&["b"], Some(&lock)).await.unwrap(), lock);
    // One channel under two names.
    let image = world.image_of(&format!("channels: [conda-forge, '{CONDA_FORGE}']\ndependencies: [b]\n"));
    let twice = solve(&LockSpec::of(&image).unwrap(), None, &world.client(), &Silent).await.unwrap();
    assert_eq!(twice.packages, lock.packages);
    // One file twice in a listing, with other content: the last one counts, as for every reader of JSON.
    let repodata = world.folder.path().join("channel/noarch/repodata.json");
    let text = fs_err::read_to_string(&repodata).unwrap();
    let record = r#""b-1-0.conda":{"#;
    let first = r#""b-1-0.conda":{"name":"b","version":"1","build":"0","build_number":0,"depends":["nothing"],"subdir":"noarch"},"#;
    fs_err::write(&repodata, text.replacen(record, &format!("{first}{record}"), 1)).unwrap();
    let doubled = world.lock(&["b"]).await;
    assert!(
        matches!(&doubled, Ok(found) if *found == lock) || matches!(doubled, Err(Error::Solver { .. })),
        "{doubled:?}"
    );
}

#[tokio::test]
async fn a_record_without_a_time_is_as_good_as_others() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1")).package(Pkg::new("a", "2").timestamp_ms(None)));
    assert_eq!(on_linux_64(&world.lock(&["a"]).await.unwrap()), ["a=2"]);
}
