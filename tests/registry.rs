//! Pulling, from a registry in this process that misbehaves, and from a real one where it is installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use esker::oci::{Compression, Digest, Image, Layout, Platform};
use esker::registry::{Client, Error, Options};
use fake_registry::real::RealRegistry;
use fake_registry::writable::{Fault, Features, Writable};
use fake_registry::{FakeRegistry, Reply, Request};
use images::{available, layout_of, run, two_platforms};
use oci_spec::distribution::Reference;
use tempfile::{TempDir, tempdir};

mod fake_registry;
mod images;

fn client() -> Client {
    client_with(Options::default())
}

fn client_with(options: Options) -> Client {
    Client::new(Options { retry_delay: Duration::from_millis(1), timeout: Duration::from_secs(5), ..options })
}

/// A registry that serves a small image for two platforms, and a place to pull it to.
struct Setup {
    dir: TempDir,
    registry: FakeRegistry,
    layout: Layout,
    store: Layout,
}

impl Setup {
    fn new(hook: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let dir = tempdir().unwrap();
        let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
        let store = Layout::cache(dir.path().join("store")).unwrap();
        Self { registry: FakeRegistry::start(layout.clone(), hook), dir, layout, store }
    }

    fn reference(&self) -> Reference {
        format!("{}/some/image:tag", self.registry.address).parse().unwrap()
    }

    fn image(&self) -> Image {
        self.layout.image(Platform::LinuxAmd64).unwrap()
    }

    /// Pulls the image's top layer.
    async fn pull_layer(&self, client: &Client) -> Result<u64, Error> {
        let layer = self.image().layers.pop().unwrap();
        let counted = AtomicU64::new(0);
        let count = |bytes| {
            counted.fetch_add(bytes, Ordering::Relaxed);
        };
        let path = client.blob(&self.reference(), &layer.descriptor, &self.store, &count).await?;
        assert_eq!(Digest::of(&std::fs::read(path).unwrap()), layer.digest);
        assert_eq!(counted.load(Ordering::Relaxed), layer.size, "each byte is counted once");
        Ok(layer.size)
    }

    fn blob_requests(&self) -> usize {
        self.registry.requests().iter().filter(|request| request.is_blob()).count()
    }

    fn assert_store_is_empty(&self) {
        let left: Vec<_> = std::fs::read_dir(self.store.path().join("blobs/sha256")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_reference_leads_to_the_image_of_a_platform() {
    let setup = Setup::new(|_, reply| reply);
    for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
        let resolved = client().resolve(&setup.reference(), platform).await.unwrap();
        assert_eq!(resolved.digest, setup.layout.image_index_digest().unwrap());
        assert_eq!(resolved.manifest.digest(), setup.layout.image(platform).unwrap().descriptor.digest());
    }
    let error = client().resolve(&setup.reference(), Platform::LinuxPpc64le).await.unwrap_err();
    assert!(error.to_string().ends_with("no image for linux/ppc64le, only for linux/amd64, linux/arm64"), "{error}");
    setup.pull_layer(&client()).await.unwrap();
    setup.pull_layer(&client()).await.unwrap();
    assert_eq!(setup.blob_requests(), 1, "what is there is not pulled again");
}

#[tokio::test]
async fn a_token_is_fetched_once_and_shown_from_then_on() {
    let setup = Setup::new(|request, reply| {
        if request.path.starts_with("/token") {
            let expected = "/token?scope=repository%3Asome%2Fimage%3Apull&service=fake";
            assert_eq!((request.path.as_str(), request.header("authorization")), (expected, None), "anonymous");
            return Reply::body(r#"{"token": "abc", "expires_in": 300}"#);
        }
        let host = request.header("host").unwrap();
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="fake",scope="ignored""#);
        match request.header("authorization") {
            Some("Bearer abc") => reply,
            None => Reply::status(401).with("www-authenticate", &challenge),
            Some(other) => panic!("{other}"),
        }
    });
    let client = client();
    client.resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap();
    setup.pull_layer(&client).await.unwrap();
    let paths: Vec<_> =
        setup.registry.requests().into_iter().map(|r| r.path.split('?').next().unwrap().to_owned()).collect();
    assert_eq!(paths.iter().filter(|path| *path == "/token").count(), 1, "{paths:?}");
    assert_eq!(paths.len(), 4, "challenged once: {paths:?}");
}

/// A client that has `u:p` for `address`.
fn with_password(dir: &Path, address: &str) -> Client {
    let file = dir.join("config.json");
    std::fs::write(&file, format!(r#"{{"auths": {{"{address}": {{"auth": "dTpw"}}}}}}"#)).unwrap();
    client_with(Options { auth_files: vec![file], ..Options::default() })
}

#[tokio::test]
async fn passwords_go_to_registries_that_ask_for_them() {
    let setup = Setup::new(|request, reply| match request.header("authorization") {
        Some("Basic dTpw") => reply,
        _ => Reply::status(401).with("www-authenticate", "Basic realm=\"fake\""),
    });
    let error = client().resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    let client = with_password(setup.dir.path(), &setup.registry.address);
    setup.pull_layer(&client).await.unwrap();
}

#[tokio::test]
async fn passwords_and_refresh_tokens_are_exchanged_for_tokens() {
    let hook = |request: &Request, reply: Reply| {
        let host = request.header("host").unwrap();
        if request.path.starts_with("/token") {
            let password = request.header("authorization") == Some("Basic dTpw");
            let refresh = request.method == "POST"
                && request.body.contains("grant_type=refresh_token")
                && request.body.contains("refresh_token=long-lived");
            return if password || refresh { Reply::body(r#"{"access_token": "abc"}"#) } else { Reply::status(401) };
        }
        match request.header("authorization") {
            Some("Bearer abc") => reply,
            _ => Reply::status(401).with("www-authenticate", &format!(r#"Bearer realm="http://{host}/token""#)),
        }
    };
    let setup = Setup::new(hook);
    with_password(setup.dir.path(), &setup.registry.address)
        .resolve(&setup.reference(), Platform::LinuxAmd64)
        .await
        .unwrap();
    let file = setup.dir.path().join("auth.json");
    let auths = format!(r#"{{"auths": {{"{}": {{"identitytoken": "long-lived"}}}}}}"#, setup.registry.address);
    std::fs::write(&file, auths).unwrap();
    let client = client_with(Options { auth_files: vec![file.clone()], ..Options::default() });
    client.resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap();

    std::fs::write(&file, "not json").unwrap();
    let client = client_with(Options { auth_files: vec![file], ..Options::default() });
    let error = client.resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn credentials_stay_behind_when_a_redirect_leaves_the_registry() {
    let dir = tempdir().unwrap();
    let storage = layout_of(&dir.path().join("unused"), Vec::new());
    for hostile in [false, true] {
        let storage = FakeRegistry::start(storage.clone(), move |request, _| {
            if hostile {
                let realm = format!(r#"Bearer realm="http://{}/steal""#, request.header("host").unwrap());
                return Reply::status(401).with("www-authenticate", &realm);
            }
            Reply::status(404)
        });
        let target = format!("http://{}", storage.address);
        let setup = Setup::new(move |request, reply| match request.header("authorization") {
            Some("Basic dTpw") if request.is_blob() => {
                Reply::status(307).with("location", &format!("{target}{}?signature=hidden", request.path))
            }
            Some("Basic dTpw") => reply,
            _ => Reply::status(401).with("www-authenticate", "Basic realm=\"fake\""),
        });
        let client = with_password(setup.dir.path(), &setup.registry.address);
        // So that the first answer to the request for the layer comes from the storage.
        client.resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap();
        let error = setup.pull_layer(&client).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hidden"), "signatures are not shown: {error:?}");
        let asked = storage.requests();
        assert_eq!(asked.len(), 1, "the storage's challenge is not answered: {asked:?}");
        assert_eq!(asked[0].header("authorization"), None);
        assert_eq!(asked[0].header("referer"), None);
    }
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    let setup = Setup::new(|request, reply| match request.earlier {
        0 => Reply::status(500),
        1 => Reply::status(429).with("retry-after", "0"),
        2 => reply.cut(0),
        _ => reply,
    });
    client().resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap();
    setup.pull_layer(&client()).await.unwrap();
    assert!(setup.blob_requests() >= 4);
}

#[tokio::test]
async fn a_server_may_say_how_long_to_wait() {
    let setup = Setup::new(|request, reply| match request.earlier {
        0 => Reply::status(429).with("retry-after", "1"),
        _ => reply,
    });
    let began = Instant::now();
    client().resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    let setup = Setup::new(|_, _| Reply::status(429).with("retry-after", "86400"));
    let began = Instant::now();
    let error = client().resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 429, .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "a day is too long to wait");
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let setup = Setup::new(|request, reply| match request.earlier {
        _ if !request.is_blob() => reply,
        0 => reply.cut(50),
        1 => reply.cut(20),
        _ => reply,
    });
    setup.pull_layer(&client()).await.unwrap();
    let ranges: Vec<_> = setup.registry.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=50-".to_owned()), Some("bytes=70-".to_owned())]);
}

#[tokio::test]
async fn a_server_that_cannot_resume_begins_anew() {
    let dir = tempdir().unwrap();
    let whole = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    let setup = Setup::new(move |request, reply| match request.earlier {
        0 => reply.cut(50),
        1 => Reply::status(416),
        2 => reply.cut(60),
        _ => {
            let digest: Digest = request.path.rsplit('/').next().unwrap().parse().unwrap();
            Reply::body(std::fs::read(whole.blob_path(&digest)).unwrap())
        }
    });
    setup.pull_layer(&client()).await.unwrap();
    assert_eq!(setup.blob_requests(), 4);
}

#[tokio::test]
async fn a_part_of_a_blob_goes_on_where_it_broke_off() {
    let blob: Vec<u8> = (0..1000u32).flat_map(u32::to_le_bytes).collect();
    let after = |request: &Request, reply: Reply| if request.earlier < 2 { reply.cut(100) } else { reply };
    let registry = Writable::start(Features::default(), |_| Fault::None, after);
    registry.seed("some/image", &blob);
    let reference: Reference = format!("{}/some/image:tag", registry.address).parse().unwrap();
    let dir = tempdir().unwrap();
    let path = dir.path().join("part");
    let counted = AtomicU64::new(0);
    let count = |bytes| {
        counted.fetch_add(bytes, Ordering::Relaxed);
    };
    let digest = Digest::of(&blob);
    assert!(client().holds(&reference, &digest).await.unwrap());
    assert!(client().range(&reference, &digest, 500..3000, &path, &count).await.unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), blob[500..3000]);
    assert_eq!(counted.load(Ordering::Relaxed), 2500, "each byte is counted once");
    let ranges: Vec<_> = registry.requests().iter().filter_map(|it| it.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["bytes=500-2999", "bytes=600-2999", "bytes=700-2999"]);
    // What is not there, and what is not served in parts.
    let other = Digest::of(b"");
    assert!(!client().holds(&reference, &other).await.unwrap());
    let gone = client().range(&reference, &other, 0..1, &dir.path().join("gone"), &|_| {}).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    let whole = Writable::start(Features::default(), |_| Fault::None, move |_, _| Reply::body(blob.clone()));
    let reference: Reference = format!("{}/some/image:tag", whole.address).parse().unwrap();
    assert!(!client().range(&reference, &digest, 500..3000, &dir.path().join("whole"), &|_| {}).await.unwrap());
}

#[tokio::test]
async fn wrong_content_is_never_kept() {
    let damage = |request: &Request, mut reply: Reply| {
        if let Some(byte) = reply.body.get_mut(30) {
            *byte ^= 1;
        }
        assert!(request.is_blob() || request.is_manifest());
        reply
    };
    let setup = Setup::new(damage);
    let error = setup.pull_layer(&client()).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    setup.assert_store_is_empty();
    let error = client().resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "the registry's own header tells: {error:?}");
    let digest = setup.image().digest;
    let error = client().manifest(&setup.reference(), Some(digest)).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");

    let longer = Setup::new(|_, mut reply| {
        reply.body.extend([0; 1000]);
        reply
    });
    let error = longer.pull_layer(&client()).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
    longer.assert_store_is_empty();
}

#[tokio::test]
async fn an_endless_manifest_is_not_read() {
    let setup = Setup::new(|_, _| Reply::body(vec![b' '; 5 << 20]));
    let error = client().resolve(&setup.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(error.to_string().contains("longer than 4194304 bytes"), "{error}");
}

#[tokio::test]
async fn failures_say_what_they_are() {
    let missing = Setup::new(|_, _| Reply::status(404));
    let error = client().resolve(&missing.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");

    let body = r#"{"errors": [{"code": "UNSUPPORTED", "message": "the tag is \u001b[31mred"}]}"#;
    let refusing = Setup::new(move |_, _| Reply { status: 400, ..Reply::body(body) });
    let error = client().resolve(&refusing.reference(), Platform::LinuxAmd64).await.unwrap_err();
    assert!(error.to_string().ends_with("answers 400: the tag is [31mred"), "{error}");

    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let reference: Reference = format!("{gone}/some/image:tag").parse().unwrap();
    let error = client().resolve(&reference, Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_real_registry_serves_what_skopeo_pushed() {
    if !available("docker-registry") || !available("skopeo") {
        return;
    }
    let dir = tempdir().unwrap();
    let registry = RealRegistry::start(dir.path());
    let layout = two_platforms(&dir.path().join("layout"), Compression::ZSTD);
    let source = format!("oci:{}:small", layout.path().display());
    let target = format!("docker://{}/some/image:tag", registry.address);
    run("skopeo", &["copy", "--all", "--dest-tls-verify=false", &source, &target]);

    let store = Layout::cache(dir.path().join("store")).unwrap();
    let reference: Reference = format!("{}/some/image:tag", registry.address).parse().unwrap();
    let resolved = client().resolve(&reference, Platform::LinuxArm64).await.unwrap();
    let image = layout.image(Platform::LinuxArm64).unwrap();
    assert_eq!(resolved.digest, layout.image_index_digest().unwrap());
    assert_eq!(resolved.manifest.digest(), image.descriptor.digest());
    for layer in &image.layers {
        client().blob(&reference, &layer.descriptor, &store, &|_| {}).await.unwrap();
        assert!(store.has(&layer.digest, layer.size));
    }
    let missing: Reference = format!("{}/some/image:other", registry.address).parse().unwrap();
    let error = client().resolve(&missing, Platform::LinuxArm64).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

/// Commands await this in tasks of their own.
#[test]
fn pulling_can_move_between_threads() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let client = client();
    let reference: Reference = "example.org/some/image:tag".parse().unwrap();
    drop(assert_send(client.resolve(&reference, Platform::LinuxAmd64)));
}

/// Runs this test again with a helper on `PATH`, which a process cannot change for its threads.
#[test]
fn a_program_that_never_answers_is_ended() {
    use std::os::unix::fs::PermissionsExt;

    const AGAIN: &str = "ESKER_TEST_HELPER_FOLDER";
    let Some(folder) = std::env::var_os(AGAIN).map(std::path::PathBuf::from) else {
        let dir = tempdir().unwrap();
        let helper = dir.path().join("docker-credential-sleeps");
        fs_err::write(&helper, "#!/bin/sh\necho $$ > \"$0.pid\"\nexec sleep 600\n").unwrap();
        fs_err::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "a_program_that_never_answers_is_ended"]).env_remove("NEXTEST");
        let output = again.env("PATH", path).env(AGAIN, dir.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    };
    let registry = Writable::start(
        Features::default(),
        |_| Fault::Reply(Reply::status(401).with("www-authenticate", "Basic realm=\"x\"")),
        |_, reply| reply,
    );
    let file = folder.join("config.json");
    fs_err::write(&file, r#"{"credsStore": "sleeps"}"#).unwrap();
    let limit = Duration::from_millis(1500);
    let client = client_with(Options { auth_files: vec![file], helper_timeout: limit, ..Options::default() });
    let reference: Reference = format!("{}/x/y:z", registry.address).parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let start = Instant::now();
    let error = runtime.block_on(client.manifest(&reference, None)).unwrap_err().to_string();
    assert!(error.contains("`docker-credential-sleeps` has not answered after 1.5 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
    let pid = fs_err::read_to_string(folder.join("docker-credential-sleeps.pid")).unwrap();
    let status = Path::new("/proc").join(pid.trim()).join("status");
    // Ended, though nobody may have asked yet how.
    let is_gone = || fs_err::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
    while !is_gone() {
        assert!(start.elapsed() < Duration::from_secs(20), "it still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}
