//! What a wheel says of itself, without fetching the wheel where an index offers that (PEP 658).

use std::io::Read;
use std::path::Path;

use reqwest::StatusCode;
use tokio::task::spawn_blocking;
use url::Url;

use super::mirrors::without_secrets;
use super::{Client, Error};
use crate::lock::LockedPackage;

/// More than any package says of itself, its description included.
const LIMIT: u64 = 16 << 20;

impl Client {
    /// The `METADATA` of the wheel `package`. Kept in the cache by the wheel's hash.
    ///
    /// # Errors
    /// When it cannot be had, or the file is no wheel.
    pub async fn wheel_metadata(&self, package: &LockedPackage) -> Result<String, Error> {
        let hash = package.sha256.as_deref().filter(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let hash = hash.ok_or_else(|| Error::NoHash { package: format!("{} {}", package.name, package.version) })?;
        let path = self.cache_dir().join("wheel-metadata").join(hash.to_ascii_lowercase());
        if let Ok(text) = fs_err::read_to_string(&path) {
            return Ok(text);
        }
        let text = match self.metadata_beside(&package.url).await? {
            Some(text) => text,
            None => {
                let (wheel, url) = (self.package(package).await?, without_secrets(&package.url));
                let read = spawn_blocking(move || metadata_within(&wheel)).await.ok().flatten();
                read.ok_or(Error::NotAPackage { url })?
            }
        };
        keep(&path, &text).map_err(|error| Error::cache(&path, error))?;
        Ok(text)
    }

    /// The file beside the wheel that holds its `METADATA`; `None` where the index has none.
    async fn metadata_beside(&self, wheel: &Url) -> Result<Option<String>, Error> {
        let mut url = wheel.clone();
        url.set_path(&format!("{}.metadata", wheel.path()));
        let asked = self.inner.mirrors.shown(&url);
        if self.is_offline() && asked.scheme() != "file" {
            return Ok(None);
        }
        let response = self.inner.http.get(url).send().await.map_err(|error| Error::request(asked.clone(), error))?;
        match response.status() {
            StatusCode::OK => {
                let text = response.text().await.map_err(|error| Error::reqwest(asked, error))?;
                // A server may answer anything with a page of its own.
                Ok(Some(text).filter(|text| text.starts_with("Metadata-Version:")))
            }
            // What else there may be in the way of the wheel itself is said when that is fetched.
            status if status.is_client_error() => Ok(None),
            status => Err(Error::status(asked, status)),
        }
    }
}

/// `NAME-VERSION.dist-info/METADATA` of the wheel at `path`.
fn metadata_within(path: &Path) -> Option<String> {
    let mut wheel = zip::ZipArchive::new(std::fs::File::open(path).ok()?).ok()?;
    let is_metadata = |name: &String| {
        let (folder, file) = name.split_once('/').unwrap_or_default();
        folder.ends_with(".dist-info") && file == "METADATA"
    };
    let name = wheel.file_names().filter_map(|name| Some(name.ok()?.into_owned())).find(is_metadata)?;
    let mut text = Vec::new();
    wheel.by_name(&name).ok()?.take(LIMIT).read_to_end(&mut text).ok()?;
    // The fields that matter are ASCII; old packages have authors in other encodings.
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().expect("it was joined to its folder");
    fs_err::create_dir_all(folder)?;
    let file = tempfile::NamedTempFile::new_in(folder)?;
    fs_err::write(file.path(), text)?;
    file.persist(path).map(drop).map_err(|error| error.error)
}
