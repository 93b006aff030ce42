//! Registries that are ill, lie, or refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use esker::oci::{Digest, Platform};
use esker::registry::{Client, Error, Options};

use super::setup::{REPOSITORY, Setup, client, faults, is_upload, no_fault};
use crate::fake_registry::writable::{Fault, Features, Writable};
use crate::fake_registry::{Reply, Request};

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    for fault in [
        || Fault::Reply(Reply::status(500)),
        || Fault::Reply(Reply::status(503)),
        || Fault::Reply(Reply::status(429).with("retry-after", "0")),
        || Fault::Break(0),
        || Fault::Break(60),
        || Fault::Mute,
    ] {
        for which in [
            (|request: &Request| request.method == "HEAD") as fn(&Request) -> bool,
            |request| request.method == "POST",
            |request| request.method == "PUT" && is_upload(request),
            |request| request.method == "PUT" && request.is_manifest(),
        ] {
            let setup = Setup::new();
            let before = faults(which, vec![fault(), fault()]);
            let registry = Writable::start(Features::default(), before, |_, reply| reply);
            setup.push(&registry, &client(), &[]).await.unwrap();
            setup.assert_whole(&registry);
        }
    }
}

#[tokio::test]
async fn a_blob_whose_answer_was_lost_is_not_sent_again() {
    let setup = Setup::large();
    let before = faults(|request| request.method == "PUT" && is_upload(request), vec![Fault::Mute, Fault::Mute]);
    let registry = Writable::start(Features::default(), before, |_, reply| reply);
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.assert_whole(&registry);
    let puts = registry.requests().iter().filter(|r| r.method == "PUT" && is_upload(r)).count();
    assert_eq!(puts, 2, "the configuration and the layer, once each");
}

#[tokio::test]
async fn a_registry_that_stays_ill_is_an_error_and_the_next_run_ends_right() {
    let setup = Setup::new();
    let ill = Arc::new(AtomicUsize::new(1));
    let is_ill = Arc::clone(&ill);
    let before = move |request: &Request| match is_ill.load(Ordering::SeqCst) == 1 && request.method == "PUT" {
        true => Fault::Reply(Reply::status(500)),
        false => Fault::None,
    };
    let registry = Writable::start(Features::default(), before, |_, reply| reply);
    let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 500, .. }), "{error:?}");
    assert!(registry.state().manifests.is_empty());
    ill.store(0, Ordering::SeqCst);
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.assert_whole(&registry);
}

#[tokio::test]
async fn a_push_that_stops_anywhere_is_finished_by_the_next() {
    let setup = Setup::new();
    setup.attach("a note");
    let whole = Writable::proper();
    setup.push(&whole, &client(), &[]).await.unwrap();
    let requests = whole.log().len();
    assert!(requests > 15, "{requests}");
    for stop in 0..requests {
        // From some request on nobody answers, and then all is well again.
        let (seen, well) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, is_well) = (Arc::clone(&seen), Arc::clone(&well));
        let before = move |_: &Request| {
            let gone = count.fetch_add(1, Ordering::SeqCst) >= stop && is_well.load(Ordering::SeqCst) == 0;
            if gone { Fault::Break(20) } else { Fault::None }
        };
        let registry = Writable::start(Features::default(), before, |_, reply| reply);
        setup.push(&registry, &client(), &[]).await.unwrap_err();
        let state = registry.state();
        let tagged = state.manifests.contains_key(&(REPOSITORY.to_owned(), "latest".to_owned()));
        assert!(!tagged, "the last tag was not reached: {stop}");
        well.store(1, Ordering::SeqCst);
        setup.push(&registry, &client(), &[]).await.unwrap();
        setup.assert_whole(&registry);
        assert_eq!(registry.state().manifests, whole.state().manifests, "{stop}");
    }
}

#[tokio::test]
async fn a_server_may_say_how_long_to_wait() {
    let setup = Setup::new();
    let busy = |seconds: &str| Fault::Reply(Reply::status(429).with("retry-after", seconds));
    let is_body = |request: &Request| request.method == "PUT" && is_upload(request);
    let registry = Writable::start(Features::default(), faults(is_body, vec![busy("1")]), |_, reply| reply);
    let began = Instant::now();
    setup.push(&registry, &client(), &[]).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    let registry = Writable::start(Features::default(), faults(is_body, vec![busy("86400")]), |_, reply| reply);
    let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Busy { seconds: 86400, .. }), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_has_stored_something_else_is_not_believed() {
    let lie = Digest::of(b"something else").to_string();
    for wanted in ["/blobs/uploads/", "/manifests/"] {
        let setup = Setup::new();
        let (honest, digest) = (Arc::new(AtomicUsize::new(0)), lie.clone());
        let is_honest = Arc::clone(&honest);
        let registry = Writable::start(Features::default(), no_fault, move |request, mut reply| {
            if request.method == "PUT" && request.path.contains(wanted) && is_honest.load(Ordering::SeqCst) == 0 {
                reply.headers.retain(|(name, _)| name != "docker-content-digest");
                return reply.with("docker-content-digest", &digest);
            }
            reply
        });
        let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
        assert!(error.to_string().contains(&lie), "{error}");
        honest.store(1, Ordering::SeqCst);
        setup.push(&registry, &client(), &[]).await.unwrap();
        setup.assert_whole(&registry);
    }
}

#[tokio::test]
async fn a_server_that_does_nothing_is_not_waited_for() {
    let setup = Setup::new();
    let before = faults(|request| request.method == "PUT" && is_upload(request), vec![Fault::Hang(60_000)]);
    let registry = Writable::start(Features::default(), before, |_, reply| reply);
    let client = Client::new(Options {
        retry_delay: Duration::from_millis(1),
        timeout: Duration::from_millis(20),
        ..Options::default()
    });
    let began = Instant::now();
    setup.push(&registry, &client, &[]).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    setup.assert_whole(&registry);
}

#[tokio::test]
async fn a_damaged_layer_is_named_and_not_pushed() {
    let setup = Setup::new();
    let layer = setup.layout.image(Platform::LinuxAmd64).unwrap().layers.pop().unwrap();
    let path = setup.layout.blob_path(&layer.digest);
    let right = std::fs::read(&path).unwrap();
    let mut wrong = right.clone();
    wrong[30] ^= 1;
    std::fs::write(&path, wrong).unwrap();
    let registry = Writable::proper();
    let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
    let Error::Source { source } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains(&layer.digest.hex()), "{source}");
    assert!(registry.state().manifests.is_empty());
    std::fs::write(&path, right).unwrap();
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.assert_whole(&registry);
}

#[tokio::test]
async fn who_may_not_push_is_told_so() {
    let setup = Setup::new();
    let registry = Writable::start(Features::default(), |_| Fault::Reply(Reply::status(403)), |_, reply| reply);
    let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert_eq!(registry.log().len(), 1, "it is not asked again and again");
}
