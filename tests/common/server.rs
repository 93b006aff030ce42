//! A server of files on loopback which fails when told to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use url::Url;

use super::channel::CONDA_FORGE;

/// What goes wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status and a short body.
    Status(u16),
    /// The whole length is promised, half of the body is sent, the connection is closed.
    Truncate,
    /// As many bytes as there should be, each of them wrong.
    Corrupt,
    /// The connection is reset before an answer.
    Reset,
    /// The body comes in pieces, with pauses of this many milliseconds (about 20 of them).
    Slow(u64),
}

/// An HTTP/1.1 server on 127.0.0.1, on a port of the system's choosing; it stops when dropped. Answers GET and HEAD for
/// the files below a folder, with ranges. As a proxy it answers for any host.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    dir: PathBuf,
    faults: Mutex<HashMap<String, (Fault, usize)>>,
    authorization: Mutex<Option<String>>,
    redirects: Mutex<HashMap<String, Url>>,
    requests: Mutex<Vec<String>>,
    heads: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
}

impl Server {
    /// Serves `dir`.
    pub fn start(dir: impl AsRef<Path>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { dir: dir.as_ref().to_path_buf(), ..Shared::default() });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Its address: `http://127.0.0.1:PORT/`.
    pub fn url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.address)).expect("it is one")
    }

    /// This server in place of conda-forge.
    pub fn mirror(&self) -> esker::project::Mirror {
        esker::project::Mirror { from: Url::parse(CONDA_FORGE).expect("it is one"), to: self.url() }
    }

    /// The next `times` GETs of paths that end in `suffix` go wrong.
    pub fn inject(&self, suffix: &str, fault: Fault, times: usize) {
        self.shared.faults.lock().expect("no thread panicked").insert(suffix.into(), (fault, times));
    }

    /// From now on, 401 unless the `Authorization` header is this (`Bearer abc`, `Basic dTpw`).
    pub fn require_authorization(&self, value: &str) {
        *self.shared.authorization.lock().expect("no thread panicked") = Some(value.into());
    }

    /// From now on, who asks for a path that ends in `suffix` is sent to the same path below `to`.
    pub fn redirect(&self, suffix: &str, to: Url) {
        self.shared.redirects.lock().expect("no thread panicked").insert(suffix.into(), to);
    }

    /// Requests so far, each with its headers, names in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().expect("no thread panicked").clone()
    }

    /// Requests so far: `GET /noarch/repodata.json`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no thread panicked").clone()
    }

    /// How many GETs there were of paths that end in `suffix`.
    pub fn gets(&self, suffix: &str) -> usize {
        self.requests().iter().filter(|line| line.starts_with("GET ") && line.ends_with(suffix)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then sees that it should stop.
        drop(TcpStream::connect(self.address));
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        if let Ok(stream) = stream {
            let shared = Arc::clone(shared);
            // A client that goes away is no failure of the server's.
            std::thread::spawn(move || drop(answer(&stream, &shared)));
        }
    }
}

fn answer(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let Some(request) = peek_request(stream)? else { return Ok(()) };
    shared.requests.lock().expect("no thread panicked").push(format!("{} {}", request.method, request.path));
    shared.heads.lock().expect("no thread panicked").push(request.head());
    let fault = if request.method == "GET" { shared.take_fault(&request.path) } else { None };
    if fault == Some(Fault::Reset) {
        // Closing while the request is still unread makes the kernel send a reset.
        return Ok(());
    }
    consume_request(stream)?;
    let required = shared.authorization.lock().expect("no thread panicked").clone();
    if required.is_some() && required.as_ref() != request.headers.get("authorization") {
        return plain(stream, 401, &request.method);
    }
    if let Some(to) = shared.redirect(&request.path) {
        let head = format!("HTTP/1.1 302 Told\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        return (&*stream).write_all(head.as_bytes());
    }
    match (fault, shared.open(&request.path)) {
        (Some(Fault::Status(status)), _) => plain(stream, status, &request.method),
        (fault, Some(file)) => send(stream, &request, file, fault),
        (_, None) => plain(stream, 404, &request.method),
    }
}

/// Reads the head of the request without taking it from the socket.
fn peek_request(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut buffer = vec![0; 16 * 1024];
    for _ in 0..1000 {
        let count = stream.peek(&mut buffer)?;
        let head = String::from_utf8_lossy(&buffer[..count]);
        if let Some((head, _)) = head.split_once("\r\n\r\n") {
            return Ok(Request::parse(head));
        }
        if count == 0 {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

fn consume_request(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(())
}

impl Request {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        let mut words = lines.next()?.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Self { method, path, headers })
    }

    fn head(&self) -> String {
        let mut lines: Vec<_> = self.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.sort();
        format!("{} {}\n{}", self.method, self.path, lines.join("\n"))
    }
}

impl Shared {
    fn take_fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("no thread panicked");
        let (fault, times) = faults.iter_mut().find(|(suffix, _)| path.ends_with(suffix.as_str()))?.1;
        *times = times.checked_sub(1)?;
        Some(*fault)
    }

    fn redirect(&self, path: &str) -> Option<Url> {
        let redirects = self.redirects.lock().expect("no thread panicked");
        let (_, to) = redirects.iter().find(|(suffix, _)| path.ends_with(suffix.as_str()))?;
        to.join(path.trim_start_matches('/')).ok()
    }

    fn open(&self, path: &str) -> Option<std::fs::File> {
        // A proxy is asked for whole URLs.
        let path = path.strip_prefix("http://").map_or(path, |url| &url[url.find('/').unwrap_or(url.len())..]);
        // A folder is asked for by its index, as PEP 503 has it.
        let path = if path.ends_with('/') { format!("{path}index.html") } else { path.to_owned() };
        let relative = Path::new(path.trim_start_matches('/'));
        let below = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let file = std::fs::File::open(self.dir.join(relative)).ok().filter(|_| below)?;
        file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
    }
}

fn plain(mut stream: &TcpStream, status: u16, method: &str) -> std::io::Result<()> {
    let body = if method == "HEAD" { String::new() } else { format!("{status}\n") };
    write!(stream, "HTTP/1.1 {status} Told\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn send(
    mut stream: &TcpStream,
    request: &Request,
    mut file: std::fs::File,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let (size, etag) = (file.metadata()?.len(), etag(&file.metadata()?));
    if request.headers.get("if-none-match") == Some(&etag) {
        let head = "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n";
        return write!(stream, "{head}etag: {etag}\r\n\r\n");
    }
    let start =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-')?.0.parse().ok());
    let (status, start) = match start {
        Some(start) if start >= size => return plain(stream, 416, &request.method),
        Some(start) => ("206 Partial Content", start),
        None => ("200 OK", 0),
    };
    let length = size - start;
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n")?;
    write!(stream, "accept-ranges: bytes\r\netag: {etag}\r\n")?;
    if request.path.ends_with('/') {
        write!(stream, "content-type: text/html\r\n")?;
    }
    if start > 0 {
        write!(stream, "content-range: bytes {start}-{}/{size}\r\n", size - 1)?;
    }
    stream.write_all(b"\r\n")?;
    if request.method == "HEAD" {
        return Ok(());
    }
    file.seek(SeekFrom::Start(start))?;
    let mut body = Vec::new();
    file.read_to_end(&mut body)?;
    match fault {
        Some(Fault::Truncate) => stream.write_all(&body[..body.len() / 2]),
        Some(Fault::Corrupt) => stream.write_all(&body.iter().map(|byte| !byte).collect::<Vec<_>>()),
        Some(Fault::Slow(pause)) => body.chunks(body.len() / 20 + 1).try_for_each(|chunk| {
            std::thread::sleep(Duration::from_millis(pause));
            stream.write_all(chunk)
        }),
        _ => stream.write_all(&body),
    }
}

/// Another one whenever the file is written again.
fn etag(metadata: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!("\"{:x}-{:x}-{:x}\"", metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
