//! Builds that take from a published image what has not changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod fake_registry;
#[path = "cache/hostile.rs"]
mod hostile;
#[path = "cache/left.rs"]
mod left;
#[path = "cache/registries.rs"]
mod registries;
#[path = "cache/taken.rs"]
mod taken;
#[path = "cache/world.rs"]
mod world;
