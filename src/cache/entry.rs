//! What lies in the cache: entries by kind, with their size and when they were last used.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use walkdir::WalkDir;

use super::{Cache, Error};

/// A folder of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Packages as they were downloaded, `packages/HASH/FILE`.
    Packages,
    /// Packages as parts of layers, with what is known of each beside it.
    Fragments,
    /// What is known of layers that were made.
    Layers,
    /// What the packages of an environment are to each other.
    Plans,
    /// What is known of base systems.
    Bases,
    /// Which documents are beside an image.
    Documents,
    /// Pythons that compile byte code, laid out.
    Pythons,
    /// Layers and documents of base systems, by digest.
    Blobs,
    /// Channels' lists of packages.
    Repodata,
    /// What wheels say of themselves.
    WheelMetadata,
    /// What is known of root file systems that bases are made of.
    Rootfs,
    /// Digests of files that did not change since.
    Seen,
    /// Packages unpacked to read their lists.
    Extracted,
    /// Programs that are lent to images for their tests.
    Tools,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Packages,
        Self::Fragments,
        Self::Layers,
        Self::Plans,
        Self::Bases,
        Self::Documents,
        Self::Pythons,
        Self::Blobs,
        Self::Repodata,
        Self::WheelMetadata,
        Self::Rootfs,
        Self::Seen,
        Self::Extracted,
        Self::Tools,
    ];

    /// The folder's name.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Packages => "packages",
            Self::Fragments => "fragments",
            Self::Layers => "layers",
            Self::Plans => "plans",
            Self::Bases => "bases",
            Self::Documents => "documents",
            Self::Pythons => "pythons",
            Self::Blobs => "blobs",
            Self::Repodata => "repodata",
            Self::WheelMetadata => "wheel-metadata",
            Self::Rootfs => "rootfs",
            Self::Seen => "seen",
            Self::Extracted => "extracted",
            Self::Tools => "tools",
        }
    }

    /// How long what is kept of it spares the next build: a package is only needed where its fragment is not there, and
    /// without a note a layer that is there is written again.
    pub(super) const fn worth(self) -> u8 {
        match self {
            Self::Extracted | Self::Packages => 0,
            Self::Blobs | Self::Repodata | Self::Tools => 1,
            Self::Fragments | Self::Pythons => 2,
            Self::Layers | Self::Plans | Self::Bases | Self::Documents => 3,
            Self::WheelMetadata | Self::Rootfs | Self::Seen => 3,
        }
    }

    /// Whether runs mark the entries that they rely on. The others go only when nobody uses the cache.
    pub(super) const fn is_marked(self) -> bool {
        !matches!(
            self,
            Self::Blobs
                | Self::Repodata
                | Self::WheelMetadata
                | Self::Rootfs
                | Self::Seen
                | Self::Extracted
                | Self::Tools
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

/// What is kept or goes as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its name: usually a hash.
    pub name: String,
    /// Its files and folders. What says that the entry is there comes first.
    pub paths: Vec<PathBuf>,
    /// Bytes of all its files.
    pub size: u64,
    /// When it was last written or used.
    pub used: SystemTime,
}

impl Cache {
    /// Everything in the cache, by kind and name. What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let folder = self.root.join(kind.folder());
            let tops = match kind {
                Kind::Packages
                | Kind::Repodata
                | Kind::WheelMetadata
                | Kind::Rootfs
                | Kind::Seen
                | Kind::Extracted
                | Kind::Tools => children(&folder)?,
                Kind::Blobs => children(&folder.join("sha256"))?,
                _ => {
                    let mut inner = Vec::new();
                    for shelf in children(&folder)? {
                        inner.extend(children(&shelf)?);
                    }
                    inner
                }
            };
            let mut named: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
            for path in tops {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_known = name.strip_suffix(".json").filter(|_| kind.is_marked()).map(str::to_owned);
                let paths = named.entry(is_known.clone().unwrap_or(name)).or_default();
                // What is known of it says that it is there.
                paths.insert(if is_known.is_some() { 0 } else { paths.len() }, path);
            }
            all.extend(named.into_iter().filter_map(|(name, paths)| Entry::of(kind, name, paths)));
        }
        Ok(all)
    }
}

impl Entry {
    /// `None` if nothing is left of it.
    fn of(kind: Kind, name: String, paths: Vec<PathBuf>) -> Option<Self> {
        let mut size = 0;
        let mut used: Option<SystemTime> = None;
        let files = paths.iter().flat_map(|path| WalkDir::new(path).into_iter().flatten());
        for metadata in files.filter(|file| !file.file_type().is_dir()).filter_map(|file| file.metadata().ok()) {
            size += metadata.len();
            used = used.max(metadata.modified().ok());
        }
        // An empty folder, as a download begins with, is as old as it is.
        let own = || paths.first().and_then(|path| fs_err::symlink_metadata(path).ok()?.modified().ok());
        Some(Self { kind, name, used: used.or_else(own)?, paths, size })
    }

    /// The same as it is now.
    pub(super) fn again(&self) -> Option<Self> {
        Self::of(self.kind, self.name.clone(), self.paths.clone())
    }
}

/// What is in a folder, which may not be there.
fn children(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = match fs_err::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(Error::read(folder)(error)),
    };
    let mut paths =
        listed.map(|entry| Ok(entry.map_err(Error::read(folder))?.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}
