//! The machine and the Python that pip's packages are for: its markers, and which wheels it takes.
//!
//! As with virtual packages, never what this machine has. The order of tags is that of `packaging.tags`, which pip uses.

use std::collections::HashMap;

use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};
use rattler_conda_types::Subdir;

use super::super::VirtualPackage;

/// CPython on one subdir.
pub(in super::super) struct Target {
    /// The full version: `3.12.1`.
    pub python: String,
    /// What markers are compared with.
    pub markers: MarkerEnvironment,
    /// The platform as `uv --python-platform` knows it; `None` if it does not.
    pub uv_platform: Option<String>,
    /// The oldest macOS to run on: `11.0`.
    pub macos: Option<String>,
    /// Tags of the wheels that can be installed, the best first.
    ranks: HashMap<String, usize>,
}

/// How Python calls a subdir: `sys_platform`, `platform_system`, `os_name`, `platform_machine`.
struct Names(&'static str, &'static str, &'static str, &'static str);

impl Target {
    /// `None` for a subdir without CPython, or a version that is none.
    pub fn new(subdir: Subdir, python: &str, virtual_packages: &[VirtualPackage]) -> Option<Self> {
        let Names(sys_platform, platform_system, os_name, platform_machine) = names(subdir)?;
        let (major, minor) = major_minor(python)?;
        let markers = MarkerEnvironmentBuilder {
            implementation_name: "cpython",
            implementation_version: python,
            os_name,
            platform_machine,
            platform_python_implementation: "CPython",
            platform_release: "",
            platform_system,
            platform_version: "",
            python_full_version: python,
            python_version: &format!("{major}.{minor}"),
            sys_platform,
        };
        let version = |name: &str| {
            let package = virtual_packages.iter().find(|package| package.name == name)?;
            major_minor(&package.version)
        };
        let (glibc, macos) = (version("__glibc"), version("__osx"));
        let platforms = platforms(subdir, glibc, macos);
        let ranks = tags((major, minor), &platforms).into_iter().enumerate().map(|(rank, tag)| (tag, rank));
        Some(Self {
            python: python.to_owned(),
            markers: markers.try_into().ok()?,
            uv_platform: uv_platform(subdir, glibc),
            macos: macos.filter(|_| subdir.is_osx()).map(|(major, minor)| format!("{major}.{minor}")),
            ranks: ranks.rev().collect(),
        })
    }

    /// How well the wheel of this name suits, 0 best; `None` if it cannot be installed.
    pub fn rank(&self, file_name: &str) -> Option<usize> {
        let mut parts = file_name.strip_suffix(".whl")?.rsplitn(4, '-');
        let (platforms, abis, pythons) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next()?;
        let mut ranks = Vec::new();
        for python in pythons.split('.') {
            for abi in abis.split('.') {
                let tag = |platform| format!("{python}-{abi}-{platform}");
                ranks.extend(platforms.split('.').filter_map(|platform| self.ranks.get(&tag(platform)).copied()));
            }
        }
        ranks.into_iter().min()
    }
}

/// The first two numbers of a version.
pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    });
    Some((numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

fn names(subdir: Subdir) -> Option<Names> {
    Some(match subdir {
        Subdir::Linux64 => Names("linux", "Linux", "posix", "x86_64"),
        Subdir::LinuxAarch64 => Names("linux", "Linux", "posix", "aarch64"),
        Subdir::LinuxPpc64le => Names("linux", "Linux", "posix", "ppc64le"),
        Subdir::Osx64 => Names("darwin", "Darwin", "posix", "x86_64"),
        Subdir::OsxArm64 => Names("darwin", "Darwin", "posix", "arm64"),
        Subdir::Win64 => Names("win32", "Windows", "nt", "AMD64"),
        _ => return None,
    })
}

/// The newest of uv's platforms that the subdir's glibc is new enough for.
fn uv_platform(subdir: Subdir, glibc: Option<(u32, u32)>) -> Option<String> {
    let manylinux = |arch: &str| {
        let known = [17, 28].into_iter().chain(31..=40).rev();
        let minor = known.into_iter().find(|minor| glibc.is_some_and(|glibc| glibc >= (2, *minor)));
        format!("{arch}-manylinux_2_{}", minor.unwrap_or(17))
    };
    Some(match subdir {
        Subdir::Linux64 => manylinux("x86_64"),
        Subdir::LinuxAarch64 => manylinux("aarch64"),
        Subdir::Osx64 => "x86_64-apple-darwin".to_owned(),
        Subdir::OsxArm64 => "aarch64-apple-darwin".to_owned(),
        Subdir::Win64 => "x86_64-pc-windows-msvc".to_owned(),
        _ => return None,
    })
}

/// The platform tags of a subdir, the best first.
fn platforms(subdir: Subdir, glibc: Option<(u32, u32)>, macos: Option<(u32, u32)>) -> Vec<String> {
    match subdir {
        Subdir::Linux64 => manylinux("x86_64", 5, glibc),
        Subdir::LinuxAarch64 => manylinux("aarch64", 17, glibc),
        Subdir::LinuxPpc64le => manylinux("ppc64le", 17, glibc),
        Subdir::Osx64 => macosx("x86_64", macos),
        Subdir::OsxArm64 => macosx("arm64", macos),
        _ => vec!["win_amd64".to_owned()],
    }
}

/// PEP 600, with the older names of some of its tags; no wheel may need a glibc older than 2.`oldest`.
fn manylinux(arch: &str, oldest: u32, glibc: Option<(u32, u32)>) -> Vec<String> {
    let newest = glibc.filter(|(major, _)| *major == 2).map_or(0, |(_, minor)| minor);
    let mut tags = Vec::new();
    for minor in (oldest..=newest).rev() {
        tags.push(format!("manylinux_2_{minor}_{arch}"));
        let legacy = [(17, "2014"), (12, "2010"), (5, "1")].into_iter().find(|(of, _)| *of == minor);
        tags.extend(legacy.map(|(_, name)| format!("manylinux{name}_{arch}")));
    }
    tags.push(format!("linux_{arch}"));
    tags
}

/// Apple's versions went from 10.16 to 11, and minor ones have meant nothing since.
fn macosx(arch: &str, macos: Option<(u32, u32)>) -> Vec<String> {
    let (major, minor) = macos.unwrap_or((11, 0));
    let mut versions: Vec<(u32, u32)> = (11..=major).rev().map(|major| (major, 0)).collect();
    versions.extend((4..=if major > 10 { 16 } else { minor }).rev().map(|minor| (10, minor)));
    let kinds = |version: (u32, u32)| match (arch, version) {
        // No processor of Apple's own ran a system before 11.
        ("arm64", (10, _)) => vec!["universal2"],
        ("arm64", _) => vec!["arm64", "universal2"],
        (_, (10, _)) => vec!["x86_64", "intel", "fat64", "fat32", "universal2", "universal"],
        _ => vec!["x86_64", "universal2"],
    };
    let of =
        |(major, minor)| kinds((major, minor)).into_iter().map(move |kind| format!("macosx_{major}_{minor}_{kind}"));
    versions.into_iter().flat_map(of).collect()
}

/// All tags, the best first: this Python's own, the stable ABI, what needs a platform only, what needs nothing.
fn tags((major, minor): (u32, u32), platforms: &[String]) -> Vec<String> {
    let own = format!("cp{major}{minor}");
    let mut kinds: Vec<(String, &str)> = ["abi3", "none"].iter().map(|abi| (own.clone(), *abi)).collect();
    kinds.insert(0, (own.clone(), &own));
    kinds.extend((2..minor).rev().map(|minor| (format!("cp{major}{minor}"), "abi3")));
    let mut pure = vec![format!("py{major}{minor}"), format!("py{major}")];
    pure.extend((0..minor).rev().map(|minor| format!("py{major}{minor}")));
    kinds.extend(pure.iter().map(|python| (python.clone(), "none")));
    let of = |(python, abi): &(String, &str)| {
        platforms.iter().map(|platform| format!("{python}-{abi}-{platform}")).collect::<Vec<_>>()
    };
    let mut tags: Vec<String> = kinds.iter().flat_map(of).collect();
    tags.push(format!("{own}-none-any"));
    tags.extend(pure.iter().map(|python| format!("{python}-none-any")));
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(subdir: Subdir, python: &str, virtual_package: (&str, &str)) -> Target {
        let (name, version) = virtual_package;
        let package = VirtualPackage { name: name.into(), version: version.into(), build: String::new() };
        Target::new(subdir, python, &[package]).unwrap()
    }

    /// The best of `wheels`, by the part behind name and version.
    fn best<'a>(target: &Target, wheels: &[&'a str]) -> Option<&'a str> {
        let ranked = wheels.iter().filter_map(|wheel| Some((target.rank(&format!("foo-1.0-{wheel}.whl"))?, *wheel)));
        ranked.min().map(|(_, wheel)| wheel)
    }

    #[test]
    fn the_best_wheel_is_the_closest() {
        let linux = target(Subdir::Linux64, "3.12.1", ("__glibc", "2.28"));
        let order = [
            "cp312-cp312-manylinux_2_28_x86_64",
            "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
            "cp312-cp312-linux_x86_64",
            "cp312-abi3-manylinux1_x86_64",
            "cp38-abi3-manylinux2010_x86_64",
            "py3-none-manylinux2014_x86_64",
            "py2.py3-none-any",
        ];
        for at in 0..order.len() {
            assert_eq!(best(&linux, &order[at..]), Some(order[at]));
        }
        for wheel in [
            "cp311-cp311-manylinux_2_17_x86_64",
            "cp313-abi3-manylinux_2_17_x86_64",
            "cp312-cp312-manylinux_2_31_x86_64",
            "cp312-cp312-manylinux_2_17_aarch64",
            "cp312-cp312-musllinux_1_1_x86_64",
            "cp312-cp312-win_amd64",
            "py2-none-any",
        ] {
            assert_eq!(best(&linux, &[wheel]), None, "{wheel}");
        }
        assert_eq!(linux.rank("foo-1.0-1-py3-none-any.whl"), linux.rank("foo-1.0-py3-none-any.whl"));
        assert_eq!(linux.rank("foo-1.0.tar.gz"), None);
        let apple = target(Subdir::OsxArm64, "3.12.1", ("__osx", "11.0"));
        let order = ["cp312-cp312-macosx_11_0_arm64", "cp312-cp312-macosx_10_9_universal2"];
        assert_eq!(best(&apple, &order), Some(order[0]));
        assert_eq!(best(&apple, &["cp312-cp312-macosx_12_0_arm64", "cp312-cp312-macosx_11_0_x86_64"]), None);
    }

    #[test]
    fn uv_is_told_of_the_newest_glibc_it_knows() {
        for (glibc, expected) in
            [("2.28", "2_28"), ("2.30", "2_28"), ("2.36", "2_36"), ("2.99", "2_40"), ("2.12", "2_17")]
        {
            let target = target(Subdir::LinuxAarch64, "3.12.1", ("__glibc", glibc));
            assert_eq!(target.uv_platform, Some(format!("aarch64-manylinux_{expected}")));
        }
        assert_eq!(target(Subdir::LinuxPpc64le, "3.12.1", ("__glibc", "2.28")).uv_platform, None);
    }

    #[test]
    fn markers_are_the_targets() {
        for (subdir, marker) in [
            (Subdir::Linux64, "sys_platform == 'linux' and platform_machine == 'x86_64'"),
            (Subdir::LinuxAarch64, "platform_system == 'Linux' and platform_machine == 'aarch64'"),
            (Subdir::OsxArm64, "sys_platform == 'darwin' and platform_machine == 'arm64'"),
            (Subdir::Win64, "os_name == 'nt' and platform_machine == 'AMD64'"),
        ] {
            let target = target(subdir, "3.12.1", ("__unix", "0"));
            let marker = format!("foo; python_version == '3.12' and python_full_version >= '3.12.1' and {marker}");
            let requirement = crate::project::requirement(&marker).unwrap();
            assert!(requirement.evaluate_markers(&target.markers, &[]), "{marker}");
            assert!(
                !crate::project::requirement("foo; python_version < '3.12'")
                    .unwrap()
                    .evaluate_markers(&target.markers, &[])
            );
        }
    }
}
