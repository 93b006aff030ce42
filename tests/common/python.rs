//! This machine's Python, which compiles byte code in tests.

use std::process::Command;

use super::skip::skipped;

/// Its `major.minor`, and its program.
pub type Python = (String, String);

/// This machine's Python; `None`, loudly, where there is none.
pub fn python() -> Option<Python> {
    let script = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])";
    let found = Command::new("python3").args(["-c", script]).output();
    let Some(output) = found.ok().filter(|output| output.status.success()) else {
        skipped("there is no python3 on PATH");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (program, version) = text.trim().rsplit_once(' ').unwrap();
    Some((version.to_owned(), program.to_owned()))
}
