//! Where the documents and layers of an image are: on disk, or in a registry.

use std::collections::BTreeSet;
use std::path::PathBuf;

use oci_spec::image::Descriptor;

use super::archive::Archive;
use super::error::{Error, Result};
use super::left::Left;
use super::remote::Remote;
use super::scan::{Depth, Scanned, scan};
use super::source::ImageSource;
use crate::oci::{self, Digest, Image, Layer, Layout, layout};

/// An image's place, opened.
pub struct Place<'a> {
    pub source: &'a ImageSource,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Layout(Layout, Option<Left<'a>>),
    Archive(Box<Archive>),
    Registry(Remote<'a>),
}

impl<'a> Place<'a> {
    /// Opens the image that `source` names; a layout, with the layers that were `left` elsewhere.
    pub fn open(source: &'a ImageSource, left: Left<'a>) -> Result<Self> {
        let Left { client, offline, .. } = left;
        let kind = match source {
            ImageSource::Layout(path) => Kind::Layout(Layout::open(path).map_err(invalid(source))?, Some(left)),
            ImageSource::Archive(path) => Kind::Archive(Box::new(Archive::open(path).map_err(invalid(source))?)),
            ImageSource::Registry(_) if offline => return Err(Error::Offline { image: source.to_string() }),
            ImageSource::Registry(reference) => Kind::Registry(Remote { source, reference, client }),
        };
        Ok(Self { source, kind })
    }

    /// The place `source`, which is `layout` and whole.
    pub const fn of(source: &'a ImageSource, layout: Layout) -> Self {
        Self { source, kind: Kind::Layout(layout, None) }
    }

    /// The image for each platform that is known.
    pub async fn images(&self) -> Result<Vec<Image>> {
        match &self.kind {
            Kind::Layout(layout, _) => layout.images().map_err(invalid(self.source)),
            Kind::Archive(archive) => Ok(vec![archive.image().clone()]),
            Kind::Registry(remote) => remote.images().await,
        }
    }

    /// The digest that stands for all platforms; nothing for an archive, which has no manifest.
    pub async fn digest(&self) -> Result<Option<Digest>> {
        match &self.kind {
            Kind::Layout(layout, _) => layout.image_index_digest().map(Some).map_err(invalid(self.source)),
            Kind::Archive(_) => Ok(None),
            Kind::Registry(remote) => remote.digest().await.map(Some),
        }
    }

    /// Descriptors of the artifacts about any of `subjects`, each with its subject.
    pub async fn referrers(&self, subjects: &BTreeSet<Digest>) -> Result<Vec<(Digest, Descriptor)>> {
        let mut found = Vec::new();
        for subject in subjects {
            let referrers = match &self.kind {
                Kind::Layout(layout, _) => {
                    layout.referrers(&BTreeSet::from([*subject])).map_err(invalid(self.source))?
                }
                Kind::Archive(_) => Vec::new(),
                Kind::Registry(remote) => remote.referrers(*subject).await?,
            };
            found.extend(referrers.into_iter().map(|descriptor| (*subject, descriptor)));
        }
        Ok(found)
    }

    /// The document of the artifact `descriptor`.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        match &self.kind {
            Kind::Layout(layout, _) => layout.artifact(descriptor).map_err(invalid(self.source)),
            Kind::Archive(_) => Err(self.no_artifacts()),
            Kind::Registry(remote) => remote.document(descriptor).await,
        }
    }

    /// Where the blob `descriptor` is on this machine, once it is there.
    pub async fn blob(&self, descriptor: &Descriptor, cache: &Layout) -> Result<PathBuf> {
        let digest = layout::sha256(descriptor).map_err(invalid(self.source))?;
        match &self.kind {
            Kind::Layout(layout, left) => {
                let there = || Ok(layout.blob_path(&digest));
                let Some(left) = left.as_ref().filter(|_| !layout.has(&digest, descriptor.size())) else {
                    return there();
                };
                let pull = async |remote: &Remote<'_>| remote.blob(descriptor, cache).await;
                left.first(self.source, digest, pull).await.unwrap_or_else(there)
            }
            Kind::Archive(_) => Err(self.no_artifacts()),
            Kind::Registry(remote) => remote.blob(descriptor, cache).await,
        }
    }

    fn no_artifacts(&self) -> Error {
        invalid(self.source)(oci::Error::malformed(&self.source, &"an archive holds no artifacts"))
    }

    /// Reads `layer`, with its digest. `count` is told how many more bytes were read.
    pub async fn scan(&self, layer: &Layer, depth: Depth, count: &(dyn Fn(u64) + Sync)) -> Result<(Digest, Scanned)> {
        let failed = || invalid(self.source);
        let scanned = match &self.kind {
            Kind::Layout(layout, left) => {
                if let Some(left) = left.as_ref().filter(|_| !layout.has(&layer.digest, layer.size)) {
                    let pull = async |remote: &Remote<'_>| remote.scan(layer, depth, count).await;
                    if let Some(scanned) = left.first(self.source, layer.digest, pull).await {
                        return Ok((layer.digest, scanned?));
                    }
                }
                let blob = layout.open_blob(&layer.digest).map_err(failed())?;
                let path = blob.path().to_owned();
                let scanned = scan(layer.clone(), depth, blob, path).await.map_err(failed())?;
                count(layer.size);
                scanned
            }
            Kind::Archive(archive) => {
                let blob = archive.blob(layer).map_err(failed())?;
                let path = blob.get_ref().path().to_owned();
                let scanned = scan(layer.clone(), depth, blob, path).await.map_err(failed())?;
                count(layer.size);
                scanned
            }
            Kind::Registry(remote) => remote.scan(layer, depth, count).await?,
        };
        Ok((layer.digest, scanned))
    }
}

/// The error for something wrong with the image itself.
fn invalid(source: &ImageSource) -> impl FnOnce(oci::Error) -> Error {
    let image = source.to_string();
    |source| Error::Image { image, source }
}
