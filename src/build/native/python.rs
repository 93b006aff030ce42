//! What `noarch: python` packages and byte code need to know of an environment's Python.

use std::str::FromStr;

use rattler::install::PythonInfo;
use rattler_conda_types::package::{EntryPoint, IndexJson};
use rattler_conda_types::{Subdir, Version};
use serde::{Deserialize, Serialize};

use super::paths::PrefixPath;

/// The Python of an environment. Two environments with equal values lay out a `noarch: python` package alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    major: u64,
    minor: u64,
    site_packages: PrefixPath,
    /// Whether byte code is compiled for it: CPython 3 with the usual directories.
    compiles: bool,
}

impl Python {
    /// The Python that the package `python` with this `info/index.json` is; `None` if it makes no sense.
    pub fn of(index: &IndexJson) -> Option<Self> {
        let (major, minor) = index.version.version().as_major_minor()?;
        let usual = format!("lib/python{major}.{minor}/site-packages");
        let site_packages = index.python_site_packages_path.as_deref().unwrap_or(&usual);
        // The free-threaded build has other directories and another cache tag, PyPy another format.
        let compiles = major == 3 && site_packages == usual && !index.build.as_str().contains("pypy");
        Some(Self { major, minor, site_packages: PrefixPath::parse(site_packages.as_bytes()).ok()?, compiles })
    }

    /// `3.12`.
    pub fn version(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }

    /// Where its modules are, below the prefix.
    pub fn site_packages(&self) -> &str {
        self.site_packages.as_str()
    }

    /// Where its C headers are, below the prefix.
    pub fn headers(&self) -> String {
        format!("include/python{}", self.version())
    }

    /// The first line of a script that it runs, below `prefix`; two lines where one would be too long for the kernel.
    pub fn shebang(&self, prefix: &str) -> String {
        self.rattler().shebang(prefix)
    }

    /// Where a member of a `noarch: python` package goes.
    pub fn place(&self, path: &PrefixPath) -> PrefixPath {
        if let Some(rest) = path.below("site-packages") {
            PrefixPath::join(self.site_packages.as_str(), rest)
        } else if let Some(rest) = path.below("python-scripts") {
            PrefixPath::join("bin", rest)
        } else {
            path.clone()
        }
    }

    /// Where the byte code of the module `source` goes (PEP 3147); `None` for what is not imported.
    pub fn byte_code(&self, source: &PrefixPath) -> Option<PrefixPath> {
        let library = format!("lib/python{}", self.version());
        if !self.compiles || source.below(&library).is_none() {
            return None;
        }
        let stem = source.name().strip_suffix(".py").filter(|stem| !stem.is_empty())?;
        let file = format!("__pycache__/{stem}.cpython-{}{}.pyc", self.major, self.minor);
        Some(PrefixPath::join(source.parent()?, &file))
    }

    /// The script that runs `entry_point`, as conda writes it, below `prefix`.
    pub fn script(&self, prefix: &str, entry_point: &EntryPoint) -> String {
        rattler::install::python_entry_point_template(prefix, false, entry_point, &self.rattler())
    }

    fn rattler(&self) -> PythonInfo {
        let version = Version::from_str(&self.version()).expect("two numbers are a version");
        // The platform tells Unix from Windows only.
        PythonInfo::from_version(&version, Some(self.site_packages.as_str()), Subdir::Linux64)
            .expect("it has a major and a minor version")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(build: &str) -> Python {
        let index = serde_json::json!({"name": "python", "version": "3.12.1", "build": build, "build_number": 0});
        Python::of(&serde_json::from_value(index).unwrap()).unwrap()
    }

    fn path(text: &str) -> PrefixPath {
        PrefixPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn noarch_members_find_their_place() {
        let python = python("h1_0_cpython");
        assert_eq!(python.place(&path("site-packages/a/b.py")).as_str(), "lib/python3.12/site-packages/a/b.py");
        assert_eq!(python.place(&path("python-scripts/run")).as_str(), "bin/run");
        assert_eq!(python.place(&path("share/site-packages/x")).as_str(), "share/site-packages/x");
    }

    #[test]
    fn byte_code_of_what_is_imported() {
        let source = path("lib/python3.12/site-packages/a/b.py");
        let code = python("h1_0_cpython").byte_code(&source).unwrap();
        assert_eq!(code.as_str(), "lib/python3.12/site-packages/a/__pycache__/b.cpython-312.pyc");
        assert_eq!(python("0_73_pypy").byte_code(&source), None);
        for other in ["bin/x.py", "lib/python3.12/x.txt", "lib/python3.12/.py", "lib/python3.11/x.py"] {
            assert_eq!(python("h1_0_cpython").byte_code(&path(other)), None, "{other}");
        }
    }

    #[test]
    fn scripts_are_conda_s() {
        let entry_point = EntryPoint::from_str("hello = hello.cli:main").unwrap();
        let script = python("h1_0_cpython").script("/srv/conda", &entry_point);
        assert!(script.starts_with("#!/srv/conda/bin/python3.12\n# -*- coding: utf-8 -*-\nimport re\n"), "{script}");
        assert!(python("x").script(&format!("/{}", "x".repeat(130)), &entry_point).starts_with("#!/bin/sh\n"));
    }
}
