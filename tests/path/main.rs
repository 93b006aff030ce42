//! The whole path with real packages: locked, built, verified, and judged by programs that nobody here wrote.
//!
//! `ESKER_REAL` names the folder with the real channel and base system (`make real` makes it, `make test` names it).
//! Without it these tests are skipped.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod dockerfiles;
mod hub;
mod judges;
mod made;
mod micromamba;
mod real;
mod reproducible;
mod start;
mod verified;
