//! The document: canonical JSON, compressed with zstd.

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::build::debian::System;
use crate::build::native::described::Described;
use crate::build::native::fragment::Part;
use crate::build::native::layer;
use crate::build::native::paths::PrefixPath;
use crate::build::native::store::FORMAT;
use crate::oci::{Compression, Digest, canonical_json};

/// The media type of the document, and of the artifact that holds it.
pub const MEDIA_TYPE: &str = "application/vnd.esker.build.v1";
/// The most bytes of the document. That of the 170 packages of `tests/real` has 2.5 million.
const MAX_RECORD: u64 = 1 << 30;

/// What a build leaves for the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// Of the bytes that layers and keys have.
    pub format: u32,
    /// What plans know of packages, by the SHA-256 of their archives.
    pub packages: BTreeMap<String, Described>,
    /// The layers, by the digest of everything that decides their bytes.
    pub layers: BTreeMap<Digest, PublishedLayer>,
    /// What the system is with those of them that Debian packages were installed in.
    pub systems: BTreeMap<Digest, System>,
}

/// A layer of packages: conda's, Debian's, or a base that is made of Debian's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PublishedLayer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Digest of the uncompressed blob.
    pub diff_id: Digest,
    /// Bytes of the uncompressed blob.
    pub unpacked_size: u64,
    /// Its parts, in order; none where nothing is known of them any more, and of Debian's packages, whose layers are wholes.
    pub parts: Vec<PublishedPart>,
}

/// The part of one package in a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PublishedPart {
    /// The digest of everything that decides its bytes.
    pub key: Digest,
    /// Bytes of the layer's blob before it.
    pub offset: u64,
    /// What is known of it.
    #[serde(flatten)]
    pub part: Part,
}

/// Why a record is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Another esker wrote it.
    #[error("it is in format {0}, and this esker writes format {FORMAT}")]
    Format(u64),
    /// It is damaged, or was never valid.
    #[error("{0}")]
    Invalid(String),
}

impl Record {
    /// The bytes of the document.
    pub fn to_bytes(&self) -> Vec<u8> {
        layer::compressed(&canonical_json(self), Compression::ZSTD)
    }

    /// Reads the document. Parts that make no sense are left out.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        /// What a record of any format has.
        #[derive(Deserialize)]
        struct Head {
            format: u64,
        }
        let invalid = |error: &dyn std::fmt::Display| Unusable::Invalid(error.to_string());
        let mut json = Vec::new();
        let decoder = Compression::ZSTD.decoder(bytes).map_err(|error| invalid(&error))?;
        decoder.take(MAX_RECORD + 1).read_to_end(&mut json).map_err(|error| invalid(&error))?;
        if json.len() as u64 > MAX_RECORD {
            return Err(invalid(&"it unpacks to too much"));
        }
        let head: Head = serde_json::from_slice(&json).map_err(|error| invalid(&error))?;
        if head.format != u64::from(FORMAT) {
            return Err(Unusable::Format(head.format));
        }
        let mut record: Self = serde_json::from_slice(&json).map_err(|error| invalid(&error))?;
        for layer in record.layers.values_mut() {
            let size = layer.size;
            layer.parts.retain(|part| part.is_plausible(size));
        }
        Ok(record)
    }
}

impl PublishedPart {
    /// Whether it lies in a layer of `size` bytes, and names directories that packages can have.
    fn is_plausible(&self, size: u64) -> bool {
        let end = self.offset.checked_add(self.part.size);
        let is_path = |path: &String| PrefixPath::parse(path.as_bytes()).is_ok_and(|parsed| parsed.as_str() == path);
        self.part.size > 0 && end.is_some_and(|end| end <= size) && self.part.directories.iter().all(is_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(directory: &str, offset: u64) -> Record {
        let digest = Digest::of(b"x");
        let part = Part {
            digest,
            size: 10,
            unpacked_size: 20,
            diff_id: digest,
            directories: [directory.to_owned()].into(),
            uncompiled: 0,
        };
        let parts = vec![PublishedPart { key: digest, offset, part }];
        let layer = PublishedLayer { digest, size: 100, diff_id: digest, unpacked_size: 200, parts };
        Record { format: FORMAT, packages: BTreeMap::new(), layers: [(digest, layer)].into(), systems: BTreeMap::new() }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = record("lib/python3.12", 90);
        assert_eq!(Record::parse(&record.to_bytes()).unwrap(), record);
    }

    #[test]
    fn parts_that_lie_elsewhere_are_left_out() {
        for (directory, offset) in
            [("lib", 91), ("lib", 1 << 52), ("../etc", 0), ("/etc", 0), ("", 0), ("a//b", 0), ("./a", 0)]
        {
            let read = Record::parse(&record(directory, offset).to_bytes()).unwrap();
            assert!(read.layers.values().all(|layer| layer.parts.is_empty()), "{directory} {offset}");
        }
    }

    #[test]
    fn other_formats_and_damage_are_told_apart() {
        let other = layer::compressed(br#"{"format":999,"whatever":[]}"#, Compression::ZSTD);
        assert!(matches!(Record::parse(&other), Err(Unusable::Format(999))));
        let mut damaged = record("lib", 0).to_bytes();
        damaged.truncate(damaged.len() / 2);
        for bytes in [&damaged[..], b"{}", b""] {
            assert!(matches!(Record::parse(bytes), Err(Unusable::Invalid(_))));
        }
    }
}
