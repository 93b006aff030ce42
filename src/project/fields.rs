//! Takes typed values out of YAML nodes, or says what they should have been.

use std::str::FromStr;

use rattler_conda_types::Subdir;

use super::yaml::{Entry, Node, Value};
use super::{Error, Help, Place};

/// The subdirs environments can be locked for: those of which conda-lock's format and the virtual packages are known.
pub const SUBDIRS: [Subdir; 6] =
    [Subdir::Linux64, Subdir::LinuxAarch64, Subdir::LinuxPpc64le, Subdir::Osx64, Subdir::OsxArm64, Subdir::Win64];

impl Node {
    /// The entries of a mapping whose keys are all in `known`.
    pub(super) fn fields(&self, key: &str, known: &[&str]) -> Result<&[Entry], Error> {
        let entries = self.entries(key)?;
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                return Err(Error::UnknownKey {
                    place: entry.place.clone(),
                    key: entry.key.clone(),
                    help: Help::for_word(&entry.key, known.iter().copied()),
                });
            }
        }
        Ok(entries)
    }

    /// The entries of a mapping.
    pub(super) fn entries(&self, key: &str) -> Result<&[Entry], Error> {
        match &self.value {
            Value::Mapping(entries) => Ok(entries),
            _ => Err(self.wrong_type(key, "a mapping (`key: value`)")),
        }
    }

    /// The items of a list; `example` shows one.
    pub(super) fn items(&self, key: &str, example: &'static str) -> Result<&[Node], Error> {
        match &self.value {
            Value::Sequence(items) => Ok(items),
            _ => Err(self.wrong_type(key, example)),
        }
    }

    /// A scalar that YAML takes for text, trimmed and not empty.
    pub(super) fn text(&self, key: &str) -> Result<&str, Error> {
        match (&self.value, self.kind()) {
            (Value::Scalar { text, .. }, "text") if !text.trim().is_empty() => Ok(text.trim()),
            (Value::Scalar { .. }, "text") => Err(Error::WrongType {
                place: self.place.clone(),
                key: key.to_owned(),
                expected: "text",
                found: "empty text",
            }),
            _ => Err(self.wrong_type(key, "text (put it in quotes if it is meant as such)")),
        }
    }

    /// Text, or a number as it is written (`name: 2024`, `OMP_NUM_THREADS: 1`).
    pub(super) fn text_or_number(&self, key: &str) -> Result<&str, Error> {
        match &self.value {
            Value::Scalar { text, plain } if !plain || matches!(self.kind(), "text" | "a number") => Ok(text),
            _ => Err(self.wrong_type(key, "text (put it in quotes if it is meant as such)")),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &str) -> Result<bool, Error> {
        match &self.value {
            Value::Scalar { text, plain: true } if text == "true" => Ok(true),
            Value::Scalar { text, plain: true } if text == "false" => Ok(false),
            _ => Err(self.wrong_type(key, "`true` or `false`")),
        }
    }

    /// A list of subdirs, none of them twice.
    pub(super) fn subdirs(&self, key: &str) -> Result<Vec<Subdir>, Error> {
        let nodes = self.items(key, "a list (`[linux-64, linux-aarch64]`)")?;
        distinct(nodes, key, |node| subdir(node.text(key)?, &node.place))
    }

    /// That this is not what `key` takes.
    pub(super) fn wrong_type(&self, key: &str, expected: &'static str) -> Error {
        Error::WrongType { place: self.place.clone(), key: key.to_owned(), expected, found: self.kind() }
    }

    /// That this text means nothing as `key`.
    pub(super) fn bad_value(&self, key: &str, problem: impl Into<String>) -> Error {
        let value = match &self.value {
            Value::Scalar { text, .. } => text.clone(),
            _ => self.kind().to_owned(),
        };
        Error::Value { place: self.place.clone(), key: key.to_owned(), value, problem: problem.into() }
    }
}

/// Reads every node of a list with `read`, and refuses what is there twice.
pub(super) fn distinct<T: PartialEq>(
    nodes: &[Node],
    key: &str,
    read: impl Fn(&Node) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut values = Vec::with_capacity(nodes.len());
    for node in nodes {
        let value = read(node)?;
        if values.contains(&value) {
            return Err(node.bad_value(key, "it is listed twice; remove one"));
        }
        values.push(value);
    }
    Ok(values)
}

/// The value of `key` among `entries`.
pub(super) fn get<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// Reads the name of a subdir that environments can be locked for.
pub(super) fn subdir(name: &str, place: &Place) -> Result<Subdir, Error> {
    if let Some(subdir) = Subdir::from_str(name).ok().filter(|subdir| SUBDIRS.contains(subdir)) {
        return Ok(subdir);
    }
    // Other tools' names of the same things.
    let help = match name {
        "linux-arm64" | "linux/arm64" | "linux/aarch64" => Help::meant("linux-aarch64"),
        "linux-amd64" | "linux-x86_64" | "linux-x64" | "linux/amd64" => Help::meant("linux-64"),
        "linux/ppc64le" => Help::meant("linux-ppc64le"),
        "osx-aarch64" | "macos-arm64" | "darwin-arm64" => Help::meant("osx-arm64"),
        "osx-amd64" | "osx-x86_64" | "macos-64" | "darwin-amd64" => Help::meant("osx-64"),
        _ => Help::for_word(name, SUBDIRS.iter().map(|subdir| subdir.as_str())),
    };
    Err(Error::UnknownSubdir { place: place.clone(), given: name.to_owned(), help })
}
