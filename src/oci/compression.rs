//! How a layer is compressed, and the media type that says so.
//!
//! A layer may be several gzip members or zstd frames one after another (both formats define the result as the
//! concatenation), which is what lets a layer be put together from parts that were compressed once and cached.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use oci_spec::image::MediaType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A compression format and level for layers. The level is part of a layer's identity: other levels, other digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// No compression: for daemons that unpack at once.
    None,
    /// gzip; understood by everything. Levels 1 to 9.
    Gzip(u32),
    /// zstd; Docker 23 and containerd 1.5 or later. Levels 1 to 19.
    Zstd(i32),
}

/// A compression that esker does not offer.
#[derive(Debug, thiserror::Error)]
#[error("unknown compression `{0}`: expected `none`, `gzip`, `zstd`, `gzip:1` to `gzip:9` or `zstd:1` to `zstd:19`")]
pub struct ParseCompressionError(String);

impl Compression {
    /// gzip at the level used when none is given.
    pub const GZIP: Self = Self::Gzip(6);
    /// zstd at the level used when none is given: smaller than gzip 6, several times faster.
    pub const ZSTD: Self = Self::Zstd(3);

    /// The media type of a layer compressed like this.
    pub const fn layer_media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::ImageLayer,
            Self::Gzip(_) => MediaType::ImageLayerGzip,
            Self::Zstd(_) => MediaType::ImageLayerZstd,
        }
    }

    /// The compression of a layer with this media type (OCI's or Docker's), at its default level; `None` if it is no
    /// layer.
    pub fn of_media_type(media_type: &MediaType) -> Option<Self> {
        let name = media_type.to_string();
        if name.ends_with("+zstd") {
            Some(Self::ZSTD)
        } else if name.ends_with("+gzip") || name.ends_with(".tar.gzip") {
            Some(Self::GZIP)
        } else if name.ends_with(".tar") {
            Some(Self::None)
        } else {
            None
        }
    }

    /// Starts one frame or member that is written to `sink`.
    ///
    /// # Errors
    /// When the compressor cannot be set up.
    pub fn encoder<W: Write>(self, sink: W) -> io::Result<Encoder<W>> {
        Ok(match self {
            Self::None => Encoder::None(sink),
            // No name and no time in the header: both would make the bytes depend on where and when they were made.
            Self::Gzip(level) => Encoder::Gzip(flate2::GzBuilder::new().write(sink, flate2::Compression::new(level))),
            Self::Zstd(level) => {
                let mut encoder = zstd::Encoder::new(sink, level)?;
                encoder.include_checksum(true)?;
                Encoder::Zstd(encoder)
            }
        })
    }

    /// Reads what [`encoder`](Self::encoder) wrote, all frames or members of it.
    ///
    /// # Errors
    /// When the decompressor cannot be set up.
    pub fn decoder<'a>(self, source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip(_) => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Self::Zstd(_) => Box::new(zstd::Decoder::new(source)?),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip:{level}"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
        let level = level.map(str::parse::<u8>).transpose().map_err(|_| ParseCompressionError(text.to_owned()))?;
        match (name, level) {
            ("none", None) => Ok(Self::None),
            ("gzip", None) => Ok(Self::GZIP),
            ("zstd", None) => Ok(Self::ZSTD),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip(level.into())),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd(level.into())),
            _ => Err(ParseCompressionError(text.to_owned())),
        }
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One frame or member in the making. Call [`finish`](Self::finish): dropping it leaves the frame incomplete.
pub enum Encoder<W: Write> {
    /// Writes pass through.
    None(W),
    /// A gzip member.
    Gzip(flate2::write::GzEncoder<W>),
    /// A zstd frame.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Ends the frame and returns the sink.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::None(sink) => Ok(sink),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(sink) => sink.write(buf),
            Self::Gzip(encoder) => encoder.write(buf),
            Self::Zstd(encoder) => encoder.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(sink) => sink.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_one_after_another_read_as_one() {
        for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
            let mut blob = Vec::new();
            for part in ["left ", "right"] {
                let mut encoder = compression.encoder(&mut blob).unwrap();
                encoder.write_all(part.as_bytes()).unwrap();
                encoder.finish().unwrap();
            }
            let mut text = String::new();
            compression.decoder(blob.as_slice()).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "left right", "{compression}");
        }
    }

    #[test]
    fn spellings() {
        for good in ["none", "gzip:1", "gzip:9", "zstd:19"] {
            assert_eq!(good.parse::<Compression>().unwrap().to_string(), good);
        }
        for bad in ["", "xz", "gzip:0", "gzip:10", "zstd:20", "none:1", "zstd:"] {
            assert!(bad.parse::<Compression>().is_err(), "{bad}");
        }
    }
}
