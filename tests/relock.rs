//! What moves when a lock is made anew, and what does not: `esker lock` on channels that change.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Pkg, Ran, Sandbox, TinyChannel};
use proptest::prelude::*;
use serde_json::Value;

/// 2024-01-01T00:00:00Z, in milliseconds.
const NEW_YEAR: i64 = 1_704_067_200_000;
const DAY: i64 = 86_400_000;

/// A channel of packages `NAME VERSION [BUILD]: REQUIREMENT, ...`; a build string ends in its number.
fn channel(packages: &[&str]) -> TinyChannel {
    packages.iter().fold(TinyChannel::new(), |channel, text| channel.package(package(text)))
}

fn package(text: &str) -> Pkg {
    let (head, depends) = text.split_once(':').unwrap_or((text, ""));
    let words: Vec<&str> = head.split_whitespace().collect();
    let mut package = Pkg::new(words[0], words[1]);
    if let Some(build) = words.get(2) {
        package = package.build(build, build.rsplit('_').next().unwrap().parse().unwrap());
    }
    depends.split(',').map(str::trim).filter(|spec| !spec.is_empty()).fold(package, Pkg::depends)
}

/// A project whose one image asks for `dependencies` and is locked with `packages`.
fn locked(dependencies: &[&str], packages: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", dependencies);
    offer(&sandbox, packages);
    sandbox.ok(&["lock"]);
    sandbox
}

/// Replaces what the channel has.
fn offer(sandbox: &Sandbox, packages: &[&str]) {
    sandbox.channel(&channel(packages));
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
}

/// `NAME VERSION BUILD` of what is locked for linux-64.
fn packages(sandbox: &Sandbox, image: &str) -> Vec<String> {
    let explicit = sandbox.read(&format!("project/{image}/conda-linux-64.lock"));
    let mut packages: Vec<String> = explicit
        .lines()
        .filter(|line| line.starts_with("http"))
        .map(|line| {
            let file = line.split('#').next().unwrap().rsplit('/').next().unwrap();
            let parts: Vec<&str> = file.trim_end_matches(".conda").rsplitn(3, '-').collect();
            format!("{} {} {}", parts[2], parts[1], parts[0])
        })
        .collect();
    packages.sort();
    packages
}

#[track_caller]
fn has(sandbox: &Sandbox, expected: &[&str]) {
    let found = packages(sandbox, "tiny");
    let found: Vec<&str> = found.iter().map(|package| package.trim_end_matches(" 0")).collect();
    assert_eq!(found, expected);
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

const OLD: [&str; 3] = ["a 1: c", "b 1: c", "c 1"];
const BOTH: [&str; 6] = ["a 1: c", "b 1: c", "c 1", "a 2: c", "b 2: c", "c 2"];

#[test]
fn a_lock_that_holds_moves_only_when_asked() {
    let sandbox = locked(&["a", "b"], &OLD);
    offer(&sandbox, &BOTH);
    assert!(sandbox.ok(&["lock"]).stdout.contains("up to date"));
    sandbox.ok(&["lock", "--relock"]);
    has(&sandbox, &["a 1", "b 1", "c 1"]);
    let ran = sandbox.ok(&["lock", "--update", "a"]);
    has(&sandbox, &["a 2", "b 1", "c 1"]);
    assert!(ran.stdout.contains("tiny: 1 upgraded\n  upgrade  a  1 → 2\n"), "{}", ran.stdout);
    sandbox.ok(&["lock", "--relock=requested"]);
    has(&sandbox, &["a 2", "b 2", "c 1"]);
    sandbox.ok(&["lock", "--fresh"]);
    has(&sandbox, &["a 2", "b 2", "c 2"]);
}

#[test]
fn updates_take_along_what_they_need_and_no_more() {
    let sandbox = locked(&["a", "b", "d"], &["a 1: c, d", "b 1: c", "c 1: e", "d 1", "e 1"]);
    let new = ["a 1: c, d", "b 1: c", "c 1: e", "d 1", "e 1", "a 2: c >=2, d", "b 2: c", "c 2: e", "d 2", "e 2"];
    offer(&sandbox, &new);
    sandbox.ok(&["lock", "--update", "a"]);
    has(&sandbox, &["a 2", "b 1", "c 2", "d 1", "e 1"]);
}

#[test]
fn a_recursive_update_takes_along_all_it_depends_on() {
    let sandbox = locked(&["a", "b"], &["a 1: c", "b 1: d", "c 1: e", "d 1", "e 1"]);
    offer(&sandbox, &["a 1: c", "b 1: d", "c 1: e", "d 1", "e 1", "a 2: c", "b 2: d", "c 2: e", "d 2", "e 2"]);
    sandbox.ok(&["lock", "--update", "a", "--recursive"]);
    has(&sandbox, &["a 2", "b 1", "c 2", "d 1", "e 2"]);
}

#[test]
fn an_update_moves_what_the_solver_would_rather_keep() {
    // `b 1`, which is preferred, keeps `a` low: only `b 2` allows `a 3`, and `a 3` needs `c 2`.
    let old = ["a 1: c", "b 1: c <2", "c 1"];
    let sandbox = locked(&["b", "a"], &old);
    offer(&sandbox, &[&old[..], &["a 2: c <2", "a 3: c >=2", "b 2: c", "c 2"]].concat());
    let ran = sandbox.ok(&["lock", "--update", "a"]);
    has(&sandbox, &["a 3", "b 2", "c 2"]);
    assert!(!ran.stderr.contains("`a` of"), "{}", ran.stderr);
}

#[test]
fn an_update_that_cannot_be_says_why() {
    let old = ["a 1: c", "b 1: c <2", "c 1"];
    let sandbox = locked(&["b", "a"], &old);
    offer(&sandbox, &[&old[..], &["a 2: c <2", "a 3: c >=2", "c 2"]].concat());
    let ran = sandbox.ok(&["lock", "--update", "a"]);
    has(&sandbox, &["a 2", "b 1", "c 1"]);
    let expected = "`a` of `tiny` is 2 on linux-64 and linux-aarch64, not 3: ";
    assert!(ran.stderr.contains(expected) && ran.stderr.contains("b 1"), "{}", ran.stderr);
    let held = report(&sandbox.ok(&["lock", "--update", "a", "--json"]))["images"][0]["held"].clone();
    assert_eq!((&held[0]["name"], &held[0]["version"], &held[0]["newest"]), (&"a".into(), &"2".into(), &"3".into()));
}

#[test]
fn a_misspelt_update_is_an_error() {
    let sandbox = locked(&["libfoo"], &["libfoo 1"]);
    sandbox.run(&["lock", "--update", "libfo"]).fails(2, &["`libfo` is neither locked", "did you mean `libfoo`?"]);
    sandbox.run(&["lock", "--relock=all"]).fails(2, &["minimal"]);
    sandbox.run(&["lock", "--exclude-newer", "soon"]).fails(2, &["`soon` cannot be `--exclude-newer`", "2026-01-31"]);
}

#[test]
fn mere_rebuilds_are_held_back() {
    let sandbox = locked(&["a"], &["a 1 h_0: b", "b 1 h_0"]);
    offer(&sandbox, &["a 1 h_0: b", "b 1 h_0", "a 2 h_0: b", "b 1 h_1"]);
    sandbox.ok(&["lock", "--fresh"]);
    has(&sandbox, &["a 2 h_0", "b 1 h_0"]);
    sandbox.ok(&["lock", "--fresh", "--rebuilds"]);
    has(&sandbox, &["a 2 h_0", "b 1 h_1"]);
    // Unless they are named, or needed.
    offer(&sandbox, &["a 2 h_0: b", "a 3 h_0: b >=1 h_2", "b 1 h_1", "b 1 h_2", "b 1 h_3"]);
    sandbox.ok(&["lock", "--fresh"]);
    has(&sandbox, &["a 3 h_0", "b 1 h_2"]);
    sandbox.environment("tiny", &["a 2", "b"]);
    sandbox.ok(&["lock", "--update", "b"]);
    has(&sandbox, &["a 2 h_0", "b 1 h_3"]);
}

#[test]
fn refreshed_packages_move_in_every_relock() {
    let sandbox = locked(&["a", "b"], &["a 1: certs", "b 1", "certs 1"]);
    let config = sandbox.read("project/esker.yml");
    sandbox.write("project/esker.yml", format!("{config}refresh: [certs, absent]\nrelock: requested\n").as_bytes());
    offer(&sandbox, &["a 1: certs", "b 1", "certs 1", "a 2: certs", "b 2", "certs 2", "d 1"]);
    // Nothing asks for a relock, so nothing moves.
    sandbox.ok(&["lock"]);
    has(&sandbox, &["a 1", "b 1", "certs 1"]);
    sandbox.environment("tiny", &["a", "b", "d"]);
    sandbox.ok(&["lock"]);
    has(&sandbox, &["a 1", "b 1", "certs 2", "d 1"]);
    // The project's policy is for relocks that are asked for.
    sandbox.ok(&["lock", "--relock"]);
    has(&sandbox, &["a 2", "b 2", "certs 2", "d 1"]);
}

#[test]
fn adding_and_removing_moves_nothing_else() {
    let sandbox = locked(&["a", "b"], &OLD);
    offer(&sandbox, &[&BOTH[..], &["d 1: e", "e 1: c >=1"]].concat());
    sandbox.environment("tiny", &["a", "b", "d"]);
    sandbox.ok(&["lock"]);
    has(&sandbox, &["a 1", "b 1", "c 1", "d 1", "e 1"]);
    sandbox.environment("tiny", &["a", "b"]);
    sandbox.ok(&["lock"]);
    has(&sandbox, &["a 1", "b 1", "c 1"]);
}

#[test]
fn a_child_is_like_its_parent_where_it_can_be() {
    let sandbox = Sandbox::new();
    let config = sandbox.read("project/esker.yml") + "images: {child: {parent: tiny}}\n";
    sandbox.write("project/esker.yml", config.as_bytes());
    sandbox.environment("tiny", &["a"]);
    sandbox.environment("child", &["b"]);
    offer(&sandbox, &OLD);
    sandbox.ok(&["lock", "tiny"]);
    offer(&sandbox, &BOTH);
    sandbox.ok(&["lock", "child"]);
    assert_eq!(packages(&sandbox, "child"), ["a 1 0", "b 2 0", "c 1 0"]);
    // Parents are locked first, and children follow.
    sandbox.ok(&["lock", "--fresh", "child", "tiny"]);
    assert_eq!(packages(&sandbox, "tiny"), ["a 2 0", "c 2 0"]);
    assert_eq!(packages(&sandbox, "child"), ["a 2 0", "b 2 0", "c 2 0"]);
    // Unless it is told not to.
    offer(&sandbox, &[&BOTH[..], &["c 3"]].concat());
    sandbox.write("project/esker.yml", config.replace("parent: tiny", "parent: tiny, prefer-parent: false").as_bytes());
    sandbox.ok(&["lock", "--fresh", "child"]);
    assert_eq!(packages(&sandbox, "child"), ["a 2 0", "b 2 0", "c 3 0"]);
    sandbox.write("project/esker.yml", config.as_bytes());
    sandbox.ok(&["lock", "--fresh", "child"]);
    assert_eq!(packages(&sandbox, "child"), ["a 2 0", "b 2 0", "c 3 0"], "nothing goes down to be like the parent");
}

#[test]
fn what_is_too_new_does_not_count() {
    let at = |text: &str, day: i64| package(text).timestamp_ms(Some(NEW_YEAR + day * DAY));
    let all = || {
        let untold = package("b 2").timestamp_ms(None);
        let packages = [at("a 1", 0), at("a 2", 10), at("a 3", 20), at("b 1", 0), untold];
        packages.into_iter().fold(TinyChannel::new(), TinyChannel::package)
    };
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", &["a", "b"]);
    sandbox.channel(&all());
    sandbox.ok(&["lock", "--exclude-newer", "2024-01-11"]);
    has(&sandbox, &["a 2", "b 1"]);
    assert!(sandbox.read("project/tiny/conda-lock.yml").contains("esker-exclude-newer: '2024-01-12T00:00:00Z'"));
    // What is locked stays, though it is newer.
    sandbox.ok(&["lock", "--relock", "--exclude-newer", "2024-01-01"]);
    has(&sandbox, &["a 2", "b 1"]);
    // An age counts from now, and some packages may be exempt.
    let config = sandbox.read("project/esker.yml");
    let aged = |more: &str| sandbox.write("project/esker.yml", format!("{config}min-age: 1w\n{more}").as_bytes());
    aged("min-age-exempt: [b]\n");
    sandbox.ok(&["lock", "--fresh"]);
    has(&sandbox, &["a 3", "b 2"]);
    aged("");
    sandbox.environment("tiny", &["a", "b >2"]);
    let packages = [at("a 3", 20), package("b 1"), package("b 3").timestamp_ms(Some(4_000_000_000_000))];
    sandbox.channel(&packages.into_iter().fold(TinyChannel::new(), TinyChannel::package));
    sandbox.run(&["lock"]).fails(1, &["published after", "the cut-off"]);
}

/// A channel of eight names in three versions each, whose requirements go to later names.
fn universes() -> impl Strategy<Value = Vec<String>> {
    let requirement = (0..8_usize, 1..4_u8, 0..3_u8);
    let one = proptest::collection::vec(requirement, 0..3);
    proptest::collection::vec(one, 24).prop_map(|all| {
        let mut packages = Vec::new();
        for (index, requirements) in all.iter().enumerate() {
            let (name, version) = (index / 3, index % 3 + 1);
            let later = requirements.iter().filter(|(other, ..)| *other > name);
            let spec = |(other, version, kind): &(usize, u8, u8)| match kind {
                0 => format!("p{other}"),
                1 => format!("p{other} >={version}"),
                _ => format!("p{other} <={version}"),
            };
            packages.push(format!("p{name} {version}: {}", later.map(spec).collect::<Vec<_>>().join(", ")));
        }
        packages
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever moved besides the update cannot stay beside all that did: with it asked for as it was, and all that
    /// stayed as it is, there is no solution.
    #[test]
    fn nothing_moves_that_could_stay(universe in universes()) {
        let all: Vec<&str> = universe.iter().map(String::as_str).collect();
        let old: Vec<&str> = all.iter().copied().filter(|package| !package.contains(" 3:")).collect();
        let sandbox = Sandbox::new();
        sandbox.environment("tiny", &["p0", "p1", "p2"]);
        offer(&sandbox, &old);
        prop_assume!(sandbox.run(&["lock"]).code == Some(0));
        let before = packages(&sandbox, "tiny");
        offer(&sandbox, &all);
        sandbox.ok(&["lock", "--update", "p0"]);
        let after = packages(&sandbox, "tiny");
        let pin = |package: &String| package.trim_end_matches(" 0").replace(' ', "==");
        let stayed: Vec<String> = before.iter().filter(|package| after.contains(package)).map(pin).collect();
        let moved = before.iter().filter(|package| {
            let name = package.split(' ').next().unwrap();
            name != "p0" && !after.contains(package) && after.iter().any(|other| other.starts_with(&format!("{name} ")))
        });
        let updated = after.iter().find(|package| package.starts_with("p0 ")).map(pin).unwrap();
        for package in moved {
            let asked = [&[updated.clone(), "p1".into(), "p2".into(), pin(package)], &stayed[..]].concat();
            let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
            drop(fs_err::remove_file(sandbox.path("project/tiny/conda-lock.yml")));
            sandbox.environment("tiny", &asked);
            prop_assert_eq!(sandbox.run(&["lock"]).code, Some(1), "{} could stay: {:?} to {:?}", package, before, after);
        }
    }
}

#[test]
fn a_driver_that_the_machines_lack_moves_nothing_that_nobody_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", &["a"]);
    let old = || package("a 1 cpu_0");
    let new = || package("a 1 gpu_1").constrains("__cuda >=99");
    // As another solver would have locked it.
    sandbox.channel(&TinyChannel::new().package(package("a 1 gpu_1")));
    sandbox.ok(&["lock"]);
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
    sandbox.channel(&TinyChannel::new().package(old()).package(new()).package(package("b 1")));
    let lock = sandbox.read("project/tiny/conda-lock.yml");
    let text = fs_err::read_to_string(sandbox.path("channel/noarch/repodata.json")).unwrap();
    let repodata: Value = serde_json::from_str(&text).unwrap();
    let record = &repodata["packages.conda"]["a-1-gpu_1.conda"];
    let renewed: String = lock
        .lines()
        .map(|line| match line.trim_start().split_once(": ") {
            Some((key @ ("md5" | "sha256"), _)) => format!("    {key}: {}\n", record[key].as_str().unwrap()),
            _ => format!("{line}\n"),
        })
        .collect();
    sandbox.write("project/tiny/conda-lock.yml", renewed.as_bytes());
    sandbox.environment("tiny", &["a", "b"]);
    let ran = sandbox.ok(&["lock"]);
    has(&sandbox, &["a 1 gpu_1", "b 1"]);
    assert!(ran.stderr.contains("`a 1` stays on linux-64, though it constrains `__cuda >=99`"), "{}", ran.stderr);
    let ran = sandbox.ok(&["lock", "--update", "a"]);
    has(&sandbox, &["a 1 cpu_0", "b 1"]);
    assert!(!ran.stderr.contains("stays"), "{}", ran.stderr);
}
