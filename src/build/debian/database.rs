//! dpkg's database: `status`, and for each package its lists, hashes, scripts and triggers in `info` (dpkg(1), deb(5)).
//!
//! It is written as dpkg would have left it, so that `dpkg -l`, `dpkg -V`, scanners, and an `apt-get` in an image that is
//! built on this one see what is installed.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Error;
use super::package::Package;
use super::tree::Tree;
use crate::apt::control::{Paragraph, paragraphs};

/// Where it is, relative to the root.
pub const FOLDER: &str = "var/lib/dpkg";
/// Control files that go into no file of their own: the paragraph goes into `status`.
const CONTROL: &str = "control";
/// Scripts that dpkg runs.
const SCRIPTS: [&str; 5] = ["preinst", "postinst", "prerm", "postrm", "config"];

/// Writes what is new to the tree: `base` has the base's files, `lost` the paths that packages lost to others.
///
/// # Errors
/// When the base has no database, or it cannot be written.
pub fn write(
    packages: &[Package],
    lost: &BTreeMap<String, Vec<String>>,
    base: &BTreeMap<String, Vec<u8>>,
    tree: &mut Tree,
    time: u64,
) -> Result<(), Error> {
    let file = |name: &str| format!("{FOLDER}/{name}");
    let status =
        base.get(&file("status")).ok_or_else(|| Error::Base { reason: format!("it has no `/{FOLDER}/status`") })?;
    tree.write(&file("status"), status_with(&String::from_utf8_lossy(status), packages).as_bytes(), 0o644, time)?;
    for package in packages {
        let lost: BTreeSet<&str> = lost.get(package.name()).into_iter().flatten().map(String::as_str).collect();
        let kept = package.list.iter().filter(|path| !lost.contains(path.as_str()));
        let list: String = kept.map(|path| format!("{path}\n")).collect();
        let info = |suffix: &str| file(&format!("info/{}.{suffix}", package.info_name()));
        tree.write(&info("list"), list.as_bytes(), 0o644, time)?;
        for (name, bytes) in package.control.iter().filter(|(name, _)| *name != CONTROL) {
            let mode = if SCRIPTS.contains(&name.as_str()) { 0o755 } else { 0o644 };
            tree.write(&info(name), bytes, mode, time)?;
        }
    }
    lists_of_losers(packages, lost, base, tree, time)?;
    triggers(packages, base, tree, time)
}

/// `status` with the paragraphs of `packages`, by name.
fn status_with(status: &str, packages: &[Package]) -> String {
    let key = |paragraph: &str| {
        let paragraph = Paragraph::parse(paragraph);
        let field = |name: &str| paragraph.get(name).unwrap_or_default().to_owned();
        (field("Package"), field("Architecture"))
    };
    let mut all: BTreeMap<(String, String), String> = BTreeMap::new();
    for paragraph in paragraphs(status) {
        all.insert(key(paragraph), paragraph.trim_end().to_owned());
    }
    for package in packages {
        let locked = &package.deb.locked;
        all.insert((locked.name.clone(), locked.architecture.clone()), paragraph(package));
    }
    all.values().flat_map(|paragraph| [paragraph.as_str(), "\n\n"]).collect()
}

/// A package's paragraph in `status`: its own, with what became of it.
fn paragraph(package: &Package) -> String {
    let text = package.text(CONTROL).unwrap_or_default();
    let mut out = format!("Package: {}\nStatus: install ok installed\n", package.name());
    for (name, value) in Paragraph::parse(&text).fields() {
        if !name.eq_ignore_ascii_case("Package") && !name.eq_ignore_ascii_case("Status") {
            out.push_str(&format!("{name}:{}{value}\n", if value.is_empty() { "" } else { " " }));
        }
    }
    if !package.conffile_hashes.is_empty() {
        out.push_str("Conffiles:\n");
        out.extend(package.conffile_hashes.iter().map(|(path, md5)| format!(" {path} {md5}\n")));
    }
    out.trim_end().to_owned()
}

/// Lists of the base's packages without what they lost.
fn lists_of_losers(
    packages: &[Package],
    lost: &BTreeMap<String, Vec<String>>,
    base: &BTreeMap<String, Vec<u8>>,
    tree: &mut Tree,
    time: u64,
) -> Result<(), Error> {
    for (name, paths) in lost.iter().filter(|(name, _)| packages.iter().all(|package| package.name() != **name)) {
        for (path, bytes) in base.iter().filter(|(path, _)| list_of(path) == Some(name.as_str())) {
            let text = String::from_utf8_lossy(bytes);
            let kept = text.lines().filter(|line| !paths.iter().any(|path| path == line));
            let kept: String = kept.map(|line| format!("{line}\n")).collect();
            tree.write(path, kept.as_bytes(), 0o644, time)?;
        }
    }
    Ok(())
}

/// The package whose list of paths the file `path` is.
pub fn list_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix("/info/")?.strip_suffix(".list")?;
    Some(name.split(':').next().unwrap_or(name))
}

/// Notes what triggers the packages are interested in (deb-triggers(5)): dpkg looks there when others are installed.
fn triggers(packages: &[Package], base: &BTreeMap<String, Vec<u8>>, tree: &mut Tree, time: u64) -> Result<(), Error> {
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        for line in package.text("triggers").unwrap_or_default().lines() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            let [directive, trigger] = words[..] else { continue };
            let options = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            let name = format!("{}{options}", package.info_name());
            if trigger.starts_with('/') {
                files.entry("File".to_owned()).or_default().insert(format!("{trigger} {name}"));
            } else if !trigger.contains('/') && !trigger.starts_with('.') {
                files.entry(trigger.to_owned()).or_default().insert(name);
            }
        }
    }
    for (name, lines) in files {
        let path = format!("{FOLDER}/triggers/{name}");
        let before = base.get(&path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let new = lines.iter().filter(|line| before.lines().all(|known| known != line.as_str()));
        let text: String = before.lines().chain(new.map(String::as_str)).map(|line| format!("{line}\n")).collect();
        tree.write(&path, text.as_bytes(), 0o644, time)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::deb::Deb;
    use super::super::tree::tests::tree;
    use super::*;
    use crate::apt::LockedDeb;

    fn package(name: &str, same: bool, control: &[(&str, &str)]) -> Package {
        let locked = LockedDeb {
            name: name.into(),
            version: "1".into(),
            architecture: "amd64".into(),
            url: "https://snapshot.debian.org/a.deb".parse().unwrap(),
            sha256: "a".repeat(64),
            size: 1,
        };
        Package {
            deb: Deb { locked, path: "a.deb".into() },
            control: control.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect(),
            conffiles: BTreeSet::new(),
            replaces: vec![],
            list: vec!["/.".into(), "/usr".into(), "/usr/x".into()],
            conffile_hashes: [("/etc/x".to_owned(), "00ff".to_owned())].into(),
            same,
        }
    }

    #[test]
    fn the_database_has_what_dpkg_would_write() {
        let control =
            "Package: lib\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\nDescription: a\n long\n .\n text\n";
        let triggers = "# c\ninterest-noawait /usr/share/man\ninterest lib-update\nactivate-noawait ldconfig\n";
        let lib = package("lib", true, &[("control", control), ("postinst", "#!/bin/sh\n"), ("triggers", triggers)]);
        let base = [
            (
                "var/lib/dpkg/status",
                "Package: zz\nStatus: install ok installed\nArchitecture: all\n\nPackage: aa\nArchitecture: all\n",
            ),
            ("var/lib/dpkg/info/aa.list", "/.\n/usr/x\n/usr/y\n"),
            ("var/lib/dpkg/triggers/File", "/usr/lib other\n"),
        ];
        let base = base.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).into();
        let mut tree = tree(&["var/lib/dpkg/status"]);
        let lost = [("aa".to_owned(), vec!["/usr/x".to_owned()])].into();
        write(&[lib], &lost, &base, &mut tree, 5).unwrap();
        let mut text = |path: &str| String::from_utf8(tree.added_bytes(path).unwrap().unwrap()).unwrap();
        let status = text("var/lib/dpkg/status");
        let expected = "Package: lib\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\nMulti-Arch: same\n\
            Description: a\n long\n .\n text\nConffiles:\n /etc/x 00ff\n\nPackage: zz\n";
        assert!(status.starts_with("Package: aa\n") && status.contains(expected), "{status}");
        assert_eq!(text("var/lib/dpkg/info/lib:amd64.list"), "/.\n/usr\n/usr/x\n");
        assert_eq!(text("var/lib/dpkg/info/aa.list"), "/.\n/usr/y\n");
        assert_eq!(text("var/lib/dpkg/triggers/File"), "/usr/lib other\n/usr/share/man lib:amd64/noawait\n");
        assert_eq!(text("var/lib/dpkg/triggers/lib-update"), "lib:amd64\n");
        assert_eq!(tree.get("var/lib/dpkg/info/lib:amd64.postinst").unwrap().mode, 0o755);
        assert!(tree.get("var/lib/dpkg/info/lib:amd64.control").is_none());
    }
}
