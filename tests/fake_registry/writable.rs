//! A registry in this process that can be pushed to, strict where the specification is, and that fails when told to.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use esker::oci::Digest;

use super::{Reply, Request};

/// What is done about a request before anything of its body is read.
pub enum Fault {
    /// Nothing is wrong.
    None,
    /// This is answered, and nothing done.
    Reply(Reply),
    /// So many bytes of the body are read, and the connection closed.
    Break(usize),
    /// All is done as it should be, and the connection closed without an answer.
    Mute,
    /// Nothing is read and nothing answered, for so many milliseconds.
    Hang(u64),
}

/// What the registry can do.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// It has the referrers API.
    pub referrers: bool,
    /// It takes blobs as one stream; otherwise it answers with this status.
    pub refuses_streams: Option<u16>,
    /// The fewest bytes of a chunk.
    pub min_chunk: usize,
}

impl Default for Features {
    fn default() -> Self {
        Self { referrers: true, refuses_streams: None, min_chunk: 0 }
    }
}

/// A document: its media type and its bytes.
type Stored = (String, Vec<u8>);

/// What was pushed.
#[derive(Clone, Default)]
pub struct State {
    /// By repository and digest.
    pub blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and digest or tag.
    pub manifests: BTreeMap<(String, String), Stored>,
    uploads: HashMap<String, Vec<u8>>,
    next: usize,
}

type Before = dyn Fn(&Request) -> Fault + Send + Sync;
type After = dyn Fn(&Request, Reply) -> Reply + Send + Sync;

/// See the module's documentation. The server ends with the test's process.
pub struct Writable {
    pub address: String,
    shared: Arc<Shared>,
}

struct Shared {
    features: Features,
    state: Mutex<State>,
    requests: Mutex<Vec<Request>>,
    before: Box<Before>,
    after: Box<After>,
}

impl Writable {
    /// `before` is asked about each request, `after` gets each proper reply and returns what is sent.
    pub fn start(
        features: Features,
        before: impl Fn(&Request) -> Fault + Send + Sync + 'static,
        after: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            features,
            state: Mutex::default(),
            requests: Mutex::default(),
            before: Box::new(before),
            after: Box::new(after),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || shared.serve(&connection.unwrap()));
            }
        });
        Self { address, shared }
    }

    /// One that does all as it should.
    pub fn proper() -> Self {
        Self::start(Features::default(), |_| Fault::None, |_, reply| reply)
    }

    pub fn state(&self) -> State {
        self.shared.state.lock().unwrap().clone()
    }

    /// Puts a blob into a repository.
    pub fn seed(&self, repository: &str, bytes: &[u8]) {
        let key = (repository.to_owned(), Digest::of(bytes).to_string());
        self.shared.state.lock().unwrap().blobs.insert(key, bytes.to_vec());
    }

    /// Puts other content in place of a blob.
    pub fn spoil(&self, repository: &str, digest: &str) {
        let key = (repository.to_owned(), digest.to_owned());
        let mut state = self.shared.state.lock().unwrap();
        state.blobs.get_mut(&key).unwrap().iter_mut().for_each(|byte| *byte ^= 1);
    }

    /// Forgets the blobs of a repository.
    pub fn remove(&self, repository: &str) {
        self.shared.state.lock().unwrap().blobs.retain(|(of, _), _| of != repository);
    }

    /// Puts a manifest in place of everything in a repository that refers to something.
    pub fn replace_records(&self, repository: &str, bytes: &[u8]) {
        let mut state = self.shared.state.lock().unwrap();
        state
            .manifests
            .retain(|(of, _), (_, bytes)| of != repository || !String::from_utf8_lossy(bytes).contains("\"subject\""));
        let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
        let key = (repository.to_owned(), Digest::of(bytes).to_string());
        state.manifests.insert(key, (media_type, bytes.to_vec()));
    }

    /// All requests: `PUT /v2/…`, with their queries.
    pub fn log(&self) -> Vec<String> {
        self.requests().iter().map(|request| format!("{} {}", request.method, request.path)).collect()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Forgets what was asked.
    pub fn forget(&self) {
        self.shared.requests.lock().unwrap().clear();
    }
}

impl Shared {
    fn serve(&self, mut connection: &TcpStream) {
        let mut reader = BufReader::new(connection);
        let Some(mut request) = super::head(&mut reader) else { return };
        let earlier = {
            let mut requests = self.requests.lock().unwrap();
            let same = |earlier: &&Request| (&earlier.method, &earlier.path) == (&request.method, &request.path);
            let earlier = requests.iter().filter(same).count();
            request.earlier = earlier;
            requests.push(request.clone());
            earlier
        };
        let mut fault = (self.before)(&request);
        match fault {
            Fault::Break(bytes) => {
                let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
                drop(std::io::copy(&mut reader.take(length.min(bytes as u64)), &mut std::io::sink()));
                return;
            }
            Fault::Hang(milliseconds) => {
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
                return;
            }
            _ => {}
        }
        let Some(body) = body(&mut reader, &request) else { return };
        request.earlier = earlier;
        let reply = match &mut fault {
            Fault::Reply(reply) => std::mem::take(reply),
            _ => (self.after)(&request, self.answer(&request, body)),
        };
        if matches!(fault, Fault::Mute) {
            return;
        }
        let body = if request.method == "HEAD" { &[][..] } else { &reply.body[..] };
        let mut head =
            format!("HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = &body[..reply.cut.unwrap_or(body.len()).min(body.len())];
        // The client may be gone: then there is nobody to tell.
        let _gone = connection.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| connection.write_all(body));
    }

    /// What a registry without faults does and answers (distribution-spec 1.1).
    fn answer(&self, request: &Request, body: Vec<u8>) -> Reply {
        let url = url::Url::parse("http://registry/").unwrap().join(&request.path).unwrap();
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let Some(path) = url.path().strip_prefix("/v2/") else { return Reply::status(404) };
        let mut state = self.state.lock().unwrap();
        for kind in ["/blobs/uploads/", "/blobs/", "/manifests/", "/referrers/"] {
            if let Some((repository, name)) = path.split_once(kind) {
                return match (kind, request.method.as_str()) {
                    ("/blobs/uploads/", "POST") => state.begin(repository, &query, self.features),
                    ("/blobs/uploads/", _) => state.upload(repository, name, &query, request, body, self.features),
                    ("/blobs/", _) => state.blob(repository, name, request),
                    ("/manifests/", "PUT") => state.put_manifest(repository, name, request, &body, self.features),
                    ("/manifests/", _) => state.manifest(repository, name),
                    _ if self.features.referrers => state.referrers(repository, name),
                    _ => Reply::status(404),
                };
            }
        }
        Reply::status(404)
    }
}

/// The body, of whatever length it says it is.
fn body(reader: &mut impl BufRead, request: &Request) -> Option<Vec<u8>> {
    assert_ne!(request.header("transfer-encoding"), Some("chunked"), "registries want to know the length");
    let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

impl State {
    fn begin(&mut self, repository: &str, query: &HashMap<String, String>, features: Features) -> Reply {
        if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
            && let Some(blob) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
        {
            self.blobs.insert((repository.to_owned(), digest.clone()), blob);
            return Reply::status(201).with("location", &format!("/v2/{repository}/blobs/{digest}"));
        }
        self.next += 1;
        let id = format!("upload-{}", self.next);
        self.uploads.insert(id.clone(), Vec::new());
        let reply = Reply::status(202).with("location", &format!("/v2/{repository}/blobs/uploads/{id}?state=1"));
        match features.min_chunk {
            0 => reply,
            bytes => reply.with("oci-chunk-min-length", &bytes.to_string()),
        }
    }

    fn upload(
        &mut self,
        repository: &str,
        id: &str,
        query: &HashMap<String, String>,
        request: &Request,
        body: Vec<u8>,
        features: Features,
    ) -> Reply {
        assert!(query.contains_key("state"), "what a location says is kept: {}", request.path);
        let Some(received) = self.uploads.get_mut(id) else { return Reply::status(404) };
        let location = format!("/v2/{repository}/blobs/uploads/{id}?state={}", received.len() + body.len());
        match request.method.as_str() {
            "PATCH" => {
                let range = format!("{}-{}", received.len(), received.len() + body.len() - 1);
                if request.header("content-range") != Some(&range) {
                    return Reply::status(416);
                }
                received.extend(body);
                Reply::status(202).with("location", &location).with("range", &format!("0-{}", received.len() - 1))
            }
            "PUT" => {
                if let Some(status) = features.refuses_streams.filter(|_| !body.is_empty()) {
                    return Reply::status(status);
                }
                let mut blob = self.uploads.remove(id).unwrap();
                blob.extend(body);
                let digest = Digest::of(&blob).to_string();
                if query.get("digest") != Some(&digest) {
                    return refused(400, "DIGEST_INVALID");
                }
                self.blobs.insert((repository.to_owned(), digest.clone()), blob);
                Reply::status(201).with("docker-content-digest", &digest)
            }
            _ => {
                let last = received.len().saturating_sub(1);
                Reply::status(204).with("location", &location).with("range", &format!("0-{last}"))
            }
        }
    }

    fn blob(&self, repository: &str, digest: &str, request: &Request) -> Reply {
        let Some(blob) = self.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
            return Reply::status(404);
        };
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((from, to)) = range.and_then(|range| range.split_once('-')) else { return Reply::body(blob.clone()) };
        let from: usize = from.parse().unwrap();
        let to = to.parse().map_or(blob.len() - 1, |to: usize| to.min(blob.len() - 1));
        let range = format!("bytes {from}-{to}/{}", blob.len());
        Reply { status: 206, ..Reply::body(&blob[from..=to]) }.with("content-range", &range)
    }

    fn manifest(&self, repository: &str, name: &str) -> Reply {
        match self.manifests.get(&(repository.to_owned(), name.to_owned())) {
            Some((media_type, bytes)) => Reply::body(bytes.clone())
                .with("content-type", media_type)
                .with("docker-content-digest", &Digest::of(bytes).to_string()),
            None => Reply::status(404),
        }
    }

    fn put_manifest(
        &mut self,
        repository: &str,
        name: &str,
        request: &Request,
        body: &[u8],
        features: Features,
    ) -> Reply {
        let digest = Digest::of(body).to_string();
        if name.starts_with("sha256:") && name != digest {
            return refused(400, "DIGEST_INVALID");
        }
        let document: serde_json::Value = serde_json::from_slice(body).unwrap();
        let media_type = request.header("content-type").unwrap().to_owned();
        assert_eq!(document["mediaType"].as_str(), Some(media_type.as_str()));
        let missing = |kind: &str, there: &dyn Fn(&str) -> bool| {
            let listed = document[kind].as_array().cloned().unwrap_or_default();
            let config = document.get("config").filter(|_| kind == "layers").cloned();
            listed.iter().chain(&config).any(|descriptor| !there(descriptor["digest"].as_str().unwrap()))
        };
        let has_blob = |digest: &str| self.blobs.contains_key(&(repository.to_owned(), digest.to_owned()));
        let has_manifest = |digest: &str| self.manifests.contains_key(&(repository.to_owned(), digest.to_owned()));
        if missing("layers", &has_blob) || missing("manifests", &has_manifest) {
            return refused(400, "MANIFEST_BLOB_UNKNOWN");
        }
        for name in [name, &digest] {
            self.manifests.insert((repository.to_owned(), name.to_owned()), (media_type.clone(), body.to_vec()));
        }
        let reply = Reply::status(201).with("docker-content-digest", &digest);
        match document.pointer("/subject/digest").and_then(|subject| subject.as_str()).filter(|_| features.referrers) {
            Some(subject) => reply.with("oci-subject", subject),
            None => reply,
        }
    }

    fn referrers(&self, repository: &str, subject: &str) -> Reply {
        let mut found = Vec::new();
        for ((of, name), (media_type, bytes)) in &self.manifests {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let refers = document.pointer("/subject/digest").and_then(|digest| digest.as_str()) == Some(subject);
            if of == repository && name.starts_with("sha256:") && refers {
                found.push(serde_json::json!({
                    "mediaType": media_type, "digest": name, "size": bytes.len(),
                    "artifactType": document["artifactType"], "annotations": document["annotations"],
                }));
            }
        }
        let media_type = "application/vnd.oci.image.index.v1+json";
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": found });
        Reply::body(index.to_string()).with("content-type", media_type)
    }
}

fn refused(status: u16, code: &str) -> Reply {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": code }] });
    Reply { status, ..Reply::body(body.to_string()) }
}
