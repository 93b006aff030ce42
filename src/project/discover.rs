//! Finds the project's root and its image folders.
//!
//! An image folder is a folder with an `environment.yml`, in `binder/` or `.binder/` if it has one of these: the same
//! rule as repo2docker's, by which the other one's files are not looked at.

use std::path::{Path, PathBuf};

use super::{Error, config};

/// The environment's file.
const ENVIRONMENT: &str = "environment.yml";
/// Folders that hold an image's files instead of the image's folder itself.
const BINDERS: [&str; 2] = ["binder", ".binder"];

/// A folder that holds, or should hold, an image.
#[derive(Clone, Debug)]
pub(super) struct ImageFolder {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    /// `binder/`, `.binder/` or the folder itself.
    pub(super) files: PathBuf,
}

impl ImageFolder {
    /// Looks at `folder` as an image called `name`.
    pub(super) fn new(folder: &Path, name: &str) -> Result<Self, Error> {
        let binders: Vec<PathBuf> = BINDERS.iter().map(|name| folder.join(name)).filter(|path| path.is_dir()).collect();
        let files = match &binders[..] {
            [] => folder,
            [binder] => binder,
            _ => return Err(Error::TwoBinders { folder: folder.to_owned() }),
        };
        Ok(Self { name: name.to_owned(), folder: folder.to_owned(), files: files.to_owned() })
    }

    /// Its `environment.yml`, which may not exist.
    pub(super) fn environment(&self) -> PathBuf {
        self.files.join(ENVIRONMENT)
    }

    /// Looks at a folder in which an `environment.yml` was found.
    fn found(folder: &Path) -> Result<Self, Error> {
        let bad_name = || Error::ImageName { folder: folder.to_owned() };
        let name = folder.file_name().and_then(|name| name.to_str()).ok_or_else(bad_name)?;
        if !is_image_name(name) {
            return Err(bad_name());
        }
        let image = Self::new(folder, name)?;
        if !image.environment().is_file() {
            return Err(Error::HiddenEnvironment { folder: image.folder, hidden_by: image.files });
        }
        Ok(image)
    }
}

/// Whether an image in a registry can be called so (OCI distribution's grammar, less its doubled separators).
pub(super) fn is_image_name(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split(['.', '_', '-']).all(is_word)
}

/// The root of the project that `start` is in.
///
/// It is the nearest folder upwards with an `esker.yml`. Without one it is `start` itself; but where `start` is one of
/// several image folders side by side, they are one project, and its root is the folder around them.
pub(super) fn find_root(start: &Path) -> Result<PathBuf, Error> {
    let start = start.canonicalize().map_err(|source| Error::Read { path: start.to_owned(), source })?;
    if let Some(root) = start.ancestors().find(|folder| folder.join(config::FILE).is_file()) {
        return Ok(root.to_owned());
    }
    if is_image(&start)
        && candidates(&start)?.is_empty()
        && let Some(parent) = start.parent()
        && candidates(parent).is_ok_and(|siblings| siblings.len() > 1)
    {
        return Ok(parent.to_owned());
    }
    Ok(start)
}

/// The image folders directly below `root`, by name; if there are none, `root` itself if it is one.
pub(super) fn find_images(root: &Path) -> Result<Vec<ImageFolder>, Error> {
    let mut folders = candidates(root)?;
    if folders.is_empty() && is_image(root) {
        folders.push(root.to_owned());
    }
    folders.iter().map(|folder| ImageFolder::found(folder)).collect()
}

/// The folders below `root` with an `environment.yml` somewhere it counts, by name.
fn candidates(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: root.to_owned(), source };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // `binder/` holds the files of the root itself.
        let is_other = name.as_encoded_bytes().starts_with(b".") || name == BINDERS[0];
        if !is_other && is_image(&entry.path()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn is_image(folder: &Path) -> bool {
    let inside = BINDERS.iter().map(|binder| folder.join(binder).join(ENVIRONMENT));
    inside.chain([folder.join(ENVIRONMENT)]).any(|path| path.is_file())
}
