//! HTTP as registries need it: which scheme a host is spoken to in, retries, redirects, bounded answers.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{RequestBuilder, Response, StatusCode, Url};

use super::Options;
use super::error::{Error, Result};

/// How often something is tried before it is given up.
const ATTEMPTS: u32 = 5;
const MAX_REDIRECTS: usize = 5;
/// The longest wait a server may ask for. Whoever asks for more is reported instead.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Debug)]
pub struct Transport {
    options: Options,
    /// Set up when they are first needed: a build without a registry needs no certificate authorities.
    clients: [OnceLock<reqwest::Client>; 6],
}

/// How redirects and silence are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Redirects are followed.
    Follow,
    /// They are not: the request carries a secret in its body, or where it leads is answer enough.
    Refuse,
    /// They are not, and the server may be silent while a body is sent. Whoever sends it watches over it.
    Upload,
}

impl Transport {
    pub const fn new(options: Options) -> Self {
        Self { options, clients: [const { OnceLock::new() }; 6] }
    }

    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The root of the registry at `host`.
    pub fn root(&self, host: &str) -> Result<Url> {
        let scheme = if self.is_plain(host) { "http" } else { "https" };
        let url = format!("{scheme}://{host}/v2/");
        Url::parse(&url).map_err(|error| Error::Malformed { url, reason: error.to_string() })
    }

    /// Whether plain HTTP is spoken to `host`, which may have a port.
    pub fn is_plain(&self, host: &str) -> bool {
        is_loopback(host) || self.options.insecure.iter().any(|insecure| insecure == host)
    }

    /// The client for `url`. Loopback is never asked of a proxy, and needs no certificates.
    pub fn client(&self, url: &Url, manner: Manner) -> Result<&reqwest::Client> {
        let loopback = url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
        let cell = &self.clients[usize::from(loopback) * 3 + manner as usize];
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(loopback, manner).map_err(|source| Error::Tls { source })?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(&self, loopback: bool, manner: Manner) -> reqwest::Result<reqwest::Client> {
        let policy = if manner == Manner::Follow { Policy::custom(redirect) } else { Policy::none() };
        let builder = reqwest::Client::builder()
            .user_agent(&self.options.user_agent)
            .connect_timeout(self.options.timeout)
            // Blobs are compressed already, and a range of a re-encoded body means nothing.
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .referer(false)
            .redirect(policy);
        let builder = if manner == Manner::Upload { builder } else { builder.read_timeout(self.options.timeout) };
        if loopback { builder.no_proxy().tls_certs_only([]).build() } else { builder.build() }
    }

    /// Sends what `request` makes, again when the connection fails or the server asks to come back later.
    ///
    /// Returns any answer but 429 and 5xx.
    pub async fn send(&self, url: &Url, request: impl Fn() -> Result<RequestBuilder>) -> Result<Response> {
        let mut attempt = 1;
        loop {
            let last = attempt == ATTEMPTS;
            let wait = match request()?.send().await {
                Ok(response) if !is_transient(response.status()) => return Ok(response),
                Ok(response) => match retry_after(&response) {
                    wait if last || wait.is_some_and(|wait| wait > MAX_WAIT) => return Err(status(url, response).await),
                    wait => wait,
                },
                Err(error) if last || !is_retryable(&error) => return Err(unreachable(url, error)),
                Err(_) => None,
            };
            tokio::time::sleep(wait.unwrap_or_else(|| self.backoff(attempt))).await;
            attempt += 1;
        }
    }

    /// Sends `request` once: for what would have to begin otherwise the second time. When the server asks to come back
    /// later, that time has passed when the error is returned.
    ///
    /// Returns any answer but 429 and 5xx.
    pub async fn once(&self, url: &Url, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| unreachable(url, error))?;
        if !is_transient(response.status()) {
            return Ok(response);
        }
        let wait = retry_after(&response).unwrap_or_default();
        if wait > MAX_WAIT {
            return Err(Error::Busy { url: shown(url), seconds: wait.as_secs() });
        }
        let error = status(url, response).await;
        tokio::time::sleep(wait).await;
        Err(error)
    }

    /// For work whose failures [`send`](Self::send) does not see: those of an answer's body.
    pub const fn tries(&self) -> Tries<'_> {
        Tries { transport: self, failed: 0 }
    }

    /// How long to wait after the failed attempt number `attempt`, from 1: twice as long each time.
    fn backoff(&self, attempt: u32) -> Duration {
        self.options.retry_delay.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(MAX_WAIT)
    }
}

/// How often something failed.
pub struct Tries<'a> {
    transport: &'a Transport,
    failed: u32,
}

impl Tries<'_> {
    /// Waits before another try; or returns `error`, when it does not pass by itself or has come too often.
    pub async fn again(&mut self, error: Error, passes: fn(&Error) -> bool) -> Result<()> {
        self.failed += 1;
        if self.failed == ATTEMPTS || !passes(&error) {
            return Err(error);
        }
        tokio::time::sleep(self.transport.backoff(self.failed)).await;
        Ok(())
    }
}

/// Follows redirects, as blobs are mostly elsewhere; `reqwest` leaves credentials behind when the host changes.
/// Encryption that a connection began with is not given up on the way.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let encrypted = attempt.previous().iter().any(|url| url.scheme() == "https");
    if attempt.previous().len() > MAX_REDIRECTS {
        attempt.error("too many redirects")
    } else if encrypted && attempt.url().scheme() != "https" {
        attempt.error("it redirects to plain http")
    } else {
        attempt.follow()
    }
}

/// Whether `host`, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// A redirect that is refused stays refused; everything else may be luck.
fn is_retryable(error: &reqwest::Error) -> bool {
    !error.is_redirect() && !error.is_builder()
}

/// Whether an answer began well and broke off. Requests that got no answer were repeated before they became errors.
pub fn broke_off(error: &Error) -> bool {
    matches!(error, Error::Unreachable { source, .. } if source.is_decode() || source.is_body())
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(then.duration_since(jiff::Timestamp::now())).unwrap_or_default())
}

/// The error for an answer that is none of the expected ones.
pub async fn status(url: &Url, response: Response) -> Error {
    let status = response.status().as_u16();
    let message = body(url, response, 1 << 16).await.ok().and_then(|body| message(&body));
    Error::Status { url: shown(url), status, message }
}

/// What the registry's JSON says went wrong (distribution-spec, "Error Codes").
fn message(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = body.pointer("/errors/0/message").or_else(|| body.pointer("/errors/0/code"))?.as_str()?;
    // It may be anything, and ends up on a terminal.
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

/// Whether an error that [`once`](Transport::once) returned may be luck.
pub fn passes(error: &Error) -> bool {
    match error {
        Error::Unreachable { source, .. } => is_retryable(source),
        Error::Status { status, .. } => StatusCode::from_u16(*status).is_ok_and(is_transient),
        Error::Stalled { .. } => true,
        _ => false,
    }
}

/// Reads all of a small answer.
pub async fn body(url: &Url, mut response: Response, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > limit {
            return Err(Error::Malformed { url: shown(url), reason: format!("it is longer than {limit} bytes") });
        }
    }
    Ok(bytes)
}

/// An address as it may be shown: queries hold signatures, and the address of a token server may name a user.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither setter fails on a URL with a host, and these have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.into()
}

/// The error for a request that got no answer. The address in `error` is dropped: it may be that of a redirect.
pub fn unreachable(url: &Url, error: reqwest::Error) -> Error {
    Error::Unreachable { url: shown(url), source: error.without_url() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_for_exceptions() {
        let transport = Transport::new(Options { insecure: vec!["registry.lan:5000".into()], ..Options::default() });
        for plain in ["localhost:5000", "127.0.0.1", "127.1.2.3:80", "[::1]:5000", "registry.lan:5000"] {
            assert_eq!(transport.root(plain).unwrap().scheme(), "http", "{plain}");
        }
        for encrypted in ["quay.io", "localhost.example.org", "127.0.0.1.nip.io", "registry.lan", "10.0.0.1:5000"] {
            assert_eq!(transport.root(encrypted).unwrap().scheme(), "https", "{encrypted}");
        }
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let transport = Transport::new(Options { retry_delay: Duration::from_secs(1), ..Options::default() });
        let waits: Vec<_> = [1, 2, 3, 30, 99].map(|attempt| transport.backoff(attempt).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 60, 60]);
    }
}
