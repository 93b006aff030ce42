//! A layer as a builder made it, without what it owes to the time and the machine it was made on.
//!
//! Contents, owners, permissions and attributes stay as they are, and so does the order. What goes: times after the
//! image's own, which are all of the build's; names of owners, which mean other numbers elsewhere; fractions of seconds
//! and times of access, which only some builders write.
//!
//! A `.pyc` file has the time of its source in it, which Python compares. Both are moved by the same rule, so whoever
//! fitted before fits after.

use std::io::{self, ErrorKind, Read, Write};

use ::tar::{EntryType, Header};

const BLOCK: usize = 512;
/// The most bytes of a long name or extended header.
const MAX_EXTENSION: u64 = 1 << 20;
/// Extended records that are times, or names of owners.
const DROPPED: [&[u8]; 7] = [b"mtime", b"atime", b"ctime", b"uname", b"gname", b"LIBARCHIVE.creationtime", b"comment"];
/// A `.pyc` file's header: magic number, flags, time of the source, its size (PEP 552).
const PYC_HEADER: usize = 16;

/// Copies the layer `source` to `sink`, where nothing is younger than `latest`, in seconds since 1970.
///
/// # Errors
/// Whatever the two return; `InvalidData` when `source` is no tar archive.
pub fn normalise(source: impl Read, sink: impl Write, latest: u64) -> io::Result<()> {
    Normaliser { source, sink, latest }.run()
}

struct Normaliser<R, W> {
    source: R,
    sink: W,
    latest: u64,
}

/// What extended headers say of the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read, W: Write> Normaliser<R, W> {
    fn run(mut self) -> io::Result<()> {
        let mut extension = Extension::default();
        while let Some(header) = self.header()? {
            match header.entry_type() {
                EntryType::XHeader => self.pax(header, &mut extension)?,
                // Comments of whoever wrote the archive.
                EntryType::XGlobalHeader => drop(self.extension(&header)?),
                EntryType::GNULongName => {
                    let name = self.long(header)?;
                    extension.path = Some(name);
                }
                EntryType::GNULongLink => drop(self.long(header)?),
                EntryType::GNUSparse => return Err(invalid("a file with holes")),
                _ => self.entry(header, &std::mem::take(&mut extension))?,
            }
        }
        self.sink.write_all(&crate::oci::tar::END)?;
        self.sink.flush()?;
        // Padding, and whatever follows: whoever writes to us must not be cut off.
        io::copy(&mut self.source, &mut io::sink()).map(drop)
    }

    fn entry(&mut self, mut header: Header, extension: &Extension) -> io::Result<()> {
        let size = match extension.size {
            Some(size) => size,
            None => header.entry_size()?,
        };
        let size = if matches!(header.entry_type(), EntryType::Regular | EntryType::Continuous) { size } else { 0 };
        let path = extension.path.clone().unwrap_or_else(|| header.path_bytes().into_owned());
        self.put(&mut header)?;
        let mut content = (&mut self.source).take(size);
        let mut start = Vec::new();
        if path.ends_with(b".pyc") {
            (&mut content).take(PYC_HEADER as u64).read_to_end(&mut start)?;
            move_source_time(&mut start, self.latest);
            self.sink.write_all(&start)?;
        }
        let copied = io::copy(&mut content, &mut self.sink)?;
        if copied + start.len() as u64 != size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.pad(size, true)
    }

    /// Writes the header of an entry, moved and cleared.
    fn put(&mut self, header: &mut Header) -> io::Result<()> {
        // A time before 1970 is a negative number, which reads as an enormous one: it is no younger.
        let time = header.mtime().unwrap_or(0);
        if time > self.latest && i64::try_from(time).is_ok() {
            header.set_mtime(self.latest);
        }
        let is_gnu = header.as_gnu().is_some();
        let bytes = header.as_mut_bytes();
        if is_gnu || &bytes[257..262] == b"ustar" {
            bytes[265..329].fill(0);
        }
        if is_gnu {
            // Times of access and of change.
            bytes[345..369].fill(0);
        }
        header.set_cksum();
        self.sink.write_all(header.as_bytes())
    }

    /// Keeps of an extended header what is neither a time nor a name.
    fn pax(&mut self, mut header: Header, extension: &mut Extension) -> io::Result<()> {
        let bytes = self.extension(&header)?;
        let mut kept = Vec::new();
        for (key, value, record) in records(&bytes)? {
            match key {
                b"path" => extension.path = Some(value.to_vec()),
                b"size" => extension.size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok()),
                key if key.starts_with(b"GNU.sparse.") => return Err(invalid("a file with holes")),
                _ => {}
            }
            if !DROPPED.contains(&key) {
                kept.push(record);
            }
        }
        if kept.is_empty() {
            return Ok(());
        }
        // Some builders write them in the order of a hash table.
        kept.sort_unstable();
        let kept = kept.concat();
        // The name is a remark: some put the number of their process into it.
        let name = &mut header.as_mut_bytes()[..100];
        name.fill(0);
        name[..12].copy_from_slice(b"PaxHeaders.0");
        header.as_mut_bytes()[345..500].fill(0);
        header.set_mtime(0);
        header.set_size(kept.len() as u64);
        self.put(&mut header)?;
        self.sink.write_all(&kept)?;
        self.pad(kept.len() as u64, false)
    }

    /// Passes a long name on, and returns it.
    fn long(&mut self, mut header: Header) -> io::Result<Vec<u8>> {
        let mut name = self.extension(&header)?;
        header.set_mtime(0);
        self.put(&mut header)?;
        self.sink.write_all(&name)?;
        self.pad(name.len() as u64, false)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        for _ in 0..2 {
            let mut block = (&mut self.source).take(BLOCK as u64);
            let mut bytes = Vec::with_capacity(BLOCK);
            match block.read_to_end(&mut bytes)? {
                0 => return Ok(None),
                BLOCK => header.as_mut_bytes().copy_from_slice(&bytes),
                _ => return Err(ErrorKind::UnexpectedEof.into()),
            }
            if bytes.iter().any(|byte| *byte != 0) {
                let mut right = header.clone();
                right.set_cksum();
                let is_right = header.cksum().ok() == right.cksum().ok();
                return if is_right { Ok(Some(header)) } else { Err(invalid("no tar header")) };
            }
        }
        Ok(None)
    }

    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > MAX_EXTENSION {
            return Err(invalid("an enormous extended header"));
        }
        let mut bytes = Vec::new();
        if (&mut self.source).take(size).read_to_end(&mut bytes)? as u64 != size {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.skip_padding(size)?;
        Ok(bytes)
    }

    /// Fills the last block of what was written, and passes over the source's padding if it is `read` alongside.
    fn pad(&mut self, size: u64, read: bool) -> io::Result<()> {
        if read {
            self.skip_padding(size)?;
        }
        self.sink.write_all(&[0; BLOCK][..padding(size)])
    }

    fn skip_padding(&mut self, size: u64) -> io::Result<()> {
        let mut rest = [0; BLOCK];
        self.source.read_exact(&mut rest[..padding(size)])
    }
}

fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).expect("less than a block")
}

/// Key, value, and all of a record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Records of `LENGTH KEY=VALUE\n` (POSIX.1-2001, "pax Extended Header").
fn records(mut bytes: &[u8]) -> io::Result<Vec<Record<'_>>> {
    let malformed = || invalid("a malformed extended header");
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let length = std::str::from_utf8(&bytes[..space]).ok().and_then(|length| length.parse::<usize>().ok());
        let record = length.and_then(|length| bytes.get(..length)).ok_or_else(malformed)?;
        let inner = record.get(space + 1..record.len() - 1).ok_or_else(malformed)?;
        let equals = inner.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        records.push((&inner[..equals], &inner[equals + 1..], record));
        bytes = &bytes[record.len()..];
    }
    Ok(records)
}

/// Moves the time of the source in the `header` of a `.pyc` file as the source's own time is moved. Those that are
/// checked by the source's hash, or not at all, have none.
fn move_source_time(header: &mut [u8], latest: u64) {
    let is_timed = header.len() == PYC_HEADER && header[2..4] == *b"\r\n" && header[4..8] == [0; 4];
    let Ok(latest) = u32::try_from(latest) else { return };
    if is_timed {
        let time = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        header[8..12].copy_from_slice(&time.min(latest).to_le_bytes());
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the layer has {what}"))
}

#[cfg(test)]
mod tests;
