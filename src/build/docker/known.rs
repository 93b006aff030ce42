//! What is known of layers and images of the engine that were taken out of it before: each is taken out once.
//!
//! An engine tells the digests of an image's layers without giving them away. A note says which layer was made of
//! which, and the layer itself lies in a layout of the project: in that of this image, or of one that it shares layers
//! with. A note without its layer is worth nothing, and nothing is lost without a note.

use std::path::PathBuf;

use oci_spec::image::Descriptor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::Error;
use crate::oci::{Compression, Digest, Layout, canonical_json, layout};

/// Part of the name of every note: another way to make layers needs another number.
const FORMAT: u32 = 1;

/// A layer as it is in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Media type, size and digest.
    pub descriptor: Descriptor,
    /// Digest of its content.
    pub diff_id: Digest,
    /// Bytes of its content.
    pub unpacked_size: u64,
}

/// The notes, and where layers may be.
#[derive(Clone, Debug)]
pub struct Known {
    /// The folder of notes.
    pub notes: PathBuf,
    /// The layout that is built.
    pub layout: Layout,
    /// Other layouts of the project.
    pub others: Vec<Layout>,
    /// How layers are compressed.
    pub compression: Compression,
    /// Nothing in a layer is younger.
    pub latest: u64,
}

impl Kept {
    /// Digest of the blob.
    pub fn digest(&self) -> Digest {
        Digest::try_from(self.descriptor.digest()).expect("a layout made it")
    }
}

impl Known {
    /// The layer that was made of the engine's layer `diff_id`, if it is still there; then it is in the layout.
    ///
    /// # Errors
    /// When the layout cannot be written.
    pub fn layer(&self, diff_id: Digest) -> Result<Option<Kept>, Error> {
        let Some(kept) = self.read::<Kept>(&self.layer_name(diff_id)) else { return Ok(None) };
        let (digest, size) = (kept.digest(), kept.descriptor.size());
        if self.layout.has(&digest, size) {
            return Ok(Some(kept));
        }
        let Some(other) = self.others.iter().find(|other| other.has(&digest, size)) else { return Ok(None) };
        // One that is damaged is no loss: the engine has it.
        Ok(self.layout.import(&other.blob_path(&digest), &digest, size).is_ok().then_some(kept))
    }

    /// Notes that `kept` was made of the engine's layer `diff_id`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn keep_layer(&self, diff_id: Digest, kept: &Kept) -> Result<(), Error> {
        self.write(&self.layer_name(diff_id), kept)
    }

    /// The configuration of the engine's image `id`.
    pub fn configuration(&self, id: &str) -> Option<serde_json::Value> {
        self.read(&image_name(id))
    }

    /// Notes the configuration of the engine's image `id`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn keep_configuration(&self, id: &str, configuration: &serde_json::Value) -> Result<(), Error> {
        self.write(&image_name(id), configuration)
    }

    fn layer_name(&self, diff_id: Digest) -> String {
        let made = format!("{FORMAT} {diff_id} {} {}", self.compression, self.latest);
        format!("layer-{}.json", Digest::of(made.as_bytes()).hex())
    }

    /// What cannot be read is not known.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs_err::read(self.notes.join(name)).ok()?).ok()
    }

    fn write<T: Serialize>(&self, name: &str, note: &T) -> Result<(), Error> {
        fs_err::create_dir_all(&self.notes).map_err(Error::write(&self.notes))?;
        Ok(layout::write_atomically(&self.notes.join(name), &canonical_json(note))?)
    }
}

fn image_name(id: &str) -> String {
    format!("image-{}.json", Digest::of(format!("{FORMAT} {id}").as_bytes()).hex())
}
