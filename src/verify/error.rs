//! Why an image could not be verified. That a check failed is no error but a [`Report`](super::Report).

use std::io;
use std::path::PathBuf;

use super::runtime;
use crate::oci;
use crate::oci::Platform;

/// Why an image could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image cannot be read from its layout.
    #[error(transparent)]
    Image(#[from] oci::Error),
    /// The image cannot be run on this machine, though its platform could.
    #[error("cannot run the image for {platform}")]
    Runtime {
        /// The platform.
        platform: Platform,
        /// The reason.
        source: runtime::Error,
    },
    /// A check that was chosen does not exist.
    #[error("there is no check `{given}`{}", did_you_mean(.similar.as_deref()))]
    UnknownCheck {
        /// What was asked for.
        given: String,
        /// The most similar name, if one is similar.
        similar: Option<String>,
    },
    /// A template of a report is wrong.
    #[error("template `{name}` cannot be rendered")]
    Template {
        /// The template.
        name: &'static str,
        /// The reason.
        source: Box<minijinja::Error>,
    },
    /// The project's own tests of the image cannot be read.
    #[error("cannot read `{path}`")]
    Tests {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// `packages.txt`, a log or a report cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

fn did_you_mean(similar: Option<&str>) -> String {
    similar.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default()
}
