//! An upload that a registry has begun to take: where it goes on (distribution-spec 1.1, "Pushing blobs").
//!
//! Each answer says where the next request goes, in `Location`: an address that may be relative, or on another host,
//! which gets no credentials.

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Body, Method, Response, Url};

use super::auth::{Access, Call};
use super::error::{Error, Result};
use super::transport::{Manner, shown, status};
use super::{Client, check_announced};
use crate::oci::Digest;

/// What the body of an upload is.
const OCTETS: &str = "application/octet-stream";
/// How many times the time a connection may be silent a registry may take to answer, once it has all of a body: it
/// compares digests and moves files.
const PATIENCE: u32 = 20;

/// See the module's documentation.
pub struct Session<'a> {
    pub client: &'a Client,
    pub reference: &'a oci_spec::distribution::Reference,
    pub access: &'a Access,
    /// Where the next request goes.
    pub location: Url,
    /// The fewest bytes a chunk may have, except the last.
    pub min_chunk: u64,
}

/// What came of asking for an upload.
pub enum Begun<'a> {
    /// The registry has the blob now.
    Mounted,
    /// It wants its bytes.
    Session(Session<'a>),
}

impl<'a> Session<'a> {
    /// Asks for an upload of `digest`, or for the blob of the repository `mount` of the same registry.
    pub async fn begin(
        client: &'a Client,
        reference: &'a oci_spec::distribution::Reference,
        access: &'a Access,
        mount: Option<(&str, &Digest)>,
    ) -> Result<Begun<'a>> {
        let mut url = client.url(reference, &["blobs", "uploads", ""])?;
        if let Some((repository, digest)) = mount {
            url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", repository);
        }
        let call = Call { reference, access, url: &url, manner: Manner::Follow, repeatable: true };
        let response = client.send(call, &|client| Ok(client.post(url.clone()).header(CONTENT_LENGTH, 0))).await?;
        match response.status().as_u16() {
            201 if mount.is_some() => Ok(Begun::Mounted),
            202 => {
                let min = response.headers().get("oci-chunk-min-length").and_then(|value| value.to_str().ok());
                let min_chunk = min.and_then(|value| value.parse().ok()).unwrap_or(0);
                let location = location(client, &url, &response)?
                    .ok_or_else(|| Error::Malformed { url: shown(&url), reason: "it does not say where to".into() })?;
                Ok(Begun::Session(Session { client, reference, access, location, min_chunk }))
            }
            _ => Err(status(&url, response).await),
        }
    }

    /// Sends all of the blob, `size` bytes, and ends the upload. `body` is asked for the bytes again if the registry
    /// wants another authorization first.
    pub async fn put_whole(
        &self,
        digest: &Digest,
        size: u64,
        body: &(dyn Fn() -> Result<Body> + Send + Sync),
    ) -> Result<()> {
        let url = self.end(digest);
        let response = self
            .send(&url, &|client| {
                let request = client.put(url.clone()).header(CONTENT_TYPE, OCTETS);
                Ok(request.header(CONTENT_LENGTH, size).body(body()?))
            })
            .await?;
        done(&url, response, digest).await
    }

    /// Sends the bytes that begin at `offset`.
    pub async fn patch(&mut self, offset: u64, bytes: &bytes::Bytes) -> Result<()> {
        let url = self.location.clone();
        let range = format!("{offset}-{}", offset + bytes.len() as u64 - 1);
        let timeout = self.client.transport.options().timeout * PATIENCE;
        let response = self
            .send(&url, &|client| {
                let request = client.patch(url.clone()).header(CONTENT_TYPE, OCTETS).header(CONTENT_RANGE, &range);
                Ok(request.header(CONTENT_LENGTH, bytes.len()).timeout(timeout).body(bytes.clone()))
            })
            .await?;
        // The specification has 202; ECR answers 201, others 204.
        if !matches!(response.status().as_u16(), 201 | 202 | 204) {
            return Err(status(&url, response).await);
        }
        self.moved(&url, &response)
    }

    /// How many bytes the registry has of it.
    pub async fn received(&mut self) -> Result<u64> {
        let url = self.location.clone();
        let call = Call {
            reference: self.reference,
            access: self.access,
            url: &url,
            manner: Manner::Refuse,
            repeatable: true,
        };
        let response = self.client.send(call, &|client| Ok(client.request(Method::GET, url.clone()))).await;
        let response = lost(&url, response)?;
        if !response.status().is_success() {
            return Err(status(&url, response).await);
        }
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let last: Option<u64> = range.rsplit('-').next().and_then(|last| last.parse().ok());
        self.moved(&url, &response)?;
        // Docker's registry says `0-0` where it has nothing, and where it has one byte: nobody sends one byte.
        Ok(last.filter(|last| *last > 0).map_or(0, |last| last + 1))
    }

    /// Ends an upload whose bytes are all there.
    pub async fn finish(&self, digest: &Digest) -> Result<()> {
        let url = self.end(digest);
        let timeout = self.client.transport.options().timeout * PATIENCE;
        let request = |client: &reqwest::Client| {
            Ok(client.put(url.clone()).header(CONTENT_TYPE, OCTETS).header(CONTENT_LENGTH, 0).timeout(timeout))
        };
        let response = self.send(&url, &request).await?;
        done(&url, response, digest).await
    }

    /// Where the request goes that ends the upload.
    fn end(&self, digest: &Digest) -> Url {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        url
    }

    async fn send(
        &self,
        url: &Url,
        request: &(dyn Fn(&reqwest::Client) -> Result<reqwest::RequestBuilder> + Send + Sync),
    ) -> Result<Response> {
        let call =
            Call { reference: self.reference, access: self.access, url, manner: Manner::Upload, repeatable: false };
        lost(url, self.client.send(call, request).await)
    }

    fn moved(&mut self, url: &Url, response: &Response) -> Result<()> {
        if let Some(location) = location(self.client, url, response)? {
            self.location = location;
        }
        Ok(())
    }
}

/// An upload that the registry has forgotten can be begun anew, other than a repository that does not exist.
fn lost(url: &Url, response: Result<Response>) -> Result<Response> {
    response.map_err(|error| match error {
        Error::NotFound { .. } => Error::Status { url: shown(url), status: 404, message: None },
        other => other,
    })
}

async fn done(url: &Url, response: Response, digest: &Digest) -> Result<()> {
    if !matches!(response.status().as_u16(), 201 | 202 | 204) {
        return Err(status(url, response).await);
    }
    check_announced(url, &response, digest)
}

/// Where an answer sends the next request. Encryption that began is not given up on the way.
fn location(client: &Client, url: &Url, response: &Response) -> Result<Option<Url>> {
    let Some(location) = response.headers().get(LOCATION) else { return Ok(None) };
    let invalid = |reason: &str| Error::Malformed { url: shown(url), reason: reason.to_owned() };
    let location = location.to_str().ok().and_then(|location| url.join(location).ok());
    let location = location.ok_or_else(|| invalid("where it sends the upload is no address"))?;
    let authority = &location[url::Position::BeforeHost..url::Position::AfterPort];
    let plain = location.scheme() == "http" && url.scheme() == "http" && client.transport.is_plain(authority);
    if location.scheme() == "https" || plain {
        return Ok(Some(location));
    }
    Err(invalid("it sends the upload where nothing is encrypted"))
}
