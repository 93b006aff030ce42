//! A dated archive: where its suites are, and how what it says of itself is checked before any of it is believed.
//!
//! `InRelease` is signed; it has the hashes of `Packages.xz`, which has those of the packages. A snapshot never changes,
//! so that its signature is old does not matter: `Valid-Until` is not looked at.

use std::io::Read;
use std::path::PathBuf;

use url::Url;

use super::compression::{Limited, decoder};
use super::error::Error;
use super::index::Index;
use super::release::{Listed, Release};
use super::signature::{self, KEYRINGS, Keyring};
use crate::channel::Client;
use crate::project::Snapshot;

/// Debian's archive as it was at any time. A mirror may stand in for it, as for every prefix.
const SNAPSHOTS: &str = "https://snapshot.debian.org/archive/";
/// The components that packages are taken from: those with everything that is free software.
const COMPONENT: &str = "main";
/// More than any `InRelease` has, in bytes.
const MAX_RELEASE: usize = 16 << 20;
/// More than any `Packages` has when it is decompressed, in bytes.
const MAX_PACKAGES: u64 = 1 << 30;
/// The forms of `Packages`, in the order they are asked for.
const FORMS: [&str; 3] = ["Packages.xz", "Packages.gz", "Packages"];

/// A suite of an archive at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// What file names are relative to.
    pub root: Url,
    /// Its name.
    pub name: String,
}

/// The suites that packages of the release `codename` come from: what was released, what was updated since.
pub fn suites(codename: &str, snapshot: &Snapshot) -> Vec<Suite> {
    let suite = |archive: &str, name: String| Suite {
        root: Url::parse(&format!("{SNAPSHOTS}{archive}/{snapshot}/")).expect("letters and digits"),
        name,
    };
    let mut suites = vec![suite("debian", codename.to_owned())];
    // Unstable is its own update.
    if codename != "sid" {
        suites.push(suite("debian", format!("{codename}-updates")));
        suites.push(suite("debian-security", format!("{codename}-security")));
    }
    suites
}

/// `debian.sources` of a system of the release `codename` that is made of the archive of `snapshot`: that same archive.
/// Without TLS, whose certificates are no part of a small system: it is signatures that apt goes by.
pub fn sources(codename: &str, snapshot: &Snapshot) -> String {
    let suite = |suite: Suite| {
        let root = suite.root.as_str().replacen("https://", "http://", 1);
        format!(
            "\nTypes: deb\nURIs: {root}\nSuites: {}\nComponents: {COMPONENT}\nCheck-Valid-Until: no\n\
             Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
            suite.name
        )
    };
    let suites: String = suites(codename, snapshot).into_iter().map(suite).collect();
    format!("# Debian as it was when this system was made. For later updates, name an archive that goes on.\n{suites}")
}

/// What signatures of archives are checked with.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The program `gpgv`.
    pub gpgv: PathBuf,
    /// The keys to trust where the base has none, instead of this machine's.
    pub keyring: Option<PathBuf>,
}

/// How archives are read.
pub struct Reader<'a> {
    /// Fetches.
    client: &'a Client,
    /// The program that checks signatures.
    gpgv: PathBuf,
    /// What it checks them against.
    keyrings: Vec<Keyring>,
}

impl<'a> Reader<'a> {
    /// A reader that trusts the keys of `base`, which may have none; failing that, those in the file `given`; failing
    /// that, those of this machine's Debian.
    ///
    /// # Errors
    /// [`Error::NoKeys`]; [`Error::Read`] where `given` cannot be read.
    pub fn new(client: &'a Client, trust: &Trust, base: &[Keyring]) -> Result<Self, Error> {
        let mut keyrings = base.to_vec();
        if let Some(path) = trust.keyring.as_ref().filter(|_| keyrings.is_empty()) {
            let bytes = fs_err::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            keyrings.push(Keyring { name: path.display().to_string(), bytes });
        }
        if keyrings.is_empty() {
            let here = KEYRINGS.iter().map(|path| format!("/{path}"));
            keyrings.extend(here.filter_map(|name| Some(Keyring { bytes: fs_err::read(&name).ok()?, name })));
        }
        match keyrings.is_empty() {
            true => Err(Error::NoKeys),
            false => Ok(Self { client, gpgv: trust.gpgv.clone(), keyrings }),
        }
    }

    /// The packages of `suites` for `architecture`, one after another.
    ///
    /// # Errors
    /// Those of [`index`](Self::index).
    pub async fn indexes(&self, suites: &[Suite], architecture: &str) -> Result<Vec<Index>, Error> {
        let mut indexes = Vec::new();
        for suite in suites {
            indexes.push(self.index(suite, architecture).await?);
        }
        Ok(indexes)
    }

    /// The packages of `suite` for `architecture`.
    ///
    /// # Errors
    /// When they cannot be had, or are not what was signed.
    pub async fn index(&self, suite: &Suite, architecture: &str) -> Result<Index, Error> {
        let folder = join(&suite.root, &format!("dists/{}/", suite.name))?;
        let url = join(&folder, "InRelease")?;
        let signed = self.client.bytes(&url, MAX_RELEASE).await?;
        let signed = signed.ok_or_else(|| Error::NoSuite { url: url.clone() })?;
        let text = signature::verified(&self.gpgv, &signed, url.as_str(), &self.keyrings)?;
        let release = Release::read(&text).map_err(|reason| Error::Archive { url: url.clone(), reason })?;
        // A signed release of another suite is no release of this one.
        if !release.names.contains(&suite.name) {
            let reason = format!("it is the release of `{}`", release.names.join("`, `"));
            return Err(Error::Archive { url, reason });
        }
        let (url, text) = self.packages(&release, &folder, architecture).await?;
        tracing::debug!(%url, bytes = text.len(), "read");
        Ok(Index::new(text, suite.root.clone()))
    }

    /// `Packages` of `architecture`, in the first of its forms that the archive has.
    async fn packages(&self, release: &Release, folder: &Url, architecture: &str) -> Result<(Url, String), Error> {
        let mut missing = None;
        for form in FORMS {
            let path = format!("{COMPONENT}/binary-{architecture}/{form}");
            let url = join(folder, &path)?;
            let Some(listed) = release.file(&path) else {
                missing.get_or_insert(Error::NoSuite { url });
                continue;
            };
            match self.client.file("Packages", &url, &listed.sha256).await {
                Ok(file) => return Ok((url.clone(), unpacked(&file, form, listed, &url)?)),
                Err(crate::channel::Error::NotFound { .. }) => missing = Some(Error::NoSuite { url }),
                Err(other) => return Err(other.into()),
            }
        }
        Err(missing.expect("there is more than one form"))
    }
}

fn unpacked(file: &PathBuf, form: &str, listed: &Listed, url: &Url) -> Result<String, Error> {
    let archive = |reason: String| Error::Archive { url: url.clone(), reason };
    let opened = fs_err::File::open(file).map_err(|source| Error::Read { path: file.clone(), source })?;
    if opened.metadata().is_ok_and(|found| found.len() != listed.size) {
        return Err(archive(format!("it does not have the {} bytes that were signed", listed.size)));
    }
    let reader = decoder(form, opened).map_err(|error| archive(error.to_string()))?;
    let mut bytes = Vec::new();
    let mut limited = Limited { inner: reader, left: MAX_PACKAGES };
    limited.read_to_end(&mut bytes).map_err(|error| archive(error.to_string()))?;
    // Descriptions of long ago are in other encodings; what matters is ASCII.
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn join(base: &Url, path: &str) -> Result<Url, Error> {
    base.join(path).map_err(|error| Error::Archive { url: base.clone(), reason: format!("`{path}`: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_of_the_date() {
        let snapshot: Snapshot = "20261101T000000Z".parse().unwrap();
        let all: Vec<_> =
            suites("bookworm", &snapshot).iter().map(|suite| format!("{} {}", suite.root, suite.name)).collect();
        assert_eq!(
            all,
            [
                "https://snapshot.debian.org/archive/debian/20261101T000000Z/ bookworm",
                "https://snapshot.debian.org/archive/debian/20261101T000000Z/ bookworm-updates",
                "https://snapshot.debian.org/archive/debian-security/20261101T000000Z/ bookworm-security",
            ]
        );
        assert_eq!(suites("sid", &snapshot).len(), 1);
        let sources = sources("bookworm", &snapshot);
        let security =
            "URIs: http://snapshot.debian.org/archive/debian-security/20261101T000000Z/\nSuites: bookworm-security\n";
        assert!(sources.contains(security) && sources.matches("\n\nTypes: deb\n").count() == 3, "{sources}");
    }
}
