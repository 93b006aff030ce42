//! What is installed in an image, joined with what was locked: where a package is of the lock, the lock knows its address and
//! all of its hashes.
//!
//! A Dockerfile may install anything from anywhere, so that a name and a version are no proof. Records of conda and pip have
//! a hash or an address of the archive, which decides. dpkg keeps neither: of its packages, name, version and
//! architecture together do. What is not of the lock stays as the image tells it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::apt::{AptLock, LockedDeb};
use crate::build::documents;
use crate::lock::{LockedPackage, Manager};
use crate::oci::Platform;
use crate::supply::provenance::Input;
use crate::supply::{Component, Kind};

/// Name, version and architecture of a Debian package.
type DebKey<'a> = (&'a str, &'a str, &'a str);

/// What is locked for one platform, to be found by what images tell.
pub struct Locked<'a> {
    by_sha256: BTreeMap<String, &'a LockedPackage>,
    by_md5: BTreeMap<String, &'a LockedPackage>,
    by_url: BTreeMap<String, &'a LockedPackage>,
    debs: BTreeMap<DebKey<'a>, &'a LockedDeb>,
}

/// All that decides what is found, to be part of a key.
#[derive(Serialize)]
pub struct Identity<'a> {
    packages: Vec<(String, Option<&'a str>, Option<&'a str>)>,
    debs: Vec<&'a LockedDeb>,
}

impl<'a> Locked<'a> {
    /// Those of `packages` and of `debian` that are for `platform`. Of one that is locked several times the first counts.
    pub fn new(
        packages: impl IntoIterator<Item = &'a LockedPackage>,
        debian: impl IntoIterator<Item = &'a AptLock>,
        platform: Platform,
    ) -> Self {
        let [mut by_sha256, mut by_md5, mut by_url] = [(); 3].map(|()| BTreeMap::new());
        for package in packages.into_iter().filter(|package| package.subdir == platform.subdir()) {
            for (map, key) in [(&mut by_sha256, &package.sha256), (&mut by_md5, &package.md5)] {
                if let Some(hash) = key {
                    map.entry(hash.to_ascii_lowercase()).or_insert(package);
                }
            }
            by_url.entry(package.public_url().to_string()).or_insert(package);
        }
        let debs = debian.into_iter().filter_map(|lock| lock.platforms.get(&platform)).flat_map(|lock| &lock.packages);
        let debs = debs.map(|deb| ((deb.name.as_str(), deb.version.as_str(), deb.architecture.as_str()), deb));
        Self { by_sha256, by_md5, by_url, debs: debs.collect() }
    }

    /// See [`Identity`].
    pub fn identity(&self) -> Identity<'_> {
        let packages = self.by_url.iter().map(|(url, it)| (url.clone(), it.md5.as_deref(), it.sha256.as_deref()));
        Identity { packages: packages.collect(), debs: self.debs.values().copied().collect() }
    }

    /// `component` with what is locked of it, and that as something that went into the image.
    pub fn join(&self, component: Component) -> (Component, Option<Input>) {
        if component.kind == Kind::Deb {
            let key: DebKey<'_> = (&component.name, &component.version, &component.place);
            let Some(deb) = self.debs.get(&key).copied() else { return (component, None) };
            let joined = Component { url: Some(deb.url.clone()), sha256: Some(deb.sha256.clone()), ..component };
            return (joined, documents::deb(deb));
        }
        let Some(locked) = self.find(&component) else { return (component, None) };
        let joined = joined(component, locked);
        // What has no SHA-256 cannot be listed by it.
        let input = joined.sha256.as_deref().and_then(|sha256| documents::package(locked, sha256));
        (joined, input)
    }

    /// The locked package that `component` is, by the best there is to tell.
    fn find(&self, component: &Component) -> Option<&'a LockedPackage> {
        let hash = |hash: &Option<String>| hash.as_ref().map(|hash| hash.to_ascii_lowercase());
        let by_sha256 = hash(&component.sha256).and_then(|sha256| self.by_sha256.get(&sha256));
        let by_md5 = || hash(&component.md5).and_then(|md5| self.by_md5.get(&md5));
        let by_url = || component.url.as_ref().and_then(|url| self.by_url.get(url.as_str()));
        let found = by_sha256.or_else(by_md5).or_else(by_url).copied();
        found.filter(|locked| is_same(component, locked))
    }
}

/// Whether nothing that both tell speaks against it: an archive with another hash is another, wherever it is from.
fn is_same(component: &Component, locked: &LockedPackage) -> bool {
    let manager = if component.kind == Kind::Conda { Manager::Conda } else { Manager::Pip };
    let hashes = [(&component.sha256, &locked.sha256), (&component.md5, &locked.md5)];
    let mut both = hashes.into_iter().filter_map(|(one, other)| Some((one.as_ref()?, other.as_ref()?)));
    locked.manager == manager && both.all(|(one, other)| one.eq_ignore_ascii_case(other))
}

fn joined(component: Component, locked: &LockedPackage) -> Component {
    let (url, purl) = match component.kind {
        Kind::Conda => {
            let build = component.build.as_deref().unwrap_or_default();
            let of_lock =
                Component::conda(&component.name, &component.version, build, &component.place, locked.public_url());
            (of_lock.url, of_lock.purl)
        }
        _ => (Some(locked.public_url()), component.purl),
    };
    Component {
        url,
        purl,
        md5: locked.md5.clone().or(component.md5),
        sha256: locked.sha256.clone().or(component.sha256),
        ..component
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rattler_conda_types::Subdir;

    use super::*;
    use crate::apt::PlatformLock;
    use crate::oci::Digest;

    const FORGE: &str = "https://conda.anaconda.org/conda-forge/noarch/a-1-0.conda";

    fn package(name: &str, url: &str, manager: Manager) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            manager,
            subdir: Subdir::Linux64,
            dependencies: BTreeMap::new(),
            url: url.parse().unwrap(),
            md5: Some("aa".repeat(16)),
            sha256: Some(Digest::of(name.as_bytes()).hex()),
            category: "main".to_owned(),
            optional: false,
        }
    }

    fn conda(url: &str, md5: Option<&str>, sha256: Option<&str>) -> Component {
        let hash = |hash: Option<&str>| hash.map(str::to_owned);
        Component {
            md5: hash(md5),
            sha256: hash(sha256),
            license: Some("MIT".to_owned()),
            ..Component::conda("a", "1", "0", "/srv/conda", url.parse().unwrap())
        }
    }

    #[test]
    fn a_package_of_the_lock_gets_its_address_and_hashes() {
        let lock = [package("a", FORGE, Manager::Conda)];
        let locked = Locked::new(&lock, [], Platform::LinuxAmd64);
        let (md5, sha256) = ("AA".repeat(16), Digest::of(b"a").hex());
        let mirror = "http://127.0.0.1:81/https/conda.anaconda.org/conda-forge/noarch/a-1-0.conda";
        for found in [conda(mirror, Some(&md5), None), conda(mirror, None, Some(&sha256)), conda(FORGE, None, None)] {
            let (joined, input) = locked.join(found.clone());
            let expected = conda(FORGE, lock[0].md5.as_deref(), Some(&sha256));
            assert_eq!(joined, expected, "{found:?}");
            assert_eq!(input.unwrap(), Input::package("a-1-0.conda", &FORGE.parse().unwrap(), Digest::of(b"a")));
        }
        let arm = Locked::new(&lock, [], Platform::LinuxArm64);
        assert_eq!(arm.join(conda(FORGE, None, None)), (conda(FORGE, None, None), None), "that is another platform's");
    }

    #[test]
    fn what_is_not_of_the_lock_stays_as_the_image_tells_it() {
        let lock = [package("a", FORGE, Manager::Conda), package("w", "https://x.org/w.whl", Manager::Pip)];
        let locked = Locked::new(&lock, [], Platform::LinuxAmd64);
        let other = Digest::of(b"other").hex();
        let nowhere = Component::conda_of_nowhere("a", "1", "0", "/srv/conda", "noarch");
        let of_pip = Component { sha256: lock[0].sha256.clone(), ..Component::pip("a", "1", "/srv/conda") };
        for found in [
            // The same name, version, build and address, and another archive.
            conda(FORGE, None, Some(&other)),
            conda(FORGE, Some(&"bb".repeat(16)), None),
            conda(FORGE, lock[0].md5.as_deref(), Some(&other)),
            conda("https://elsewhere.example.org/noarch/a-1-0.conda", None, None),
            nowhere,
            of_pip,
            Component::pip("w", "1", "/srv/conda"),
            Component::deb("a", "1", "amd64", "debian", "debian-12"),
        ] {
            assert_eq!(locked.join(found.clone()), (found, None));
        }
    }

    #[test]
    fn wheels_are_known_by_what_pip_notes_of_their_archive() {
        let url = "https://files.example.org/w-1-py3-none-any.whl";
        let lock = [LockedPackage { md5: None, ..package("w", url, Manager::Pip) }];
        let locked = Locked::new(&lock, [], Platform::LinuxAmd64);
        let found = Component { url: Some(url.parse().unwrap()), ..Component::pip("w", "1", "/srv/conda") };
        let (joined, input) = locked.join(found.clone());
        assert_eq!(joined, Component { sha256: lock[0].sha256.clone(), ..found });
        assert_eq!(input.unwrap().name, "w-1-py3-none-any.whl");
    }

    #[test]
    fn a_debian_package_is_told_by_name_version_and_architecture() {
        let deb = LockedDeb {
            name: "tree".to_owned(),
            version: "2.1.0-1".to_owned(),
            architecture: "amd64".to_owned(),
            url: "https://debian.example.org/pool/tree.deb".parse().unwrap(),
            sha256: Digest::of(b"tree").hex(),
            size: 3,
        };
        let platform = PlatformLock { base: Digest::of(b""), installed: Digest::of(b""), packages: vec![deb.clone()] };
        let apt = AptLock {
            requested: vec!["tree".to_owned()],
            snapshot: "20260101T000000Z".parse().unwrap(),
            platforms: [(Platform::LinuxAmd64, platform)].into(),
        };
        let locked = Locked::new([], [&apt], Platform::LinuxAmd64);
        let found = |version| Component::deb("tree", version, "amd64", "debian", "debian-12");
        let (joined, input) = locked.join(found("2.1.0-1"));
        let expected = Component { url: Some(deb.url), sha256: Some(deb.sha256), ..found("2.1.0-1") };
        assert_eq!((joined, input.unwrap().digest), (expected, Digest::of(b"tree")));
        assert_eq!(locked.join(found("2.1.0-2")), (found("2.1.0-2"), None));
    }
}
