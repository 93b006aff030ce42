//! The `esker` program: everything is in [`esker::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    esker::cli::run(std::env::args_os())
}
