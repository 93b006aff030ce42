//! One package of the tiny channel: what its recipe would have said.

use serde_json::{Value, json};

use super::archive::{self, Entry, What};

/// The prefix that placeholders stand for: 255 characters long, as conda-build makes them.
pub const PLACEHOLDER: &str = concat!(
    "/home/conda/feedstock_root/build_artifacts/tiny_1700000000000/_h_env_placehold_placehold_placehold_placehold",
    "_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehol",
    "d_placehold_placehold_placehold_plac/x"
);

const _: () = assert!(PLACEHOLDER.len() == 255);

/// The time stamped on every member of every archive, in seconds since 1970.
pub const TIMESTAMP: i64 = 1_700_000_000;

/// A package to be made. Without [`native`](Pkg::native) or [`noarch_python`](Pkg::noarch_python) it is
/// `noarch: generic`.
#[derive(Clone, Debug)]
pub struct Pkg {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) build: String,
    build_number: u64,
    license: String,
    pub(super) subdirs: Vec<&'static str>,
    noarch: Option<&'static str>,
    depends: Vec<String>,
    constrains: Vec<String>,
    track_features: Option<String>,
    timestamp_ms: Option<i64>,
    entry_points: Vec<String>,
    entries: Vec<Entry>,
    bz2: bool,
    truncated: bool,
    wrong_hash: bool,
    hashes: Hashes,
    listed: bool,
}

/// Which hashes `repodata.json` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hashes {
    Both,
    None,
    Md5,
    Sha256,
}

/// A package for one subdir: its archive and its record.
pub(super) struct Made {
    pub file_name: String,
    /// What is served: cut short for a truncated package.
    pub archive: Vec<u8>,
    /// The entry of `repodata.json`.
    pub record: Value,
    /// Whether `repodata.json` lists it (else under `removed`).
    pub listed: bool,
    pub bz2: bool,
}

impl Pkg {
    /// `name` in `version`, build `0`, `noarch: generic`, empty.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            build: "0".into(),
            build_number: 0,
            license: "BSD-3-Clause".into(),
            subdirs: vec!["noarch"],
            noarch: Some("generic"),
            depends: vec![],
            constrains: vec![],
            track_features: None,
            timestamp_ms: Some(TIMESTAMP * 1000),
            entry_points: vec![],
            entries: vec![],
            bz2: false,
            truncated: false,
            wrong_hash: false,
            hashes: Hashes::Both,
            listed: true,
        }
    }

    /// Made for linux-64 and linux-aarch64, each its own archive.
    pub fn native(self) -> Self {
        self.subdirs(&["linux-64", "linux-aarch64"])
    }

    /// Made for just these subdirs.
    pub fn subdirs(mut self, subdirs: &[&'static str]) -> Self {
        self.subdirs = subdirs.to_vec();
        self.noarch = (subdirs == ["noarch"]).then_some("generic");
        self
    }

    /// `noarch: python`: files under `site-packages/` and `python-scripts/` move when it is installed.
    pub fn noarch_python(mut self) -> Self {
        self.subdirs = vec!["noarch"];
        self.noarch = Some("python");
        self
    }

    /// A console script: `hello = hello.cli:main`. Makes the package `noarch: python`.
    pub fn entry_point(mut self, entry_point: &str) -> Self {
        self.entry_points.push(entry_point.into());
        self.noarch_python()
    }

    /// The build string and number.
    pub fn build(mut self, build: &str, number: u64) -> Self {
        (self.build, self.build_number) = (build.into(), number);
        self
    }

    /// Its licence, in any words.
    pub fn license(mut self, license: &str) -> Self {
        self.license = license.into();
        self
    }

    /// A dependency.
    pub fn depends(mut self, spec: &str) -> Self {
        self.depends.push(spec.into());
        self
    }

    /// A constraint on a package that may be there.
    pub fn constrains(mut self, spec: &str) -> Self {
        self.constrains.push(spec.into());
        self
    }

    /// `track_features`, which weighs a variant down.
    pub fn track_features(mut self, features: &str) -> Self {
        self.track_features = Some(features.into());
        self
    }

    /// The build time in its record, in milliseconds since 1970.
    pub fn timestamp_ms(mut self, timestamp: Option<i64>) -> Self {
        self.timestamp_ms = timestamp;
        self
    }

    /// A file (mode 0644). In contents and symlinks' targets alike, `{subdir}` becomes the subdir.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, What::file(content.as_ref()))
    }

    /// An executable (mode 0755).
    pub fn executable(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, What::File { content: content.as_ref().to_vec(), executable: true, prefix: None })
    }

    /// A text file (0755 below `bin/`, else 0644) whose `{prefix}` is the prefix it is installed to.
    pub fn text_prefix(self, path: &str, content: &str) -> Self {
        let content = content.replace("{prefix}", PLACEHOLDER).into_bytes();
        self.entry(path, What::File { content, executable: path.starts_with("bin/"), prefix: Some("text") })
    }

    /// A pretend ELF whose `{prefix}` is the prefix it is installed to; `content` becomes one C string in it, with
    /// bytes after it that must stay where they are.
    pub fn binary_prefix(self, path: &str, content: &str) -> Self {
        let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0".to_vec();
        bytes.extend(content.replace("{prefix}", PLACEHOLDER).bytes());
        bytes.extend(b"\0\xff\xfe after \0");
        self.entry(path, What::File { content: bytes, executable: path.starts_with("bin/"), prefix: Some("binary") })
    }

    /// A symlink.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, What::Symlink(target.into()))
    }

    /// A second name for the file `target` of this package: a hard-link member of the tar.
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, What::HardLink(target.into()))
    }

    /// A member whose path is written to the archive and to `paths.json` as it is: `../../escaped`, `/etc/passwd`.
    pub fn hostile(self, path: &str, content: &str) -> Self {
        self.entry(path, What::Hostile(content.as_bytes().to_vec()))
    }

    /// A file (0644) that the archive holds and `paths.json` does not list.
    pub fn unlisted(self, path: &str, content: &str) -> Self {
        self.entry(path, What::Unlisted(content.as_bytes().to_vec()))
    }

    /// A file of which `paths.json` tells the size and the hash of something longer.
    pub fn lying(self, path: &str, content: &str) -> Self {
        self.entry(path, What::Lying(content.as_bytes().to_vec()))
    }

    /// An empty member of another type or mode.
    pub fn special(self, path: &str, kind: tar::EntryType, mode: u32) -> Self {
        self.entry(path, What::Special(kind, mode))
    }

    /// A file of so many zeros.
    pub fn zeros(self, path: &str, size: u64) -> Self {
        self.entry(path, What::Zeros(size))
    }

    /// Packed as `.tar.bz2`.
    pub fn tar_bz2(mut self) -> Self {
        self.bz2 = true;
        self
    }

    /// `repodata.json` tells hashes of something else.
    pub fn wrong_hash(mut self) -> Self {
        self.wrong_hash = true;
        self
    }

    /// Only the first half of the archive is there; its record tells the whole's size and hashes.
    pub fn truncated(mut self) -> Self {
        self.truncated = true;
        self
    }

    /// `repodata.json` tells no SHA-256.
    pub fn md5_only(mut self) -> Self {
        self.hashes = Hashes::Md5;
        self
    }

    /// `repodata.json` tells no MD5.
    pub fn sha256_only(mut self) -> Self {
        self.hashes = Hashes::Sha256;
        self
    }

    /// `repodata.json` tells no hash at all.
    pub fn no_hash(mut self) -> Self {
        self.hashes = Hashes::None;
        self
    }

    /// Listed as removed: the archive can still be fetched, `repodata.json` no longer offers it.
    pub fn removed(mut self) -> Self {
        self.listed = false;
        self
    }

    fn entry(mut self, path: &str, what: What) -> Self {
        self.entries.push(Entry { path: path.into(), what });
        self
    }

    /// `name-version-build`.
    pub fn stem(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.build)
    }

    /// The archive's file name.
    pub fn file_name(&self) -> String {
        self.stem() + if self.bz2 { ".tar.bz2" } else { ".conda" }
    }

    pub(super) fn make(&self, subdir: &str) -> Made {
        let mut entries: Vec<_> = self.entries.iter().map(|entry| entry.for_subdir(subdir)).collect();
        let index = self.index(subdir);
        let paths =
            json!({ "paths": entries.iter().filter_map(Entry::paths_json).collect::<Vec<_>>(), "paths_version": 1 });
        entries.push(Entry::info("index.json", &index));
        entries.push(Entry::info("paths.json", &paths));
        if self.noarch == Some("python") {
            let python = json!({ "type": "python", "entry_points": self.entry_points });
            entries.push(Entry::info("link.json", &json!({ "noarch": python, "package_metadata_version": 1 })));
        }
        let mut archive = if self.bz2 { archive::tar_bz2(&entries) } else { archive::conda(&self.stem(), &entries) };
        let record = self.record(index, &archive);
        if self.truncated {
            archive.truncate(archive.len() / 2);
        }
        Made { file_name: self.file_name(), archive, record, listed: self.listed, bz2: self.bz2 }
    }

    fn index(&self, subdir: &str) -> Value {
        let mut index = json!({
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": self.build_number,
            "depends": self.depends,
            "constrains": self.constrains,
            "subdir": subdir,
            "license": self.license,
        });
        if let Some(noarch) = self.noarch {
            index["noarch"] = noarch.into();
        }
        if let Some(timestamp) = self.timestamp_ms {
            index["timestamp"] = timestamp.into();
        }
        if let Some(features) = &self.track_features {
            index["track_features"] = features.as_str().into();
        }
        index
    }

    fn record(&self, index: Value, archive: &[u8]) -> Value {
        let mut record = index;
        let hashed: &[u8] = if self.wrong_hash { b"something else" } else { archive };
        if matches!(self.hashes, Hashes::Both | Hashes::Md5) {
            record["md5"] = archive::md5(hashed).into();
        }
        if matches!(self.hashes, Hashes::Both | Hashes::Sha256) {
            record["sha256"] = archive::sha256(hashed).into();
        }
        record["size"] = archive.len().into();
        record
    }
}
