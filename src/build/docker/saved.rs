//! Reads the archive that `docker save` writes, of engines old and new, and makes its layers normal on the way.
//!
//! `manifest.json`, which says what each file is, comes last. So what is small is remembered, and what is large is
//! taken for a layer when it comes: it goes to a temporary file, and from there, if nobody has made a layer of it before,
//! through [`normalise`] into the layout.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use oci_spec::image::Descriptor;
use serde::Deserialize;
use serde_json::Value;
use tempfile::SpooledTempFile;

use super::error::Error;
use super::known::{Kept, Known};
use super::normal::normalise;
use crate::oci::digest::HashingWriter;
use crate::oci::entries::{Entries, EntryKind};
use crate::oci::{Compression, Digest};

/// What is smaller is kept in memory: configurations are, and most layers that a person writes.
const SMALL: u64 = 1 << 20;
const BUFFER: usize = 1 << 18;

/// An image that was taken out of an engine.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its configuration as the engine has it.
    pub configuration: Value,
    /// Its layers, in the layout, the lowest first; and how many were there before.
    pub layers: Vec<Kept>,
    /// How many of them were there before.
    pub reused: usize,
}

/// `manifest.json` (moby's image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// A layer of the archive: what it was, what it is now, and whether that was there.
type Taken = (Digest, Kept, bool);

struct Reader<'a> {
    image: &'a str,
    known: &'a Known,
    small: BTreeMap<PathBuf, Vec<u8>>,
    links: BTreeMap<PathBuf, PathBuf>,
    taken: BTreeMap<PathBuf, Taken>,
}

/// Reads the archive of the image that the engine calls `image`.
///
/// # Errors
/// [`Error::Transfer`] when it ends early, [`Error::Saved`] when it holds no image; when the layout cannot be written.
pub fn read(archive: impl Read, image: &str, known: &Known) -> Result<Saved, Error> {
    let mut reader = Reader { image, known, small: BTreeMap::new(), links: BTreeMap::new(), taken: BTreeMap::new() };
    reader.files(archive)?;
    reader.image()
}

impl Reader<'_> {
    fn files(&mut self, archive: impl Read) -> Result<(), Error> {
        let failed = |source| Error::Transfer { image: self.image.to_owned(), source };
        let mut entries = Entries::new(BufReader::with_capacity(BUFFER, archive));
        while let Some(entry) = entries.next_entry().map_err(failed)? {
            match entry.kind {
                EntryKind::File if entry.size > SMALL => {
                    let taken = take(&mut entries, self.image, self.known)?;
                    self.taken.insert(entry.path, taken);
                }
                EntryKind::File => {
                    let mut bytes = Vec::new();
                    entries.read_to_end(&mut bytes).map_err(failed)?;
                    self.small.insert(entry.path, bytes);
                }
                // Some engines write a layer once, and lead to it from other places.
                EntryKind::Symlink(target) => {
                    let target = resolve(&entry.path, &target);
                    self.links.insert(entry.path, target);
                }
                EntryKind::Hardlink(target) => drop(self.links.insert(entry.path, target)),
                EntryKind::Directory | EntryKind::Special(_) => {}
            }
        }
        // Until its end: an engine that fails late says so there.
        io::copy(&mut entries.into_inner(), &mut io::sink()).map_err(failed).map(drop)
    }

    fn image(mut self) -> Result<Saved, Error> {
        let manifests: Vec<Manifest> = self.json("manifest.json")?;
        let [manifest] = <[Manifest; 1]>::try_from(manifests).map_err(|all| {
            let reason = format!("it holds {} images, not one", all.len());
            self.unusable(reason)
        })?;
        let configuration: Value = self.json(&manifest.config)?;
        let diff_ids =
            diff_ids(&configuration).ok_or_else(|| self.unusable("its configuration names no layers".into()))?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(self.unusable("its layers are not those of its configuration".into()));
        }
        let mut saved = Saved { configuration, layers: Vec::new(), reused: 0 };
        for (path, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let (found, kept, was_there) = self.layer(Path::new(path))?;
            if found != diff_id {
                return Err(self.unusable(format!("`{path}` is {found}, its configuration says {diff_id}")));
            }
            saved.reused += usize::from(was_there);
            saved.layers.push(kept);
        }
        Ok(saved)
    }

    fn layer(&mut self, path: &Path) -> Result<Taken, Error> {
        let path = self.links.get(path).map_or(path, PathBuf::as_path).to_owned();
        if let Some(bytes) = self.small.remove(&path) {
            let taken = take(&mut bytes.as_slice(), self.image, self.known)?;
            self.taken.insert(path.clone(), taken);
        }
        let taken = self.taken.get(&path).cloned();
        taken.ok_or_else(|| self.unusable(format!("it lacks `{}`", path.display())))
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, Error> {
        let bytes = self.small.get(Path::new(path)).ok_or_else(|| self.unusable(format!("it lacks `{path}`")))?;
        serde_json::from_slice(bytes).map_err(|error| self.unusable(format!("its `{path}` is damaged: {error}")))
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Saved { image: self.image.to_owned(), reason }
    }
}

/// The digests of layers that `configuration` names; `None` if they are no digests.
pub fn diff_ids(configuration: &Value) -> Option<Vec<Digest>> {
    let named = configuration.get("rootfs")?.get("diff_ids")?.as_array()?;
    named.iter().map(|digest| digest.as_str()?.parse().ok()).collect()
}

/// Takes a layer in: as it is known already, or made normal.
fn take(content: &mut impl Read, image: &str, known: &Known) -> Result<Taken, Error> {
    let failed = |source| Error::Transfer { image: image.to_owned(), source };
    let folder = known.layout.path();
    let mut file = SpooledTempFile::new_in(usize::try_from(SMALL).unwrap_or_default(), folder);
    io::copy(content, &mut file).map_err(failed)?;
    let compression = compression_of(&mut file).map_err(failed)?;
    // What is compressed is known by what it is not compressed.
    let diff_id = {
        let mut plain = opened(&mut file, compression).map_err(failed)?;
        Digest::of_reader(&mut plain).map_err(failed)?.0
    };
    if let Some(kept) = known.layer(diff_id)? {
        return Ok((diff_id, kept, true));
    }
    let plain = opened(&mut file, compression).map_err(failed)?;
    let kept = make(plain, image, known)?;
    known.keep_layer(diff_id, &kept)?;
    Ok((diff_id, kept, false))
}

fn make(plain: impl Read, image: &str, known: &Known) -> Result<Kept, Error> {
    let failed = |source| Error::Transfer { image: image.to_owned(), source };
    let encoder = known.compression.encoder(known.layout.writer()?).map_err(failed)?;
    let mut sink = HashingWriter::new(BufWriter::with_capacity(BUFFER, encoder));
    normalise(plain, &mut sink, known.latest).map_err(failed)?;
    let (buffered, diff_id, unpacked_size) = sink.finish();
    let encoder = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    let (digest, size) = encoder.finish().map_err(failed)?.commit()?;
    let descriptor = Descriptor::new(known.compression.layer_media_type(), size, digest);
    Ok(Kept { descriptor, diff_id, unpacked_size })
}

fn opened<'a>(file: &'a mut SpooledTempFile, compression: Compression) -> io::Result<impl Read + 'a> {
    file.rewind()?;
    compression.decoder(BufReader::with_capacity(BUFFER, file))
}

/// Old engines keep layers as they are, those that keep them in containerd compressed.
fn compression_of(file: &mut SpooledTempFile) -> io::Result<Compression> {
    file.flush()?;
    file.rewind()?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    Ok(match &magic[..read] {
        [0x1f, 0x8b, ..] => Compression::GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::ZSTD,
        _ => Compression::None,
    })
}

/// Where a link at `path` leads in the archive.
fn resolve(path: &Path, target: &Path) -> PathBuf {
    let mut resolved = path.parent().map(Path::to_owned).unwrap_or_default();
    for component in target.components() {
        match component {
            Component::Normal(part) => resolved.push(part),
            Component::ParentDir => drop(resolved.pop()),
            Component::RootDir => resolved = PathBuf::new(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

#[cfg(test)]
mod tests;
