//! The physical limit of a cold build: for each package given, read, SHA-256, zstd decompress, SHA-256 of what comes out,
//! zstd compress, SHA-256 and write of that. With the libraries, the level and the threads of a build, and nothing else:
//! no paths, no placeholders, no tar.
//!
//! `limit THREADS OUT ARCHIVE...` prints wall seconds, CPU seconds, bytes in, unpacked and out, as JSON.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use esker::oci::Compression;
use sha2::{Digest, Sha256};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Bytes {
    read: AtomicU64,
    unpacked: AtomicU64,
    written: AtomicU64,
}

/// Hashes and counts what passes.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
    count: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.count += bytes.len() as u64;
    }

    fn finish(self) -> u64 {
        std::hint::black_box(self.hash.finalize());
        self.count
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.passed(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn package(path: &Path, out: &Path, bytes: &Bytes) -> Result<(), Failure> {
    let mut archive = Hashing::new(std::io::sink());
    std::io::copy(&mut BufReader::with_capacity(1 << 17, File::open(path)?), &mut archive)?;
    bytes.read.fetch_add(archive.finish(), Ordering::Relaxed);
    let mut zip = zip::ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut names = zip.file_names().filter_map(Result::ok).map(std::borrow::Cow::into_owned);
    let name = names.find(|name| name.starts_with("pkg-")).ok_or("no pkg- in it")?;
    drop(names);
    let mut unpacked = Hashing::new(std::io::sink());
    let mut decoder = zstd::Decoder::new(zip.by_name(&name)?)?;
    let file = out.join(path.file_name().ok_or("no name")?);
    let mut encoder = Compression::ZSTD.encoder(Hashing::new(File::create(&file)?))?;
    let mut buffer = vec![0; 1 << 17];
    loop {
        let n = decoder.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        unpacked.passed(&buffer[..n]);
        encoder.write_all(&buffer[..n])?;
    }
    bytes.unpacked.fetch_add(unpacked.finish(), Ordering::Relaxed);
    bytes.written.fetch_add(encoder.finish()?.finish(), Ordering::Relaxed);
    Ok(())
}

/// User and system time of this process, in seconds.
fn cpu() -> Result<f64, Failure> {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

#[allow(clippy::print_stdout, reason = "it is what this program is for")]
fn main() -> Result<(), Failure> {
    // `cargo bench` puts a `--bench` in front or behind; `cargo test --benches` gives nothing.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [threads, out, archives @ ..] = &words[..] else { return Ok(()) };
    let (threads, out) = (threads.parse::<usize>()?, PathBuf::from(out));
    let mut sized = Vec::new();
    for archive in archives {
        sized.push((std::fs::metadata(archive)?.len(), PathBuf::from(archive)));
    }
    sized.sort();
    let (queue, bytes, start) = (Mutex::new(sized), Bytes::default(), Instant::now());
    std::thread::scope(|scope| {
        let work = || -> Result<(), Failure> {
            loop {
                let next = queue.lock().map_err(|error| error.to_string())?.pop();
                let Some((_, path)) = next else { return Ok(()) };
                package(&path, &out, &bytes)?;
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })?;
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{{\"wall\": {:.3}, \"cpu\": {:.3}, \"read\": {}, \"unpacked\": {}, \"written\": {}}}",
        start.elapsed().as_secs_f64(),
        cpu()?,
        load(&bytes.read),
        load(&bytes.unpacked),
        load(&bytes.written)
    );
    Ok(())
}
