//! Reads `conda-lock.yml` in exactly the form in which conda-lock and esker write it, at a fraction of what YAML costs.
//!
//! Locks of tens of thousands of lines are read on every run, and nearly all of them have this form: fields in one order,
//! scalars on one line. Whatever has another (a comment, a folded text, a pip package, a fault) gets no answer here, and
//! [`read`](super::read) asks the YAML reader, which knows where each value stands and so can say what is wrong. What is
//! accepted here is what that reader accepts, and means the same; tests hold the one against the other.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::str::Split;

use rattler_conda_types::{MatchSpec, ParseStrictness, Subdir, Version};
use url::Url;

use super::{Lock, LockedChannel, LockedPackage, Manager};

/// The lock in `text`; `None` if it has to be looked at more closely.
pub(super) fn parse(text: &str) -> Option<Lock> {
    // Without its last line break the last line might go on.
    let mut lines = Lines { rest: text.strip_suffix('\n')?.split('\n'), line: None };
    lines.advance();
    while lines.line.is_some_and(|line| line.starts_with('#') && is_visible(line)) {
        lines.advance();
    }
    lines.exactly("version: 1")?;
    let mut lock = metadata(&mut lines)?;
    if lines.exactly("package: []").is_none() {
        lines.exactly("package:")?;
        let mut known = HashSet::new();
        while lines.line.is_some() {
            lock.packages.push(package(&mut lines, &lock.subdirs, &mut known)?);
        }
    }
    lock.sort();
    let twice = lock.packages.windows(2).any(|pair| pair[0].key() == pair[1].key());
    (lines.line.is_none() && !twice).then_some(lock)
}

/// The lines that are left, and the one to be read next.
struct Lines<'a> {
    rest: Split<'a, char>,
    line: Option<&'a str>,
}

impl<'a> Lines<'a> {
    fn advance(&mut self) {
        self.line = self.rest.next();
    }

    fn exactly(&mut self, expected: &str) -> Option<()> {
        (self.line? == expected).then(|| self.advance())
    }

    /// The text behind `start`, which the line begins with.
    fn text(&mut self, start: &str) -> Option<&'a str> {
        let text = scalar(self.line?.strip_prefix(start)?)?;
        self.advance();
        Some(text)
    }

    /// The name and the text of an entry, `indent` deep.
    fn entry(&mut self, indent: &str) -> Option<(&'a str, &'a str)> {
        let (name, text) = self.line?.strip_prefix(indent)?.split_once(": ")?;
        let entry = (Some(name).filter(|name| is_key(name))?, scalar(text)?);
        self.advance();
        Some(entry)
    }

    /// A list, `indent` deep.
    fn list(&mut self, indent: &str, name: &str) -> Option<Vec<String>> {
        let start = |line: &'a str| line.strip_prefix(indent)?.strip_prefix(name);
        if start(self.line?)? == ": []" {
            self.advance();
            return Some(Vec::new());
        }
        (start(self.line?)? == ":").then(|| self.advance())?;
        let mut items = Vec::new();
        while let Some(item) = self.line.and_then(|line| line.strip_prefix(indent)?.strip_prefix("- ")) {
            items.push(scalar(item)?.to_owned());
            self.advance();
        }
        (!items.is_empty()).then_some(items)
    }
}

/// The value of a scalar that is written plainly or in single quotes, without anything that needs a second look.
fn scalar(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('\'') {
        let inner = quoted.strip_suffix('\'')?;
        return (is_visible(inner) && !inner.contains('\'')).then_some(inner);
    }
    let (first, last) = (text.bytes().next()?, text.bytes().next_back()?);
    let begins = first.is_ascii_alphanumeric() || (text.len() > 1 && b"_./<=~$".contains(&first));
    let ends = !matches!(last, b' ' | b':');
    let fine = begins && ends && is_visible(text) && !is_null(text) && !text.contains(": ") && !text.contains(" #");
    fine.then_some(text)
}

/// Whether all of `text` is printable ASCII: a lone carriage return breaks a line, too.
fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_null(text: &str) -> bool {
    text.eq_ignore_ascii_case("null")
}

/// Whether `name` is a name of a package, and a key that every YAML reader takes for text.
fn is_key(name: &str) -> bool {
    const TYPED: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && is_name(name)
        && !TYPED.contains(&name)
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_digest(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn metadata(lines: &mut Lines<'_>) -> Option<Lock> {
    lines.exactly("metadata:")?;
    lines.exactly("  content_hash:")?;
    let mut content_hash = BTreeMap::new();
    while let Some((subdir, hash)) = lines.entry("    ") {
        let fresh = content_hash.insert(subdir.parse::<Subdir>().ok()?, hash.to_owned()).is_none();
        (fresh && is_digest(hash, 64)).then_some(())?;
    }
    let channels = channels(lines)?;
    let mut subdirs = Vec::new();
    for name in lines.list("  ", "platforms")? {
        let subdir: Subdir = name.parse().ok().filter(|subdir| *subdir != Subdir::NoArch)?;
        (content_hash.contains_key(&subdir) && !subdirs.contains(&subdir)).then(|| subdirs.push(subdir))?;
    }
    let sources = lines.list("  ", "sources")?;
    let custom_metadata = custom_metadata(lines)?;
    let distinct = sources.iter().collect::<BTreeSet<_>>().len() == sources.len();
    let fine = distinct && subdirs.len() == content_hash.len() && sources.iter().all(|source| is_source(source));
    fine.then_some(Lock { channels, subdirs, content_hash, sources, custom_metadata, packages: Vec::new() })
}

fn channels(lines: &mut Lines<'_>) -> Option<Vec<LockedChannel>> {
    lines.exactly("  channels:")?;
    let mut channels = Vec::new();
    while let Some(url) = lines.text("  - url: ") {
        let used_env_vars = lines.list("    ", "used_env_vars")?;
        (!url.trim().is_empty()).then(|| channels.push(LockedChannel { url: url.to_owned(), used_env_vars }))?;
    }
    (!channels.is_empty()).then_some(channels)
}

fn custom_metadata(lines: &mut Lines<'_>) -> Option<BTreeMap<String, String>> {
    let mut custom = BTreeMap::new();
    if lines.exactly("  custom_metadata:").is_some() {
        while let Some((name, text)) = lines.entry("    ") {
            custom.insert(name.to_owned(), text.to_owned()).is_none().then_some(())?;
        }
        (!custom.is_empty()).then_some(())?;
    }
    Some(custom)
}

/// Whether `source` is a relative path on every system.
fn is_source(source: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    source.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '.') && source.bytes().all(plain)
}

/// The package that begins at this line. `known` are constraints that were found to be ones.
fn package<'a>(lines: &mut Lines<'a>, subdirs: &[Subdir], known: &mut HashSet<&'a str>) -> Option<LockedPackage> {
    let name = lines.text("- name: ").filter(|name| is_name(name))?;
    let version = lines.text("  version: ").filter(|version| is_version(version))?;
    lines.exactly("  manager: conda")?;
    let subdir = lines.text("  platform: ")?.parse().ok().filter(|subdir| subdirs.contains(subdir))?;
    let dependencies = dependencies(lines, known)?;
    let url = lines.text("  url: ").filter(|url| !url.contains(' ')).and_then(|url| Url::parse(url).ok())?;
    lines.exactly("  hash:")?;
    let md5 = lines.text("    md5: ");
    let sha256 = lines.text("    sha256: ");
    let hashes = [(md5, 32), (sha256, 64)];
    let fine = hashes.iter().all(|(hash, length)| hash.is_none_or(|hash| is_digest(hash, *length)));
    (fine && (md5.is_some() || sha256.is_some())).then_some(())?;
    let category = lines.text("  category: ").filter(|category| !category.is_empty())?;
    let optional = lines.exactly("  optional: true").is_some();
    if !optional {
        lines.exactly("  optional: false")?;
    }
    Some(LockedPackage {
        name: name.to_owned(),
        version: version.to_owned(),
        manager: Manager::Conda,
        subdir,
        dependencies,
        url,
        md5: md5.map(str::to_owned),
        sha256: sha256.map(str::to_owned),
        category: category.to_owned(),
        optional,
    })
}

fn is_version(text: &str) -> bool {
    text.len() <= 64 && text.parse::<Version>().is_ok()
}

fn dependencies<'a>(lines: &mut Lines<'a>, known: &mut HashSet<&'a str>) -> Option<BTreeMap<String, String>> {
    let mut dependencies = BTreeMap::new();
    if lines.exactly("  dependencies: {}").is_some() {
        return Some(dependencies);
    }
    lines.exactly("  dependencies:")?;
    while let Some((name, constraint)) = lines.entry("    ") {
        if !known.contains(constraint) {
            is_constraint(name, constraint).then(|| known.insert(constraint))?;
        }
        let fresh = dependencies.insert(name.to_owned(), constraint.to_owned()).is_none();
        fresh.then_some(())?;
    }
    (!dependencies.is_empty()).then_some(dependencies)
}

/// Whether `name constraint` is a specification, whatever name stands there: nothing in it can be a comment, a condition,
/// a path, a channel or a list of fields.
fn is_constraint(name: &str, constraint: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _-.,*+!<>=|~".contains(&byte);
    constraint.bytes().all(plain)
        && MatchSpec::from_str(&format!("{name} {constraint}"), ParseStrictness::Lenient).is_ok()
}

#[cfg(test)]
mod tests;
