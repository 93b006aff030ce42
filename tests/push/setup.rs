//! A small image to push, and registries that misbehave.

use std::sync::Mutex;
use std::time::Duration;

use esker::oci::{Closure, Compression, Digest, Layout, Platform};
use esker::progress::Silent;
use esker::registry::{Client, Error, Options, Push, Pushed};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifestBuilder, MediaType};
use tempfile::{TempDir, tempdir};

use crate::fake_registry::Request;
use crate::fake_registry::writable::{Fault, Writable};
use crate::images::{Tar, add_image, index, two_platforms};

pub const REPOSITORY: &str = "some/image";

pub fn client() -> Client {
    client_with(Options::default())
}

pub fn client_with(options: Options) -> Client {
    Client::new(Options { retry_delay: Duration::from_millis(1), timeout: Duration::from_secs(5), ..options })
}

/// A small image for two platforms.
pub struct Setup {
    pub dir: TempDir,
    pub layout: Layout,
}

impl Setup {
    pub fn new() -> Self {
        let dir = tempdir().unwrap();
        let layout = two_platforms(&dir.path().join("layout"), Compression::GZIP);
        Self { dir, layout }
    }

    /// One whose layer takes three chunks.
    pub fn large() -> Self {
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

    pub fn digest(&self) -> Digest {
        self.layout.image_index_digest().unwrap()
    }

    pub fn closure(&self) -> Closure {
        Closure::of(&self.layout, &self.layout.top().unwrap()).unwrap()
    }

    pub async fn push(&self, registry: &Writable, client: &Client, sources: &[Reference]) -> Result<Pushed, Error> {
        self.push_image(&self.closure(), registry, client, sources).await
    }

    pub async fn push_image(
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
    pub fn assert_whole(&self, registry: &Writable) {
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
    pub fn attach(&self, text: &str) -> Digest {
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

pub fn reference(address: &str, repository: &str) -> Reference {
    format!("{address}/{repository}:x").parse().unwrap()
}

pub fn no_fault(_: &Request) -> Fault {
    Fault::None
}

pub fn is_upload(request: &Request) -> bool {
    request.path.contains("/blobs/uploads/")
}

/// The faults of `list`, one after another, for the requests that `which` chooses.
pub fn faults(
    which: impl Fn(&Request) -> bool + Send + Sync + 'static,
    list: Vec<Fault>,
) -> impl Fn(&Request) -> Fault + Send + Sync + 'static {
    let left = Mutex::new(list.into_iter());
    move |request| match which(request) {
        true => left.lock().unwrap().next().unwrap_or(Fault::None),
        false => Fault::None,
    }
}
