//! The program `uv`, asked which wheels answer a set of requirements.
//!
//! Its crates promise nothing and would nearly double what is compiled; the program is a wheel itself, and its command
//! line is stable. It runs in a folder of its own, so that no `uv.toml` of a project is read; indexes and credentials
//! are its own business (`UV_DEFAULT_INDEX`, `uv.toml` of the user, netrc).
//!
//! What conda provides is shown to it as wheels that hold nothing but a name and a version: it cannot choose another
//! version of them, asks no index about them, and does not look into what they need, which is conda's to know.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;
use url::Url;

/// What uv is asked.
pub(super) struct Question<'a> {
    /// uv itself.
    pub program: &'a Path,
    /// Nothing may be fetched.
    pub offline: bool,
    /// The target's Python: `3.12.1`.
    pub python: &'a str,
    /// The target, in uv's words.
    pub platform: &'a str,
    /// The oldest macOS to run on.
    pub macos: Option<&'a str>,
    /// Requirements, one each.
    pub requirements: Vec<String>,
    /// What is there already: versions by normalised name.
    pub provided: BTreeMap<String, String>,
    /// Versions to keep if possible, by normalised name.
    pub preferred: BTreeMap<String, String>,
    /// What was uploaded later does not count (RFC 3339), but of those preferred.
    pub cutoff: Option<String>,
    /// Packages that the cut-off is not for.
    pub cutoff_exempt: BTreeSet<String>,
}

/// What uv answers.
pub(super) enum Answer {
    /// The packages needed besides those provided.
    Solved(Vec<Resolved>),
    /// There is no solution; uv's words.
    Unsolvable(String),
}

/// A package that uv chose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Normalised name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Wheels of it that suit the platform, with their SHA-256.
    pub wheels: Vec<(Url, String)>,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The program is not there.
    Missing,
    /// It cannot be run, or its answer be read.
    Io(io::Error),
    /// Something is not in its cache; its words.
    Offline(String),
    /// It failed; its words.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The exit code that says that the requirements contradict each other. Others are of the network or of uv.
const NO_SOLUTION: i32 = 1;

/// The file that is both what to keep and the answer.
const LOCK: &str = "pylock.toml";

impl Question<'_> {
    /// Runs uv.
    pub async fn ask(&self) -> Result<Answer, Failure> {
        let folder = tempfile::Builder::new().prefix("esker-uv-").tempdir()?;
        self.write_inputs(folder.path())?;
        let output = self.command(folder.path()).output().await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Missing,
            _ => Failure::Io(error),
        })?;
        let words = words(&String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(0) => {
                let text = fs_err::read_to_string(folder.path().join(LOCK))?;
                let resolved = parsed(&text).map_err(Failure::Failed)?;
                let is_needed = |package: &Resolved| !self.provided.contains_key(&package.name);
                Ok(Answer::Solved(resolved.into_iter().filter(is_needed).collect()))
            }
            Some(NO_SOLUTION) if self.offline && words.contains("network was disabled") => Err(Failure::Offline(words)),
            Some(NO_SOLUTION) if words.contains("No solution found") => Ok(Answer::Unsolvable(words)),
            _ if words.is_empty() => Err(Failure::Failed(output.status.to_string())),
            _ => Err(Failure::Failed(words)),
        }
    }

    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(self.program);
        command
            .args(["pip", "compile", "requirements.in", "--constraint", "provided.txt", "--output-file", LOCK])
            .args(["--format", "pylock.toml", "--generate-hashes", "--only-binary", ":all:"])
            .args(["--python-version", self.python, "--python-platform", self.platform])
            // The target's Python is not run, so none needs to be fetched; colours and bars are for people.
            .args(["--no-python-downloads", "--no-progress", "--color", "never"])
            .args(self.offline.then_some("--offline"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(cutoff) = &self.cutoff {
            // uv would give up what is locked; there is no other way to tell it that a package is exempt.
            let exempt: BTreeSet<&String> = self.preferred.keys().chain(&self.cutoff_exempt).collect();
            command.arg("--exclude-newer").arg(cutoff);
            command.args(
                exempt
                    .into_iter()
                    .flat_map(|name| ["--exclude-newer-package".to_owned(), format!("{name}=9999-01-01T00:00:00Z")]),
            );
        }
        if let Some(macos) = self.macos {
            command.env("MACOSX_DEPLOYMENT_TARGET", macos);
        }
        command
    }

    fn write_inputs(&self, folder: &Path) -> io::Result<()> {
        let lines = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        fs_err::write(folder.join("requirements.in"), lines(self.requirements.clone()))?;
        let stubs = self.provided.iter().map(|(name, version)| stub(folder, name, version));
        fs_err::write(folder.join("provided.txt"), lines(stubs.collect::<io::Result<_>>()?))?;
        let preferred = self
            .preferred
            .iter()
            .map(|(name, version)| format!("[[packages]]\nname = {name:?}\nversion = {version:?}"));
        if self.preferred.is_empty() {
            return Ok(());
        }
        let head = "lock-version = \"1.0\"\ncreated-by = \"esker\"".to_owned();
        fs_err::write(folder.join(LOCK), lines([head].into_iter().chain(preferred).collect()))
    }
}

/// Writes a wheel that holds a name and a version, and returns the requirement that is answered by it alone.
fn stub(folder: &Path, name: &str, version: &str) -> io::Result<String> {
    let stem = format!("{}-{version}", name.replace('-', "_"));
    let path = folder.join(format!("{stem}-py3-none-any.whl"));
    let mut wheel = zip::ZipWriter::new(fs_err::File::create(&path)?);
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (file, content) in [
        ("METADATA", format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")),
        ("WHEEL", "Wheel-Version: 1.0\nGenerator: esker\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        ("RECORD", String::new()),
    ] {
        wheel.start_file(format!("{stem}.dist-info/{file}"), options)?;
        wheel.write_all(content.as_bytes())?;
    }
    wheel.finish()?;
    let url = Url::from_file_path(&path).map_err(|()| io::Error::other("a temporary folder with a relative path"))?;
    Ok(format!("{name} @ {url}"))
}

/// The part of PEP 751 that is of use here.
#[derive(Deserialize)]
struct PyLock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    /// Missing where a URL was asked for whose version nobody knows before it is fetched.
    version: Option<String>,
    #[serde(default)]
    wheels: Vec<File>,
    archive: Option<File>,
}

#[derive(Deserialize)]
struct File {
    url: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

fn parsed(text: &str) -> Result<Vec<Resolved>, String> {
    let lock: PyLock = toml::from_str(text).map_err(|error| format!("its answer cannot be read: {error}"))?;
    lock.packages.into_iter().map(resolved).collect()
}

fn resolved(package: Package) -> Result<Resolved, String> {
    let files = package.archive.into_iter().chain(package.wheels);
    let wheels: Vec<(Url, String)> = files
        .filter_map(|file| {
            let mut url: Url = file.url?.parse().ok()?;
            url.set_fragment(None);
            Some((url, file.hashes.get("sha256")?.to_ascii_lowercase()))
        })
        .collect();
    let version = package.version.or_else(|| {
        let file = wheels.first()?.0.path().rsplit('/').next()?.to_owned();
        file.split('-').nth(1).map(str::to_owned)
    });
    let version = version.ok_or_else(|| format!("it tells no version of `{}`", package.name))?;
    Ok(Resolved { name: package.name, version, wheels })
}

/// What uv says of its failure, without warnings that are no part of it, nor users and passwords of URLs.
fn words(stderr: &str) -> String {
    let from = stderr.find("error: ").map_or(stderr, |at| &stderr[at + "error: ".len()..]);
    let mut out = String::with_capacity(from.len());
    let mut rest = from.trim();
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || "/`'\")".contains(c)).unwrap_or(after.len());
        rest = after[..end].rfind('@').map_or(after, |user| &after[user + 1..]);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let text = "lock-version = \"1.0\"\n[[packages]]\nname = \"foo\"\nversion = \"1.0\"\nmarker = \"python_version > '3'\"\n\
                    wheels = [\n { url = \"https://h/foo-1.0-py3-none-any.whl\", upload-time = 2024-01-01T00:00:00Z, \
                    hashes = { sha256 = \"AB\" } },\n { path = \"./x.whl\", hashes = {} },\n]\n\
                    [[packages]]\nname = \"bar\"\narchive = { url = \"https://h/bar-2-py3-none-any.whl#x\", hashes = { sha256 = \"cd\" } }\n";
        let resolved = parsed(text).unwrap();
        let wheel = |url: &str, hash: &str| vec![(url.parse().unwrap(), hash.to_owned())];
        let foo = Resolved {
            name: "foo".into(),
            version: "1.0".into(),
            wheels: wheel("https://h/foo-1.0-py3-none-any.whl", "ab"),
        };
        let bar = Resolved {
            name: "bar".into(),
            version: "2".into(),
            wheels: wheel("https://h/bar-2-py3-none-any.whl", "cd"),
        };
        assert_eq!(resolved, [foo, bar]);
        assert!(parsed("packages = 1").unwrap_err().starts_with("its answer cannot be read"));
    }

    #[test]
    fn words_hold_no_secrets_and_no_noise() {
        let stderr = "warning: no Python\nerror: Failed to fetch: `https://user:p@ss@host/simple/foo/`\n  cause: see http://h/@x\n";
        assert_eq!(words(stderr), "Failed to fetch: `https://host/simple/foo/`\n  cause: see http://h/@x");
    }
}
