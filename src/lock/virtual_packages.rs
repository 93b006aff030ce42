//! What the machines an image will run on have: `__glibc`, `__cuda` and their like.
//!
//! Never what this machine has: a lock made on a laptop must be the one made on a server. The defaults are conda-lock's.

use rattler_conda_types::package::BuildString;
use rattler_conda_types::{GenericVirtualPackage, PackageName, Subdir, Version};

use crate::project;

/// A virtual package that may be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualPackage {
    /// Its name, with the `__`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its build string; empty for most.
    pub build: String,
}

/// The virtual packages of `subdir`: conda-lock's, with those of the image's `virtual-packages.yml` laid over them.
pub(super) fn of(subdir: Subdir, overlay: &project::VirtualPackages) -> Vec<VirtualPackage> {
    let mut packages = if overlay.replace { Vec::new() } else { defaults(subdir) };
    for (name, version) in overlay.subdirs.get(&subdir).into_iter().flatten() {
        packages.retain(|package| package.name != *name);
        packages.push(VirtualPackage::new(name, version));
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

/// The table of conda-lock 4 (`default-virtual-packages.yaml`).
fn defaults(subdir: Subdir) -> Vec<VirtualPackage> {
    const LINUX: &[(&str, &str)] = &[("__unix", "0"), ("__linux", "5.10"), ("__glibc", "2.28"), ("__cuda", "11.4")];
    const OSX: &[(&str, &str)] = &[("__unix", "0"), ("__osx", "11.0")];
    const WIN: &[(&str, &str)] = &[("__win", "0"), ("__cuda", "11.4")];
    let (packages, archspec) = match subdir {
        Subdir::Linux64 => (LINUX, "1 x86_64"),
        Subdir::LinuxAarch64 => (LINUX, "1 aarch64"),
        Subdir::LinuxPpc64le => (LINUX, "1 ppc64le"),
        Subdir::Osx64 => (OSX, "1 x86_64"),
        Subdir::OsxArm64 => (OSX, "1 arm64"),
        Subdir::Win64 => (WIN, "1 x86_64"),
        _ => return Vec::new(),
    };
    packages.iter().chain(&[("__archspec", archspec)]).map(|(name, text)| VirtualPackage::new(name, text)).collect()
}

impl VirtualPackage {
    /// `name` with the version, or version and build string, that `text` holds.
    fn new(name: &str, text: &str) -> Self {
        let (version, build) = text.split_once(' ').unwrap_or((text, ""));
        Self { name: name.into(), version: version.into(), build: build.trim().into() }
    }

    /// The same for rattler; `None` if the name or version is none, which reading the file refuses.
    pub(super) fn generic(&self) -> Option<GenericVirtualPackage> {
        let build = if self.build.is_empty() { "0" } else { &self.build };
        Some(GenericVirtualPackage {
            name: self.name.parse::<PackageName>().ok()?,
            version: self.version.parse::<Version>().ok()?,
            build_string: build.parse::<BuildString>().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(replace: bool) -> project::VirtualPackages {
        let packages =
            [("__cuda", "12.0"), ("__archspec", "1 zen4")].map(|(name, version)| (name.into(), version.into()));
        let subdirs = [(Subdir::Linux64, packages.into_iter().collect())].into_iter().collect();
        project::VirtualPackages { path: None, replace, subdirs }
    }

    fn text(packages: &[VirtualPackage]) -> String {
        packages.iter().map(|p| format!("{}={}={} ", p.name, p.version, p.build)).collect()
    }

    #[test]
    fn a_file_is_laid_over_the_defaults() {
        let expected = "__archspec=1=zen4 __cuda=12.0= __glibc=2.28= __linux=5.10= __unix=0= ";
        assert_eq!(text(&of(Subdir::Linux64, &overlay(false))), expected);
        let expected = "__archspec=1=aarch64 __cuda=11.4= __glibc=2.28= __linux=5.10= __unix=0= ";
        assert_eq!(text(&of(Subdir::LinuxAarch64, &overlay(false))), expected);
    }

    #[test]
    fn replace_leaves_nothing_else() {
        assert_eq!(text(&of(Subdir::Linux64, &overlay(true))), "__archspec=1=zen4 __cuda=12.0= ");
        assert_eq!(of(Subdir::LinuxAarch64, &overlay(true)), []);
    }
}
