//! A program that runs in a container, whatever runs it.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Error, Exit, Tail};

/// What is asked of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM for the program: what a hub sends first.
    Terminate,
    /// SIGKILL for everything in the container.
    Kill,
}

/// A program running in a container. Dropping it kills the container.
///
/// A task of the runtime owns the container; the two talk by channel. When the sender is dropped, so by every way
/// out of a caller, the task kills what it owns.
#[derive(Debug)]
pub struct Running {
    /// Where its server can be reached, if it asked for that.
    pub address: Option<SocketAddr>,
    pub(super) stdout: Tail,
    pub(super) stderr: Tail,
    pub(super) requests: mpsc::UnboundedSender<Stop>,
    pub(super) task: JoinHandle<Result<Exit, Error>>,
    /// How it ended, once somebody has waited for that.
    pub(super) exit: Arc<OnceLock<Exit>>,
}

/// What came of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// The end of its standard output.
    pub stdout: String,
    /// The end of its standard error.
    pub stderr: String,
}

impl Running {
    /// A container whose outputs go to `stdout` and `stderr`, and that `task` owns, which does what comes by `requests`.
    pub(super) fn new(
        address: Option<SocketAddr>,
        stdout: Tail,
        stderr: Tail,
        requests: mpsc::UnboundedSender<Stop>,
        task: JoinHandle<Result<Exit, Error>>,
    ) -> Self {
        Self { address, stdout, stderr, requests, task, exit: Arc::default() }
    }

    /// Asks it to end. Nothing happens if it already has.
    pub fn stop(&self, how: Stop) {
        // The receiver is gone exactly when the container is.
        self.requests.send(how).unwrap_or_default();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// The end of all it has printed so far, standard error last.
    pub fn logs(&self) -> String {
        self.stdout.text() + &self.stderr.text()
    }

    /// Waits for its end; kills it and all that it started when `timeout` has passed.
    ///
    /// # Errors
    /// When the container could not be set up or was lost.
    pub async fn wait(mut self, timeout: Duration) -> Result<Output, Error> {
        let exit = match tokio::time::timeout(timeout, &mut self.task).await {
            Ok(ended) => ended.map_err(|_| Error::Lost)??,
            Err(_) => {
                self.stop(Stop::Kill);
                (&mut self.task).await.map_err(|_| Error::Lost)??;
                Exit::TimedOut
            }
        };
        // It can be waited for once.
        self.exit.set(exit).unwrap_or_default();
        Ok(Output { exit, stdout: self.stdout.text(), stderr: self.stderr.text() })
    }
}

impl Output {
    /// Both outputs, standard error last: what to show of a program that failed.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}
