//! Runs what was built, to prove it.
