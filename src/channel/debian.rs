//! Files of Debian archives: over the same connections, mirrors and retries as conda's, kept in the same cache.

use std::path::PathBuf;

use futures::StreamExt;
use rattler_conda_types::Subdir;
use reqwest::StatusCode;
use url::Url;

use super::{Client, Error};
use crate::lock::{LockedPackage, Manager};

impl Client {
    /// The file at `url`, which has this SHA-256, on disk; `label` is what errors call it.
    ///
    /// # Errors
    /// When it cannot be had, or is another one.
    pub async fn file(&self, label: &str, url: &Url, sha256: &str) -> Result<PathBuf, Error> {
        self.verified_file(&locked(label, url, sha256)).await
    }

    /// Whether [`file`](Self::file) has nothing to download.
    pub fn has_file(&self, url: &Url, sha256: &str) -> bool {
        self.package_path(&locked("", url, sha256)).is_ok_and(|path| path.is_file())
    }

    /// What is at `url` now, at most `limit` bytes of it; `None` where there is nothing.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn bytes(&self, url: &Url, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let asked = self.inner.mirrors.shown(url);
        let sent = self.inner.http.get(url.clone()).send().await;
        let response = sent.map_err(|error| Error::request(asked.clone(), error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(Error::status(asked, status)),
        }
        let mut bytes = Vec::new();
        let mut body = response.bytes_stream();
        while let Some(chunk) = body.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| Error::reqwest(asked.clone(), error))?);
            if bytes.len() > limit {
                return Err(Error::TooLarge { url: asked, limit });
            }
        }
        Ok(Some(bytes))
    }
}

/// The file as the cache knows files: by its address and its hash.
fn locked(label: &str, url: &Url, sha256: &str) -> LockedPackage {
    let (name, version) = label.split_once(' ').unwrap_or((label, ""));
    LockedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        manager: Manager::Conda,
        subdir: Subdir::NoArch,
        dependencies: std::collections::BTreeMap::new(),
        url: url.clone(),
        md5: None,
        sha256: Some(sha256.to_owned()),
        category: String::new(),
        optional: false,
    }
}
