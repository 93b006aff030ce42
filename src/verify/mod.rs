//! Runs what was built, to prove it.

pub mod runtime;
