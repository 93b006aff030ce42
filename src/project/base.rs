//! Where base systems and channels come from, as written in `esker.yml` or on the command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use super::{BaseReference, BaseSource, DebianRelease, Mirror};
use crate::oci::{Platform, reference};

/// A base system that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ParseBaseError {
    /// `oci:` or `rootfs:` and nothing behind it.
    #[error("`{given}` names no path; write `oci:DIR` or `rootfs:FILE.tar`")]
    NoPath {
        /// As written.
        given: String,
    },
    /// Neither a path nor the name of an image.
    #[error("`{given}` is no image; write `debian:bookworm`, `REGISTRY/NAME:TAG`, `oci:DIR` or `rootfs:FILE.tar`")]
    Reference {
        /// As written.
        given: String,
        /// What the reference's grammar says.
        source: oci_spec::distribution::ParseError,
    },
}

/// A mirror that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ParseMirrorError {
    /// There is no `=`.
    #[error("`{given}` is no mirror; write `FROM=TO`, as `https://conda.anaconda.org/=http://localhost:8080/`")]
    NoEquals {
        /// As written.
        given: String,
    },
    /// One side is not a URL.
    #[error("`{given}` is not a URL")]
    Url {
        /// That side.
        given: String,
        /// Why not.
        source: url::ParseError,
    },
    /// One side's scheme cannot be used.
    #[error("`{given}` cannot be used as a mirror; the scheme must be one of {expected}")]
    Scheme {
        /// That side.
        given: String,
        /// The schemes that can.
        expected: &'static str,
    },
}

impl BaseReference {
    /// Reads `debian:bookworm`, `docker.io/library/debian:bookworm-slim`, `oci:DIR` or `rootfs:FILE.tar`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, ParseBaseError> {
        let path = |path: &str| match path {
            "" => Err(ParseBaseError::NoPath { given: text.to_owned() }),
            path => Ok(PathBuf::from(path)),
        };
        if let Some(folder) = text.strip_prefix("oci:") {
            return Ok(Self::Layout(path(folder)?));
        }
        if let Some(file) = text.strip_prefix("rootfs:") {
            return Ok(Self::Rootfs(path(file)?));
        }
        if let Some(release) = DebianRelease::parse(text) {
            return Ok(Self::Debian(release));
        }
        reference::parse(text)
            .map(Self::Registry)
            .map_err(|source| ParseBaseError::Reference { given: text.to_owned(), source })
    }
}

impl FromStr for BaseReference {
    type Err = ParseBaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for BaseReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(release) => write!(f, "{release}"),
            Self::Registry(reference) => write!(f, "{reference}"),
            Self::Layout(path) => write!(f, "oci:{}", path.display()),
            Self::Rootfs(path) => write!(f, "rootfs:{}", path.display()),
        }
    }
}

impl BaseSource {
    /// The base system of `platform`; `None` if the source has none for it.
    pub fn for_platform(&self, platform: Platform) -> Option<&BaseReference> {
        match self {
            Self::Any(reference) => Some(reference),
            Self::PerPlatform(references) => references.get(&platform),
        }
    }
}

impl Mirror {
    /// Reads `FROM=TO`.
    ///
    /// # Errors
    /// No `=`, or one side that is not a URL that packages can be fetched from.
    pub fn parse(text: &str) -> Result<Self, ParseMirrorError> {
        let (from, to) = split(text).ok_or_else(|| ParseMirrorError::NoEquals { given: without_secrets(text) })?;
        Self::new(from, to)
    }

    /// Makes the mirror that fetches what is below `from` from below `to` instead.
    ///
    /// # Errors
    /// See [`parse`](Self::parse).
    pub fn new(from: &str, to: &str) -> Result<Self, ParseMirrorError> {
        Ok(Self {
            from: url(from, &["http", "https"], "http, https")?,
            to: url(to, &["http", "https", "file"], "http, https, file")?,
        })
    }
}

impl FromStr for Mirror {
    type Err = ParseMirrorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.from, self.to)
    }
}

/// Splits at the `=` that a URL begins behind: either side may hold others (`?a=b`).
fn split(text: &str) -> Option<(&str, &str)> {
    let is_split = |(position, _): &(usize, &str)| {
        let rest = &text[position + 1..];
        ["http://", "https://", "file://"].iter().any(|scheme| rest.starts_with(scheme))
    };
    let position = text.match_indices('=').find(is_split).map(|(position, _)| position).or_else(|| text.find('='))?;
    Some((&text[..position], &text[position + 1..]))
}

/// What looks like a URL as it may be shown: without the user and password before an `@`, and without a conda token
/// (`/t/TOKEN`).
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = match path.split_once("/t/") {
        Some((before, after)) => format!("{before}/t/…{}", after.find('/').map_or("", |end| &after[end..])),
        None => path.to_owned(),
    };
    format!("{scheme}://{host}{path}")
}

/// Reads a URL and ends it in `/`, so that joining a path to it keeps all of it.
fn url(text: &str, schemes: &[&str], expected: &'static str) -> Result<Url, ParseMirrorError> {
    let given = || without_secrets(text);
    let mut url = Url::parse(text.trim()).map_err(|source| ParseMirrorError::Url { given: given(), source })?;
    if !schemes.contains(&url.scheme()) {
        return Err(ParseMirrorError::Scheme { given: given(), expected });
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;

    #[test]
    fn bases_round_trip() {
        for text in ["debian:bookworm", "docker.io/library/debian:bookworm-slim", "oci:../base", "rootfs:/srv/base.tar"]
        {
            assert_eq!(BaseReference::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(BaseReference::parse("debian:12").unwrap().to_string(), "docker.io/library/debian:12");
        for text in ["", "oci:", "rootfs:", "Debian", "https://host/x", "a b"] {
            assert!(BaseReference::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_base_may_differ_by_platform() {
        let base = |text| BaseReference::parse(text).unwrap();
        let source = BaseSource::PerPlatform(IndexMap::from([(Platform::LinuxAmd64, base("rootfs:amd64.tar"))]));
        assert_eq!(source.for_platform(Platform::LinuxAmd64), Some(&base("rootfs:amd64.tar")));
        assert_eq!(source.for_platform(Platform::LinuxArm64), None);
        assert_eq!(BaseSource::Any(base("oci:x")).for_platform(Platform::LinuxArm64), Some(&base("oci:x")));
    }

    #[test]
    fn mirrors() {
        for (text, shown) in [
            ("https://conda.anaconda.org=http://localhost:80", "https://conda.anaconda.org/=http://localhost/"),
            ("https://a/b=file:///srv/c", "https://a/b/=file:///srv/c/"),
            ("https://a/?x=1=https://b/?y=2", "https://a/?x=1=https://b/?y=2"),
        ] {
            assert_eq!(Mirror::parse(text).unwrap().to_string(), shown);
        }
        for text in ["https://a", "a=b", "https://a=/srv", "file:///a=https://b", "https://a=ftp://b", "="] {
            assert!(Mirror::parse(text).is_err(), "{text}");
        }
        for text in [
            "ftp://user:hidden@host/=https://a",
            "https://user:hidden@host/",
            "https://a=ftp://user:hidden@b",
            "https://a=ftp://b/t/hidden/c",
            "https://a/t/hidden",
        ] {
            let error = Mirror::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }
}
