//! `.dockerignore`: which files of a folder a builder does not get.
//!
//! As Docker reads it: a pattern is relative to the folder; `*` and `?` stop at a slash, `**` does not; what lies below
//! a directory that matches, matches; `!` takes back what patterns before it left out; the last pattern that matches
//! decides. A line that begins with `#` is a comment.

/// The patterns of one file, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Whether it takes back.
    keeps: bool,
    glob: Vec<char>,
}

impl Ignore {
    /// Reads the text of a file.
    pub fn parse(text: &str) -> Self {
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
        let lines = lines.filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        Self { patterns: lines.filter_map(Pattern::parse).collect() }
    }

    /// Whether the file or directory `path` (relative, with `/` between its parts) is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        let ends = path.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        let last = self.patterns.iter().rfind(|pattern| ends.iter().any(|end| matches(&pattern.glob, &path[..*end])));
        last.is_some_and(|pattern| !pattern.keeps)
    }

    /// Whether something below a directory that is left out may be kept.
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.keeps)
    }
}

impl Pattern {
    /// `None` for a lone `!`, and for what leads out of the folder: it matches nothing.
    fn parse(line: &str) -> Option<Self> {
        let (keeps, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in text.split('/').filter(|part| !["", "."].contains(part)) {
            match part {
                ".." => parts.truncate(parts.len().checked_sub(1)?),
                part => parts.push(part),
            }
        }
        (!parts.is_empty()).then(|| Self { keeps, glob: parts.join("/").chars().collect() })
    }
}

/// Whether all of `text` is what `glob` says.
fn matches(glob: &[char], text: &[char]) -> bool {
    match glob {
        [] => text.is_empty(),
        ['*', '*', '/', rest @ ..] => {
            let starts = text.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| at + 1);
            [0].into_iter().chain(starts).any(|start| matches(rest, &text[start..]))
        }
        ['*', '*', rest @ ..] => (0..=text.len()).any(|start| matches(rest, &text[start..])),
        ['*', rest @ ..] => {
            let most = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            (0..=most).any(|start| matches(rest, &text[start..]))
        }
        ['?', rest @ ..] => text.split_first().is_some_and(|(first, text)| *first != '/' && matches(rest, text)),
        ['[', rest @ ..] => match (class(rest), text.split_first()) {
            (Some((class, rest)), Some((first, text))) => {
                *first != '/' && in_class(class, *first) && matches(rest, text)
            }
            _ => false,
        },
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.split_first().is_some_and(|(first, text)| first == literal && matches(rest, text))
        }
    }
}

/// Splits `a-z]rest` into what is in the brackets and what follows; `None` where they are not closed.
fn class(glob: &[char]) -> Option<(&[char], &[char])> {
    let mut at = 0;
    loop {
        match glob.get(at)? {
            '\\' => at += 2,
            ']' if at > 0 => return Some((&glob[..at], &glob[at + 1..])),
            _ => at += 1,
        }
    }
}

fn in_class(class: &[char], wanted: char) -> bool {
    let (negated, mut rest) = match class {
        ['^', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let mut found = false;
    while let Some((low, after)) = member(rest) {
        (found, rest) = match after {
            ['-', range @ ..] if !range.is_empty() => match member(range) {
                Some((high, after)) => (found || (low..=high).contains(&wanted), after),
                None => (found, &[][..]),
            },
            _ => (found || low == wanted, after),
        };
    }
    found != negated
}

fn member(class: &[char]) -> Option<(char, &[char])> {
    match class {
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => Some((*literal, rest)),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_docker() {
        for (pattern, yes, no) in [
            ("a", &["a", "a/b", "a/b/c"][..], &["b", "b/a", "ab"][..]),
            ("/a/", &["a", "a/b"], &["b/a"]),
            ("*", &["a", "a/b", ".git"], &[]),
            ("*.txt", &["a.txt", ".txt"], &["a/b.txt", "a.txtx"]),
            ("*/b", &["a/b", "a/b/c"], &["b", "a/a/b"]),
            ("**/b", &["b", "a/b", "a/a/b/c"], &["ab", "a/ab"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
            ("a/**/z", &["a/z", "a/b/c/z"], &["az", "a/bz"]),
            ("**.log", &["a.log", "a/b.log"], &["log"]),
            ("a?", &["ab"], &["a", "a/"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[^a-c]x", &["dx"], &["ax", "/x"]),
            (r"\*", &["*"], &["a"]),
            ("./a/../b", &["b"], &["a", "a/b"]),
            ("../a", &[], &["a"]),
            ("[a", &[], &["a", "[a"]),
        ] {
            let ignore = Ignore::parse(pattern);
            yes.iter().for_each(|path| assert!(ignore.excludes(path), "`{pattern}` and `{path}`"));
            no.iter().for_each(|path| assert!(!ignore.excludes(path), "`{pattern}` and `{path}`"));
        }
    }

    #[test]
    fn the_last_pattern_decides() {
        let ignore = Ignore::parse("\u{feff}# all\n*\n!docs\n  docs/*.tmp  \n!docs/keep.tmp\n\n!\n");
        for (path, excluded) in [
            ("a", true),
            ("docs", false),
            ("docs/a", false),
            ("docs/a.tmp", true),
            ("docs/keep.tmp", false),
            ("#", true),
        ] {
            assert_eq!(ignore.excludes(path), excluded, "{path}");
        }
        assert!(ignore.takes_back() && !Ignore::parse("a\n#!b").takes_back());
    }
}
