//! What an image's folder has locked in another format than `conda-lock.yml`.
//!
//! Whoever comes from conda, mamba or pixi has a lock already, and wants the versions they have tested. Such a file
//! lacks what tells whether it still holds (dependencies, the channels, what was asked for), so it never stands in for a
//! lock: its packages are preferred when the first one is solved.

use std::io;
use std::path::{Path, PathBuf};

use rattler_conda_types::Subdir;

use super::{Error, Lock, pixi};

/// Packages to prefer, and the files that name them.
#[derive(Clone, Debug)]
pub struct Preferred {
    /// The packages, as a lock that holds for nothing.
    pub lock: Lock,
    /// Where they were read.
    pub files: Vec<PathBuf>,
}

impl Lock {
    /// Reads what `folder` has locked for `subdirs`: the explicit locks (`conda-<subdir>.lock`: esker's, conda-lock's, or
    /// what `conda list --explicit` prints), and where there is none, `pixi.lock`. `None` if there is neither.
    ///
    /// # Errors
    /// When a file cannot be read or is not what its name says; with the line, where one is to blame.
    pub fn preferred(folder: &Path, subdirs: &[Subdir]) -> Result<Option<Preferred>, Error> {
        let mut preferred = Preferred { lock: Self::default(), files: Vec::new() };
        for subdir in subdirs {
            let path = folder.join(format!("conda-{subdir}.lock"));
            if let Some(text) = read(&path)? {
                let of_subdir = Self::parse_explicit_for(&path, &text, *subdir)?;
                preferred.lock.subdirs.push(*subdir);
                preferred.lock.packages.extend(of_subdir.packages);
                preferred.files.push(path);
            }
        }
        let path = folder.join("pixi.lock");
        if preferred.files.is_empty()
            && let Some(text) = read(&path)?
        {
            preferred = Preferred { lock: pixi::parse(&path, &text, subdirs)?, files: vec![path] };
        }
        preferred.lock.sort();
        Ok(Some(preferred).filter(|preferred| !preferred.files.is_empty()))
    }
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_path_buf(), source }),
    }
}
