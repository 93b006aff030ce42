//! Reviewing changes of locks: a project in a git repository, from its first lock on.

#![allow(clippy::unwrap_used)]
#![allow(clippy::duplicate_mod, reason = "`common` and `images` both say when a test is skipped")]

mod common;
#[path = "diff/images.rs"]
mod compared_images;
mod fake_registry;
mod images;

use std::process::Command;

use common::{Pkg, Sandbox, TinyChannel};
use serde_json::Value;

/// `tiny`, locked and tagged `2024.1` on the first of May 2024.
fn repository() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    git(&sandbox, "", &["init", "--quiet", "--initial-branch=main"]);
    commit(&sandbox, "2024.1", "2024-05-01");
    sandbox
}

fn git(sandbox: &Sandbox, day: &str, arguments: &[&str]) {
    let time = format!("{day}T12:00:00Z");
    let output = Command::new("git")
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"])
        .args(arguments)
        .current_dir(sandbox.path("project"))
        .env("HOME", sandbox.path("home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs((!day.is_empty()).then_some(("GIT_COMMITTER_DATE", time.as_str())))
        .envs((!day.is_empty()).then_some(("GIT_AUTHOR_DATE", time.as_str())))
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn commit(sandbox: &Sandbox, tag: &str, day: &str) {
    git(sandbox, day, &["add", "--all"]);
    git(sandbox, day, &["commit", "--quiet", "--allow-empty", "-m", tag]);
    git(sandbox, day, &["tag", tag]);
}

/// Replaces the channel, so that `libfoo` and `certs` are of these versions, and locks again.
fn relock(sandbox: &Sandbox, libfoo: &str, certs: &str) {
    let libfoo = Pkg::new("libfoo", libfoo).native().depends("__glibc >=2.17");
    let certs = Pkg::new("certs", certs).file("ssl/cacert.pem", "pretend\n");
    sandbox.channel(&TinyChannel::new().package(libfoo).package(certs));
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
    fs_err::remove_file(sandbox.path("project/tiny/conda-lock.yml")).unwrap();
    sandbox.ok(&["lock"]);
}

fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&sandbox.ok(&arguments).stdout).unwrap()
}

#[test]
fn the_working_tree_is_compared_with_the_last_commit() {
    let sandbox = repository();
    assert_eq!(sandbox.ok(&["diff"]).stdout, "tiny: no changes\n");
    relock(&sandbox, "2.0", "2025.1");
    let expected =
        "tiny: 1 downgraded, 1 upgraded\n  downgrade  libfoo  2.1 → 2.0\n  upgrade    certs   2024.1 → 2025.1\n";
    assert_eq!(sandbox.ok(&["diff"]).stdout, expected);
    let report = json(&sandbox, &["diff"]);
    assert_eq!(
        (&report["schema"], &report["old"], &report["new"]),
        (&1.into(), &"HEAD".into(), &"working tree".into())
    );
    let change = &report["images"][0]["changes"][0];
    assert_eq!((&change["kind"], &change["name"]), (&"downgrade".into(), &"libfoo".into()));
    assert_eq!((&change["old"]["version"], &change["new"]["version"]), (&"2.1".into(), &"2.0".into()));
    assert_eq!(change["subdirs"].as_array().unwrap().len(), 2);
    let markdown = sandbox.ok(&["diff", "--format", "markdown"]).stdout;
    assert!(markdown.contains("| libfoo | 2.1 | **2.0** | all |"), "{markdown}");
    assert_eq!(sandbox.ok(&["diff", "--format", "json"]).stdout, sandbox.ok(&["diff", "--json"]).stdout);
    assert!(sandbox.ok(&["diff", "--color", "always"]).stdout.contains("\x1b[31mdowngrade"));
}

#[test]
fn revisions_and_files_are_compared() {
    let sandbox = repository();
    fs_err::copy(sandbox.path("project/tiny/conda-lock.yml"), sandbox.path("old.yml")).unwrap();
    relock(&sandbox, "2.2", "2024.1");
    commit(&sandbox, "2024.2", "2024-06-01");
    let upgraded = "tiny: 1 upgraded\n  upgrade  libfoo  2.1 → 2.2\n";
    assert_eq!(sandbox.ok(&["diff", "2024.1..2024.2"]).stdout, upgraded);
    assert_eq!(sandbox.ok(&["diff", "2024.1", "2024.2"]).stdout, upgraded);
    assert_eq!(sandbox.ok(&["diff", "HEAD~1", "--image", "tiny"]).stdout, upgraded);
    assert_eq!(sandbox.ok(&["diff"]).stdout, "tiny: no changes\n");
    let files = sandbox.ok(&["diff", "../old.yml", "tiny/conda-lock.yml"]).stdout;
    assert!(files.ends_with("  upgrade  libfoo  2.1 → 2.2\n"), "{files}");
    // Files need neither a project nor a repository; explicit locks will do.
    fs_err::copy(sandbox.path("project/tiny/conda-linux-64.lock"), sandbox.path("new.lock")).unwrap();
    fs_err::remove_dir_all(sandbox.path("project")).unwrap();
    fs_err::create_dir(sandbox.path("project")).unwrap();
    let files = sandbox.ok(&["diff", "../old.yml", "../new.lock"]).stdout;
    assert!(files.contains("linux-aarch64 no longer locked"), "{files}");
}

#[test]
fn what_was_not_there_is_added() {
    let sandbox = repository();
    sandbox.environment("other", &["certs"]);
    sandbox.ok(&["lock"]);
    let expected = "other: 1 added, linux-64 new, linux-aarch64 new\n  addition  certs  2024.1\ntiny: no changes\n";
    assert_eq!(sandbox.ok(&["diff"]).stdout, expected);
}

#[test]
fn denied_changes_fail_by_name() {
    let sandbox = repository();
    relock(&sandbox, "2.0", "2025.1");
    let ran = sandbox.run(&["diff", "--deny", "downgrade,removal"]);
    ran.fails(1, &["downgrade of `libfoo` in tiny", "--allow"]);
    assert!(!ran.stderr.contains("certs") && ran.stdout.contains("libfoo"));
    sandbox.ok(&["diff", "--deny", "downgrade", "--allow", "libfoo"]);
    let settings = sandbox.read("project/esker.yml");
    sandbox.write("project/esker.yml", format!("{settings}deny: [downgrade]\n").as_bytes());
    let ran = sandbox.run(&["diff", "--json"]);
    ran.fails(1, &["libfoo"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["denied"][0]["name"], "libfoo");
    sandbox.write("project/esker.yml", format!("{settings}deny: [downgrade]\nallow: [libfoo]\n").as_bytes());
    sandbox.ok(&["diff"]);
    sandbox.run(&["diff", "--deny", "everything"]).fails(2, &["`downgrade`"]);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let sandbox = Sandbox::new();
    sandbox.run(&["diff"]).fails(2, &["not in a git repository"]);
    let sandbox = repository();
    sandbox.run(&["diff", "2023.1"]).fails(2, &["no revision `2023.1`"]);
    sandbox.run(&["diff", "--image", "tinny"]).fails(2, &["did you mean `tiny`"]);
    sandbox.run(&["diff", "2024.1", "tiny/conda-lock.yml"]).fails(2, &["two lock files"]);
    // A revision whose lock is broken is told as such.
    sandbox.write("project/tiny/conda-lock.yml", b"version: 2\n");
    commit(&sandbox, "broken", "2024-07-01");
    sandbox.run(&["diff", "2024.1..broken"]).fails(2, &["broken:tiny/conda-lock.yml:1:"]);
}

#[test]
fn why_a_package_is_there() {
    let sandbox = Sandbox::new();
    let top = Pkg::new("top", "1.0").depends("libfoo >=2");
    sandbox.channel(&Sandbox::packages().package(top));
    sandbox.environment("tiny", &["certs", "top"]);
    sandbox.run(&["why", "libfoo"]).fails(1, &["no lock has `libfoo`"]);
    sandbox.ok(&["lock"]);
    let expected = "tiny: libfoo 2.1\n  tiny/environment.yml:5  top → libfoo >=2\n";
    assert_eq!(sandbox.ok(&["why", "libfoo"]).stdout, expected);
    assert_eq!(sandbox.ok(&["why", "certs"]).stdout, "tiny: certs 2024.1\n  tiny/environment.yml:4  certs\n");
    let report = json(&sandbox, &["why", "libfoo", "--subdir", "linux-64"]);
    let chain = &report["images"][0]["chains"][0];
    assert_eq!((&chain["requested"][0]["line"], &chain["links"][1]["requirement"]), (&5.into(), &">=2".into()));
    assert_eq!(chain["subdirs"], serde_json::json!(["linux-64"]));
    sandbox.run(&["why", "libfo"]).fails(1, &["no lock has `libfo`", "did you mean `libfoo`?"]);
    sandbox.run(&["why", "libfoo", "--subdir", "osx-64"]).fails(1, &["libfoo"]);
}

#[test]
fn versions_by_the_tag_they_first_appeared_in() {
    let sandbox = repository();
    relock(&sandbox, "2.2", "2024.1");
    commit(&sandbox, "2024.3", "2024-07-01");
    commit(&sandbox, "2024.4", "2024-08-01");
    // A tag from before explicit locks were kept, and one from before there was anything.
    fs_err::remove_file(sandbox.path("project/tiny/conda-linux-64.lock")).unwrap();
    commit(&sandbox, "2024.2-annotated", "2024-06-01");
    relock(&sandbox, "2.1", "2025.1");
    commit(&sandbox, "2024.5", "2024-09-01");
    fs_err::remove_dir_all(sandbox.path("project/tiny")).unwrap();
    commit(&sandbox, "empty", "2023-01-01");
    git(&sandbox, "", &["checkout", "--quiet", "2024.5"]);
    let history = sandbox.ok(&["history", "libfoo"]).stdout;
    let expected =
        "tiny: libfoo on linux-64\n  2024.2-annotated  2024-06-01  2.2\n  2024.1            2024-05-01  2.1\n";
    assert_eq!(history, expected);
    let markdown = sandbox.ok(&["history", "certs", "--image", "tiny", "--format", "markdown"]).stdout;
    let expected = "### tiny\n\n| certs | image tag | date |\n|---|---|---|\n| 2025.1 | 2024.5 | 2024-09-01 |\n\
                    | 2024.1 | 2024.1 | 2024-05-01 |\n\n";
    assert_eq!(markdown, expected);
    let report = json(&sandbox, &["history", "libfoo", "--subdir", "linux-aarch64"]);
    assert_eq!(report["images"][0]["versions"][1]["tag"], "2024.1");
    sandbox.run(&["history", "foo"]).fails(1, &["no tag has `foo`"]);
}

#[test]
fn newer_versions_are_told_with_what_is_allowed() {
    let sandbox = Sandbox::new();
    let top = Pkg::new("top", "1.0").depends("libfoo >=2");
    let old = Sandbox::packages().package(top);
    sandbox.channel(&old);
    sandbox.environment("tiny", &["certs <2024.3", "top"]);
    sandbox.ok(&["outdated"]);
    sandbox.ok(&["lock"]);
    assert_eq!(sandbox.ok(&["outdated"]).stdout, "tiny: all up to date\n");
    let arm = Pkg::new("libfoo", "2.10").native().subdirs(&["linux-aarch64"]);
    let new = old.package(Pkg::new("certs", "2024.2")).package(Pkg::new("certs", "2025.10")).package(arm);
    sandbox.channel(&new.package(Pkg::new("certs", "2025.9")));
    drop(fs_err::remove_dir_all(sandbox.path("cache")));
    let expected = "tiny:\n  package  locked  allowed  newest\n  certs    2024.1  2024.2   2025.10\n";
    assert_eq!(sandbox.ok(&["outdated", "tiny"]).stdout, expected);
    let all = sandbox.ok(&["outdated", "--all"]).stdout;
    assert!(all.contains("  libfoo   2.1     -        2.10     linux-aarch64\n"), "{all}");
    let report = json(&sandbox, &["outdated"]);
    let row = &report["images"][0]["outdated"][0];
    assert_eq!((&row["allowed"], &row["newest"]), (&"2024.2".into(), &"2025.10".into()));
    sandbox.run(&["outdated", "tinny"]).fails(2, &["did you mean `tiny`"]);
}

#[test]
fn an_exported_environment_asks_for_what_is_locked() {
    let sandbox = Sandbox::new();
    sandbox.run(&["export", "tiny"]).fails(1, &["`tiny` is not locked", "esker lock tiny"]);
    sandbox.ok(&["lock"]);
    let exported = sandbox.ok(&["export", "tiny", "--format", "environment", "--subdir", "linux-aarch64"]).stdout;
    assert!(exported.starts_with("# Locked for linux-aarch64 by esker.\nname: tiny\n"), "{exported}");
    assert!(exported.ends_with("  - certs=2024.1=0\n  - libfoo=2.1=0\n"), "{exported}");
    // It is an environment.yml like any other: solving it gives the same packages.
    let locked = sandbox.read("project/tiny/conda-linux-aarch64.lock");
    sandbox.write("project/tiny/environment.yml", exported.as_bytes());
    sandbox.ok(&["lock"]);
    let packages = |lock: &str| lock.split("@EXPLICIT").nth(1).map(str::to_owned);
    assert_eq!(packages(&sandbox.read("project/tiny/conda-linux-aarch64.lock")), packages(&locked));
    sandbox.run(&["export", "tiny", "--subdir", "win-64"]).fails(2, &["linux-64, linux-aarch64"]);
}
