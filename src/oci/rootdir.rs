//! A directory that stands for `/`: paths inside it are resolved as a process in a container would, and never leave it.
//!
//! Layers write through symbolic links of lower layers (`bin/foo` where `bin` is a link to `usr/bin`), so links must
//! be followed, but an absolute link starts at the root of the image and `..` stops there. Nobody else writes to the
//! directory while it is filled, so looking at each component before it is used is enough.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// As many links as Linux follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// See the module's documentation.
pub struct RootDir {
    root: PathBuf,
    /// The last directory that was resolved, which the next entry is most likely in, too.
    last: Option<(PathBuf, PathBuf)>,
}

impl RootDir {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), last: None }
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Forgets what was resolved: to be called when something was removed or a link was made.
    pub fn changed(&mut self) {
        self.last = None;
    }

    /// Where the entry `path` is on disk: its directory resolved (and made where it is missing), its last component
    /// as it is, which may be a link that must not be followed. The root itself for an empty path.
    pub fn place(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(self.root.clone()) };
        if let Some((entry, place)) = &self.last
            && entry == parent
        {
            return Ok(place.join(name));
        }
        let place = self.directory(parent)?;
        self.last = Some((parent.to_owned(), place.clone()));
        Ok(place.join(name))
    }

    fn directory(&self, path: &Path) -> io::Result<PathBuf> {
        let mut rest: VecDeque<OsString> = parts(path).collect();
        let mut at = self.root.clone();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                if at != self.root {
                    at.pop();
                }
                continue;
            }
            let next = at.join(&part);
            match std::fs::symlink_metadata(&next) {
                Ok(found) if found.is_dir() => at = next,
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::new(ErrorKind::InvalidData, "too many levels of symbolic links"));
                    }
                    let target = std::fs::read_link(&next)?;
                    if target.is_absolute() {
                        at.clone_from(&self.root);
                    }
                    for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                Ok(_) => return Err(ErrorKind::NotADirectory.into()),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    std::fs::create_dir(&next)?;
                    // Whatever the umask is: the layers do not say, and this is what engines make.
                    std::fs::set_permissions(&next, Permissions::from_mode(0o755))?;
                    at = next;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(at)
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_inside_only() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        for (link, target) in [
            ("bin", "usr/bin"),
            ("abs", "/usr/bin"),
            ("up", "../../../.."),
            ("out", "/etc/../../../etc"),
            ("usr/again", "../bin"),
            ("loop", "loop"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        std::fs::write(root.join("file"), "").unwrap();
        let mut dir = RootDir::new(&root);
        for (entry, place) in [
            ("bin/x", "usr/bin/x"),
            ("abs/x", "usr/bin/x"),
            ("up/x", "x"),
            ("out/x", "etc/x"),
            ("usr/again/x", "usr/bin/x"),
            ("bin", "bin"),
            ("new/dir/x", "new/dir/x"),
            ("", ""),
        ] {
            assert_eq!(dir.place(Path::new(entry)).unwrap(), root.join(place), "{entry}");
        }
        assert!(dir.place(Path::new("loop/x")).is_err());
        assert!(dir.place(Path::new("file/x")).is_err());
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1, "nothing was made outside");
    }
}
