//! Hashes more than it writes: the digest of a whole layer while only its middle is being made.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use crate::oci::Digest;

/// Passes writes on, hashing and counting them. What is [only hashed](Self::only_hash) is not passed on.
pub struct Tee<W> {
    inner: W,
    hasher: Sha256,
    written: u64,
}

impl<W> Tee<W> {
    /// Wraps `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), written: 0 }
    }

    /// Hashes `bytes` as if they had been written.
    pub fn only_hash(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The wrapped writer, the digest of everything hashed, and the bytes that were passed on.
    pub fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_bytes(self.hasher.finalize().into()), self.written)
    }
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.hasher.update(&buf[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_around_what_it_writes() {
        let mut tee = Tee::new(Vec::new());
        tee.only_hash(b"before ");
        tee.write_all(b"middle").unwrap();
        tee.only_hash(b" after");
        let (inner, digest, written) = tee.finish();
        assert_eq!((inner.as_slice(), digest, written), (&b"middle"[..], Digest::of(b"before middle after"), 6));
    }
}
