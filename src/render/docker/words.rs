//! Values as the languages of a build write them: a Dockerfile's words, regular expressions for a script.

use indexmap::IndexMap;
use serde::Serialize;

use crate::project::Strip;

/// One rule of [`Strip`] for the script.
#[derive(Serialize)]
pub struct StripRule {
    verb: &'static str,
    regex: String,
}

/// `PATH` with the system's behind it.
pub fn with_path(mut env: IndexMap<String, String>) -> IndexMap<String, String> {
    if let Some(path) = env.get_mut("PATH")
        && !path.contains("${PATH}")
    {
        path.push_str(":${PATH}");
    }
    env
}

/// `NAME=value` of each, as words of a Dockerfile, in which `${NAME}` alone means a variable.
pub fn quoted(values: &IndexMap<String, String>) -> Vec<String> {
    values.iter().map(|(name, value)| format!("{name}={}", word(value))).collect()
}

fn word(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+%".contains(c);
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    let mut word = String::from("\"");
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        if matches!(c, '"' | '\\') || (c == '$' && rest.peek() != Some(&'{')) {
            word.push('\\');
        }
        word.push(c);
    }
    word + "\""
}

/// The rules in the order in which a file's first one decides: those written last come first.
pub fn strip_rules(strip: &Strip) -> Vec<StripRule> {
    let rule = |text: &String| match text.strip_prefix('!') {
        Some(pattern) => StripRule { verb: "keep", regex: regex(pattern) },
        None => StripRule { verb: "take", regex: regex(text) },
    };
    strip.texts().iter().rev().map(rule).collect()
}

/// An extended regular expression for paths that `pattern` fits; see [`Strip`].
fn regex(pattern: &str) -> String {
    let mut out = String::from(if pattern.contains('/') { "^" } else { "(^|/)" });
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let (length, text) = match c {
            '*' if rest.starts_with("**/") => (3, "(.*/)?".to_owned()),
            '*' if rest.starts_with("**") => (2, ".*".to_owned()),
            '*' => (1, "[^/]*".to_owned()),
            '?' => (1, "[^/]".to_owned()),
            '[' if rest.contains(']') => {
                let end = rest.find(']').map_or(1, |end| end + 1);
                (end, rest[..end].replacen("[!", "[^", 1))
            }
            // It stands between single quotes.
            '\'' => (1, ".".to_owned()),
            c if c.is_alphanumeric() || "-_/".contains(c) => (c.len_utf8(), c.to_string()),
            c => (c.len_utf8(), format!("\\{c}")),
        };
        out.push_str(&text);
        rest = &rest[length..];
    }
    out + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_dockerfile() {
        for (value, expected) in [
            ("/a:b", "/a:b"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("${PATH}:/x", "\"${PATH}:/x\""),
            ("$5 \"x\" \\", "\"\\$5 \\\"x\\\" \\\\\""),
        ] {
            assert_eq!(word(value), expected);
        }
    }

    #[test]
    fn patterns_become_expressions() {
        for (pattern, expected) in [
            ("*.a", r"(^|/)[^/]*\.a$"),
            ("lib/python*/x/**/*.js", r"^lib/python[^/]*/x/(.*/)?[^/]*\.js$"),
            ("share/[!a]?/**", r"^share/[^a][^/]/.*$"),
        ] {
            assert_eq!(regex(pattern), expected);
        }
    }

    #[test]
    fn the_last_rule_decides_first() {
        let verbs: Vec<_> = strip_rules(&Strip::default()).into_iter().map(|rule| rule.verb).collect();
        assert_eq!(verbs, ["keep", "take", "take", "take"]);
    }
}
