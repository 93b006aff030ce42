//! Pulls from container registries and pushes to them (OCI distribution-spec 1.1, and the Docker registries before it).
//!
//! Everything that comes from a registry is bounded and compared with its digest. Failures that pass by themselves are
//! tried again, a few times, so that whoever calls can take an error for an answer. Plain HTTP is spoken to this
//! machine, and to hosts that were named as exceptions.

mod auth;
mod blob;
mod challenge;
mod credentials;
pub mod error;
mod helper;
mod push;
mod range;
mod referrers;
mod session;
mod stream;
mod transport;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, MediaType};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use self::auth::{Access, Call};
pub use self::credentials::Credentials;
pub use self::error::Error;
use self::error::Result;
pub use self::push::{Push, Pushed};
use self::transport::{Manner, Transport, body, broke_off, shown, status};
use crate::oci::error::Mismatch;
use crate::oci::{Digest, Document, Platform, image, layout};

/// What manifests may be: OCI's and Docker's, several platforms or one.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// The header that says the digest of what was sent or stored.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// How a [`Client`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files with credentials, Docker's `config.json` or Podman's `auth.json`, in the order they are searched. Those
    /// that do not exist are passed over.
    pub auth_files: Vec<PathBuf>,
    /// Hosts, with their port if they have one, that plain HTTP is spoken to.
    pub insecure: Vec<String>,
    /// How the client names itself.
    pub user_agent: String,
    /// How long a connection may take to be made, or to be silent.
    pub timeout: Duration,
    /// How long a program that keeps credentials may take, which may have to ask somebody for a password.
    pub helper_timeout: Duration,
    /// How long to wait before something is tried again; each time twice as long.
    pub retry_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            auth_files: Vec::new(),
            insecure: Vec::new(),
            user_agent: concat!("esker/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_secs(30),
            helper_timeout: Duration::from_secs(120),
            retry_delay: Duration::from_millis(500),
        }
    }
}

/// A client of all registries. Cheap to make: connections and certificates wait until they are needed.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    sessions: auth::Sessions,
}

/// What a reference stands for at the moment.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Digest of the index, or of the manifest where there is no index.
    pub digest: Digest,
    /// Descriptor of the manifest for the platform that was asked for.
    pub manifest: Descriptor,
}

impl Client {
    /// Makes a client.
    pub fn new(options: Options) -> Self {
        Self { transport: Transport::new(options), sessions: auth::Sessions::default() }
    }

    /// Finds the image for `platform` that `reference` names. Without an index, the platform is for the caller to
    /// check: only the image's configuration tells.
    ///
    /// # Errors
    /// [`Error::NoPlatform`], and those of [`manifest`](Self::manifest).
    pub async fn resolve(&self, reference: &Reference, platform: Platform) -> Result<Resolved> {
        let bytes = self.manifest(reference, None).await?;
        let digest = Digest::of(&bytes);
        let whole = Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, digest);
        let Document::Index(index) = self.parse(reference, &bytes)? else {
            return Ok(Resolved { digest, manifest: whole });
        };
        match image::choose(&index, platform) {
            Some(manifest) => Ok(Resolved { digest, manifest: manifest.clone() }),
            None => Err(Error::NoPlatform {
                reference: reference.to_string(),
                platform,
                has: image::platform_names(&index),
            }),
        }
    }

    /// The bytes of the index or manifest that `reference` names; of the one with `digest` of the same repository, if
    /// one is given.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Denied`]; [`Error::Corrupt`] when it is not what the digest says; those of the
    /// connection.
    pub async fn manifest(&self, reference: &Reference, digest: Option<Digest>) -> Result<Vec<u8>> {
        let digest = digest.map(|digest| digest.to_string()).or_else(|| reference.digest().map(str::to_owned));
        let name = digest.as_deref().or(reference.tag()).unwrap_or("latest");
        let url = self.url(reference, &["manifests", name])?;
        let mut tries = self.transport.tries();
        loop {
            match self.document(reference, &url, digest.as_deref()).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => tries.again(error, broke_off).await?,
            }
        }
    }

    async fn document(&self, reference: &Reference, url: &Url, digest: Option<&str>) -> Result<Vec<u8>> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
        let response = self.get(reference, url, &headers).await?;
        if response.status() != StatusCode::OK {
            return Err(status(url, response).await);
        }
        let announced = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        let expected = digest.or(announced).map(str::to_owned);
        let bytes = body(url, response, layout::MAX_DOCUMENT).await?;
        check(url, &bytes, expected.as_deref())?;
        Ok(bytes)
    }

    /// What the user's files have for the repository of `reference`, for somebody else who is to pull from there. May run a
    /// credential helper.
    ///
    /// # Errors
    /// [`Error::Credentials`] when a file or a helper cannot be used.
    pub async fn credentials(&self, reference: &Reference) -> Result<Option<Credentials>> {
        auth::credentials(&self.transport, reference).await
    }

    fn parse(&self, reference: &Reference, bytes: &[u8]) -> Result<Document> {
        let what = reference.to_string();
        Document::parse(bytes, &what).map_err(|error| Error::Malformed { url: what, reason: error.to_string() })
    }

    async fn get(&self, reference: &Reference, url: &Url, headers: &HeaderMap) -> Result<Response> {
        let call = Call { reference, access: &Access::default(), url, manner: Manner::Follow, repeatable: true };
        self.send(call, &|client| Ok(client.get(url.clone()).headers(headers.clone()))).await
    }

    async fn send(
        &self,
        call: Call<'_>,
        request: &(dyn Fn(&reqwest::Client) -> Result<RequestBuilder> + Send + Sync),
    ) -> Result<Response> {
        auth::send(&self.transport, &self.sessions, call, request).await
    }

    fn url(&self, reference: &Reference, path: &[&str]) -> Result<Url> {
        let mut url = self.transport.root(auth::host(reference))?;
        url.path_segments_mut()
            .expect("http addresses have a path")
            .pop_if_empty()
            .extend(reference.repository().split('/'))
            .extend(path);
        Ok(url)
    }
}

/// Compares what a registry says it has stored, if it does, with what was sent.
fn check_announced(url: &Url, response: &Response, digest: &Digest) -> Result<()> {
    let announced = response.headers().get(CONTENT_DIGEST).and_then(|value| value.to_str().ok());
    match announced.filter(|announced| announced.starts_with("sha256:")) {
        Some(announced) if announced != digest.to_string() => {
            let reason = format!("it was sent {digest} and says that it has `{}`", announced.escape_debug());
            Err(Error::Malformed { url: shown(url), reason })
        }
        _ => Ok(()),
    }
}

/// Compares a document with the digest it was asked for by, or that the registry says it has.
fn check(url: &Url, bytes: &[u8], expected: Option<&str>) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    let expected: Digest =
        expected.parse().map_err(|error| Error::Malformed { url: shown(url), reason: format!("{error}") })?;
    let size = bytes.len() as u64;
    Mismatch::check((expected, size), (Digest::of(bytes), size))
        .map_err(|mismatch| Error::Corrupt { url: shown(url), mismatch })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_images() {
        let client = Client::new(Options::default());
        for (reference, address) in [
            ("debian:bookworm", "https://registry-1.docker.io/v2/library/debian/manifests/x"),
            ("quay.io/pangeo/base-image", "https://quay.io/v2/pangeo/base-image/manifests/x"),
            ("localhost:5000/a/b/c", "http://localhost:5000/v2/a/b/c/manifests/x"),
        ] {
            let url = client.url(&reference.parse().unwrap(), &["manifests", "x"]).unwrap();
            assert_eq!(url.as_str(), address);
        }
    }
}
