//! Ctrl-C and requests to end, while `esker lock` waits for a channel or for the solver.

use std::process::Child;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::common::{Fault, Server, endless_puzzle};

/// How long a process may take to end. It does so at once; the machine may be busy.
const SOON: Duration = Duration::from_secs(3);

/// Sends `signal`, and checks that the process ends soon, with the code that shells give it, and says so.
#[track_caller]
fn interrupt(child: Child, signal: Signal) {
    let start = Instant::now();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    let ran = Ran::new(child.wait_with_output().unwrap());
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    ran.fails(128 + signal as i32, &["error: interrupted"]);
    assert_eq!(ran.stdout, "");
}

/// The project has its environment and nothing else.
#[track_caller]
fn assert_untouched(sandbox: &Sandbox) {
    let files: Vec<_> = tree(&sandbox.path("project")).into_keys().collect();
    assert_eq!(files, [Path::new("esker.yml"), Path::new("tiny/environment.yml")]);
}

#[test]
fn a_download_is_interrupted() {
    let sandbox = Sandbox::new();
    let server = Server::start(sandbox.path("channel"));
    let mirror = server.mirror();
    let lock =
        || sandbox.command(&["lock"]).env("ESKER_MIRROR", format!("{}={}", mirror.from, mirror.to)).spawn().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        server.inject("linux-64/repodata.json", Fault::Slow(1000), 1);
        let before = server.gets("linux-64/repodata.json");
        let child = lock();
        while server.gets("linux-64/repodata.json") == before {
            sleep(Duration::from_millis(20));
        }
        sleep(Duration::from_millis(200));
        interrupt(child, signal);
        assert_untouched(&sandbox);
    }
    assert!(lock().wait().unwrap().success());
    let whole = Sandbox::new();
    whole.ok(&["lock"]);
    for file in ["conda-lock.yml", "conda-linux-64.lock", "conda-linux-aarch64.lock"] {
        let file = format!("project/tiny/{file}");
        assert_eq!(sandbox.read(&file), whole.read(&file));
    }
}

#[test]
fn a_solve_is_interrupted() {
    let sandbox = Sandbox::new();
    let requested = endless_puzzle(&sandbox.path("channel"));
    sandbox.environment("tiny", &requested.iter().map(String::as_str).collect::<Vec<_>>());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = sandbox.command(&["lock"]).spawn().unwrap();
        sleep(Duration::from_millis(1500));
        assert_eq!(child.try_wait().unwrap(), None, "the puzzle was solved: the test proves nothing");
        interrupt(child, signal);
        assert_untouched(&sandbox);
    }
    sandbox.channel(&Sandbox::packages());
    sandbox.environment("tiny", &["libfoo"]);
    sandbox.ok(&["lock"]);
}
