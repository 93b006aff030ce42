//! Reads `environment.yml`.
//!
//! rattler's own reader of this file ignores unknown keys, all but the first `pip:` block and selectors, and reads
//! `channels: conda-forge` letter by letter; each of these once cost somebody a wrong image. Here whatever is not
//! understood is an error with its place.

use std::collections::BTreeSet;
use std::path::Path;

use indexmap::IndexMap;
use rattler_conda_types::Subdir;

use super::fields::{distinct, get};
use super::requirement::requirement;
use super::selector::{self, Selection};
use super::spec::match_spec;
use super::yaml::{Comment, Document, Entry, Node, Value};
use super::{Dependency, Environment, Error, Help, Place};

const KEYS: [&str; 7] = ["name", "channels", "dependencies", "platforms", "category", "variables", "prefix"];
const ADD_DEPENDENCIES: &str = "add `dependencies:` with a list of packages (`- python=3.12`)";

impl Environment {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`Error::Read`] if the file cannot be read; everything else is a fault in what it says, with its place.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Reader::new(Document::read(path)?).environment()
    }
}

/// One file being read; keeps account of the selectors that have found their dependency.
struct Reader {
    document: Document,
    /// Lines whose comment belongs to a dependency.
    taken: BTreeSet<usize>,
}

impl Reader {
    fn new(document: Document) -> Self {
        Self { document, taken: BTreeSet::new() }
    }

    fn environment(mut self) -> Result<Environment, Error> {
        let path = self.document.path.clone();
        let Some(root) = self.document.root.take() else {
            return Err(Error::Empty { path, remedy: ADD_DEPENDENCIES });
        };
        let fields = root.fields("environment.yml", &KEYS)?;
        let (dependencies, pip) = self.dependencies(&root, fields)?;
        let (channels, channel_places) = get(fields, "channels").map(channels).transpose()?.unwrap_or_default();
        let environment = Environment {
            path,
            name: get(fields, "name").map(|node| node.text_or_number("name").map(str::to_owned)).transpose()?,
            channels,
            channel_places,
            dependencies,
            pip,
            platforms: get(fields, "platforms").map(platforms).transpose()?,
            category: get(fields, "category").map(|node| node.text("category").map(str::to_owned)).transpose()?,
            variables: get(fields, "variables").map(variables).transpose()?.unwrap_or_default(),
        };
        self.refuse_other_selectors()?;
        Ok(environment)
    }

    /// The conda and the pip dependencies.
    fn dependencies(&mut self, root: &Node, fields: &[Entry]) -> Result<(Vec<Dependency>, Vec<Dependency>), Error> {
        let missing = |node: &Node| Error::MissingKey {
            place: node.place.clone(),
            key: "dependencies",
            remedy: ADD_DEPENDENCIES,
        };
        let node = get(fields, "dependencies").ok_or_else(|| missing(root))?;
        if node.is_null() {
            return Err(missing(node));
        }
        let (mut conda, mut pip) = (Vec::new(), Vec::new());
        for item in node.items("dependencies", "a list (`- python=3.12`)")? {
            match &item.value {
                Value::Mapping(entries) => match pip_block(entries) {
                    Some(block) => self.pip(block, &mut pip)?,
                    None => return Err(nested_spec(item, entries)),
                },
                _ => conda.push(self.conda(item)?),
            }
        }
        Ok((conda, pip))
    }

    fn conda(&mut self, item: &Node) -> Result<Dependency, Error> {
        let dependency = self.dependency(item)?;
        match match_spec(&dependency.spec) {
            Ok(_) => Ok(dependency),
            Err(source) => Err(Error::Spec { place: dependency.place, spec: dependency.spec, source }),
        }
    }

    fn pip(&mut self, block: &Node, requirements: &mut Vec<Dependency>) -> Result<(), Error> {
        if block.is_null() {
            return Ok(());
        }
        for item in block.items("pip", "a list (`- requests>=2`)")? {
            let line = self.dependency(item)?;
            match requirement(&line.spec) {
                Ok(_) => requirements.push(line),
                Err(source) => return Err(Error::Requirement { place: line.place, requirement: line.spec, source }),
            }
        }
        Ok(())
    }

    /// One line, with the selector in its comment.
    fn dependency(&mut self, item: &Node) -> Result<Dependency, Error> {
        let spec = match (&item.value, item.kind()) {
            (Value::Scalar { text, .. }, "text") => text.trim().to_owned(),
            (_, found) => return Err(not_text(item, found)),
        };
        let first_in_line = self.taken.insert(item.last_line);
        let selector = match self.document.comments.get(&item.last_line) {
            Some(comment) if first_in_line => selection(comment)?,
            Some(comment) => refuse_selector(comment).map(|()| None)?,
            None => None,
        };
        Ok(Dependency { spec, selector, place: item.place.clone() })
    }

    /// Refuses selectors on lines without a dependency: conda-lock would drop those lines whole.
    fn refuse_other_selectors(&self) -> Result<(), Error> {
        let others = self.document.comments.iter().filter(|(line, _)| !self.taken.contains(line));
        others.map(|(_, comment)| comment).try_for_each(refuse_selector)
    }
}

fn refuse_selector(comment: &Comment) -> Result<(), Error> {
    match selector::read(&comment.text) {
        Selection::Subdirs(selector, _) => Err(Error::MisplacedSelector { place: comment.place.clone(), selector }),
        Selection::Prose | Selection::Unknown(_) => Ok(()),
    }
}

fn selection(comment: &Comment) -> Result<Option<Vec<Subdir>>, Error> {
    match selector::read(&comment.text) {
        Selection::Prose => Ok(None),
        Selection::Subdirs(_, subdirs) => Ok(Some(subdirs)),
        Selection::Unknown(selector) => {
            let help = Help::for_word(selector::unknown_word(&selector), selector::WORDS);
            Err(Error::UnknownSelector { place: comment.place.clone(), selector, help })
        }
    }
}

/// The block of a `pip:` entry.
fn pip_block(entries: &[Entry]) -> Option<&Node> {
    match entries {
        [Entry { key, value, .. }] if key == "pip" => Some(value),
        _ => None,
    }
}

/// A mapping among the dependencies that is not `pip:`.
fn nested_spec(item: &Node, entries: &[Entry]) -> Error {
    let key = entries.iter().map(|entry| entry.key.as_str()).find(|key| *key != "pip").unwrap_or("pip");
    let value = get(entries, key).and_then(|node| match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Some(text.trim()),
        _ => None,
    });
    let remedy = match (key, value) {
        (key, value) if key.starts_with("sel(") => {
            format!("write a selector in a comment: `- {}  # [linux]`", value.unwrap_or("package"))
        }
        ("npm", _) => "packages of npm cannot be locked; remove this block".to_owned(),
        ("pip", _) => "give `- pip:` an entry of its own".to_owned(),
        (key, Some(value)) if value.starts_with(['=', '<', '>', '!', '~']) => format!("write `- {key}{value}`"),
        (key, Some(value)) => format!("write `- {key}={value}`"),
        (key, None) => format!("write `- {key}`, without the colon"),
    };
    Error::NotASpec { place: item.place.clone(), found: format!("a mapping (`{key}:`)"), remedy }
}

/// Something else than text where a dependency should be.
fn not_text(item: &Node, found: &str) -> Error {
    let remedy = match &item.value {
        Value::Scalar { text, .. } if !item.is_null() => {
            format!("write `name={text}`, or `\"{text}\"` if it is a name")
        }
        Value::Sequence(_) => "write one package a line".to_owned(),
        _ => "write a package name, or remove the dash".to_owned(),
    };
    Error::NotASpec { place: item.place.clone(), found: found.to_owned(), remedy }
}

/// The channels and their places, without `nodefaults`, which says what is so anyway: no channel is searched but the
/// listed ones.
fn channels(node: &Node) -> Result<(Vec<String>, Vec<Place>), Error> {
    let nodes: Vec<Node> = node
        .items("channels", "a list (`[conda-forge]`)")?
        .iter()
        .filter(|node| !is_nodefaults(node))
        .cloned()
        .collect();
    let channels = distinct(&nodes, "channels", |node| {
        let channel = node.text("channels")?;
        if channel.contains(char::is_whitespace) {
            return Err(node.bad_value("channels", "it holds a space; write one channel an item"));
        }
        Ok(channel.to_owned())
    })?;
    Ok((channels, nodes.into_iter().map(|node| node.place).collect()))
}

fn is_nodefaults(node: &Node) -> bool {
    matches!(&node.value, Value::Scalar { text, .. } if text.trim() == "nodefaults")
}

fn platforms(node: &Node) -> Result<Vec<Subdir>, Error> {
    let subdirs = node.subdirs("platforms")?;
    if subdirs.is_empty() {
        return Err(node.bad_value("platforms", "list at least one subdir, or remove the key"));
    }
    Ok(subdirs)
}

fn variables(node: &Node) -> Result<IndexMap<String, String>, Error> {
    if node.is_null() {
        return Ok(IndexMap::new());
    }
    let entries = node.entries("variables")?;
    entries.iter().map(|entry| Ok((entry.key.clone(), entry.value.text_or_number(&entry.key)?.to_owned()))).collect()
}

#[cfg(test)]
mod tests;
