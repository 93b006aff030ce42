//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::verify::runtime::embedded;

/// Runs esker with `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter().skip(1).peekable();
    // Before anything makes a second thread.
    if args.next_if(|first| first == embedded::SUBCOMMAND).is_some() {
        return embedded::runner_main(args);
    }
    ExitCode::SUCCESS
}
