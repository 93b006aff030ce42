//! Pushes an image: what the registry lacks of it, in an order that never leaves anything that refers to nothing.
//!
//! Blobs first, several at once; then manifests, their index, what refers to them, and tags last. So a push that is
//! stopped at any point has changed nothing that anybody pulls, and the next one sends what is still missing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};

use futures::{StreamExt, TryStreamExt};
use oci_spec::distribution::Reference;
use oci_spec::image::Descriptor;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};

use super::auth::{Access, Call};
use super::error::{Error, Result};
use super::transport::{Manner, status};
use super::upload::{Sent, Upload};
use super::{ACCEPTED, Client, check_announced};
use crate::oci::closure::Part;
use crate::oci::{self, Closure, Digest, Layout};
use crate::progress::{Progress, Task, Unit};

/// How many blobs are sent at once.
const UPLOADS: usize = 4;
/// How many times at once it is asked whether something is there.
const QUESTIONS: usize = 16;

/// An image to be pushed.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// Where its blobs are.
    pub layout: &'a Layout,
    /// What is pushed.
    pub image: &'a Closure,
    /// The repository; its tag and digest do not matter.
    pub reference: &'a Reference,
    /// The tags it gets there.
    pub tags: &'a [String],
    /// Repositories that may have some of its blobs: of the same registry they are mounted, of others they are fetched
    /// where the layout lacks them.
    pub sources: &'a [Reference],
}

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// Digest of what was pushed.
    pub digest: Digest,
    /// Blobs that were sent.
    pub uploaded: usize,
    /// Their bytes.
    pub uploaded_bytes: u64,
    /// Blobs that were taken from other repositories of the registry.
    pub mounted: usize,
    /// Blobs that had been there.
    pub present: usize,
    /// Manifests that refer to the image, such as SBOMs.
    pub referrers: usize,
}

impl Client {
    /// Pushes `push`.
    ///
    /// # Errors
    /// [`Error::Denied`]; [`Error::Source`] when a blob is neither there nor here; those of the connection.
    pub async fn push(&self, push: &Push<'_>, progress: &dyn Progress) -> Result<Pushed> {
        let Some(top) = push.image.documents.last() else {
            let what = push.layout.path().display().to_string();
            return Err(Error::Source { source: oci::Error::Malformed { what, reason: "it holds no image".into() } });
        };
        let pusher = Pusher::new(self, push, progress);
        // Whoever has the index has all it lists: a registry takes it in no other order.
        let whole = pusher.has_manifest(&top.digest).await?;
        let all = match whole {
            true => pusher.blobs(&push.image.referrer_blobs, push.image.blobs.len()).await?,
            false => {
                let mut blobs = push.image.blobs.clone();
                blobs.extend(push.image.referrer_blobs.clone());
                pusher.blobs(&blobs, 0).await?
            }
        };
        for part in push.image.documents.iter().filter(|_| !whole) {
            pusher.put_manifest(part, &part.digest.to_string()).await?;
        }
        for part in &push.image.referrers {
            let known = pusher.put_manifest(part, &part.digest.to_string()).await?;
            if let Some(subject) = part.subject.filter(|_| !known) {
                self.list_referrer(push.reference, &pusher.access, &subject, &part.descriptor).await?;
            }
        }
        for tag in push.tags {
            pusher.put_manifest(top, tag).await?;
        }
        Ok(Pushed { digest: top.digest, referrers: push.image.referrers.len(), ..all })
    }

    /// Whether the repository has a blob.
    pub(super) async fn has_blob(&self, reference: &Reference, access: &Access, digest: &Digest) -> Result<bool> {
        self.has(reference, access, &["blobs", &digest.to_string()]).await
    }

    async fn has(&self, reference: &Reference, access: &Access, path: &[&str]) -> Result<bool> {
        let url = self.url(reference, path)?;
        let call = Call { reference, access, url: &url, manner: Manner::Refuse, repeatable: true };
        match self.send(call, &|client| Ok(client.head(url.clone()).header(ACCEPT, ACCEPTED))).await {
            // A redirect leads to where it is.
            Ok(response) if response.status().is_success() || response.status().is_redirection() => Ok(true),
            Ok(response) => Err(status(&url, response).await),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores a document as `name`, a digest or a tag. Returns whether the registry took notice of its `subject`.
    pub(super) async fn put_document(
        &self,
        reference: &Reference,
        access: &Access,
        name: &str,
        document: (&str, &[u8]),
    ) -> Result<bool> {
        let (media_type, bytes) = document;
        let url = self.url(reference, &["manifests", name])?;
        let call = Call { reference, access, url: &url, manner: Manner::Refuse, repeatable: true };
        let request = |client: &reqwest::Client| {
            Ok(client.put(url.clone()).header(CONTENT_TYPE, media_type).body(bytes.to_vec()))
        };
        let response = self.send(call, &request).await?;
        if !matches!(response.status(), StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED) {
            return Err(status(&url, response).await);
        }
        check_announced(&url, &response, &Digest::of(bytes))?;
        Ok(response.headers().contains_key("oci-subject"))
    }
}

/// One push on its way.
struct Pusher<'a> {
    client: &'a Client,
    push: &'a Push<'a>,
    access: Access,
    in_chunks: AtomicBool,
    progress: &'a dyn Progress,
}

impl<'a> Pusher<'a> {
    fn new(client: &'a Client, push: &'a Push<'a>, progress: &'a dyn Progress) -> Self {
        let mut mount_from: Vec<_> = push
            .sources
            .iter()
            .filter(|source| source.registry() == push.reference.registry())
            .map(|source| source.repository().to_owned())
            .filter(|repository| repository != push.reference.repository())
            .collect();
        mount_from.sort();
        mount_from.dedup();
        let access = Access { push: true, mount_from };
        Self { client, push, access, in_chunks: AtomicBool::new(false), progress }
    }

    async fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        self.client.has(self.push.reference, &self.access, &["manifests", &digest.to_string()]).await
    }

    async fn put_manifest(&self, part: &Part, name: &str) -> Result<bool> {
        let document = (part.descriptor.media_type().as_ref(), part.bytes.as_slice());
        self.client.put_document(self.push.reference, &self.access, name, document).await
    }

    /// Sends those of `blobs` that are missing; `present` more are known to be there.
    async fn blobs(&self, blobs: &BTreeMap<Digest, Descriptor>, present: usize) -> Result<Pushed> {
        let asked = blobs.iter().map(|(digest, descriptor)| async move {
            let there = self.client.has_blob(self.push.reference, &self.access, digest).await?;
            Ok::<_, Error>((!there).then_some((*digest, descriptor)))
        });
        // Collected: a stream over the closure itself could not move to another thread (rust-lang/rust#102211).
        let asked: Vec<_> = asked.collect();
        let missing: Vec<_> = futures::stream::iter(asked)
            .buffer_unordered(QUESTIONS)
            .try_filter_map(|missing| async move { Ok(missing) })
            .try_collect()
            .await?;
        let total = missing.iter().map(|(_, descriptor)| descriptor.size()).sum();
        let label = format!("pushing {}", self.push.reference.repository());
        let task = Task::start(self.progress, &label, Some(total), Unit::Bytes);
        let count = |bytes| task.advance(bytes);
        let uploads: Vec<_> =
            missing.iter().map(|(digest, descriptor)| self.upload(*digest, descriptor, &count)).collect();
        let sent: Vec<Sent> = futures::stream::iter(uploads).buffered(UPLOADS).try_collect().await?;
        let uploaded: Vec<_> = missing.iter().zip(&sent).filter(|(_, sent)| **sent == Sent::Uploaded).collect();
        Ok(Pushed {
            digest: Digest::of(b""),
            uploaded: uploaded.len(),
            uploaded_bytes: uploaded.iter().map(|((_, descriptor), _)| descriptor.size()).sum(),
            mounted: sent.len() - uploaded.len(),
            present: present + blobs.len() - missing.len(),
            referrers: 0,
        })
    }

    async fn upload(
        &self,
        digest: Digest,
        descriptor: &Descriptor,
        count: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Sent> {
        let size = descriptor.size();
        let mount = self.mountable(&digest).await;
        if mount.is_none() && !self.push.layout.has(&digest, size) {
            self.fetch(descriptor).await?;
        }
        let upload = Upload {
            client: self.client,
            reference: self.push.reference,
            access: &self.access,
            layout: self.push.layout,
            digest,
            size,
            mount,
            in_chunks: &self.in_chunks,
            count,
            counted: AtomicU64::new(0),
        };
        upload.run().await
    }

    /// A repository of the registry that has the blob. One that cannot be asked has none: the blob is sent instead.
    async fn mountable(&self, digest: &Digest) -> Option<&str> {
        for repository in &self.access.mount_from {
            let source =
                Reference::with_tag(self.push.reference.registry().to_owned(), repository.clone(), "latest".to_owned());
            if let Ok(true) = self.client.has_blob(&source, &Access::default(), digest).await {
                return Some(repository);
            }
        }
        None
    }

    /// Brings a blob that the layout lacks into it, from the first source that has it.
    async fn fetch(&self, descriptor: &Descriptor) -> Result<()> {
        let digest = Digest::try_from(descriptor.digest())
            .map_err(|error| Error::Source { source: oci::Error::malformed(descriptor.digest(), &error) })?;
        let mut failed =
            Error::Source { source: oci::Error::MissingBlob { layout: self.push.layout.path().to_owned(), digest } };
        for source in self.push.sources {
            match self.client.blob(source, descriptor, self.push.layout, &|_| {}).await {
                Ok(_) => return Ok(()),
                Err(Error::NotFound { .. }) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}
