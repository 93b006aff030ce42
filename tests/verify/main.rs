//! Verify, with real containers: the embedded runner as root and as an ordinary user, and the Docker engine.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and says what it skips")]

mod docker;
mod embedded;
mod fake_jupyter;
mod layers;
mod model;
mod running;
mod tiny;
