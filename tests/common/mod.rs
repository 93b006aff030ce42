//! Real parts for tests, made in milliseconds: a conda channel on disk and a server to fetch it from.
//!
//! ```no_run
//! mod common;
//! use common::{CONDA_FORGE, Fault, Pkg, Server, TinyChannel};
//!
//! let channel = TinyChannel::new()
//!     .package(Pkg::new("libfoo", "2.1").native().text_prefix("etc/foo.conf", "root={prefix}\n"))
//!     .package(Pkg::new("foo", "1.0").noarch_python().depends("libfoo >=2").file("site-packages/foo.py", ""))
//!     .write(dir);
//! let server = Server::start(dir);                      // http://127.0.0.1:PORT/linux-64/repodata.json …
//! server.inject("libfoo-2.1-0.conda", Fault::Status(500), 2);
//! let mirror = server.mirror();                         // conda-forge's canonical URL → this server
//! let lock = channel.lock(&["foo", "libfoo"]);          // a lock without a solve, canonical URLs, both arches
//! ```
//!
//! Each file in `tests/` that says `mod common;` compiles its own copy and uses part of it.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod archive;
mod built;
mod channel;
mod forms;
pub mod judges;
mod package;
mod puzzle;
pub mod pypi;
pub mod python;
mod sandbox;
pub mod sbom;
mod server;
mod skip;

pub use built::Built;
pub use channel::{CONDA_FORGE, TinyChannel, Written};
pub use forms::{compress, shard};
pub use package::{PLACEHOLDER, Pkg};
pub use puzzle::endless_puzzle;
pub use sandbox::{Ran, Sandbox, tree};
pub use server::{Fault, Server};
pub use skip::skipped;
