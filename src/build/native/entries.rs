//! Writes the tar entries of one part, and keeps book of them for the package's record.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rattler_conda_types::package::FileMode;
use rattler_conda_types::prefix_record::{PathType, PathsEntry};
use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::paths::PrefixPath;
use crate::oci::Digest;
use crate::oci::tar::{Entry, Kind, TarWriter};

/// The user and group that own everything below `/srv`: those of every notebook image (repo2docker's layout).
pub const OWNER: u64 = 1000;

/// Writes entries below a prefix.
pub struct PartWriter<W> {
    tar: TarWriter<W>,
    /// The file being written, for errors.
    target: PathBuf,
    root: String,
    timestamp: u64,
    /// What was written, as the package's record lists it.
    pub recorded: Vec<PathsEntry>,
}

/// How a file of the package came to be what was written.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// Digest of the member.
    pub original: Digest,
    /// Digest of what was written.
    pub written: Digest,
    /// Bytes of the member.
    pub size: u64,
    /// The placeholder that was replaced.
    pub placeholder: Option<(FileMode, String)>,
}

impl<W: Write> PartWriter<W> {
    /// Writes to `sink`, which ends up as the file `target`. `timestamp` is for what has no time of its own.
    pub fn new(sink: W, target: PathBuf, prefix: &str, timestamp: u64) -> Self {
        let root = prefix.trim_start_matches('/').to_owned();
        Self { tar: TarWriter::new(sink), target, root, timestamp, recorded: Vec::new() }
    }

    /// The path of an entry, relative to the image's root.
    pub fn in_image(&self, path: &PrefixPath) -> String {
        format!("{}/{path}", self.root)
    }

    /// Writes a file of `size` bytes straight from an archive; returns its digest. `damaged` makes an error of a failed
    /// read.
    ///
    /// # Errors
    /// When the archive or the target fails, which are told apart.
    pub fn stream(
        &mut self,
        path: &PrefixPath,
        meta: Meta,
        size: u64,
        data: &mut dyn Read,
        damaged: &dyn Fn(io::Error) -> Error,
    ) -> Result<Digest, Error> {
        let mut source = Source { inner: data, hasher: Sha256::new(), read: 0, ended: false, failed: None };
        let result = self.tar.append(&self.entry(path, Kind::File(size), meta), &mut source);
        if let Some(error) = source.failed {
            return Err(damaged(error));
        }
        // When writing failed, the archive was not read to its end.
        if source.ended && source.read < size {
            return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        result.map_err(Error::write(&self.target))?;
        Ok(Digest::from_bytes(source.hasher.finalize().into()))
    }

    /// Writes a file from memory or from a temporary file.
    ///
    /// # Errors
    /// When the target or the temporary file fails.
    pub fn write(&mut self, path: &PrefixPath, meta: Meta, size: u64, data: impl Read) -> Result<(), Error> {
        self.tar.append(&self.entry(path, Kind::File(size), meta), data).map_err(Error::write(&self.target))
    }

    /// Writes a file that was made for the package.
    ///
    /// # Errors
    /// When the target fails.
    pub fn generated(
        &mut self,
        path: &PrefixPath,
        executable: bool,
        content: &[u8],
        path_type: Option<PathType>,
    ) -> Result<(), Error> {
        let meta = Meta { executable, mtime: self.timestamp };
        self.write(path, meta, content.len() as u64, content)?;
        if let Some(path_type) = path_type {
            let mut entry = listed(path, path_type);
            entry.size_in_bytes = Some(content.len() as u64);
            entry.sha256_in_prefix = Some(hash(&Digest::of(content)));
            self.recorded.push(entry);
        }
        Ok(())
    }

    /// Writes a link of either kind.
    ///
    /// # Errors
    /// When the target fails.
    pub fn link(&mut self, path: &PrefixPath, kind: Kind, meta: Meta) -> Result<(), Error> {
        self.tar.append(&self.entry(path, kind, meta), io::empty()).map_err(Error::write(&self.target))
    }

    /// Notes a file of the package for the record.
    pub fn record_file(&mut self, path: &PrefixPath, from: &Provenance) {
        let mut entry = listed(path, PathType::HardLink);
        entry.sha256 = Some(hash(&from.original));
        entry.sha256_in_prefix = Some(hash(&from.written));
        entry.size_in_bytes = Some(from.size);
        if let Some((mode, placeholder)) = &from.placeholder {
            entry.file_mode = Some(*mode);
            entry.prefix_placeholder = Some(placeholder.clone());
        }
        self.recorded.push(entry);
    }

    /// Notes a symbolic link or a directory for the record.
    pub fn record(&mut self, path: &PrefixPath, path_type: PathType) {
        self.recorded.push(listed(path, path_type));
    }

    /// The sink, for more parts to follow.
    pub fn into_sink(self) -> W {
        self.tar.into_part()
    }

    fn entry(&self, path: &PrefixPath, kind: Kind, meta: Meta) -> Entry {
        let mode = match kind {
            Kind::Symlink(_) => 0o777,
            _ if meta.executable => 0o755,
            _ => 0o644,
        };
        Entry { path: self.in_image(path), kind, mode, uid: OWNER, gid: OWNER, mtime: meta.mtime }
    }
}

/// What an entry keeps of its member.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Whether it is a program.
    pub executable: bool,
    /// Modification time in seconds since 1970: shipped byte code is checked against its source's.
    pub mtime: u64,
}

fn listed(path: &PrefixPath, path_type: PathType) -> PathsEntry {
    PathsEntry {
        relative_path: Path::new(path.as_str()).to_owned(),
        original_path: None,
        path_type,
        no_link: false,
        sha256: None,
        sha256_in_prefix: None,
        size_in_bytes: None,
        file_mode: None,
        prefix_placeholder: None,
    }
}

fn hash(digest: &Digest) -> rattler_digest::Sha256Hash {
    rattler_digest::parse_digest_from_hex::<rattler_digest::Sha256>(&digest.hex()).expect("a digest prints as hex")
}

/// Reads a member, hashing it and remembering whether it was the reading that failed.
struct Source<'a> {
    inner: &'a mut dyn Read,
    hasher: Sha256,
    read: u64,
    ended: bool,
    failed: Option<io::Error>,
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buf) {
            Ok(n) => {
                self.hasher.update(&buf[..n]);
                self.read += n as u64;
                self.ended |= n == 0 && !buf.is_empty();
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failed = Some(error);
                Err(io::Error::other("the archive is damaged"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::native::archive::Archive;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stream<W: Write>(sink: W, mut data: &[u8]) -> Result<Digest, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.conda");
        std::fs::write(&file, "").unwrap();
        let archive = Archive::open(file, "a-1-0.conda").unwrap();
        let damaged = |error| archive.damaged(error);
        let path = PrefixPath::parse(b"a").unwrap();
        let meta = Meta { executable: false, mtime: 0 };
        PartWriter::new(sink, "/cache/part".into(), "/srv", 0).stream(&path, meta, 10, &mut data, &damaged)
    }

    #[test]
    fn a_full_disk_and_a_truncated_archive_are_told_apart() {
        assert!(matches!(stream(Full, &[0; 10]), Err(Error::StorageFull { .. })));
        assert!(matches!(stream(io::sink(), &[0; 9]), Err(Error::Archive { .. })));
        assert_eq!(stream(io::sink(), &[0; 10]).unwrap(), Digest::of(&[0; 10]));
    }
}
