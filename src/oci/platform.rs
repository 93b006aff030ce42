//! OCI platforms (`linux/amd64`) and the conda subdirs (`linux-64`) they stand for.

use std::fmt;
use std::str::FromStr;

use rattler_conda_types::Subdir;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An OCI platform. Only what esker can build images for has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// `linux/amd64`, conda's `linux-64`.
    LinuxAmd64,
    /// `linux/arm64`, conda's `linux-aarch64`.
    LinuxArm64,
    /// `linux/ppc64le`, conda's `linux-ppc64le`.
    LinuxPpc64le,
}

/// A platform esker cannot build an image for.
#[derive(Debug, thiserror::Error)]
#[error("unknown platform `{given}`: expected one of linux/amd64, linux/arm64, linux/ppc64le")]
pub struct ParsePlatformError {
    given: String,
}

impl Platform {
    /// Every platform, in the order images are listed in an index.
    pub const ALL: [Self; 3] = [Self::LinuxAmd64, Self::LinuxArm64, Self::LinuxPpc64le];

    /// The conda subdir whose packages run on this platform. The one place where the two namings meet.
    pub const fn subdir(self) -> Subdir {
        match self {
            Self::LinuxAmd64 => Subdir::Linux64,
            Self::LinuxArm64 => Subdir::LinuxAarch64,
            Self::LinuxPpc64le => Subdir::LinuxPpc64le,
        }
    }

    /// The platform whose [`subdir`](Self::subdir) is `subdir`; `None` where no image can be built (macOS, Windows).
    pub fn from_subdir(subdir: Subdir) -> Option<Self> {
        Self::ALL.into_iter().find(|platform| platform.subdir() == subdir)
    }

    /// OCI's name of the CPU architecture (Go's `GOARCH`).
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::LinuxAmd64 => "amd64",
            Self::LinuxArm64 => "arm64",
            Self::LinuxPpc64le => "ppc64le",
        }
    }

    /// The platform of the machine this program runs on, if images can be built for it.
    pub fn host() -> Option<Self> {
        match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => Some(Self::LinuxAmd64),
            ("linux", "aarch64") => Some(Self::LinuxArm64),
            ("linux", "powerpc64") if cfg!(target_endian = "little") => Some(Self::LinuxPpc64le),
            _ => None,
        }
    }

    /// Finds the platform that an OCI descriptor or image configuration names; the variant is not looked at, as
    /// `arm64` and `arm64/v8` mean the same.
    pub fn from_oci(os: &str, architecture: &str) -> Option<Self> {
        (os == "linux").then(|| Self::ALL.into_iter().find(|p| p.architecture() == architecture)).flatten()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.strip_suffix("/v8").unwrap_or(text);
        Self::ALL
            .into_iter()
            .find(|platform| platform.to_string() == plain)
            .ok_or_else(|| ParsePlatformError { given: text.to_owned() })
    }
}

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for platform in Platform::ALL {
            assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
            assert_eq!(Platform::from_subdir(platform.subdir()), Some(platform));
            assert_eq!(Platform::from_oci("linux", platform.architecture()), Some(platform));
        }
        assert_eq!("linux/arm64/v8".parse::<Platform>().unwrap(), Platform::LinuxArm64);
        assert!("linux-64".parse::<Platform>().is_err());
    }
}
