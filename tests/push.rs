//! Pushing: to a registry in this process that misbehaves, and to a real one where it is installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "push/chunks.rs"]
mod chunks;
#[path = "push/credentials.rs"]
mod credentials;
mod fake_registry;
#[path = "push/faults.rs"]
mod faults;
mod images;
#[path = "push/real.rs"]
mod real;
#[path = "push/referrers.rs"]
mod referrers;
#[path = "push/sent.rs"]
mod sent;
#[path = "push/setup.rs"]
mod setup;
