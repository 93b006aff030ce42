//! `apt-lock.yml`: the Debian packages of an image, by platform, with URL and hash. It lies beside `conda-lock.yml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::error::Error;
use super::package::{Package, is_sha256};
use super::relation::is_name;
use super::version::Version;
use crate::oci::{Digest, Platform, layout};
use crate::project::{Place, Snapshot};

/// The file's name.
pub const FILE: &str = "apt-lock.yml";
const VERSION: u32 = 1;
const HEADER: &str = "\
# The Debian packages that apt.txt asks for, and what they need besides the base. Written by `esker lock`; commit it.
";

/// Locked packages of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptLock {
    /// The lines of `apt.txt`, sorted.
    pub requested: Vec<String>,
    /// The time of the archive they come from.
    pub snapshot: Snapshot,
    /// What is installed on each platform.
    pub platforms: BTreeMap<Platform, PlatformLock>,
}

/// The packages of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformLock {
    /// Digest of the base's manifest when it was locked.
    pub base: Digest,
    /// Digest of what was installed on that base: another base with the same packages will do.
    pub installed: Digest,
    /// What is added, by name.
    pub packages: Vec<LockedDeb>,
}

/// One `.deb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedDeb {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture, or `all`.
    pub architecture: String,
    /// Canonical URL.
    pub url: Url,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    requested: Vec<String>,
    snapshot: String,
    platforms: BTreeMap<Platform, PlatformLock>,
}

impl AptLock {
    /// Reads the lock in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not what esker writes.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(FILE);
        match fs_err::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Reads `text`, the content of `path`.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let at =
            |line, column, message| Error::Invalid { place: Place { file: path.to_owned(), line, column }, message };
        let contents: Contents = serde_saphyr::from_str(text).map_err(|error| {
            let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let (line, column) = error.location().map_or((1, 1), |at| (number(at.line()), number(at.column())));
            at(line, column, error.without_snippet().to_string())
        })?;
        let whole = |message: String| at(1, 1, message);
        if contents.version != VERSION {
            return Err(whole(format!("it has version {}; this esker knows version {VERSION}", contents.version)));
        }
        for (platform, lock) in &contents.platforms {
            for deb in &lock.packages {
                deb.check(*platform).map_err(|fault| whole(format!("`{}` of {platform}: {fault}", deb.name)))?;
            }
        }
        let snapshot = contents.snapshot.parse();
        let snapshot = snapshot.map_err(|fault| whole(format!("the snapshot `{}`: {fault}", contents.snapshot)))?;
        Ok(Self { requested: contents.requested, snapshot, platforms: contents.platforms })
    }

    /// Writes the lock into `folder`, unless it says the same already; returns the file that was written.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, folder: &Path) -> Result<Option<PathBuf>, Error> {
        let path = folder.join(FILE);
        let text = self.text();
        if fs_err::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(None);
        }
        layout::write_atomically(&path, text.as_bytes())
            .map_err(|error| Error::Write { path: path.clone(), source: io::Error::other(error) })?;
        Ok(Some(path))
    }

    /// Removes the lock from `folder`, where no packages are asked for any more; returns the file that is gone.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn remove(folder: &Path) -> Result<Option<PathBuf>, Error> {
        let path = folder.join(FILE);
        match fs_err::remove_file(&path) {
            Ok(()) => Ok(Some(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    /// The file's content.
    pub fn text(&self) -> String {
        // A JSON string is a YAML string, whatever is in it.
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let requested: Vec<String> = self.requested.iter().map(|line| string(line)).collect();
        let mut text = format!("{HEADER}version: {VERSION}\nsnapshot: \"{}\"\n", self.snapshot);
        let _infallible = write!(text, "requested: [{}]\nplatforms:\n", requested.join(", "));
        for (platform, lock) in &self.platforms {
            let _infallible = write!(
                text,
                "  {platform}:\n    base: {}\n    installed: {}\n    packages:",
                lock.base, lock.installed
            );
            text.push_str(if lock.packages.is_empty() { " []\n" } else { "\n" });
            lock.packages.iter().for_each(|deb| text.push_str(&deb.yaml("    ")));
        }
        text
    }
}

impl LockedDeb {
    /// What is locked of `package`; `None` of one that is installed and in no archive.
    pub(super) fn of(package: Package) -> Option<Self> {
        let file = package.file?;
        Some(Self {
            name: package.name,
            version: package.version.to_string(),
            architecture: package.architecture,
            url: file.url,
            sha256: file.sha256,
            size: file.size,
        })
    }

    /// What is wrong with it: the file may have been edited, or merged badly.
    ///
    /// # Errors
    /// What it is.
    pub fn check(&self, platform: Platform) -> Result<(), String> {
        if !is_name(&self.name) {
            return Err("that is not the name of a package".to_owned());
        }
        self.version.parse::<Version>().map_err(|error| error.to_string())?;
        if ![super::architecture(platform), "all"].contains(&self.architecture.as_str()) {
            return Err(format!("it is for `{}`", self.architecture));
        }
        if !is_sha256(&self.sha256) {
            return Err(format!("`{}` is no SHA-256", self.sha256));
        }
        match self.url.scheme() {
            "https" | "http" if self.url.path().ends_with(".deb") => Ok(()),
            _ => Err(format!("`{}` is no URL of a package", self.url)),
        }
    }

    /// It as an item of a YAML list that is indented by `indent`.
    pub fn yaml(&self, indent: &str) -> String {
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let Self { name, version, architecture, url, sha256, size } = self;
        let [name, version, architecture] = [name, version, architecture].map(|text| string(text));
        let url = string(url.as_str());
        format!(
            "{indent}- name: {name}\n{indent}  version: {version}\n{indent}  architecture: {architecture}\n\
             {indent}  url: {url}\n{indent}  sha256: \"{sha256}\"\n{indent}  size: {size}\n"
        )
    }

    /// Name and version.
    pub fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> AptLock {
        let deb = LockedDeb {
            name: "jq".into(),
            version: "1:1.6-2.1~".into(),
            architecture: "amd64".into(),
            url: "https://snapshot.debian.org/archive/debian/20261101T000000Z/pool/main/j/jq/jq_1.6_amd64.deb"
                .parse()
                .unwrap(),
            sha256: "a".repeat(64),
            size: 7,
        };
        let with = |packages| PlatformLock { base: Digest::of(b"base"), installed: Digest::of(b"installed"), packages };
        AptLock {
            requested: vec!["jq=1:1.6-2.1~".into(), "tree".into()],
            snapshot: "20261101T000000Z".parse().unwrap(),
            platforms: [(Platform::LinuxAmd64, with(vec![deb])), (Platform::LinuxArm64, with(vec![]))].into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(AptLock::read(folder.path()).unwrap(), None);
        let path = folder.path().join(FILE);
        assert_eq!(lock().write(folder.path()).unwrap(), Some(path.clone()));
        assert_eq!(lock().write(folder.path()).unwrap(), None, "the same again");
        assert_eq!(AptLock::read(folder.path()).unwrap(), Some(lock()));
        assert_eq!(AptLock::remove(folder.path()).unwrap(), Some(path));
        assert_eq!(AptLock::remove(folder.path()).unwrap(), None);
    }

    #[test]
    fn what_was_edited_badly_is_refused() {
        let good = lock().text();
        for (from, to) in [
            ("version: 1\n", "version: 2\n"),
            ("name: \"jq\"", "name: \"../jq\""),
            ("\"amd64\"", "\"arm64\""),
            ("aaaa", "zzzz"),
            ("https://snapshot", "file:///snapshot"),
            ("_amd64.deb", "_amd64.exe"),
            ("20261101T000000Z\"\nrequested", "now\"\nrequested"),
            ("size: 7", "size: 7\n      more: 1"),
            ("version: \"1:1.6-2.1~\"", "version: \"a:1\""),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            assert!(AptLock::parse(&text, Path::new("apt-lock.yml")).is_err(), "{to}");
        }
    }
}
