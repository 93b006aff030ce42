//! Records of packages, by name, through rattler's gateway (sharded, zstd or plain `repodata.json`, cached).

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use rattler_conda_types::{Channel, ChannelUrl, MatchSpec, PackageName, Subdir};
use rattler_repodata_gateway::fetch::{CacheAction, FetchRepoDataError};
use rattler_repodata_gateway::sparse::PackageFormatSelection;
use rattler_repodata_gateway::{ChannelConfig, Gateway, GatewayError, RepoData, SourceConfig};
use reqwest_middleware::ClientWithMiddleware;
use url::Url;

use super::error::chain;
use super::mirrors::{Mirrors, without_secrets};
use super::{Client, Error, Options};
use crate::lock::{LockedPackage, Manager};

/// Records of one subdir and noarch, one element a channel and subdir, channels in order of priority.
pub type Records = Vec<RepoData>;

pub(super) fn gateway(options: &Options, mirrors: &Mirrors, http: ClientWithMiddleware) -> Gateway {
    let folder = repodata_folder(options, mirrors);
    let cache_action = if options.offline { CacheAction::ForceCacheOnly } else { CacheAction::CacheOrFetch };
    let local = |from: Url| (from, SourceConfig::default());
    Gateway::builder()
        .with_client(http)
        .with_package_cache(rattler_cache::package_cache::PackageCache::new(options.cache_dir.join("extracted")))
        .with_cache_dir(folder)
        .with_max_concurrent_requests(50)
        .with_channel_config(ChannelConfig {
            default: SourceConfig { cache_action, ..SourceConfig::default() },
            // A mirror on disk can be read offline.
            per_channel: mirrors.local_prefixes().map(local).collect(),
        })
        .finish()
}

fn repodata_folder(options: &Options, mirrors: &Mirrors) -> PathBuf {
    options.cache_dir.join("repodata").join(mirrors.fingerprint())
}

impl Client {
    /// All records of `names` and of everything they may depend on, for `subdir` and noarch.
    ///
    /// Only names are asked for, and both archive formats: given versions, or one format, the gateway drops records
    /// before the solver sees them, and strict channel priority no longer holds.
    ///
    /// # Errors
    /// When a channel cannot be reached or read. A channel without `subdir` is no error.
    pub async fn records(
        &self,
        channels: &[Channel],
        subdir: Subdir,
        names: impl IntoIterator<Item = PackageName>,
    ) -> Result<Records, Error> {
        self.queried(channels, subdir, names.into_iter().map(by_name), true).await
    }

    /// All records of `names` and of everything they may depend on, and the packages that `urls` name: where no channel
    /// has one, the package itself is asked what it is. Those come first, as no channel may stand above them.
    ///
    /// # Errors
    /// As [`records`](Self::records); also when such a package cannot be fetched.
    pub async fn records_and_files(
        &self,
        channels: &[Channel],
        subdir: Subdir,
        names: impl IntoIterator<Item = PackageName>,
        urls: Vec<MatchSpec>,
    ) -> Result<Records, Error> {
        let names: Vec<PackageName> = names.into_iter().collect();
        let records = self.records(channels, subdir, names.clone()).await?;
        let offered: HashSet<&Url> = records.iter().flat_map(|data| data.iter()).map(|record| &record.url).collect();
        let others: Vec<MatchSpec> =
            urls.into_iter().filter(|spec| spec.url.as_ref().is_some_and(|url| !offered.contains(url))).collect();
        if others.is_empty() {
            return Ok(records);
        }
        for spec in &others {
            self.check_file(spec).await?;
        }
        self.queried(channels, subdir, others.into_iter().chain(names.into_iter().map(by_name)), true).await
    }

    /// Whether the package at the URL of `spec` has the hash of `spec`, if it has one: the gateway does not look.
    async fn check_file(&self, spec: &MatchSpec) -> Result<(), Error> {
        let (Some(url), Some(name)) = (&spec.url, spec.name.as_exact()) else { return Ok(()) };
        let (md5, sha256) = (spec.md5.map(hex::encode), spec.sha256.map(hex::encode));
        if md5.is_none() && sha256.is_none() {
            return Ok(());
        }
        let package = LockedPackage {
            name: name.as_normalized().to_owned(),
            version: String::new(),
            manager: Manager::Conda,
            subdir: Subdir::NoArch,
            dependencies: BTreeMap::new(),
            url: url.clone(),
            md5,
            sha256,
            category: String::new(),
            optional: false,
        };
        self.package(&package).await.map(drop)
    }

    /// All records of `names` alone, for `subdir` and noarch.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    pub async fn records_without_dependencies(
        &self,
        channels: &[Channel],
        subdir: Subdir,
        names: impl IntoIterator<Item = PackageName>,
    ) -> Result<Records, Error> {
        self.queried(channels, subdir, names.into_iter().map(by_name), false).await
    }

    async fn queried(
        &self,
        channels: &[Channel],
        subdir: Subdir,
        specs: impl Iterator<Item = MatchSpec>,
        recursive: bool,
    ) -> Result<Records, Error> {
        let query = self
            .gateway()
            .query(channels.to_vec(), [subdir, Subdir::NoArch], specs)
            .recursive(recursive)
            .package_format_selection(PackageFormatSelection::Both);
        let output = query.execute().await.map_err(|error| self.repodata_error(channels, subdir, error))?;
        Ok(output.repodata)
    }

    /// Names of all packages for `subdirs` and noarch; to suggest one that was meant.
    ///
    /// # Errors
    /// As [`records`](Self::records).
    pub async fn names(&self, channels: &[Channel], subdirs: &[Subdir]) -> Result<Vec<String>, Error> {
        let platforms: Vec<Subdir> = subdirs.iter().copied().chain([Subdir::NoArch]).collect();
        let found = self.gateway().names(channels.to_vec(), platforms).execute().await;
        let found = found.map_err(|error| self.repodata_error(channels, Subdir::NoArch, error))?;
        let mut names: Vec<String> = found.names.iter().map(|name| name.as_normalized().to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn repodata_error(&self, channels: &[Channel], subdir: Subdir, error: GatewayError) -> Error {
        let first = channels.first().map(|channel| &channel.base_url);
        let asked = |url: &Url| self.inner.mirrors.shown(url);
        let channel_url = |channel: &ChannelUrl| asked(&Url::from(channel.clone()));
        match (error, first) {
            (GatewayError::SubdirNotFoundError(missing), _) => {
                Error::NoChannel { url: channel_url(&missing.channel.base_url) }
            }
            (GatewayError::ReqwestError(error), Some(channel)) => {
                let url = error.url().cloned().unwrap_or_else(|| channel_url(channel));
                Error::reqwest(without_secrets(&url), error)
            }
            (GatewayError::FetchRepoDataError(FetchRepoDataError::HttpError(error)), Some(channel)) => {
                let url = error.url().cloned().unwrap_or_else(|| channel_url(channel));
                Error::request(without_secrets(&url), error)
            }
            (GatewayError::ReqwestMiddlewareError(error), Some(channel)) => {
                Error::request(channel_url(channel), reqwest_middleware::Error::Middleware(error))
            }
            (GatewayError::FetchRepoDataError(FetchRepoDataError::NoCacheAvailable(url)), _) => {
                Error::Offline { what: asked(&url).to_string() }
            }
            (GatewayError::DirectUrlQueryError(url, source), _) => {
                let url = Url::parse(&url).map_or(url, |url| asked(&url).to_string());
                Error::File { url, source: Box::new(source) }
            }
            (GatewayError::ShardNotCached(name), _) => Error::Offline { what: format!("the repodata of {name}") },
            (error, _) => self.other_repodata_error(channels, subdir, error),
        }
    }

    /// Whether repodata can be kept in the cache. The gateway's errors do not tell a cache that cannot be used from a
    /// channel that cannot.
    fn try_cache(&self) -> Result<(), Error> {
        let folder = repodata_folder(&self.inner.options, &self.inner.mirrors);
        let tried = fs_err::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder));
        tried.map(drop).map_err(|error| Error::cache(&folder, error))
    }

    fn other_repodata_error(&self, channels: &[Channel], subdir: Subdir, error: GatewayError) -> Error {
        let io = chain(&error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
        if let Some(full) = io.filter(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            let source = std::io::Error::new(full.kind(), full.to_string());
            return Error::DiskFull { directory: self.cache_dir().to_path_buf(), source };
        }
        if let Err(error) = self.try_cache() {
            return error;
        }
        let channel = channels.iter().map(Channel::canonical_name).collect::<Vec<_>>().join("`, `");
        Error::Repodata { channel, subdir, source: Box::new(error) }
    }
}

fn by_name(name: PackageName) -> MatchSpec {
    MatchSpec { name: name.into(), ..MatchSpec::default() }
}
