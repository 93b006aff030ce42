//! Blobs that go in chunks.

use super::setup::{Setup, client, faults, no_fault};
use crate::fake_registry::writable::{Fault, Features, Writable};
use crate::fake_registry::{Reply, Request};

#[tokio::test]
async fn where_streams_are_refused_blobs_go_in_chunks() {
    for (status, min_chunk) in [(405, 0), (413, 5 << 20), (416, 0), (400, 0)] {
        let setup = Setup::large();
        let features = Features { refuses_streams: Some(status), min_chunk, ..Features::default() };
        let registry = Writable::start(features, no_fault, |_, reply| reply);
        setup.push(&registry, &client(), &[]).await.unwrap();
        setup.assert_whole(&registry);
        let sizes: Vec<usize> = registry
            .requests()
            .iter()
            .filter(|request| request.method == "PATCH")
            .map(|request| request.header("content-length").unwrap().parse().unwrap())
            .collect();
        let most = min_chunk.max(4 << 20);
        assert!(sizes.iter().all(|size| *size <= most) && sizes.contains(&most), "{sizes:?}");
    }
}

#[tokio::test]
async fn chunks_go_on_where_they_broke_off() {
    let setup = Setup::large();
    let features = Features { refuses_streams: Some(413), ..Features::default() };
    let is_chunk = |request: &Request| request.method == "PATCH" && request.header("content-length") == Some("4194304");
    let list = vec![Fault::None, Fault::Break(1000), Fault::Reply(Reply::status(500)), Fault::Mute];
    // The last of a session's chunks is stored without an answer: the question what is there tells.
    let registry = Writable::start(features, faults(is_chunk, list), |_, reply| reply);
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.assert_whole(&registry);
    let ranges: Vec<_> = registry.requests().into_iter().filter(is_chunk).collect();
    let ranges: Vec<_> = ranges.iter().map(|request| request.header("content-range").unwrap()).collect();
    let (first, second) = ("0-4194303", "4194304-8388607");
    assert_eq!(ranges, [first, second, second, second], "the second was there after the third attempt");
}

#[tokio::test]
async fn a_connection_that_breaks_again_and_again_gets_chunks() {
    let setup = Setup::large();
    // A proxy that lets no large body through.
    let before = |request: &Request| match request.header("content-length").and_then(|n| n.parse::<u64>().ok()) {
        Some(length) if length > 5 << 20 => Fault::Break(1 << 20),
        _ => Fault::None,
    };
    let registry = Writable::start(Features::default(), before, |_, reply| reply);
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.assert_whole(&registry);
    assert!(registry.log().iter().any(|line| line.starts_with("PATCH")));
}
