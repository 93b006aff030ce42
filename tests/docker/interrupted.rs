//! Ctrl-C and requests to end while `esker verify --runtime docker` loads an image and runs containers.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::Ran;
use crate::project::{Project, has_engine, host};

/// With a layer that takes a while to load.
const DOCKERFILE: &str = "ARG BASE\nFROM ${BASE}\nCOPY large /large\n";
const LARGE: usize = 48 << 20;

/// When it is interrupted.
#[derive(Clone, Copy, Debug)]
enum When {
    /// This long after it began.
    After(Duration),
    /// As soon as the engine has the image.
    Loaded,
    /// As soon as there is a container, and this long after.
    Running(Duration),
}

fn docker(arguments: &[&str]) -> String {
    String::from_utf8(Command::new("docker").args(arguments).output().unwrap().stdout).unwrap()
}

/// The containers of the image called `tag`, which Docker's command calls by its id as well.
fn containers(tag: &str) -> Vec<String> {
    let (_, id) = tag.split_once(':').unwrap();
    let all = docker(&["ps", "--all", "--format", "{{.Image}} {{.Names}}"]);
    all.lines().filter(|line| line.starts_with(tag) || line.starts_with(id)).map(str::to_owned).collect()
}

fn is_loaded(tag: &str) -> bool {
    !docker(&["images", "--quiet", tag]).is_empty()
}

#[test]
fn nothing_stays_in_the_engine() {
    if !has_engine() {
        return;
    }
    let project = Project::new(DOCKERFILE);
    // A check whose container does not end by itself.
    project.setting("info: {wait: tail -f /dev/null}");
    // What does not repeat is not made small.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(LARGE / 8)
    .flatten()
    .collect();
    project.write("project/tiny/large", &large);
    let built = project.build_with(&[], &[]);
    let id = built.image(host()).config_digest;
    let tag = format!("esker-verify:{}", &id.hex()[..12]);

    let short = Duration::from_millis;
    let moments = [
        When::After(short(150)),
        When::After(short(500)),
        When::After(short(900)),
        When::Loaded,
        When::Running(short(0)),
        When::Running(short(400)),
        When::Running(short(1100)),
    ];
    for (when, signal) in moments.into_iter().zip([Signal::SIGINT, Signal::SIGTERM].into_iter().cycle()) {
        let mut child = project.command(&["verify", "tiny", "--runtime", "docker"]).spawn().unwrap();
        let begin = Instant::now();
        let mut wait_for = |come: &dyn Fn() -> bool| {
            while !come() {
                if child.try_wait().unwrap().is_some() || begin.elapsed() > Duration::from_secs(120) {
                    drop(child.kill());
                    panic!("{when:?} did not come");
                }
                std::thread::sleep(short(10));
            }
        };
        match when {
            When::After(time) => std::thread::sleep(time),
            When::Loaded => wait_for(&|| is_loaded(&tag)),
            When::Running(time) => {
                wait_for(&|| !containers(&tag).is_empty());
                std::thread::sleep(time);
            }
        }
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let ran = Ran::new(child.wait_with_output().unwrap());
        // Before it listens to signals, they have their own effect.
        let too_early = matches!(when, When::After(_)) && ran.code.is_none();
        assert!(too_early || ran.code == Some(128 + signal as i32), "{when:?}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(containers(&tag), [""; 0], "{when:?}");
        assert!(!is_loaded(&tag), "{when:?}");
        // An image can lose its name and stay.
        let all = docker(&["images", "--all", "--quiet", "--no-trunc"]);
        assert!(!all.contains(&id.to_string()), "{when:?}");
    }
}
