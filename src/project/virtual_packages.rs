//! Reads `virtual-packages.yml`: what the machines an image runs on will have (`__cuda`, `__glibc`).
//!
//! The format is conda-lock's. There the file replaces the defaults, so that naming `__cuda` silently takes `__glibc`
//! away; here it is laid over them name by name, and `replace: true` asks for conda-lock's way.

use std::path::Path;

use indexmap::IndexMap;
use rattler_conda_types::Version;

use super::fields::{get, subdir};
use super::yaml::{Document, Node};
use super::{Error, VirtualPackages};

impl VirtualPackages {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be read; everything else is a fault in what it says, with its place.
    pub fn read(path: &Path) -> Result<Self, Error> {
        from_document(Document::read(path)?)
    }
}

fn from_document(document: Document) -> Result<VirtualPackages, Error> {
    let Document { path, root, .. } = document;
    let Some(root) = root else {
        return Err(Error::Empty { path, remedy: "add `subdirs:`, or remove the file" });
    };
    let fields = root.fields("virtual-packages.yml", &["subdirs", "replace"])?;
    let mut subdirs = IndexMap::new();
    if let Some(node) = get(fields, "subdirs") {
        for entry in node.entries("subdirs")? {
            subdirs.insert(subdir(&entry.key, &entry.place)?, packages(&entry.value, &entry.key)?);
        }
    }
    let replace = get(fields, "replace").map(|node| node.boolean("replace")).transpose()?.unwrap_or_default();
    Ok(VirtualPackages { path: Some(path), replace, subdirs })
}

/// The packages of one subdir.
fn packages(node: &Node, subdir: &str) -> Result<IndexMap<String, String>, Error> {
    let fields = node.fields(subdir, &["packages"])?;
    let Some(node) = get(fields, "packages") else {
        let remedy = "add `packages:` with versions by name (`__cuda: \"12.0\"`)";
        return Err(Error::MissingKey { place: node.place.clone(), key: "packages", remedy });
    };
    let mut packages = IndexMap::new();
    for entry in node.entries("packages")? {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
        if !entry.key.starts_with("__") || !entry.key.chars().all(is_name) {
            return Err(Error::Value {
                place: entry.place.clone(),
                key: "packages".to_owned(),
                value: entry.key.clone(),
                problem: "names of virtual packages begin with `__`, as `__cuda`".to_owned(),
            });
        }
        packages.insert(entry.key.clone(), version(&entry.value, &entry.key)?);
    }
    Ok(packages)
}

/// A version, or a version and a build string. Unquoted numbers are refused: YAML's `12.10` is 12.1 to other readers.
fn version(node: &Node, name: &str) -> Result<String, Error> {
    let text = node.text(name)?;
    let parts: Vec<&str> = text.split_whitespace().collect();
    let is_build = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+'));
    let valid = match parts[..] {
        [version] => version.parse::<Version>().is_ok(),
        [version, build] => version.parse::<Version>().is_ok() && is_build(build),
        _ => false,
    };
    if !valid {
        return Err(node.bad_value(name, "write a version (`\"12.0\"`), or a version and a build (`\"1 x86_64\"`)"));
    }
    Ok(parts.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use rattler_conda_types::Subdir;

    use super::*;

    fn parse(text: &str) -> Result<VirtualPackages, Error> {
        from_document(Document::parse(Path::new("f"), text)?)
    }

    #[test]
    fn versions_and_builds() {
        let text = "subdirs:\n  linux-64:\n    packages:\n      __cuda: \"12.0\"\n      __archspec: 1  x86_64\n  osx-arm64: {packages: {}}\n";
        let read = parse(text).unwrap();
        assert!(!read.replace);
        assert_eq!(read.subdirs[&Subdir::Linux64]["__cuda"], "12.0");
        assert_eq!(read.subdirs[&Subdir::Linux64]["__archspec"], "1 x86_64");
        assert!(read.subdirs[&Subdir::OsxArm64].is_empty());
        assert!(parse("replace: true\n").unwrap().replace);
    }

    #[test]
    fn faults_name_their_place() {
        for (text, expected) in [
            ("", "`f` is empty; add `subdirs:`, or remove the file"),
            ("subdir: {}", "f:1:1: unknown key `subdir`; did you mean `subdirs`?"),
            ("replace: 1", "f:1:10: `replace` must be `true` or `false`, not a number"),
            (
                "subdirs: {linux-arm64: {packages: {}}}",
                "f:1:11: unknown subdir `linux-arm64`; did you mean `linux-aarch64`?",
            ),
            ("subdirs: {linux-64: {__cuda: '1'}}", "f:1:22: unknown key `__cuda`; expected one of `packages`"),
            (
                "subdirs: {linux-64: {}}",
                "f:1:21: no `packages`; add `packages:` with versions by name (`__cuda: \"12.0\"`)",
            ),
            (
                "subdirs: {linux-64: {packages: {cuda: '1'}}}",
                "f:1:33: `cuda` cannot be `packages`: names of virtual packages begin with `__`, as `__cuda`",
            ),
            (
                "subdirs: {linux-64: {packages: {__cuda: 12.10}}}",
                "f:1:41: `__cuda` must be text (put it in quotes if it is meant as such), not a number",
            ),
            (
                "subdirs: {linux-64: {packages: {__cuda: '1 2 3'}}}",
                "f:1:41: `1 2 3` cannot be `__cuda`: write a version (`\"12.0\"`), or a version and a build (`\"1 x86_64\"`)",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(lines in prop::collection::vec(
            " {0,6}(subdirs:|replace:|linux-64:|packages:|__cuda:)?[ -~é]{0,8}", 0..8,
        )) {
            let _ = parse(&lines.join("\n"));
        }
    }
}
