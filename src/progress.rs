//! How stages say what they are doing, without knowing who listens.
//!
//! A stage opens a [`Task`], advances it and finishes it; [`crate::cli`] turns that into bars on a terminal and plain
//! lines elsewhere. Stages never print.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the numbers of a [`Task`] count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: packages, layers, platforms.
    Count,
    /// Bytes.
    Bytes,
}

/// Receives what stages report. Implementations are called from several threads at once.
pub trait Progress: Send + Sync {
    /// A task began; `total` is in `unit`s and may be unknown. `id` is unique in this process.
    fn started(&self, id: u64, label: &str, total: Option<u64>, unit: Unit);
    /// `amount` more units of task `id` are done.
    fn advanced(&self, id: u64, amount: u64);
    /// Task `id` ended; `summary`, if any, is worth a line of its own.
    fn finished(&self, id: u64, summary: Option<&str>);
    /// Something the user should know though the work goes on.
    fn warning(&self, message: &str);
    /// A line of status.
    fn note(&self, message: &str);
}

/// Listens to nothing: for tests and for callers that want silence.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _: u64, _: &str, _: Option<u64>, _: Unit) {}
    fn advanced(&self, _: u64, _: u64) {}
    fn finished(&self, _: u64, _: Option<&str>) {}
    fn warning(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A piece of work in progress. Dropping it ends it without a summary.
pub struct Task<'a> {
    progress: &'a dyn Progress,
    id: u64,
    ended: bool,
}

impl<'a> Task<'a> {
    /// Begins a task of `total` units.
    pub fn start(progress: &'a dyn Progress, label: &str, total: Option<u64>, unit: Unit) -> Self {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        progress.started(id, label, total, unit);
        Self { progress, id, ended: false }
    }

    /// Records `amount` more units as done.
    pub fn advance(&self, amount: u64) {
        self.progress.advanced(self.id, amount);
    }

    /// Ends the task with a line that says what came of it.
    pub fn finish(mut self, summary: &str) {
        self.ended = true;
        self.progress.finished(self.id, Some(summary));
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.progress.finished(self.id, None);
        }
    }
}
