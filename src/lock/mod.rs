//! What an environment is, exactly: solving it, keeping it, writing it down.
//!
//! A [`LockSpec`] is what an image asks for; [`solve`] answers it with a [`Lock`]; [`holds`] says, without any network,
//! whether a lock still answers it. On disk a lock is conda-lock's `conda-lock.yml` and one explicit file a subdir, byte
//! for byte as conda-lock 4 would write the same solution, so that whatever reads those reads ours.

mod advice;
mod advisor;
mod categories;
mod channels;
mod conda_lock_yaml;
mod conflict;
mod content_hash;
pub mod diff;
mod driver;
mod error;
mod explain;
mod explicit;
mod explicit_read;
mod export;
mod favour;
mod holds;
mod movement;
mod outcome;
pub mod outdated;
mod pip;
mod pixi;
mod possible;
mod preferred;
mod reachable;
mod read;
mod read_fast;
mod record;
mod relock;
mod solve;
mod solver;
mod spec;
mod spelling;
mod uv;
mod virtual_packages;
pub mod why;
mod write;
mod yaml;

use std::collections::BTreeMap;

use rattler_conda_types::Subdir;
use serde::Serialize;
use url::Url;

use crate::channel::{without_secrets, written};
pub use advice::{Advice, advice};

pub use channels::channels_with_variables;
pub use error::{Error, Failure, UnknownPackage};
pub use holds::{Stale, holds};
pub use preferred::Preferred;
pub use relock::{HeldBack, Relock};
pub use solve::{Relocked, relock, solve};
pub use spec::{LockSpec, SubdirSpec};
pub use virtual_packages::VirtualPackage;

/// The solved environment of one image, for all its subdirs: the content of `conda-lock.yml`. The default locks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Channels as written in the environment, in order of priority.
    pub channels: Vec<LockedChannel>,
    /// Subdirs, in the order they were asked for.
    pub subdirs: Vec<Subdir>,
    /// conda-lock's content hash of the request, by subdir.
    pub content_hash: BTreeMap<Subdir, String>,
    /// The environment files it was made from, relative to the image's folder.
    pub sources: Vec<String>,
    /// conda-lock's `custom_metadata`: what somebody wished to note down. Kept from lock to lock.
    pub custom_metadata: BTreeMap<String, String>,
    /// Every package of every subdir.
    pub packages: Vec<LockedPackage>,
}

/// A channel of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedChannel {
    /// Name or URL, with `${VAR}` where a variable was used.
    pub url: String,
    /// The variables in it.
    pub used_env_vars: Vec<String>,
}

/// One package for one subdir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// Normalised name.
    pub name: String,
    /// Version, as its channel writes it.
    pub version: String,
    /// Which installer it is for.
    pub manager: Manager,
    /// The subdir it is locked for (not where it comes from: a noarch package is locked once a subdir).
    pub subdir: Subdir,
    /// Names it depends on and the version part of each requirement.
    pub dependencies: BTreeMap<String, String>,
    /// Its canonical URL, mirrors undone, with variables in place of secrets: [`written_url`](Self::written_url) is how
    /// files have it.
    pub url: Url,
    /// MD5 of the archive, in hexadecimal. conda-lock requires it of conda packages.
    pub md5: Option<String>,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: Option<String>,
    /// Category: `main` unless the environment says otherwise.
    pub category: String,
    /// conda-lock's `optional`.
    pub optional: bool,
}

/// Which installer a locked package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// conda.
    Conda,
    /// pip.
    Pip,
}

impl Lock {
    /// The packages locked for `subdir`.
    pub fn packages_for(&self, subdir: Subdir) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().filter(move |package| package.subdir == subdir)
    }

    /// Puts packages in conda-lock's order, which every [`Lock`] made here has.
    fn sort(&mut self) {
        self.packages.sort_by(|a, b| a.key().cmp(&b.key()));
    }
}

impl LockedPackage {
    /// conda-lock's order: conda before pip, then by name, then by subdir's name.
    fn key(&self) -> (Manager, &str, &str, &str) {
        (self.manager, &self.name, self.subdir.as_str(), &self.category)
    }

    /// Its URL as locks have it: a variable is `${NAME}`.
    pub fn written_url(&self) -> String {
        written(&self.url)
    }

    /// Its URL as it may be where nobody needs to fetch it from: without user, password and token, be they variables.
    pub fn public_url(&self) -> Url {
        without_secrets(&self.url)
    }

    /// The archive's file name: the last part of the URL.
    pub fn file_name(&self) -> &str {
        self.url.path().rsplit('/').next().unwrap_or_default()
    }

    /// The build string, read from the file name; `None` for a pip package.
    pub fn build(&self) -> Option<&str> {
        let stem = self.file_name().strip_suffix(".conda").or_else(|| self.file_name().strip_suffix(".tar.bz2"))?;
        stem.rsplit_once('-').map(|(_, build)| build)
    }

    /// Whether its URL is below `noarch/`.
    pub fn is_noarch(&self) -> bool {
        self.url.path().rsplit('/').nth(1) == Some("noarch")
    }
}
