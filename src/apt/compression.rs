//! What Debian compresses with.

use std::io::{self, Read};

use liblzma::stream::{CONCATENATED, Stream};

/// The memory that the dictionary of an xz stream may take, in bytes: `xz -9` needs 65 MiB.
const MEMORY: u64 = 256 << 20;

/// Decompresses `source`, by the end of its file's name: `.xz`, `.zst`, `.gz`, or none of these.
///
/// # Errors
/// When the decompressor cannot be set up.
pub fn decoder<'a>(name: &str, source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        Some("xz") => {
            let stream = Stream::new_stream_decoder(MEMORY, CONCATENATED).map_err(io::Error::other)?;
            Box::new(liblzma::read::XzDecoder::new_stream(source, stream))
        }
        Some("zst") => Box::new(zstd::Decoder::new(source)?),
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(source)),
        _ => Box::new(source),
    })
}

/// A reader that fails once more than `left` bytes were read: nobody's archive unpacks to that.
pub struct Limited<R> {
    /// What is read.
    pub inner: R,
    /// How many bytes more.
    pub left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        let over =
            || io::Error::new(io::ErrorKind::FileTooLarge, "it unpacks to far more than its size makes plausible");
        self.left = self.left.checked_sub(n as u64).ok_or_else(over)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_compression_is_undone() {
        let text = b"Package: a\n".repeat(100);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&text).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        gz.write_all(&text).unwrap();
        let cases = [
            ("Packages.xz", xz.finish().unwrap()),
            ("data.tar.gz", gz.finish().unwrap()),
            ("data.tar.zst", zstd::encode_all(text.as_slice(), 3).unwrap()),
            ("data.tar", text.clone()),
        ];
        for (name, bytes) in cases {
            let mut found = Vec::new();
            decoder(name, bytes.as_slice()).unwrap().read_to_end(&mut found).unwrap();
            assert_eq!(found, text, "{name}");
        }
        let mut found = Vec::new();
        assert!(decoder("a.xz", &b"no xz"[..]).unwrap().read_to_end(&mut found).is_err());
        let mut limited = Limited { inner: io::repeat(0), left: 10 };
        assert_eq!(io::copy(&mut limited, &mut io::sink()).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
