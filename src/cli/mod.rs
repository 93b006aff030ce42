//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs esker with `args`, the program's name first.
pub fn run(_args: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::SUCCESS
}
