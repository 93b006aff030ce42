//! Locking, from a channel over HTTP to files on disk.

mod common;

use common::{Pkg, TinyChannel};

#[test]
fn a_channel_is_the_same_every_time() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let channel = TinyChannel::standard()
        .package(Pkg::new("linked", "1").native().file("lib/a", "a").hard_link("lib/b", "lib/a"))
        .package(Pkg::new("climber", "1").native().hostile("../../escaped", "out"));
    let [first, second] = folders.each_ref().map(|folder| channel.write(folder.path()).records);
    assert_eq!(first, second);
}
