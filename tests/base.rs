//! Base systems: resolved from a registry, a layout and root file systems, pinned, and used again offline.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use esker::build::base::{BaseImage, BaseRequest, Error, resolve};
use esker::build::pins::{self, Pins};
use esker::oci::{Compression, Digest, Layout, Platform};
use esker::progress::Silent;
use esker::project::BaseReference;
use esker::registry::{Client, Options};
use fake_registry::{FakeRegistry, Reply};
use images::{Tar, add_image, index, two_platforms};
use tempfile::{TempDir, tempdir};

mod fake_registry;
mod images;

/// A project and a cache.
struct Setup {
    dir: TempDir,
    source: BaseReference,
    pinned: Option<Digest>,
    compression: Compression,
    offline: bool,
}

impl Setup {
    fn new(source: &str) -> Self {
        let source = source.parse().unwrap();
        let dir = tempdir().unwrap();
        fs::create_dir(dir.path().join("project")).unwrap();
        Self { dir, source, pinned: None, compression: Compression::ZSTD, offline: false }
    }

    fn project(&self) -> std::path::PathBuf {
        self.dir.path().join("project")
    }

    fn cache(&self) -> std::path::PathBuf {
        self.dir.path().join("cache")
    }

    async fn resolve(&self, platform: Platform) -> Result<BaseImage, Error> {
        let request = BaseRequest {
            source: &self.source,
            platform,
            project_root: &self.project(),
            cache_dir: &self.cache(),
            pinned: self.pinned,
            compression: self.compression,
            offline: self.offline,
        };
        let client = Client::new(Options { retry_delay: Duration::from_millis(1), ..Options::default() });
        let base = resolve(request, &client, &Silent).await?;
        for layer in &base.layers {
            let bytes = fs::read(&layer.path).unwrap();
            assert_eq!(layer.descriptor.digest().to_string(), Digest::of(&bytes).to_string());
            assert_eq!(layer.descriptor.size(), bytes.len() as u64);
        }
        Ok(base)
    }
}

/// A root file system with one program for a CPU: `e_machine` 62 is x86-64, 183 is AArch64, 40 is 32-bit ARM.
fn rootfs(machine: u8) -> Vec<u8> {
    let tar = Tar::default().dir("./").dir("./etc").file("./etc/passwd", "root:x:0:0::/:/bin/sh\n").dir("./usr");
    let tar = tar.dir("./usr/bin").file("./usr/bin/script", "#!/bin/sh").symlink("./bin", "usr/bin");
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(18, 0);
    program.extend([machine, 0]);
    program.extend(b"the rest of the program");
    tar.entry("./usr/bin/dash", tar::EntryType::Regular, "", &program, 0o755).bytes()
}

#[tokio::test]
async fn a_base_comes_from_a_registry_once() {
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    let registry = FakeRegistry::start(layout.clone(), |_, reply| reply);
    let mut setup = Setup::new(&format!("{}/some/base:tag", registry.address));
    setup.offline = true;
    let error = setup.resolve(Platform::LinuxArm64).await.unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error:?}");

    setup.offline = false;
    let base = setup.resolve(Platform::LinuxArm64).await.unwrap();
    let image = layout.image(Platform::LinuxArm64).unwrap();
    assert_eq!(base.source_digest, layout.image_index_digest().unwrap());
    assert_eq!((base.manifest_digest, &base.config), (image.digest, &image.config));
    assert_eq!(base.read_file("/etc/passwd").unwrap().unwrap(), b"root:x:0:0::/:/bin/sh\n");
    assert_eq!(base.read_file("etc/shadow").unwrap(), None);
    let asked = registry.requests().len();

    (setup.offline, setup.pinned) = (true, Some(base.source_digest));
    let again = setup.resolve(Platform::LinuxArm64).await.unwrap();
    assert_eq!(again.layers[1].path, base.layers[1].path);
    let error = setup.resolve(Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "the other platform was not pulled: {error:?}");
    assert_eq!(registry.requests().len(), asked);

    // What is damaged in the cache is pulled again.
    fs::write(&base.layers[0].path, vec![0; usize::try_from(base.layers[0].descriptor.size()).unwrap()]).unwrap();
    setup.offline = false;
    setup.resolve(Platform::LinuxArm64).await.unwrap();
    assert_eq!(registry.requests().len(), asked + 1);
}

#[tokio::test]
async fn a_pinned_base_stays_when_its_tag_moves() {
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    let pinned = layout.image_index_digest().unwrap();
    let moved = add_image(&layout, Platform::LinuxAmd64, vec![Tar::default().file("new", "new")], Compression::GZIP);
    layout.set_index("small", &index(vec![moved])).unwrap();
    let registry = FakeRegistry::start(layout.clone(), |_, reply| reply);
    let mut setup = Setup::new(&format!("{}/some/base:tag", registry.address));
    assert_ne!(setup.resolve(Platform::LinuxAmd64).await.unwrap().source_digest, pinned);
    setup.pinned = Some(pinned);
    assert_eq!(setup.resolve(Platform::LinuxAmd64).await.unwrap().source_digest, pinned);

    let named = format!("{}/some/base@{}", registry.address, layout.image_index_digest().unwrap());
    setup.source = named.parse().unwrap();
    let error = setup.resolve(Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::PinMismatch { pinned: expected, .. } if expected == pinned), "{error:?}");
}

#[tokio::test]
async fn a_base_without_the_platform_says_what_it_has() {
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    let registry = FakeRegistry::start(layout.clone(), |_, reply| reply);
    let single = layout.image(Platform::LinuxAmd64).unwrap();
    let sources = [
        (format!("oci:{}", layout.path().display()), "linux/amd64, linux/arm64"),
        (format!("{}/some/base:tag", registry.address), "linux/amd64, linux/arm64"),
        (format!("{}/some/base@{}", registry.address, single.digest), "linux/amd64"),
    ];
    for (source, has) in sources {
        let error = Setup::new(&source).resolve(Platform::LinuxPpc64le).await.unwrap_err();
        let expected = format!("the base `{source}` has no image for linux/ppc64le, only for {has}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn docker_media_types_become_ocis() {
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    let manifest = fs::read_to_string(layout.blob_path(&layout.image(Platform::LinuxAmd64).unwrap().digest)).unwrap();
    let docker = "application/vnd.docker.";
    let manifest = manifest
        .replace("application/vnd.oci.image.manifest.v1+json", &format!("{docker}distribution.manifest.v2+json"))
        .replace("application/vnd.oci.image.config.v1+json", &format!("{docker}container.image.v1+json"))
        .replace("application/vnd.oci.image.layer.v1.tar+gzip", &format!("{docker}image.rootfs.diff.tar.gzip"));
    let registry =
        FakeRegistry::start(
            layout,
            move |request, reply| {
                if request.is_manifest() { Reply::body(manifest.clone()) } else { reply }
            },
        );
    let base = Setup::new(&format!("{}/some/base:tag", registry.address)).resolve(Platform::LinuxAmd64).await.unwrap();
    for layer in base.layers {
        assert_eq!(layer.descriptor.media_type().to_string(), "application/vnd.oci.image.layer.v1.tar+gzip");
    }
}

#[tokio::test]
async fn a_layout_is_a_base_where_it_lies() {
    let mut setup = Setup::new("oci:systems/base");
    let layout = two_platforms(&setup.project().join("systems/base"), Compression::ZSTD);
    let base = setup.resolve(Platform::LinuxAmd64).await.unwrap();
    assert_eq!(base.reference, "oci:systems/base");
    assert_eq!(base.source_digest, layout.image_index_digest().unwrap());
    assert_eq!(base.layers[0].path, layout.blob_path(&layout.image(Platform::LinuxAmd64).unwrap().layers[0].digest));
    assert_eq!(base.read_file("etc/platform").unwrap().unwrap(), b"linux/amd64");
    setup.pinned = Some(Digest::of(b"another"));
    let error = setup.resolve(Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::PinMismatch { .. }), "{error:?}");
    fs::remove_file(&base.layers[0].path).unwrap();
    setup.pinned = None;
    let error = setup.resolve(Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Image { .. }), "{error:?}");
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = compression.encoder(Vec::new()).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_root_file_system_becomes_one_layer_however_it_was_compressed() {
    let tar = rootfs(62);
    let mut layers = Vec::new();
    // The names do not matter: content does.
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let setup = Setup::new("rootfs:system.tar");
        let file = compressed(compression, &tar);
        fs::write(setup.project().join("system.tar"), &file).unwrap();
        let base = setup.resolve(Platform::LinuxAmd64).await.unwrap();
        assert_eq!(base.source_digest, Digest::of(&file));
        assert_eq!(base.config.rootfs().diff_ids(), &[Digest::of(&tar).to_string()]);
        assert_eq!(base.read_file("etc/passwd").unwrap().unwrap(), b"root:x:0:0::/:/bin/sh\n");
        layers.push(base.layers[0].descriptor.clone());

        let made = fs::metadata(&base.layers[0].path).unwrap().modified().unwrap();
        setup.resolve(Platform::LinuxAmd64).await.unwrap();
        let kept = fs::metadata(&base.layers[0].path).unwrap().modified().unwrap();
        assert_eq!(made, kept, "it is made once");
        fs::write(&base.layers[0].path, "damaged").unwrap();
        setup.resolve(Platform::LinuxAmd64).await.unwrap();
    }
    assert_eq!(layers[0], layers[1]);
    assert_eq!(layers[0], layers[2]);
}

#[tokio::test]
async fn a_root_file_system_that_changed_is_another_base() {
    let mut setup = Setup::new("rootfs:system.tar");
    let file = setup.project().join("system.tar");
    fs::write(&file, rootfs(62)).unwrap();
    let before = setup.resolve(Platform::LinuxAmd64).await.unwrap();
    fs::write(&file, Tar::default().file("other", "x").bytes()).unwrap();
    let after = setup.resolve(Platform::LinuxAmd64).await.unwrap();
    assert_ne!(before.layers[0].diff_id, after.layers[0].diff_id);
    setup.pinned = Some(before.source_digest);
    let error = setup.resolve(Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::PinMismatch { found, .. } if found == after.source_digest), "{error:?}");
}

#[tokio::test]
async fn a_root_file_system_for_another_cpu_is_refused() {
    for (machine, platform, complaint) in [
        (62, Platform::LinuxArm64, Some("is for linux/amd64, not for linux/arm64: see its `usr/bin/dash`")),
        (183, Platform::LinuxAmd64, Some("is for linux/arm64, not for linux/amd64: see its `usr/bin/dash`")),
        (40, Platform::LinuxArm64, Some("is for another CPU (ELF machine 40), not for linux/arm64")),
        (183, Platform::LinuxArm64, None),
    ] {
        let setup = Setup::new("rootfs:system.tar");
        fs::write(setup.project().join("system.tar"), rootfs(machine)).unwrap();
        // The second time the answer comes from the cache.
        for _ in 0..2 {
            let outcome = setup.resolve(platform).await.map_err(|error| error.to_string());
            match complaint {
                Some(complaint) => assert!(outcome.as_ref().is_err_and(|e| e.contains(complaint)), "{outcome:?}"),
                None => assert!(outcome.is_ok(), "{outcome:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_root_file_system_is_refused() {
    let cut = rootfs(62)[..2000].to_vec();
    let climbing = Tar::default().file("../x", "x").bytes();
    for (content, complaint) in [
        (b"not a tar file".to_vec(), "unexpected end of file"),
        (vec![b'x'; 2048], "no tar header"),
        (Vec::new(), "it is an empty archive, or none"),
        (cut, "unexpected end of file"),
        (b"\xfd7zXZ\0".to_vec(), "xz is not supported: use gzip, zstd or none"),
        (climbing, "the path `../x` could lead out of the image"),
    ] {
        let setup = Setup::new("rootfs:system.tar");
        fs::write(setup.project().join("system.tar"), content).unwrap();
        let error = setup.resolve(Platform::LinuxAmd64).await.unwrap_err();
        let Error::Rootfs { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.to_string(), complaint);
        assert_eq!(
            fs::read_dir(setup.cache().join("blobs/sha256")).unwrap().count(),
            0,
            "nothing is left: {complaint}"
        );
    }
    let error = Setup::new("rootfs:missing.tar").resolve(Platform::LinuxAmd64).await.unwrap_err();
    assert!(matches!(error, Error::Rootfs { .. }), "{error:?}");
}

#[tokio::test]
async fn an_interrupted_pull_leaves_nothing_and_the_next_is_right() {
    let dir = tempdir().unwrap();
    let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
    static SLOW: AtomicBool = AtomicBool::new(true);
    let registry = FakeRegistry::start(layout, |request, reply| {
        if request.is_blob() && SLOW.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_secs(3));
        }
        reply
    });
    let setup = Setup::new(&format!("{}/some/base:tag", registry.address));
    let interrupted = tokio::time::timeout(Duration::from_secs(1), setup.resolve(Platform::LinuxAmd64)).await;
    assert!(interrupted.is_err());
    SLOW.store(false, Ordering::SeqCst);
    setup.resolve(Platform::LinuxAmd64).await.unwrap();
    let names = fs::read_dir(setup.cache().join("blobs/sha256")).unwrap().map(|e| e.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.display().to_string().starts_with(".tmp-")));
}

#[tokio::test]
async fn pins_are_written_once_and_read_back() {
    let setup = Setup::new("oci:base");
    two_platforms(&setup.project().join("base"), Compression::GZIP);
    let mut pins = Pins::load(&setup.project()).unwrap();
    assert_eq!(pins.get("oci:base"), None);
    for platform in [Platform::LinuxArm64, Platform::LinuxAmd64] {
        pins.record(&setup.resolve(platform).await.unwrap());
    }
    pins.save().unwrap();
    let file = setup.project().join(pins::FILE);
    let text = fs::read_to_string(&file).unwrap();
    let read = Pins::load(&setup.project()).unwrap();
    assert_eq!(read, pins);
    let pin = read.get("oci:base").unwrap();
    let order: Vec<_> = pin.platforms.keys().copied().collect();
    assert_eq!(order, [Platform::LinuxAmd64, Platform::LinuxArm64]);
    assert!(
        text.starts_with("# ") && text.contains(&format!("  \"oci:base\":\n    digest: {}\n", pin.digest)),
        "{text}"
    );
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    read.save().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written, "the same is not written again");

    // Another base under the same name: what was known of other platforms is no longer true.
    add_to(&setup.project().join("base"));
    let mut moved = read;
    moved.record(&setup.resolve(Platform::LinuxAmd64).await.unwrap());
    assert_eq!(moved.get("oci:base").unwrap().platforms.len(), 1);
}

fn add_to(dir: &Path) {
    let layout = Layout::open(dir).unwrap();
    let manifest = add_image(&layout, Platform::LinuxAmd64, vec![Tar::default().file("n", "n")], Compression::GZIP);
    layout.set_index("small", &index(vec![manifest])).unwrap();
}

#[test]
fn pins_that_are_wrong_say_where() {
    let dir = tempdir().unwrap();
    let file = dir.path().join(pins::FILE);
    for (text, complaint) in [
        ("version: 2\n", "has version 2; this esker knows version 1"),
        ("version: 1\nbases:\n  a:\n    digest: md5:1\n", ":4:"),
        ("version: 1\nbasis: {}\n", "base-lock.yml:2:1: unknown field `basis`, expected one of version, bases"),
        ("version: [", ":1:"),
    ] {
        fs::write(&file, text).unwrap();
        let error = Pins::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains(complaint) && error.contains(pins::FILE), "{error}");
        assert!(!error.contains("at line"), "{error}");
    }
    fs::remove_file(&file).unwrap();
    let pins = Pins::load(dir.path()).unwrap();
    pins.save().unwrap();
    assert_eq!(Pins::load(dir.path()).unwrap(), pins, "none are none");
}

/// Commands await this in tasks of their own.
#[test]
fn resolving_can_move_between_threads() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    let setup = Setup::new("rootfs:x.tar");
    drop(assert_send(setup.resolve(Platform::LinuxAmd64)));
}
