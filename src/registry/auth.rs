//! Answers a registry's challenges: anonymous tokens, tokens for credentials, passwords.
//!
//! Credentials are looked up when a registry asks for them, not before, and go to that registry and the token server
//! it names only. When they cannot be read the pull goes on without them; only if that is denied is it worth saying.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use oci_spec::distribution::Reference;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{self, Credentials};
use super::error::{Error, Result};
use super::transport::{Redirects, Transport, body, broke_off, shown, status};

/// Where Docker Hub's API is; its own name is that of its web site.
const HUB: &str = "registry-1.docker.io";
/// The most bytes of a token server's answer.
const MAX_TOKEN: u64 = 1 << 20;

/// What a registry is shown with each request.
#[derive(Clone)]
enum Grant {
    Token(String),
    Password(String, String),
}

impl Grant {
    /// Adds itself to `request`, marked so that it is not logged.
    fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Token(token) => request.bearer_auth(token),
            Self::Password(user, password) => request.basic_auth(user, Some(password)),
        }
    }
}

/// The grant of each repository that asked for one.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<String, Grant>>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

impl Sessions {
    fn get(&self, name: &str) -> Option<Grant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: String, grant: Grant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, grant);
    }
}

/// The host that serves the images of `reference`.
pub fn host(reference: &Reference) -> &str {
    if reference.registry() == "docker.io" { HUB } else { reference.registry() }
}

/// Gets `url` of the registry of `reference`, with whatever authorization it asks for.
///
/// Returns any answer but 401, 403, 404, 429 and 5xx, which are errors.
pub async fn get(
    transport: &Transport,
    sessions: &Sessions,
    reference: &Reference,
    url: &Url,
    headers: &HeaderMap,
) -> Result<Response> {
    let session = format!("{}/{}", reference.registry(), reference.repository());
    let mut grant = sessions.get(&session);
    let mut problem = None;
    for last in [false, true] {
        let response = transport.send(url, || request(transport, url, headers, grant.as_ref())).await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Err(Error::NotFound { url: shown(url) }),
            StatusCode::FORBIDDEN => break,
            StatusCode::UNAUTHORIZED if !last => {
                // Whoever the registry sent us on to has no business asking for the registry's credentials.
                if response.url().origin() != url.origin() {
                    return Err(status(url, response).await);
                }
                let Some(challenge) = Challenge::of(response.headers()) else { break };
                let (credentials, why_not) = credentials(transport, reference).await;
                problem = why_not;
                let Some(granted) = answer(transport, reference, challenge, credentials).await? else { break };
                sessions.set(session.clone(), granted.clone());
                grant = Some(granted);
            }
            StatusCode::UNAUTHORIZED => break,
            _ => return Ok(response),
        }
    }
    Err(denied(reference, problem))
}

fn denied(reference: &Reference, problem: Option<String>) -> Error {
    Error::Denied { registry: reference.registry().to_owned(), repository: reference.repository().to_owned(), problem }
}

fn request(transport: &Transport, url: &Url, headers: &HeaderMap, grant: Option<&Grant>) -> Result<RequestBuilder> {
    let request = transport.client(url, Redirects::Follow)?.get(url.clone()).headers(headers.clone());
    Ok(grant.into_iter().fold(request, |request, grant| grant.apply(request)))
}

/// The user's credentials, or why they cannot be had.
async fn credentials(transport: &Transport, reference: &Reference) -> (Option<Credentials>, Option<String>) {
    let files = transport.options().auth_files.clone();
    let registry = reference.registry().to_owned();
    match tokio::task::spawn_blocking(move || credentials::find(&files, &registry)).await {
        Ok(Ok(found)) => (found, None),
        Ok(Err(error)) => (None, Some(error.to_string())),
        Err(_) => (None, Some("looking for credentials was interrupted".to_owned())),
    }
}

/// What satisfies `challenge`; `None` when there is nothing to satisfy it with.
async fn answer(
    transport: &Transport,
    reference: &Reference,
    challenge: Challenge,
    credentials: Option<Credentials>,
) -> Result<Option<Grant>> {
    match (challenge, credentials) {
        (Challenge::Bearer { realm, service }, credentials) => {
            token(transport, reference, &realm, service.as_deref(), credentials).await.map(Some)
        }
        (Challenge::Basic, Some(Credentials::Password(user, password))) => Ok(Some(Grant::Password(user, password))),
        (Challenge::Basic, _) => Ok(None),
    }
}

/// Gets a token to pull from the repository (distribution's "Token Authentication Specification").
async fn token(
    transport: &Transport,
    reference: &Reference,
    realm: &str,
    service: Option<&str>,
    credentials: Option<Credentials>,
) -> Result<Grant> {
    let url = realm_url(transport, reference, realm)?;
    let scope = format!("repository:{}:pull", reference.repository());
    let mut query = vec![("scope", scope.as_str())];
    query.extend(service.map(|service| ("service", service)));
    let client = transport.client(&url, Redirects::Refuse)?;
    let request = || {
        let request = match &credentials {
            Some(Credentials::Identity(token)) => {
                let grant = [("grant_type", "refresh_token"), ("client_id", "esker"), ("refresh_token", token)];
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                let form = form.extend_pairs(&query).extend_pairs(grant).finish();
                client.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            Some(Credentials::Password(user, password)) => {
                client.get(with_query(&url, &query)).basic_auth(user, Some(password))
            }
            None => client.get(with_query(&url, &query)),
        };
        Ok(request.header(ACCEPT, "application/json"))
    };
    let mut tries = transport.tries();
    loop {
        let response = transport.send(&url, &request).await?;
        match response.status() {
            StatusCode::OK => match body(&url, response, MAX_TOKEN).await {
                Ok(body) => return parse_token(&url, &body),
                Err(error) => tries.again(error, broke_off).await?,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(denied(reference, refused(credentials.as_ref())));
            }
            _ => return Err(status(&url, response).await),
        }
    }
}

fn with_query(url: &Url, query: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(query);
    url
}

fn refused(credentials: Option<&Credentials>) -> Option<String> {
    credentials.map(|_| "it does not accept the credentials that are configured for it".to_owned())
}

/// The address of the token server, which gets the credentials: encrypted, unless the registry itself is not.
fn realm_url(transport: &Transport, reference: &Reference, realm: &str) -> Result<Url> {
    let registry = transport.root(host(reference))?;
    let invalid = |reason: &str| Error::Malformed { url: shown(&registry), reason: reason.to_owned() };
    let url = Url::parse(realm).map_err(|_| invalid("the address of its token server is none"))?;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let plain = url.scheme() == "http" && registry.scheme() == "http" && transport.is_plain(authority);
    if url.scheme() == "https" || plain { Ok(url) } else { Err(invalid("its token server is not encrypted")) }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn parse_token(url: &Url, body: &[u8]) -> Result<Grant> {
    let invalid = || Error::Malformed { url: shown(url), reason: "it holds no token".to_owned() };
    let answer: Token = serde_json::from_slice(body).map_err(|_| invalid())?;
    let token = answer.token.or(answer.access_token).filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    token.map(Grant::Token).ok_or_else(invalid)
}
