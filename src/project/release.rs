//! A Debian that is made of its packages, as it is written in `base:`: `debian:bookworm-slim@2026-11-01`.

use std::fmt;

use super::Snapshot;

/// Releases whose base systems can be made: what their packages' scripts do has to be known.
const KNOWN: [&str; 1] = ["bookworm"];
const PREFIX: &str = "debian:";
const SLIM: &str = "-slim";

/// Which Debian to make of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebianRelease {
    /// Its code name: `bookworm`.
    pub codename: String,
    /// Whether it goes without documentation and translations.
    pub slim: bool,
    /// The time of the archive, where one is said.
    pub snapshot: Option<Snapshot>,
}

impl DebianRelease {
    /// Reads `debian:bookworm`, with `-slim` and `@DATE` if there are any; `None` for what is no release that can be
    /// made, and so the name of an image in a registry: `debian:12`, `docker.io/library/debian:bookworm`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix(PREFIX)?;
        let (name, date) = name.split_once('@').map_or((name, None), |(name, date)| (name, Some(date)));
        let snapshot = date.map(str::parse).transpose().ok()?;
        let (codename, slim) = name.strip_suffix(SLIM).map_or((name, false), |codename| (codename, true));
        KNOWN.contains(&codename).then(|| Self { codename: codename.to_owned(), slim, snapshot })
    }

    /// The image that Docker Hub has under the same name.
    pub fn docker_hub(&self) -> String {
        format!("docker.io/library/{PREFIX}{}{}", self.codename, if self.slim { SLIM } else { "" })
    }
}

impl fmt::Display for DebianRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}{}", self.codename, if self.slim { SLIM } else { "" })?;
        match &self.snapshot {
            Some(snapshot) => write!(f, "@{snapshot}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_can_be_made_are_told_from_images() {
        for (text, shown) in [
            ("debian:bookworm", "debian:bookworm"),
            ("debian:bookworm-slim", "debian:bookworm-slim"),
            ("debian:bookworm@2026-11-01", "debian:bookworm@20261101T000000Z"),
            ("debian:bookworm-slim@20261101T120000Z", "debian:bookworm-slim@20261101T120000Z"),
        ] {
            let release = DebianRelease::parse(text).unwrap();
            assert_eq!(release.to_string(), shown);
            assert_eq!(DebianRelease::parse(shown), Some(release));
        }
        for text in [
            "debian:12",
            "debian:sid",
            "debian:bookworm-20261101",
            "debian:bookworm@sha256:00",
            "docker.io/library/debian:bookworm",
            "library/debian:bookworm",
            "debian",
            "debian:",
        ] {
            assert_eq!(DebianRelease::parse(text), None, "{text}");
        }
        assert_eq!(
            DebianRelease::parse("debian:bookworm-slim@2026-11-01").unwrap().docker_hub(),
            "docker.io/library/debian:bookworm-slim"
        );
    }
}
