//! Programs of others that make outputs.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

/// Why a program did not make an output.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// None of the programs that could is installed.
    #[error("`{output}` needs the program {}, which is not on `PATH`", .programs.join(" or "))]
    Missing {
        /// The output.
        output: String,
        /// What they are called, in backticks.
        programs: Vec<String>,
    },
    /// It cannot be started.
    #[error("cannot run `{program}`")]
    Run {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It failed.
    #[error("`{program}` failed ({status}): {said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        said: String,
    },
}

/// The last lines of an error message that are shown.
const SHOWN: usize = 5;

/// Runs the first of `programs` that is installed, with `arguments`, the file `input` and these `variables`, and waits for
/// its end.
pub fn run(
    output: &str,
    programs: &[&str],
    arguments: &[&OsStr],
    input: Option<&Path>,
    variables: &[(&str, &str)],
) -> Result<(), ProgramError> {
    for program in programs {
        let failed = |source| ProgramError::Run { program: (*program).to_owned(), source };
        let input = match input {
            Some(path) => Stdio::from(File::open(path).map_err(failed)?),
            None => Stdio::null(),
        };
        let ran = match Command::new(program).args(arguments).envs(variables.iter().copied()).stdin(input).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        if ran.status.success() {
            return Ok(());
        }
        let said = if ran.stderr.is_empty() { ran.stdout } else { ran.stderr };
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let said = lines[lines.len().saturating_sub(SHOWN)..].join("; ");
        return Err(ProgramError::Failed { program: (*program).to_owned(), status: ran.status.to_string(), said });
    }
    let programs = programs.iter().map(|program| format!("`{program}`")).collect();
    Err(ProgramError::Missing { output: output.to_owned(), programs })
}
