//! The HTTP client: mirrors, credentials, retries, and files in place of servers.
//!
//! Requests pass, in this order, [`Route`] (canonical URL to mirror, secrets filled in, the gate that keeps offline runs
//! off the network), rattler's credentials (for the mirror's host), [`Retry`], and [`Local`] (`file:` URLs).

use std::time::Duration;

use async_trait::async_trait;
use http::Extensions;
use rattler_networking::AuthenticationMiddleware;
use reqwest::{Request, Response, StatusCode};
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next, Result as Sent};
use url::Url;

use super::mirrors::{Mirrors, Target};
use super::route::Route;
use super::{Error, Options, credentials};

/// Requests sent for one answer, at most, where there is nobody else to ask.
pub(super) const ATTEMPTS: u32 = 4;

/// The client that `options` ask for. Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY` and so on), which
/// reqwest reads by itself.
pub(super) fn client(options: &Options, mirrors: Mirrors) -> Result<ClientWithMiddleware, Error> {
    let http = reqwest::Client::builder()
        .user_agent(concat!("esker/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(20))
        .read_timeout(Duration::from_secs(60))
        // A conda token is part of the path, and channels redirect to the hosts that hold their packages.
        .referer(false)
        .build()
        .map_err(Error::Setup)?;
    let authentication = AuthenticationMiddleware::from_auth_storage(credentials::storage(options)?);
    let (variables, offline) = (options.variables.clone(), options.offline);
    Ok(ClientBuilder::new(http.clone())
        .with(Route { mirrors, variables, offline, http })
        .with(authentication)
        .with(Retry)
        .with(Local)
        .build())
}

/// The pause before attempt `attempt` (from 2): 0.2, 0.4, 0.8 seconds.
pub(super) fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.pow(attempt.saturating_sub(1))
}

struct Retry;

#[async_trait]
impl Middleware for Retry {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Sent<Response> {
        let attempts = extensions.get::<Target>().map_or(ATTEMPTS, |target| target.attempts);
        for attempt in 1.. {
            let Some(again) = request.try_clone().filter(|_| attempt < attempts) else { break };
            let answer = next.clone().run(again, extensions).await;
            let Some(asked) = retry_after(&answer) else { return answer };
            let pause = asked.unwrap_or_else(|| backoff(attempt + 1));
            tracing::debug!(host = request.url().host_str(), ?pause, "no good answer, trying again");
            tokio::time::sleep(pause).await;
        }
        next.run(request, extensions).await
    }
}

/// `None` when the answer is final; else the pause the server asked for, if it did.
fn retry_after(answer: &Sent<Response>) -> Option<Option<Duration>> {
    match answer {
        Ok(response) if is_transient(response.status()) => {
            let header = response.headers().get(http::header::RETRY_AFTER);
            let seconds = header.and_then(|value| value.to_str().ok()?.parse().ok());
            Some(seconds.map(|seconds: u64| Duration::from_secs(seconds.min(60))))
        }
        Err(reqwest_middleware::Error::Reqwest(error)) if !error.is_builder() && !error.is_redirect() => Some(None),
        Ok(_) | Err(_) => None,
    }
}

fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

struct Local;

#[async_trait]
impl Middleware for Local {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Sent<Response> {
        match request.url().scheme() {
            "file" => Ok(file(request.url()).await),
            _ => next.run(request, extensions).await,
        }
    }
}

/// The file at `url`, as a server would answer: 404 where there is none.
async fn file(url: &Url) -> Response {
    use reqwest::ResponseBuilderExt;
    let opened = match url.to_file_path() {
        Ok(path) if path.is_file() => tokio::fs::File::open(path).await.ok(),
        _ => None,
    };
    let length = match &opened {
        Some(file) => file.metadata().await.ok().map(|metadata| metadata.len()),
        None => None,
    };
    let mut response = http::Response::builder().url(url.clone());
    if let Some(length) = length {
        response = response.header(http::header::CONTENT_LENGTH, length);
    }
    let response = match opened {
        Some(file) => response.body(reqwest::Body::from(file)),
        None => response.status(StatusCode::NOT_FOUND).body(reqwest::Body::default()),
    };
    Response::from(response.expect("a status and a number make a response"))
}
