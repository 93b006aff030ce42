//! Paths and link targets from packages, checked before anything is done with them.
//!
//! A package is written by somebody else. Every path of it becomes a [`PrefixPath`] or an error that names it; nothing
//! else of this module's parent joins a path from a package to another.

use std::fmt;

/// The longest path an unpacker can be expected to create (Linux's `PATH_MAX`, in bytes).
const MAX_PATH: usize = 4096;
/// The longest part of a path (Linux's `NAME_MAX`, in bytes).
const MAX_COMPONENT: usize = 255;

/// A path below the prefix, or below a package's root: relative, in normal form, UTF-8, `/` between its parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrefixPath(String);

/// What is wrong with a path or a link target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing is left of it.
    #[error("is empty")]
    Empty,
    /// It begins with `/`.
    #[error("is absolute")]
    Absolute,
    /// It holds `..`.
    #[error("climbs with `..`")]
    Climbs,
    /// It holds `.`, an empty part or a NUL.
    #[error("is not in normal form")]
    Odd,
    /// Its bytes are no text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// Longer than a file system takes.
    #[error("is too long")]
    TooLong,
    /// A link's target leaves the prefix.
    #[error("is a link to `{0}`, outside the prefix")]
    Escapes(String),
    /// A device node, a FIFO or another thing that no package needs.
    #[error("is neither a file nor a directory nor a link")]
    Special,
    /// The set-user-id or set-group-id bit.
    #[error("has the set-user-id or set-group-id bit")]
    SetId,
    /// The archive holds it more than once.
    #[error("is there twice")]
    Twice,
    /// A file of `info/` that says how the package is installed, in a `.tar.bz2`, whose other files of `info/` come first.
    #[error("comes after files that are installed, other files of `info/` before them")]
    Late,
    /// A symbolic link in a wheel, which has none.
    #[error("is a link, which no wheel can hold")]
    Link,
    /// A file of a wheel that its `RECORD` does not list.
    #[error("is not listed in `RECORD`")]
    NotListed,
    /// A file below `*.data` of a wheel that no installer knows a place for.
    #[error("is meant for a place that installers do not know")]
    UnknownScheme,
    /// A file where conda keeps the records of what is installed.
    #[error("is where conda's records of other packages are")]
    Record,
    /// `info/paths.json` says it is something else than what the archive holds.
    #[error("is not of the type that `info/paths.json` says")]
    OtherType,
    /// A hard link to something that the archive does not hold before it.
    #[error("is a hard link to `{0}`, which is not there")]
    DanglingHardLink(String),
}

impl PrefixPath {
    /// Checks a path as it stands in an archive.
    ///
    /// # Errors
    /// Everything but a relative path in normal form; one `./` in front is taken off, as some archivers write it.
    pub fn parse(raw: &[u8]) -> Result<Self, PathFault> {
        let text = std::str::from_utf8(raw).map_err(|_| PathFault::NotUtf8)?;
        if text.starts_with('/') {
            return Err(PathFault::Absolute);
        }
        let text = text.strip_prefix("./").unwrap_or(text);
        if text.is_empty() {
            return Err(PathFault::Empty);
        }
        if text.len() > MAX_PATH {
            return Err(PathFault::TooLong);
        }
        text.split('/').try_for_each(component)?;
        Ok(Self(text.to_owned()))
    }

    /// The path of a directory's entry, which may end in `/`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_directory(raw: &[u8]) -> Result<Self, PathFault> {
        Self::parse(raw.strip_suffix(b"/").unwrap_or(raw))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The directory it is in; `None` at the top.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The directories it is in, the nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.parent(), |path| path.rsplit_once('/').map(|(parent, _)| parent))
    }

    /// What is left of it below the directory `directory`.
    pub fn below(&self, directory: &str) -> Option<&str> {
        self.0.strip_prefix(directory)?.strip_prefix('/')
    }

    /// `directory` and below it what `rest`, a part of another path, says.
    pub(super) fn join(directory: &str, rest: &str) -> Self {
        Self(format!("{directory}/{rest}"))
    }
}

impl fmt::Display for PrefixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for PrefixPath {
    type Error = PathFault;

    fn try_from(text: String) -> Result<Self, PathFault> {
        Self::parse(text.as_bytes())
    }
}

impl From<PrefixPath> for String {
    fn from(path: PrefixPath) -> Self {
        path.0
    }
}

impl std::borrow::Borrow<str> for PrefixPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn component(part: &str) -> Result<(), PathFault> {
    match part {
        ".." => Err(PathFault::Climbs),
        "" | "." => Err(PathFault::Odd),
        _ if part.contains('\0') => Err(PathFault::Odd),
        _ if part.len() > MAX_COMPONENT => Err(PathFault::TooLong),
        _ => Ok(()),
    }
}

/// The target that the symbolic link `link` gets in the image.
///
/// - A relative target must stay below the prefix, as written (other links on the way are not followed).
/// - An absolute one below a `placeholder` of the package is moved to `prefix`.
/// - Another absolute one is kept, if it has no `..`: it names a file of the base system, like the `etc/mtab ->
///   /proc/mounts` of a sysroot. It grants nothing that a process in the container does not have, and nothing is
///   ever written through a link, because paths below one are refused.
///
/// # Errors
/// Targets that are none of these.
pub fn link_target<'a>(
    link: &PrefixPath,
    target: &[u8],
    prefix: &str,
    placeholders: impl IntoIterator<Item = &'a str>,
) -> Result<String, PathFault> {
    let target = std::str::from_utf8(target).map_err(|_| PathFault::NotUtf8)?;
    if target.is_empty() || target.contains('\0') {
        return Err(PathFault::Odd);
    }
    if target.len() > MAX_PATH {
        return Err(PathFault::TooLong);
    }
    let escapes = || PathFault::Escapes(target.to_owned());
    if !target.starts_with('/') {
        return if climbs_out(link.ancestors().count(), target) { Err(escapes()) } else { Ok(target.to_owned()) };
    }
    let below = placeholders.into_iter().find_map(|placeholder| {
        let rest = target.strip_prefix(placeholder.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    });
    match below {
        Some(rest) if climbs_out(0, rest) => Err(escapes()),
        Some(rest) => Ok(format!("{prefix}{rest}")),
        None if target.split('/').any(|part| part == "..") => Err(escapes()),
        None => Ok(target.to_owned()),
    }
}

/// Whether following `target` from `depth` directories below the root ever leaves the root.
fn climbs_out(depth: usize, target: &str) -> bool {
    let mut depth = Some(depth);
    for part in target.split('/') {
        depth = match part {
            "" | "." => depth,
            ".." => depth.and_then(|depth| depth.checked_sub(1)),
            _ => depth.map(|depth| depth + 1),
        };
    }
    depth.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_relative_paths() {
        for (good, kept) in [("a", "a"), ("a/b.c", "a/b.c"), ("./a", "a"), (".hidden/..b", ".hidden/..b")] {
            assert_eq!(PrefixPath::parse(good.as_bytes()).unwrap().as_str(), kept);
        }
        let long = format!("a/{}", "x".repeat(256));
        for (bad, fault) in [
            ("", PathFault::Empty),
            ("./", PathFault::Empty),
            ("/etc/passwd", PathFault::Absolute),
            ("..", PathFault::Climbs),
            ("a/../b", PathFault::Climbs),
            ("a//b", PathFault::Odd),
            ("a/./b", PathFault::Odd),
            ("a/", PathFault::Odd),
            ("a\0b", PathFault::Odd),
            (long.as_str(), PathFault::TooLong),
        ] {
            assert_eq!(PrefixPath::parse(bad.as_bytes()).unwrap_err(), fault, "{bad:?}");
        }
        assert_eq!(PrefixPath::parse(b"a\xff").unwrap_err(), PathFault::NotUtf8);
    }

    #[test]
    fn ancestors_go_up() {
        let path = PrefixPath::parse(b"lib/python3.12/os.py").unwrap();
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["lib/python3.12", "lib"]);
        assert_eq!((path.name(), path.below("lib"), path.below("li")), ("os.py", Some("python3.12/os.py"), None));
    }

    #[test]
    fn link_targets() {
        let link = PrefixPath::parse(b"lib/deep/link").unwrap();
        let check = |target: &str| link_target(&link, target.as_bytes(), "/srv/conda", ["/opt/placeholder"]);
        for kept in ["libfoo.so.1", "../x", "../../bin/x", "/usr/bin/env", "/proc/mounts"] {
            assert_eq!(check(kept).as_deref(), Ok(kept));
        }
        assert_eq!(check("/opt/placeholder/lib/x").unwrap(), "/srv/conda/lib/x");
        assert_eq!(check("/opt/placeholders/x").unwrap(), "/opt/placeholders/x");
        for escaping in ["../../../etc/passwd", "../../../deep", "x/../../../../y", "/opt/placeholder/../x", "/a/../b"]
        {
            assert_eq!(check(escaping).unwrap_err(), PathFault::Escapes(escaping.into()));
        }
        assert_eq!(check("").unwrap_err(), PathFault::Odd);
    }
}
