//! Writes one image as an archive that `docker load` takes.
//!
//! The archive is two formats in one, over the same blobs: an OCI layout, which Docker reads since version 25, and
//! the `manifest.json` that all before it need (and that Podman reads). Layers are decompressed: older engines do not
//! know zstd, and a daemon on the same machine only loses time over compression. The configuration, and with it the
//! image's id, stays what it is.
//!
//! A tar header tells the size of what follows, so layers are decompressed twice, once to measure (and check) them.
//! That costs seconds, where keeping them would cost gigabytes of memory or disk. No time and no name of where it was
//! made gets into the archive: one image and tag, one sequence of bytes.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::ops::ControlFlow;

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndexBuilder, MediaType, OciLayoutBuilder};
use rayon::prelude::*;

use super::error::{Error, Result};
use super::tar::{Entry, Kind, TarWriter};
use super::{Digest, Image, Layer, Layout, canonical_json};
use crate::progress::{Progress, Task, Unit};

/// What containerd, and Docker on top of it, name an image after that comes in an archive.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Writes `image`, whose blobs are in `layout`, to `sink`. Once loaded it is named `repo_tag` (`pangeo-notebook:latest`).
///
/// Of the layers, the `present` lowest are left out, for an engine that has them. What is left is no OCI layout, so the
/// archive is none then.
///
/// # Errors
/// [`Error::Sink`] when `sink` does not take it; when a layer is missing or damaged, in most cases before anything
/// is written.
pub fn write_docker_archive(
    layout: &Layout,
    image: &Image,
    repo_tag: &str,
    present: usize,
    sink: impl Write,
    progress: &dyn Progress,
) -> Result<()> {
    let layers = image.layers.get(present..).unwrap_or_default();
    let sizes: Vec<u64> = layers.par_iter().map(|layer| layer.measure(layout)).collect::<Result<_>>()?;
    let config = layout.read(image.manifest.config())?;
    let task = Task::start(progress, "writing the archive", Some(sizes.iter().sum()), Unit::Bytes);
    let mut archive = Archive { tar: TarWriter::new(sink), task, written: BTreeSet::new() };

    let manifest = (present == 0).then(|| canonical_json(&uncompressed(image, &sizes)));
    if let Some(manifest) = &manifest {
        let marker = OciLayoutBuilder::default().image_layout_version("1.0.0").build().expect("it is complete");
        archive.file("oci-layout", &canonical_json(&marker))?;
        archive.file("index.json", &canonical_json(&index(image, manifest, repo_tag)))?;
    }
    archive.file("manifest.json", &canonical_json(&legacy(image, repo_tag)))?;
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    if let Some(manifest) = &manifest {
        archive.file(&blob(&Digest::of(manifest)), manifest)?;
    }
    archive.file(&blob(&image.config_digest), &config)?;
    for (layer, size) in layers.iter().zip(sizes) {
        archive.layer(layout, layer, size)?;
    }
    let mut sink = archive.tar.end().map_err(sink_failed)?;
    sink.flush().map_err(sink_failed)
}

struct Archive<'a, W> {
    tar: TarWriter<W>,
    task: Task<'a>,
    /// Layers that are there: an image may have the same one twice.
    written: BTreeSet<Digest>,
}

impl<W: Write> Archive<'_, W> {
    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.tar.append(&entry(path, Kind::File(bytes.len() as u64)), bytes).map_err(sink_failed)
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        self.tar.append(&entry(path, Kind::Directory), io::empty()).map_err(sink_failed)
    }

    fn layer(&mut self, layout: &Layout, layer: &Layer, size: u64) -> Result<()> {
        if !self.written.insert(layer.diff_id) {
            return Ok(());
        }
        let entry = entry(&blob(&layer.diff_id), Kind::File(size));
        let _whole = layer.read(layout, &|_| {}, |content| {
            // The layer was readable a moment ago, so it is the sink that fails here.
            self.tar.append(&entry, content).map_err(sink_failed).map(ControlFlow::Continue)
        })?;
        self.task.advance(size);
        Ok(())
    }
}

/// The manifest of the same image with decompressed layers.
fn uncompressed(image: &Image, sizes: &[u64]) -> oci_spec::image::ImageManifest {
    let mut manifest = image.manifest.clone();
    let layers = image.layers.iter().zip(sizes);
    manifest.set_media_type(Some(MediaType::ImageManifest));
    manifest
        .set_layers(layers.map(|(layer, size)| Descriptor::new(MediaType::ImageLayer, *size, layer.diff_id)).collect());
    manifest
}

fn index(image: &Image, manifest: &[u8], repo_tag: &str) -> oci_spec::image::ImageIndex {
    let mut descriptor = Descriptor::new(MediaType::ImageManifest, manifest.len() as u64, Digest::of(manifest));
    descriptor.set_platform(image.descriptor.platform().clone());
    let (_, tag) = repo_tag.rsplit_once(':').unwrap_or((repo_tag, "latest"));
    let names = [(CONTAINERD_NAME, repo_tag), (ANNOTATION_REF_NAME, tag)];
    let names: HashMap<_, _> = names.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    descriptor.set_annotations(Some(names));
    ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![descriptor])
        .build()
        .expect("it is complete")
}

/// `manifest.json` (moby's image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format").
fn legacy(image: &Image, repo_tag: &str) -> serde_json::Value {
    let layers: Vec<_> = image.layers.iter().map(|layer| blob(&layer.diff_id)).collect();
    serde_json::json!([{ "Config": blob(&image.config_digest), "RepoTags": [repo_tag], "Layers": layers }])
}

fn entry(path: &str, kind: Kind) -> Entry {
    let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0, mtime: 0 }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

const fn sink_failed(source: io::Error) -> Error {
    Error::Sink { source }
}
