//! Where the documents and layers of an image are: on disk, or in a registry.

use super::error::{Error, Result};
use super::remote::Remote;
use super::scan::{Scanned, scan};
use super::source::ImageSource;
use crate::oci::{self, Digest, Image, Layer, Layout};
use crate::registry;

/// An image's place, opened.
pub struct Place<'a> {
    pub source: &'a ImageSource,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Layout(Layout),
    Registry(Remote<'a>),
}

impl<'a> Place<'a> {
    pub fn open(source: &'a ImageSource, client: &'a registry::Client, offline: bool) -> Result<Self> {
        let kind = match source {
            ImageSource::Layout(path) => Kind::Layout(Layout::open(path).map_err(invalid(source))?),
            ImageSource::Registry(_) if offline => return Err(Error::Offline { image: source.to_string() }),
            ImageSource::Registry(reference) => Kind::Registry(Remote { source, reference, client }),
        };
        Ok(Self { source, kind })
    }

    /// The image for each platform that is known.
    pub async fn images(&self) -> Result<Vec<Image>> {
        match &self.kind {
            Kind::Layout(layout) => layout.images().map_err(invalid(self.source)),
            Kind::Registry(remote) => remote.images().await,
        }
    }

    /// Reads `layer`, with its digest. `count` is told how many more bytes were read.
    pub async fn scan(&self, layer: &Layer, count: &(dyn Fn(u64) + Sync)) -> Result<(Digest, Scanned)> {
        let scanned = match &self.kind {
            Kind::Layout(layout) => {
                let blob = layout.open_blob(&layer.digest).map_err(invalid(self.source))?;
                let path = blob.path().to_owned();
                let scanned = scan(layer.clone(), blob, path).await.map_err(invalid(self.source))?;
                count(layer.size);
                scanned
            }
            Kind::Registry(remote) => remote.scan(layer, count).await?,
        };
        Ok((layer.digest, scanned))
    }
}

/// The error for something wrong with the image itself.
fn invalid(source: &ImageSource) -> impl FnOnce(oci::Error) -> Error {
    let image = source.to_string();
    |source| Error::Image { image, source }
}
