//! What refers to an image in a registry: by the referrers API, else by the tag that stands in for it
//! (distribution-spec 1.1, "Referrers Tag Schema").

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::Client;
use super::auth::Access;
use super::error::{Error, Result};
use super::transport::{body, broke_off, shown, status};
use crate::oci::{Digest, Document, canonical_json, layout};

impl Client {
    /// Descriptors of the manifests that say of themselves that they refer to `subject`, in the repository of
    /// `reference`; empty where there are none. Of several pages the first is read.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Malformed`], and those of the connection.
    pub async fn referrers(&self, reference: &Reference, subject: &Digest) -> Result<Vec<Descriptor>> {
        let url = self.url(reference, &["referrers", &subject.to_string()])?;
        let mut tries = self.transport.tries();
        loop {
            match self.listed(reference, &url).await {
                Ok(index) => return Ok(index.manifests().clone()),
                // Before the API was there, registries did not know the path: they answer as they please.
                Err(Error::NotFound { .. } | Error::Status { status: 400 | 405 | 406, .. }) => break,
                Err(error) => tries.again(error, broke_off).await?,
            }
        }
        Ok(self.tagged(reference, subject).await?.map(|index| index.manifests().clone()).unwrap_or_default())
    }

    async fn listed(&self, reference: &Reference, url: &reqwest::Url) -> Result<ImageIndex> {
        let response = self.get(reference, url, &HeaderMap::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(status(url, response).await);
        }
        let bytes = body(url, response, layout::MAX_DOCUMENT).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Malformed { url: shown(url), reason: error.to_string() })
    }

    /// The index that stands in for the API, if there is one.
    async fn tagged(&self, reference: &Reference, subject: &Digest) -> Result<Option<ImageIndex>> {
        let tagged = Reference::with_tag(
            reference.registry().to_owned(),
            reference.repository().to_owned(),
            fallback_tag(subject),
        );
        let bytes = match self.manifest(&tagged, None).await {
            Ok(bytes) => bytes,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.parse(&tagged, &bytes)? {
            Document::Index(index) => Ok(Some(*index)),
            Document::Manifest(_) => {
                Err(Error::Malformed { url: tagged.to_string(), reason: "it is a manifest, not an index".to_owned() })
            }
        }
    }

    /// Adds `descriptor` to the index that stands in for the API, unless it is in there.
    pub(super) async fn list_referrer(
        &self,
        reference: &Reference,
        access: &Access,
        subject: &Digest,
        descriptor: &Descriptor,
    ) -> Result<()> {
        let mut all = self.tagged(reference, subject).await?.map(|index| index.manifests().clone()).unwrap_or_default();
        if all.iter().any(|listed| listed.digest() == descriptor.digest()) {
            return Ok(());
        }
        all.push(descriptor.clone());
        all.sort_by(|a, b| a.digest().as_ref().cmp(b.digest().as_ref()));
        let index = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(all)
            .build()
            .expect("it is complete");
        let document = (MediaType::ImageIndex.to_string(), canonical_json(&index));
        let document = (document.0.as_str(), document.1.as_slice());
        self.put_document(reference, access, &fallback_tag(subject), document).await.map(drop)
    }
}

/// `sha256-…`.
fn fallback_tag(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}
