//! What conda says is installed in a prefix of an image: the records in `conda-meta`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::tree::Tree;

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

/// `link` of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// Where the files were linked from.
    #[serde(default)]
    pub source: Option<String>,
}

/// The packages of one prefix by name, and the records that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The packages.
    pub packages: BTreeMap<String, Installed>,
    /// What is wrong with each unreadable record.
    pub broken: Vec<String>,
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
        prefix
    }
}

/// Whether `path` is a record that [`Prefix::read`] looks for.
pub fn is_record(path: &str) -> bool {
    path.ends_with(".json") && path.rsplit('/').nth(1) == Some("conda-meta")
}

impl Installed {
    /// Names of the modules and packages it puts at the top of a `site-packages`, but for private ones and those that
    /// are there by mistake (tests, examples): they are nobody's to import.
    pub fn modules(&self) -> BTreeSet<&str> {
        self.files.iter().filter_map(|file| top_level_module(file)).filter(|name| is_public(name)).collect()
    }
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
