//! Reads explicit locks (`conda-<subdir>.lock`), of which there may be no `conda-lock.yml` any more.
//!
//! Such a file says what to install, not why: a lock read from it has no dependencies and no content hash.

use std::collections::BTreeMap;
use std::path::Path;

use rattler_conda_types::Subdir;
use url::Url;

use super::conflict::refuse_markers;
use super::{Error, Lock, LockedPackage, Manager};
use crate::project::Place;

impl Lock {
    /// Whether `text` is an explicit lock, and not a `conda-lock.yml`.
    pub fn is_explicit(text: &str) -> bool {
        text.lines().any(|line| line.trim_end() == "@EXPLICIT")
    }

    /// Parses an explicit lock of the subdir that it states, or that its packages are of; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Format`] with the line that is none of such a file's, [`Error::ConflictMarker`].
    pub fn parse_explicit(path: &Path, text: &str) -> Result<Self, Error> {
        refuse_markers(path, text)?;
        let subdir = stated(text).map(|(_, subdir)| subdir).or_else(|| of_packages(text)).ok_or_else(|| {
            let problem = "neither a line `# platform: …` nor a package says which subdir this locks";
            error(path, 1, problem.to_owned())
        })?;
        Self::parse_explicit_for(path, text, subdir)
    }

    /// Parses an explicit lock of `subdir`; `path` is for messages.
    ///
    /// # Errors
    /// As [`parse_explicit`](Self::parse_explicit), and when the file or a package is of another subdir.
    pub fn parse_explicit_for(path: &Path, text: &str, subdir: Subdir) -> Result<Self, Error> {
        refuse_markers(path, text)?;
        if !Self::is_explicit(text) {
            return Err(error(path, 1, "no explicit lock: it has no line `@EXPLICIT`".to_owned()));
        }
        if let Some((line, other)) = stated(text).filter(|(_, stated)| *stated != subdir) {
            return Err(error(path, line, format!("a lock for {other} in place of one for {subdir}")));
        }
        let mut lock = Self { subdirs: vec![subdir], ..Self::default() };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let package = match line.strip_prefix("# pip ") {
                Some(pip) => pip_package(pip, subdir),
                None if line.is_empty() || line.starts_with(['#', '@']) => continue,
                None => conda_package(line, subdir),
            };
            let none = || error(path, index + 1, format!("`{line}` is no URL of a package"));
            let package = package.ok_or_else(none)?;
            if of_other_subdir(&package) {
                return Err(error(path, index + 1, format!("`{}` is not for {subdir}", package.url)));
            }
            lock.packages.push(package);
        }
        lock.sort();
        Ok(lock)
    }
}

fn error(path: &Path, line: usize, problem: String) -> Error {
    Error::Format { place: Place { file: path.to_path_buf(), line, column: 1 }, problem }
}

/// The subdir that a line `# platform: …` states, and the line's number.
fn stated(text: &str) -> Option<(usize, Subdir)> {
    let platform = |line: &str| line.strip_prefix("# platform:")?.trim().parse().ok();
    text.lines().enumerate().find_map(|(index, line)| Some((index + 1, platform(line)?)))
}

/// The subdir of the first package that is not for any.
fn of_packages(text: &str) -> Option<Subdir> {
    let of_package = |line: &str| line.rsplit('/').nth(1)?.parse().ok().filter(|subdir| *subdir != Subdir::NoArch);
    text.lines().filter(|line| !line.starts_with('#')).find_map(of_package)
}

fn of_other_subdir(package: &LockedPackage) -> bool {
    let folder = package.url.path().rsplit('/').nth(1).and_then(|folder| folder.parse::<Subdir>().ok());
    let is_other = |folder: Subdir| folder != package.subdir && folder != Subdir::NoArch;
    package.manager == Manager::Conda && folder.is_some_and(is_other)
}

fn conda_package(line: &str, subdir: Subdir) -> Option<LockedPackage> {
    let (url, hash) = line.split_once('#').map_or((line, None), |(url, hash)| (url, Some(hash)));
    let url = Url::parse(url).ok()?;
    let file = url.path().rsplit('/').next()?;
    let stem = file.strip_suffix(".conda").or_else(|| file.strip_suffix(".tar.bz2"))?;
    let (name, version) = stem.rsplit_once('-')?.0.rsplit_once('-')?;
    let (name, version) = (name.to_owned(), decoded(version));
    // conda tells an MD5, a SHA-256 (named or not), or none.
    let (md5, sha256) = match hash.map(|hash| (hash, hash.strip_prefix("sha256:"))) {
        None => (None, None),
        Some((_, Some(sha256))) => (None, Some(digest(sha256, 64)?)),
        Some((md5, None)) if md5.len() == 32 => (Some(digest(md5, 32)?), None),
        Some((sha256, None)) => (None, Some(digest(sha256, 64)?)),
    };
    Some(LockedPackage { md5, sha256, ..package(name, version, Manager::Conda, subdir, url) })
}

/// `NAME @ URL#sha256=HASH`. The version is in the file's name, of a wheel or of a source archive.
fn pip_package(text: &str, subdir: Subdir) -> Option<LockedPackage> {
    let (name, url) = text.split_once(" @ ")?;
    let (url, hash) = url.split_once('#').map_or((url, None), |(url, hash)| (url, Some(hash)));
    let url = Url::parse(url).ok()?;
    let file = url.path().rsplit('/').next()?;
    let version = match file.strip_suffix(".whl") {
        Some(wheel) => wheel.split('-').nth(1)?,
        None => [".tar.gz", ".zip"].iter().find_map(|end| file.strip_suffix(end))?.rsplit_once('-')?.1,
    };
    let (name, version) = (name.trim().to_owned(), decoded(version));
    let sha256 = match hash {
        Some(hash) => Some(digest(hash.strip_prefix("sha256=")?, 64)?),
        None => None,
    };
    Some(LockedPackage { sha256, ..package(name, version, Manager::Pip, subdir, url) })
}

/// `hash`, if it is one of that many digits.
fn digest(hash: &str, digits: usize) -> Option<String> {
    let whole = hash.len() == digits && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| hash.to_ascii_lowercase())
}

fn package(name: String, version: String, manager: Manager, subdir: Subdir, url: Url) -> LockedPackage {
    LockedPackage {
        name,
        version,
        manager,
        subdir,
        dependencies: BTreeMap::new(),
        url,
        md5: None,
        sha256: None,
        category: "main".to_owned(),
        optional: false,
    }
}

/// An epoch or a local version may be escaped in a URL (`1%212.0`).
fn decoded(version: &str) -> String {
    version.replace("%21", "!").replace("%2B", "+").replace("%2b", "+")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# Generated by conda-lock.\n# platform: linux-64\n# input_hash: 1\n@EXPLICIT\n\
        https://conda.anaconda.org/conda-forge/noarch/a-b-1.0-pyhd_0.conda#0123456789abcdef0123456789abcdef\n\
        https://conda.anaconda.org/conda-forge/linux-64/x264-1%21164-h_1.tar.bz2#sha256:\
        00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF\n\
        # pip Foo @ https://files.example.org/foo-2.0-py3-none-any.whl#sha256=\
        00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    const SHA256: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn problem(text: &str) -> String {
        Lock::parse_explicit(Path::new("x"), text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        assert!(Lock::is_explicit(TEXT) && !Lock::is_explicit("version: 1\n"));
        let lock = Lock::parse_explicit(Path::new("x"), TEXT).unwrap();
        let rows: Vec<_> = lock.packages.iter().map(|p| (p.name.as_str(), p.version.as_str(), p.build())).collect();
        assert_eq!(rows, [("a-b", "1.0", Some("pyhd_0")), ("x264", "1!164", Some("h_1")), ("Foo", "2.0", None)]);
        assert_eq!(lock.packages[0].md5.as_deref(), Some("0123456789abcdef0123456789abcdef"));
        assert_eq!(
            (lock.packages[1].sha256.as_deref(), lock.packages[2].sha256.as_deref()),
            (Some(SHA256), Some(SHA256))
        );
        assert_eq!(lock.subdirs, [Subdir::Linux64]);
    }

    /// As conda 24 prints an environment: no hash unless asked, and maybe no package that tells the subdir.
    #[test]
    fn what_conda_lists_is_read() {
        let text = format!(
            "# This file may be used to create an environment using:\n# $ conda create --name <env> --file <this file>\n\
             # platform: linux-64\n# created-by: conda 24.9.2\n@EXPLICIT\n\
             https://conda.anaconda.org/conda-forge/noarch/a-1.0-0.conda\n\
             https://conda.anaconda.org/conda-forge/noarch/b-1.0-0.conda#{SHA256}\r\n"
        );
        let lock = Lock::parse_explicit(Path::new("x"), &text).unwrap();
        assert_eq!(lock.subdirs, [Subdir::Linux64]);
        let hashes: Vec<_> = lock.packages.iter().map(|p| (p.md5.as_deref(), p.sha256.as_deref())).collect();
        assert_eq!(hashes, [(None, None), (None, Some(SHA256))]);
        let nameless = text.replace("# platform: linux-64\n", "");
        assert!(problem(&nameless).starts_with("x:1:1: neither"));
        assert_eq!(Lock::parse_explicit_for(Path::new("x"), &nameless, Subdir::Linux64).unwrap(), lock);
    }

    #[test]
    fn other_lines_are_shown() {
        assert_eq!(problem("# platform: linux-64\n@EXPLICIT\nwhat\n"), "x:3:1: `what` is no URL of a package");
        assert!(problem("@EXPLICIT\n").starts_with("x:1:1: neither"));
        assert!(problem("# platform: linux-64\n").contains("no line `@EXPLICIT`"));
        let other = Lock::parse_explicit_for(Path::new("x"), TEXT, Subdir::LinuxAarch64).unwrap_err().to_string();
        assert_eq!(other, "x:2:1: a lock for linux-64 in place of one for linux-aarch64");
        let stray = TEXT.replace("/noarch/", "/osx-64/");
        assert!(problem(&stray).starts_with("x:5:1: `https://conda.anaconda.org/conda-forge/osx-64/"));
        assert!(problem(&stray).ends_with("is not for linux-64"));
        assert!(problem(&TEXT.replace("@EXPLICIT\n", "@EXPLICIT\n<<<<<<< HEAD\n")).starts_with("x:5:1: a merge"));
    }

    /// Where a write was cut short: a whole package or none, never another.
    #[test]
    fn a_file_that_is_cut_has_no_package_of_its_own() {
        let whole = Lock::parse_explicit(Path::new("x"), TEXT).unwrap();
        let same = |package: &LockedPackage| {
            let known = whole.packages.iter().find(|known| known.url == package.url);
            known.is_some_and(|known| {
                let hashless = LockedPackage { md5: None, sha256: None, ..known.clone() };
                package == known || *package == hashless
            })
        };
        for end in 0..TEXT.len() {
            if let Ok(lock) = Lock::parse_explicit(Path::new("x"), &TEXT[..end]) {
                assert!(lock.packages.iter().all(same), "cut at {end}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(# platform: linux-64\n|# pip | @ |@EXPLICIT\n|https://|[ -~é\n]|\\.conda|-|/){0,40}") {
            if let Ok(lock) = Lock::parse_explicit(Path::new("x"), &text) {
                lock.explicit(Subdir::Linux64);
            }
        }
    }
}
