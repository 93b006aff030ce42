//! Which image is meant: [`ImageSource`].

use std::fmt;
use std::path::PathBuf;

use oci_spec::distribution::Reference;

/// The prefix that says outright that a name in a registry follows; skopeo's.
const DOCKER: &str = "docker://";
const LAYOUT: &str = "oci:";
const ARCHIVE: &str = "docker-archive:";

/// Where an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// An OCI layout on disk.
    Layout(PathBuf),
    /// An archive that `docker save` wrote, or `esker build`.
    Archive(PathBuf),
    /// A registry.
    Registry(Reference),
}

/// A text that says that it names an image, and does not.
#[derive(Debug, thiserror::Error)]
#[error("`{given}` names no image; write `oci:DIR`, `docker-archive:FILE` or `docker://REGISTRY/NAME:TAG`")]
pub struct ParseImageError {
    given: String,
}

impl ImageSource {
    /// Reads `oci:DIR`, `docker-archive:FILE[:REFERENCE]` or `docker://REFERENCE`; `None` for anything else. The name in an
    /// archive is not looked at: it holds one image.
    ///
    /// # Errors
    /// When nothing, or no name of an image, stands behind the prefix.
    pub fn explicit(text: &str) -> Option<Result<Self, ParseImageError>> {
        let none = || ParseImageError { given: text.to_owned() };
        if let Some(reference) = text.strip_prefix(DOCKER) {
            return Some(reference.parse().map(Self::Registry).map_err(|_| none()));
        }
        let path =
            |path: &str, kind: fn(PathBuf) -> Self| if path.is_empty() { Err(none()) } else { Ok(kind(path.into())) };
        if let Some(archive) = text.strip_prefix(ARCHIVE) {
            return Some(path(archive.split(':').next().unwrap_or_default(), Self::Archive));
        }
        text.strip_prefix(LAYOUT).map(|folder| path(folder, Self::Layout))
    }

    /// Reads `HOST/NAME:TAG` without a prefix, where the host cannot be anything else: it has a dot or a port, or is
    /// `localhost`, as Docker has it. Such a text may be a git branch all the same.
    pub fn implied(text: &str) -> Option<Self> {
        let (host, _) = text.split_once('/')?;
        let is_host = host.contains(['.', ':']) && !host.starts_with('.') || host == "localhost";
        is_host.then(|| text.parse().ok()).flatten().map(Self::Registry)
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout(path) => write!(f, "{LAYOUT}{}", path.display()),
            Self::Archive(path) => write!(f, "{ARCHIVE}{}", path.display()),
            Self::Registry(reference) => write!(f, "{reference}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_revisions() {
        let explicit = |text: &str| ImageSource::explicit(text).map(|source| source.map(|s| s.to_string()).ok());
        assert_eq!(explicit("oci:../a b"), Some(Some("oci:../a b".to_owned())));
        assert_eq!(explicit("docker://debian:12"), Some(Some("docker.io/library/debian:12".to_owned())));
        assert_eq!(explicit("docker-archive:a.tar:x:1"), Some(Some("docker-archive:a.tar".to_owned())));
        assert_eq!(explicit("docker-archive::x"), Some(None));
        assert_eq!((explicit("oci:"), explicit("docker://No No")), (Some(None), Some(None)));
        assert_eq!(explicit("quay.io/pangeo/base-image"), None);
        for image in [
            "quay.io/pangeo/base-image:2026.01.30",
            "localhost/a",
            "localhost:5000/a/b",
            "127.0.0.1:1/a@sha256:\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            assert!(ImageSource::implied(image).is_some(), "{image}");
        }
        for other in ["main", "feature/x", "v1.0..v2.0", "v1.0", "../a.yml", "origin/1.0", "quay.io", "quay.io/Upper"] {
            assert!(ImageSource::implied(other).is_none(), "{other}");
        }
    }
}
