//! What refers to an image in a registry: by the referrers API, else by the tag that stands in for it
//! (distribution-spec 1.1, "Referrers Tag Schema").

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, MediaType};
use reqwest::header::{HeaderMap, LINK};
use reqwest::{StatusCode, Url};

use super::Client;
use super::auth::Access;
use super::error::{Error, Result};
use super::transport::{body, broke_off, shown, status};
use crate::oci::{Digest, Document, canonical_json, layout};

/// More pages than any registry cuts a list into that somebody is to read.
const MAX_PAGES: usize = 100;

/// One page of a list, and where the next one is.
type Page = (ImageIndex, Option<Url>);

impl Client {
    /// Descriptors of the manifests that say of themselves that they refer to `subject`, in the repository of
    /// `reference`; empty where there are none.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Malformed`], and those of the connection.
    pub async fn referrers(&self, reference: &Reference, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut url = self.url(reference, &["referrers", &subject.to_string()])?;
        let mut all = Vec::new();
        for page in 0..MAX_PAGES {
            match self.page(reference, &url).await {
                Ok((index, next)) => {
                    all.extend(index.manifests().iter().cloned());
                    let Some(next) = next else { return Ok(all) };
                    url = next;
                }
                // Before the API was there, registries did not know the path: they answer as they please.
                Err(Error::NotFound { .. } | Error::Status { status: 400 | 405 | 406, .. }) if page == 0 => {
                    let index = self.tagged(reference, subject).await?;
                    return Ok(index.map(|index| index.manifests().clone()).unwrap_or_default());
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Malformed { url: shown(&url), reason: format!("the list has more than {MAX_PAGES} pages") })
    }

    async fn page(&self, reference: &Reference, url: &Url) -> Result<Page> {
        let mut tries = self.transport.tries();
        loop {
            match self.listed(reference, url).await {
                Ok(page) => return Ok(page),
                Err(error) => tries.again(error, broke_off).await?,
            }
        }
    }

    async fn listed(&self, reference: &Reference, url: &Url) -> Result<Page> {
        let response = self.get(reference, url, &HeaderMap::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(status(url, response).await);
        }
        let malformed = |reason: String| Error::Malformed { url: shown(url), reason };
        let next = next_page(response.headers(), url).map_err(malformed)?;
        let bytes = body(url, response, layout::MAX_DOCUMENT).await?;
        Ok((serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?, next))
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

/// Where `headers` say that the page after the one at `url` is (RFC 8288).
///
/// # Errors
/// When that is nowhere, or elsewhere: what is sent with a request is for this registry alone.
fn next_page(headers: &HeaderMap, url: &Url) -> std::result::Result<Option<Url>, String> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let links = values.flat_map(|value| value.split('<').skip(1)).filter_map(|link| link.split_once('>'));
    let is_next = |parameters: &str| {
        parameters.split([';', ',']).any(|parameter| matches!(parameter.trim(), "rel=next" | "rel=\"next\""))
    };
    let Some((target, _)) = links.into_iter().find(|(_, parameters)| is_next(parameters)) else { return Ok(None) };
    let next = url.join(target).map_err(|error| format!("`{target}` is no next page: {error}"))?;
    if next.origin() == url.origin() { Ok(Some(next)) } else { Err(format!("its next page `{target}` is elsewhere")) }
}

/// `sha256-…`.
fn fallback_tag(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_of_the_same_registry() {
        let url: Url = "https://r.example.org/v2/x/referrers/sha256:ab".parse().unwrap();
        let next = |link: &str| next_page(&HeaderMap::from_iter([(LINK, link.parse().unwrap())]), &url);
        let there = |link| next(link).unwrap().map(|url| url.to_string());
        let second = Some("https://r.example.org/v2/x/referrers/sha256:ab?last=a,b".to_owned());
        assert_eq!(there("</v2/x/referrers/sha256:ab?last=a,b>; rel=\"next\""), second);
        assert_eq!(there("</first>; rel=\"first\", <?last=a,b>; x=y; rel=next"), second);
        assert_eq!(there("</first>; rel=\"first\""), None);
        assert_eq!(next_page(&HeaderMap::new(), &url), Ok(None));
        for elsewhere in ["<https://other.example.org/x>; rel=next", "<http://r.example.org/x>; rel=next"] {
            assert!(next(elsewhere).unwrap_err().contains("elsewhere"), "{elsewhere}");
        }
    }
}
