//! A root file system in a tar file, made into an image of one layer.
//!
//! The archive becomes the layer as it is, only compressed as asked. That happens once: the cache knows the layer by
//! the file's digest and the compression. On the way a program's ELF header tells the CPU it is for, because nothing
//! else in a tar file does.

use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::memory::{Made, Memory};
use super::{BaseImage, BaseRequest};
use crate::oci::digest::HashingWriter;
use crate::oci::entries::{Entries, EntryKind};
use crate::oci::{self, Compression, Digest, Encoder, Platform};
use crate::progress::{Progress, Task, Unit};

/// Part of the name of what is remembered: another way to make the layer needs another number.
const FORMAT: u32 = 1;
/// How often progress is shown while another thread works.
const TICK: Duration = Duration::from_millis(100);

/// A file, and how its layer is to be compressed.
#[derive(Clone, Debug)]
pub struct Rootfs {
    pub file: PathBuf,
    pub compression: Compression,
}

/// The CPU a program is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// `e_machine` of the ELF header.
    number: u16,
    little_endian: bool,
    /// The program.
    program: PathBuf,
}

pub async fn resolve(request: &BaseRequest<'_>, rootfs: Rootfs, progress: &dyn Progress) -> Result<BaseImage> {
    let work = Work { rootfs, memory: Memory::open(request)? };
    let total = fs_err::metadata(&work.rootfs.file).map_err(|source| work.unreadable(source))?.len();
    let task = Task::start(progress, &format!("reading {}", request.source), Some(total), Unit::Bytes);
    let (source_digest, made, memory) = in_thread(request, &task, work).await?;
    request.check_pin(source_digest)?;
    made.check_machine(request)?;
    Ok(memory.image(request, source_digest, source_digest, &made))
}

/// Does the work in a thread of its own, so that the caller can show progress and be interrupted.
async fn in_thread(request: &BaseRequest<'_>, task: &Task<'_>, work: Work) -> Result<(Digest, Made, Memory)> {
    let meter = Arc::new(Meter::default());
    let _stop = StopOnDrop(Arc::clone(&meter));
    let (pinned, base) = (request.pinned, request.name());
    let measured = Arc::clone(&meter);
    let mut thread = tokio::task::spawn_blocking(move || work.run(pinned, base, &measured));
    let mut shown = 0;
    loop {
        let done = tokio::time::timeout(TICK, &mut thread).await;
        let read = meter.read.load(Ordering::Relaxed);
        task.advance(read - shown);
        shown = read;
        if let Ok(joined) = done {
            return joined.map_err(|_| Error::Interrupted { base: request.name() })?;
        }
    }
}

#[derive(Default)]
struct Meter {
    read: AtomicU64,
    stopped: AtomicBool,
}

impl Meter {
    fn check(&self) -> io::Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(io::Error::other("interrupted")) } else { Ok(()) }
    }
}

struct StopOnDrop(Arc<Meter>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

struct Work {
    rootfs: Rootfs,
    memory: Memory,
}

impl Work {
    fn run(self, pinned: Option<Digest>, base: String, meter: &Meter) -> Result<(Digest, Made, Memory)> {
        let found = self.memory.seen.digest(&self.rootfs.file, |_| meter.check());
        let found = found.map_err(|source| self.unreadable(source))?;
        if let Some(pinned) = pinned.filter(|pinned| *pinned != found) {
            return Err(Error::PinMismatch { base, pinned, found });
        }
        let record = format!("{}-{}-{FORMAT}.json", found.hex(), self.rootfs.compression);
        if let Some(made) = self.memory.recall(&record) {
            return Ok((found, made, self.memory));
        }
        let made = self.make(&base, meter)?;
        self.memory.remember(&record, &made).map_err(|source| Error::Cache { base, source })?;
        Ok((found, made, self.memory))
    }

    fn make(&self, base: &str, meter: &Meter) -> Result<Made> {
        let uncached = |source| Error::Cache { base: base.to_owned(), source };
        let blob = self.memory.store.writer().map_err(uncached)?;
        let unwritten = |source| uncached(oci::Error::Write { path: self.memory.store.path().to_owned(), source });
        let encoder = self.rootfs.compression.encoder(blob).map_err(unwritten)?;
        let mut tee = Tee {
            source: self.open(meter).map_err(|source| self.unreadable(source))?,
            sink: HashingWriter::new(encoder),
            failed: None,
        };
        let machine = copy(&mut tee);
        if let Some(source) = tee.failed {
            return Err(unwritten(source));
        }
        let machine = machine.map_err(|source| self.unreadable(source))?;
        let (encoder, diff_id, _): (Encoder<_>, _, _) = tee.sink.finish();
        let (digest, size) = encoder.finish().map_err(unwritten)?.commit().map_err(uncached)?;
        Ok(Made { digest, size, diff_id, machine })
    }

    /// The decompressed archive.
    fn open<'a>(&self, meter: &'a Meter) -> io::Result<Box<dyn Read + Send + 'a>> {
        let mut file = fs_err::File::open(&self.rootfs.file)?;
        let mut magic = [0; 6];
        let read = file.read(&mut magic)?;
        file.rewind()?;
        let metered = Metered { source: BufReader::with_capacity(1 << 17, file), meter };
        compression_of(&magic[..read])?.decoder(metered)
    }

    fn unreadable(&self, source: io::Error) -> Error {
        Error::Rootfs { path: self.rootfs.file.clone(), source }
    }
}

/// Recognises a compression by how a file begins, whatever its name is.
fn compression_of(magic: &[u8]) -> io::Result<Compression> {
    match magic {
        [0x1f, 0x8b, ..] => Ok(Compression::GZIP),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::ZSTD),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(io::Error::other("xz is not supported: use gzip, zstd or none")),
        [b'B', b'Z', b'h', ..] => Err(io::Error::other("bzip2 is not supported: use gzip, zstd or none")),
        _ => Ok(Compression::None),
    }
}

/// Reads an archive to its end, so that all of it goes through `tee`; finds out what CPU it is for.
fn copy<R: Read, W: Write>(tee: &mut Tee<R, W>) -> io::Result<Option<Machine>> {
    let mut machine = None;
    let mut empty = true;
    let mut entries = Entries::new(&mut *tee);
    while let Some(entry) = entries.next_entry()? {
        empty = false;
        if machine.is_none() && entry.kind == EntryKind::File && is_program(&entry.path) {
            let mut header = Vec::new();
            (&mut entries).take(20).read_to_end(&mut header)?;
            machine = Machine::of(&header, entry.path);
        }
    }
    if empty {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is an empty archive, or none"));
    }
    // Padding, and whatever else follows the end: it is part of the layer all the same.
    io::copy(tee, &mut io::sink())?;
    Ok(machine)
}

fn is_program(path: &Path) -> bool {
    ["bin", "sbin", "usr/bin", "usr/sbin"].iter().any(|directory| path.parent() == Some(Path::new(directory)))
}

impl Machine {
    /// Reads the beginning of an ELF file (System V ABI, "ELF Header"); `None` for a script.
    fn of(header: &[u8], program: PathBuf) -> Option<Self> {
        let &[0x7f, b'E', b'L', b'F', _, order, .., low, high] = header else { return None };
        let little_endian = order == 1;
        let number = if little_endian { [low, high] } else { [high, low] };
        (header.len() == 20).then(|| Self { number: u16::from_le_bytes(number), little_endian, program })
    }

    /// The platform, if it is one that images are built for.
    fn platform(&self) -> Option<Platform> {
        match (self.number, self.little_endian) {
            (62, true) => Some(Platform::LinuxAmd64),
            (183, true) => Some(Platform::LinuxArm64),
            (21, true) => Some(Platform::LinuxPpc64le),
            _ => None,
        }
    }
}

impl Made {
    fn check_machine(&self, request: &BaseRequest<'_>) -> Result<()> {
        let Some(machine) = &self.machine else { return Ok(()) };
        let found = machine.platform();
        if found == Some(request.platform) {
            return Ok(());
        }
        Err(Error::WrongArchitecture {
            base: request.name(),
            platform: request.platform,
            found: found.map_or_else(|| format!("another CPU (ELF machine {})", machine.number), |p| p.to_string()),
            program: machine.program.clone(),
        })
    }
}

struct Metered<'a, R> {
    source: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.meter.check()?;
        let n = self.source.read(buf)?;
        self.meter.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Passes on what is read, and writes it elsewhere, too.
struct Tee<R, W> {
    source: R,
    sink: W,
    /// Why writing failed: to the reader it looks like a failed read.
    failed: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        match self.sink.write_all(&buf[..n]) {
            Ok(()) => Ok(n),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}
