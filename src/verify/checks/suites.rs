//! The project's own tests of its images: notebooks that are executed, and files for pytest.
//!
//! Those in `tests/common` are for all images, those in `tests/IMAGE` for one. A container sees a copy, and works on a
//! copy of that; there is no network. pytest comes from the image if it has it, and is lent otherwise ([`lent`]).

mod lent;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::scene::Scene;
use super::{Finding, Outcome};
use crate::oci::Digest;
use crate::verify;
use crate::verify::runtime::{Command, Error, Output};

const NOTEBOOK: &str = include_str!("notebook.py");
const PYTEST: &str = include_str!("pytest.py");
const MARK: &str = "@esker ";
/// Where containers see the tests, and what is lent to them.
const TESTS: &str = "/mnt/esker/tests";
const LENT: &str = "/mnt/esker/lent";
/// The folder with the tests of all images.
const COMMON: &str = "common";

/// One line of `notebook.py`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Fault { cell: usize, fault: String },
    End { plots: usize },
}

pub async fn notebooks(scene: &Scene<'_>) -> Result<Finding, Error> {
    let is_notebook = |path: &Path| path.extension().is_some_and(|extension| extension == "ipynb");
    let Some(staged) = Staged::new(scene, is_notebook)? else {
        return Ok(Outcome::not_run(nothing(scene, "notebooks")).into());
    };
    let (mut faults, mut plots) = (Vec::new(), 0);
    for name in &staged.chosen {
        let seconds = scene.timeout.as_secs().max(1).to_string();
        let program = Command::arguments(["python", "-c", NOTEBOOK, TESTS, name, &seconds]);
        let output = scene.run(&program.over_empty_home().mount(staged.folder.path(), TESTS)).await?;
        let (found, drawn) = judge(&output);
        faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
        plots += drawn;
    }
    let facts = [("notebooks", staged.chosen.len()), ("plots", plots)];
    Ok(Finding {
        outcome: Outcome::of_faults("notebooks do not work", faults),
        facts: facts.map(|(name, count)| (name.to_owned(), count.to_string())).into(),
    })
}

/// What is wrong with a notebook, and how many plots it has.
fn judge(output: &Output) -> (Vec<String>, usize) {
    let lines = output.stdout.lines().filter_map(|line| line.strip_prefix(MARK));
    let (mut faults, mut end) = (Vec::new(), None);
    for line in lines.filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Fault { cell: 0, fault } => faults.push(fault),
            Line::Fault { cell, fault } => faults.push(format!("cell {cell}: {fault}")),
            Line::End { plots } => end = Some(plots),
        }
    }
    if end.is_none() && faults.is_empty() {
        faults.push(output.exit.to_string());
        faults.extend(output.text().lines().map(str::to_owned));
    }
    (faults, end.unwrap_or_default())
}

pub async fn pytest(scene: &Scene<'_>) -> Result<Finding, Error> {
    let is_test = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".py") && (name.starts_with("test_") || name.ends_with("_test.py"))
    };
    let Some(staged) = Staged::new(scene, is_test)? else {
        return Ok(Outcome::not_run(nothing(scene, "files for pytest")).into());
    };
    let mut command = Command::arguments(["python", "-c", PYTEST, TESTS, LENT])
        .over_empty_home()
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .mount(staged.folder.path(), TESTS);
    if scene.subject.locked("pytest").is_none() {
        match lent::pytest(&scene.equipment.tools).await? {
            Ok(folder) => command = command.mount(&folder, LENT),
            Err(reason) => return Ok(Outcome::not_run(format!("there is no pytest: {reason}")).into()),
        }
    }
    let output = scene.run(&command).await?;
    let mut finding = super::scene::succeeds(&output);
    // `3 passed, 1 skipped in 0.12s`
    let last = output.stdout.lines().rev().find(|line| line.contains(" in ") && line.ends_with('s'));
    let counts = last.and_then(|line| line.split_once(" in ")).map(|(counts, _)| counts.trim_matches(['=', ' ']));
    finding.facts.extend(counts.map(|counts| ("pytest".to_owned(), counts.to_owned())));
    Ok(finding)
}

fn nothing(scene: &Scene<'_>, what: &str) -> String {
    format!("the project has no {what} in tests/{COMMON} or tests/{}", scene.subject.spec.name)
}

/// Digest of all that an image's tests are: what was proven before holds as long as they are the same.
///
/// # Errors
/// [`verify::Error::Tests`] when one cannot be read.
pub fn tests_digest(folder: &Path, image: &str) -> Result<Digest, verify::Error> {
    let unreadable = |(path, source)| verify::Error::Tests { path, source };
    let mut text = String::new();
    for name in [COMMON, image] {
        for path in files_below(&folder.join(name)).map_err(unreadable)? {
            let content = fs_err::read(&path).map_err(|source| unreadable((path.clone(), source)))?;
            let relative = path.strip_prefix(folder).unwrap_or(&path);
            text.push_str(&format!("{} {}\n", Digest::of(&content), relative.display()));
        }
    }
    Ok(Digest::of(text.as_bytes()))
}

/// Copies of the folders of tests that everybody can read, as the container's user is somebody else.
struct Staged {
    folder: TempDir,
    /// The files that were asked for, relative to the folder, sorted.
    chosen: Vec<String>,
}

impl Staged {
    /// The folders of tests of an image that have files that `wanted` chooses, with all else that is in them; `None` if
    /// there are none.
    fn new(scene: &Scene<'_>, wanted: impl Fn(&Path) -> bool) -> Result<Option<Self>, Error> {
        let equipment = scene.equipment;
        let mut chosen = Vec::new();
        let mut files = Vec::new();
        for name in [COMMON, &scene.subject.spec.name] {
            let found = files_below(&equipment.tests.join(name)).map_err(|(path, source)| file_error(path)(source))?;
            if found.iter().any(|path| wanted(path)) {
                files.extend(found);
            }
        }
        if files.is_empty() {
            return Ok(None);
        }
        let unusable = |path: &Path| file_error(path.to_owned());
        fs_err::create_dir_all(&equipment.work).map_err(unusable(&equipment.work))?;
        let folder = tempfile::Builder::new().prefix("tests-").tempdir_in(&equipment.work);
        let folder = folder.map_err(unusable(&equipment.work))?;
        for file in files {
            let relative = file.strip_prefix(&equipment.tests).unwrap_or(&file);
            let to = folder.path().join(relative);
            let copied = to.parent().map_or(Ok(()), fs_err::create_dir_all).and_then(|()| fs_err::copy(&file, &to));
            copied.map_err(unusable(&file))?;
            if wanted(relative) {
                chosen.push(relative.to_string_lossy().into_owned());
            }
        }
        open_to_all(folder.path())?;
        chosen.sort();
        Ok(Some(Self { folder, chosen }))
    }
}

/// The files below `folder`, which need not be there, but for what programs leave behind.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, std::io::Error)> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let of_a_program = |name: &str| ["__pycache__", ".ipynb_checkpoints", ".pytest_cache"].contains(&name);
    let entries = WalkDir::new(folder).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| !entry.file_name().to_str().is_some_and(of_a_program));
    let files = entries.filter(|entry| entry.as_ref().map_or(true, |entry| entry.file_type().is_file()));
    let paths = files.map(|entry| entry.map(walkdir::DirEntry::into_path));
    paths.collect::<Result<_, _>>().map_err(|error| {
        let path = error.path().unwrap_or(folder).to_owned();
        (path, error.into())
    })
}

/// Lets everybody read what is below `folder`.
fn open_to_all(folder: &Path) -> Result<(), Error> {
    for entry in WalkDir::new(folder).into_iter() {
        let entry = entry.map_err(|error| file_error(folder.to_owned())(error.into()))?;
        let mode = if entry.file_type().is_dir() { 0o755 } else { 0o644 };
        let allowed = fs_err::set_permissions(entry.path(), std::fs::Permissions::from_mode(mode));
        allowed.map_err(file_error(entry.path().to_owned()))?;
    }
    Ok(())
}

fn file_error(path: PathBuf) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::runtime::Exit;

    fn judged(stdout: &str) -> (Vec<String>, usize) {
        judge(&Output { exit: Exit::Code(1), stdout: stdout.to_owned(), stderr: "Traceback".to_owned() })
    }

    #[test]
    fn what_a_notebook_tells() {
        assert_eq!(judged("noise\n@esker {\"end\": true, \"plots\": 2}\n"), (vec![], 2));
        let fault = "@esker {\"cell\": 3, \"fault\": \"no plot was drawn\"}\n@esker {\"end\": true, \"plots\": 1}\n";
        assert_eq!(judged(fault), (vec!["cell 3: no plot was drawn".to_owned()], 1));
        assert_eq!(judged("@esker {\"cell\": 0, \"fault\": \"DeadKernelError: x\"}\n").0, ["DeadKernelError: x"]);
        assert_eq!(judged("").0, ["exit code 1", "Traceback"]);
    }
}
