//! Reads a blob without keeping it: resumed where it broke off.

use bytes::Bytes;
use oci_spec::distribution::Reference;
use oci_spec::image::Descriptor;
use reqwest::header::{HeaderMap, HeaderValue, RANGE};
use reqwest::{StatusCode, Url};
use tokio::sync::mpsc::Sender;

use super::blob::{is_worth_another_try, starts_at};
use super::error::{Error, Result};
use super::transport::{body, shown, status, unreachable};
use super::{Client, check};
use crate::oci::layout;

impl Client {
    /// Sends the blob `descriptor` of the repository of `reference` to `sink`, piece by piece, each byte once; `count` is
    /// told how many more there are. Whoever receives them compares them with the digest. Ends early, without an
    /// error, when nobody receives any more.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there are more or fewer bytes than the descriptor says; those of the connection.
    pub async fn stream(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &Sender<Bytes>,
        count: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let url = self.url(reference, &["blobs", descriptor.digest().as_ref()])?;
        let mut stream = Stream { url, size: descriptor.size(), sent: 0, sink, count };
        let mut tries = self.transport.tries();
        while let Err(error) = self.stream_rest(reference, &mut stream).await {
            tries.again(error, is_worth_another_try).await?;
        }
        Ok(())
    }

    /// The bytes of a small blob, such as an image's configuration.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when it is not what its digest says; those of the connection.
    pub async fn small_blob(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.bounded_blob(reference, descriptor, layout::MAX_DOCUMENT).await
    }

    /// The bytes of a blob of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is longer; those of [`small_blob`](Self::small_blob).
    pub async fn bounded_blob(&self, reference: &Reference, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let url = self.url(reference, &["blobs", descriptor.digest().as_ref()])?;
        let mut tries = self.transport.tries();
        loop {
            match self.small(reference, &url, descriptor, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => tries.again(error, is_worth_another_try).await?,
            }
        }
    }

    async fn small(&self, reference: &Reference, url: &Url, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let response = self.get(reference, url, &HeaderMap::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(status(url, response).await);
        }
        let bytes = body(url, response, limit).await?;
        check(url, &bytes, Some(descriptor.digest().as_ref()))?;
        Ok(bytes)
    }

    /// One attempt: asks for what was not sent yet.
    async fn stream_rest(&self, reference: &Reference, stream: &mut Stream<'_>) -> Result<()> {
        let offset = stream.sent;
        let mut headers = HeaderMap::new();
        if offset > 0 {
            let range = format!("bytes={offset}-");
            headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are fine in a header"));
        }
        let mut response = self.get(reference, &stream.url, &headers).await?;
        let mut position = match response.status() {
            StatusCode::PARTIAL_CONTENT if starts_at(&response, offset) => offset,
            // The server does not resume: what was sent is passed over.
            StatusCode::OK => 0,
            _ => return Err(status(&stream.url, response).await),
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&stream.url, error))? {
            let start = position;
            position += chunk.len() as u64;
            if position > stream.size {
                let reason = format!("it sends more than the {} bytes that were announced", stream.size);
                return Err(Error::Malformed { url: shown(&stream.url), reason });
            }
            let known = usize::try_from(stream.sent.saturating_sub(start)).unwrap_or(usize::MAX).min(chunk.len());
            if known < chunk.len() && stream.sink.send(chunk.slice(known..)).await.is_err() {
                return Ok(());
            }
            (stream.count)(position.saturating_sub(stream.sent));
            stream.sent = stream.sent.max(position);
        }
        if position < stream.size {
            let reason = format!("it ends after {position} of {} bytes", stream.size);
            return Err(Error::Malformed { url: shown(&stream.url), reason });
        }
        Ok(())
    }
}

struct Stream<'a> {
    url: Url,
    size: u64,
    sent: u64,
    sink: &'a Sender<Bytes>,
    count: &'a (dyn Fn(u64) + Sync),
}
