//! Programs that nobody here wrote, out of PyPI, to read what esker writes: conda-lock and py-rattler.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::skipped;

const PACKAGES: [&str; 2] = ["conda-lock==4.*", "py-rattler"];

/// `python3` with the judges to import. They are installed below `target/` the first time; `None`, said to be skipped,
/// where that is not possible.
pub fn python() -> Option<Command> {
    let home = installed("judges", &PACKAGES)?;
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", &home).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// The folder `name` below `target/` with these packages of PyPI, installed the first time; `None`, said to be skipped,
/// where that is not possible.
pub fn installed(name: &str, packages: &[&str]) -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if let Err(why) = install(&home, packages) {
        skipped(&format!("`pip install {}` is not possible: {why}", packages.join(" ")));
        return None;
    }
    Some(home)
}

/// Installs beside, and renames: what is there is whole.
fn install(home: &Path, packages: &[&str]) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR")).map_err(failed)?;
    let lock = File::create(home.with_extension("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    if home.is_dir() {
        return Ok(());
    }
    let part: PathBuf = home.with_extension("part");
    drop(std::fs::remove_dir_all(&part));
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--target"])
        .arg(&part)
        .args(packages)
        .output()
        .map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().last().unwrap_or_default().to_owned());
    }
    std::fs::rename(part, home).map_err(failed)
}

/// Runs a judge, which must succeed.
pub fn judged(command: &mut Command) -> String {
    let output = command.output().expect("python3 was run before");
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The explicit lock of `subdir` that conda-lock renders from `lock`; its first line names the program.
pub fn rendered(mut python: Command, lock: &Path, subdir: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["-m", "conda_lock", "render", "--kind", "explicit", "--platform", subdir];
    judged(python.args(arguments).arg(lock).current_dir(folder.path()));
    let name = format!("conda-{subdir}.lock");
    std::fs::read_to_string(folder.path().join(name)).expect("conda-lock wrote it")
}
