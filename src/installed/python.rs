//! Python packages that pip installed: the `.dist-info` folders that belong to no package of conda's.

use std::collections::BTreeMap;

use crate::supply::Component;

const METADATA: &str = ".dist-info/METADATA";
const RECORD: &str = ".dist-info/RECORD";

/// Whether `path` says what a Python package is, or which files it has.
pub fn is_metadata(path: &str) -> bool {
    path.ends_with(METADATA) || path.ends_with(RECORD)
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
    let component = Component::of_python(&text, &format!("/{}", prefix_of(site)))?;
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
