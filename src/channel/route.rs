//! Sends a request to where it is to go: to a mirror, to the next one where that fails, with secrets filled in.
//!
//! What comes in has a canonical URL, with variables in place of secrets; what goes back has the URL that was asked, as
//! it may be shown. So nothing above this (rattler's gateway, its cache and logs, error messages) ever has a secret.

use async_trait::async_trait;
use http::{Extensions, Method, header};
use reqwest::{Request, Response, ResponseBuilderExt, StatusCode};
use reqwest_middleware::{Error as Unsent, Middleware, Next, Result as Sent};
use url::Url;

use super::Error;
use super::mirrors::{Mirrors, Target};
use super::variables::{Variables, without_user};

/// See the module's documentation.
pub(super) struct Route {
    pub mirrors: Mirrors,
    pub variables: Variables,
    pub offline: bool,
    /// Makes headers of users and passwords.
    pub http: reqwest::Client,
}

#[async_trait]
impl Middleware for Route {
    async fn handle(&self, request: Request, extensions: &mut Extensions, next: Next<'_>) -> Sent<Response> {
        // Who downloads a package chooses the mirror: what it sent can be judged only when all of it is there.
        let targets = match extensions.get::<Target>() {
            Some(chosen) => vec![chosen.clone()],
            None => self.mirrors.targets(request.url()),
        };
        let (last, others) = targets.split_last().expect("there is at least one");
        for target in others {
            let Some(again) = request.try_clone() else { break };
            let answer = self.send(again, target, extensions, next.clone()).await;
            if is_final(&request, &answer) {
                return answer;
            }
            tracing::info!(host = target.url.host_str(), "no good answer, trying the next mirror");
        }
        self.send(request, last, extensions, next).await
    }
}

impl Route {
    async fn send(
        &self,
        request: Request,
        target: &Target,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Sent<Response> {
        let shown = target.shown();
        if self.offline && target.url.scheme() != "file" {
            return Err(Unsent::middleware(Error::Offline { what: shown.to_string() }));
        }
        let request = self.addressed(request, target)?;
        extensions.insert(target.clone());
        match next.run(request, extensions).await {
            Ok(response) => Ok(as_from(response, shown)),
            Err(Unsent::Reqwest(error)) => {
                if error.is_connect() || error.is_timeout() {
                    target.mark_down();
                }
                Err(Unsent::Reqwest(error.with_url(shown)))
            }
            Err(other) => Err(other),
        }
    }

    /// `request` to `target`, with values in place of variables.
    fn addressed(&self, mut request: Request, target: &Target) -> Sent<Request> {
        let canonical = request.url().clone();
        let place = match target.is_canonical(&canonical) {
            true => self.variables.with_user(&target.url),
            false => target.url.clone(),
        };
        let filled = self.variables.fill(&canonical, &place).map_err(Unsent::middleware)?;
        // reqwest made a header of the channel's user when the request was made, with variables in it.
        request.headers_mut().remove(header::AUTHORIZATION);
        if !filled.username().is_empty() || filled.password().is_some() {
            let with_header = self.http.get(filled.clone()).build()?;
            request.headers_mut().extend(with_header.headers().clone());
        }
        *request.url_mut() = without_user(&filled);
        Ok(request)
    }
}

/// Whether another mirror need not be asked.
fn is_final(request: &Request, answer: &Sent<Response>) -> bool {
    match answer {
        Ok(response) => match response.status() {
            status if status.is_success() => true,
            StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE => true,
            // A mirror need not have every form of repodata. Its own plain one goes before another's compressed one.
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::NOT_IMPLEMENTED => is_optional(request),
            _ => false,
        },
        Err(Unsent::Reqwest(error)) => error.is_builder(),
        Err(Unsent::Middleware(error)) => !matches!(error.downcast_ref(), Some(Error::Offline { .. })),
    }
}

fn is_optional(request: &Request) -> bool {
    request.method() == Method::HEAD || request.url().path().ends_with("/repodata_shards.msgpack.zst")
}

/// `response`, but from `url`.
fn as_from(response: Response, url: Url) -> Response {
    let mut response: http::Response<reqwest::Body> = response.into();
    let with_url = http::Response::builder().url(url).body(()).expect("nothing in it can be wrong");
    response.extensions_mut().extend(with_url.into_parts().0.extensions);
    response.into()
}
