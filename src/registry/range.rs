//! Downloads a part of a blob.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use oci_spec::distribution::Reference;
use reqwest::header::{HeaderMap, HeaderValue, RANGE};
use reqwest::{StatusCode, Url};

use super::Client;
use super::auth::Access;
use super::blob::{is_worth_another_try, starts_at};
use super::error::{Error, Result};
use super::transport::{shown, status, unreachable};
use crate::oci::{self, Digest};

impl Client {
    /// Whether the repository of `reference` has the blob `digest`.
    ///
    /// # Errors
    /// [`Error::Denied`], and those of the connection.
    pub async fn holds(&self, reference: &Reference, digest: &Digest) -> Result<bool> {
        self.has_blob(reference, &Access::default(), digest).await
    }

    /// Writes the bytes `range` of the blob `digest` of the repository of `reference` into the new file `path`. `count` is
    /// told how many more there are, each once. Whoever reads them compares them with a digest: that of the blob says
    /// nothing of a part. Returns whether they are there: some servers send blobs as a whole only.
    ///
    /// # Errors
    /// [`Error::Store`]; those of the connection.
    pub async fn range(
        &self,
        reference: &Reference,
        digest: &Digest,
        range: Range<u64>,
        path: &Path,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<bool> {
        let url = self.url(reference, &["blobs", &digest.to_string()])?;
        let file = File::create_new(path).map_err(|source| not_stored(&url, path, source))?;
        let mut part = Part { url, path, file, next: range.start, end: range.end, count };
        let mut tries = self.transport.tries();
        loop {
            match self.range_rest(reference, &mut part).await {
                Ok(whole) => return Ok(whole),
                Err(error) => tries.again(error, is_worth_another_try).await?,
            }
        }
    }

    /// One attempt: asks for what is missing.
    async fn range_rest(&self, reference: &Reference, part: &mut Part<'_>) -> Result<bool> {
        let wanted = format!("bytes={}-{}", part.next, part.end.saturating_sub(1));
        let wanted = HeaderValue::from_str(&wanted).expect("digits are fine in a header");
        let mut response = self.get(reference, &part.url, &HeaderMap::from_iter([(RANGE, wanted)])).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, part.next) => {}
            StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE => return Ok(false),
            _ => return Err(status(&part.url, response).await),
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&part.url, error))? {
            let wanted = usize::try_from(part.end - part.next).unwrap_or(usize::MAX).min(chunk.len());
            part.file.write_all(&chunk[..wanted]).map_err(|source| not_stored(&part.url, part.path, source))?;
            part.next += wanted as u64;
            (part.count)(wanted as u64);
            if part.next == part.end {
                return Ok(true);
            }
        }
        let reason = format!("it ends {} bytes early", part.end - part.next);
        Err(Error::Malformed { url: shown(&part.url), reason })
    }
}

struct Part<'a> {
    url: Url,
    path: &'a Path,
    file: File,
    /// Where the bytes that are missing begin.
    next: u64,
    end: u64,
    count: &'a (dyn Fn(u64) + Sync),
}

fn not_stored(url: &Url, path: &Path, source: std::io::Error) -> Error {
    Error::Store { url: shown(url), source: oci::Error::Write { path: path.to_owned(), source } }
}
