//! The physical limit of a cold build: of each package, read, SHA-256, decompress, SHA-256 of what comes out; of each
//! layer, SHA-256, zstd compress, SHA-256 and write of the bytes that the build's has. With the libraries, the level and
//! the threads of a build, and nothing else: no paths, no placeholders, no tar, and no byte code to compile.
//!
//! `limit THREADS OUT FILE...` prints wall seconds, CPU seconds, bytes in, unpacked, packed and out, as JSON. Files whose
//! name ends in `.conda` or `.tar.bz2` are packages, others are layers in zstd, which are unpacked before the clock starts.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use esker::oci::Compression;
use rattler_package_streaming::read::stream_tar_bz2;
use sha2::{Digest, Sha256};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Bytes {
    read: AtomicU64,
    unpacked: AtomicU64,
    packed: AtomicU64,
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

/// What is to be done for one file.
enum Job {
    /// To be unpacked.
    Package(PathBuf),
    /// The content of a layer.
    Layer(Vec<u8>),
}

fn package(path: &Path, bytes: &Bytes) -> Result<(), Failure> {
    let mut archive = Hashing::new(std::io::sink());
    std::io::copy(&mut BufReader::with_capacity(1 << 17, File::open(path)?), &mut archive)?;
    bytes.read.fetch_add(archive.finish(), Ordering::Relaxed);
    let mut unpacked = Hashing::new(std::io::sink());
    if path.extension().is_some_and(|extension| extension == "bz2") {
        let content = stream_tar_bz2(BufReader::with_capacity(1 << 17, File::open(path)?));
        std::io::copy(&mut content.into_inner(), &mut unpacked)?;
        bytes.unpacked.fetch_add(unpacked.finish(), Ordering::Relaxed);
        return Ok(());
    }
    let mut zip = zip::ZipArchive::new(BufReader::new(File::open(path)?))?;
    let mut names = zip.file_names().filter_map(Result::ok).map(std::borrow::Cow::into_owned);
    let name = names.find(|name| name.starts_with("pkg-")).ok_or("no pkg- in it")?;
    drop(names);
    std::io::copy(&mut zstd::Decoder::new(zip.by_name(&name)?)?, &mut unpacked)?;
    bytes.unpacked.fetch_add(unpacked.finish(), Ordering::Relaxed);
    Ok(())
}

fn layer(content: &[u8], out: &Path, bytes: &Bytes) -> Result<(), Failure> {
    let mut packed = Hashing::new(std::io::sink());
    let file = tempfile::NamedTempFile::new_in(out)?;
    let mut encoder = Compression::ZSTD.encoder(Hashing::new(file))?;
    for piece in content.chunks(1 << 17) {
        packed.passed(piece);
        encoder.write_all(piece)?;
    }
    bytes.packed.fetch_add(packed.finish(), Ordering::Relaxed);
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
    let [threads, out, files @ ..] = &words[..] else { return Ok(()) };
    let (threads, out) = (threads.parse::<usize>()?, PathBuf::from(out));
    let mut sized = Vec::new();
    for file in files {
        sized.push(if file.ends_with(".conda") || file.ends_with(".tar.bz2") {
            (std::fs::metadata(file)?.len(), Job::Package(PathBuf::from(file)))
        } else {
            let content = zstd::decode_all(File::open(file)?)?;
            (content.len() as u64, Job::Layer(content))
        });
    }
    // The largest first, as a build does.
    sized.sort_by_key(|(size, _)| *size);
    let before = cpu()?;
    let (queue, bytes, start) = (Mutex::new(sized), Bytes::default(), Instant::now());
    std::thread::scope(|scope| {
        let work = || -> Result<(), Failure> {
            loop {
                let next = queue.lock().map_err(|error| error.to_string())?.pop();
                match next {
                    None => return Ok(()),
                    Some((_, Job::Package(path))) => package(&path, &bytes)?,
                    Some((_, Job::Layer(content))) => layer(&content, &out, &bytes)?,
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a thread panicked")?)
    })?;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu()? - before);
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    println!(
        "{{\"wall\": {wall:.3}, \"cpu\": {cpu:.3}, \"read\": {}, \"unpacked\": {}, \"packed\": {}, \"written\": {}}}",
        load(&bytes.read),
        load(&bytes.unpacked),
        load(&bytes.packed),
        load(&bytes.written)
    );
    Ok(())
}
