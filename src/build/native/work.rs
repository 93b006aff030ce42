//! Runs blocking work on several threads from async code: with an order, a limit, and an end when nobody waits any more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::Error;
use super::queue::{Job, Queue};
use crate::progress::Task;

/// Tells workers to stop. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// Cancels when it is dropped: a future that is dropped takes its workers with it.
#[derive(Debug)]
pub struct CancelOnDrop(pub Cancel);

impl Cancel {
    /// Asks everyone to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns an error once [`cancel`](Self::cancel) was called.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Does `work` for every item on `jobs` threads, the first items first, and returns the results in the items' order.
/// `task` advances by one an item.
///
/// # Errors
/// The first error to show up; the other threads are told to stop and waited for.
pub async fn parallel<T, R>(
    items: Vec<T>,
    jobs: usize,
    cancel: &Cancel,
    task: &Task<'_>,
    work: impl Fn(T) -> Result<R, Error> + Send + Sync + 'static,
) -> Result<Vec<R>, Error>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let items = items.into_iter().map(|item| Job { item, after: Vec::new() }).collect();
    in_order(items, jobs, cancel, |_| task.advance(1), work).await
}

/// Does `work` for every job on `threads` threads and returns the results in the jobs' order. A thread takes the first
/// job that waits for nothing any more. `done` hears of every result.
///
/// # Errors
/// The first error to show up; the other threads are told to stop and waited for. [`Error::Cancelled`] when jobs wait
/// for each other.
pub async fn in_order<T, R>(
    jobs: Vec<Job<T>>,
    threads: usize,
    cancel: &Cancel,
    done: impl Fn(&R),
    work: impl Fn(T) -> Result<R, Error> + Send + Sync + 'static,
) -> Result<Vec<R>, Error>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let mut results: Vec<Option<R>> = jobs.iter().map(|_| None).collect();
    let threads = threads.clamp(1, jobs.len().max(1));
    let queue = Arc::new(Queue::new(jobs));
    let work = Arc::new(work);
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut workers = JoinSet::new();
    for _ in 0..threads {
        let (queue, work, sender, cancel) = (Arc::clone(&queue), Arc::clone(&work), sender.clone(), cancel.clone());
        workers.spawn_blocking(move || {
            while let Some((taken, item)) = queue.take() {
                let number = taken.number;
                let result = cancel.check().and_then(|()| work(item));
                if result.is_ok() {
                    taken.done();
                }
                // Nobody listens any more when the future was dropped; `cancel` ends the loop then.
                let _ = sender.send((number, result));
            }
        });
    }
    drop(sender);
    let mut first_error = None;
    while let Some((number, result)) = receiver.recv().await {
        match result {
            Ok(result) => {
                done(&result);
                results[number] = Some(result);
            }
            Err(error) => {
                cancel.cancel();
                // The others stop because of this one; their `Cancelled` says nothing.
                first_error.get_or_insert(error);
            }
        }
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => results.into_iter().collect::<Option<Vec<R>>>().ok_or(Error::Cancelled),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of bytes that threads may hold in memory together.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

/// Bytes taken from a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { total, left: Mutex::new(total), freed: Condvar::new() }
    }

    /// Waits until `bytes` are free and takes them. More than there are in all counts as all: whoever needs that much
    /// works alone.
    pub fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(self.total);
        let left = lock(&self.left);
        let mut left = self.freed.wait_while(left, |left| *left < bytes).unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        Share { budget: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *lock(&self.budget.left) += self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{Silent, Unit};

    async fn squares(items: Vec<u64>, work: fn(u64) -> Result<u64, Error>) -> Result<Vec<u64>, Error> {
        let task = Task::start(&Silent, "squares", None, Unit::Count);
        parallel(items, 3, &Cancel::default(), &task, work).await
    }

    #[tokio::test]
    async fn results_keep_their_order() {
        let all: Vec<u64> = (0..50).collect();
        let expected: Vec<u64> = all.iter().map(|n| n * n).collect();
        assert_eq!(squares(all, |n| Ok(n * n)).await.unwrap(), expected);
        assert!(squares(vec![], Ok).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn items_are_worked_on_at_the_same_time() {
        let task = Task::start(&Silent, "meeting", None, Unit::Count);
        let meeting = std::sync::Barrier::new(2);
        let cancel = Cancel::default();
        let met = parallel(vec![1, 2], 2, &cancel, &task, move |n| {
            meeting.wait();
            Ok(n)
        });
        let met = tokio::time::timeout(std::time::Duration::from_secs(60), met).await;
        assert_eq!(met.expect("each waits for the other").unwrap(), [1, 2]);
    }

    #[tokio::test]
    async fn the_real_error_wins_over_those_it_causes() {
        let error = squares((0..50).collect(), |n| {
            if n == 7 { Err(Error::NoPython { package: "p".into(), prefix: "/".into() }) } else { Ok(n) }
        });
        assert!(matches!(error.await, Err(Error::NoPython { .. })));
    }

    #[test]
    fn more_than_the_budget_is_the_whole_budget() {
        let budget = Budget::new(10);
        let share = budget.take(100);
        assert_eq!(*lock(&budget.left), 0);
        drop(share);
        assert_eq!(*lock(&budget.left), 10);
    }
}
