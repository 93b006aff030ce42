//! Between code that blocks on files and the engine's streams.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Chunks that may wait for the other side.
const WAITING: usize = 8;

/// Takes what is sent to the engine.
pub struct Sink {
    chunks: mpsc::Sender<Bytes>,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.chunks.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives what comes from the engine. Ends with an error where the engine's stream did.
pub struct Source {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl io::Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// What `write` writes, as it does so on a thread of its own, and what comes of that.
pub fn written<T: Send + 'static>(
    write: impl FnOnce(Sink) -> T + Send + 'static,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, JoinHandle<T>) {
    let (chunks, received) = mpsc::channel(WAITING);
    let writing = tokio::task::spawn_blocking(move || write(Sink { chunks }));
    let stream = futures::stream::unfold(received, |mut received| async {
        received.recv().await.map(|chunk| (Ok(chunk), received))
    });
    (stream, writing)
}

/// Gives `stream` to `read`, which runs on a thread of its own; returns what it returns, or `None` if it panicked.
pub async fn read<T: Send + 'static>(
    stream: impl Stream<Item = io::Result<Bytes>> + Send,
    read: impl FnOnce(Source) -> T + Send + 'static,
) -> Option<T> {
    let (chunks, received) = mpsc::channel(WAITING);
    let reading = tokio::task::spawn_blocking(move || read(Source { chunks: received, current: Bytes::new() }));
    let mut stream = std::pin::pin!(stream);
    while let Some(chunk) = stream.next().await {
        // A reader that is gone has its reason, and returns it.
        if chunks.send(chunk).await.is_err() {
            break;
        }
    }
    drop(chunks);
    reading.await.ok()
}
