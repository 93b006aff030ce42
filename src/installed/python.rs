//! Python packages that pip installed: the `.dist-info` folders that belong to no package of conda's.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::Url;

use super::record::without_secrets;
use crate::supply::Component;

const METADATA: &str = ".dist-info/METADATA";
const RECORD: &str = ".dist-info/RECORD";
const DIRECT_URL: &str = ".dist-info/direct_url.json";

/// Whether `path` says what a Python package is, which files it has, or where it is from.
pub fn is_metadata(path: &str) -> bool {
    [METADATA, RECORD, DIRECT_URL].iter().any(|name| path.ends_with(name))
}

/// `direct_url.json` (PEP 610), which pip leaves where it was told an address and no index: of an archive, it has its hash.
#[derive(Deserialize)]
struct DirectUrl {
    url: Url,
    /// Not there for folders and repositories.
    archive_info: ArchiveInfo,
}

#[derive(Deserialize)]
struct ArchiveInfo {
    /// Hashes by algorithm.
    #[serde(default)]
    hashes: BTreeMap<String, String>,
    /// What old versions of pip write instead: `sha256=…`.
    #[serde(default)]
    hash: Option<String>,
}

impl DirectUrl {
    /// Where the package at `folder` is from, if that is an archive that others can fetch.
    fn read(folder: &str, files: &BTreeMap<String, Vec<u8>>) -> Option<Self> {
        let direct: Self = serde_json::from_slice(files.get(&format!("{folder}{DIRECT_URL}"))?).ok()?;
        matches!(direct.url.scheme(), "http" | "https").then_some(direct)
    }

    fn sha256(&self) -> Option<String> {
        let old = || self.archive_info.hash.as_deref()?.strip_prefix("sha256=").map(str::to_owned);
        self.archive_info.hashes.get("sha256").cloned().or_else(old)
    }
}

/// A package that was found.
pub struct Found {
    /// What it is.
    pub component: Component,
    /// Its files, relative to `/`.
    pub files: Vec<String>,
}

/// The package whose metadata is at `path`; `None` if that is another kind of file, or tells no name and version.
pub fn read(path: &str, files: &BTreeMap<String, Vec<u8>>) -> Option<Found> {
    let folder = path.strip_suffix(METADATA)?;
    let site = folder.rsplit_once('/').map_or("", |(site, _)| site);
    let text = String::from_utf8_lossy(files.get(path)?);
    let mut component = Component::of_python(&text, &format!("/{}", prefix_of(site)))?;
    if let Some(direct) = DirectUrl::read(folder, files) {
        component.sha256 = direct.sha256();
        component.url = Some(without_secrets(direct.url));
    }
    let record = files.get(&format!("{folder}{RECORD}"));
    let lines = record.map(|record| String::from_utf8_lossy(record).into_owned()).unwrap_or_default();
    let files = lines.lines().filter_map(|line| joined(site, line.split(',').next()?.trim_matches('"'))).collect();
    Some(Found { component, files })
}

/// The prefix of the folder `site`: what is above `lib/python3.12/site-packages`.
fn prefix_of(site: &str) -> &str {
    let mut parts = site.rsplitn(4, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("site-packages" | "dist-packages"), Some(_), Some("lib")) => parts.next().unwrap_or_default(),
        _ => site,
    }
}

/// `path`, which may climb, below `folder`.
fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<_> =
        if path.starts_with('/') { vec![] } else { folder.split('/').filter(|part| !part.is_empty()).collect() };
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wheel_tells_what_it_is_and_has() {
        let site = "opt/env/lib/python3.12/site-packages";
        let metadata = "Metadata-Version: 2.4\nName: Some_Thing\nVersion: 1.0\nLicense-Expression: MIT\n\
                        Requires-Dist: numpy>=1\nRequires-Dist: pytest; extra == 'test'\n\nName: other\n";
        let record = "some_thing/__init__.py,sha256=x,3\n../../../bin/thing,,\nsome_thing-1.0.dist-info/RECORD,,\n";
        let files = BTreeMap::from([
            (format!("{site}/some_thing-1.0.dist-info/METADATA"), metadata.into()),
            (format!("{site}/some_thing-1.0.dist-info/RECORD"), record.into()),
        ]);
        let found = read(&format!("{site}/some_thing-1.0.dist-info/METADATA"), &files).unwrap();
        let component = &found.component;
        assert_eq!((component.id().as_str(), component.license.as_deref()), ("pip:/opt/env:some-thing", Some("MIT")));
        assert_eq!(component.depends, ["numpy"]);
        let expected =
            ["some_thing/__init__.py", "some_thing-1.0.dist-info/RECORD"].map(|path| format!("{site}/{path}"));
        assert_eq!(found.files, [&expected[0], "opt/env/bin/thing", &expected[1]]);
        assert!(read(&format!("{site}/some_thing-1.0.dist-info/RECORD"), &files).is_none());
    }

    #[test]
    fn an_archive_that_was_named_is_known_with_its_hash() {
        let read = |direct_url: &str| {
            let folder = "lib/python3.12/site-packages/a-1";
            let files = [(METADATA, "Name: a\nVersion: 1\n"), (DIRECT_URL, direct_url)];
            let files = files.map(|(name, text)| (format!("{folder}{name}"), text.as_bytes().to_vec()));
            let found = read(&format!("{folder}{METADATA}"), &files.into()).unwrap().component;
            (found.url.map(|url| url.to_string()), found.sha256)
        };
        let url = "https://files.example.org/a-1-py3-none-any.whl";
        let known = (Some(url.to_owned()), Some("ab".to_owned()));
        assert_eq!(read(&format!(r#"{{"url": "{url}", "archive_info": {{"hashes": {{"sha256": "ab"}}}}}}"#)), known);
        let secret = url.replace("//", "//user:pass@");
        let old = format!(r#"{{"url": "{secret}?token=x", "archive_info": {{"hash": "sha256=ab"}}}}"#);
        assert_eq!(read(&old), known);
        let nothing = (None, None);
        assert_eq!(read(r#"{"url": "file:///home/me/a.whl", "archive_info": {"hash": "sha256=ab"}}"#), nothing);
        assert_eq!(read(&format!(r#"{{"url": "{url}", "dir_info": {{"editable": true}}}}"#)), nothing);
        assert_eq!(read("{"), nothing);
    }

    proptest! {
        #[test]
        fn anything_may_stand_in_an_image(
            folder in "([a-z]{1,4}/){0,3}[a-z]{0,4}",
            metadata in "((Name|Version|Requires-Dist|License): ?[ -~é]{0,12}\\n){0,6}",
            record in "([a-z/.,\"é]{0,20}\\n){0,6}",
        ) {
            let path = format!("{folder}{METADATA}");
            let files = [(path.clone(), metadata.into()), (format!("{folder}{RECORD}"), record.into())];
            for file in read(&path, &files.into()).iter().flat_map(|found| &found.files) {
                prop_assert!(!file.split('/').any(|part| part == ".."), "{file}");
            }
        }
    }
}
