//! Answers a registry's challenges: anonymous tokens, tokens for credentials, passwords.
//!
//! Credentials are looked up when a registry asks for them, not before, and go to that registry and the token server
//! it names only. When they cannot be read the pull goes on without them; only if that is denied is it worth saying.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use oci_spec::distribution::Reference;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::Challenge;
use super::credentials::{self, Credentials};
use super::error::{Error, Result};
use super::transport::{Manner, Transport, body, broke_off, shown, status};

/// Where Docker Hub's API is; its own name is that of its web site.
const HUB: &str = "registry-1.docker.io";
/// The most bytes of a token server's answer.
const MAX_TOKEN: u64 = 1 << 20;

/// Before its end a token is not shown any more: the registry's clock may be ahead.
const MARGIN: Duration = Duration::from_secs(10);

/// What somebody wants to do in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Write to it, besides reading.
    pub push: bool,
    /// Read other repositories of the registry as well: those that blobs are mounted from.
    pub mount_from: Vec<String>,
}

impl Access {
    /// As scopes of a token (distribution's "Token Scope Documentation").
    fn scopes(&self, repository: &str) -> Vec<String> {
        let own = if self.push { "pull,push" } else { "pull" };
        let others = self.mount_from.iter().filter(|other| *other != repository);
        let others = others.map(|other| format!("repository:{other}:pull"));
        [format!("repository:{repository}:{own}")].into_iter().chain(others).collect()
    }
}

/// One request: where it goes and what it needs.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The repository.
    pub reference: &'a Reference,
    /// What is done there.
    pub access: &'a Access,
    /// The address.
    pub url: &'a Url,
    /// How redirects are taken.
    pub manner: Manner,
    /// Whether it may be sent again when it fails.
    pub repeatable: bool,
}

/// What a registry is shown with each request.
#[derive(Clone, PartialEq)]
enum Grant {
    /// A token, and when it ends, where the token server says so.
    Token(String, Option<Instant>),
    Password(String, String),
}

impl Grant {
    /// Adds itself to `request`, marked so that it is not logged.
    fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Token(token, _) => request.bearer_auth(token),
            Self::Password(user, password) => request.basic_auth(user, Some(password)),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self, Self::Token(_, Some(end)) if *end <= Instant::now())
    }
}

/// The grant of each repository that asked for one, by what is done there.
#[derive(Default)]
pub struct Sessions {
    grants: Mutex<HashMap<String, Grant>>,
    /// Held by who asks for a grant: requests at the same time need it once.
    asking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

impl Sessions {
    fn get(&self, name: &str) -> Option<Grant> {
        let grant = self.grants.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        grant.filter(|grant| !grant.is_over())
    }

    fn set(&self, name: String, grant: Grant) {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner).insert(name, grant);
    }
}

/// The host that serves the images of `reference`.
pub fn host(reference: &Reference) -> &str {
    if reference.registry() == "docker.io" { HUB } else { reference.registry() }
}

/// Sends what `request` makes, with whatever authorization the registry asks for. An address that is not the registry's
/// own, as those of uploads may be, gets none.
///
/// Returns any answer but 401, 403, 404, 429 and 5xx, which are errors.
pub async fn send(
    transport: &Transport,
    sessions: &Sessions,
    call: Call<'_>,
    request: &(dyn Fn(&reqwest::Client) -> Result<RequestBuilder> + Send + Sync),
) -> Result<Response> {
    let Call { reference, url, .. } = call;
    let session = format!("{} {}", reference.registry(), call.access.scopes(reference.repository()).join(" "));
    let own = transport.root(host(reference))?.origin() == url.origin();
    let mut grant = sessions.get(&session).filter(|_| own);
    let mut problem = None;
    for last in [false, true] {
        let make = || {
            let request = request(transport.client(url, call.manner)?)?;
            Ok(grant.iter().fold(request, |request, grant| grant.apply(request)))
        };
        let response = match call.repeatable {
            true => transport.send(url, make).await?,
            false => transport.once(url, make()?).await?,
        };
        match response.status() {
            StatusCode::NOT_FOUND => return Err(Error::NotFound { url: shown(url) }),
            StatusCode::FORBIDDEN => break,
            StatusCode::UNAUTHORIZED if !last => {
                // Whoever the registry sent us on to has no business asking for the registry's credentials.
                if !own || response.url().origin() != url.origin() {
                    return Err(status(url, response).await);
                }
                let Some(challenge) = Challenge::of(response.headers()) else { break };
                let _asking = sessions.asking.lock().await;
                // Another request may have been quicker.
                if let Some(renewed) = sessions.get(&session).filter(|renewed| Some(renewed) != grant.as_ref()) {
                    grant = Some(renewed);
                    continue;
                }
                let credentials = match credentials(transport, reference).await {
                    Ok(found) => found,
                    Err(error) => {
                        problem = Some(error.to_string());
                        None
                    }
                };
                let Some(granted) = answer(transport, call, challenge, credentials).await? else { break };
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

/// The user's credentials for the repository of `reference`.
///
/// # Errors
/// [`Error::Credentials`].
pub async fn credentials(transport: &Transport, reference: &Reference) -> Result<Option<Credentials>> {
    let options = transport.options();
    let (registry, repository) = (reference.registry(), reference.repository());
    credentials::find(&options.auth_files, registry, repository, options.helper_timeout).await
}

/// What satisfies `challenge`; `None` when there is nothing to satisfy it with.
async fn answer(
    transport: &Transport,
    call: Call<'_>,
    challenge: Challenge,
    credentials: Option<Credentials>,
) -> Result<Option<Grant>> {
    match (challenge, credentials) {
        (Challenge::Bearer { realm, service }, credentials) => {
            token(transport, call, &realm, service.as_deref(), credentials).await.map(Some)
        }
        (Challenge::Basic, Some(Credentials::Password(user, password))) => Ok(Some(Grant::Password(user, password))),
        (Challenge::Basic, _) => Ok(None),
    }
}

/// Gets a token for what is to be done (distribution's "Token Authentication Specification", and for refresh tokens its
/// "OAuth2 Token Authentication").
async fn token(
    transport: &Transport,
    call: Call<'_>,
    realm: &str,
    service: Option<&str>,
    credentials: Option<Credentials>,
) -> Result<Grant> {
    let reference = call.reference;
    let url = realm_url(transport, reference, realm)?;
    let scopes = call.access.scopes(reference.repository());
    let service = service.map(|service| ("service", service));
    let client = transport.client(&url, Manner::Refuse)?;
    let request = || {
        let query = || with_query(&url, scopes.iter().map(|scope| ("scope", scope.as_str())).chain(service));
        let request = match &credentials {
            Some(Credentials::Identity(token)) => {
                let scope = scopes.join(" ");
                let grant = [("grant_type", "refresh_token"), ("client_id", "esker"), ("refresh_token", token)];
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                let form = form.append_pair("scope", &scope).extend_pairs(service).extend_pairs(grant).finish();
                client.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            Some(Credentials::Password(user, password)) => client.get(query()).basic_auth(user, Some(password)),
            None => client.get(query()),
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

fn with_query<'a>(url: &Url, query: impl Iterator<Item = (&'a str, &'a str)>) -> Url {
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
    /// In seconds.
    expires_in: Option<u64>,
}

fn parse_token(url: &Url, body: &[u8]) -> Result<Grant> {
    let invalid = || Error::Malformed { url: shown(url), reason: "it holds no token".to_owned() };
    let answer: Token = serde_json::from_slice(body).map_err(|_| invalid())?;
    let token = answer.token.or(answer.access_token).filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
    // A token that ends sooner than the margin is shown for half its life, and a 401 renews it.
    let life = answer.expires_in.map(Duration::from_secs).map(|life| life.saturating_sub(MARGIN).max(life / 2));
    let end = life.and_then(|life| Instant::now().checked_add(life));
    token.map(|token| Grant::Token(token, end)).ok_or_else(invalid)
}
