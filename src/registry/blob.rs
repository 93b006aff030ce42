//! Downloads one blob: resumed where it broke off, and only kept when its digest is right.

use std::io::Write;
use std::path::PathBuf;

use oci_spec::distribution::Reference;
use oci_spec::image::Descriptor;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, StatusCode, Url};

use super::Client;
use super::error::{Error, Result};
use super::transport::{broke_off, shown, status, unreachable};
use crate::oci::{self, BlobWriter, Digest, Layout};

impl Client {
    /// Downloads the blob `descriptor` of the repository of `reference` into `store`, unless it is there with the right
    /// size. `count` is told how many more bytes there are, each once. Returns the blob's path.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when other content comes each time it is tried; [`Error::Store`]; those of the connection.
    pub async fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        store: &Layout,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<PathBuf> {
        let url = self.url(reference, &["blobs", descriptor.digest().as_ref()])?;
        let digest = Digest::try_from(descriptor.digest())
            .map_err(|error| Error::Malformed { url: shown(&url), reason: error.to_string() })?;
        let size = descriptor.size();
        if store.has(&digest, size) {
            count(size);
            return Ok(store.blob_path(&digest));
        }
        let mut download = Download { url, store, digest, size, writer: None, counted: 0 };
        let mut tries = self.transport.tries();
        while let Err(error) = self.fetch(reference, &mut download, count).await {
            tries.again(error, is_worth_another_try).await?;
        }
        Ok(store.blob_path(&digest))
    }

    /// One attempt: asks for what is missing.
    async fn fetch(
        &self,
        reference: &Reference,
        download: &mut Download<'_>,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let offset = download.written();
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = format!("bytes={offset}-");
            headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are fine in a header"));
        }
        let mut response = self.get(reference, &download.url, &headers).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, offset) => {}
            // The server does not resume: from the beginning, in this answer or in the next.
            StatusCode::OK => download.writer = None,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                download.writer = None;
                return Err(status(&download.url, response).await);
            }
            _ => return Err(status(&download.url, response).await),
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&download.url, error))? {
            download.write(&chunk, count)?;
        }
        download.finish()
    }
}

struct Download<'a> {
    url: Url,
    store: &'a Layout,
    digest: Digest,
    size: u64,
    writer: Option<BlobWriter<'a>>,
    /// Bytes that were reported, which stay reported when the download begins anew.
    counted: u64,
}

impl Download<'_> {
    fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    fn write(&mut self, chunk: &[u8], count: &(dyn Fn(u64) + Sync)) -> Result<()> {
        let written = self.written() + chunk.len() as u64;
        if written > self.size {
            self.writer = None;
            let reason = format!("it sends more than the {} bytes that were announced", self.size);
            return Err(Error::Malformed { url: shown(&self.url), reason });
        }
        if self.writer.is_none() {
            self.writer = Some(self.store.writer_for(self.digest, self.size).map_err(|error| self.not_stored(error))?);
        }
        let path = self.store.blob_path(&self.digest);
        let writer = self.writer.as_mut().expect("made above");
        writer.write_all(chunk).map_err(|source| self.not_stored(oci::Error::Write { path, source }))?;
        if written > self.counted {
            count(written - self.counted);
            self.counted = written;
        }
        Ok(())
    }

    /// The answer ended: stores the blob if all of it is there.
    fn finish(&mut self) -> Result<()> {
        let written = self.written();
        if written < self.size {
            let reason = format!("it ends after {written} of {} bytes", self.size);
            return Err(Error::Malformed { url: shown(&self.url), reason });
        }
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.store.writer_for(self.digest, self.size).map_err(|error| self.not_stored(error))?,
        };
        match writer.commit() {
            Ok(_) => Ok(()),
            Err(oci::Error::Corrupt { mismatch, .. }) => Err(Error::Corrupt { url: shown(&self.url), mismatch }),
            Err(error) => Err(self.not_stored(error)),
        }
    }

    fn not_stored(&self, source: oci::Error) -> Error {
        Error::Store { url: shown(&self.url), source }
    }
}

pub(super) fn starts_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// A truncated or damaged answer, or one that does not go on where the last one ended.
pub(super) fn is_worth_another_try(error: &Error) -> bool {
    match error {
        Error::Malformed { .. } | Error::Corrupt { .. } => true,
        Error::Status { status, .. } => *status == 416 || *status == 206,
        other => broke_off(other),
    }
}
