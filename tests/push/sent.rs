//! What is sent, from where, and in which order.

use esker::oci::{Compression, Platform};
use esker::progress::Silent;
use esker::registry::{Error, Push};

use super::setup::{REPOSITORY, Setup, client, reference};
use crate::fake_registry::writable::{Fault, Features, Writable};
use crate::fake_registry::{Reply, Request};
use crate::images::{Tar, add_image, index};

#[tokio::test]
async fn blobs_come_first_then_children_then_their_index_and_tags_last() {
    let setup = Setup::new();
    let registry = Writable::proper();
    let pushed = setup.push(&registry, &client(), &[]).await.unwrap();
    assert_eq!((pushed.digest, pushed.uploaded, pushed.present), (setup.digest(), 5, 0), "a layer is in both images");
    setup.assert_whole(&registry);
    let log = registry.log();
    let at = |wanted: &str| log.iter().position(|line| line.contains(wanted)).unwrap();
    let last_blob = log.iter().rposition(|line| line.starts_with("PUT") && line.contains("/blobs/")).unwrap();
    let children: Vec<_> = setup.layout.images().unwrap().iter().map(|image| image.digest.to_string()).collect();
    let put = |name: &str| at(&format!("PUT /v2/{REPOSITORY}/manifests/{name}"));
    assert!(children.iter().all(|child| last_blob < put(child) && put(child) < put(&setup.digest().to_string())));
    assert!(put(&setup.digest().to_string()) < put("1") && put("1") < put("latest"), "{log:#?}");
    assert_eq!(log.len() - 1, put("latest"));
}

#[tokio::test]
async fn a_second_push_sends_only_what_is_missing() {
    let setup = Setup::new();
    let registry = Writable::proper();
    setup.push(&registry, &client(), &[]).await.unwrap();
    registry.forget();
    let pushed = setup.push(&registry, &client(), &[]).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.present), (0, 5));
    assert_eq!(registry.log().len(), 3, "one question, two tags: {:#?}", registry.log());

    // Another image with a layer of the first.
    let other = Setup::new();
    let layers =
        vec![Tar::default().dir("etc").file("etc/passwd", "root:x:0:0::/:/bin/sh\n").dir("usr").dir("usr/bin")];
    let manifest = add_image(&other.layout, Platform::LinuxAmd64, layers, Compression::GZIP);
    other.layout.set_index("small", &index(vec![manifest])).unwrap();
    let pushed = other.push(&registry, &client(), &[]).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.present), (1, 1), "the configuration alone");
    other.assert_whole(&registry);
}

#[tokio::test]
async fn layers_of_other_repositories_are_mounted() {
    let setup = Setup::new();
    let registry = Writable::proper();
    let image = setup.layout.image(Platform::LinuxAmd64).unwrap();
    registry.seed("the/base", &std::fs::read(setup.layout.blob_path(&image.layers[0].digest)).unwrap());
    let sources = [reference("elsewhere.example.org", "x/y"), reference(&registry.address, "the/base")];
    let pushed = setup.push(&registry, &client(), &sources).await.unwrap();
    assert_eq!((pushed.mounted, pushed.uploaded), (1, 4));
    setup.assert_whole(&registry);
    let mount = registry.log().into_iter().find(|line| line.contains("mount=")).unwrap();
    let digest = image.layers[0].digest.to_string().replace(':', "%3A");
    assert_eq!(mount, format!("POST /v2/{REPOSITORY}/blobs/uploads/?mount={digest}&from=the%2Fbase"));

    // Who may not mount sends.
    let before = |request: &Request| match request.path.contains("mount=") {
        true => Fault::Reply(Reply::status(403)),
        false => Fault::None,
    };
    let registry = Writable::start(Features::default(), before, |_, reply| reply);
    registry.seed("the/base", &std::fs::read(setup.layout.blob_path(&image.layers[0].digest)).unwrap());
    let pushed = setup.push(&registry, &client(), &[reference(&registry.address, "the/base")]).await.unwrap();
    assert_eq!((pushed.mounted, pushed.uploaded), (0, 5));
    setup.assert_whole(&registry);
}

#[tokio::test]
async fn a_layer_that_is_only_elsewhere_is_fetched_from_there() {
    let setup = Setup::new();
    let elsewhere = Writable::proper();
    setup.push(&elsewhere, &client(), &[]).await.unwrap();
    let layer = setup.layout.image(Platform::LinuxArm64).unwrap().layers.pop().unwrap();
    std::fs::remove_file(setup.layout.blob_path(&layer.digest)).unwrap();
    let registry = Writable::proper();
    let error = setup.push(&registry, &client(), &[]).await.unwrap_err();
    assert!(matches!(&error, Error::Source { .. }), "{error:?}");
    setup.push(&registry, &client(), &[reference(&elsewhere.address, REPOSITORY)]).await.unwrap();
    setup.assert_whole(&registry);
}

/// Commands await this in tasks of their own.
#[test]
fn pushing_can_move_between_threads() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let setup = Setup::new();
    let (client, image, reference) = (client(), setup.closure(), reference("example.org", "x"));
    let push = Push { layout: &setup.layout, image: &image, reference: &reference, tags: &[], sources: &[] };
    drop(assert_send(client.push(&push, &Silent)));
}
