//! The native engine, from locks to images, against a tiny channel.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking and says what it skips")]

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod interrupted;
mod layers;
mod prefix;
mod python;
mod reproducible;
mod world;
