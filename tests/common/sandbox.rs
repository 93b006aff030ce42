//! A project of its own, a channel, a base and a cache in one temporary folder, and the esker program run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::{Pkg, TinyChannel};

/// The conda-forge URL that locks name.
const FORGE: &str = "https://conda.anaconda.org/conda-forge/";

/// See the module's documentation. Everything goes when it is dropped.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// A project with one image, `tiny`, that asks for `libfoo` and `certs`, a channel that has them, and a base for
    /// both architectures.
    pub fn new() -> Self {
        let sandbox = Self { folder: tempfile::tempdir().unwrap() };
        sandbox.channel(&Self::packages());
        sandbox.environment("tiny", &["libfoo", "certs"]);
        for architecture in ["amd64", "arm64"] {
            sandbox.write(&format!("base-{architecture}.tar"), &tiny_rootfs(architecture));
        }
        let base = "base:\n  linux/amd64: rootfs:../base-amd64.tar\n  linux/arm64: rootfs:../base-arm64.tar\n";
        sandbox.write("project/esker.yml", base.as_bytes());
        sandbox
    }

    /// The packages of [`new`](Self::new)'s channel, none of which needs a Python.
    pub fn packages() -> TinyChannel {
        TinyChannel::new()
            .package(
                Pkg::new("libfoo", "2.1")
                    .native()
                    .depends("__glibc >=2.17")
                    .binary_prefix("lib/libfoo.so.2.1", "{prefix}/share/foo")
                    .text_prefix("etc/foo.conf", "root={prefix}\n"),
            )
            .package(Pkg::new("certs", "2024.1").file("ssl/cacert.pem", "pretend\n"))
    }

    /// Replaces the channel.
    pub fn channel(&self, channel: &TinyChannel) {
        let folder = self.path("channel");
        drop(fs_err::remove_dir_all(&folder));
        channel.write(folder);
    }

    /// Writes `project/IMAGE/environment.yml`.
    pub fn environment(&self, image: &str, dependencies: &[&str]) {
        let list: String = dependencies.iter().map(|dependency| format!("  - {dependency}\n")).collect();
        let text = format!("channels:\n  - conda-forge\ndependencies:\n{list}");
        self.write(&format!("project/{image}/environment.yml"), text.as_bytes());
    }

    /// `name` in the sandbox.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    /// The text of a file.
    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path(name)).unwrap()
    }

    /// esker with these arguments, on this project, this channel and this cache, with no other environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_esker"));
        command
            .args(arguments)
            .current_dir(self.path("project"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("ESKER_CACHE_DIR", self.path("cache"))
            .env("ESKER_MIRROR", format!("{FORGE}=file://{}/", self.path("channel").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs esker to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::new(self.command(arguments).output().unwrap())
    }

    /// Runs esker, which must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
        ran
    }

    /// Builds `tiny` and returns the digest of its index.
    pub fn build(&self) -> String {
        let report: serde_json::Value = serde_json::from_str(&self.ok(&["build", "tiny", "--json"]).stdout).unwrap();
        report["images"][0]["digest"].as_str().unwrap().to_owned()
    }
}

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed as its result.
    pub stdout: String,
    /// What it said on the way.
    pub stderr: String,
}

impl Ran {
    /// From a finished process.
    pub fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Checks the exit code and that stderr has all of `words`.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing in:\n{}", self.stderr);
        }
    }
}

/// A root file system with the least a base must have.
fn tiny_rootfs(architecture: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/architecture", architecture),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Every file below `folder` with its content.
pub fn tree(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| (entry.path().strip_prefix(folder).unwrap().to_owned(), fs_err::read(entry.path()).unwrap()))
        .collect()
}
