//! The end of what a program printed, in bounded memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is kept of each of a program's two outputs, in bytes.
const LIMIT: usize = 1 << 20;

/// Keeps the last mebibyte of what is written to it. Clones share their content.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
}

impl Tail {
    /// Appends `bytes`, forgetting the oldest ones when there are too many.
    pub fn push(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&bytes[bytes.len().saturating_sub(LIMIT)..]);
        let excess = kept.len().saturating_sub(LIMIT);
        kept.drain(..excess);
    }

    /// Appends everything `reader` yields. A reading error ends it like the end does.
    pub async fn fill(self, mut reader: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = reader.read(&mut buffer).await {
            self.push(&buffer[..read]);
        }
    }

    /// What is kept, as text.
    pub fn text(&self) -> String {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_end() {
        let tail = Tail::default();
        tail.push(b"begin");
        tail.push(&vec![b'x'; LIMIT]);
        tail.push(b"end");
        let text = tail.text();
        assert_eq!((text.len(), &text[..1], &text[LIMIT - 4..]), (LIMIT, "x", "xend"));
    }
}
