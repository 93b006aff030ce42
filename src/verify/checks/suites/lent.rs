//! pytest for images that have none: pinned wheels, fetched once by this machine's pip from the index that it is set up
//! with, and seen by containers read-only. The image is not changed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Error, file_error, open_to_all};
use crate::oci::Digest;

/// What is fetched: wheels for every Python from 3.10 on, each with its hash.
const PINS: &str = include_str!("pytest-requirements.txt");

/// A folder with pytest, or why there is none.
///
/// # Errors
/// When the folder `tools` cannot be written.
pub async fn pytest(tools: &Path) -> Result<Result<PathBuf, String>, Error> {
    let home = tools.join(format!("pytest-{}", &Digest::of(PINS.as_bytes()).hex()[..12]));
    if home.is_dir() {
        return Ok(Ok(home));
    }
    fs_err::create_dir_all(tools).map_err(file_error(tools.to_owned()))?;
    // Made beside, and renamed: what is there is whole, whoever else makes it at the same time.
    let part = tempfile::Builder::new().prefix("pytest-").tempdir_in(tools).map_err(file_error(tools.to_owned()))?;
    if let Err(reason) = install(part.path()).await? {
        return Ok(Err(reason));
    }
    open_to_all(part.path())?;
    match fs_err::rename(part.path(), &home) {
        Ok(()) => drop(part.keep()),
        Err(_) if home.is_dir() => {}
        Err(error) => return Err(file_error(home)(error)),
    }
    Ok(Ok(home))
}

async fn install(into: &Path) -> Result<Result<(), String>, Error> {
    let pins = into.with_extension("txt");
    fs_err::write(&pins, PINS).map_err(file_error(pins.clone()))?;
    let mut pip = tokio::process::Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
    // The wheels are for any Python: which one pip runs with here says nothing.
    pip.args(["--only-binary=:all:", "--python-version=3.12", "--no-compile", "--retries=2", "--target"]).arg(into);
    let output = pip.arg("--requirement").arg(&pins).stdin(Stdio::null()).kill_on_drop(true).output().await;
    fs_err::remove_file(&pins).map_err(file_error(pins))?;
    Ok(match output {
        Err(error) => Err(format!("`python3` cannot be started: {error}; or lock `pytest` with the image")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            Err(format!("pip cannot install it: {last}; or lock `pytest` with the image"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wheel_is_pinned_by_its_hash() {
        let pins: Vec<&str> = PINS.lines().filter(|line| !line.starts_with('#')).collect();
        for pin in &pins {
            let hash = pin.split_once(" --hash=sha256:").map(|(_, hash)| hash);
            assert!(pin.contains("==") && hash.is_some_and(|hash| hash.len() == 64), "{pin}");
        }
        for name in ["pytest==", "pluggy==", "iniconfig==", "packaging==", "pygments=="] {
            assert!(pins.iter().any(|pin| pin.starts_with(name)), "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_there_is_not_fetched_again() {
        let tools = tempfile::tempdir().unwrap();
        let home = tools.path().join(format!("pytest-{}", &Digest::of(PINS.as_bytes()).hex()[..12]));
        fs_err::create_dir(&home).unwrap();
        fs_err::write(home.join("marker"), "").unwrap();
        assert_eq!(pytest(tools.path()).await.unwrap(), Ok(home.clone()));
        assert!(home.join("marker").exists());
    }
}
