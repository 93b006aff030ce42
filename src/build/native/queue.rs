//! Jobs of which some wait for others, for threads to take from.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Work, and what has to be done before it.
#[derive(Clone, Debug)]
pub struct Job<T> {
    /// What it is about.
    pub item: T,
    /// The numbers of those that it waits for: their places among all jobs.
    pub after: Vec<usize>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// Those that nobody took.
    items: Vec<Option<T>>,
    /// For how many jobs each still waits.
    open: Vec<usize>,
    /// The jobs that wait for each.
    waiting: Vec<Vec<usize>>,
    /// Those that wait for nothing, and that nobody took.
    ready: BTreeSet<usize>,
    /// How many were taken and are not done.
    running: usize,
}

/// A job that was taken. Dropped before it is [done](Self::done), it ends the queue: nobody gets another job.
#[derive(Debug)]
pub struct Taken<'a, T> {
    queue: &'a Queue<T>,
    /// Its place among all jobs.
    pub number: usize,
    is_done: bool,
}

impl<T> Queue<T> {
    /// A queue of `jobs`, whose order says which goes first where several could.
    pub fn new(jobs: Vec<Job<T>>) -> Self {
        let mut waiting = vec![Vec::new(); jobs.len()];
        for (number, job) in jobs.iter().enumerate() {
            for before in &job.after {
                waiting[*before].push(number);
            }
        }
        let open: Vec<_> = jobs.iter().map(|job| job.after.len()).collect();
        let ready = open.iter().enumerate().filter(|(_, open)| **open == 0).map(|(number, _)| number).collect();
        let items = jobs.into_iter().map(|job| Some(job.item)).collect();
        Self { state: Mutex::new(State { items, open, waiting, ready, running: 0 }), changed: Condvar::new() }
    }

    /// Takes the first job that waits for nothing; waits while there is none, but some may become so. `None` if there
    /// will be none.
    pub fn take(&self) -> Option<(Taken<'_, T>, T)> {
        let state = self.changed.wait_while(self.state(), |state| state.ready.is_empty() && state.running > 0);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let number = state.ready.pop_first()?;
        let item = state.items[number].take()?;
        state.running += 1;
        Some((Taken { queue: self, number, is_done: false }, item))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Taken<'_, T> {
    /// Lets those go on that waited for it.
    pub fn done(mut self) {
        self.is_done = true;
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.running -= 1;
        if self.is_done {
            for next in std::mem::take(&mut state.waiting[self.number]) {
                state.open[next] -= 1;
                if state.open[next] == 0 {
                    state.ready.insert(next);
                }
            }
        } else {
            state.ready.clear();
            state.waiting.iter_mut().for_each(Vec::clear);
        }
        drop(state);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(after: &[&[usize]]) -> Queue<usize> {
        let job = |(item, after): (usize, &&[usize])| Job { item, after: after.to_vec() };
        Queue::new(after.iter().enumerate().map(job).collect())
    }

    #[test]
    fn a_job_comes_after_those_it_waits_for_and_before_later_ones() {
        let queue = queue(&[&[2, 3], &[], &[], &[], &[]]);
        let mut order = Vec::new();
        while let Some((taken, item)) = queue.take() {
            order.push(item);
            taken.done();
        }
        assert_eq!(order, [1, 2, 3, 0, 4]);
    }

    #[test]
    fn a_thread_waits_for_what_another_is_doing() {
        let queue = queue(&[&[], &[0]]);
        let (first, _) = queue.take().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| queue.take().map(|(taken, item)| (taken.done(), item).1));
            first.done();
            assert_eq!(second.join().unwrap(), Some(1));
        });
    }

    #[test]
    fn a_job_that_fails_or_panics_ends_the_queue() {
        let queue = queue(&[&[], &[0], &[], &[]]);
        let (done, _) = queue.take().unwrap();
        let (second, item) = queue.take().unwrap();
        assert_eq!(item, 2);
        std::thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _held = second;
                std::panic::panic_any("on purpose");
            });
            assert!(panics.join().is_err());
        });
        done.done();
        assert!(queue.take().is_none(), "neither what waited nor what was free");
    }

    #[test]
    fn jobs_that_wait_for_each_other_are_never_given_out() {
        assert!(queue(&[&[1], &[0]]).take().is_none());
    }
}
