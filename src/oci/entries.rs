//! Reads the entries of a tar stream that somebody else wrote.
//!
//! The `tar` crate decodes the headers; what lies between them is read here, because that crate keeps a long name or
//! an extended header of any size in memory, and splits extended headers at newlines that binary attributes contain.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, PathBuf};

use ::tar::{EntryType, Header};

const BLOCK: usize = 512;
/// The most bytes of a long name or extended header. Linux paths end at 4096 bytes, extended attributes at 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;

/// The most bytes of a path: Linux's `PATH_MAX`.
const MAX_PATH: usize = 4096;
/// What all entries of one archive may cost whoever remembers them, in bytes: each its path and [`ENTRY_COST`]. Room for
/// millions of entries, and an end to an archive that was made to fill the memory.
const MAX_REMEMBERED: usize = 1 << 29;
const ENTRY_COST: usize = 64;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this target, as written.
    Symlink(PathBuf),
    /// Another name for this path, which is relative to the root.
    Hardlink(PathBuf),
    /// A device node or a named pipe.
    Special(Special),
}

/// A kind of device node, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A character device.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The metadata of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    /// Relative to the root, without `.` or `..`; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time in seconds since 1970; what lies before is 0.
    pub mtime: u64,
    /// Bytes of content: 0 unless it is a file.
    pub size: u64,
}

/// The entries of one tar stream, one after another.
pub struct Entries<R> {
    source: R,
    /// Bytes of the current entry that were not read yet, then its padding.
    content: u64,
    padding: u64,
    /// What is left of [`MAX_REMEMBERED`].
    budget: usize,
}

/// What an extended header or a long name says about the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<u64>,
}

impl<R: Read> Entries<R> {
    /// Reads entries from `source`.
    pub const fn new(source: R) -> Self {
        Self { source, content: 0, padding: 0, budget: MAX_REMEMBERED }
    }

    /// The next entry, whose content [`Read`] then gives; `None` at the end. What was not read is skipped.
    ///
    /// # Errors
    /// Whatever the source returns; `InvalidData` when it is no tar archive, when a path climbs out of the root, and
    /// for kinds of entries that layers do not have.
    pub fn next_entry(&mut self) -> io::Result<Option<LayerEntry>> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            match header.entry_type() {
                EntryType::GNULongName => extension.path = Some(without_nul(self.extension(&header)?)),
                EntryType::GNULongLink => extension.link = Some(without_nul(self.extension(&header)?)),
                EntryType::XHeader => extension.read_pax(&self.extension(&header)?)?,
                // Comments and defaults for the whole archive; archives that need them are not layers.
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                _ => return self.entry(&header, extension).map(Some),
            }
        }
    }

    /// The source, at whatever place reading has come to.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn entry(&mut self, header: &Header, extension: Extension) -> io::Result<LayerEntry> {
        let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let cost = path.len() + ENTRY_COST;
        self.budget =
            self.budget.checked_sub(cost).ok_or_else(|| invalid("more entries than any system has".to_owned()))?;
        let mut entry = LayerEntry {
            path: clean(&path)?,
            kind: EntryKind::File,
            mode: header.mode()? & 0o7777,
            uid: extension.uid.map_or_else(|| narrow(header.uid()?), Ok)?,
            gid: extension.gid.map_or_else(|| narrow(header.gid()?), Ok)?,
            mtime: extension.mtime.unwrap_or_else(|| header.mtime().map_or(0, past)),
            size: 0,
        };
        let size = extension.size.map_or_else(|| header.entry_size(), Ok)?;
        let link = || {
            let link = extension.link.clone().or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            link.filter(|link| !link.is_empty()).ok_or_else(|| invalid(format!("`{}` has no target", shown(&path))))
        };
        let device = || Ok::<_, io::Error>((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)));
        entry.kind = match header.entry_type() {
            // Before POSIX, directories were files whose name ends with a slash.
            EntryType::Regular if path.ends_with(b"/") => EntryKind::Directory,
            EntryType::Regular | EntryType::Continuous => EntryKind::File,
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink(OsString::from_vec(link()?).into()),
            EntryType::Link => EntryKind::Hardlink(clean(&link()?)?),
            EntryType::Char => device().map(|(major, minor)| EntryKind::Special(Special::Character(major, minor)))?,
            EntryType::Block => device().map(|(major, minor)| EntryKind::Special(Special::Block(major, minor)))?,
            EntryType::Fifo => EntryKind::Special(Special::Fifo),
            other => {
                return Err(invalid(format!(
                    "`{}` is of the unknown kind `{}`",
                    shown(&path),
                    other.as_byte() as char
                )));
            }
        };
        if entry.kind == EntryKind::File {
            entry.size = size;
            self.expect_content(size);
        }
        Ok(entry)
    }

    /// The next header; `None` where the archive ends, by two zero blocks or by ending.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        for _ in 0..2 {
            match read_full(&mut self.source, header.as_mut_bytes())? {
                0 => return Ok(None),
                BLOCK => {}
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
            if header.as_bytes().iter().any(|&byte| byte != 0) {
                return check_sum(&header).map(|()| Some(header));
            }
        }
        Ok(None)
    }

    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION {
            return Err(invalid(format!("an extended header of {size} bytes")));
        }
        self.expect_content(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn expect_content(&mut self, size: u64) {
        self.content = size;
        self.padding = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.content.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())?;
        (self.content, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

/// The content of the current entry.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.content).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        match self.source.read(&mut buf[..most])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            n => {
                self.content -= n as u64;
                Ok(n)
            }
        }
    }
}

impl Extension {
    /// Reads records of `LENGTH KEY=VALUE\n` (POSIX.1-2001, "pax Extended Header"); unknown keys are ignored.
    fn read_pax(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let malformed = || invalid("a malformed extended header".to_owned());
        while !bytes.is_empty() {
            let space = bytes.iter().take(20).position(|&b| b == b' ').ok_or_else(malformed)?;
            let length: usize = number(&bytes[..space]).ok_or_else(malformed)?;
            let record = bytes.get(space + 1..length).ok_or_else(malformed)?;
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or_else(malformed)?;
            self.set(&record[..equals], &record[equals + 1..]).ok_or_else(malformed)?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    /// `None` when the value does not suit the key.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            // Seconds with a fraction; negative before 1970.
            b"mtime" if value.starts_with(b"-") => self.mtime = Some(0),
            b"mtime" => self.mtime = Some(number(value.split(|&b| b == b'.').next()?)?),
            // Holes would have to be put in; nothing that writes layers makes them.
            _ if key.starts_with(b"GNU.sparse.") => return None,
            _ => {}
        }
        Some(())
    }
}

/// `path` as a path below the root: no `/` in front, no `.`. A `..` is an error even where it would not climb out,
/// because what it means depends on symbolic links.
fn clean(path: &[u8]) -> io::Result<PathBuf> {
    if path.len() > MAX_PATH {
        return Err(invalid(format!("a path of {} bytes", path.len())));
    }
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) if !part.as_encoded_bytes().contains(&0) => clean.push(part),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(invalid(format!("the path `{}` could lead out of the image", path.display()))),
        }
    }
    Ok(clean)
}

fn check_sum(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|&byte| u32::from(byte)).sum();
    // Eight spaces stand in for the checksum itself.
    let right = header.cksum().is_ok_and(|written| written == sum + 8 * u32::from(b' '));
    if right { Ok(()) } else { Err(invalid("no tar header".to_owned())) }
}

/// Fills `buffer` as far as the source goes.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Times before 1970 are stored as negative numbers in base 256, which read as enormous ones.
const fn past(mtime: u64) -> u64 {
    if mtime > i64::MAX as u64 { 0 } else { mtime }
}

fn narrow(id: u64) -> io::Result<u32> {
    u32::try_from(id).map_err(|_| invalid(format!("the owner {id}")))
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tar::{Entry, Kind, TarWriter};
    use super::*;

    fn read_all(bytes: &[u8]) -> io::Result<Vec<LayerEntry>> {
        let mut entries = Entries::new(bytes);
        let mut all = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            all.push(entry);
        }
        Ok(all)
    }

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 7, gid: 8, mtime: 9 }
    }

    #[test]
    fn reads_what_the_writer_wrote() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(120));
        let mut writer = TarWriter::new(Vec::new());
        writer.append(&entry(&long, Kind::File(5)), &b"hello"[..]).unwrap();
        writer.append(&entry("next", Kind::Hardlink(long.clone())), io::empty()).unwrap();
        let bytes = writer.end().unwrap();
        let mut entries = Entries::new(bytes.as_slice());
        let first = entries.next_entry().unwrap().unwrap();
        assert_eq!((first.path, first.uid, first.gid, first.mtime, first.size), (long.clone().into(), 7, 8, 9, 5));
        let mut content = String::new();
        entries.read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello");
        assert_eq!(entries.next_entry().unwrap().unwrap().kind, EntryKind::Hardlink(long.into()));
        assert_eq!(entries.next_entry().unwrap(), None);
    }

    #[test]
    fn extended_headers_may_hold_newlines_and_large_sizes() {
        let record = |key: &str, value: &[u8]| {
            let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            // Two digits for the length: these records are all between 10 and 99 bytes.
            [(rest.len() + 2).to_string().as_bytes(), &rest].concat()
        };
        let mut extension = Extension::default();
        let all = [
            record("SCHILY.xattr.user.a", b"x\n\0y"),
            record("size", b"12345678900"),
            record("mtime", b"12.3456"),
            record("path", b"a/b"),
        ];
        extension.read_pax(&all.concat()).unwrap();
        assert_eq!((extension.size, extension.mtime), (Some(12_345_678_900), Some(12)));
        assert_eq!(extension.path.as_deref(), Some(&b"a/b"[..]));
        for wrong in [&b"5 a=b\n"[..], b"99 a=b\n", b"x a=b\n", b"5 ab\n\n", b"0 a=b\n", b"22 GNU.sparse.major=1\n"] {
            assert!(Extension::default().read_pax(wrong).is_err(), "{}", shown(wrong));
        }
    }

    #[test]
    fn an_enormous_long_name_is_refused_before_it_is_read() {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        assert_eq!(read_all(header.as_bytes()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn an_archive_cannot_fill_the_memory_with_names() {
        let mut writer = TarWriter::new(Vec::new());
        for _ in 0..3 {
            writer.append(&entry("f", Kind::File(0)), io::empty()).unwrap();
        }
        let bytes = writer.end().unwrap();
        let mut entries = Entries::new(bytes.as_slice());
        entries.budget = 2 * (1 + ENTRY_COST);
        assert!(entries.next_entry().is_ok() && entries.next_entry().is_ok());
        assert_eq!(entries.next_entry().unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(clean(&[b'x'; MAX_PATH + 1]).is_err());
    }

    #[test]
    fn paths_stay_below_the_root() {
        for (written, clean_path) in [("/etc/passwd", "etc/passwd"), ("./a//b/", "a/b"), ("./", "")] {
            assert_eq!(clean(written.as_bytes()).unwrap(), Path::new(clean_path));
        }
        for bad in ["../x", "a/../b", "..", "/..", "a/.."] {
            assert!(clean(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        let mut writer = TarWriter::new(Vec::new());
        writer.append(&entry("f", Kind::File(600)), &[1; 600][..]).unwrap();
        let bytes = writer.into_part();
        assert_eq!(read_all(&bytes).unwrap().len(), 1, "the blocks at the end may be missing");
        for cut in [100, 512, 700, bytes.len() - 1] {
            assert!(read_all(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(read_all(&[b'x'; 1024]).is_err());
    }
}
