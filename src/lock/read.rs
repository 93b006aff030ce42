//! Reads `conda-lock.yml`.

use std::ops::Range;
use std::path::Path;

use rattler_conda_lock::{Document, ErrorKind};
use rattler_conda_types::Subdir;
use url::Url;

use super::conflict::refuse_markers;
use super::{Error, Lock, LockedChannel, LockedPackage, Manager, read_fast};
use crate::project::Place;

impl Lock {
    /// Reads the `conda-lock.yml` at `path`; `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is not conda-lock's, version 1; with the line, where one is to blame.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        let text = match fs_err::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path: path.to_path_buf(), source }),
        };
        Self::parse(path, &text).map(Some)
    }

    /// Parses the content of a `conda-lock.yml`; `path` is for messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        if let Some(lock) = read_fast::parse(text) {
            return Ok(lock);
        }
        Self::parse_yaml(path, text)
    }

    /// Any YAML; knows what is wrong where.
    pub(super) fn parse_yaml(path: &Path, text: &str) -> Result<Self, Error> {
        let file = File { path, text };
        refuse_markers(path, text)?;
        let document = Document::parse(text).map_err(|error| file.format_error(&error))?;
        file.lock(&document)
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            file: self.path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            column: before[start..].chars().count() + 1,
        }
    }

    fn format_error(&self, error: &rattler_conda_lock::Error) -> Error {
        let is_pixi = self.text.lines().any(|line| line == "environments:");
        if is_pixi && !matches!(error.kind(), ErrorKind::Syntax { .. }) {
            return Error::PixiLock { path: self.path.to_path_buf() };
        }
        let mut place = self.place(error.span().map_or(0, |span: Range<usize>| span.start));
        let problem = match error.kind() {
            ErrorKind::UnsupportedVersion => "only version 1 of conda-lock's format is supported".to_owned(),
            ErrorKind::Syntax { message } => {
                let (what, told) = told_place(message);
                (place.line, place.column) = told.unwrap_or((place.line, place.column));
                format!("broken YAML: {what}")
            }
            kind => format!("`{}`: {kind}", error.path().as_str()),
        };
        Error::Format { place, problem }
    }

    fn error(&self, document: &Document, path: &str, problem: String) -> Error {
        let place = self.place(document.span(path).map_or(0, |span| span.start));
        Error::Format { place, problem }
    }

    fn lock(&self, document: &Document) -> Result<Lock, Error> {
        let file = document.lock_file();
        let metadata = &file.metadata;
        let mut subdirs = Vec::with_capacity(metadata.platforms.len());
        for (index, platform) in metadata.platforms.iter().enumerate() {
            subdirs.push(self.subdir(document, &format!("metadata.platforms[{index}]"), platform)?);
        }
        let channels = metadata
            .channels
            .iter()
            .map(|channel| LockedChannel { url: channel.url.clone(), used_env_vars: channel.used_env_vars.clone() });
        let hash = |subdir: &Subdir| Some((*subdir, metadata.content_hash.get(subdir.as_str())?.clone()));
        let packages = file.package.iter().enumerate().map(|(index, package)| self.package(document, index, package));
        let mut lock = Lock {
            channels: channels.collect(),
            content_hash: subdirs.iter().filter_map(hash).collect(),
            sources: metadata.sources.clone(),
            custom_metadata: metadata.custom_metadata.clone().unwrap_or_default(),
            packages: packages.collect::<Result<_, _>>()?,
            subdirs,
        };
        lock.sort();
        Ok(lock)
    }

    fn subdir(&self, document: &Document, path: &str, name: &str) -> Result<Subdir, Error> {
        name.parse().map_err(|_| self.error(document, path, format!("`{name}` is no subdir that is known")))
    }

    fn package(
        &self,
        document: &Document,
        index: usize,
        package: &rattler_conda_lock::Package,
    ) -> Result<LockedPackage, Error> {
        let path = |field: &str| format!("package[{index}].{field}");
        if package.source.is_some() {
            let problem = format!("`{}` is installed from a source by pip, which is not supported", package.name);
            return Err(self.error(document, &path("source"), problem));
        }
        let url = Url::parse(&package.url).map_err(|error| self.error(document, &path("url"), error.to_string()))?;
        Ok(LockedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            manager: match package.manager {
                rattler_conda_lock::Manager::Conda => Manager::Conda,
                rattler_conda_lock::Manager::Pip => Manager::Pip,
            },
            subdir: self.subdir(document, &path("platform"), &package.platform)?,
            dependencies: package.dependencies.clone(),
            url,
            md5: package.hash.md5.clone(),
            sha256: package.hash.sha256.clone(),
            category: package.category.clone(),
            optional: package.optional,
        })
    }
}

/// Splits `WHAT at line 25, column 3`, behind which the YAML parser may tell other places.
fn told_place(message: &str) -> (&str, Option<(usize, usize)>) {
    let Some((what, rest)) = message.split_once(" at line ") else { return (message, None) };
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok());
    (what, numbers.next().zip(numbers.next()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCK: &str = "version: 1
metadata:
  content_hash:
    linux-64: 8b7df143d91c716ecfa5fc1730022f6b421b05cedee8fd52b1fc65a96030ad52
  channels:
  - url: conda-forge
    used_env_vars: []
  platforms:
  - linux-64
  sources:
  - environment.yml
package:
- name: zlib
  version: '1.10_2'
  manager: conda
  platform: linux-64
  dependencies:
    libzlib: 5_1
  url: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.10_2-h_0.conda
  hash:
    md5: 00000000000000000000000000000000
  category: main
  optional: false
";

    fn problem(text: &str) -> String {
        Lock::parse(Path::new("lock.yml"), text).unwrap_err().to_string().replace("lock.yml:", "")
    }

    #[test]
    fn versions_are_text() {
        let lock = Lock::parse(Path::new("x"), LOCK).unwrap();
        assert_eq!(lock.packages[0].version, "1.10_2");
        assert_eq!(lock.packages[0].dependencies["libzlib"], "5_1");
        assert_eq!(lock.packages[0].build(), Some("h_0"));
    }

    #[test]
    fn custom_metadata_is_kept() {
        let custom = "  custom_metadata:\n    esker-exclude-newer: '2026-01-01T00:00:00Z'\n    note: seen\n";
        let of_the_run = "  time_metadata:\n    created_at: '2024-01-01T00:00:00Z'\n";
        let plain = Lock::parse(Path::new("x"), LOCK).unwrap();
        let text = LOCK.replace("package:\n", &format!("{of_the_run}{custom}package:\n"));
        let lock = Lock::parse(Path::new("x"), &text).unwrap();
        assert_eq!(lock.custom_metadata["esker-exclude-newer"], "2026-01-01T00:00:00Z");
        assert!(lock.to_conda_lock_yaml().contains(&format!("  - environment.yml\n{custom}package:\n")));
        assert_eq!(Lock { custom_metadata: Default::default(), ..lock }, plain);
    }

    #[test]
    fn what_is_no_lock_is_said_with_its_line() {
        let conflict = LOCK.replace("package:\n", "<<<<<<< HEAD\npackage:\n=======\npackage:\n>>>>>>> other\n");
        assert!(problem(&conflict).starts_with("12:1: a merge conflict"), "{}", problem(&conflict));
        let newer = LOCK.replace("version: 1\n", "version: 2\n");
        assert!(problem(&newer).starts_with("1:10: only version 1"), "{}", problem(&newer));
        let pixi = "version: 6\nenvironments:\n  default: {}\npackages: []\n";
        assert!(problem(pixi).ends_with("is a lock of pixi, not of conda-lock"));
        let stray = LOCK
            .replace("    platform: linux-64", "    platform: osx-64")
            .replace("  platform: linux-64", "  platform: osx-64");
        assert!(problem(&stray).starts_with("16:13: "), "{}", problem(&stray));
        let garbage = LOCK.replace("  sources:", "  sources: [");
        assert!(problem(&garbage).starts_with("11:3: broken YAML: "), "{}", problem(&garbage));
        assert!(!problem(&garbage).contains(" at line "), "{}", problem(&garbage));
        let short = LOCK.replace("00000000000000000000000000000000", "0");
        assert!(problem(&short).starts_with("21:10: `package[0].hash.md5`"), "{}", problem(&short));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = Lock::parse(Path::new("x"), &text);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_lock(
            line in 0..LOCK.lines().count(),
            text in "( {0,4}(- )?[a-z0-9]{0,8}:)?[ -~é]{0,12}",
        ) {
            let mut lines: Vec<&str> = LOCK.lines().collect();
            lines[line] = &text;
            let _ = Lock::parse(Path::new("x"), &lines.join("\n"));
        }
    }
}
