//! Locked packages, served to build steps on this machine's loopback from esker's own cache.
//!
//! So a package is downloaded once for both engines, through the mirrors and with the credentials of whoever builds,
//! and no credentials get into a build. Only what is locked is served: `/https/HOST/PATH` is the package with that URL.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use super::error::Error;
use crate::channel::{self, Client};
use crate::lock::LockedPackage;
use crate::oci::Digest;

/// Ports that are tried first: below those that systems give away by themselves.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const CHUNK: usize = 1 << 18;

type Body = BoxBody<Bytes, io::Error>;

/// A server; dropping it ends it.
pub struct Mirror {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    client: Client,
    packages: BTreeMap<String, LockedPackage>,
    downloaded: AtomicUsize,
    /// The first reason for which a package could not be served.
    failed: Mutex<Option<channel::Error>>,
}

impl Mirror {
    /// Serves `packages`. The port follows from `project`, if it is free: it is an argument of the build, and what was
    /// built with the same ones is found in the builder's cache.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub async fn start(client: Client, packages: &[&LockedPackage], project: &Path) -> Result<Self, Error> {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port_of(project))).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::Serve)?,
        };
        let address = listener.local_addr().map_err(Error::Serve)?;
        let packages = packages.iter().filter_map(|package| Some((path_of(&package.url)?, (*package).clone())));
        let shared = Arc::new(Shared {
            client,
            packages: packages.collect(),
            downloaded: AtomicUsize::new(0),
            failed: Mutex::default(),
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, serving })
    }

    /// Its address, `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many packages had to be downloaded.
    pub fn downloaded(&self) -> usize {
        self.shared.downloaded.load(Ordering::Relaxed)
    }

    /// Why a package could not be served, if one could not: it explains why a build failed.
    pub fn failure(&self) -> Option<channel::Error> {
        self.shared.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn port_of(project: &Path) -> u16 {
    let [high, low, ..] = Digest::of(project.as_os_str().as_encoded_bytes()).bytes();
    PORTS.start + u16::from_be_bytes([high, low]) % (PORTS.end - PORTS.start)
}

/// Where a package is served.
fn path_of(url: &Url) -> Option<String> {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("/{}/{}{port}{}", url.scheme(), url.host_str()?, url.path()))
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and with them the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // What fails is one connection; who tried to make it tries again.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection of the builder's ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer<B>(shared: Arc<Shared>, request: Request<B>) -> Result<Response<Body>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Some(package) = shared.packages.get(request.uri().path()) else {
        return Ok(empty(StatusCode::NOT_FOUND));
    };
    match shared.file(package).await {
        Ok(path) => Ok(file(&path, request.method() == Method::HEAD).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a package cannot be read");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        })),
        Err(error) => {
            tracing::warn!(%error, "a package cannot be had");
            shared.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            Ok(empty(StatusCode::BAD_GATEWAY))
        }
    }
}

impl Shared {
    async fn file(&self, package: &LockedPackage) -> Result<PathBuf, channel::Error> {
        let is_there = self.client.has(&self.client.package_path(package)?);
        let path = self.client.package(package).await?;
        self.downloaded.fetch_add(usize::from(!is_there), Ordering::Relaxed);
        Ok(path)
    }
}

async fn file(path: &Path, only_head: bool) -> io::Result<Response<Body>> {
    let file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    let body = match only_head {
        true => nothing(),
        false => BodyExt::boxed(StreamBody::new(chunks(file).map(|chunk| chunk.map(Frame::data)))),
    };
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, size)
        .body(body);
    response.map_err(io::Error::other)
}

fn chunks(file: tokio::fs::File) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
    futures::stream::try_unfold(file, |mut file| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (chunk.freeze(), file)))
    })
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(nothing());
    *response.status_mut() = status;
    response
}

fn nothing() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_served_where_its_url_says() {
        for (url, path) in [
            (
                "https://conda.anaconda.org/conda-forge/noarch/a-1.conda",
                "/https/conda.anaconda.org/conda-forge/noarch/a-1.conda",
            ),
            ("http://127.0.0.1:81/c/a%2B1.conda?x=1", "/http/127.0.0.1:81/c/a%2B1.conda"),
        ] {
            assert_eq!(path_of(&url.parse().unwrap()).as_deref(), Some(path));
        }
        assert_eq!(path_of(&"file:///a/b.conda".parse().unwrap()), None);
    }

    #[test]
    fn a_project_keeps_its_port() {
        let (one, other) = (port_of(Path::new("/a")), port_of(Path::new("/b")));
        assert!(PORTS.contains(&one) && PORTS.contains(&other) && one != other && one == port_of(Path::new("/a")));
    }
}
