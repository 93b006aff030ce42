//! A conda channel in a folder, with what the channels of the world have and some of what they should not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use esker::lock::{Lock, LockedChannel, LockedPackage, Manager};
use rattler_conda_types::Subdir;
use serde_json::{Map, Value, json};
use url::Url;

use super::package::Pkg;

/// The canonical URL that the channel's locks carry.
pub const CONDA_FORGE: &str = "https://conda.anaconda.org/conda-forge/";

/// Packages to be written as a channel.
#[derive(Clone, Debug, Default)]
pub struct TinyChannel {
    packages: Vec<Pkg>,
}

/// A channel on disk: `DIR/SUBDIR/repodata.json` and the archives.
#[derive(Debug)]
pub struct Written {
    /// Its folder.
    pub dir: PathBuf,
    /// `repodata.json`'s records by subdir, then file name; also of what is listed as removed.
    pub records: BTreeMap<&'static str, BTreeMap<String, Value>>,
}

impl TinyChannel {
    /// An empty channel.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more package.
    pub fn package(mut self, package: Pkg) -> Self {
        self.packages.push(package);
        self
    }

    /// A small world: a pretend `python` (a shell script) and `libfoo` for both arches, `hello` (`noarch: python`, with an
    /// entry point), `certs` (`noarch: generic`), `legacy` (`.tar.bz2`).
    pub fn standard() -> Self {
        let python = Pkg::new("python", "3.12.1")
            .native()
            .build("h1_0_cpython", 0)
            .depends("__glibc >=2.17")
            .depends("libfoo >=2,<3")
            .executable("bin/python3.12", "#!/bin/sh\necho \"pretend python 3.12.1 on {subdir}: $*\"\n")
            .symlink("bin/python3", "python3.12")
            .symlink("bin/python", "python3.12")
            .text_prefix("lib/python3.12/_sysconfigdata.py", "prefix = '{prefix}'\n")
            .file("lib/python3.12/os.py", "name = 'posix'\n");
        let libfoo = Pkg::new("libfoo", "2.1")
            .native()
            .build("h2_1", 1)
            .binary_prefix("lib/libfoo.so.2.1", "{prefix}/share/foo")
            .symlink("lib/libfoo.so", "libfoo.so.2.1")
            .file("include/foo.h", "int foo(void);\n");
        let hello = Pkg::new("hello", "1.0")
            .build("pyhd8ed1ab_0", 0)
            .entry_point("hello = hello.cli:main")
            .depends("python >=3.12")
            .file("site-packages/hello/__init__.py", "")
            .file("site-packages/hello/cli.py", "def main():\n    print('hello')\n")
            .file("site-packages/hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n");
        let certs = Pkg::new("certs", "2024.1").file("ssl/cacert.pem", "pretend\n");
        let legacy = Pkg::new("legacy", "0.9")
            .native()
            .tar_bz2()
            .text_prefix("bin/legacy", "#!{prefix}/bin/python\nprint('legacy')\n")
            .symlink("bin/legacy-link", "legacy");
        Self { packages: vec![python, libfoo, hello, certs, legacy] }
    }

    /// Writes the channel to `dir`, for noarch, linux-64 and linux-aarch64.
    pub fn write(&self, dir: impl AsRef<Path>) -> Written {
        let dir = dir.as_ref().to_path_buf();
        let records = ["linux-64", "linux-aarch64", "noarch"].map(|subdir| (subdir, self.write_subdir(&dir, subdir)));
        Written { dir, records: records.into_iter().collect() }
    }

    fn write_subdir(&self, dir: &Path, subdir: &'static str) -> BTreeMap<String, Value> {
        let folder = dir.join(subdir);
        fs_err::create_dir_all(&folder).expect("a folder");
        let mut all = BTreeMap::new();
        let (mut packages, mut conda, mut removed) = (Map::new(), Map::new(), vec![]);
        for package in self.packages.iter().filter(|package| package.subdirs.contains(&subdir)) {
            let made = package.make(subdir);
            fs_err::write(folder.join(&made.file_name), &made.archive).expect("an archive");
            if !made.listed {
                removed.push(made.file_name.clone());
            } else if made.bz2 {
                packages.insert(made.file_name.clone(), made.record.clone());
            } else {
                conda.insert(made.file_name.clone(), made.record.clone());
            }
            all.insert(made.file_name, made.record);
        }
        let repodata = json!({
            "info": { "subdir": subdir },
            "packages": packages,
            "packages.conda": conda,
            "removed": removed,
            "repodata_version": 1,
        });
        fs_err::write(folder.join("repodata.json"), repodata.to_string()).expect("repodata");
        all
    }
}

impl Written {
    /// The channel as a `file://` mirror of conda-forge.
    pub fn mirror(&self) -> esker::project::Mirror {
        let to = Url::from_directory_path(&self.dir).expect("an absolute folder");
        esker::project::Mirror { from: Url::parse(CONDA_FORGE).expect("it is one"), to }
    }

    /// The archive of `file_name` on disk.
    pub fn archive(&self, subdir: &str, file_name: &str) -> PathBuf {
        self.dir.join(subdir).join(file_name)
    }

    /// `name` as a lock for `subdir` has it, from the subdir or from noarch. The last in order of file name, if there
    /// are several.
    ///
    /// # Panics
    /// When there is none.
    pub fn locked(&self, name: &str, subdir: Subdir) -> LockedPackage {
        let found = [subdir.as_str(), "noarch"].into_iter().find_map(|from| {
            let records = self.records.get(from)?;
            let (file_name, record) = records.iter().rev().find(|(_, record)| record["name"] == name)?;
            Some((from, file_name, record))
        });
        let (from, file_name, record) = found.unwrap_or_else(|| panic!("no `{name}` for {subdir} in the channel"));
        let text = |key: &str| record[key].as_str().map(str::to_owned);
        LockedPackage {
            name: name.into(),
            version: text("version").expect("a version"),
            manager: Manager::Conda,
            subdir,
            dependencies: dependencies(record),
            url: Url::parse(CONDA_FORGE).and_then(|url| url.join(&format!("{from}/{file_name}"))).expect("a URL"),
            md5: text("md5"),
            sha256: text("sha256"),
            category: "main".into(),
            optional: false,
        }
    }

    /// A lock of just these packages, for linux-64 and linux-aarch64, without a solve.
    pub fn lock(&self, names: &[&str]) -> Lock {
        let subdirs = vec![Subdir::Linux64, Subdir::LinuxAarch64];
        let mut names = names.to_vec();
        names.sort_unstable();
        let packages = names.iter().flat_map(|name| subdirs.iter().map(|subdir| self.locked(name, *subdir))).collect();
        Lock {
            channels: vec![LockedChannel { url: "conda-forge".into(), used_env_vars: vec![] }],
            content_hash: subdirs.iter().map(|subdir| (*subdir, "0".repeat(64))).collect(),
            sources: vec!["environment.yml".into()],
            custom_metadata: BTreeMap::new(),
            subdirs,
            packages,
        }
    }
}

fn dependencies(record: &Value) -> BTreeMap<String, String> {
    let specs = record["depends"].as_array().expect("a list").iter().filter_map(Value::as_str);
    specs
        .map(|spec| {
            let mut words = spec.split(' ');
            let name = words.next().expect("split yields something").to_owned();
            (name, words.next().unwrap_or_default().to_owned())
        })
        .collect()
}
