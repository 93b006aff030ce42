//! The real channel and base, a copy of `tests/real/project`, and esker run in it.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use esker::oci::Platform;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Ran, skipped};

/// The image of `tests/real/project`.
pub const IMAGE: &str = "demo-notebook";

/// A project folder of its own in a temporary folder of its own; both go when it is dropped.
pub struct Project {
    folder: TempDir,
    real: PathBuf,
    cache: PathBuf,
}

impl Project {
    /// The project as a user clones it, neither locked nor built, with the cache that all of these tests share with
    /// the demo. `None`, said to be skipped, where there is no real channel.
    pub fn new() -> Option<Self> {
        Self::of("tests/real/project")
    }

    /// The same of another project of this repository.
    pub fn of(source: &str) -> Option<Self> {
        let Some(real) = std::env::var_os("ESKER_REAL").map(PathBuf::from) else {
            skipped("`ESKER_REAL` does not name a folder with a real channel (`make real` makes one)");
            return None;
        };
        let real = real.canonicalize().unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Such folders are their owner's alone, and an ordinary user shall verify what root built.
        fs_err::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        run("cp", &["-r", text(&source), text(&folder.path().join("project"))]);
        Some(Self { folder, cache: real.join("cache"), real })
    }

    /// The same with an empty cache.
    pub fn cold() -> Option<Self> {
        let project = Self::new()?;
        Some(Self { cache: project.path("cache"), ..project })
    }

    /// A locked project whose image is built for both architectures, and the digest of its index.
    pub fn built() -> Option<(Self, String)> {
        let project = Self::new()?;
        project.ok(&["lock"]);
        let digest = project.build(&[]);
        Some((project, digest))
    }

    /// `name` in the folder with the real channel and base.
    pub fn real(&self, name: &str) -> PathBuf {
        self.real.join(name)
    }

    /// `name` in the temporary folder, where the project's folder is `project`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the image's folder.
    pub fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.path("project").join(IMAGE).join(name)).unwrap()
    }

    /// The layout that `esker build` makes.
    pub fn layout(&self) -> PathBuf {
        self.path("project/.esker/images").join(IMAGE)
    }

    /// esker with these arguments in the project.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.dressed(Command::new(env!("CARGO_BIN_EXE_esker")), arguments)
    }

    /// `program`, which runs esker, with these arguments in the project and no other environment than esker's.
    pub fn dressed(&self, mut program: Command, arguments: &[&str]) -> Command {
        let mirror = format!("https://channel.example.org/real/=file://{}/channel/", self.real.display());
        program
            .args(arguments)
            .current_dir(self.path("project"))
            .env_clear()
            .envs(["PATH", "DOCKER_HOST"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("HOME", self.path("home"))
            .env("ESKER_CACHE_DIR", &self.cache)
            .env("ESKER_MIRROR", mirror)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        program
    }

    /// Runs esker, which must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = Ran::new(self.command(arguments).output().unwrap());
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}{}", ran.stdout, ran.stderr);
        ran
    }

    /// The arguments of a build of the image from the real base, reported as JSON.
    pub fn build_arguments<'a>(&self, command: &'a str, more: &[&'a str]) -> Vec<String> {
        let base = format!("oci:{}/base/oci", self.real.display());
        [command, IMAGE, "--json", "--base", &base].iter().chain(more).map(|&word| word.to_owned()).collect()
    }

    /// Builds the image and returns the digest of its index.
    pub fn build(&self, more: &[&str]) -> String {
        // Two cold builds side by side would do the same work twice.
        let lock = File::create(self.real.join("cache.lock")).unwrap();
        lock.lock().unwrap();
        let arguments = self.build_arguments("build", more);
        let ran = self.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        digest_of(&json(&ran))
    }
}

/// The digest in the report of `esker build`.
pub fn digest_of(report: &Value) -> String {
    report["images"][0]["digest"].as_str().unwrap().to_owned()
}

/// What esker printed as JSON.
pub fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}\n{}", ran.stdout, ran.stderr))
}

/// This machine's platform, as `--platform` takes it.
pub fn host() -> String {
    Platform::host().expect("tests run where images run").to_string()
}

/// `path` as text; the paths of these tests are.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a program that must succeed, and returns what it printed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let ran = Ran::new(output);
    assert_eq!(ran.code, Some(0), "{program} {arguments:?}\n{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

/// Whether `program` with `arguments` succeeds, which says that it can be used here; said to be skipped otherwise.
pub fn usable(program: &str, arguments: &[&str]) -> bool {
    let usable = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !usable {
        skipped(&format!("`{program} {}` does not succeed here", arguments.join(" ")));
    }
    usable
}
