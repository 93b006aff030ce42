//! The program `podman`, one command at a time.
//!
//! Its REST socket is not asked: it is off unless somebody turned it on, and the program is what people have.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

/// What the OCI runtimes' answers have in common, in Podman's words, when the fault is the image's.
const NOT_EXECUTABLE: [&str; 2] = ["invoke a command that was not found", "OCI permission denied"];
/// How containers/storage says that an image has more users than this one may give.
const TOO_FEW_IDS: &str = "insufficient UIDs or GIDs";

/// Why Podman did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be started.
    #[error("cannot start `{}`", program.display())]
    Missing {
        /// The program.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It refused.
    #[error("Podman cannot {step}: {said}")]
    Refused {
        /// What was asked, to complete "cannot …".
        step: String,
        /// Its answer.
        said: String,
    },
    /// The layout's image is not the one that was read from it.
    #[error("Podman took the image `{found}` from the layout, not `{wanted}`")]
    OtherImage {
        /// What Podman has now.
        found: String,
        /// What was to be run.
        wanted: String,
    },
}

impl Error {
    /// What the reader can do about it, if anything.
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Missing { .. } => "install Podman, name the program with `ESKER_PODMAN`, or use `--runtime embedded`",
            Self::Refused { said, .. } if said.contains(TOO_FEW_IDS) => {
                "give this user subordinate ids (`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`, \
                 then `podman system migrate`), or use `--runtime embedded`"
            }
            Self::Refused { .. } => "`podman info` tells how Podman is set up; or use `--runtime embedded`",
            Self::OtherImage { .. } => "build the image again while nothing else writes to its layout",
        };
        Some(text.to_owned())
    }

    /// Whether the image has no such program, or none that can be executed.
    pub fn is_not_executable(&self) -> bool {
        matches!(self, Self::Refused { said, .. } if NOT_EXECUTABLE.iter().any(|words| said.contains(words)))
    }
}

/// Podman, and what it is told to run containers with.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    /// The OCI runtime; Podman's own choice if `None`.
    oci_runtime: Option<&'static str>,
}

/// How a command ended.
pub struct Answer {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed, without white space at the ends.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Program {
    /// The program at `path`, or of that name.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), oci_runtime: None }
    }

    /// The same with another OCI runtime.
    pub fn with_oci_runtime(&self, name: &'static str) -> Self {
        Self { oci_runtime: Some(name), ..self.clone() }
    }

    /// Runs a command in `folder`, to its end.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn ask<S: AsRef<OsStr>>(&self, folder: &Path, arguments: &[S]) -> Result<Answer, Error> {
        let mut command = self.command(arguments);
        command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|source| self.missing(source))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        Ok(Answer { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Runs a command that must succeed, and returns what it printed. `step` completes "cannot …".
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Refused`].
    pub async fn run<S: AsRef<OsStr>>(&self, step: &str, arguments: &[S]) -> Result<String, Error> {
        self.run_in(Path::new("/"), step, arguments).await
    }

    /// [`run`](Self::run) in `folder`.
    ///
    /// # Errors
    /// [`Error::Missing`] and [`Error::Refused`].
    pub async fn run_in<S: AsRef<OsStr>>(&self, folder: &Path, step: &str, arguments: &[S]) -> Result<String, Error> {
        let answer = self.ask(folder, arguments).await?;
        if answer.code == Some(0) { Ok(answer.stdout) } else { Err(refused(step, &answer.stderr)) }
    }

    /// Starts a command whose outputs are read while it runs.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn start<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Child, Error> {
        let mut command = self.command(arguments);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn().map_err(|source| self.missing(source))
    }

    /// Runs a command to its end, from where nobody can wait in turn. What comes of it is nobody's concern.
    pub fn run_now<S: AsRef<OsStr>>(&self, arguments: &[S]) {
        let mut command = std::process::Command::new(&self.path);
        command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(command.status());
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(self.oci_runtime.iter().flat_map(|name| ["--runtime", *name])).args(arguments);
        // Ctrl-C is for esker, which then ends its containers.
        command.process_group(0);
        command
    }

    fn missing(&self, source: io::Error) -> Error {
        Error::Missing { program: self.path.clone(), source }
    }
}

/// The error for `stderr`: its complaints in one line, without the warnings before them.
pub fn refused(step: &str, stderr: &str) -> Error {
    let complaints: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("Error: ")).collect();
    let said = if complaints.is_empty() { stderr.lines().collect::<Vec<_>>() } else { complaints };
    Error::Refused { step: step.to_owned(), said: said.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_told_from_warnings_and_the_images_fault_from_the_machines() {
        let missing = "time=\"…\" level=warning msg=\"a shared mount\"\nError: unable to start container c: crun: \
                       executable file `x` not found: OCI runtime attempted to invoke a command that was not found";
        let missing = refused("start it", missing);
        assert!(missing.to_string().starts_with("Podman cannot start it: unable to start container c"), "{missing}");
        assert!(missing.is_not_executable());
        let cgroups = refused("start it", "Error: OCI runtime error: crun: cgroups in hybrid mode not supported");
        assert!(!cgroups.is_not_executable());
        assert_eq!(refused("be", "strange").to_string(), "Podman cannot be: strange");
    }

    #[test]
    fn a_user_without_ids_is_told_how_to_get_some() {
        let few = "Error: copying: potentially insufficient UIDs or GIDs available in user namespace";
        assert!(refused("load the image", few).remedy().unwrap().contains("--add-subuids"));
    }
}
