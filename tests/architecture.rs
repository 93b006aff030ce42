//! Holds the code to the directions that ARCHITECTURE.md gives: `cli` → stages → values.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file of the library with its text, without its unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((path, code));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    found.into_iter().map(|(path, text)| (path.strip_prefix(&root).unwrap().to_owned(), text)).collect()
}

/// Files outside `allowed` whose code (comments left out) has one of `words`.
fn offenders(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        if allowed.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            if let Some(word) = words.iter().find(|word| code.contains(*word)) {
                found.push(format!("src/{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    found
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn only_docker_rs_names_bollard() {
    assert_none(&offenders(&["bollard", "tonic::"], &["docker.rs", "docker"]));
}

#[test]
fn nothing_below_cli_prints_or_exits() {
    let words = ["println!(", "eprintln!(", "print!(", "process::exit", "io::stdout()", "io::stderr()"];
    // The container runner is a program of its own, run by esker in a child process; its errors go to its stderr.
    assert_none(&offenders(&words, &["cli", "main.rs", "verify/runtime/embedded"]));
}

#[test]
fn only_settings_reads_the_environment() {
    assert_none(&offenders(&["env::var", "home_dir()"], &["settings.rs"]));
}

#[test]
fn values_import_no_stage() {
    let stages = ["lock", "render", "registry", "build", "verify", "channel", "docker", "cli", "pipeline", "settings"];
    let words: Vec<_> = stages.iter().map(|stage| format!("crate::{stage}")).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let found = offenders(&words, &[]);
    let values: Vec<_> = found
        .into_iter()
        .filter(|line| {
            ["src/oci/", "src/cache/", "src/project/", "src/progress.rs"].iter().any(|value| line.starts_with(value))
        })
        .collect();
    assert_none(&values);
}

#[test]
fn stages_do_not_put_themselves_in_order() {
    assert_none(&offenders(&["crate::cli", "crate::pipeline"], &["cli", "pipeline.rs", "main.rs"]));
}

#[test]
fn the_contract_lists_every_check() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contract.md")).unwrap();
    for check in esker::verify::checks::ALL {
        let row = format!("| `{}` | {} |", check.name, check.why);
        assert!(text.contains(&row), "docs/contract.md lacks the line:\n{row}");
    }
    let listed = text.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, esker::verify::checks::ALL.len(), "docs/contract.md lists a check that is not there");
}
