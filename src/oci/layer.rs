//! One layer of an image, and how its content is read: decompressed, and checked against its digest on the way.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use oci_spec::image::Descriptor;

use super::digest::HashingWriter;
use super::error::{Error, Mismatch, Result};
use super::layout::sha256;
use super::{Compression, Digest, Layout};

/// One layer of an [`Image`](super::Image).
#[derive(Clone, Debug)]
pub struct Layer {
    /// As the manifest lists it.
    pub descriptor: Descriptor,
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// How the blob is compressed.
    pub compression: Compression,
    /// Digest of the decompressed blob.
    pub diff_id: Digest,
}

impl Layer {
    /// Puts together what a manifest and a configuration say of a layer.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the descriptor is of no layer or a digest is not SHA-256.
    pub fn new(descriptor: &Descriptor, diff_id: &str) -> Result<Self> {
        let compression = Compression::of_media_type(descriptor.media_type()).ok_or_else(|| {
            Error::malformed(descriptor.digest(), &format!("`{}` is no type of a layer", descriptor.media_type()))
        })?;
        Ok(Self {
            digest: sha256(descriptor)?,
            size: descriptor.size(),
            compression,
            diff_id: diff_id
                .parse()
                .map_err(|error: super::digest::ParseDigestError| Error::malformed(descriptor.digest(), &error))?,
            descriptor: descriptor.clone(),
        })
    }

    /// Gives the decompressed content to `consume`, and the number of compressed bytes, as they are read, to `count`.
    /// Unless `consume` breaks off, all of the blob is read and compared with its digest; what `consume` made of it
    /// counts only when this returns `Ok`.
    ///
    /// # Errors
    /// [`Error::MissingBlob`], [`Error::Corrupt`], [`Error::Layer`], and those of `consume`.
    pub fn read(
        &self,
        layout: &Layout,
        count: &(dyn Fn(u64) + Sync),
        consume: impl FnOnce(&mut dyn Read) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        self.read_from(layout.open_blob(&self.digest)?, count, consume)
    }

    /// [`read`](Self::read) where the blob is a file of its own.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_from(
        &self,
        blob: fs_err::File,
        count: &(dyn Fn(u64) + Sync),
        consume: impl FnOnce(&mut dyn Read) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let path = blob.path().to_owned();
        self.read_stream(blob, &path, count, consume)
    }

    /// [`read`](Self::read) where the blob comes from anywhere; an error calls it `name`.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_stream(
        &self,
        blob: impl Read + Send,
        name: &Path,
        count: &(dyn Fn(u64) + Sync),
        consume: impl FnOnce(&mut dyn Read) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let unreadable = |source| Error::Layer { digest: self.digest, source };
        let mut hash = HashingWriter::new(io::sink());
        let mut counted = Counted { source: blob, hash: &mut hash, count };
        let outcome = match self.compression.decoder(&mut counted) {
            Ok(mut decoder) => consume(&mut decoder),
            Err(source) => Err(unreadable(source)),
        };
        if matches!(outcome, Ok(ControlFlow::Break(()))) {
            return outcome;
        }
        // Also after an error: that the blob is damaged explains it better than what the damage led to.
        io::copy(&mut counted, &mut io::sink()).map_err(unreadable)?;
        let (_, found, found_size) = hash.finish();
        Mismatch::check((self.digest, self.size), (found, found_size))
            .map_err(|mismatch| Error::Corrupt { path: name.to_owned(), mismatch })?;
        outcome
    }

    /// Decompresses all of the layer and compares it with its `diff_id`. Returns how many bytes it has then.
    ///
    /// # Errors
    /// Those of [`read`](Self::read), and [`Error::Malformed`] when the content is not what the configuration says.
    pub fn measure(&self, layout: &Layout) -> Result<u64> {
        self.measure_from(layout.open_blob(&self.digest)?, |_| Ok(()))
    }

    /// [`measure`](Self::measure) where the blob is a file of its own. `consume` gets the content first; what it leaves
    /// is read as well.
    ///
    /// # Errors
    /// Those of [`measure`](Self::measure), and those of `consume`.
    pub fn measure_from(&self, blob: fs_err::File, consume: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<u64> {
        let mut hash = HashingWriter::new(io::sink());
        let _whole = self.read_from(blob, &|_| {}, |content| {
            let mut content = Counted { source: content, hash: &mut hash, count: &|_| {} };
            consume(&mut content)?;
            io::copy(&mut content, &mut io::sink()).map_err(|source| Error::Layer { digest: self.digest, source })?;
            Ok(ControlFlow::Continue(()))
        })?;
        let (_, found, size) = hash.finish();
        if found == self.diff_id {
            return Ok(size);
        }
        let reason = format!("its content is {found}, its image's configuration says {}", self.diff_id);
        Err(Error::malformed(&self.digest, &reason))
    }
}

/// Hashes and counts what is read.
struct Counted<'a, R> {
    source: R,
    hash: &'a mut HashingWriter<io::Sink>,
    count: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        io::Write::write_all(self.hash, &buf[..n])?;
        (self.count)(n as u64);
        Ok(n)
    }
}
