//! conda channels over the network: one HTTP client with mirrors, credentials and retries; repodata through rattler's
//! gateway; packages downloaded once, verified, kept.
//!
//! Mirrors change where bytes come from, never what is written down: everything here is asked for by its canonical URL,
//! and only the last step before the wire (`route`) looks a mirror up and fills in secrets. Locks therefore keep
//! canonical URLs, with variables in them.

mod credentials;
mod debian;
mod download;
mod error;
mod mirrors;
mod repodata;
mod route;
mod transport;
mod variables;
mod wheel;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use rattler_repodata_gateway::Gateway;
use reqwest_middleware::ClientWithMiddleware;

use crate::cache::Run;
use crate::project::Mirror;

pub use error::{Error, WrongHash};
pub use mirrors::without_secrets;
pub use repodata::Records;
pub use variables::{Variables, variables, whole_variable, written};

use mirrors::Mirrors;

/// How channels are reached. Where credentials and caches lie is told, not found out: this module reads no environment.
#[derive(Clone, Debug)]
pub struct Options {
    /// Holds `packages/` and `repodata/`; made when needed. Several processes may share it.
    pub cache_dir: PathBuf,
    /// Where to fetch from instead of canonical prefixes. Several of one prefix are tried in order.
    pub mirrors: Vec<Mirror>,
    /// What the variables in the URLs of channels and mirrors stand for.
    pub variables: Variables,
    /// Nothing is fetched: what is not in the cache or on a `file://` mirror is an error.
    pub offline: bool,
    /// Downloads at once.
    pub jobs: usize,
    /// Credentials as rattler and pixi keep them (`~/.rattler/credentials.json`, `RATTLER_AUTH_FILE`); may not exist.
    pub auth_file: Option<PathBuf>,
    /// Credentials as curl keeps them (`~/.netrc`, `NETRC`); may not exist.
    pub netrc: Option<PathBuf>,
    /// The program `uv`, which asks Python package indexes in its own way; by name or path.
    pub uv: PathBuf,
}

/// A way to channels: cheap to clone, clones share connections and what is known of repodata.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
    mirrors: Mirrors,
    http: ClientWithMiddleware,
    gateway: Gateway,
    /// One lock a file being downloaded, so that two tasks of this process do not fetch the same package twice.
    downloading: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
    /// Says that the cache is in use, once it is.
    run: OnceLock<Option<Run>>,
}

impl Options {
    /// Options with nothing special: no mirrors, no credentials, eight downloads at once.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            mirrors: Vec::new(),
            variables: Variables::default(),
            offline: false,
            jobs: 8,
            auth_file: None,
            netrc: None,
            uv: PathBuf::from("uv"),
        }
    }
}

impl Client {
    /// Makes a client; nothing is fetched yet.
    ///
    /// # Errors
    /// When a file of credentials cannot be read, or TLS cannot be set up.
    pub fn new(options: Options) -> Result<Self, Error> {
        let mirrors = Mirrors::new(&options.mirrors);
        let http = transport::client(&options, mirrors.clone())?;
        let gateway = repodata::gateway(&options, &mirrors, http.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                mirrors,
                http,
                gateway,
                downloading: Mutex::default(),
                run: OnceLock::new(),
            }),
        })
    }

    /// The directory below which everything fetched is kept.
    pub fn cache_dir(&self) -> &Path {
        &self.inner.options.cache_dir
    }

    /// Whether nothing may be fetched.
    pub fn is_offline(&self) -> bool {
        self.inner.options.offline
    }

    /// The program `uv`.
    pub fn uv(&self) -> &Path {
        &self.inner.options.uv
    }

    /// rattler's gateway to repodata, over this client's connections, with its cache below
    /// [`cache_dir`](Self::cache_dir).
    pub fn gateway(&self) -> &Gateway {
        &self.inner.gateway
    }
}
