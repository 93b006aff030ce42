//! The stand-in for micromamba in the real channel does what images ask of it. What that is, and how it is tried, is in
//! `tests/real/test_micromamba.py`, beside what makes it.

use std::process::Command;

use crate::common::{Ran, skipped};

#[test]
fn the_package_is_the_same_bytes_when_it_is_made_again() {
    try_out("Made");
}

#[test]
fn it_makes_prefixes_on_this_machine() {
    try_out("Native");
}

#[test]
fn it_makes_prefixes_of_the_other_architecture() {
    try_out("Foreign");
}

/// Runs a group of the tests, which must pass; what it skips is counted here.
#[track_caller]
fn try_out(group: &str) {
    if std::env::var_os("ESKER_REAL").is_none() {
        skipped("`ESKER_REAL` does not name a folder with a real channel (`make real` makes one)");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/test_micromamba.py");
    let ran = Ran::new(Command::new("python3").args([script, group]).output().unwrap());
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    for why in ran.stdout.lines().filter_map(|line| line.strip_prefix("SKIPPED ")) {
        skipped(why);
    }
}
