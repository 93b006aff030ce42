//! Tokens that end, and who is not given any.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use esker::registry::{Error, Options};

use super::setup::{Setup, client, client_with, is_upload, no_fault};
use crate::fake_registry::writable::{Fault, Features, Writable};
use crate::fake_registry::{Reply, Request};

/// Tokens that are good for so many requests each, and the requests for them.
fn short_tokens(requests: usize, asked: Arc<Mutex<Vec<String>>>) -> impl Fn(&Request) -> Fault + Send + Sync {
    let left = Mutex::new((0usize, 0usize));
    move |request| {
        let mut left = left.lock().unwrap();
        if request.path.starts_with("/token") {
            asked.lock().unwrap().push(request.path.clone());
            *left = (left.0 + 1, requests);
            return Fault::Reply(Reply::body(format!(r#"{{"token": "t{}"}}"#, left.0)));
        }
        if left.1 > 0 && request.header("authorization") == Some(&format!("Bearer t{}", left.0)) {
            left.1 -= 1;
            return Fault::None;
        }
        let realm = format!(r#"Bearer realm="http://{}/token",service="fake""#, request.header("host").unwrap());
        Fault::Reply(Reply::status(401).with("www-authenticate", &realm))
    }
}

#[tokio::test]
async fn a_token_that_ends_in_mid_push_is_renewed() {
    for requests in 3..12 {
        let setup = Setup::large();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let before = short_tokens(requests, Arc::clone(&asked));
        let registry = Writable::start(Features::default(), before, |_, reply| reply);
        setup.push(&registry, &client(), &[]).await.unwrap();
        setup.assert_whole(&registry);
        let asked = asked.lock().unwrap();
        assert_eq!(asked[0], "/token?scope=repository%3Asome%2Fimage%3Apull%2Cpush&service=fake");
        assert!(asked.len() > 1 || requests > 9, "{requests}: {asked:?}");
    }
}

#[tokio::test]
async fn a_token_that_says_when_it_ends_is_renewed_before() {
    let setup = Setup::new();
    let tokens = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tokens);
    let before = move |request: &Request| {
        if request.path.starts_with("/token") {
            counted.fetch_add(1, Ordering::SeqCst);
            return Fault::Reply(Reply::body(r#"{"token": "t", "expires_in": 0}"#));
        }
        let realm = format!(r#"Bearer realm="http://{}/token""#, request.header("host").unwrap());
        match request.header("authorization") {
            Some(_) => Fault::None,
            None => Fault::Reply(Reply::status(401).with("www-authenticate", &realm)),
        }
    };
    let registry = Writable::start(Features::default(), before, |_, reply| reply);
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.assert_whole(&registry);
    assert!(tokens.load(Ordering::SeqCst) > 3, "one that has ended is not shown");
}

#[tokio::test]
async fn uploads_on_another_host_get_no_credentials() {
    let setup = Setup::new();
    let file = setup.dir.path().join("config.json");
    let asks = |request: &Request| match request.header("authorization") {
        None if !is_upload(request) || request.method == "POST" => {
            Fault::Reply(Reply::status(401).with("www-authenticate", "Basic realm=\"fake\""))
        }
        _ => Fault::None,
    };
    let registry = Writable::start(Features::default(), asks, |request, mut reply| {
        let port = request.header("host").unwrap().rsplit(':').next().unwrap().to_owned();
        for (_, value) in reply.headers.iter_mut().filter(|(name, _)| name == "location") {
            *value = format!("http://localhost:{port}{value}");
        }
        reply
    });
    std::fs::write(&file, format!(r#"{{"auths": {{"{}": {{"auth": "dTpw"}}}}}}"#, registry.address)).unwrap();
    let client = client_with(Options { auth_files: vec![file], ..Options::default() });
    setup.push(&registry, &client, &[]).await.unwrap();
    setup.assert_whole(&registry);
    let uploads: Vec<_> = registry.requests().into_iter().filter(|r| r.method == "PUT" && is_upload(r)).collect();
    assert_eq!(uploads.len(), 5);
    assert!(uploads.iter().all(|request| request.header("authorization").is_none()));
    assert!(uploads.iter().all(|request| request.header("host").unwrap().starts_with("localhost:")));
}

#[tokio::test]
async fn uploads_are_not_sent_where_nothing_is_encrypted_or_nobody_is() {
    let setup = Setup::new();
    for location in ["http://registry.example.org/upload", "http://[", "ftp://127.0.0.1/x"] {
        let registry = Writable::start(Features::default(), no_fault, move |request, mut reply| {
            if request.method == "POST" {
                reply.headers = vec![("location".to_owned(), location.to_owned())];
            }
            reply
        });
        let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{location}: {error:?}");
    }
}
