//! One package in an image, whatever installed it.

use serde::{Deserialize, Serialize};
use url::Url;

/// What installed a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// conda.
    Conda,
    /// Debian's dpkg.
    Deb,
    /// pip.
    Pip,
}

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// What installed it.
    pub kind: Kind,
    /// Its name, normalised as its installer does.
    pub name: String,
    /// Its version, as its maker writes it.
    pub version: String,
    /// conda's build string.
    pub build: Option<String>,
    /// Where it is: the prefix of a conda or pip package (`/srv/conda`), the architecture of a Debian one.
    pub place: String,
    /// Its package URL (purl-spec).
    pub purl: String,
    /// Where its archive can be fetched, without credentials.
    pub url: Option<Url>,
    /// MD5 of the archive, in hexadecimal.
    pub md5: Option<String>,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: Option<String>,
    /// Its licence, in the words of its maker.
    pub license: Option<String>,
    /// Names of what it depends on at the same place, installed or not.
    pub depends: Vec<String>,
}

impl Kind {
    /// Its word in identifiers and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conda => "conda",
            Self::Deb => "deb",
            Self::Pip => "pip",
        }
    }
}

impl Component {
    /// A conda package that was installed from `url`, of a channel's subdir, into `prefix`.
    pub fn conda(name: &str, version: &str, build: &str, prefix: &str, url: Url) -> Self {
        let (channel, subdir, archive) = channel_of(&url);
        let qualifiers = [("build", build), ("channel", &channel), ("subdir", &subdir), ("type", archive)];
        Self {
            purl: purl("conda", None, name, version, &qualifiers),
            build: Some(build.to_owned()).filter(|build| !build.is_empty()),
            url: Some(url),
            ..Self::new(Kind::Conda, name, version, prefix)
        }
    }

    /// A conda package for `subdir` in `prefix`, of which nobody says where it was installed from.
    pub fn conda_of_nowhere(name: &str, version: &str, build: &str, prefix: &str, subdir: &str) -> Self {
        Self {
            purl: purl("conda", None, name, version, &[("build", build), ("subdir", subdir)]),
            build: Some(build.to_owned()).filter(|build| !build.is_empty()),
            ..Self::new(Kind::Conda, name, version, prefix)
        }
    }

    /// A Python package that pip installed into `prefix`.
    pub fn pip(name: &str, version: &str, prefix: &str) -> Self {
        let name = python_name(name);
        Self { purl: purl("pypi", None, &name, version, &[]), ..Self::new(Kind::Pip, &name, version, prefix) }
    }

    /// A Python package of `prefix`, by its `METADATA`; `None` if that tells no name and version.
    pub fn of_python(metadata: &str, prefix: &str) -> Option<Self> {
        // Header fields, as in an e-mail; the description follows behind an empty line (core metadata specification).
        let lines = metadata.lines().take_while(|line| !line.is_empty());
        let fields: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
        let field = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim());
        let needed = fields.iter().filter(|(key, value)| *key == "Requires-Dist" && !value.contains("extra =="));
        let license = field("License-Expression").or_else(|| field("License")).filter(|text| *text != "UNKNOWN");
        Some(Self {
            license: license.map(str::to_owned),
            depends: needed.map(|(_, value)| requirement_name(value)).collect(),
            ..Self::pip(field("Name")?, field("Version")?, prefix)
        })
    }

    /// A Debian package of the distribution `distribution` (`debian`), whose release is called `release` (`debian-12`).
    pub fn deb(name: &str, version: &str, architecture: &str, distribution: &str, release: &str) -> Self {
        let qualifiers = [("arch", architecture), ("distro", release)];
        let purl = purl("deb", Some(distribution), name, version, &qualifiers);
        Self { purl, ..Self::new(Kind::Deb, name, version, architecture) }
    }

    fn new(kind: Kind, name: &str, version: &str, place: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            build: None,
            place: place.to_owned(),
            purl: String::new(),
            url: None,
            md5: None,
            sha256: None,
            license: None,
            depends: Vec::new(),
        }
    }

    /// What tells it from all others in the image.
    pub fn id(&self) -> String {
        format!("{}:{}:{}", self.kind.as_str(), self.place, self.name)
    }
}

/// Channel, subdir and kind of archive that a conda package's URL tells: a channel of anaconda.org by its name, as people
/// write it, any other by its URL.
fn channel_of(url: &Url) -> (String, String, &'static str) {
    let archive = if url.path().ends_with(".tar.bz2") { "tar.bz2" } else { "conda" };
    let mut parts = url.path().rsplitn(3, '/');
    let (_, subdir, path) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut channel = url.clone();
    channel.set_path(path);
    let name = match url.host_str() {
        Some("conda.anaconda.org") => path.trim_matches('/').to_owned(),
        _ => channel.to_string(),
    };
    (name, subdir.to_owned(), archive)
}

/// A Python package's name as indexes have it (PEP 503).
pub fn python_name(name: &str) -> String {
    let mut normal = String::new();
    for c in name.chars().map(|c| if matches!(c, '-' | '_' | '.') { '-' } else { c.to_ascii_lowercase() }) {
        if c != '-' || !normal.ends_with('-') {
            normal.push(c);
        }
    }
    normal
}

/// The name in a requirement of conda's (`numpy >=1.2`, `conda-forge::numpy`, `numpy[version='>=1']`) or of Python's.
pub fn requirement_name(requirement: &str) -> String {
    let after_channel = requirement.rsplit("::").next().unwrap_or_default().trim();
    let end = after_channel.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')));
    after_channel[..end.unwrap_or(after_channel.len())].to_ascii_lowercase()
}

/// A package URL in its canonical form (purl-spec, "Rules for each purl component"). `qualifiers` come in order of their
/// keys; those without a value are left out.
pub fn purl(kind: &str, namespace: Option<&str>, name: &str, version: &str, qualifiers: &[(&str, &str)]) -> String {
    let namespace = namespace.map(|namespace| format!("{}/", encoded(namespace))).unwrap_or_default();
    let qualifiers: Vec<_> = qualifiers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encoded(value)))
        .collect();
    let separator = if qualifiers.is_empty() { "" } else { "?" };
    let (name, version) = (encoded(name), encoded(version));
    format!("pkg:{kind}/{namespace}{name}@{version}{separator}{}", qualifiers.join("&"))
}

/// `text` with everything but letters, digits, `.-_~:/` as `%` and its code.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' | b'-' | b'_' | b'~' | b':' | b'/' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conda(version: &str, url: &str) -> String {
        Component::conda("a_b", version, "py_0", "/p", Url::parse(url).unwrap()).purl
    }

    #[test]
    fn package_urls_tell_where_a_package_is_from() {
        assert_eq!(
            conda("1!2.0", "https://conda.anaconda.org/conda-forge/noarch/a_b-1!2.0-py_0.conda"),
            "pkg:conda/a_b@1%212.0?build=py_0&channel=conda-forge&subdir=noarch&type=conda"
        );
        assert_eq!(
            conda("1", "https://conda.anaconda.org/conda-forge/label/rc/linux-64/a_b-1-py_0.tar.bz2"),
            "pkg:conda/a_b@1?build=py_0&channel=conda-forge/label/rc&subdir=linux-64&type=tar.bz2"
        );
        assert_eq!(
            conda("1", "https://example.org/team/linux-64/a_b-1-py_0.conda"),
            "pkg:conda/a_b@1?build=py_0&channel=https://example.org/team&subdir=linux-64&type=conda"
        );
        assert_eq!(Component::pip("Zope.Interface_x", "1.0+local", "/p").purl, "pkg:pypi/zope-interface-x@1.0%2Blocal");
        assert_eq!(
            Component::deb("libc6", "1:2.36-9+deb12u4", "amd64", "debian", "debian-12").purl,
            "pkg:deb/debian/libc6@1:2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12"
        );
    }

    #[test]
    fn requirements_begin_with_a_name() {
        for (requirement, name) in [
            ("python >=3.12,<3.13.0a0", "python"),
            ("numpy>=1.2", "numpy"),
            ("conda-forge::_libgcc_mutex 0.1 conda_forge", "_libgcc_mutex"),
            ("Foo.Bar[extra]; python_version < '3'", "foo.bar"),
            ("", ""),
        ] {
            assert_eq!(requirement_name(requirement), name);
        }
    }
}
