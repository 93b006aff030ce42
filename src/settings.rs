//! Flags and environment variables become [`Settings`]. The only reader of the environment and of the home directory.
//!
//! What a project says of itself is in [`crate::project::Project`]; these are the settings of the person and the
//! machine: where caches are, which mirrors to use, how many jobs to run.

use std::env;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crate::cache::Size;
use crate::docker;
use crate::project::{Mirror, ParseMirrorError};

/// What the command line and the environment decide for every command.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder to look for the project in; absolute.
    pub directory: PathBuf,
    /// Where packages, fragments and base layers are kept.
    pub cache_dir: PathBuf,
    /// What the cache may have after a build (`--cache-limit`, `ESKER_CACHE_LIMIT`), instead of what `esker.yml` says.
    pub cache_limit: Option<Size>,
    /// Mirrors of `--mirror` and `ESKER_MIRROR`; they come before those of `esker.yml`.
    pub mirrors: Vec<Mirror>,
    /// Nothing is fetched.
    pub offline: bool,
    /// Registries, with their port if they have one, that plain HTTP is spoken to besides this machine.
    pub plain_http: Vec<String>,
    /// Threads for hashing, compressing and compiling.
    pub jobs: usize,
    /// The time it is; ages of packages are counted from it.
    pub now: jiff::Timestamp,
    /// The time images say they were created at, in seconds since 1970, instead of their newest package's.
    pub source_date_epoch: Option<u64>,
    /// Files with channel and registry credentials.
    pub credentials: Credentials,
    /// The program `uv` (`ESKER_UV`), which solves `pip:`; by name or path.
    pub uv: PathBuf,
    /// The program `gpgv` (`ESKER_GPGV`), which checks the signatures of Debian archives; by name or path.
    pub gpgv: PathBuf,
    /// The program `podman` (`ESKER_PODMAN`), which verify can run images with; by name or path.
    pub podman: PathBuf,
    /// The keys of the Debian archive (`ESKER_DEBIAN_KEYRING`) where a base has none, instead of this machine's.
    pub debian_keyring: Option<PathBuf>,
    /// What says where the Docker engine is (`DOCKER_HOST`, `DOCKER_CONTEXT` and the like).
    pub docker: docker::Setting,
}

/// Where credentials may be.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// rattler's and pixi's JSON file of channel tokens.
    pub channel_auth_file: Option<PathBuf>,
    /// netrc.
    pub netrc: Option<PathBuf>,
    /// Docker's and Podman's files, in the order they are asked.
    pub registry_auth_files: Vec<PathBuf>,
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The current or given directory is unusable.
    #[error("cannot use directory `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Neither `--cache-dir`, `ESKER_CACHE_DIR`, `XDG_CACHE_HOME` nor `HOME` says where caches go.
    #[error("no place for the cache: neither `--cache-dir` nor `HOME` is set")]
    NoCacheDirectory,
    /// An environment variable cannot be understood.
    #[error("environment variable `{name}` is `{value}`: expected {expected}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A mirror is not `FROM=TO`.
    #[error(transparent)]
    Mirror(#[from] ParseMirrorError),
}

/// The flags every command has, as given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--project`.
    pub project: Option<PathBuf>,
    /// `--cache-dir`.
    pub cache_dir: Option<PathBuf>,
    /// `--cache-limit`.
    pub cache_limit: Option<Size>,
    /// `--mirror`, in order; each may hold several pairs.
    pub mirrors: Vec<String>,
    /// `--offline`.
    pub offline: bool,
    /// `--plain-http`.
    pub plain_http: Vec<String>,
    /// `--jobs`.
    pub jobs: Option<NonZeroUsize>,
}

impl Settings {
    /// Completes what was given on the command line from the environment.
    ///
    /// # Errors
    /// When a directory, variable or mirror cannot be used.
    pub fn resolve(given: &Given) -> Result<Self, Error> {
        let directory = given.project.clone().unwrap_or_else(|| PathBuf::from("."));
        let directory =
            directory.canonicalize().map_err(|source| Error::Directory { path: directory.clone(), source })?;
        let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let cache_dir = given
            .cache_dir
            .clone()
            .or_else(|| xdg_cache_home().map(|dir| dir.join("esker")))
            .or_else(|| home.as_ref().map(|home| home.join(".cache/esker")))
            .ok_or(Error::NoCacheDirectory)?;
        let cache_dir =
            std::path::absolute(&cache_dir).map_err(|source| Error::Directory { path: cache_dir.clone(), source })?;
        let mirrors = given.mirrors.iter().flat_map(|text| pairs(text));
        let mirrors = mirrors.map(|pair| Mirror::parse(&pair)).collect::<Result<_, _>>()?;
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            directory,
            cache_dir,
            cache_limit: given.cache_limit,
            mirrors,
            offline: given.offline,
            plain_http: given.plain_http.clone(),
            jobs: given.jobs.map_or(cores, NonZeroUsize::get),
            now: jiff::Timestamp::now(),
            source_date_epoch: source_date_epoch()?,
            credentials: Credentials::find(home.as_deref()),
            uv: program("ESKER_UV", "uv"),
            gpgv: program("ESKER_GPGV", "gpgv"),
            podman: program("ESKER_PODMAN", "podman"),
            debian_keyring: env::var_os("ESKER_DEBIAN_KEYRING").filter(|path| !path.is_empty()).map(PathBuf::from),
            docker: docker_setting(home.as_deref()),
        })
    }
}

impl Settings {
    /// The value of an environment variable that a channel's or a mirror's URL names.
    pub fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }
}

/// What Docker's variables say. Those that are empty count as unset, as Docker has it.
fn docker_setting(home: Option<&Path>) -> docker::Setting {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let config_dir = variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home.map(|home| home.join(".docker")));
    docker::Setting {
        host: variable("DOCKER_HOST"),
        context: variable("DOCKER_CONTEXT"),
        config_dir,
        tls_verify: variable("DOCKER_TLS_VERIFY").is_some(),
        cert_path: variable("DOCKER_CERT_PATH").map(PathBuf::from),
        buildkit: variable("DOCKER_BUILDKIT").map(|value| value != "0" && value != "false"),
        ssh: program("ESKER_SSH", "ssh"),
    }
}

/// The program that the environment variable `name` says, or `default`.
fn program(name: &str, default: &str) -> PathBuf {
    env::var_os(name).filter(|program| !program.is_empty()).unwrap_or_else(|| default.into()).into()
}

/// The pairs in one value of `--mirror` or `ESKER_MIRROR`: one a line; or all in one line, with spaces between, as a
/// pair begins with `http://` or `https://` and the rest of a path, which may hold spaces, does not.
fn pairs(text: &str) -> Vec<String> {
    let mut pairs: Vec<String> = Vec::new();
    for line in text.lines() {
        for (index, word) in line.trim().split(' ').enumerate() {
            let begins = index == 0 || ["http://", "https://"].iter().any(|scheme| word.starts_with(scheme));
            match pairs.last_mut().filter(|_| !begins) {
                Some(pair) => *pair = format!("{pair} {word}"),
                None => pairs.push(word.to_owned()),
            }
        }
    }
    let trimmed = pairs.iter().map(|pair| pair.trim().to_owned());
    trimmed.filter(|pair| !pair.is_empty()).collect()
}

impl Credentials {
    fn find(home: Option<&Path>) -> Self {
        let in_home = |path: &str| home.map(|home| home.join(path));
        let variable = |name: &str| env::var_os(name).map(PathBuf::from);
        let runtime = variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json"));
        let registry = [
            variable("REGISTRY_AUTH_FILE"),
            variable("DOCKER_CONFIG").map(|dir| dir.join("config.json")).or_else(|| in_home(".docker/config.json")),
            runtime,
            in_home(".config/containers/auth.json"),
        ];
        Self {
            channel_auth_file: variable("RATTLER_AUTH_FILE").or_else(|| in_home(".rattler/credentials.json")),
            netrc: variable("NETRC").or_else(|| in_home(".netrc")),
            registry_auth_files: registry.into_iter().flatten().filter(|path| path.is_file()).collect(),
        }
    }
}

/// `XDG_CACHE_HOME`; one that is empty or relative counts as unset (XDG Base Directory Specification).
fn xdg_cache_home() -> Option<PathBuf> {
    env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute())
}

/// Reads `SOURCE_DATE_EPOCH` (the reproducible-builds.org convention).
fn source_date_epoch() -> Result<Option<u64>, Error> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    match env::var(NAME) {
        Err(_) => Ok(None),
        Ok(value) => value.parse().map(Some).map_err(|_| Error::Variable {
            name: NAME,
            value,
            expected: "a number of seconds since 1970",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_one_variable_are_told_apart() {
        for (text, expected) in [
            ("", &[][..]),
            ("https://a/=https://b/", &["https://a/=https://b/"]),
            ("https://a/=https://b/  https://c/=file:///d", &["https://a/=https://b/", "https://c/=file:///d"]),
            (
                "https://a/=file:///my own/dir https://c/=http://d",
                &["https://a/=file:///my own/dir", "https://c/=http://d"],
            ),
            (
                "\nhttps://a/=file:///x  y\n https://a/=http://d/ \n",
                &["https://a/=file:///x  y", "https://a/=http://d/"],
            ),
        ] {
            assert_eq!(pairs(text), expected, "{text}");
        }
    }
}
