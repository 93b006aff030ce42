//! What can be wrong with the files a user writes.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rattler_conda_types::Subdir;

use super::{Dependency, ParseBaseError, ParseMirrorError, Place, RequirementError, SpecError};
use crate::oci::Platform;

/// A fault in what was asked for: a file or folder of the project.
///
/// All of it is the user's to mend, so every message ends in what would be right, and names the file, the line and
/// the column wherever there are any. [`Read`](Error::Read) is the one variant about the machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is larger than any that a person wrote.
    #[error("`{path}` is larger than {limit} bytes: it cannot be what is looked for")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
    /// A file is not UTF-8.
    #[error("{place}: not UTF-8; save the file in that encoding")]
    NotUtf8 {
        /// The first byte that is not.
        place: Place,
    },
    /// A file holds nothing, or only comments.
    #[error("`{path}` is empty; {remedy}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        remedy: &'static str,
    },
    /// A file is not YAML.
    #[error("{place}: broken YAML: {problem}")]
    Yaml {
        /// Where the parser gave up.
        place: Place,
        /// What it says.
        problem: String,
    },
    /// YAML that is right and that esker does not take: tags, complex keys, aliases that unfold without end.
    #[error("{place}: {problem}")]
    UnsupportedYaml {
        /// Where it stands.
        place: Place,
        /// What it is and what to write instead.
        problem: &'static str,
    },
    /// A key is written twice in one mapping.
    #[error("{place}: duplicate key `{key}`, first given at {first}; keep one of them")]
    DuplicateKey {
        /// The second one.
        place: Place,
        /// The key.
        key: String,
        /// The first one.
        first: Place,
    },
    /// A key that nothing reads.
    #[error("{place}: unknown key `{key}`; {help}")]
    UnknownKey {
        /// The key.
        place: Place,
        /// As written.
        key: String,
        /// What was meant, or could have been.
        help: Help,
    },
    /// A key that must be there is not, or holds nothing.
    #[error("{place}: no `{key}`; {remedy}")]
    MissingKey {
        /// The mapping that should hold it, or the empty value.
        place: Place,
        /// The key.
        key: &'static str,
        /// What to write.
        remedy: &'static str,
    },
    /// A value of another kind than its key takes.
    #[error("{place}: `{key}` must be {expected}, not {found}")]
    WrongType {
        /// The value.
        place: Place,
        /// Whose value it is.
        key: String,
        /// What it must be, with an example.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A value of the right kind that means nothing.
    #[error("{place}: `{value}` cannot be `{key}`: {problem}")]
    Value {
        /// The value.
        place: Place,
        /// Whose value it is.
        key: String,
        /// As written.
        value: String,
        /// What it must be.
        problem: String,
    },
    /// A dependency that YAML reads as something other than text (`- python: 3.10`, `- 3.10`, `- sel(linux): x`).
    #[error("{place}: a dependency must be one text, not {found}; {remedy}")]
    NotASpec {
        /// The dependency.
        place: Place,
        /// What YAML reads it as.
        found: String,
        /// What to write instead.
        remedy: String,
    },
    /// A conda dependency that cannot be understood.
    #[error("{place}: `{}` is not a package specification", shown(spec))]
    Spec {
        /// The dependency.
        place: Place,
        /// As written.
        spec: String,
        /// What is wrong with it.
        source: SpecError,
    },
    /// A line below `pip:` that cannot be locked.
    #[error("{place}: `{}` is no requirement that can be locked", shown(requirement))]
    Requirement {
        /// The line.
        place: Place,
        /// As written.
        requirement: String,
        /// What is wrong with it.
        source: RequirementError,
    },
    /// A selector (`# [linux64]`) with a word that is none.
    #[error("{place}: unknown selector `[{selector}]`; {help}")]
    UnknownSelector {
        /// The comment.
        place: Place,
        /// What stands in the brackets.
        selector: String,
        /// What was meant, or could have been.
        help: Help,
    },
    /// A selector where it has no single dependency to select.
    #[error("{place}: selector `[{selector}]` does nothing here; put it on the line of one dependency, or remove it")]
    MisplacedSelector {
        /// The comment.
        place: Place,
        /// What stands in the brackets.
        selector: String,
    },
    /// A name that is no subdir environments can be locked for.
    #[error("{place}: unknown subdir `{given}`; {help}")]
    UnknownSubdir {
        /// The name.
        place: Place,
        /// As written.
        given: String,
        /// What was meant, or could have been.
        help: Help,
    },
    /// A name that is no platform images can be built for.
    #[error("{place}: unknown platform `{given}`; {help}")]
    UnknownPlatform {
        /// The name.
        place: Place,
        /// As written.
        given: String,
        /// What was meant, or could have been.
        help: Help,
    },
    /// A base system that cannot be understood.
    #[error("{place}: invalid `base`")]
    Base {
        /// The value.
        place: Place,
        /// What is wrong with it.
        source: ParseBaseError,
    },
    /// A mirror that cannot be understood.
    #[error("{place}: invalid entry of `mirrors`")]
    Mirror {
        /// The entry.
        place: Place,
        /// What is wrong with it.
        source: ParseMirrorError,
    },

    /// Two files, or two lines, ask for what no package can be.
    #[error(transparent)]
    Conflict(Box<Conflict>),
    /// The channel lists of two files cannot be brought into one order.
    #[error(transparent)]
    Channels(Box<ChannelConflict>),
    /// None of an image's files names a channel.
    #[error("`{path}` names no channel; add `channels: [conda-forge]`")]
    NoChannels {
        /// The image's own file.
        path: PathBuf,
    },

    /// There is nothing to work on.
    #[error(
        "no image in `{root}`: no folder in it holds an `environment.yml`, a `binder/environment.yml` or a \
         `.binder/environment.yml`, and no `esker.yml` names one"
    )]
    NoImages {
        /// Where images were looked for.
        root: PathBuf,
    },
    /// A name that is no image of the project.
    #[error("no image `{name}` in this project; {help}")]
    UnknownImage {
        /// As given.
        name: String,
        /// What was meant, or could have been.
        help: Help,
    },
    /// A folder that cannot name an image.
    #[error(
        "`{folder}` cannot be an image: its name must be lower-case letters and digits, with single `.`, `_` or `-` \
         between them; rename the folder"
    )]
    ImageName {
        /// The folder.
        folder: PathBuf,
    },
    /// An image of `esker.yml` has no `environment.yml`.
    #[error("{place}: image `{image}` has no `{path}`; write that file, or remove the image from `images`")]
    NoEnvironment {
        /// The image's key in `esker.yml`.
        place: Place,
        /// The image.
        image: String,
        /// The file that was looked for.
        path: PathBuf,
    },
    /// A folder with both `binder/` and `.binder/`.
    #[error("`{folder}` holds both `binder` and `.binder`; keep one of them")]
    TwoBinders {
        /// The folder.
        folder: PathBuf,
    },
    /// `environment.yml` stands where `binder/` hides it.
    #[error("`{folder}` holds an `environment.yml` that `{hidden_by}` hides; move it there, or remove that folder")]
    HiddenEnvironment {
        /// The image's folder.
        folder: PathBuf,
        /// Its `binder/` or `.binder/`.
        hidden_by: PathBuf,
    },
    /// A parent, or the root, that is no image of the project.
    #[error("{place}: `{key}` names `{name}`, which is no image of this project; {help}")]
    MissingImage {
        /// The value.
        place: Place,
        /// `parent` or `root`.
        key: &'static str,
        /// As written.
        name: String,
        /// What was meant, or could have been.
        help: Help,
    },
    /// Images that are each other's parents.
    #[error("{place}: images cannot be their own ancestors: {}", chain.join(" -> "))]
    Cycle {
        /// One of the `parent` keys.
        place: Place,
        /// The images, the first one again at the end.
        chain: Vec<String>,
    },
    /// The root prefix's image as a parent.
    #[error(
        "{place}: `{parent}` is the environment of the root prefix (`root`) and cannot be the parent of `{image}`; \
         remove `parent`, or name another image as `root`"
    )]
    RootIsParent {
        /// The `parent` value.
        place: Place,
        /// The child.
        image: String,
        /// The root image.
        parent: String,
    },
    /// An image is to be built for a platform its environment is not locked for.
    #[error("{place}: `{image}` has no lock for {platform}; add `{subdir}` to `lock-subdirs`, or remove the platform")]
    PlatformWithoutLock {
        /// Where the platforms, or the subdirs that leave one out, are written.
        place: Place,
        /// The image.
        image: String,
        /// The platform.
        platform: Platform,
        /// Its subdir.
        subdir: Subdir,
    },
    /// An image's platform is one its root prefix is not locked for.
    #[error(
        "`{image}` is built for {platform}, for which the root prefix `{root}` has no lock; add {platform} to the \
         `platforms` of `{root}`"
    )]
    RootWithoutPlatform {
        /// The image.
        image: String,
        /// The root prefix's image.
        root: String,
        /// The platform.
        platform: Platform,
    },
    /// A line of `apt.txt` that names a package in a way that cannot be followed.
    #[error("{place}: `{given}` cannot be asked for: {what}; write `NAME` or `NAME=VERSION`")]
    AptForm {
        /// The line.
        place: Place,
        /// As written.
        given: String,
        /// Why not.
        what: &'static str,
    },
    /// A line of `apt.txt` that names no package.
    #[error(
        "{place}: `{given}` is not the name of a Debian package; write one name a line (`vim`, `libgl1=1.6.0-1`), and \
         `#` before comments"
    )]
    AptPackage {
        /// The line.
        place: Place,
        /// As written.
        given: String,
    },
}

/// Two dependencies on one package that cannot both hold.
#[derive(Debug, thiserror::Error)]
#[error("{}: `{}` contradicts `{}` at {}: {reason}; change one of them", second.place, second.spec, first.spec, first.place)]
pub struct Conflict {
    /// The package.
    pub name: String,
    /// The dependency read first.
    pub first: Dependency,
    /// The other one.
    pub second: Dependency,
    /// What they differ in.
    pub reason: &'static str,
}

/// Two files whose channels have no common order of priority.
#[derive(Debug, thiserror::Error)]
#[error(
    "the channels of `{}` ({}) are not the end of those of `{}` ({}); give both files the same list",
    path.display(), channels.join(", "), longest.display(), longest_channels.join(", ")
)]
pub struct ChannelConflict {
    /// The file with fewer channels.
    pub path: PathBuf,
    /// Its channels.
    pub channels: Vec<String>,
    /// The file with the most.
    pub longest: PathBuf,
    /// Its channels.
    pub longest_channels: Vec<String>,
}

/// The end of a message about an unknown word: the one word that was meant, or all that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Help(String);

impl Help {
    /// Looks for the candidate that `given` is a misspelling of.
    pub fn for_word<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        let lower = given.to_lowercase();
        let nearest = candidates
            .iter()
            .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), *candidate))
            .min_by_key(|(distance, _)| *distance);
        match nearest {
            // A third of the letters may be wrong: `depenencies`, `lnux64`, but not `foo` for `env`.
            Some((distance, candidate)) if distance * 3 <= candidate.chars().count() => Self::meant(candidate),
            _ => Self(format!("expected one of `{}`", candidates.join("`, `"))),
        }
    }

    /// Names the word that was meant.
    pub fn meant(word: &str) -> Self {
        Self(format!("did you mean `{word}`?"))
    }
}

impl fmt::Display for Help {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line without what may be secret in its URL: a user and a password, a conda token, a query.
fn shown(line: &str) -> String {
    let Some((scheme, rest)) = line.split_once("://") else { return line.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("…@{host}"));
    let path = match path.strip_prefix("/t/") {
        Some(token) => format!("/t/…{}", &token[token.find('/').unwrap_or(token.len())..]),
        None => path.to_owned(),
    };
    let path = path.split_once('?').map_or(path.clone(), |(path, _)| format!("{path}?…"));
    format!("{scheme}://{authority}{path}")
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (line, expected) in [
            ("python >=3", "python >=3"),
            ("a @ https://u:p@h/a.whl?token=x", "a @ https://…@h/a.whl?…"),
            ("https://h/t/tk-1/c::a", "https://h/t/…/c::a"),
            ("https://h/c/noarch/a-1-0.conda#md5", "https://h/c/noarch/a-1-0.conda#md5"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }

    #[test]
    fn misspelt_words_are_recognised() {
        let known = ["channels", "dependencies", "env"];
        assert_eq!(Help::for_word("depenencies", known), Help::meant("dependencies"));
        assert_eq!(Help::for_word("Channels", known), Help::meant("channels"));
        assert_eq!(Help::for_word("foo", known).to_string(), "expected one of `channels`, `dependencies`, `env`");
    }
}
