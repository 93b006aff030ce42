//! Pushing: to a registry in this process that misbehaves, and to a real one where it is installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use esker::oci::{Closure, Compression, Digest, Layout, Platform};
use esker::progress::Silent;
use esker::registry::{Client, Error, Options, Push, Pushed};
use fake_registry::real::RealRegistry;
use fake_registry::writable::{Fault, Features, Writable};
use fake_registry::{Reply, Request};
use images::{Tar, add_image, available, index, run, two_platforms};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};
use tempfile::{TempDir, tempdir};

mod fake_registry;
mod images;

const REPOSITORY: &str = "some/image";

fn client() -> Client {
    client_with(Options::default())
}

fn client_with(options: Options) -> Client {
    Client::new(Options { retry_delay: Duration::from_millis(1), timeout: Duration::from_secs(5), ..options })
}

/// A small image for two platforms.
struct Setup {
    dir: TempDir,
    layout: Layout,
}

impl Setup {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
        Self { dir, layout }
    }

    /// One whose layer takes three chunks.
    fn large() -> Self {
        let dir = tempdir().unwrap();
        let layout = Layout::create(dir.path().join("layout")).unwrap();
        let mut state = 1u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        });
        let text: String = noise.take(9 << 20).collect();
        let manifest =
            add_image(&layout, Platform::LinuxAmd64, vec![Tar::default().file("big", &text)], Compression::None);
        layout.set_index("test", &index(vec![manifest])).unwrap();
        Self { dir, layout }
    }

    fn digest(&self) -> Digest {
        self.layout.image_index_digest().unwrap()
    }

    fn closure(&self) -> Closure {
        Closure::of(&self.layout, &self.layout.top().unwrap()).unwrap()
    }

    async fn push(&self, registry: &Writable, client: &Client, sources: &[Reference]) -> Result<Pushed, Error> {
        self.push_image(&self.closure(), registry, client, sources).await
    }

    async fn push_image(
        &self,
        image: &Closure,
        registry: &Writable,
        client: &Client,
        sources: &[Reference],
    ) -> Result<Pushed, Error> {
        let tags = ["1".to_owned(), "latest".to_owned()];
        let reference = reference(&registry.address, REPOSITORY);
        let push = Push { layout: &self.layout, image, reference: &reference, tags: &tags, sources };
        client.push(&push, &Silent).await
    }

    /// That the registry has all of the image, and nothing that is not what it is called.
    fn assert_whole(&self, registry: &Writable) {
        let state = registry.state();
        for tag in ["1", "latest"] {
            let (_, bytes) = &state.manifests[&(REPOSITORY.to_owned(), tag.to_owned())];
            assert_eq!(Digest::of(bytes), self.digest());
        }
        for digest in self.closure().blobs.keys() {
            let blob = &state.blobs[&(REPOSITORY.to_owned(), digest.to_string())];
            assert_eq!(*blob, std::fs::read(self.layout.blob_path(digest)).unwrap());
        }
    }

    /// Adds what refers to the image, and returns its digest.
    fn attach(&self, text: &str) -> Digest {
        let top = self.layout.top().unwrap();
        let (digest, size) = self.layout.put(text.as_bytes()).unwrap();
        let blob = Descriptor::new(MediaType::Other("text/plain".to_owned()), size, digest);
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .artifact_type(MediaType::Other("application/vnd.example.note".to_owned()))
            .config(self.layout.put_json(MediaType::EmptyJSON, &serde_json::json!({})).unwrap())
            .layers(vec![blob])
            .subject(Descriptor::new(MediaType::ImageIndex, top.size(), top.digest().clone()))
            .build()
            .unwrap();
        let descriptor = self.layout.put_json(MediaType::ImageManifest, &manifest).unwrap();
        let path = self.layout.path().join("index.json");
        let mut listed: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        listed["manifests"].as_array_mut().unwrap().push(serde_json::to_value(&descriptor).unwrap());
        std::fs::write(&path, listed.to_string()).unwrap();
        Digest::try_from(descriptor.digest()).unwrap()
    }
}

fn reference(address: &str, repository: &str) -> Reference {
    format!("{address}/{repository}:x").parse().unwrap()
}

/// Whether a Docker engine answers.
fn docker_runs() -> bool {
    let answers = std::process::Command::new("docker").arg("version").output().is_ok_and(|out| out.status.success());
    if !answers {
        images::skip::skipped("no Docker engine answers");
    }
    answers
}

fn no_fault(_: &Request) -> Fault {
    Fault::None
}

fn is_upload(request: &Request) -> bool {
    request.path.contains("/blobs/uploads/")
}

/// The faults of `list`, one after another, for the requests that `which` chooses.
fn faults(
    which: impl Fn(&Request) -> bool + Send + Sync + 'static,
    list: Vec<Fault>,
) -> impl Fn(&Request) -> Fault + Send + Sync + 'static {
    let left = Mutex::new(list.into_iter());
    move |request| match which(request) {
        true => left.lock().unwrap().next().unwrap_or(Fault::None),
        false => Fault::None,
    }
}

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

#[tokio::test]
async fn a_real_registry_takes_it_and_everybody_pulls_the_same() {
    if !available("docker-registry") {
        return;
    }
    // Docker 20.10 knows gzip alone.
    let setup = Setup::new();
    setup.attach("a note");
    let registry = RealRegistry::start(setup.dir.path());
    let target = reference(&registry.address, REPOSITORY);
    let tags = ["1".to_owned(), "latest".to_owned()];
    let push = Push { layout: &setup.layout, image: &setup.closure(), reference: &target, tags: &tags, sources: &[] };
    let pushed = client().push(&push, &Silent).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.referrers), (7, 1));
    let again = client().push(&push, &Silent).await.unwrap();
    assert_eq!(again.uploaded, 0);
    let image = format!("{}/{REPOSITORY}:1", registry.address);
    let digest = setup.digest().to_string();
    assert_eq!(client().referrers(&target, &setup.digest()).await.unwrap().len(), 1, "by the tag that stands in");

    // From another repository of the registry.
    let other = reference(&registry.address, "other/image");
    let sources = [target.clone()];
    let mounting = Push { reference: &other, sources: &sources, ..push };
    let mounted = client().push(&mounting, &Silent).await.unwrap();
    assert_eq!((mounted.uploaded, mounted.mounted), (0, 7));

    if available("skopeo") {
        let copy = setup.dir.path().join("copy");
        let to = format!("oci:{}:x", copy.display());
        run("skopeo", &["copy", "--all", "--src-tls-verify=false", &format!("docker://{image}"), &to]);
        assert_eq!(Layout::open(&copy).unwrap().image_index_digest().unwrap().to_string(), digest);
    }
    let amd64 = setup.layout.image(Platform::LinuxAmd64).unwrap();
    if available("podman") {
        let root = setup.dir.path().join("podman");
        let (root, run_root) = (root.join("root"), root.join("run"));
        let store = ["--root", root.to_str().unwrap(), "--runroot", run_root.to_str().unwrap()];
        let store = [&store[..], &["--storage-driver", "vfs"]].concat();
        run("podman", &[&store[..], &["pull", "--tls-verify=false", "--arch", "amd64", &image]].concat());
        let id = run("podman", &[&store[..], &["image", "inspect", "--format", "{{.Id}}", &image]].concat());
        assert_eq!(String::from_utf8(id.stdout).unwrap().trim(), amd64.config_digest.hex());
    }
    if docker_runs() {
        run("docker", &["pull", "--platform", "linux/amd64", &image]);
        let digests = run("docker", &["image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", &image]);
        run("docker", &["image", "rm", &image]);
        let digests = String::from_utf8(digests.stdout).unwrap();
        assert!(digests.contains(&digest) && digests.contains(&amd64.config_digest.to_string()), "{digests}");
    }
}

#[tokio::test]
async fn a_real_registry_takes_chunks_through_a_proxy_that_lets_no_large_body_through() {
    if !available("docker-registry") {
        return;
    }
    let setup = Setup::large();
    let registry = RealRegistry::start(setup.dir.path());
    let proxy = limiting_proxy(&registry.address, 5 << 20);
    let target = reference(&proxy, REPOSITORY);
    let push = Push {
        layout: &setup.layout,
        image: &setup.closure(),
        reference: &target,
        tags: &["1".to_owned()],
        sources: &[],
    };
    client().push(&push, &Silent).await.unwrap();
    let store = Layout::cache(setup.dir.path().join("store")).unwrap();
    let direct = reference(&registry.address, REPOSITORY);
    for descriptor in setup.closure().blobs.values() {
        client().blob(&direct, descriptor, &store, &|_| {}).await.unwrap();
    }
    assert_eq!(Digest::of(&client().manifest(&direct, Some(setup.digest())).await.unwrap()), setup.digest());
}

/// Passes requests on to `upstream`, but answers 413 to bodies of more than `limit` bytes. Returns its address.
fn limiting_proxy(upstream: &str, limit: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let upstream = upstream.to_owned();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, upstream) = (connection.unwrap(), upstream.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head += &line;
                }
                head += "connection: close\r\n\r\n";
                let mut body = (&mut reader).take(length);
                if length > limit {
                    drop(std::io::copy(&mut body, &mut std::io::sink()));
                    let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    drop(connection.write_all(answer.as_bytes()));
                    return;
                }
                let mut server = TcpStream::connect(upstream).unwrap();
                server.write_all(head.as_bytes()).unwrap();
                std::io::copy(&mut body, &mut server).unwrap();
                // The client may have gone.
                drop(std::io::copy(&mut server, &mut connection));
            });
        }
    });
    address
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
