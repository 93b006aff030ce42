//! Errors of the stages as what the user sees: a message, its causes, a hint, an exit code.
//!
//! Every variant of every stage's error is named here, without a catch-all: a new one does not compile until somebody
//! has decided what it means to the reader and to a bot, which comments on a [`Kind::No`] and retries a
//! [`Kind::Environment`].

mod building;
mod debian;
mod images;
mod locking;
mod project;

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use self::building::{of_base, of_docker, of_docker_build, of_native, of_pins, of_rebuild, of_verify};
use self::debian::of_apt;
use self::images::{of_installed, of_oci, of_output, of_parse_image, of_push, of_target};
use self::locking::{of_channel, of_git, of_lock};
use self::project::{of_parse_base, of_project, of_render};
use super::ui::Ui;
use crate::build::output;
use crate::build::target::ParseTargetError;
use crate::{cache, docker, git, installed, lock, oci, pipeline, settings};

/// What an error means to whoever ran esker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something outside is missing: network, Docker, disk. A retry may help. Exit code 3.
    Environment,
    /// The work ran, and the answer is no. Exit code 1.
    No,
    /// A flag, setting or file of the user's is wrong. Exit code 2.
    Usage,
    /// Ended by a signal: 128 and its number, as shells report it.
    Interrupted(u8),
}

/// An error, ready to be shown.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A wrong use of the command line.
    pub fn usage(message: &str) -> Self {
        Self { kind: Kind::Usage, message: message.to_owned(), causes: Vec::new(), hint: None }
    }

    /// A failed check or the like: the answer is no.
    pub fn no(message: String, hint: Option<String>) -> Self {
        Self { kind: Kind::No, message, causes: Vec::new(), hint }
    }

    /// A failure of the system, with what was being done.
    pub fn io(message: &str, source: &io::Error) -> Self {
        Self { kind: Kind::Environment, message: message.to_owned(), causes: vec![source.to_string()], hint: None }
    }

    /// The async runtime did not start.
    pub fn runtime(source: &io::Error) -> Self {
        Self::io("cannot start threads", source)
    }

    /// Ended by a signal.
    pub fn interrupted(signal: i32) -> Self {
        let number = u8::try_from(signal).unwrap_or(0);
        let message = "interrupted; nothing is half done, and the next run goes on from here".to_owned();
        Self { kind: Kind::Interrupted(number), message, causes: Vec::new(), hint: None }
    }

    /// Prints all but the last of the worst of `failures`, which is returned to be printed at the end.
    pub fn worst(mut failures: Vec<Self>, ui: &Ui) -> Option<Self> {
        failures.sort_by_key(|failure| failure.kind);
        let last = failures.pop();
        for failure in &failures {
            failure.show(ui);
        }
        last
    }

    /// Prints the failure, and returns the exit code that goes with it.
    pub fn print(&self, ui: &Ui) -> ExitCode {
        self.show(ui);
        ExitCode::from(match self.kind {
            Kind::No => 1,
            Kind::Usage => 2,
            Kind::Environment => 3,
            Kind::Interrupted(signal) => 128 + signal,
        })
    }

    fn show(&self, ui: &Ui) {
        ui.failure(&self.message, &self.causes, self.hint.as_deref());
    }

    fn new(error: &dyn StdError, (kind, hint): (Kind, Option<String>)) -> Self {
        let message = error.to_string();
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = without_path(inner, &format!("{message} {}", causes.join(" ")));
            // Some libraries repeat their cause in their own words.
            if text != message && causes.last() != Some(&text) {
                causes.push(text);
            }
            cause = inner.source();
        }
        Self { kind, message, causes, hint }
    }
}

/// The text of `error`. Of an I/O error with the path it is about, as fs_err makes them, only what the system said if
/// what was `said` before names the path.
fn without_path(error: &(dyn StdError + 'static), said: &str) -> String {
    let text = error.to_string();
    let names_a_path = error.downcast_ref::<io::Error>().is_some_and(|error| error.get_ref().is_some());
    match text.rsplit_once("`: ") {
        Some((paths, system))
            if names_a_path && paths.split('`').skip(1).step_by(2).all(|path| said.contains(path)) =>
        {
            system.to_owned()
        }
        _ => text,
    }
}

/// What an error means, and what can be done about it: a line for each thing.
type Verdict = (Kind, Option<String>);

fn hint(kind: Kind, text: impl Into<String>) -> Verdict {
    (kind, Some(text.into()))
}

const fn plain(kind: Kind) -> Verdict {
    (kind, None)
}

macro_rules! from {
    ($($error:ty => $verdict:ident),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let verdict = $verdict(&error);
                Self::new(&error, verdict)
            }
        }
    )*};
}

from! {
    settings::Error => of_settings,
    crate::project::Error => of_project,
    crate::project::ParseBaseError => of_parse_base,
    pipeline::Error => of_pipeline,
    cache::Error => of_cache,
    oci::Error => of_oci,
    pipeline::rebuild::Error => of_rebuild,
    output::Error => of_output,
    docker::Error => of_docker,
    ParseTargetError => of_target,
    lock::Error => of_lock,
    git::Error => of_git,
    installed::Error => of_installed,
    installed::ParseImageError => of_parse_image,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::io("cannot write the result", &error)
    }
}

fn of_settings(error: &settings::Error) -> Verdict {
    match error {
        settings::Error::Directory { .. } | settings::Error::Variable { .. } => plain(Kind::Usage),
        settings::Error::NoCacheDirectory => hint(Kind::Usage, "give `--cache-dir`"),
        settings::Error::Mirror(_) => plain(Kind::Usage),
    }
}

fn of_pipeline(error: &pipeline::Error) -> Verdict {
    use pipeline::Error as E;
    match error {
        E::Project(error) => of_project(error),
        E::Cache(error) => of_cache(error),
        E::Channel(error) => of_channel(error),
        E::Lock(error) => of_lock(error),
        E::Base(error) => of_base(error),
        E::Pins(error) => of_pins(error),
        E::Render(error) => of_render(error),
        E::Native(error) => of_native(error),
        E::Docker(error) => of_docker_build(error),
        E::Verify(error) => of_verify(error),
        E::Layout(error) => of_oci(error),
        E::Registry(error) => of_push(error),
        E::NotLocked { image, .. } | E::Stale { image, .. } => {
            hint(Kind::No, format!("run `esker lock {image}`, or `esker make` to do all stages"))
        }
        E::PlatformNotLocked { image, .. } => {
            hint(Kind::Usage, format!("add it to `platforms` and `lock-subdirs` of `{image}` in `esker.yml`"))
        }
        E::NoRoot { .. } => {
            hint(Kind::Usage, "add a `base-image` with `micromamba`, or name it as `root` in `esker.yml`")
        }
        E::BaseNotPinned { .. } => hint(Kind::No, "run `esker render`, which looks it up, and commit `base-lock.yml`"),
        E::SeveralBases { .. } => hint(Kind::Usage, "name an image that has all platforms as `base`"),
        E::WriteRendered { source, .. } => of_io(source),
        E::NoBase { .. } => hint(Kind::Usage, "add the platform to `base` in `esker.yml`, or give `--base`"),
        E::UnsupportedFile { file, .. } if file.ends_with("requirements.txt") => {
            hint(Kind::Usage, "list its packages as conda packages in `environment.yml`, and remove the file")
        }
        E::UnsupportedFile { .. } => {
            hint(Kind::Usage, "do what it does in `start` or in the base, or in a conda package, and remove the file")
        }
        E::Debian(error) => of_apt(error),
        E::AptStale { image, .. } => hint(Kind::Usage, format!("run `esker lock {image}`")),
        E::Apt { .. } => hint(
            Kind::Usage,
            "write `apt: install` for the image in `esker.yml` to install them, or `apt: skip` to do without",
        ),
    }
}

fn of_cache(error: &cache::Error) -> Verdict {
    match error {
        cache::Error::Read { source, .. } | cache::Error::Write { source, .. } => of_io(source),
    }
}

fn of_io(error: &io::Error) -> Verdict {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => hint(Kind::Environment, "free some space"),
        _ => plain(Kind::Environment),
    }
}
