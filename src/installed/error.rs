//! Why it cannot be told what is installed in an image.

use crate::oci::{self, Digest};
use crate::registry;

/// The error of everything in [`crate::installed`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be pulled.
    #[error("cannot pull `{image}`")]
    Registry {
        /// The image, as written.
        image: String,
        /// Why not.
        source: registry::Error,
    },
    /// The image, or a record in it, is not valid.
    #[error("cannot read `{image}`")]
    Image {
        /// The image, as written.
        image: String,
        /// What is wrong with it.
        source: oci::Error,
    },
    /// What the registry sends is not valid.
    #[error("cannot read what was pulled of `{image}`")]
    Pulled {
        /// The image, as written.
        image: String,
        /// What is wrong with it.
        source: oci::Error,
    },
    /// A layer is not in the layout, and cannot be had where it was left.
    #[error("`{image}` lacks the layer {layer}, which was left in a registry")]
    Left {
        /// The image, as written.
        image: String,
        /// Its layer.
        layer: Digest,
        /// Why the registry that was asked last does not give it.
        source: Box<Error>,
    },
    /// It has no image that esker knows the platform of.
    #[error("`{image}` has no image for a known platform, only for {}", list(.has))]
    NoPlatform {
        /// The image, as written.
        image: String,
        /// The platforms it has.
        has: Vec<String>,
    },
    /// There is no record of a conda package in it.
    #[error("`{image}` has no conda packages: there is no `conda-meta` in it")]
    NoPackages {
        /// The image, as written.
        image: String,
    },
    /// It would have to be pulled.
    #[error("`{image}` cannot be read offline")]
    Offline {
        /// The image, as written.
        image: String,
    },
}

/// A result of this module.
pub type Result<T> = std::result::Result<T, Error>;

fn list(platforms: &[String]) -> String {
    if platforms.is_empty() { "none".to_owned() } else { platforms.join(", ") }
}
