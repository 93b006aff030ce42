//! What containers printed, kept for people: a file a check, below a folder a platform, in the project's state.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Error;
use crate::oci::Platform;

/// The logs of one run on one platform. They take the place of the last run's all at once.
pub struct Logs {
    /// Where they go.
    target: PathBuf,
    /// Where they are until then, beside it.
    made: TempDir,
}

impl Logs {
    /// Begins the logs of `platform` below `folder`.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn begin(folder: &Path, platform: Platform) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: folder.to_owned(), source };
        fs_err::create_dir_all(folder).map_err(failed)?;
        let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix(".logs-").permissions(open).tempdir_in(folder).map_err(failed)?;
        Ok(Self { target: folder.join(folder_name(platform)), made })
    }

    /// Writes the log of `check` and returns where it will be.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn put(&self, check: &str, text: &str) -> Result<PathBuf, Error> {
        let (file, path) = (format!("{check}.log"), self.made.path());
        fs_err::write(path.join(&file), text).map_err(|source| Error::Write { path: path.join(&file), source })?;
        Ok(self.target.join(file))
    }

    /// Puts them where they belong, without those of the last run; nothing stays where there are none.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(&self) -> Result<(), Error> {
        let failed = |source| Error::Write { path: self.target.clone(), source };
        let aside = self.made.path().with_extension("old");
        match fs_err::rename(&self.target, &aside) {
            Ok(()) => fs_err::remove_dir_all(&aside).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        if fs_err::read_dir(self.made.path()).map_err(failed)?.next().is_none() {
            return Ok(());
        }
        fs_err::rename(self.made.path(), &self.target).map_err(failed)
    }
}

/// `linux-amd64`: what a folder of `platform` is called.
pub fn folder_name(platform: Platform) -> String {
    platform.to_string().replace('/', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_makes_way() {
        let folder = tempfile::tempdir().unwrap();
        let run = |checks: &[&str]| {
            let logs = Logs::begin(folder.path(), Platform::LinuxAmd64).unwrap();
            let paths: Vec<_> = checks.iter().map(|check| logs.put(check, check).unwrap()).collect();
            logs.finish().unwrap();
            paths
        };
        let first = run(&["a.b", "c.d"]);
        assert_eq!(first[1], folder.path().join("linux-amd64/c.d.log"));
        assert_eq!(fs_err::read_to_string(&first[1]).unwrap(), "c.d");
        run(&["a.b"]);
        assert!(first[0].is_file() && !first[1].exists());
        run(&[]);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }
}
