//! Images on top of the image before: its layers stay, and one layer has what changed, file by file.
//!
//! For clients that pull everything above the first layer that changed, which then is the one on top. The image is made
//! as ever first, and compared: what is seen in a container is the same. The image grows with each update, so it is made
//! anew after some. Digests are a function of the image before and of what is built, and a label names the former.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use oci_spec::image::{Descriptor, History, HistoryBuilder, ImageIndex, MediaType};

use self::tree::{Difference, Node, Stored, Tree, What, open, stored};
use super::base::{BaseImage, BaseLayer};
use super::{Built, BuiltPlatform};
use crate::oci::digest::HashingWriter;
use crate::oci::entries::Entries;
use crate::oci::error::Result;
use crate::oci::tar::{Entry, Kind, TarWriter};
use crate::oci::{Compression, Digest, Error, Image, Layout, Platform};
use crate::progress::Progress;

/// The label with the digest of the image before: of its index, if it has one.
pub const LABEL: &str = "dev.esker.onto";
/// The label with how many updates lie on an image that was made as a whole.
pub const UPDATES: &str = "dev.esker.onto.updates";
/// The most layers an image may have, as for a whole one.
const MAX_LAYERS: usize = 120;

/// How images are laid on those before.
pub struct Onto<'a> {
    /// The images before.
    pub before: &'a BTreeMap<Platform, BaseImage>,
    /// The systems below the new ones.
    pub bases: &'a BTreeMap<Platform, BaseImage>,
    /// How the layer is compressed.
    pub compression: Compression,
    /// After how many updates an image is made as a whole.
    pub rebase_after: u32,
    /// Where to report.
    pub progress: &'a dyn Progress,
}

/// A layer that was written.
struct Delta {
    descriptor: Descriptor,
    diff_id: Digest,
}

impl Onto<'_> {
    /// Lays every platform of `built` on the image before it, where that can be done; the others stay as they are.
    ///
    /// # Errors
    /// When an image cannot be read, or the layout not be written.
    pub fn apply(&self, mut built: Built) -> Result<Built> {
        let layout = Layout::open(&built.layout)?;
        let index: ImageIndex = serde_json::from_slice(&layout.read_document(&built.digest)?)
            .map_err(|error| Error::malformed(&built.digest.to_string(), &error.to_string()))?;
        let mut manifests = index.manifests().clone();
        for platform in &mut built.platforms {
            let image = layout.image(platform.platform)?;
            let Some(before) = self.before.get(&platform.platform) else { continue };
            match self.lay(&image, before, platform, &layout)? {
                Ok(descriptor) => {
                    let own = manifests.iter_mut().filter(|manifest| manifest.digest() == image.descriptor.digest());
                    own.for_each(|manifest| manifest.clone_from(&descriptor));
                }
                Err(reason) => self.progress.note(&format!("{} is made as a whole: {reason}", platform.platform)),
            }
        }
        let mut laid = index;
        laid.set_manifests(manifests);
        built.digest = made(&layout.set_index(&built.image, &laid)?);
        Ok(built)
    }

    /// The manifest of `image` laid on `before`, or why it cannot be.
    fn lay(
        &self,
        image: &Image,
        before: &BaseImage,
        report: &mut BuiltPlatform,
        layout: &Layout,
    ) -> Result<std::result::Result<Descriptor, &'static str>> {
        let labels = before.config.config().as_ref().and_then(|config| config.labels().clone()).unwrap_or_default();
        let updates = labels.get(UPDATES).and_then(|text| text.parse().ok()).unwrap_or(0_u32);
        if updates >= self.rebase_after {
            return Ok(Err("as many updates as are wanted lie on each other"));
        }
        let base = self.bases.get(&image.platform).map_or(&[][..], |base| base.layers.as_slice());
        let is_same = |(a, b): (&BaseLayer, &BaseLayer)| a.diff_id == b.diff_id;
        if before.layers.len() < base.len() || !before.layers.iter().zip(base).all(is_same) {
            return Ok(Err("the base is another"));
        }
        if before.layers.len() >= MAX_LAYERS {
            return Ok(Err("the image before has as many layers as it may"));
        }
        let mut below = stored(&before.layers)?;
        let old = below.split_off(base.len());
        let new: Vec<Stored> =
            image.layers[base.len()..].iter().map(|layer| (layer.clone(), layout.blob_path(&layer.digest))).collect();
        let common = digests(&old).intersection(&digests(&new)).copied().collect();
        let (Some(old), Some(tree)) = (Tree::read(&old, &common)?, Tree::read(&new, &common)?) else {
            return Ok(Err("the image before has what esker makes no layers of"));
        };
        let Some(difference) = Difference::between(&old, &tree) else {
            return Ok(Err("layers have hard links to each other, or directories without entries"));
        };
        if !difference.removed.is_empty() && shows_again(&difference, &below)? {
            return Ok(Err("what is removed would hide what the base has"));
        }
        for (layer, path) in stored(&before.layers)? {
            layout.import(&path, &layer.digest, layer.size)?;
        }
        let delta = if difference.is_empty() { None } else { Some(self.write(&difference, &tree, &new, layout)?) };
        Ok(Ok(put(image, before, delta, updates, report, layout)?))
    }

    fn write(&self, difference: &Difference, tree: &Tree, layers: &[Stored], layout: &Layout) -> Result<Delta> {
        let failed = |source| Error::Write { path: layout.path().to_owned(), source };
        let encoder = self.compression.encoder(layout.writer()?).map_err(failed)?;
        let mut tar = TarWriter::new(HashingWriter::new(encoder));
        for (path, (node, _)) in
            tree.0.iter().filter(|(path, (node, _))| node.what == What::Directory && difference.written.contains(*path))
        {
            tar.append(&entry(path, node, Kind::Directory), io::empty()).map_err(failed)?;
        }
        for path in &difference.removed {
            let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(folder, name)| (folder, name));
            let separator = if folder.is_empty() { "" } else { "/" };
            let path = format!("{folder}{separator}.wh.{name}");
            let entry = Entry { path, kind: Kind::File(0), mode: 0o644, uid: 0, gid: 0, mtime: 0 };
            tar.append(&entry, io::empty()).map_err(failed)?;
        }
        for (index, stored) in layers.iter().enumerate() {
            let is_here = |path: &&String| tree.0.get(*path).is_some_and(|(_, layer)| *layer == index);
            let wanted: BTreeSet<&str> = difference.written.iter().filter(is_here).map(String::as_str).collect();
            if !wanted.is_empty() {
                copy(&wanted, tree, stored, &mut tar, &failed)?;
            }
        }
        let (encoder, diff_id, _) = tar.end().map_err(failed)?.finish();
        let mut blob = encoder.finish().map_err(failed)?;
        blob.flush().map_err(failed)?;
        let (digest, size) = blob.commit()?;
        Ok(Delta { descriptor: Descriptor::new(self.compression.layer_media_type(), size, digest), diff_id })
    }
}

/// Copies what is `wanted` out of one layer.
fn copy<W: Write>(
    wanted: &BTreeSet<&str>,
    tree: &Tree,
    (layer, path): &Stored,
    tar: &mut TarWriter<W>,
    failed: &dyn Fn(io::Error) -> Error,
) -> Result<()> {
    let _whole = layer.read_from(open(path)?, &|_| {}, |content| {
        let mut entries = Entries::new(content);
        let unreadable = |source| Error::Layer { digest: layer.digest, source };
        while let Some(found) = entries.next_entry().map_err(unreadable)? {
            let Some(path) = found.path.to_str().filter(|path| wanted.contains(path)) else { continue };
            let Some((node, _)) = tree.0.get(path) else { continue };
            let kind = match &node.what {
                What::Directory => continue,
                What::Symlink(target) => Kind::Symlink(target.clone()),
                What::Hardlink(target) => Kind::Hardlink(target.clone()),
                What::File(_) => Kind::File(found.size),
            };
            tar.append(&entry(path, node, kind), &mut entries).map_err(failed)?;
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(())
}

fn entry(path: &str, node: &Node, kind: Kind) -> Entry {
    let (uid, gid) = (node.owner.0.into(), node.owner.1.into());
    Entry { path: path.to_owned(), kind, mode: node.mode, uid, gid, mtime: node.mtime }
}

fn digests(layers: &[Stored]) -> BTreeSet<Digest> {
    layers.iter().map(|(layer, _)| layer.digest).collect()
}

/// Whether the base has something at or below a path that is removed.
fn shows_again(difference: &Difference, base: &[Stored]) -> Result<bool> {
    let Some(base) = tree::paths(base)? else { return Ok(true) };
    Ok(base.iter().any(|path| {
        difference.removed.contains(path) || tree::ancestors(path).any(|above| difference.removed.contains(&above))
    }))
}

/// Writes configuration and manifest.
fn put(
    image: &Image,
    before: &BaseImage,
    delta: Option<Delta>,
    updates: u32,
    report: &mut BuiltPlatform,
    layout: &Layout,
) -> Result<Descriptor> {
    let mut layers: Vec<Descriptor> = before.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let mut diff_ids: Vec<String> = before.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    let mut config = image.config.clone();
    let mut history = before_history(before);
    let labels = before.config.config().as_ref().and_then(|config| config.labels().clone()).unwrap_or_default();
    // Without a difference nothing lies on the image before: it lies on what that lies on.
    let mut onto: Vec<(&str, String)> =
        [LABEL, UPDATES].into_iter().filter_map(|name| Some((name, labels.get(name)?.clone()))).collect();
    if let Some(delta) = delta {
        onto = vec![(LABEL, before.source_digest.to_string()), (UPDATES, (updates + 1).to_string())];
        let line = format!("esker: changes since {}", before.source_digest);
        let created = config.created().clone().unwrap_or_default();
        history.push(HistoryBuilder::default().created(created).created_by(line).build().expect("it is complete"));
        layers.push(delta.descriptor);
        diff_ids.push(delta.diff_id.to_string());
    }
    let mut rootfs = config.rootfs().clone();
    rootfs.set_diff_ids(diff_ids);
    config.set_rootfs(rootfs);
    config.set_history(Some(history));
    let mut inner = config.config().clone().unwrap_or_default();
    let mut labels = inner.labels().clone().unwrap_or_default();
    labels.extend(onto.into_iter().map(|(name, value)| (name.to_owned(), value)));
    inner.set_labels(Some(labels));
    config.set_config(Some(inner));
    let config = layout.put_json(MediaType::ImageConfig, &config)?;
    let mut manifest = image.manifest.clone();
    manifest.set_config(config.clone());
    manifest.set_layers(layers.clone());
    let mut descriptor = layout.put_json(MediaType::ImageManifest, &manifest)?;
    descriptor.set_platform(image.descriptor.platform().clone());
    report.manifest = made(&descriptor);
    report.config = made(&config);
    report.compressed_size = layers.iter().map(Descriptor::size).sum();
    report.layers = layers.len();
    report.reused_layers = before.layers.len();
    Ok(descriptor)
}

fn made(descriptor: &Descriptor) -> Digest {
    Digest::try_from(descriptor.digest()).expect("the layout made it")
}

/// One entry a layer.
fn before_history(before: &BaseImage) -> Vec<History> {
    let history = before.config.history().clone().unwrap_or_default();
    let with_layer = history.iter().filter(|entry| entry.empty_layer() != Some(true)).count();
    if with_layer == before.layers.len() {
        return history;
    }
    let line = HistoryBuilder::default().created_by("the image before").build().expect("it is complete");
    vec![line; before.layers.len()]
}
