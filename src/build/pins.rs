//! `base-lock.yml`: the digests of the base systems that a project's images were last built on.
//!
//! It lies at the project's root, next to the locks, and is meant to be committed: with it, another machine builds on
//! the same bytes though the tag of the base moved on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::base::{BaseImage, packages};
use crate::apt::LockedDeb;
use crate::oci::{self, Digest, Platform, layout};
use crate::project::{BaseReference, Place, Snapshot};

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
    /// What a base is made of that is made of Debian packages.
    #[serde(default)]
    pub debian: Option<DebianPin>,
}

/// The packages that a base is made of.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "DebianContents")]
pub struct DebianPin {
    /// The time of the archive they come from.
    pub snapshot: Snapshot,
    /// The packages of each platform, by name.
    pub packages: BTreeMap<Platform, Vec<LockedDeb>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DebianContents {
    snapshot: String,
    packages: BTreeMap<Platform, Vec<LockedDeb>>,
}

impl TryFrom<DebianContents> for DebianPin {
    type Error = String;

    fn try_from(contents: DebianContents) -> Result<Self, String> {
        let snapshot = contents.snapshot.parse();
        let snapshot = snapshot.map_err(|fault| format!("the snapshot `{}`: {fault}", contents.snapshot))?;
        for (platform, packages) in &contents.packages {
            for deb in packages {
                deb.check(*platform).map_err(|fault| format!("`{}` of {platform}: {fault}", deb.name))?;
            }
        }
        Ok(Self { snapshot, packages: contents.packages })
    }
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

    /// `source`, unless it is a Debian that the project has pinned as Docker Hub's image of the same name: what is pinned
    /// stays until somebody asks for another.
    pub fn kept<'a>(&self, source: &'a BaseReference) -> Cow<'a, BaseReference> {
        let BaseReference::Debian(release) = source else { return Cow::Borrowed(source) };
        let image = release.docker_hub();
        let is_image = release.snapshot.is_none() && self.get(&release.to_string()).is_none();
        match BaseReference::parse(&image) {
            Ok(kept) if is_image && self.get(&image).is_some() => Cow::Owned(kept),
            _ => Cow::Borrowed(source),
        }
    }

    /// Records what `base` is. What was known of it for other platforms stays only if its digest is the same.
    pub fn record(&mut self, base: &BaseImage) {
        let fresh = Pin { digest: base.source_digest, platforms: BTreeMap::new(), debian: None };
        let pin = self.bases.entry(base.reference.clone()).or_insert_with(|| fresh.clone());
        if pin.digest != base.source_digest {
            *pin = fresh;
        }
        pin.platforms.insert(base.platform, base.manifest_digest);
    }

    /// Records which packages of the archive of `snapshot` the base that is written as `reference` is made of. Those of
    /// other platforms stay only if they are of the same archive.
    pub fn lock(&mut self, reference: &str, snapshot: &Snapshot, platform: Platform, packages: &[LockedDeb]) {
        let digest = packages::source_digest(reference, snapshot);
        let debian = DebianPin { snapshot: snapshot.clone(), packages: BTreeMap::new() };
        let fresh = Pin { digest, platforms: BTreeMap::new(), debian: Some(debian) };
        let pin = self.bases.entry(reference.to_owned()).or_insert_with(|| fresh.clone());
        if pin.digest != digest || pin.debian.is_none() {
            *pin = fresh;
        }
        pin.debian.iter_mut().for_each(|debian| drop(debian.packages.insert(platform, packages.to_vec())));
    }

    /// Writes the file, unless it says the same already; returns it if it was written.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self) -> Result<Option<PathBuf>, Error> {
        let text = self.text();
        if fs_err::read_to_string(&self.path).is_ok_and(|old| old == text) {
            return Ok(None);
        }
        layout::write_atomically(&self.path, text.as_bytes()).map_err(|source| Error::Write { source })?;
        Ok(Some(self.path.clone()))
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADER}version: {VERSION}\nbases:\n");
        for (reference, pin) in &self.bases {
            // A JSON string is a YAML string, whatever is in it.
            let reference = serde_json::Value::from(reference.as_str());
            let platforms = if pin.platforms.is_empty() { " {}" } else { "" };
            let _infallible = write!(text, "  {reference}:\n    digest: {}\n    platforms:{platforms}\n", pin.digest);
            for (platform, digest) in &pin.platforms {
                let _infallible = writeln!(text, "      {platform}: {digest}");
            }
            let Some(debian) = &pin.debian else { continue };
            let _infallible = write!(text, "    debian:\n      snapshot: \"{}\"\n      packages:\n", debian.snapshot);
            for (platform, packages) in &debian.packages {
                let _infallible = writeln!(text, "        {platform}:");
                packages.iter().for_each(|deb| text.push_str(&deb.yaml("          ")));
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
