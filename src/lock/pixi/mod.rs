//! pixi's lock, through the crate that pixi itself reads and writes it with.

mod read;
mod write;

pub(super) use read::parse;

/// pixi's name for the environment of a project that has one.
const ENVIRONMENT: &str = "default";
