//! Finds the records beside images in registries, and checks what can be checked of them.

use std::collections::HashMap;

use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};

use super::record::{MEDIA_TYPE, Record, Unusable};
use super::{CacheFrom, Found, Published};
use crate::oci::{self, Digest, Document, Image, Platform, artifact, image, layout};
use crate::progress::Progress;
use crate::registry::{self, Client};

/// The most bytes of a record as it is stored. That of the 170 packages of `tests/real` has 280 thousand.
const MAX_RECORD: u64 = 64 << 20;
/// The most records of one image that are read.
const MAX_RECORDS: usize = 8;

/// Why an image is not taken from.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Registry(#[from] registry::Error),
    #[error(transparent)]
    Image(#[from] oci::Error),
    #[error("what is recorded of it cannot be used: {0}")]
    Record(String),
    #[error("nothing is recorded of how it was built")]
    NoRecord,
}

impl Published<'_> {
    /// Looks the images up, unless that was done. One that cannot be used is passed over, with a warning if somebody named
    /// it.
    pub async fn look_up(&self, progress: &dyn Progress) {
        self.images.get_or_init(|| find_all(self.from, self.client, progress)).await;
    }
}

async fn find_all(from: &CacheFrom, client: &Client, progress: &dyn Progress) -> Vec<Found> {
    let mut images: Vec<Found> = Vec::new();
    for reference in &from.named {
        match find(reference, client).await {
            Ok(found) => images.push(found),
            Err(problem) => progress.warning(&unused(reference, &problem)),
        }
    }
    for reference in &from.replaced {
        if from.named.contains(reference) {
            continue;
        }
        match find(reference, client).await {
            Ok(found) => {
                images.push(found);
                break;
            }
            // The first push, and what another program pushed. Who may not pull will hear of it when pushing.
            Err(
                problem @ (Problem::NoRecord
                | Problem::Registry(registry::Error::NotFound { .. } | registry::Error::Denied { .. })),
            ) => tracing::info!("{}", unused(reference, &problem)),
            Err(problem) => progress.warning(&unused(reference, &problem)),
        }
    }
    images
}

fn unused(reference: &Reference, problem: &Problem) -> String {
    use std::error::Error as _;
    let mut text = format!("nothing is taken from `{reference}`: {problem}");
    let mut cause = problem.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

async fn find(reference: &Reference, client: &Client) -> Result<Found, Problem> {
    let bytes = client.manifest(reference, None).await?;
    let subject = Digest::of(&bytes);
    let mut merged: Option<Record> = None;
    let mut last = Problem::NoRecord;
    for descriptor in artifacts(reference, client, &subject).await? {
        match record(reference, client, &descriptor).await? {
            Ok(record) => match &mut merged {
                None => merged = Some(record),
                Some(merged) => {
                    // What the first says holds.
                    for (key, layer) in record.layers {
                        merged.layers.entry(key).or_insert(layer);
                    }
                    for (sha256, described) in record.packages {
                        merged.packages.entry(sha256).or_insert(described);
                    }
                    for (key, system) in record.systems {
                        merged.systems.entry(key).or_insert(system);
                    }
                }
            },
            Err(unusable @ Unusable::Format(_)) => {
                tracing::info!("a record of `{reference}` is left alone: {unusable}");
            }
            Err(unusable) => last = Problem::Record(unusable.to_string()),
        }
    }
    let mut record = merged.ok_or(last)?;
    let blobs = blobs(reference, client, &bytes).await?;
    // A record cannot put anything into an image that is not in the one it belongs to.
    record.layers.retain(|_, layer| {
        blobs.get(&layer.digest).is_some_and(|(blob, diff_id)| (blob.size(), *diff_id) == (layer.size, layer.diff_id))
    });
    let mut parts = HashMap::new();
    for (key, layer) in &record.layers {
        parts.extend(layer.parts.iter().enumerate().map(|(index, part)| (part.key, (*key, index))));
    }
    let blobs = blobs.into_iter().map(|(digest, (descriptor, _))| (digest, descriptor)).collect();
    Ok(Found { reference: reference.clone(), record, blobs, parts })
}

/// The layers of all platforms, each with the digest of its uncompressed blob.
async fn blobs(
    reference: &Reference,
    client: &Client,
    top: &[u8],
) -> Result<HashMap<Digest, (Descriptor, Digest)>, Problem> {
    let name = reference.to_string();
    let mut manifests = Vec::new();
    match Document::parse(top, &name)? {
        Document::Manifest(manifest) => {
            let descriptor = Descriptor::new(MediaType::ImageManifest, top.len() as u64, Digest::of(top));
            manifests.push((descriptor, *manifest));
        }
        Document::Index(index) => {
            for descriptor in Platform::ALL.into_iter().filter_map(|platform| image::choose(&index, platform)) {
                let bytes = client.manifest(reference, Some(layout::sha256(descriptor)?)).await?;
                if let Document::Manifest(manifest) = Document::parse(&bytes, &name)? {
                    manifests.push((descriptor.clone(), *manifest));
                }
            }
        }
    }
    let mut blobs = HashMap::new();
    for (descriptor, manifest) in manifests {
        let config = client.small_blob(reference, manifest.config()).await?;
        let what = manifest.config().digest().to_string();
        let config = serde_json::from_slice(&config).map_err(|source| oci::Error::Json { what, source })?;
        let image = Image::new(descriptor, manifest, config)?;
        blobs.extend(image.layers.into_iter().map(|layer| (layer.digest, (layer.descriptor, layer.diff_id))));
    }
    Ok(blobs)
}

/// The documents of records about `subject`.
async fn artifacts(reference: &Reference, client: &Client, subject: &Digest) -> Result<Vec<Descriptor>, Problem> {
    let kind = Some(MediaType::Other(MEDIA_TYPE.to_owned()));
    let listed = client.referrers(reference, subject).await?;
    let mut found = Vec::new();
    // A registry, and whoever may set tags, can list what they like, and leave the type out.
    for descriptor in listed.iter().filter(|listed| listed.artifact_type().is_none() || *listed.artifact_type() == kind)
    {
        let bytes = client.manifest(reference, Some(layout::sha256(descriptor)?)).await?;
        let manifest: ImageManifest = serde_json::from_slice(&bytes)
            .map_err(|source| oci::Error::Json { what: descriptor.digest().to_string(), source })?;
        let about = manifest.subject().as_ref().map(layout::sha256).transpose()?;
        if about == Some(*subject) && artifact::artifact_type(&manifest) == kind && found.len() < MAX_RECORDS {
            found.push(artifact::content_of(&manifest, descriptor)?.clone());
        }
    }
    Ok(found)
}

async fn record(
    reference: &Reference,
    client: &Client,
    descriptor: &Descriptor,
) -> Result<Result<Record, Unusable>, Problem> {
    if descriptor.size() > MAX_RECORD {
        return Ok(Err(Unusable::Invalid(format!("it has {} bytes", descriptor.size()))));
    }
    let bytes = client.bounded_blob(reference, descriptor, MAX_RECORD).await?;
    let parsed = tokio::task::spawn_blocking(move || Record::parse(&bytes)).await;
    Ok(parsed.unwrap_or_else(|error| Err(Unusable::Invalid(error.to_string()))))
}
