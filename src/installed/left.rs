//! Layers that a build left in registries, of an image whose layout lacks them.

use oci_spec::distribution::Reference;

use super::error::{Error, Result};
use super::remote::Remote;
use super::source::ImageSource;
use crate::oci::Digest;
use crate::registry;

/// See the module's documentation.
pub struct Left<'a> {
    /// An image of each repository that may have them.
    pub at: Vec<Reference>,
    pub client: &'a registry::Client,
    pub offline: bool,
}

impl Left<'_> {
    /// What `take` makes of the first that has the layer `digest` of `image`; `None` if there is none that might.
    pub async fn first<T>(
        &self,
        image: &ImageSource,
        digest: Digest,
        take: impl AsyncFn(&Remote<'_>) -> Result<T>,
    ) -> Option<Result<T>> {
        let mut result = None;
        for reference in &self.at {
            let source = &ImageSource::Registry(reference.clone());
            let taken = match self.offline {
                true => Err(Error::Offline { image: source.to_string() }),
                false => take(&Remote { source, reference, client: self.client }).await,
            };
            if taken.is_ok() {
                return Some(taken);
            }
            result = Some(taken);
        }
        let lacks = |source| Error::Left { image: image.to_string(), layer: digest, source: Box::new(source) };
        result.map(|result| result.map_err(lacks))
    }
}
