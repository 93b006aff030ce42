//! What a running check has at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::dask;
use super::hub::command_in_hub;
use super::imports::Imported;
use super::jupyter::try_strictest;
use super::{Finding, Outcome};
use crate::verify::equipment::Equipment;
use crate::verify::runtime::{Command, ContainerRuntime, Error, Output};
use crate::verify::subject::Subject;

/// An image that is ready to run, and what it should be.
pub struct Scene<'a> {
    /// What it should be, and its layers.
    pub subject: &'a Subject<'a>,
    /// Where it runs.
    pub runtime: &'a dyn ContainerRuntime,
    /// How long any one program may take.
    pub timeout: Duration,
    /// What this machine and the project lend.
    pub equipment: &'a Equipment,
    shared: &'a Shared,
}

/// What checks of one image learn for each other.
#[derive(Default)]
pub struct Shared {
    runs: BTreeSet<&'static str>,
    imported: OnceCell<Imported>,
    strictest: OnceCell<Outcome>,
    clusters: OnceCell<Output>,
    in_hub: OnceCell<Option<Output>>,
    server: OnceLock<BTreeMap<String, String>>,
}

impl Shared {
    /// For checks of which these run.
    pub fn of(runs: BTreeSet<&'static str>) -> Self {
        Self { runs, ..Self::default() }
    }
}

impl<'a> Scene<'a> {
    /// Puts the scene of one check together.
    pub fn new(
        subject: &'a Subject<'a>,
        runtime: &'a dyn ContainerRuntime,
        timeout: Duration,
        shared: &'a Shared,
        equipment: &'a Equipment,
    ) -> Self {
        Self { subject, runtime, timeout, equipment, shared }
    }

    /// Whether the check of this name runs, too, so that what it learns costs nothing more.
    pub fn runs(&self, check: &str) -> bool {
        self.shared.runs.contains(check)
    }

    /// What importing the requested modules came to. They are imported once for all checks that ask.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn imported(&self) -> Result<&Imported, Error> {
        self.shared.imported.get_or_try_init(|| Imported::find(self)).await
    }

    /// Whether a server comes up under everything at once that checks ask of servers one by one, as [`try_strictest`]
    /// has it. It is started once for all checks that ask.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn strictest_server(&self) -> Result<&Outcome, Error> {
        self.shared.strictest.get_or_try_init(|| try_strictest(self)).await
    }

    /// Remembers what there was to learn from a server that did all that one should.
    pub fn tell_of_server(&self, facts: BTreeMap<String, String>) {
        self.shared.server.set(facts).unwrap_or_default();
    }

    /// What there was to learn from a server that did all that one should, if there was one.
    pub fn told_of_server(&self) -> Option<&BTreeMap<String, String>> {
        self.shared.server.get()
    }

    /// What becomes of clusters, as [`dask::try_all`] has it. They are started once for all checks that ask.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn clusters(&self) -> Result<&Output, Error> {
        self.shared.clusters.get_or_try_init(|| dask::try_all(self)).await
    }

    /// What the image's command comes to in a hub, as [`command_in_hub`] has it. It is run once for all checks that ask.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn command_in_hub(&self) -> Result<Option<&Output>, Error> {
        Ok(self.shared.in_hub.get_or_try_init(|| command_in_hub(self)).await?.as_ref())
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// When no program can be run on this machine.
    pub async fn run(&self, command: &Command) -> Result<Output, Error> {
        self.runtime.run(command, self.timeout).await
    }

    /// Runs `script` with the environment's python, through the entrypoint.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn python(&self, script: &str) -> Result<Output, Error> {
        self.run(&Command::arguments(["python", "-c", script])).await
    }
}

/// Passes if the program ended well and printed `expected`, white space at the ends aside.
pub fn prints(output: &Output, expected: &str) -> Outcome {
    if !output.exit.success() {
        return Outcome::failed(output.exit.to_string()).with_output(&output.text());
    }
    let printed = output.stdout.trim();
    if printed == expected {
        return Outcome::Passed;
    }
    Outcome::failed(format!("printed `{printed}`, not `{expected}`")).with_output(&output.stderr)
}

/// Passes if the program ended well.
pub fn succeeds(output: &Output) -> Finding {
    match output.exit.success() {
        true => Outcome::Passed.into(),
        false => Outcome::failed(output.exit.to_string()).with_output(&output.text()).into(),
    }
}
