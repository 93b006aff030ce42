//! Streams one blob into a layout.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use tempfile::NamedTempFile;

use super::digest::HashingWriter;
use super::error::{Error, Mismatch, Result};
use super::{Digest, Layout};

/// Temporary files begin like this, whoever makes them; see [`Layout::create`] for who removes them after a crash.
pub(super) const TEMPORARY: &str = ".tmp-";

/// A blob in the making: hashes what is written, and gives it its name at the end. Dropping it removes it.
pub struct BlobWriter<'a> {
    layout: &'a Layout,
    expected: Option<(Digest, u64)>,
    sink: HashingWriter<BufWriter<NamedTempFile>>,
}

impl<'a> BlobWriter<'a> {
    pub(super) fn new(layout: &'a Layout, expected: Option<(Digest, u64)>) -> Result<Self> {
        let file = temporary(&layout.blobs())?;
        Ok(Self { layout, expected, sink: HashingWriter::new(BufWriter::with_capacity(1 << 17, file)) })
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.sink.written()
    }

    /// Puts the blob in its place, where a blob of the same digest is replaced. Returns its digest and its size in bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the content is not what the writer was opened for; [`Error::Write`] otherwise.
    pub fn commit(self) -> Result<(Digest, u64)> {
        let (buffered, digest, size) = self.sink.finish();
        let file = buffered
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .map_err(Error::write(&self.layout.blobs()))?;
        let path = self.layout.blob_path(&digest);
        if let Some(expected) = self.expected {
            Mismatch::check(expected, (digest, size)).map_err(|mismatch| {
                let path = self.layout.blob_path(&mismatch.expected);
                Error::Corrupt { path, mismatch }
            })?;
        }
        file.persist(&path).map_err(|error| Error::Write { path, source: error.error })?;
        Ok((digest, size))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sink.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// A temporary file in `directory` that others may read, as far as the umask goes, once it has its name.
pub(super) fn temporary(directory: &Path) -> Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(Error::write(directory))
}

/// Replaces `path` by a file of `bytes`, at once.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().expect("files of a layout are in its directory");
    let mut file = temporary(directory)?;
    file.write_all(bytes).map_err(Error::write(path))?;
    file.persist(path).map_err(|error| Error::Write { path: path.to_owned(), source: error.error })?;
    Ok(())
}
