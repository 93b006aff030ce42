//! What one layer says: the records in it, what it hides of those below, and if need be every file.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;

use tokio::task::JoinError;

use super::record::{Record, is_record};
use super::{dpkg, python};
use crate::oci::entries::{EntryKind, LayerEntry};
use crate::oci::error::Result;
use crate::oci::walk::{Cover, walk_layer};
use crate::oci::{Error, Layer};
use crate::supply::debian;

/// The most bytes of one record: those of the largest packages list a hundred thousand files.
const MAX_RECORD: u64 = 64 << 20;
/// The most bytes of all other records of one layer.
const MAX_OTHERS: u64 = 512 << 20;

/// What is looked at in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// conda's records.
    Records,
    /// Every file's size, and what tells of other packages than conda's.
    Files,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Records by path.
    pub records: BTreeMap<String, Record>,
    /// What the layer decides about paths below it.
    pub cover: Cover,
    /// Its files, by path, with their bytes; none at [`Depth::Records`].
    pub files: BTreeMap<String, u64>,
    /// The content of those that tell of packages of dpkg and pip; none at [`Depth::Records`].
    pub others: BTreeMap<String, Vec<u8>>,
}

impl Scanned {
    /// Reads a layer's decompressed `content`.
    pub fn read(layer: &Layer, depth: Depth, content: &mut dyn Read) -> Result<Self> {
        let mut scanned = Self::default();
        let (mut cover, mut links, mut others) = (Cover::default(), BTreeMap::new(), 0);
        let _all = walk_layer(layer, content, &Cover::default(), &mut cover, &mut |entry, content| {
            let Some(path) = entry.path.to_str() else { return Ok(ControlFlow::Continue(())) };
            match &entry.kind {
                EntryKind::File => scanned.file(path, entry, depth, &mut others, content)?,
                EntryKind::Hardlink(target) if is_record(path) => drop(links.insert(path.to_owned(), target.clone())),
                // Another name takes no more room.
                EntryKind::Hardlink(_) if depth == Depth::Files => drop(scanned.files.insert(path.to_owned(), 0)),
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (path, target) in links {
            let linked = target.to_str().and_then(|target| scanned.records.get(target).cloned());
            scanned.records.extend(linked.map(|record| (path, record)));
        }
        Ok(Self { cover, ..scanned })
    }

    fn file(
        &mut self,
        path: &str,
        entry: &LayerEntry,
        depth: Depth,
        others: &mut u64,
        content: &mut dyn Read,
    ) -> Result<()> {
        if depth == Depth::Files {
            self.files.insert(path.to_owned(), entry.size);
        }
        if is_record(path) {
            let bytes = small(path, entry, content)?;
            let record = serde_json::from_slice(&bytes).map_err(|source| Error::Json { what: path.to_owned(), source });
            self.records.insert(path.to_owned(), record?);
        } else if depth == Depth::Files && is_wanted(path) {
            *others = others.saturating_add(entry.size);
            if *others > MAX_OTHERS {
                return Err(Error::TooLarge { what: path.to_owned(), size: entry.size, limit: MAX_OTHERS });
            }
            self.others.insert(path.to_owned(), small(path, entry, content)?);
        }
        Ok(())
    }
}

/// Whether a file tells of packages, or which files they have, without being conda's.
fn is_wanted(path: &str) -> bool {
    debian::is_wanted(path) || dpkg::is_list(path) || python::is_metadata(path)
}

fn small(path: &str, entry: &LayerEntry, content: &mut dyn Read) -> Result<Vec<u8>> {
    if entry.size > MAX_RECORD {
        return Err(Error::TooLarge { what: path.to_owned(), size: entry.size, limit: MAX_RECORD });
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(Error::read(&entry.path))?;
    Ok(bytes)
}

/// Decompresses, reads and checks `blob`, which an error calls `name`, on a thread of its own.
pub async fn scan(layer: Layer, depth: Depth, blob: impl Read + Send + 'static, name: PathBuf) -> Result<Scanned> {
    let digest = layer.digest;
    let read = move || {
        let mut scanned = Scanned::default();
        let _all = layer.read_stream(blob, &name, &|_| {}, |content| {
            scanned = Scanned::read(&layer, depth, content)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(scanned)
    };
    match tokio::task::spawn_blocking(read).await.map_err(JoinError::try_into_panic) {
        Ok(scanned) => scanned,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(cancelled)) => Err(Error::Layer { digest, source: cancelled.into() }),
    }
}
