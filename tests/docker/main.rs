//! `esker build --engine docker` on the engine of this machine, as a user gets it. Skipped, loudly, where none answers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bases;
mod builds;
#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod dockerd;
mod documents;
mod exported;
mod hosts;
mod interrupted;
mod logins;
mod project;
#[path = "../fake_registry/real.rs"]
mod registry;
