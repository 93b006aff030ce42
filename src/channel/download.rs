//! Packages: downloaded once, verified while they stream to disk, kept by their hash.
//!
//! A package lies at `packages/HASH/FILE` below the cache. It gets there by a rename from a sibling, after its hashes
//! were found right, so whatever has that name is whole: a run killed at any time, or a second process doing the same,
//! changes nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use http::{Extensions, HeaderValue, Method, header};
use rattler_digest::digest::Digest as _;
use rattler_digest::{Md5, Sha256};
use reqwest::{Request, Response, StatusCode};
use tokio::io::{AsyncSeekExt, AsyncWriteExt, BufWriter};
use url::Url;

use super::mirrors::{Target, without_secrets};
use super::transport::backoff;
use super::{Client, Error, WrongHash};
use crate::cache::{self, Run};
use crate::lock::{LockedPackage, Manager};
use crate::progress::{Progress, Task, Unit};

/// Partial downloads of killed runs are removed after this time: long enough for no download to be still at it.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

impl Client {
    /// The archive of `package`, on disk, verified. A package in the cache is taken as it is.
    ///
    /// # Errors
    /// When it cannot be had, or is not what the lock says; see [`Error`].
    pub async fn package(&self, package: &LockedPackage) -> Result<PathBuf, Error> {
        self.fetched(package, self.package_path(package)?).await
    }

    /// [`package`](Self::package) for a file of any kind.
    pub(super) async fn verified_file(&self, file: &LockedPackage) -> Result<PathBuf, Error> {
        self.fetched(file, self.path_by_hash(file)?).await
    }

    async fn fetched(&self, package: &LockedPackage, path: PathBuf) -> Result<PathBuf, Error> {
        if self.has(&path) {
            return Ok(path);
        }
        let turn = self.turn(&path);
        let _guard = turn.lock().await;
        // Another task may have fetched it while this one waited.
        if !self.has(&path) {
            self.download(package, &path).await?;
        }
        Ok(path)
    }

    /// Whether the file `path` of the cache is there; if so, it stays for as long as this client and its clones live.
    pub fn has(&self, path: &Path) -> bool {
        // A cache that cannot be written to is one that nothing is taken from.
        self.inner.run.get_or_init(|| Run::begin(self.cache_dir()).ok());
        cache::rely_on(self.cache_dir(), path)
    }

    /// The archives of `packages`, in their order; several are fetched at once.
    ///
    /// # Errors
    /// The first failure to show up; see [`package`](Self::package).
    pub async fn packages(&self, packages: &[&LockedPackage], progress: &dyn Progress) -> Result<Vec<PathBuf>, Error> {
        let total = packages.len() as u64;
        let task = Task::start(progress, "downloading packages", Some(total), Unit::Count);
        let paths = stream::iter(packages)
            .map(|package| async {
                let path = self.package(package).await?;
                task.advance(1);
                Ok(path)
            })
            .buffered(self.inner.options.jobs.max(1))
            .try_collect()
            .await?;
        Ok(paths)
    }

    /// Where `package` is, or will be, in the cache.
    ///
    /// # Errors
    /// When the lock gives no hash, or its URL is no package's.
    pub fn package_path(&self, package: &LockedPackage) -> Result<PathBuf, Error> {
        let file_name = package.file_name();
        let is_wheel = package.manager == Manager::Pip && file_name.ends_with(".whl");
        if !(is_wheel || file_name.ends_with(".conda") || file_name.ends_with(".tar.bz2")) {
            return Err(Error::NotAPackage { url: without_secrets(&package.url) });
        }
        self.path_by_hash(package)
    }

    fn path_by_hash(&self, package: &LockedPackage) -> Result<PathBuf, Error> {
        let hash = package.sha256.as_ref().or(package.md5.as_ref());
        let hash = hash.filter(|hash| hash.len() >= 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let hash = hash.ok_or_else(|| Error::NoHash { package: label(package) })?.to_ascii_lowercase();
        Ok(self.cache_dir().join("packages").join(hash).join(package.file_name()))
    }

    fn turn(&self, path: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut downloading = self.inner.downloading.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(downloading.entry(path.to_path_buf()).or_default())
    }

    /// Fetches `package` from the first of its mirrors that has it, whole and unharmed.
    async fn download(&self, package: &LockedPackage, path: &Path) -> Result<(), Error> {
        let targets = self.inner.mirrors.targets(&package.url);
        if self.is_offline() && targets.iter().all(|target| target.url.scheme() != "file") {
            return Err(Error::Offline { what: package.file_name().to_owned() });
        }
        let folder = path.parent().expect("it was joined to its folder");
        fs_err::create_dir_all(folder).map_err(|error| Error::cache(folder, error))?;
        remove_stale(folder);
        let (last, others) = targets.split_last().expect("there is at least one");
        for target in others {
            match self.download_to(package, target, folder, path).await {
                Err(error) if error.is_of_the_source() => {
                    tracing::info!(url = %target.shown(), %error, "trying the next mirror");
                }
                done => return done,
            }
        }
        match self.download_to(package, last, folder, path).await {
            // Once more from the start: a proxy may have garbled it. Twice the same is the server's doing.
            Err(Error::WrongHash(_)) => self.download_to(package, last, folder, path).await,
            other => other,
        }
    }

    async fn download_to(
        &self,
        package: &LockedPackage,
        from: &Target,
        folder: &Path,
        path: &Path,
    ) -> Result<(), Error> {
        let mut partial = Partial::new(folder).await?;
        for attempt in 1.. {
            match self.fetch(&package.url, from, &mut partial).await {
                Ok(()) => break,
                Err(Error::Truncated { .. } | Error::Connection { .. } | Error::Timeout { .. })
                    if attempt < from.attempts =>
                {
                    tokio::time::sleep(backoff(attempt + 1)).await;
                }
                Err(error) => return Err(error),
            }
        }
        partial.verify(package, &from.shown())?;
        partial.keep(path)
    }

    /// Fetches what `partial` lacks.
    async fn fetch(&self, canonical: &Url, from: &Target, partial: &mut Partial) -> Result<(), Error> {
        let url = &from.shown();
        // Not by reqwest's builder, which makes no request of a `file:` URL.
        let mut request = Request::new(Method::GET, canonical.clone());
        if partial.size > 0 {
            let range = HeaderValue::try_from(format!("bytes={}-", partial.size)).expect("letters and digits");
            request.headers_mut().insert(header::RANGE, range);
        }
        let mut extensions = Extensions::new();
        extensions.insert(from.clone());
        let sent = self.inner.http.execute_with_extensions(request, &mut extensions).await;
        let response = sent.map_err(|error| Error::request(url.clone(), error))?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if continues_at(&response, partial.size) => {}
            // The server starts anew, or cannot continue.
            StatusCode::OK => partial.restart().await?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let received = partial.size;
                partial.restart().await?;
                return Err(Error::Truncated { url: url.clone(), received, expected: None });
            }
            status => return Err(Error::status(url.clone(), status)),
        }
        partial.take(response, url).await
    }
}

fn continues_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

fn label(package: &LockedPackage) -> String {
    format!("{} {}", package.name, package.version)
}

/// Removes what killed runs left. Best effort: whatever cannot be removed is only in the way of disk space.
fn remove_stale(folder: &Path) {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part")) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_some_and(|age| age > STALE) {
            drop(fs_err::remove_file(entry.path()));
        }
    }
}

/// A download in progress: a file next to where it will be, and the hashes of what is in it. Dropping it removes it.
struct Partial {
    path: tempfile::TempPath,
    file: BufWriter<tokio::fs::File>,
    sha256: Sha256,
    md5: Md5,
    size: u64,
}

impl Partial {
    async fn new(folder: &Path) -> Result<Self, Error> {
        let file = tempfile::Builder::new()
            .suffix(".part")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(|error| Error::cache(&folder.join("download"), error))?;
        let (file, path) = file.into_parts();
        let file = BufWriter::with_capacity(1 << 20, tokio::fs::File::from_std(file));
        Ok(Self { path, file, sha256: Sha256::default(), md5: Md5::default(), size: 0 })
    }

    async fn restart(&mut self) -> Result<(), Error> {
        let restarted = async {
            self.file.flush().await?;
            self.file.get_mut().set_len(0).await?;
            self.file.rewind().await
        };
        restarted.await.map_err(|error| Error::cache(&self.path, error))?;
        (self.sha256, self.md5, self.size) = (Sha256::default(), Md5::default(), 0);
        Ok(())
    }

    /// Appends the body of `response`.
    async fn take(&mut self, response: Response, url: &Url) -> Result<(), Error> {
        let start = self.size;
        let expected = response.content_length().map(|length| start + length);
        let truncated = |received| Error::Truncated { url: url.clone(), received, expected };
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| match error.is_timeout() {
                true => Error::reqwest(url.clone(), error),
                false => truncated(self.size),
            })?;
            self.file.write_all(&chunk).await.map_err(|error| Error::cache(&self.path, error))?;
            self.sha256.update(&chunk);
            self.md5.update(&chunk);
            self.size += chunk.len() as u64;
        }
        // Errors of writes that are still queued show up here: a full disk must not pass for a wrong hash.
        self.file.flush().await.map_err(|error| Error::cache(&self.path, error))?;
        match expected {
            Some(expected) if self.size < expected => Err(truncated(self.size)),
            _ => Ok(()),
        }
    }

    fn verify(&self, package: &LockedPackage, url: &Url) -> Result<(), Error> {
        let sha256 = ("sha256", package.sha256.as_ref(), hex::encode(self.sha256.clone().finalize()));
        let md5 = ("md5", package.md5.as_ref(), hex::encode(self.md5.clone().finalize()));
        for (algorithm, expected, actual) in [sha256, md5] {
            let Some(expected) = expected else { continue };
            if !expected.eq_ignore_ascii_case(&actual) {
                let (package, url, expected) = (label(package), url.clone(), expected.clone());
                return Err(Error::WrongHash(Box::new(WrongHash { package, url, algorithm, expected, actual })));
            }
        }
        Ok(())
    }

    fn keep(self, path: &Path) -> Result<(), Error> {
        self.path.persist(path).map_err(|error| Error::cache(path, error.error))
    }
}
