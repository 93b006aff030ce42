//! Programs of an image that run in a copy of the process that has imported everything: most of what each takes by itself is
//! a new interpreter that imports the same libraries once more.
//!
//! What passes so, passes. What does not is run by itself, as people run it, and that counts.

use super::scene::Scene;
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error, Output};

/// The check that imports everything.
const IMPORTS: &str = "python.imports";

/// A program by a name for it: words as on a command line. The first is `python`, or a script for the same.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name among the others.
    pub name: &'static str,
    words: &'static [&'static str],
}

/// What BinderHub has `python3` do.
pub const BINDER: Program = Program {
    name: "binder",
    words: &["python3", "-c", "import jupyterlab, shutil; print(shutil.which('jupyter-lab'))"],
};
/// What `jupyter labextension list` starts.
pub const LABEXTENSIONS: Program = Program { name: "labextensions", words: &["jupyter-labextension", "list"] };
/// What dask-gateway has a scheduler load.
pub const PRELOAD: Program =
    Program { name: "preload", words: &["python", "-c", "import dask_gateway.scheduler_preload"] };
/// Whether requirements of packages are met.
pub const PIP_CHECK: Program = Program { name: "pip-check", words: &["python", "-m", "pip", "check"] };

/// All of them.
pub const PROGRAMS: [Program; 4] = [BINDER, LABEXTENSIONS, PRELOAD, PIP_CHECK];

impl Program {
    /// Its words, as JSON takes them.
    pub fn words(self) -> Vec<&'static str> {
        self.words.to_vec()
    }

    /// It, by itself.
    pub fn command(self) -> Command {
        Command::arguments(self.words.iter().copied())
    }
}

impl Scene<'_> {
    /// What `judge` says of `program`, or else of `alone`, which is what people run.
    ///
    /// # Errors
    /// When no program can be run on this machine.
    pub async fn warm_or_alone(
        &self,
        program: Program,
        alone: Command,
        judge: impl Fn(&Output) -> Finding,
    ) -> Result<Finding, Error> {
        if self.runs(IMPORTS) {
            let judged = self.imported().await?.ran.get(program.name).map(&judge);
            if let Some(passed) = judged.filter(|finding| finding.outcome == Outcome::Passed) {
                return Ok(passed);
            }
        }
        Ok(judge(&self.run(&alone).await?))
    }
}
