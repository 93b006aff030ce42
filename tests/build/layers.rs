//! Which layers change, and which are shared.

use std::collections::BTreeSet;

use esker::build::native::Error;
use esker::oci::{Digest, Platform};

use crate::common::{Pkg, TinyChannel};
use crate::world::{Choices, World, layers};

fn channel(changed: &str) -> TinyChannel {
    let noarch = |name: &str, content: &str| Pkg::new(name, "1").file(&format!("share/{name}"), content);
    TinyChannel::new()
        .package(noarch("data", "data"))
        .package(noarch("more", "more"))
        .package(Pkg::new("lib", "1").native().file("lib/lib.so", "for {subdir}"))
        .package(Pkg::new("tool", "1").native().file("bin/tool", changed))
        .package(Pkg::new("big", "1").native().file("lib/big.so", noise(200_000)))
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(1u32), next).map(|state| state.to_be_bytes()[0]).take(size).collect()
}

const ALL: [&str; 5] = ["big", "data", "lib", "more", "tool"];

#[tokio::test]
async fn noarch_layers_are_the_same_for_both_architectures() {
    let world = World::new(&channel("one"));
    let built = world.build(&ALL, &Choices { layers: 3, ..Choices::default() }).await.unwrap();
    let [amd64, arm64] = [Platform::LinuxAmd64, Platform::LinuxArm64].map(|platform| layers(&built, platform));
    assert_eq!(amd64.len(), 4, "one of its own, noarch, the rest, the last");
    assert_eq!(amd64[1], arm64[1], "noarch");
    assert_ne!(amd64[2], arm64[2], "the rest");
}

#[tokio::test]
async fn one_changed_package_changes_its_layer_only() {
    let changed = |layers: usize| async move {
        let mut all: Vec<BTreeSet<Digest>> = Vec::new();
        for content in ["one", "two"] {
            let world = World::new(&channel(content));
            let choices = Choices { layers, source_date_epoch: Some(1_700_000_000), ..Choices::default() };
            let built = world.build(&ALL, &choices).await.unwrap();
            all.push(self::layers(&built, Platform::LinuxAmd64).into_iter().collect());
        }
        all[0].difference(&all[1]).count()
    };
    assert_eq!(changed(20).await, 1, "a layer for each package");
    assert_eq!(changed(3).await, 1, "the shared layer");
    assert_eq!(changed(1).await, 1, "the only layer");
}

#[tokio::test]
async fn a_child_shares_the_blobs_of_its_parent_s_layers() {
    let world = World::new(&channel("one"));
    let choices = |output: &str, layers: usize| Choices { output: output.into(), layers, ..Choices::default() };
    let parent = world.build(&["data", "lib", "more"], &choices("parent", 2)).await.unwrap();
    let parent: BTreeSet<Digest> = layers(&parent, Platform::LinuxAmd64).into_iter().collect();
    let shared = |parents: Vec<(esker::lock::Lock, usize)>| {
        let (world, parent) = (&world, &parent);
        async move {
            let choices = Choices { parents, ..choices("child", 6) };
            let child = world.build(&ALL, &choices).await.unwrap();
            layers(&child, Platform::LinuxAmd64).iter().filter(|digest| parent.contains(digest)).count()
        }
    };
    let lock = world.channel.lock(&["data", "lib", "more"]);
    let mut only_arm64 = lock.clone();
    only_arm64.subdirs = vec![rattler_conda_types::Subdir::LinuxAarch64];
    let both = parent.len() - 1;
    assert_eq!(shared(vec![(lock, 2)]).await, both, "all but the last layer");
    assert!(shared(vec![]).await < both && shared(vec![(only_arm64, 2)]).await < both);
}

#[tokio::test]
async fn a_base_that_is_full_or_missing() {
    let mut world = World::new(&channel("one"));
    let base = world.bases.get_mut(&Platform::LinuxAmd64).unwrap();
    base.layers = vec![base.layers[0].clone(); 119];
    let error = world.build(&ALL, &Choices::default()).await.unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { base: 119, .. }), "{error}");
    world.bases.remove(&Platform::LinuxAmd64);
    let error = world.build(&ALL, &Choices::default()).await.unwrap_err();
    assert!(matches!(error, Error::NoBase { platform: Platform::LinuxAmd64 }), "{error}");
}

#[tokio::test]
async fn a_lock_without_the_platform() {
    let world = World::new(&channel("one"));
    let mut lock = world.channel.lock(&ALL);
    lock.subdirs.pop();
    lock.packages.retain(|package| package.subdir == lock.subdirs[0]);
    let error = world.build_lock(&lock, &Choices::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "the lock of `/srv/conda/envs/notebook` has no packages for linux-aarch64");
}
