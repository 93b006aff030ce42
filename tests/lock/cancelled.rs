//! Nobody waits any more: what was going on stops.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_solve_that_nobody_waits_for_ends() {
    let world = world(&TinyChannel::new());
    let requested = common::endless_puzzle(&world.folder.path().join("channel"));
    let requested: Vec<_> = requested.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let waited = runtime.block_on(async {
        let spec = LockSpec::of(&world.image(&requested)).unwrap();
        tokio::time::timeout(Duration::from_secs(2), solve(&spec, None, &world.client(), &Silent)).await
    });
    assert!(waited.is_err(), "the puzzle was solved: the test proves nothing");
    // Waits for the threads that solve.
    let start = Instant::now();
    runtime.shutdown_timeout(Duration::from_secs(20));
    assert!(start.elapsed() < Duration::from_secs(5), "the solver went on for {:?}", start.elapsed());
}
