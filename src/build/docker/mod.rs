//! Images from Dockerfiles, built by the Docker engine or a BuildKit daemon, and put together as the native engine's
//! are.
//!
//! ```text
//! Context ─► engine or daemon ─► archive ─► Saved ─► EngineImage ─► image
//! (files)    (one platform)                 (normal   (normal       (index of
//!                                            layers)   settings)     platforms)
//! ```
//!
//! Builders stamp what they make with the time and the machine. What comes out of them is made [`normal`] before it is
//! an image, so that a build that did the same gives the same digest, and it is taken out only once ([`known`]). Bases
//! come from esker ([`base`]), packages too where the engine is here ([`mirror`]). What is in an image, whatever installed
//! it, is told beside it ([`attach`]).

mod attach;
mod base;
mod context;
mod error;
mod ignore;
mod image;
mod known;
mod locked;
mod mirror;
mod needed;
mod normal;
mod saved;
mod statement;
mod work;

use std::collections::BTreeMap;
use std::path::Path;

pub use context::{Context, ContextFile};
pub use error::Error;
pub use ignore::Ignore;
pub use needed::images as images_of;
use work::Work;

use super::Built;
use super::base::BaseImage;
use crate::apt::AptLock;
use crate::channel::Client;
use crate::docker::{Builder, BuildkitDaemon, DaemonAddress, Engine, Login};
use crate::lock::LockedPackage;
use crate::oci::{Compression, Platform};
use crate::progress::Progress;

/// The build argument for what the lowest image is built on.
pub const BASE: &str = "BASE";
/// The build argument for the image of the project that an image is built on.
pub const BASE_IMAGE: &str = "BASE_IMAGE";
/// The build argument for what stands for `https:/` in the URLs of locked packages.
pub const PACKAGE_MIRROR: &str = "PACKAGE_MIRROR";

/// An image to be built.
pub struct Request<'a> {
    /// What the image is called.
    pub image: &'a str,
    /// How it is built, and before it what it is built on.
    pub recipes: Vec<Recipe<'a>>,
    /// For which platforms, in the order they are listed in the index.
    pub platforms: &'a [Platform],
    /// The base system of each platform.
    pub bases: &'a BTreeMap<Platform, BaseImage>,
    /// Packages that builds may ask for.
    pub packages: Vec<&'a LockedPackage>,
    /// Debian packages that they may install.
    pub debian: Vec<AptLock>,
    /// How layers are compressed.
    pub compression: Compression,
    /// The time that the image carries, in seconds since 1970; by default that of its base.
    pub source_date_epoch: Option<u64>,
    /// Where bases are kept.
    pub cache_dir: &'a Path,
    /// The project's folder.
    pub project: &'a Path,
    /// Where the project's images and notes are.
    pub state_dir: &'a Path,
    /// Whether every step is made anew.
    pub no_cache: bool,
    /// Who builds.
    pub builder: BuilderChoice<'a>,
    /// What builders show registries that they pull from.
    pub logins: Vec<Login>,
    /// Whether SBOMs and provenance are put beside the image.
    pub sbom: bool,
}

/// Who builds.
#[derive(Clone, Copy, Debug)]
pub enum BuilderChoice<'a> {
    /// The Docker engine, by one of its builders.
    Engine(&'a Engine, Builder),
    /// A BuildKit daemon, which sees nothing of this machine.
    Daemon {
        /// Where it is.
        address: &'a DaemonAddress,
        /// What the image is built on, if it is another image: a reference with a digest.
        parent: Option<&'a str>,
    },
}

/// How one image is built.
pub struct Recipe<'a> {
    /// What the image is called.
    pub name: &'a str,
    /// Its Dockerfile and what that is built with.
    pub context: Context,
    /// Its own build arguments.
    pub args: BTreeMap<String, String>,
}

/// Builds the image into the OCI layout at `layout`, which is made when needed.
///
/// # Errors
/// See [`Error`].
pub async fn build(
    request: &Request<'_>,
    client: &Client,
    layout: &Path,
    progress: &dyn Progress,
) -> Result<Built, Error> {
    match request.builder {
        BuilderChoice::Engine(engine, builder) => {
            Work::new(request, layout, progress)?.with_engine(engine, builder, client).await
        }
        BuilderChoice::Daemon { address, parent } => {
            let daemon = BuildkitDaemon::connect(address).await?;
            Work::new(request, layout, progress)?.with_daemon(&daemon, parent).await
        }
    }
}
