//! Writes locks to an image's folder.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Error, Lock, Stale};
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
        let explicit = || self.write_explicit(image);
        let (explicit, whole) = rayon::join(explicit, || self.write_whole(&image.lock_path()));
        Ok(explicit?.into_iter().chain(whole?).collect())
    }

    fn write_explicit(&self, image: &ImageSpec) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        for subdir in &self.subdirs {
            let path = image.explicit_lock_path(*subdir);
            let content = self.explicit(*subdir);
            if !fs_err::read_to_string(&path).is_ok_and(|old| says_the_same(&old, &content)) {
                replace(&path, &content)?;
                written.push(path);
            }
        }
        Ok(written)
    }

    fn write_whole(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        let mut sorted = self.clone();
        sorted.sort();
        let (old, content) = rayon::join(|| Self::read(path), || sorted.to_conda_lock_yaml());
        if old.is_ok_and(|old| old.as_ref() == Some(&sorted)) {
            return Ok(None);
        }
        replace(path, &content)?;
        Ok(Some(path.to_path_buf()))
    }

    /// The explicit locks in the folder of `image` that say something else than this lock. One that is not there is no
    /// fault: many projects keep those of some subdirs only, or none.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that is there and cannot be read.
    pub fn stale_explicit(&self, image: &ImageSpec) -> Result<Vec<Stale>, Error> {
        let mut stale = Vec::new();
        for &subdir in &self.subdirs {
            let path = image.explicit_lock_path(subdir);
            let found = match fs_err::read(&path) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Read { path, source }),
            };
            let rendered = self.explicit(subdir);
            if !says_the_same(&found, &rendered) {
                stale.push(Stale::Explicit { subdir, path, found, rendered });
            }
        }
        Ok(stale)
    }
}

/// Whether two explicit locks are the same but for the first line, which names whoever rendered it.
fn says_the_same(old: &str, new: &str) -> bool {
    without_first_line(old) == without_first_line(new)
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
