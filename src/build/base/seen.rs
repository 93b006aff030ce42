//! Remembers the digests of files that did not change since, so that a large one is hashed once.
//!
//! A file counts as unchanged while its device, inode, size, time of last change and time of last status change are
//! the same; nobody but root can set the last of these. Forgetting costs a hash, so whatever is odd is forgotten.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::oci::{Digest, layout};

/// A file that changed this recently may change again without its times telling: the kernel's clock is coarse.
const SETTLED: Duration = Duration::from_secs(1);

/// The memory, a directory with one small file for each path.
#[derive(Clone, Debug)]
pub struct Seen {
    directory: PathBuf,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    digest: Digest,
}

impl Seen {
    pub fn new(cache_dir: &Path) -> Self {
        Self { directory: cache_dir.join("seen") }
    }

    /// The digest of the file at `path`; `count` is told the bytes that had to be read for it.
    pub fn digest(&self, path: &Path, count: impl Fn(u64) -> io::Result<()>) -> io::Result<Digest> {
        let file = fs_err::File::open(path)?;
        let metadata = file.metadata()?;
        let place = self.place(path);
        if let Some(known) = read(&place)
            && known == Record::of(&metadata, known.digest)
        {
            return Ok(known.digest);
        }
        let (digest, _) = Digest::of_reader(Counting { source: file, count })?;
        let after = fs_err::metadata(path)?;
        let record = Record::of(&metadata, digest);
        if record == Record::of(&after, digest) && is_settled(&metadata) {
            self.write(&place, &record);
        }
        Ok(digest)
    }

    fn place(&self, path: &Path) -> PathBuf {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.directory.join(Digest::of(absolute.as_os_str().as_encoded_bytes()).hex())
    }

    /// What cannot be remembered is hashed again next time.
    fn write(&self, place: &Path, record: &Record) {
        let written = fs_err::create_dir_all(&self.directory).is_ok()
            && layout::write_atomically(place, &crate::oci::canonical_json(record)).is_ok();
        if !written {
            tracing::debug!(directory = %self.directory.display(), "a digest cannot be remembered");
        }
    }
}

impl Record {
    fn of(metadata: &std::fs::Metadata, digest: Digest) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            digest,
        }
    }
}

fn read(place: &Path) -> Option<Record> {
    serde_json::from_slice(&fs_err::read(place).ok()?).ok()
}

fn is_settled(metadata: &std::fs::Metadata) -> bool {
    let since = |seconds: i64| {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?);
        SystemTime::now().duration_since(then).ok()
    };
    // Whole seconds, rounded down: one more, to be sure of `SETTLED`.
    since(metadata.ctime()).is_some_and(|age| age > SETTLED + Duration::from_secs(1))
}

struct Counting<R, F> {
    source: R,
    count: F,
}

impl<R: io::Read, F: Fn(u64) -> io::Result<()>> io::Read for Counting<R, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        (self.count)(n as u64)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_file_is_hashed_again_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "one").unwrap();
        let seen = Seen::new(&dir.path().join("cache"));
        let read = Cell::new(0);
        let digest = || {
            read.set(0);
            let digest = seen.digest(&file, |n| {
                read.set(read.get() + n);
                Ok(())
            });
            (digest.unwrap(), read.get())
        };
        assert_eq!(digest(), (Digest::of(b"one"), 3));
        assert_eq!(digest(), (Digest::of(b"one"), 3), "too fresh to be remembered");
        std::thread::sleep(Duration::from_millis(2100));
        assert_eq!(digest(), (Digest::of(b"one"), 3));
        assert_eq!(digest(), (Digest::of(b"one"), 0));
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, "two").unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(digest(), (Digest::of(b"two"), 3), "same size and time of last change");
    }
}
