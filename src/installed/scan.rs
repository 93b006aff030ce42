//! What one layer says: the records in it, and what it hides of those below.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;

use tokio::task::JoinError;

use super::record::{Record, is_record};
use crate::oci::entries::{EntryKind, LayerEntry};
use crate::oci::error::Result;
use crate::oci::walk::{Cover, walk_layer};
use crate::oci::{Error, Layer};

/// The most bytes of one record: those of the largest packages list a hundred thousand files.
const MAX_RECORD: u64 = 64 << 20;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Records by path.
    pub records: BTreeMap<String, Record>,
    /// What the layer decides about paths below it.
    pub cover: Cover,
}

impl Scanned {
    /// Reads a layer's decompressed `content`.
    pub fn read(layer: &Layer, content: &mut dyn Read) -> Result<Self> {
        let (mut records, mut cover) = (BTreeMap::new(), Cover::default());
        let mut links = BTreeMap::new();
        let _all = walk_layer(layer, content, &Cover::default(), &mut cover, &mut |entry, content| {
            if let Some(path) = entry.path.to_str().filter(|path| is_record(path)) {
                match &entry.kind {
                    EntryKind::File => drop(records.insert(path.to_owned(), record(path, entry, content)?)),
                    EntryKind::Hardlink(target) => drop(links.insert(path.to_owned(), target.clone())),
                    _ => {}
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (path, target) in links {
            let linked = target.to_str().and_then(|target| records.get(target).cloned());
            records.extend(linked.map(|record| (path, record)));
        }
        Ok(Self { records, cover })
    }
}

fn record(path: &str, entry: &LayerEntry, content: &mut dyn Read) -> Result<Record> {
    if entry.size > MAX_RECORD {
        return Err(Error::TooLarge { what: path.to_owned(), size: entry.size, limit: MAX_RECORD });
    }
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes).map_err(Error::read(&entry.path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { what: path.to_owned(), source })
}

/// Decompresses, reads and checks `blob`, which an error calls `name`, on a thread of its own.
pub async fn scan(layer: Layer, blob: impl Read + Send + 'static, name: PathBuf) -> Result<Scanned> {
    let digest = layer.digest;
    let read = move || {
        let mut scanned = Scanned::default();
        let _all = layer.read_stream(blob, &name, &|_| {}, |content| {
            scanned = Scanned::read(&layer, content)?;
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
