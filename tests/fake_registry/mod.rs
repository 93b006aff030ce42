//! A registry in this process that serves a layout, records what it is asked, and misbehaves on demand.

#![allow(dead_code, reason = "each test binary uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use esker::oci::{Digest, Layout};

pub mod real;
pub mod records;
pub mod writable;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
    /// How many requests of this path there were before.
    pub earlier: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body that are sent before the connection is closed, if not all.
    pub cut: Option<usize>,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }
}

type Hook = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// See the module's documentation. The server ends with the test's process.
pub struct FakeRegistry {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FakeRegistry {
    /// Serves `layout` as any repository; `hook` gets each request and the proper reply, and returns what is sent.
    pub fn start(layout: Layout, hook: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, hook): (_, Arc<Hook>) = (Arc::clone(&requests), Arc::new(hook));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (layout, seen, hook) = (layout.clone(), Arc::clone(&seen), Arc::clone(&hook));
                std::thread::spawn(move || serve(&connection.unwrap(), &layout, &seen, &*hook));
            }
        });
        Self { address, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut connection: &TcpStream, layout: &Layout, seen: &Mutex<Vec<Request>>, hook: &Hook) {
    let Some(mut request) = read(connection) else { return };
    {
        let mut seen = seen.lock().unwrap();
        request.earlier = seen.iter().filter(|earlier| earlier.path == request.path).count();
        seen.push(request.clone());
    }
    let reply = hook(&request, proper(&request, layout));
    let mut head =
        format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let sent = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    // The client may be gone: then there is nobody to tell.
    let _gone = connection.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| connection.write_all(sent));
}

fn read(connection: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let request = head(&mut reader)?;
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { body: String::from_utf8(body).unwrap(), ..request })
}

/// A request without its body.
fn head(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request { method, path, headers, body: String::new(), earlier: 0 })
}

/// What a registry without faults answers.
fn proper(request: &Request, layout: &Layout) -> Reply {
    let name = request.path.rsplit('/').next().unwrap_or_default();
    let digest = match name.parse::<Digest>() {
        Ok(digest) => digest,
        Err(_) if request.is_manifest() => layout.image_index_digest().unwrap(),
        Err(_) => return Reply::status(404),
    };
    let Ok(bytes) = std::fs::read(layout.blob_path(&digest)) else { return Reply::status(404) };
    let from = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match from {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Reply { status: 206, ..Reply::body(&bytes[from..]) }.with("content-range", &range)
        }
        None => Reply::body(bytes).with("docker-content-digest", &digest.to_string()),
    }
}
