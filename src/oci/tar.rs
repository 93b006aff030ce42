//! Deterministic tar: the same entries give the same bytes, whoever writes them, wherever and whenever.
//!
//! Numeric owners and empty owner names, because a name means another number in another image. GNU long names for
//! paths over 100 bytes, which every unpacker reads. The end-of-archive blocks are written by [`TarWriter::end`]
//! alone, so that parts of a layer can be written (and cached) apart and put one after another.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link to this target, kept as written.
    Symlink(String),
    /// Another name for an earlier entry of the same layer; the path is relative to the root, like [`Entry::path`].
    Hardlink(String),
}

/// The metadata of one entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root, with `/` between the parts, without `./` in front or `/` at the end.
    pub path: String,
    /// File, directory or link.
    pub kind: Kind,
    /// Permission bits (`0o755`).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u64,
    /// Numeric group.
    pub gid: u64,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
}

/// Writes entries; see the module's documentation.
pub struct TarWriter<W> {
    sink: W,
}

impl<W: Write> TarWriter<W> {
    /// Starts a tar stream on `sink`.
    pub const fn new(sink: W) -> Self {
        Self { sink }
    }

    /// Writes `entry`, with `data` as the content of a [`Kind::File`] (ignored for the others).
    ///
    /// # Errors
    /// Whatever the sink or `data` return; `InvalidData` when `data` is shorter or longer than the entry says.
    pub fn append(&mut self, entry: &Entry, data: impl Read) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.uid);
        header.set_gid(entry.gid);
        header.set_mtime(entry.mtime);
        header.set_size(0);
        let mut path = entry.path.clone();
        match &entry.kind {
            Kind::File(size) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(*size);
            }
            Kind::Directory => {
                header.set_entry_type(EntryType::Directory);
                path.push('/');
            }
            Kind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                self.link_name(&mut header, target)?;
            }
            Kind::Hardlink(target) => {
                header.set_entry_type(EntryType::Link);
                self.link_name(&mut header, target)?;
            }
        }
        let name = &mut header.as_gnu_mut().expect("made as a GNU header").name;
        if path.len() <= name.len() {
            name[..path.len()].copy_from_slice(path.as_bytes());
        } else {
            let cut = name.len();
            name.copy_from_slice(&path.as_bytes()[..cut]);
            self.long(EntryType::GNULongName, &path)?;
        }
        header.set_cksum();
        self.sink.write_all(header.as_bytes())?;
        if let Kind::File(size) = entry.kind {
            self.content(&entry.path, size, data)?;
        }
        Ok(())
    }

    /// Writes the two zero blocks that end an archive, and returns the sink.
    ///
    /// # Errors
    /// Whatever the sink returns.
    pub fn end(mut self) -> io::Result<W> {
        self.sink.write_all(&END)?;
        Ok(self.sink)
    }

    /// Returns the sink without ending the archive: what was written is a part that others may follow.
    pub fn into_part(self) -> W {
        self.sink
    }

    fn link_name(&mut self, header: &mut Header, target: &str) -> io::Result<()> {
        let field = &mut header.as_gnu_mut().expect("made as a GNU header").linkname;
        let short = target.len().min(field.len());
        field[..short].copy_from_slice(&target.as_bytes()[..short]);
        if target.len() > short { self.long(EntryType::GNULongLink, target) } else { Ok(()) }
    }

    fn long(&mut self, kind: EntryType, text: &str) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().expect("made as a GNU header").name[..13].copy_from_slice(b"././@LongLink");
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(kind);
        let size = text.len() as u64 + 1;
        header.set_size(size);
        header.set_cksum();
        self.sink.write_all(header.as_bytes())?;
        self.content(text, size, [text.as_bytes(), b"\0"].concat().as_slice())
    }

    fn content(&mut self, path: &str, size: u64, data: impl Read) -> io::Result<()> {
        // One byte more than promised is enough to notice that there is too much.
        let copied = io::copy(&mut data.take(size + 1), &mut self.sink)?;
        if copied != size {
            let reason = format!("`{path}` has {copied} bytes or more where {size} were announced");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let rest = usize::try_from(size % BLOCK as u64).expect("less than a block");
        if rest > 0 {
            self.sink.write_all(&END[..BLOCK - rest])?;
        }
        Ok(())
    }
}

/// The two zero blocks that end an archive.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 1000, gid: 1000, mtime: 1_577_854_800 }
    }

    #[test]
    fn another_reader_sees_what_was_written() {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(120));
        let mut writer = TarWriter::new(Vec::new());
        writer.append(&entry("dir", Kind::Directory), io::empty()).unwrap();
        writer.append(&entry(&long, Kind::File(5)), &b"hello"[..]).unwrap();
        writer.append(&entry("link", Kind::Symlink(long.clone())), io::empty()).unwrap();
        writer.append(&entry("hard", Kind::Hardlink(long.clone())), io::empty()).unwrap();
        let bytes = writer.end().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let seen: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                let link = e.link_name().unwrap().map(|l| l.display().to_string());
                (e.path().unwrap().display().to_string(), link, e.header().entry_type())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("dir/".to_owned(), None, EntryType::Directory),
                (long.clone(), None, EntryType::Regular),
                ("link".to_owned(), Some(long.clone()), EntryType::Symlink),
                ("hard".to_owned(), Some(long), EntryType::Link),
            ]
        );
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        for size in [4, 6] {
            let mut writer = TarWriter::new(Vec::new());
            assert!(writer.append(&entry("f", Kind::File(size)), &b"hello"[..]).is_err());
        }
    }
}
