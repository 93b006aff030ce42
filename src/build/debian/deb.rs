//! Reads a `.deb`: an `ar` archive of a version, a tar of what dpkg is told, a tar of what is installed (deb(5)).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

use fs_err::File;

use super::error::Error;
use crate::apt::LockedDeb;
use crate::apt::compression::{Limited, decoder};
use crate::oci::entries::{Entries, EntryKind, LayerEntry};

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;
/// The most bytes of one file of the control archive, and of all.
const MAX_CONTROL: u64 = 64 << 20;
/// What a package may unpack to besides [`MAX_RATIO`] times its size, in bytes.
const FREE_SIZE: u64 = 1 << 30;
/// How many times its own size a package may unpack to.
const MAX_RATIO: u64 = 200;

/// The entries of one of its archives.
type Members<'a> = Entries<Limited<Box<dyn Read + Send + 'a>>>;

/// A package on disk.
#[derive(Clone, Debug)]
pub struct Deb {
    /// What it is, by the lock.
    pub locked: LockedDeb,
    /// Where it is.
    pub path: PathBuf,
}

impl Deb {
    /// Its control files, by name: `control`, `md5sums`, `postinst` …
    ///
    /// # Errors
    /// When it is damaged.
    pub fn control(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let mut files = BTreeMap::new();
        self.member("control.tar", MAX_CONTROL, &mut |entries| {
            while let Some(entry) = entries.next_entry().map_err(|source| self.damaged(source))? {
                let Some(name) = entry.path.to_str().filter(|name| is_control_name(name)) else { continue };
                if entry.kind == EntryKind::File {
                    let mut bytes = Vec::new();
                    entries.read_to_end(&mut bytes).map_err(|source| self.damaged(source))?;
                    files.insert(name.to_owned(), bytes);
                }
            }
            Ok(())
        })?;
        Ok(files)
    }

    /// Calls `visit` with each entry of what is installed, with its content, in the archive's order.
    ///
    /// # Errors
    /// Those of `visit`, and when it is damaged.
    pub fn content(&self, visit: &mut dyn FnMut(&LayerEntry, &mut dyn Read) -> Result<(), Error>) -> Result<(), Error> {
        let limit = FREE_SIZE.saturating_add(self.locked.size.saturating_mul(MAX_RATIO));
        self.member("data.tar", limit, &mut |entries| {
            while let Some(entry) = entries.next_entry().map_err(|source| self.damaged(source))? {
                visit(&entry, entries)?;
            }
            Ok(())
        })
    }

    /// Calls `consume` with the tar archive called `wanted`, whatever its compression.
    fn member(
        &self,
        wanted: &str,
        limit: u64,
        consume: &mut dyn FnMut(&mut Members<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let damaged = |source| self.damaged(source);
        let file = File::open(&self.path).map_err(|source| Error::Read { path: self.path.clone(), source })?;
        let mut archive = io::BufReader::with_capacity(1 << 17, file);
        let mut magic = [0; 8];
        archive.read_exact(&mut magic).map_err(damaged)?;
        if magic != MAGIC {
            return Err(damaged(invalid("it is no `ar` archive")));
        }
        while let Some((name, size)) = header(&mut archive).map_err(damaged)? {
            if name.split_once(".tar").is_some_and(|(stem, _)| wanted.strip_suffix(".tar") == Some(stem)) {
                let reader = decoder(&name, (&mut archive).take(size)).map_err(damaged)?;
                let mut entries = Entries::new(Limited { inner: reader, left: limit });
                consume(&mut entries)?;
                // To the end, where a truncated or damaged stream shows.
                io::copy(&mut entries.into_inner(), &mut io::sink()).map_err(damaged)?;
                return Ok(());
            }
            // Members begin at even places.
            let skipped = size + size % 2;
            if io::copy(&mut (&mut archive).take(skipped), &mut io::sink()).map_err(damaged)? < size {
                return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Err(damaged(invalid(&format!("it has no `{wanted}`"))))
    }

    /// An error for a damaged archive.
    pub fn damaged(&self, source: io::Error) -> Error {
        Error::Archive { package: self.locked.label(), source }
    }
}

/// The name and size of the next member; `None` at the end.
fn header(archive: &mut impl Read) -> io::Result<Option<(String, u64)>> {
    let mut header = Vec::with_capacity(HEADER);
    archive.take(HEADER as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(None);
    }
    if header.len() < HEADER || &header[58..] != b"`\n" {
        return Err(invalid("a header of the `ar` archive is damaged"));
    }
    let text = |range: std::ops::Range<usize>| String::from_utf8_lossy(&header[range]).trim_end().to_owned();
    let size = text(48..58).parse().map_err(|_| invalid("a size in the `ar` archive is no number"))?;
    Ok(Some((text(0..16).trim_end_matches('/').to_owned(), size)))
}

/// Control files lie at the top, and become file names of dpkg's database.
fn is_control_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tar::{Entry, Kind, TarWriter};

    fn member(name: &str, content: &[u8]) -> Vec<u8> {
        let mut member = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 0, content.len()).into_bytes();
        member.extend_from_slice(content);
        member.resize(member.len().next_multiple_of(2), b'\n');
        member
    }

    fn tar(path: &str, content: &str) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        let kind = Kind::File(content.len() as u64);
        let entry = Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1 };
        tar.append(&entry, content.as_bytes()).unwrap();
        zstd::encode_all(tar.end().unwrap().as_slice(), 1).unwrap()
    }

    fn whole() -> Vec<u8> {
        let control = tar("control", "Package: a\n");
        let members = [
            member("debian-binary", b"2.0\n"),
            member("control.tar.zst/", &control),
            member("data.tar.zst", &tar("x", "y")),
        ];
        [MAGIC.to_vec(), members.concat()].concat()
    }

    fn deb(folder: &std::path::Path, bytes: &[u8]) -> Deb {
        let path = folder.join("a.deb");
        fs_err::write(&path, bytes).unwrap();
        let locked = LockedDeb {
            name: "a".into(),
            version: "1".into(),
            architecture: "all".into(),
            url: "https://snapshot.debian.org/a.deb".parse().unwrap(),
            sha256: "a".repeat(64),
            size: bytes.len() as u64,
        };
        Deb { locked, path }
    }

    fn read(deb: &Deb) -> Result<(usize, usize), Error> {
        let mut paths = 0;
        let control = deb.control()?.len();
        deb.content(&mut |_, content| {
            paths += 1;
            io::copy(content, &mut io::sink()).map(drop).map_err(|source| deb.damaged(source))
        })?;
        Ok((control, paths))
    }

    #[test]
    fn damage_anywhere_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let whole = whole();
        assert_eq!(read(&deb(folder.path(), &whole)).unwrap(), (1, 1));
        for end in 0..whole.len() - 1 {
            assert!(read(&deb(folder.path(), &whole[..end])).is_err(), "{end} of {} bytes", whole.len());
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            drop(read(&deb(folder.path(), &damaged)));
        }
    }

    #[test]
    fn an_archive_that_unpacks_to_far_too_much_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let mut header = ::tar::Header::new_gnu();
        header.set_path("zeros").unwrap();
        header.set_size(4 << 30);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_cksum();
        io::Write::write_all(&mut bomb, header.as_bytes()).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..1200 {
            io::Write::write_all(&mut bomb, &zeros).unwrap();
        }
        let bytes = [MAGIC.to_vec(), member("data.tar.zst", &bomb.finish().unwrap())].concat();
        let deb = deb(folder.path(), &bytes);
        let error = deb.content(&mut |_, content| {
            io::copy(content, &mut io::sink()).map(drop).map_err(|source| deb.damaged(source))
        });
        let error = error.unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("far more"), "{error:?}");
    }
}
