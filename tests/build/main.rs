//! The native engine, from locks to images, against a tiny channel.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod hostile;
mod interrupted;
mod layers;
mod prefix;
mod python;
mod reproducible;
mod wheels;
mod world;
