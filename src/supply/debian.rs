//! Debian packages, as dpkg's records in an image tell them (deb-control(5)).
//!
//! Most images have one file for all, `/var/lib/dpkg/status`; those without dpkg (distroless) a file each in
//! `/var/lib/dpkg/status.d`. Neither tells where a package was fetched, nor its archive's hash.

use std::collections::{BTreeMap, BTreeSet};

use super::Component;

const STATUS: &str = "var/lib/dpkg/status";
const STATUS_D: &str = "var/lib/dpkg/status.d/";
/// Which distribution it is (os-release(5)); the first is mostly a link to the second.
const RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// Whether [`components`] wants the content of the file `path`.
pub fn is_wanted(path: &str) -> bool {
    let piece = path.strip_prefix(STATUS_D);
    path == STATUS || RELEASE.contains(&path) || piece.is_some_and(|name| !name.ends_with(".md5sums"))
}

/// The Debian packages that `files`, by their path, say are installed.
pub fn components(files: &BTreeMap<String, Vec<u8>>) -> Vec<Component> {
    let release = Release::of(files);
    let texts = files.iter().filter(|(path, _)| *path == STATUS || path.starts_with(STATUS_D));
    let texts: Vec<_> = texts.map(|(_, content)| String::from_utf8_lossy(content)).collect();
    let packages: Vec<_> = texts.iter().flat_map(|text| text.split("\n\n")).filter_map(Package::read).collect();
    let providers = providers(&packages);
    packages.iter().map(|package| package.component(&release, &providers)).collect()
}

/// The name of a distribution in package URLs (`debian`) and that of its release (`debian-12`).
struct Release {
    distribution: String,
    release: String,
}

impl Release {
    fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let text = RELEASE.iter().find_map(|path| files.get(*path)).map(|text| String::from_utf8_lossy(text));
        let value = |key: &str| {
            let line = text.as_ref()?.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
        };
        let distribution = value("ID").unwrap_or_else(|| "debian".to_owned());
        // A release that has no number yet is told by its name.
        let release = value("VERSION_ID").or_else(|| value("VERSION_CODENAME"));
        let release = release.map(|release| format!("{distribution}-{release}")).unwrap_or_default();
        Self { distribution, release }
    }
}

/// One paragraph of dpkg's records.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
    depends: Vec<String>,
    provides: Vec<String>,
}

impl<'a> Package<'a> {
    /// Reads a paragraph; `None` if it is of a package that is not installed.
    fn read(paragraph: &'a str) -> Option<Self> {
        let mut fields = BTreeMap::new();
        for (key, value) in paragraph.lines().filter_map(|line| line.split_once(':')) {
            // Lines that go on begin with a space.
            if !key.starts_with([' ', '\t']) {
                fields.insert(key, value.trim());
            }
        }
        // Without dpkg there is no such field, and all that is there is installed.
        let state = fields.get("Status").and_then(|status| status.split(' ').nth(2));
        if state.is_some_and(|state| state != "installed") {
            return None;
        }
        let field = |key| fields.get(key).copied().unwrap_or_default();
        let depends = names(field("Pre-Depends")).chain(names(field("Depends"))).collect();
        Some(Self {
            name: fields.get("Package").copied().filter(|name| !name.is_empty())?,
            version: field("Version"),
            architecture: field("Architecture"),
            depends,
            provides: names(field("Provides")).collect(),
        })
    }

    fn component(&self, release: &Release, providers: &BTreeMap<&str, BTreeSet<&str>>) -> Component {
        let met = self.depends.iter().filter_map(|name| providers.get(name.as_str())).flatten();
        let met: BTreeSet<_> = met.map(|name| (*name).to_owned()).collect();
        Component {
            depends: met.into_iter().collect(),
            ..Component::deb(self.name, self.version, self.architecture, &release.distribution, &release.release)
        }
    }
}

/// Names in a list of relations (`libc6 (>= 2.34), debconf | debconf-2.0, perl:any`), alternatives included.
fn names(relations: &str) -> impl Iterator<Item = String> {
    let name = |relation: &str| {
        let relation = relation.trim();
        let end = relation.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')));
        relation[..end.unwrap_or(relation.len())].to_owned()
    };
    relations.split([',', '|']).map(name).filter(|name| !name.is_empty())
}

/// Which installed packages stand for a name: itself, and those that provide it.
fn providers<'a>(packages: &'a [Package<'_>]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut providers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let stood_for = package.provides.iter().map(String::as_str).chain([package.name]);
        for name in stood_for {
            providers.entry(name).or_default().insert(package.name);
        }
    }
    providers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS_TEXT: &str = "\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u4
Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~) | gone
Description: GNU C Library
 Version: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: mawk
Status: install ok installed
Architecture: amd64
Version: 1.3.4
Provides: awk
Pre-Depends: libc6:any (>= 2.34)

Package: base-files
Status: install ok installed
Architecture: amd64
Version: 12.4
Pre-Depends: awk
";

    fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
    }

    fn shown(files: &BTreeMap<String, Vec<u8>>) -> Vec<(String, Vec<String>)> {
        components(files).into_iter().map(|component| (component.purl, component.depends)).collect()
    }

    #[test]
    fn dpkg_tells_what_is_installed_and_by_what_it_is_held() {
        let release = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\n";
        let found = shown(&files(&[(STATUS, STATUS_TEXT), (RELEASE[1], release)]));
        let purl = |rest: &str| format!("pkg:deb/debian/{rest}?arch=amd64&distro=debian-12");
        let expected = [
            (purl("libc6@2.36-9%2Bdeb12u4"), vec![]),
            (purl("mawk@1.3.4"), vec!["libc6".to_owned()]),
            (purl("base-files@12.4"), vec!["mawk".to_owned()]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn images_without_dpkg_have_a_file_for_each_package() {
        let paths = [("var/lib/dpkg/status.d/base", "Package: base\nVersion: 1\nArchitecture: all\n")];
        assert_eq!(shown(&files(&paths)), [("pkg:deb/debian/base@1?arch=all".to_owned(), vec![])]);
        assert!(is_wanted(paths[0].0) && !is_wanted("var/lib/dpkg/status.d/base.md5sums"));
        assert_eq!(shown(&files(&[(STATUS, "")])), []);
    }

    proptest! {
        #[test]
        fn anything_may_stand_in_an_image(
            status in "((Package|Status|Version|Depends|Provides|Pre-Depends|ID)?:?[ -~\\n\\té]{0,12}\\n){0,12}",
            release in "[ -~\\n=\"é]{0,40}",
        ) {
            let _ = components(&files(&[(STATUS, &status), (RELEASE[0], &release)]));
        }
    }
}
