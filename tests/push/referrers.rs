//! What refers to an image, pushed with it and listed.

use std::sync::Mutex;

use esker::oci::Digest;
use oci_spec::image::MediaType;

use super::setup::{REPOSITORY, Setup, client, no_fault, reference};
use crate::fake_registry::writable::{Fault, Features, Writable};
use crate::fake_registry::{Reply, Request};

#[tokio::test]
async fn what_refers_to_the_image_is_pushed_with_it() {
    let setup = Setup::new();
    let note = setup.attach("a note");
    let registry = Writable::proper();
    let pushed = setup.push(&registry, &client(), &[]).await.unwrap();
    assert_eq!((pushed.referrers, pushed.uploaded), (1, 7));
    let reference = reference(&registry.address, REPOSITORY);
    let found = client().referrers(&reference, &setup.digest()).await.unwrap();
    assert_eq!(found.iter().map(|d| d.digest().to_string()).collect::<Vec<_>>(), [note.to_string()]);
    assert!(!registry.log().iter().any(|line| line.contains("manifests/sha256-")), "the API is there");
}

#[tokio::test]
async fn all_pages_of_a_list_are_read() {
    let setup = Setup::new();
    let mut notes = ["one", "two", "three"].map(|text| setup.attach(text).to_string());
    notes.sort();
    let whole = Mutex::new(Vec::new());
    let paged = move |request: &Request, reply: Reply| {
        if !request.path.contains("/referrers/") {
            return reply;
        }
        let mut whole = whole.lock().unwrap();
        let (path, page) = request.path.split_once("?page=").unwrap_or((&request.path, "0"));
        let page: usize = page.parse().unwrap();
        if page == 0 {
            *whole = reply.body;
        }
        let mut list: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let all = list["manifests"].as_array().unwrap().clone();
        list["manifests"] = serde_json::json!([all[page]]);
        let reply = Reply::body(list.to_string());
        match all.len() - page {
            1 => reply,
            _ => reply.with("link", &format!("<{path}?page={}>; rel=\"next\"", page + 1)),
        }
    };
    let registry = Writable::start(Features::default(), |_| Fault::None, paged);
    setup.push(&registry, &client(), &[]).await.unwrap();
    let found = client().referrers(&reference(&registry.address, REPOSITORY), &setup.digest()).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|descriptor| descriptor.digest().to_string()).collect();
    found.sort();
    assert_eq!(found, notes);
}

#[tokio::test]
async fn without_the_referrers_api_a_tag_lists_them() {
    let setup = Setup::new();
    let first = setup.attach("a note");
    let registry = Writable::start(Features { referrers: false, ..Features::default() }, no_fault, |_, reply| reply);
    setup.push(&registry, &client(), &[]).await.unwrap();
    let second = setup.attach("another");
    setup.push(&registry, &client(), &[]).await.unwrap();
    setup.push(&registry, &client(), &[]).await.unwrap();
    let reference = reference(&registry.address, REPOSITORY);
    let found = client().referrers(&reference, &setup.digest()).await.unwrap();
    let mut expected = [first.to_string(), second.to_string()];
    expected.sort();
    assert_eq!(found.iter().map(|d| d.digest().to_string()).collect::<Vec<_>>(), expected);
    let kind = MediaType::Other("application/vnd.example.note".to_owned());
    assert!(found.iter().all(|descriptor| descriptor.artifact_type().as_ref() == Some(&kind)));
    let tag = format!("sha256-{}", setup.digest().hex());
    assert!(registry.state().manifests.contains_key(&(REPOSITORY.to_owned(), tag)));
    let none = client().referrers(&reference, &Digest::of(b"")).await.unwrap();
    assert!(none.is_empty());
}
