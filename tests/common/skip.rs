//! What a test says when it cannot run here.

use std::io::Write;

/// Says that the running test, or a part of it, did not run and why: on stderr, and in the file that `ESKER_SKIP_LOG`
/// names, which `make test` reads out at its end. (A runner shows nothing of what a test that passes prints.)
pub fn skipped(why: &str) {
    let line = format!("{}: {why}\n", test_name());
    // One write each: tests that run at the same time share the file.
    drop(std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes()));
    if let Some(log) = std::env::var_os("ESKER_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("a skipped test must be counted, in `{}`: {error}", log.display()));
    }
}

/// nextest names the test in a variable; the standard harness runs it in a thread of its name.
fn test_name() -> String {
    let named = || std::thread::current().name().map(str::to_owned);
    let name = std::env::var("NEXTEST_TEST_NAME").ok().or_else(named).unwrap_or_default();
    match std::env::var("NEXTEST_BINARY_ID") {
        Ok(binary) => format!("{binary} {name}"),
        Err(_) => name,
    }
}
