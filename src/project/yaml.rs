//! YAML as it is written: a tree whose every node knows its place, and the comments beside it.
//!
//! A typed deserialiser loses what the readers here report on: whether `3.10` was a number, both places of a
//! duplicate key, the comment `# [linux64]`. So the tree is built from the parser's events.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, options};

use super::{Error, Place, text};

/// Nodes of a tree, those that aliases repeat counted each time: stops a "billion laughs" file.
const MAX_NODES: usize = 50_000;
/// Levels of nesting, likewise.
const MAX_DEPTH: usize = 64;

/// One YAML file that holds one document.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) path: PathBuf,
    /// `None` if there are at most comments.
    pub(super) root: Option<Node>,
    /// Comments that follow something on their line, by line.
    pub(super) comments: BTreeMap<usize, Comment>,
}

/// A comment, without its `#`.
#[derive(Debug)]
pub(super) struct Comment {
    pub(super) place: Place,
    pub(super) text: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    /// The line its last character is on.
    pub(super) last_line: usize,
    pub(super) value: Value,
}

/// What YAML can say, as far as esker takes it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A scalar; `plain` if it stands without quotes, so that it may mean a number.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Document {
    /// Reads and parses `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &text::read(path)?)
    }

    /// Parses `text`, the content of `path`.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let mut builder = Builder::new(path);
        let parser = Parser::new_from_str_with_options(text, options! { max_buffered_comment_events: MAX_NODES });
        for event in parser {
            let (event, span) = event.map_err(|error| broken(path, text, &error))?;
            builder.take(event, &span)?;
        }
        let mut comments = builder.comments;
        let lines: Vec<&str> = text.lines().collect();
        comments.retain(|line, _| lines.get(line - 1).is_some_and(|line| !line.trim_start().starts_with('#')));
        Ok(Self { path: path.to_owned(), root: builder.root.filter(|root| !root.is_null()), comments })
    }
}

fn broken(path: &Path, text: &str, error: &ScanError) -> Error {
    let (marker, problem) = (error.marker(), error.kind().to_string());
    // Of a tab the parser may tell where the value began that it ends.
    let tab = problem.contains("tab").then(|| indenting_tab(text, marker.line())).flatten();
    let (line, column) = tab.unwrap_or((marker.line(), marker.col() + 1));
    Error::Yaml { place: Place { file: path.to_owned(), line, column }, problem }
}

/// The first tab that indents a line, from line `first` on.
fn indenting_tab(text: &str, first: usize) -> Option<(usize, usize)> {
    let lines = text.lines().enumerate().skip(first.saturating_sub(1));
    lines.into_iter().find_map(|(index, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        Some((index + 1, indent.find('\t')? + 1))
    })
}

/// Puts events together. Works without recursion, so that nesting cannot exhaust the stack.
struct Builder<'a> {
    path: &'a Path,
    root: Option<Node>,
    documents: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    comments: BTreeMap<usize, Comment>,
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<(String, Place)>,
}

impl<'a> Builder<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            root: None,
            documents: 0,
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            comments: BTreeMap::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Error> {
        let place = Place { file: self.path.to_owned(), line: span.start.line(), column: span.start.col() + 1 };
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => {
                Err(unsupported(place, "YAML tags (`!…`) are not supported; remove the tag"))
            }
            Event::Scalar(text, style, anchor, None) => {
                let value = Value::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.close(Node { place, last_line: span.end.line(), value }, anchor)
            }
            Event::SequenceStart(_, anchor, None) => self.start(place, Value::Sequence(Vec::new()), anchor),
            Event::MappingStart(_, anchor, None) => self.start(place, Value::Mapping(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { mut node, anchor, .. }) => {
                    node.last_line = span.start.line();
                    self.close(node, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => self.repeat(place, anchor),
            Event::Comment(text, _) => {
                self.comments.insert(place.line, Comment { place, text: text.into_owned() });
                Ok(())
            }
            Event::DocumentStart(..) if self.documents > 0 => {
                Err(unsupported(place, "a second document begins here; keep one document a file"))
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                Ok(())
            }
            // Ends of documents and streams, and what later versions of the parser may add.
            _ => Ok(()),
        }
    }

    fn start(&mut self, place: Place, value: Value, anchor: usize) -> Result<(), Error> {
        if self.open.len() >= MAX_DEPTH {
            return Err(unsupported(place, "nested too deeply"));
        }
        self.open.push(Open { node: Node { last_line: place.line, place, value }, anchor, key: None });
        Ok(())
    }

    /// Puts a finished node where it belongs: into the collection that is open, else at the root.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Error> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(unsupported(node.place, "too many values for a file that a person wrote"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::Sequence(items), _) => items.push(node),
            (Value::Mapping(entries), Some((key, place))) => entries.push(Entry { key, place, value: node }),
            (Value::Mapping(entries), None) => open.key = Some(key_of(node, entries)?),
            (Value::Scalar { .. }, _) => {}
        }
        Ok(())
    }

    /// Puts a copy of the anchored node in the alias's place.
    fn repeat(&mut self, place: Place, anchor: usize) -> Result<(), Error> {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(unsupported(place, "an alias to itself; write the value out"));
        };
        let (nodes, depth) = node.extent();
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES || self.open.len() + depth > MAX_DEPTH {
            return Err(unsupported(place, "the aliases unfold to too many values; write the values out"));
        }
        let node = node.clone();
        self.close(node, 0)
    }
}

fn key_of(node: Node, earlier: &[Entry]) -> Result<(String, Place), Error> {
    let Value::Scalar { text: key, .. } = node.value else {
        return Err(unsupported(node.place, "a key must be text"));
    };
    match earlier.iter().find(|entry| entry.key == key) {
        Some(first) => Err(Error::DuplicateKey { place: node.place, key, first: first.place.clone() }),
        None => Ok((key, node.place)),
    }
}

fn unsupported(place: Place, problem: &'static str) -> Error {
    Error::UnsupportedYaml { place, problem }
}

impl Node {
    /// How many nodes it has, itself counted, and how many levels.
    fn extent(&self) -> (usize, usize) {
        let children: Vec<&Self> = match &self.value {
            Value::Scalar { .. } => Vec::new(),
            Value::Sequence(items) => items.iter().collect(),
            Value::Mapping(entries) => entries.iter().map(|entry| &entry.value).collect(),
        };
        let (nodes, depth) = children
            .into_iter()
            .map(Self::extent)
            .fold((0, 0), |(nodes, depth), (more, levels)| (nodes + more, depth.max(levels)));
        (nodes + 1, depth + 1)
    }

    /// Whether it is null: `~`, `null`, or nothing at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What YAML takes it for, in words.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar { .. } if self.is_null() => "nothing",
            Value::Scalar { text, plain: true } => kind_of_plain(text),
            Value::Scalar { .. } => "text",
        }
    }
}

/// What a scalar without quotes means to conda's readers, which follow YAML 1.1: there `yes` is a boolean.
fn kind_of_plain(text: &str) -> &'static str {
    const BOOLEANS: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];
    let starts_as_number = text.trim_start_matches(['+', '-', '.']).starts_with(|first: char| first.is_ascii_digit());
    if BOOLEANS.iter().any(|word| text.eq_ignore_ascii_case(word)) {
        "a boolean"
    } else if starts_as_number && (text.parse::<f64>().is_ok() || is_radix_integer(text)) {
        "a number"
    } else {
        "text"
    }
}

fn is_radix_integer(text: &str) -> bool {
    [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().any(|(prefix, radix)| {
        text.strip_prefix(prefix).is_some_and(|digits| u128::from_str_radix(digits, radix).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, Error> {
        Document::parse(Path::new("f"), text)
    }

    #[test]
    fn places_kinds_and_comments() {
        let document =
            parse("# top\na:\n - é: x  # one\n - 'y' # two\n - long\n   text # three\nb: [1, no, '2', ~]\n").unwrap();
        let Value::Mapping(entries) = document.root.unwrap().value else { panic!("a mapping") };
        assert_eq!(entries[1].place.to_string(), "f:7:1");
        let Value::Sequence(a) = &entries[0].value.value else { panic!("a list") };
        let Value::Mapping(inner) = &a[0].value else { panic!("a mapping") };
        assert_eq!(inner[0].value.place.to_string(), "f:3:7");
        assert_eq!((a[1].last_line, a[2].place.line, a[2].last_line), (4, 5, 6));
        let Value::Sequence(b) = &entries[1].value.value else { panic!("a list") };
        let kinds: Vec<_> = b.iter().map(Node::kind).collect();
        assert_eq!(kinds, ["a number", "a boolean", "text", "nothing"]);
        let comments: Vec<_> = document.comments.iter().map(|(line, comment)| (*line, comment.text.as_str())).collect();
        assert_eq!(comments, [(3, " one"), (4, " two"), (6, " three")]);
    }

    #[test]
    fn what_is_refused_names_its_place() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                    c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                    e: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
        for (text, expected) in [
            ("a: 1\nb: 2\na: 3\n", "f:3:1: duplicate key `a`, first given at f:1:1; keep one of them"),
            ("a: 1\n---\nb: 1\n", "f:2:1: a second document begins here; keep one document a file"),
            ("a: !x 1", "f:1:7: YAML tags (`!…`) are not supported; remove the tag"),
            ("? [a]\n: 1", "f:1:3: a key must be text"),
            ("a: &a [*a]", "f:1:8: an alias to itself; write the value out"),
            (bomb, "f:5:14: the aliases unfold to too many values; write the values out"),
            (&deep, "f:1:65: nested too deeply"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        for (text, line) in [("a:\n\tb: 1\n", 2), ("a: [1,\nb", 1), ("a: 'x\n", 2), ("a: b: c", 1), ("a: *b", 1)] {
            let Error::Yaml { place, problem } = parse(text).unwrap_err() else { panic!("{text}") };
            assert_eq!(place.line, line, "{text}: {problem}");
            assert!(!problem.is_empty());
        }
    }

    #[test]
    fn aliases_of_reasonable_size_work() {
        let document = parse("a: &x [1, 2]\nb: *x\n").unwrap();
        let Value::Mapping(entries) = document.root.unwrap().value else { panic!("a mapping") };
        assert!(matches!(&entries[1].value.value, Value::Sequence(items) if items.len() == 2));
    }

    #[test]
    fn windows_line_ends() {
        let document = parse("a: b # c\r\nd: e\r\n").unwrap();
        assert_eq!(document.comments[&1].text, " c");
        let Value::Mapping(entries) = document.root.unwrap().value else { panic!("a mapping") };
        assert_eq!(entries[1].place.to_string(), "f:2:1");
        assert!(parse("\n# only\n").unwrap().root.is_none());
    }
}
