//! `base-lock.yml`: the digests of the base systems that a project's images were last built on.
//!
//! It lies at the project's root, next to the locks, and is meant to be committed: with it, another machine builds on
//! the same bytes though the tag of the base moved on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::base::BaseImage;
use crate::oci::{self, Digest, Platform, layout};
use crate::project::Place;

/// The file's name.
pub const FILE: &str = "base-lock.yml";

const HEADER: &str = "\
# The base systems that images of this project are built on. Written by esker; commit it.
# `esker build --update-base` records what the bases are now.
";

/// The pins of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    path: PathBuf,
    bases: BTreeMap<String, Pin>,
}

/// What is known of one base.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Digest of the image index, of the manifest where there is none, or of a root file system's file.
    pub digest: Digest,
    /// Digest of the manifest of each platform that was used.
    #[serde(default)]
    pub platforms: BTreeMap<Platform, Digest>,
}

/// Why the pins cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file exists and cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what esker writes.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// The file is of a later esker.
    #[error("`{path}` has version {found}; this esker knows version {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file cannot be written.
    #[error("cannot write the pins of bases")]
    Write {
        /// Why not.
        source: oci::Error,
    },
}

const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    #[serde(default)]
    bases: BTreeMap<String, Pin>,
}

impl Pins {
    /// Reads the pins of the project at `root`; there are none where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub fn load(root: &Path) -> Result<Self, Error> {
        let path = root.join(FILE);
        let text = match fs_err::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, bases: BTreeMap::new() });
            }
            Err(source) => return Err(Error::Read { path, source }),
        };
        let contents: Contents = serde_saphyr::from_str(&text).map_err(|error| invalid(&path, &error))?;
        if contents.version != VERSION {
            return Err(Error::Version { path, found: contents.version });
        }
        Ok(Self { path, bases: contents.bases })
    }

    /// The pin of the base that is written as `reference`.
    pub fn get(&self, reference: &str) -> Option<&Pin> {
        self.bases.get(reference)
    }

    /// Records what `base` is. What was known of it for other platforms stays only if its digest is the same.
    pub fn record(&mut self, base: &BaseImage) {
        let fresh = Pin { digest: base.source_digest, platforms: BTreeMap::new() };
        let pin = self.bases.entry(base.reference.clone()).or_insert_with(|| fresh.clone());
        if pin.digest != base.source_digest {
            *pin = fresh;
        }
        pin.platforms.insert(base.platform, base.manifest_digest);
    }

    /// Writes the file, unless it says the same already.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self) -> Result<(), Error> {
        let text = self.text();
        if fs_err::read_to_string(&self.path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        layout::write_atomically(&self.path, text.as_bytes()).map_err(|source| Error::Write { source })
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADER}version: {VERSION}\nbases:\n");
        for (reference, pin) in &self.bases {
            // A JSON string is a YAML string, whatever is in it.
            let reference = serde_json::Value::from(reference.as_str());
            let _infallible = write!(text, "  {reference}:\n    digest: {}\n    platforms:\n", pin.digest);
            for (platform, digest) in &pin.platforms {
                let _infallible = writeln!(text, "      {platform}: {digest}");
            }
        }
        if self.bases.is_empty() { text.replace("bases:\n", "bases: {}\n") } else { text }
    }
}

fn invalid(path: &Path, error: &serde_saphyr::Error) -> Error {
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    let (line, column) = error.location().map_or((1, 1), |at| (number(at.line()), number(at.column())));
    let message = error.without_snippet().to_string();
    // The place comes first here, where editors and people look for it.
    let message = message.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(&message).to_owned();
    Error::Invalid { place: Place { file: path.to_owned(), line, column }, message }
}
