//! Uploads one blob: as one stream, or in chunks where that is refused.
//!
//! A stream that breaks begins anew, after a look whether the blob arrived all the same; chunks go on where the last
//! one ended. What does not pass by itself is an error at once.

use std::io::SeekFrom;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use oci_spec::distribution::Reference;
use reqwest::Body;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Client;
use super::auth::Access;
use super::error::{Error, Result};
use super::session::{Begun, Session};
use super::transport::{passes, shown};
use crate::oci::error::Mismatch;
use crate::oci::{self, Digest, Layout};

/// The bytes of a chunk; GHCR takes no more.
const CHUNK: u64 = 4 << 20;
/// The bytes that are read from disk at once.
const PIECE: usize = 1 << 18;
/// How often a stream may break before chunks are tried: proxies cut off what is too large for them.
const BROKEN_STREAMS: u32 = 2;

/// See the module's documentation.
pub struct Upload<'a> {
    pub client: &'a Client,
    pub reference: &'a Reference,
    pub access: &'a Access,
    /// Has the blob, unless it can be mounted.
    pub layout: &'a Layout,
    pub digest: Digest,
    pub size: u64,
    /// A repository of the same registry that has it.
    pub mount: Option<&'a str>,
    /// Whether the registry refused a stream before; shared by the uploads of a push.
    pub in_chunks: &'a AtomicBool,
    /// Is told how many more bytes were sent, each once.
    pub count: &'a (dyn Fn(u64) + Send + Sync),
    /// Bytes that were counted.
    pub counted: AtomicU64,
}

/// How a blob got to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// From another repository.
    Mounted,
    /// From here.
    Uploaded,
}

impl Upload<'_> {
    /// Uploads it.
    pub async fn run(&self) -> Result<Sent> {
        let mut tries = self.client.transport.tries();
        let mut broken = 0;
        loop {
            let error = match self.attempt().await {
                Ok(sent) => return Ok(sent),
                Err(error) => error,
            };
            broken += u32::from(matches!(error, Error::Unreachable { .. } | Error::Stalled { .. }));
            if broken == BROKEN_STREAMS {
                self.in_chunks.store(true, Ordering::Relaxed);
            }
            tries.again(error, |error| passes(error) || is_lost(error)).await?;
            // It may be only the answer that was lost.
            if self.client.has_blob(self.reference, self.access, &self.digest).await? {
                self.report(self.size);
                return Ok(Sent::Uploaded);
            }
        }
    }

    async fn attempt(&self) -> Result<Sent> {
        let Some(session) = self.begin().await? else { return Ok(Sent::Mounted) };
        if !self.in_chunks.load(Ordering::Relaxed) {
            match self.whole(&session).await {
                Ok(()) => return Ok(Sent::Uploaded),
                Err(error) if refuses_streams(&error) => {
                    self.check_source().await?;
                    self.in_chunks.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
            // A new one: nobody knows what became of the first.
            let Some(session) = self.begin().await? else { return Ok(Sent::Mounted) };
            return self.chunks(session).await.map(|()| Sent::Uploaded);
        }
        self.chunks(session).await.map(|()| Sent::Uploaded)
    }

    /// Asks for the upload; `None` when the blob was mounted.
    async fn begin(&self) -> Result<Option<Session<'_>>> {
        let mount = self.mount.map(|repository| (repository, &self.digest));
        match Session::begin(self.client, self.reference, self.access, mount).await {
            Ok(Begun::Mounted) => {
                self.report(self.size);
                Ok(None)
            }
            Ok(Begun::Session(session)) => Ok(Some(session)),
            // Whoever may push here need not be allowed to mount from there.
            Err(Error::Denied { .. } | Error::Status { .. } | Error::NotFound { .. }) if mount.is_some() => {
                match Session::begin(self.client, self.reference, self.access, None).await? {
                    Begun::Session(session) => Ok(Some(session)),
                    Begun::Mounted => Ok(None),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn whole(&self, session: &Session<'_>) -> Result<()> {
        let sent = std::sync::Arc::new(AtomicU64::new(0));
        let body = || {
            let path = self.layout.blob_path(&self.digest);
            let file = std::fs::File::open(&path).map_err(|source| self.unreadable(source))?;
            sent.store(0, Ordering::Relaxed);
            Ok(Body::wrap_stream(pieces(tokio::fs::File::from_std(file), std::sync::Arc::clone(&sent))))
        };
        let put = session.put_whole(&self.digest, self.size, &body);
        let mut put = std::pin::pin!(put);
        let (mut seen, mut silent) = (0, 0);
        // The body says how far it is: nothing else does until the answer.
        let tick = std::time::Duration::from_millis(200).min(self.client.transport.options().timeout / 2);
        let limit = self.client.transport.options().timeout;
        loop {
            tokio::select! {
                done = &mut put => return done.inspect(|()| self.report(self.size)),
                () = tokio::time::sleep(tick) => {}
            }
            let now = sent.load(Ordering::Relaxed);
            silent = if now == seen { silent + 1 } else { 0 };
            seen = now;
            self.report(now.min(self.size));
            let patience = if now < self.size { limit } else { limit * 20 };
            if tick * silent > patience {
                return Err(Error::Stalled { url: shown(&session.location), seconds: patience.as_secs() });
            }
        }
    }

    async fn chunks(&self, mut session: Session<'_>) -> Result<()> {
        let size = CHUNK.max(session.min_chunk);
        let mut offset = 0;
        let mut tries = self.client.transport.tries();
        while offset < self.size {
            let chunk = self.read(offset, size.min(self.size - offset)).await?;
            match session.patch(offset, &chunk).await {
                Ok(()) => {
                    offset += chunk.len() as u64;
                    tries = self.client.transport.tries();
                }
                Err(error) => {
                    tries.again(error, |error| passes(error) || is_misplaced(error)).await?;
                    offset = session.received().await?.min(self.size);
                }
            }
            self.report(offset);
        }
        session.finish(&self.digest).await
    }

    /// So many bytes of the blob.
    async fn read(&self, offset: u64, length: u64) -> Result<Bytes> {
        let read = async {
            let mut file = tokio::fs::File::open(self.layout.blob_path(&self.digest)).await?;
            file.seek(SeekFrom::Start(offset)).await?;
            let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
            file.read_exact(&mut bytes).await?;
            Ok(Bytes::from(bytes))
        };
        read.await.map_err(|source| self.unreadable(source))
    }

    /// A registry refuses what has another digest than announced: then it is the layout that is damaged.
    async fn check_source(&self) -> Result<()> {
        let path = self.layout.blob_path(&self.digest);
        let file = std::fs::File::open(&path).map_err(|source| self.unreadable(source))?;
        let found = tokio::task::spawn_blocking(move || Digest::of_reader(file)).await;
        let found = found.map_err(|_| self.unreadable(std::io::ErrorKind::Interrupted.into()))?;
        let found = found.map_err(|source| self.unreadable(source))?;
        Mismatch::check((self.digest, self.size), found)
            .map_err(|mismatch| Error::Source { source: oci::Error::Corrupt { path, mismatch } })
    }

    fn unreadable(&self, source: std::io::Error) -> Error {
        let source = match source.kind() {
            std::io::ErrorKind::NotFound => {
                oci::Error::MissingBlob { layout: self.layout.path().to_owned(), digest: self.digest }
            }
            _ => oci::Error::Read { path: self.layout.blob_path(&self.digest), source },
        };
        Error::Source { source }
    }

    /// Says that the first `bytes` were sent, unless that was said before.
    fn report(&self, bytes: u64) {
        let before = self.counted.fetch_max(bytes, Ordering::Relaxed);
        if bytes > before {
            (self.count)(bytes - before);
        }
    }
}

/// The content of `file`; `sent` is told how much of it is under way.
fn pieces(
    file: tokio::fs::File,
    sent: std::sync::Arc<AtomicU64>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    futures::stream::try_unfold((file, sent), |(mut file, sent)| async move {
        let mut piece = BytesMut::with_capacity(PIECE);
        let read = file.read_buf(&mut piece).await?;
        sent.fetch_add(read as u64, Ordering::Relaxed);
        Ok((read > 0).then(|| (piece.freeze(), (file, sent))))
    })
}

/// Whether a registry takes no blob as one stream, or whatever is in front of it no large one.
fn refuses_streams(error: &Error) -> bool {
    matches!(error, Error::Status { status: 400 | 404 | 405 | 411 | 413 | 415 | 416 | 501, .. })
}

/// Whether the registry has forgotten an upload, or has another part of it.
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::Status { status: 404 | 416, .. })
}

fn is_misplaced(error: &Error) -> bool {
    matches!(error, Error::Status { status: 416, .. })
}
