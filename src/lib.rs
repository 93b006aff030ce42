//! esker turns a folder of conda environments into notebook images that come out the same, byte for byte, every time.
//!
//! ```text
//! Project ─► ImageSpec ─► LockSpec ─► Lock ─► LayerPlan ──► native ──► Built ─verify─► Verified
//! (folder)   (merged)     (request)  (pins)   (layers)                (OCI layout)   (digest)
//! ```
//!
//! Each arrow is one function that takes the previous value by reference and returns a new one. The direction of
//! imports is **`cli` → stages → values**; see `ARCHITECTURE.md` for the map.

pub mod apt;
pub mod build;
pub mod cache;
pub mod channel;
pub mod cli;
pub mod docker;
pub mod git;
pub mod installed;
pub mod lock;
pub mod oci;
pub mod pipeline;
pub mod progress;
pub mod project;
pub mod registry;
pub mod render;
pub mod settings;
pub mod supply;
pub mod verify;

/// What tests of the library and those in `tests/` say alike when they cannot run.
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
