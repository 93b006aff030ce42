//! `Packages`: all that a suite of an archive has. Read as it is asked for: there are tens of thousands, and few are.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use url::Url;

use super::control::{Paragraph, paragraphs};
use super::package::Package;
use super::relation;

/// The packages of one component of one suite for one architecture.
pub struct Index {
    text: String,
    /// What file names are relative to.
    root: Url,
    by_name: HashMap<String, Vec<Range<usize>>>,
    /// Names of packages by a name they provide.
    providers: HashMap<String, Vec<String>>,
}

impl Index {
    /// Reads the names in `text`, whose file names are relative to `root`.
    pub fn new(text: String, root: Url) -> Self {
        let mut by_name: HashMap<String, Vec<Range<usize>>> = HashMap::new();
        let mut providers: HashMap<String, Vec<String>> = HashMap::new();
        let start = text.as_ptr().addr();
        for paragraph in paragraphs(&text) {
            let offset = paragraph.as_ptr().addr() - start;
            let field = |name: &str| {
                let line = paragraph.lines().find_map(|line| line.strip_prefix(name));
                line.map(str::trim)
            };
            let Some(name) = field("Package:") else { continue };
            by_name.entry(name.to_owned()).or_default().push(offset..offset + paragraph.len());
            // What cannot be read is complained of when the package itself is.
            for provided in relation::provided(field("Provides:").unwrap_or_default()).unwrap_or_default() {
                let known = providers.entry(provided.name).or_default();
                if known.last().is_none_or(|last| last != name) {
                    known.push(name.to_owned());
                }
            }
        }
        Self { text, root, by_name, providers }
    }

    /// The names of packages that every system has: those that are essential, and those of priority `required`.
    pub fn essential(&self) -> BTreeSet<&str> {
        let is_essential = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_default();
            matches!((name, value.trim()), ("Essential", "yes") | ("Priority", "required"))
        };
        let has = |range: &Range<usize>| self.text[range.clone()].lines().any(is_essential);
        let names = self.by_name.iter().filter(|(_, ranges)| ranges.iter().any(has));
        names.map(|(name, _)| name.as_str()).collect()
    }

    /// All versions of `name`.
    ///
    /// # Errors
    /// What cannot be understood of one of them.
    pub fn packages(&self, name: &str) -> Result<Vec<Package>, String> {
        let ranges = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let read = |range: &Range<usize>| Package::read(&Paragraph::parse(&self.text[range.clone()]), Some(&self.root));
        ranges.iter().map(read).collect()
    }

    /// Whether there is a package called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The names of packages that provide `name`, in the index's order.
    pub fn providers(&self, name: &str) -> &[String] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_providers_are_found() {
        let package = |name: &str, version: &str, more: &str| {
            let sha256 = "a".repeat(64);
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: pool/{name}_{version}.deb\nSize: 1\n\
                 SHA256: {sha256}\n{more}\n"
            )
        };
        let text = [
            package("a", "1", "Provides: v, w (= 2)\n"),
            package("b", "1", ""),
            package("a", "2", "Provides: v\n"),
            package("e", "1", "Essential: yes\n"),
            package("r", "1", "Priority: required\n"),
            package("n", "1", "Essential: no\n"),
        ];
        let index = Index::new(text.concat(), "https://archive.example/".parse().unwrap());
        let versions: Vec<_> = index.packages("a").unwrap().iter().map(|one| one.version.to_string()).collect();
        assert_eq!(versions, ["1", "2"]);
        assert_eq!(index.providers("v"), ["a"]);
        assert_eq!(index.providers("w"), ["a"]);
        assert_eq!(index.essential().into_iter().collect::<Vec<_>>(), ["e", "r"]);
        assert!(index.packages("none").unwrap().is_empty() && index.providers("none").is_empty());
    }
}
