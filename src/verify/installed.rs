//! What is installed in a prefix of an image: the records in `conda-meta`, and what pip lists besides, which is what
//! `*.dist-info` in `site-packages` says (PEP 376).

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pep508_rs::pep440_rs::Version;
use serde::Deserialize;

use super::tree::Tree;
use crate::oci::Digest;
use crate::oci::entries::EntryKind;
use crate::supply::Component;

/// One record of `conda-meta`, as far as checks look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Installed {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its build string.
    pub build: String,
    /// MD5 of the archive it came from.
    #[serde(default)]
    pub md5: Option<String>,
    /// SHA-256 of the archive it came from.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Its files, relative to the prefix.
    #[serde(default)]
    pub files: Vec<String>,
    /// What is recorded of each file.
    #[serde(default)]
    pub paths_data: PathsData,
    /// The licence, as the package's maker spells it.
    #[serde(default)]
    pub license: Option<String>,
    /// Where the archive was fetched from.
    #[serde(default)]
    pub url: Option<String>,
    /// The channel it is said to be from.
    #[serde(default)]
    pub channel: Option<String>,
    /// Where conda would look for the unpacked archive: a path of the machine that built the image.
    #[serde(default)]
    pub extracted_package_dir: Option<String>,
    /// Where conda would look for the archive.
    #[serde(default)]
    pub package_tarball_full_path: Option<String>,
    /// How the files were linked.
    #[serde(default)]
    pub link: Option<Link>,
}

/// `paths_data` of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PathsData {
    /// The files.
    #[serde(default)]
    pub paths: Vec<RecordedPath>,
}

/// One file of [`PathsData`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RecordedPath {
    /// Its path, relative to the prefix.
    #[serde(rename = "_path", default)]
    pub path: String,
    /// SHA-256 of what was installed, its prefix written into it.
    #[serde(default)]
    pub sha256_in_prefix: Option<String>,
}

/// `link` of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// Where the files were linked from.
    #[serde(default)]
    pub source: Option<String>,
}

/// What pip lists and no conda package brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wheel {
    /// Its name, normalised (PEP 503).
    pub name: String,
    /// Its version as PEP 440 spells it.
    pub version: String,
    /// Its files, relative to the prefix, as `RECORD` lists them.
    pub files: Vec<String>,
    /// SHA-256 of those of them for which `RECORD` has it.
    pub digests: Vec<(String, Digest)>,
    /// The licence, as `METADATA` has it.
    pub license: Option<String>,
}

/// The packages of one prefix by name, and the records that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The packages.
    pub packages: BTreeMap<String, Installed>,
    /// What is wrong with each unreadable record.
    pub broken: Vec<String>,
    /// What pip lists besides.
    pub wheels: Vec<Wheel>,
}

impl Prefix {
    /// Reads the records of the prefix at `path`, relative to the image's root.
    pub fn read(tree: &Tree, path: &str) -> Self {
        let mut prefix = Self::default();
        let meta = format!("{path}/conda-meta");
        for (file, _) in tree.below(&meta).filter(|(file, _)| is_record(file)) {
            match tree.content(file).map(serde_json::from_slice::<Installed>) {
                Some(Ok(record)) => {
                    if let Some(other) = prefix.packages.insert(record.name.clone(), record) {
                        prefix.broken.push(format!("`{}` is installed twice", other.name));
                    }
                }
                Some(Err(error)) => prefix.broken.push(format!("`{file}`: {error}")),
                None => prefix.broken.push(format!("`{file}` leads to no file")),
            }
        }
        prefix.wheels = prefix.read_wheels(tree, path);
        prefix
    }

    fn read_wheels(&self, tree: &Tree, path: &str) -> Vec<Wheel> {
        let files = self.packages.values().flat_map(|package| &package.files);
        let of_conda: BTreeSet<&str> = files
            .filter_map(|file| file.rsplit_once('/').map(|(directory, _)| directory))
            .filter(|directory| directory.ends_with(".dist-info"))
            .collect();
        let directories = tree.below(path).filter(|(_, node)| node.kind == EntryKind::Directory);
        let inside = directories.filter_map(|(directory, _)| directory.strip_prefix(path)?.strip_prefix('/'));
        inside.filter(|directory| !of_conda.contains(directory)).filter_map(|it| Wheel::read(tree, path, it)).collect()
    }
}

/// Whether `path` is a record that [`Prefix::read`] looks for.
pub fn is_record(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    match (parts.next(), parts.next()) {
        (Some(file), Some("conda-meta")) => file.ends_with(".json"),
        (Some("RECORD" | "METADATA"), Some(directory)) => directory.ends_with(".dist-info"),
        _ => false,
    }
}

/// A name as PEP 503 compares them.
pub fn plain(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// A version as PEP 440 spells it.
pub fn spelled(version: &str) -> String {
    Version::from_str(version).map_or_else(|_| version.to_owned(), |version| version.to_string())
}

impl Wheel {
    /// What `directory`, relative to `prefix`, says, if it is that of a distribution. What is vendored inside of a package
    /// is nobody's to list, and what is in an environment below the root prefix is that environment's.
    fn read(tree: &Tree, prefix: &str, directory: &str) -> Option<Self> {
        let (site_packages, stem) = directory.strip_suffix(".dist-info")?.rsplit_once('/')?;
        let (name, version) = stem.split_once('-').filter(|_| is_site_packages(site_packages))?;
        let record = tree.content(&format!("{prefix}/{directory}/RECORD")).unwrap_or_default();
        let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(record);
        let mut wheel = Self { name: plain(name), version: spelled(version), ..Self::default() };
        for row in rows.records().flatten() {
            let Some(path) = row.get(0).filter(|path| !path.is_empty()).map(|path| joined(site_packages, path)) else {
                continue;
            };
            wheel.digests.extend(row.get(1).and_then(digest_of_record).map(|digest| (path.clone(), digest)));
            wheel.files.push(path);
        }
        let metadata = tree.text(&format!("{prefix}/{directory}/METADATA")).unwrap_or_default();
        wheel.license = Component::of_python(metadata, "").and_then(|component| component.license);
        Some(wheel)
    }

    /// Names of the modules and packages it puts at the top of `site-packages`; see [`Installed::modules`].
    pub fn modules(&self) -> BTreeSet<&str> {
        modules(&self.files)
    }
}

/// The digest in the second column of a `RECORD`: `sha256=` and base64 without padding, in the alphabet of URLs.
fn digest_of_record(text: &str) -> Option<Digest> {
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("sha256=")?.trim_end_matches('=')).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

/// Whether `path` is `lib/pythonX.Y/site-packages`.
fn is_site_packages(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["lib", python, "site-packages"] if python.starts_with("python"))
}

/// `path`, which is relative to `directory`, without `..`.
fn joined(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "" | "." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

impl Installed {
    /// Names of the modules and packages it puts at the top of a `site-packages`, but for private ones and those that
    /// are there by mistake (tests, examples): they are nobody's to import.
    pub fn modules(&self) -> BTreeSet<&str> {
        modules(&self.files)
    }
}

fn modules(files: &[String]) -> BTreeSet<&str> {
    files.iter().filter_map(|file| top_level_module(file)).filter(|name| is_public(name)).collect()
}

fn top_level_module(file: &str) -> Option<&str> {
    let (_, inside) = file.split_once("site-packages/")?;
    match inside.split_once('/') {
        Some((package, "__init__.py")) => Some(package),
        Some(_) => None,
        // `name.py`, and `name.cpython-313-x86_64-linux-gnu.so` or `name.abi3.so`.
        None if inside.ends_with(".py") || inside.ends_with(".so") => inside.split('.').next(),
        None => None,
    }
}

fn is_public(name: &str) -> bool {
    const STRAY: [&str; 7] = ["test", "tests", "testing", "docs", "doc", "examples", "conftest"];
    let identifier = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    identifier && !name.starts_with('_') && !STRAY.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_record_are_below_the_prefix() {
        let site = "lib/python3.13/site-packages";
        assert_eq!(joined(site, "pkg/__init__.py"), format!("{site}/pkg/__init__.py"));
        assert_eq!(joined(site, "../../../bin/tool"), "bin/tool");
        assert!(is_record("srv/x/a-1.dist-info/RECORD") && !is_record("srv/x/RECORD") && !is_record("RECORD"));
        assert!(is_site_packages(site) && !is_site_packages("envs/notebook/lib/python3.13/site-packages"));
    }

    #[test]
    fn digests_of_a_record() {
        let digest = Digest::of(b"");
        let text = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!((digest_of_record(text), digest_of_record(&format!("{text}="))), (Some(digest), Some(digest)));
        for other in ["", "sha256=", "sha256=AAAA", "md5=1B2M2Y8AsgTpgAmY7PhCfg"] {
            assert_eq!(digest_of_record(other), None, "{other}");
        }
    }

    #[test]
    fn modules_are_the_public_top_level_ones() {
        let files = [
            "bin/tool",
            "lib/python3.13/site-packages/pkg/__init__.py",
            "lib/python3.13/site-packages/pkg/sub/__init__.py",
            "lib/python3.13/site-packages/single.py",
            "lib/python3.13/site-packages/fast.cpython-313-x86_64-linux-gnu.so",
            "lib/python3.13/site-packages/_private.py",
            "lib/python3.13/site-packages/tests/__init__.py",
            "lib/python3.13/site-packages/namespace/deep/__init__.py",
            "lib/python3.13/site-packages/pkg-1.0.dist-info/METADATA",
        ];
        let record = Installed { files: files.map(str::to_owned).into(), ..Installed::default() };
        assert_eq!(record.modules().into_iter().collect::<Vec<_>>(), ["fast", "pkg", "single"]);
    }
}
