//! What esker and the two stages of its runner say to each other: one JSON value a line, on a socket pair.
//!
//! The socket is the stage's standard input. It is also its lifeline: when it closes, whoever held the other end is
//! gone (killed, even), and the stage ends what it started.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::verify::runtime::{Exit, Mount, Network};

/// What a process that sets up a container is allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {
    /// Root with its capabilities: files keep their owners, and the container's user is a real user id.
    Root,
    /// Anything less: one user id, in user namespaces of its own.
    User,
}

/// A container to set up and the program to run in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Holds `rootfs` and the empty `scratch`.
    pub directory: PathBuf,
    /// How the container is set up.
    pub privilege: Privilege,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The whole environment of the program.
    pub env: Vec<(String, String)>,
    /// Directory the program starts in, in the container.
    pub cwd: String,
    /// User and group id the program runs with, as seen in the container.
    pub owner: (u32, u32),
    /// Directory of the container that an empty volume of the user's is laid over.
    pub volume: Option<String>,
    /// Whether the image's own files can only be read.
    pub read_only: bool,
    /// Directories of this machine that are seen in the container, read-only.
    pub mounts: Vec<Mount>,
    /// The network it sees.
    pub network: Network,
    /// The container's host name.
    pub hostname: String,
}

/// What esker asks of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Stage two has tied its life to stage one's: run the program.
    Go,
    /// Send the program SIGTERM.
    Terminate,
}

/// What becomes of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Stage two is ready to run the program.
    Ready,
    /// The program never ran.
    Failed(Failure),
    /// The program ended, and everything it started with it.
    Exited(Exit),
}

/// Whose fault it is that a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// The machine's: another image would fare no better.
    Machine,
    /// The image's: no such program, a file where a directory belongs.
    Image,
}

/// A step of the set-up that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault it is.
    pub blame: Blame,
    /// What was being done, to complete "cannot …".
    pub step: String,
    /// The reason: an error number, or 0 with [`text`](Self::text) alone.
    pub errno: i32,
    /// The reason in words.
    pub text: String,
}

/// Names the step that an error belongs to.
pub trait Step<T>: Sized {
    /// Turns the error into a [`Failure`] to do `step`.
    ///
    /// # Errors
    /// When `self` is one.
    fn blamed(self, blame: Blame, step: &str) -> Result<T, Failure>;

    /// Turns the error into a failure of the machine to do `step`.
    ///
    /// # Errors
    /// When `self` is one.
    fn step(self, step: &str) -> Result<T, Failure> {
        self.blamed(Blame::Machine, step)
    }
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn blamed(self, blame: Blame, step: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            let error = error.into();
            Failure { blame, step: step.to_owned(), errno: error.raw_os_error().unwrap_or(0), text: error.to_string() }
        })
    }
}

impl Failure {
    /// The reason as an error.
    pub fn source(&self) -> io::Error {
        match self.errno {
            0 => io::Error::other(self.text.clone()),
            number => io::Error::from_raw_os_error(number),
        }
    }
}

/// One end of a socket pair, for blocking use.
pub struct Channel {
    reader: BufReader<UnixStream>,
}

impl Channel {
    /// Wraps a connected socket.
    pub fn new(socket: UnixStream) -> Self {
        Self { reader: BufReader::new(socket) }
    }

    /// The socket that this process has as its standard input; the copy is closed on exec.
    ///
    /// # Errors
    /// When there is no standard input to copy.
    pub fn from_stdin() -> io::Result<Self> {
        let fd: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self::new(UnixStream::from(fd)))
    }

    /// Sends one value.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send(&self, value: &impl Serialize) -> io::Result<()> {
        let mut socket = self.reader.get_ref();
        socket.write_all(&to_line(value))
    }

    /// Receives one value; `None` when the other end is gone.
    ///
    /// # Errors
    /// When the socket fails, or what was received is no such value.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }
}

/// `value` as one line.
pub fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("strings and integers always serialise");
    line.push(b'\n');
    line
}
