//! Why an image could not be built with the Docker engine.

use std::io;
use std::path::{Path, PathBuf};

use crate::build::native;
use crate::oci::{self, Platform};
use crate::{channel, docker, installed};

/// The error of [`build`](super::build).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine, the builder, or a step of a Dockerfile failed.
    #[error(transparent)]
    Docker(#[from] docker::Error),
    /// A file cannot be sent to the builder.
    #[error("cannot send `{}` to the builder", path.display())]
    Context {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What the engine gave back is no image, or not the one that was built.
    #[error("the engine's archive of `{image}` cannot be used: {reason}")]
    Saved {
        /// The image's name in the engine.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What the engine gives cannot be read to its end.
    #[error("cannot take `{image}` out of the engine")]
    Transfer {
        /// The image's name in the engine.
        image: String,
        /// Why not.
        source: io::Error,
    },
    /// The layout cannot be written, or the base not be read.
    #[error(transparent)]
    Layout(#[from] oci::Error),
    /// It cannot be told what is in the image that was built.
    #[error("cannot tell what is installed in `{image}`, for its SBOM")]
    Contents {
        /// The image.
        image: String,
        /// Why not.
        source: Box<installed::Error>,
    },
    /// The cache cannot be used.
    #[error(transparent)]
    Store(Box<native::Error>),
    /// There is no base for a platform.
    #[error("there is no base for {platform}")]
    NoBase {
        /// The platform.
        platform: Platform,
    },
    /// What is known of earlier builds cannot be kept.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Packages cannot be served to the builder.
    #[error("cannot serve packages to the builder")]
    Serve(#[source] io::Error),
    /// A package that the builder asked for cannot be had.
    #[error("a package that the build asked for cannot be had")]
    Package(#[source] channel::Error),
    /// A builder that is not here cannot see what is.
    #[error("the builder at `{builder}` cannot get the base `{base}`, which is in no registry")]
    LocalBase {
        /// The builder.
        builder: String,
        /// The base.
        base: String,
    },
    /// A builder that is not here cannot see images that were built.
    #[error("the builder at `{builder}` cannot get `{image}`, which it builds on: `{reference}` is not in a registry")]
    LocalParent {
        /// The builder.
        builder: String,
        /// The image that is built on.
        image: String,
        /// Where it would be.
        reference: String,
    },
}

impl From<native::Error> for Error {
    fn from(error: native::Error) -> Self {
        Self::Store(Box::new(error))
    }
}

impl Error {
    /// A wrapper for what went wrong with a file of the context.
    pub(super) fn context(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Context { path, source }
    }

    /// A wrapper for what went wrong with a file that is written.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
}
