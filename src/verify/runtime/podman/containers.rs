//! Containers in Podman's store, and seeing that none stays there.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::process::Child;
use tokio::sync::mpsc;

use super::program::{Error as PodmanError, Program, refused};
use crate::verify::runtime::{Error, Exit, Stop, Tail};

/// Exit codes from which on `podman start` may speak of itself and not of the program.
const PODMANS_OWN: std::ops::RangeInclusive<i32> = 125..=127;
/// Completes "cannot …".
const START: &str = "start the container";

/// What is in Podman's store because of this run. Dropping it removes all of it, and waits for that: nobody does when
/// esker is interrupted.
#[derive(Debug)]
pub struct Traces {
    program: Program,
    containers: Known,
    /// The name of an image that was not there before.
    image: Option<String>,
}

type Known = Arc<Mutex<BTreeSet<String>>>;

impl Traces {
    /// Nothing yet, but an image that is to be removed, if there is one.
    pub fn new(program: &Program, image: Option<String>) -> Self {
        Self { program: program.clone(), containers: Known::default(), image }
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        let containers = std::mem::take(&mut *self.containers.lock().unwrap_or_else(PoisonError::into_inner));
        if !containers.is_empty() {
            let names = containers.iter().map(String::as_str);
            self.program.run_now(&REMOVE.into_iter().chain(names).collect::<Vec<_>>());
        }
        if let Some(image) = &self.image {
            self.program.run_now(&["rmi", image]);
        }
    }
}

/// Removes containers, running or not, with their volumes.
const REMOVE: [&str; 6] = ["rm", "--force", "--ignore", "--volumes", "--time", "0"];

/// A container of ours.
pub struct Created {
    program: Program,
    name: String,
    known: Known,
}

impl Created {
    /// One with a name that no other has, known to `traces` from now on.
    pub fn new(program: &Program, traces: &Traces) -> Self {
        // The standard library's hasher has random keys, others each time.
        let name = format!("esker-verify-{:016x}", RandomState::new().hash_one(std::process::id()));
        let known = Arc::clone(&traces.containers);
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        Self { program: program.clone(), name, known }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Creates it with `arguments` and starts it, with its outputs as those of the process returned.
    pub async fn start(&self, arguments: &[String]) -> Result<Child, PodmanError> {
        self.program.run("create a container", arguments).await?;
        self.program.start(&["start", "--attach", "--sig-proxy=false", &self.name])
    }

    /// Sets it up without starting its program, to see whether that is possible here.
    pub async fn set_up(&self, arguments: &[String]) -> Result<(), PodmanError> {
        self.program.run("create a container", arguments).await?;
        self.program.run(START, &["init", &self.name]).await.map(drop)
    }

    /// Stays with it to its end.
    pub async fn supervise(
        self,
        mut attached: Child,
        requests: mpsc::UnboundedReceiver<Stop>,
        stdout: Tail,
        stderr: Tail,
    ) -> Result<Exit, Error> {
        let (out, err) = (attached.stdout.take(), attached.stderr.take());
        let (out, err) = (out.expect("was asked to be piped"), err.expect("was asked to be piped"));
        let complaints = stderr.clone();
        let (_, _, code) = tokio::join!(stdout.fill(out), stderr.fill(err), self.serve(attached, requests));
        let judged = match code {
            Ok(code) => self.judge(code, &complaints).await,
            Err(lost) => Err(lost),
        };
        self.remove().await;
        judged
    }

    /// Does what is asked until the container has ended.
    async fn serve(&self, mut attached: Child, mut requests: mpsc::UnboundedReceiver<Stop>) -> Result<i32, Error> {
        let mut listening = true;
        loop {
            let stop = tokio::select! {
                status = attached.wait() => {
                    return status.ok().and_then(|status| status.code()).ok_or(Error::Lost);
                }
                stop = requests.recv(), if listening => stop.unwrap_or(Stop::Kill),
            };
            let signal = match stop {
                Stop::Terminate => "TERM",
                Stop::Kill => "KILL",
            };
            listening = stop != Stop::Kill;
            // One that has ended cannot be signalled, which is fine.
            self.program.ask("/".as_ref(), &["kill", "--signal", signal, &self.name]).await?;
        }
    }

    /// Tells the program's exit code from Podman's.
    async fn judge(&self, code: i32, complaints: &Tail) -> Result<Exit, Error> {
        if !PODMANS_OWN.contains(&code) {
            return Ok(Exit::Code(code));
        }
        let format = ["container", "inspect", "--format", "{{.State.StartedAt.IsZero}}", &self.name];
        if self.program.run("inspect the container", &format).await? != "true" {
            return Ok(Exit::Code(code));
        }
        let error = refused(START, &complaints.text());
        if error.is_not_executable() {
            let step = "execute the program".to_owned();
            return Err(Error::Setup { step, source: std::io::Error::other(error) });
        }
        Err(error.into())
    }

    /// Removes it. That it is gone already is fine.
    pub async fn remove(self) {
        let arguments: Vec<_> = REMOVE.into_iter().chain([self.name.as_str()]).collect();
        if self.program.run("remove the container", &arguments).await.is_ok() {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        }
    }
}
