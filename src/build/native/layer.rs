//! Puts layers together from parts that were compressed once: directories, the parts, the end of the archive.
//!
//! gzip members and zstd frames one after another are one stream, so nothing is compressed again. What came out is
//! remembered by what went in; while the layout still holds the blob, a layer costs nothing.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use fs_err::File;
use serde::{Deserialize, Serialize};

use super::entries::OWNER;
use super::error::Error;
use super::fragment::{self, Fragment, Part};
use super::plan::Group;
use super::store::{self, Store};
use crate::oci::digest::HashingWriter;
use crate::oci::tar::{END, Entry, Kind, TarWriter};
use crate::oci::{Compression, Digest, Layout};

/// The kind of a layer's record in the [`Store`].
const KIND: &str = "layers";

/// The kind of a layer's size in the [`Store`], by what can be known without looking into packages.
const SIZE: &str = "plans";

/// Bytes of the compressed layer with these packages as it was last built on this machine.
pub fn built_size(store: &Store, prefix: &str, compression: Compression, group: &Group) -> Option<u64> {
    store.get(SIZE, &size_key(prefix, compression, group))
}

fn size_key(prefix: &str, compression: Compression, group: &Group) -> Digest {
    store::key("layer-sizes", &(prefix, compression, group))
}

/// A layer to be made.
#[derive(Clone, Debug)]
pub struct PackageLayer {
    /// The packages in it, by name.
    pub fragments: Vec<Fragment>,
    /// The digest of everything that decides its bytes.
    pub key: Digest,
}

/// A layer that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of the uncompressed blob.
    pub diff_id: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Bytes of the uncompressed blob.
    pub unpacked_size: u64,
}

/// The tar entries of the prefix `prefix`, the directories above it, and `below`, which are relative to it.
pub fn directories(prefix: &str, below: &BTreeSet<String>, mtime: u64) -> Vec<u8> {
    let root = prefix.trim_start_matches('/');
    let above = root.match_indices('/').map(|(end, _)| root[..end].to_owned());
    let mut tar = TarWriter::new(Vec::new());
    for path in above.chain([root.to_owned()]).chain(below.iter().map(|path| format!("{root}/{path}"))) {
        let entry = Entry { path, kind: Kind::Directory, mode: 0o755, uid: OWNER, gid: OWNER, mtime };
        tar.append(&entry, io::empty()).expect("memory takes it");
    }
    tar.into_part()
}

/// `bytes` as a frame or member of its own.
///
/// # Panics
/// Never: compressing to memory does not fail.
pub fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    let mut encoder = compression.encoder(Vec::new()).expect("the levels are valid");
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

impl PackageLayer {
    /// A layer of `fragments`, which are of one environment and not empty.
    pub fn new(fragments: Vec<Fragment>) -> Self {
        let keys: Vec<_> = fragments.iter().map(|fragment| &fragment.key).collect();
        let key = store::key(KIND, &keys);
        Self { fragments, key }
    }

    /// What the layer is, if it was made before and `layout` still holds it.
    pub fn present(&self, store: &Store, layout: &Layout) -> Option<Made> {
        let made: Made = store.get(KIND, &self.key)?;
        layout.has(&made.digest, made.size).then_some(made)
    }

    /// Writes the layer into `layout`, from parts that are in the cache.
    ///
    /// # Errors
    /// When a part is missing or damaged, or the layout cannot be written.
    pub fn write(&self, store: &Store, layout: &Layout) -> Result<Made, Error> {
        let parts = self.parts(store)?;
        let target = &self.fragments[0].environment;
        let needed: BTreeSet<String> = parts.iter().flat_map(|part| part.directories.iter().cloned()).collect();
        let mtime = self.fragments.iter().map(|fragment| fragment.planned.timestamp).max().unwrap_or_default();
        let head = directories(&target.prefix, &needed, mtime);
        let mut blob = layout.writer()?;
        let failed = Error::write(layout.path());
        let mut write = |bytes: &[u8]| blob.write_all(bytes);
        write(&compressed(&head, target.compression)).map_err(failed)?;
        for (fragment, part) in self.fragments.iter().zip(&parts) {
            copy(fragment, part, store, &mut write, layout)?;
        }
        write(&compressed(&END, target.compression)).map_err(Error::write(layout.path()))?;
        let (digest, size) = blob.commit()?;
        let unpacked = parts.iter().map(|part| part.unpacked_size).sum::<u64>() + (head.len() + END.len()) as u64;
        let diff_id = self.diff_id(store, &parts, &head)?;
        let made = Made { digest, diff_id, size, unpacked_size: unpacked };
        store.put(KIND, &self.key, &made)?;
        let group: Group = self.fragments.iter().map(|fragment| fragment.package.sha256.clone()).collect();
        store.put(SIZE, &size_key(&target.prefix, target.compression, &group), &size)?;
        Ok(made)
    }

    fn parts(&self, store: &Store) -> Result<Vec<Part>, Error> {
        let part = |fragment: &Fragment| fragment.cached(store).ok_or_else(|| damaged(fragment, store));
        self.fragments.iter().map(part).collect()
    }

    /// The digest of the uncompressed layer: known for a single part, otherwise once hashed and then remembered.
    fn diff_id(&self, store: &Store, parts: &[Part], head: &[u8]) -> Result<Digest, Error> {
        if let Some(made) = store.get::<Made>(KIND, &self.key) {
            return Ok(made.diff_id);
        }
        if let [only] = parts {
            return Ok(only.diff_id);
        }
        let mut hasher = HashingWriter::new(io::sink());
        hasher.write_all(head).expect("a sink takes everything");
        for fragment in &self.fragments {
            let path = store.path(fragment::KIND, &fragment.key);
            let file = File::open(&path).map_err(Error::read(&path))?;
            let mut decoder = fragment.environment.compression.decoder(file).map_err(Error::read(&path))?;
            io::copy(&mut decoder, &mut hasher).map_err(Error::read(&path))?;
        }
        hasher.write_all(&END).expect("a sink takes everything");
        Ok(hasher.finish().1)
    }
}

/// Copies a part into a layer, checking that it is what was put into the cache.
fn copy(
    fragment: &Fragment,
    part: &Part,
    store: &Store,
    write: &mut impl FnMut(&[u8]) -> io::Result<()>,
    layout: &Layout,
) -> Result<(), Error> {
    let path = store.path(fragment::KIND, &fragment.key);
    let mut file = File::open(&path).map_err(Error::read(&path))?;
    let mut hasher = HashingWriter::new(io::sink());
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = file.read(&mut buffer).map_err(Error::read(&path))?;
        if n == 0 {
            break;
        }
        hasher.write_all(&buffer[..n]).expect("a sink takes everything");
        write(&buffer[..n]).map_err(Error::write(layout.path()))?;
    }
    if hasher.finish().1 == part.digest { Ok(()) } else { Err(damaged(fragment, store)) }
}

/// An error for a part that is not what it was. It is removed, so that the next run makes it anew.
fn damaged(fragment: &Fragment, store: &Store) -> Error {
    let path = store.path(fragment::KIND, &fragment.key);
    let _ = fs_err::remove_file(&path);
    Error::Read { path, source: io::Error::new(io::ErrorKind::InvalidData, "the cached file was damaged; run again") }
}
