//! The archives of locked packages, checked by their hashes.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt, stream};

use super::LockedDeb;
use crate::channel::{self, Client};
use crate::progress::{Progress, Task, Unit};

/// Fetches the archives of `locked`, `jobs` at a time, in the order they are given.
///
/// # Errors
/// When one cannot be had, or is not what is locked.
pub async fn fetch(
    locked: &[LockedDeb],
    client: &Client,
    progress: &dyn Progress,
    jobs: usize,
) -> Result<Vec<(LockedDeb, PathBuf)>, channel::Error> {
    let task = Task::start(progress, "downloading Debian packages", Some(locked.len() as u64), Unit::Count);
    stream::iter(locked)
        .map(|deb| async {
            let path = client.file(&deb.label(), &deb.url, &deb.sha256).await;
            task.advance(1);
            path.map(|path| (deb.clone(), path))
        })
        .buffered(jobs.max(1))
        .try_collect()
        .await
}
