//! An image in a registry, of which nothing is kept.

use std::io::{self, Read};
use std::path::PathBuf;

use bytes::{Buf, Bytes};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};
use tokio::sync::mpsc::{self, Receiver};

use super::error::{Error, Result};
use super::scan::{Depth, Scanned, scan};
use super::source::ImageSource;
use crate::oci::{self, Digest, Document, Image, Layer, Layout, Platform, artifact, image, layout};
use crate::registry;

/// How many pieces of a layer wait to be read.
const PIECES: usize = 64;

/// See the module's documentation.
pub struct Remote<'a> {
    pub source: &'a ImageSource,
    pub reference: &'a Reference,
    pub client: &'a registry::Client,
}

impl Remote<'_> {
    /// The image for each platform that is known.
    pub async fn images(&self) -> Result<Vec<Image>> {
        let bytes = self.client.manifest(self.reference, None).await.map_err(self.failed())?;
        let index = match self.parse(&bytes)? {
            Document::Index(index) => index,
            Document::Manifest(_) => {
                let descriptor = Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, Digest::of(&bytes));
                return Ok(vec![self.image(descriptor, &bytes).await?]);
            }
        };
        let mut images = Vec::new();
        for descriptor in Platform::ALL.into_iter().filter_map(|platform| image::choose(&index, platform)) {
            let digest = layout::sha256(descriptor).map_err(self.invalid())?;
            let bytes = self.client.manifest(self.reference, Some(digest)).await.map_err(self.failed())?;
            images.push(self.image(descriptor.clone(), &bytes).await?);
        }
        if images.is_empty() {
            return Err(Error::NoPlatform { image: self.source.to_string(), has: image::platform_names(&index) });
        }
        Ok(images)
    }

    /// The digest of the index, or of the manifest where there is no index.
    pub async fn digest(&self) -> Result<Digest> {
        let bytes = self.client.manifest(self.reference, None).await.map_err(self.failed())?;
        Ok(Digest::of(&bytes))
    }

    /// Descriptors of the artifacts about the manifest `subject`.
    pub async fn referrers(&self, subject: Digest) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        for mut descriptor in self.client.referrers(self.reference, &subject).await.map_err(self.failed())? {
            let manifest = self.artifact(&descriptor).await?;
            // A registry, and whoever may set tags, can list what they like.
            let about = manifest.subject().as_ref().map(layout::sha256).transpose().map_err(self.invalid())?;
            if about == Some(subject) {
                descriptor.set_artifact_type(artifact::artifact_type(&manifest));
                found.push(descriptor);
            }
        }
        Ok(found)
    }

    /// The document of the artifact `descriptor`.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let manifest = self.artifact(descriptor).await?;
        let content = artifact::content_of(&manifest, descriptor).map_err(self.invalid())?;
        self.client.small_blob(self.reference, content).await.map_err(self.failed())
    }

    /// Pulls the blob `descriptor` into `cache`, unless it is there.
    pub async fn blob(&self, descriptor: &Descriptor, cache: &Layout) -> Result<PathBuf> {
        self.client.blob(self.reference, descriptor, cache, &|_| {}).await.map_err(self.failed())
    }

    async fn artifact(&self, descriptor: &Descriptor) -> Result<ImageManifest> {
        let digest = layout::sha256(descriptor).map_err(self.invalid())?;
        let bytes = self.client.manifest(self.reference, Some(digest)).await.map_err(self.failed())?;
        let json =
            serde_json::from_slice(&bytes).map_err(|source| oci::Error::Json { what: digest.to_string(), source });
        json.map_err(self.invalid())
    }

    async fn image(&self, descriptor: Descriptor, manifest: &[u8]) -> Result<Image> {
        let Document::Manifest(manifest) = self.parse(manifest)? else {
            let nested = oci::Error::malformed(&self.source, &"its index lists another index as an image");
            return Err(self.invalid()(nested));
        };
        let config = self.client.small_blob(self.reference, manifest.config()).await.map_err(self.failed())?;
        let what = manifest.config().digest().to_string();
        let config = serde_json::from_slice(&config).map_err(|source| oci::Error::Json { what, source });
        Image::new(descriptor, *manifest, config.map_err(self.invalid())?).map_err(self.invalid())
    }

    fn parse(&self, bytes: &[u8]) -> Result<Document> {
        Document::parse(bytes, &self.source.to_string()).map_err(self.invalid())
    }

    /// Reads `layer` while it is pulled. `count` is told how many more bytes came.
    pub async fn scan(&self, layer: &Layer, depth: Depth, count: &(dyn Fn(u64) + Sync)) -> Result<Scanned> {
        let (sender, receiver) = mpsc::channel(PIECES);
        // It owns the sender: when it ends, so does what is read.
        let pull = async move { self.client.stream(self.reference, &layer.descriptor, &sender, count).await };
        let name = self.source.to_string();
        let read = scan(layer.clone(), depth, Incoming { receiver, piece: Bytes::new() }, name.into());
        let (pulled, scanned) = futures::join!(pull, read);
        // A download that failed explains what was read.
        pulled.map_err(self.failed())?;
        scanned.map_err(self.invalid())
    }

    fn failed(&self) -> impl FnOnce(registry::Error) -> Error {
        let image = self.source.to_string();
        |source| Error::Registry { image, source }
    }

    fn invalid(&self) -> impl FnOnce(oci::Error) -> Error {
        let image = self.source.to_string();
        |source| Error::Pulled { image, source }
    }
}

/// Pieces of a download as one stream.
struct Incoming {
    receiver: Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = buf.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buf[..count]);
        Ok(count)
    }
}
