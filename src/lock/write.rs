//! Writes locks to an image's folder.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Error, Lock};
use crate::project::ImageSpec;

impl Lock {
    /// Writes `conda-lock.yml` and an explicit lock a subdir to the folder of `image`, each by a rename, and only where
    /// they differ: a file that says the same (whoever wrote it, in whatever order) keeps its bytes and its time.
    ///
    /// Returns the files that were written.
    ///
    /// # Errors
    /// [`Error::Write`] with the file.
    pub fn write(&self, image: &ImageSpec) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        for subdir in &self.subdirs {
            let path = image.explicit_lock_path(*subdir);
            let content = self.explicit(*subdir);
            // The first line names whoever rendered the file.
            let same = |old: &str| without_first_line(old) == without_first_line(&content);
            if !fs_err::read_to_string(&path).is_ok_and(|old| same(&old)) {
                replace(&path, &content)?;
                written.push(path);
            }
        }
        let path = image.lock_path();
        let mut sorted = self.clone();
        sorted.sort();
        if !Self::read(&path).is_ok_and(|old| old.as_ref() == Some(&sorted)) {
            replace(&path, &sorted.to_conda_lock_yaml())?;
            written.push(path);
        }
        Ok(written)
    }
}

fn without_first_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

/// Puts `content` in place of what `path` has, so that no reader ever sees a part.
fn replace(path: &Path, content: &str) -> Result<(), Error> {
    let replaced = || {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".esker-")
            .permissions(std::fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        file.write_all(content.as_bytes())?;
        file.persist(path).map_err(|error| error.error)
    };
    replaced().map(drop).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}
