//! Puts layers together from parts that were compressed once: directories, the parts, the end of the archive.
//!
//! gzip members and zstd frames one after another are one stream, so nothing is compressed again. What came out is
//! remembered by what went in; while the layout still holds the blob, a layer costs nothing.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::entries::OWNER;
use super::error::Error;
use super::fragment::Fragment;
use super::plan::Group;
use super::published::{Borrowed, Place};
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

    /// Writes the layer into `layout`, from parts that are in the cache or `borrowed`. Parts that were not `made` by
    /// this run are compared with their digests. What was borrowed is not remembered.
    ///
    /// # Errors
    /// When a part is missing or damaged, or the layout cannot be written.
    pub fn write(
        &self,
        store: &Store,
        borrowed: &Borrowed,
        made: &dyn Fn(&Digest) -> bool,
        layout: &Layout,
    ) -> Result<Made, Error> {
        let parts = self.parts(store, borrowed)?;
        let target = &self.fragments[0].environment;
        let needed: BTreeSet<String> = parts.iter().flat_map(|place| place.part.directories.iter().cloned()).collect();
        let mtime = self.fragments.iter().map(|fragment| fragment.planned.timestamp).max().unwrap_or_default();
        let head = directories(&target.prefix, &needed, mtime);
        let mut blob = layout.writer()?;
        let failed = Error::write(layout.path());
        let mut write = |bytes: &[u8]| blob.write_all(bytes);
        write(&compressed(&head, target.compression)).map_err(failed)?;
        for (place, fragment) in parts.iter().zip(&self.fragments) {
            copy(place, made(&fragment.key), &mut write, layout)?;
        }
        write(&compressed(&END, target.compression)).map_err(Error::write(layout.path()))?;
        let (digest, size) = blob.commit()?;
        let (diff_id, unpacked_size) = self.unpacked(store, &parts, &head)?;
        let made = Made { digest, diff_id, size, unpacked_size };
        if parts.iter().any(|place| place.is_borrowed) {
            return Ok(made);
        }
        store.put(KIND, &self.key, &made)?;
        let group: Group = self.fragments.iter().map(|fragment| fragment.package.sha256.clone()).collect();
        store.put(SIZE, &size_key(&target.prefix, target.compression, &group), &size)?;
        Ok(made)
    }

    fn parts(&self, store: &Store, borrowed: &Borrowed) -> Result<Vec<Place>, Error> {
        let place = |fragment: &Fragment| borrowed.find(store, fragment).ok_or_else(|| damaged(&fragment.place(store)));
        self.fragments.iter().map(place).collect()
    }

    /// The digest of the uncompressed layer, and its bytes: known for a single part that was made here, otherwise once
    /// hashed and then remembered.
    fn unpacked(&self, store: &Store, parts: &[Place], head: &[u8]) -> Result<(Digest, u64), Error> {
        if parts.iter().all(|place| !place.is_borrowed) {
            let around = (head.len() + END.len()) as u64;
            let size = parts.iter().map(|place| place.part.unpacked_size).sum::<u64>() + around;
            match (store.get::<Made>(KIND, &self.key), parts) {
                (Some(made), _) => return Ok((made.diff_id, size)),
                (None, [only]) => return Ok((only.part.diff_id, size)),
                (None, _) => {}
            }
        }
        let mut hasher = HashingWriter::new(io::sink());
        hasher.write_all(head).expect("a sink takes everything");
        for place in parts {
            let decoder = self.fragments[0].environment.compression.decoder(place.open()?);
            io::copy(&mut decoder.map_err(Error::read(&place.path))?, &mut hasher).map_err(Error::read(&place.path))?;
        }
        hasher.write_all(&END).expect("a sink takes everything");
        let (_, diff_id, size) = hasher.finish();
        Ok((diff_id, size))
    }
}

/// Copies a part into a layer, checking that it is what it was when it was made, unless that `is_known`.
fn copy(
    place: &Place,
    is_known: bool,
    write: &mut impl FnMut(&[u8]) -> io::Result<()>,
    layout: &Layout,
) -> Result<(), Error> {
    let mut content = place.open()?;
    let mut hasher = HashingWriter::new(io::sink());
    let mut buffer = vec![0; 1 << 17];
    let mut size = 0;
    loop {
        let n = content.read(&mut buffer).map_err(Error::read(&place.path))?;
        if n == 0 {
            break;
        }
        size += n as u64;
        if !is_known {
            hasher.write_all(&buffer[..n]).expect("a sink takes everything");
        }
        write(&buffer[..n]).map_err(Error::write(layout.path()))?;
    }
    let is_whole = size == place.part.size && (is_known || hasher.finish().1 == place.part.digest);
    if is_whole { Ok(()) } else { Err(damaged(&place.path)) }
}

/// An error for a part that is not what it was. It is removed, so that the next run makes it anew.
fn damaged(path: &Path) -> Error {
    let _ = fs_err::remove_file(path);
    let source = io::Error::new(io::ErrorKind::InvalidData, "the cached file was damaged; run again");
    Error::Read { path: path.to_owned(), source }
}
