//! The same image, wherever, whenever and however it is built.

use esker::oci::{Compression, Digest, Platform};

use crate::common::{Pkg, TinyChannel};
use crate::world::{Choices, World, contents, layers};

const PACKAGES: [&str; 3] = ["certs", "legacy", "libfoo"];

#[tokio::test]
async fn two_machines_agree() {
    let worlds = [World::new(&TinyChannel::standard()), World::new(&TinyChannel::standard())];
    for compression in [Compression::None, Compression::Gzip(6), Compression::Zstd(3)] {
        let mut digests = Vec::new();
        for (world, jobs) in worlds.iter().zip([1, 4]) {
            let name = compression.to_string();
            let choices = Choices { compression, jobs, output: name.clone(), cache: name, ..Choices::default() };
            digests.push(world.build(&PACKAGES, &choices).await.unwrap().digest);
        }
        assert_eq!(digests[0], digests[1], "{compression}");
    }
}

#[tokio::test]
async fn what_is_in_the_cache_does_not_matter() {
    let world = World::new(&TinyChannel::standard());
    let choices = |output: &str| Choices { output: output.into(), ..Choices::default() };
    let cold = world.build(&PACKAGES, &choices("cold")).await.unwrap();
    let warm = world.build(&PACKAGES, &choices("warm")).await.unwrap();
    let again = world.build(&PACKAGES, &choices("warm")).await.unwrap();
    assert_eq!((cold.digest, cold.digest), (warm.digest, again.digest));
    let reused = |built: &esker::build::Built| built.platforms.iter().map(|p| p.reused_layers).collect::<Vec<_>>();
    assert_eq!(reused(&warm), [1, 1], "only the base's layer was in the second layout");
    assert_eq!(reused(&again), [4, 4], "all but the last");
    // A part that rotted is noticed, and made anew by the next run.
    let mut parts = walkdir::WalkDir::new(world.path("caches/one/build/fragments")).into_iter().map(Result::unwrap);
    let part = parts.find(|entry| entry.file_type().is_file() && entry.path().extension().is_none()).unwrap();
    let mut bytes = std::fs::read(part.path()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(part.path(), bytes).unwrap();
    world.build(&PACKAGES, &choices("third")).await.unwrap_err();
    assert_eq!(world.build(&PACKAGES, &choices("third")).await.unwrap().digest, cold.digest);
}

/// A change of this digest means that every image anyone ever built comes out different: raise `store::FORMAT` and say so
/// in the changelog. (The compressors are pinned by `Cargo.lock`; without compression they are left out.)
#[tokio::test]
async fn the_bytes_are_what_they_have_always_been() {
    let package =
        Pkg::new("pinned", "1").text_prefix("bin/run", "#!{prefix}/bin/sh\n").symlink("lib/link", "../bin/run");
    let world = World::new(&TinyChannel::new().package(package));
    let choices = Choices { compression: Compression::None, ..Choices::default() };
    let built = world.build(&["pinned"], &choices).await.unwrap();
    let expected = [
        "db2beeaf7b486ca3c201bf6599f34160f797de6fc54bbde7aa396a2d6f2642ed",
        "0b8dcb022f24811d3757ec030b0729c6f81973519b987be5c00a3e52e0c19c02",
    ];
    let found = layers(&built, Platform::LinuxAmd64);
    assert_eq!(found.iter().map(Digest::hex).collect::<Vec<_>>(), expected);
    assert_eq!(found[0], layers(&built, Platform::LinuxArm64)[0]);
}

#[tokio::test]
async fn source_date_epoch_is_the_image_s_time() {
    let world = World::new(&TinyChannel::standard());
    let choices = Choices { source_date_epoch: Some(1_234_567_890), ..Choices::default() };
    let built = world.build(&["certs"], &choices).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    assert_eq!(contents["srv/start"].0.mtime, 1_234_567_890);
    assert_eq!(contents["srv/conda/envs/notebook/ssl/cacert.pem"].0.mtime, 1_700_000_000, "packages keep theirs");
}
