//! Verify, with real containers: the embedded runner as root and as an ordinary user, and the Docker engine.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod docker;
mod embedded;
mod fake_jupyter;
#[path = "../common/judges.rs"]
#[allow(dead_code, reason = "others use the rest")]
mod judges;
mod layers;
mod model;
mod podman;
#[path = "../common/python.rs"]
mod python;
mod reports;
mod running;
#[path = "../common/skip.rs"]
mod skip;
mod tiny;
mod warm;
