//! The native engine, from locks to images, against a tiny channel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod native;

use common::TinyChannel;
use esker::oci::Platform;
use native::{Choices, World, contents, text};

const PLAIN: [&str; 3] = ["certs", "legacy", "libfoo"];

#[tokio::test]
async fn packages_become_an_image() {
    let world = World::new(&TinyChannel::standard());
    let built = world.build(&PLAIN, &Choices::default()).await.unwrap();
    for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
        let contents = contents(&built, platform);
        for path in contents.keys() {
            println!("{path}");
        }
        assert_eq!(text(&contents, "ssl/cacert.pem"), "pretend\n");
    }
}
