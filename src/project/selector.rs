//! Selectors: comments that keep a dependency for some subdirs only, `- cudatoolkit  # [linux64]`.
//!
//! The words are conda-lock's. As there, a selector counts wherever it stands in a comment: `# see #12 [linux]`.
//! Beyond conda-lock, words combine with `not`, `and` and `or` (`and` binds tighter; no parentheses), and
//!
//! - brackets around anything else are prose (`# see [1]`), and the line is kept for every subdir; but
//! - where the brackets are all there is to the comment and hold a word (`# [lnux64]`), a selector was meant, and its
//!   being unknown is an error: conda-lock drops such a line everywhere without a word.

use rattler_conda_types::Subdir;

use super::fields::SUBDIRS;

/// Every selector word.
pub(super) const WORDS: [&str; 10] =
    ["linux64", "aarch64", "ppc64le", "osx64", "arm64", "linux", "osx", "unix", "win", "win64"];

/// What a comment says about the subdirs of its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// Nothing.
    Prose,
    /// A selector: what stands in the brackets, and the subdirs it keeps.
    Subdirs(String, Vec<Subdir>),
    /// What was meant as a selector, and is none.
    Unknown(String),
}

/// Reads a comment, given without its `#`.
pub(super) fn read(comment: &str) -> Selection {
    for inside in brackets(comment) {
        if let Some(subdirs) = evaluate(inside) {
            return Selection::Subdirs(inside.to_owned(), subdirs);
        }
    }
    let alone = comment.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match alone {
        Some(inside) if inside.contains(|c: char| c.is_ascii_alphabetic()) => Selection::Unknown(inside.to_owned()),
        _ => Selection::Prose,
    }
}

/// The first word of a selector that is unknown.
pub(super) fn unknown_word(selector: &str) -> &str {
    selector.split_whitespace().find(|word| !WORDS.contains(word) && !is_operator(word)).unwrap_or(selector)
}

fn is_operator(word: &str) -> bool {
    matches!(word, "not" | "and" | "or")
}

/// What stands between each `[` and the next `]`.
fn brackets(comment: &str) -> impl Iterator<Item = &str> {
    comment.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside)
}

/// The subdirs for which `selector` holds; `None` if it is not a selector.
fn evaluate(selector: &str) -> Option<Vec<Subdir>> {
    let words: Vec<&str> = selector.split_whitespace().collect();
    let alternatives = words.split(|word| *word == "or").map(parse_all).collect::<Option<Vec<_>>>()?;
    let holds =
        |subdir: Subdir| alternatives.iter().any(|terms: &Vec<Term<'_>>| terms.iter().all(|term| term.holds(subdir)));
    Some(SUBDIRS.into_iter().filter(|subdir| holds(*subdir)).collect())
}

fn parse_all<'a>(words: &[&'a str]) -> Option<Vec<Term<'a>>> {
    words.split(|word| *word == "and").map(Term::parse).collect()
}

/// A word, or `not` and a word.
struct Term<'a> {
    word: &'a str,
    negated: bool,
}

impl<'a> Term<'a> {
    fn parse(words: &[&'a str]) -> Option<Self> {
        let (word, negated) = match words {
            [word] => (word, false),
            ["not", word] => (word, true),
            _ => return None,
        };
        WORDS.contains(word).then_some(Self { word, negated })
    }

    fn holds(&self, subdir: Subdir) -> bool {
        let selected = match self.word {
            "linux64" => subdir == Subdir::Linux64,
            "aarch64" => subdir == Subdir::LinuxAarch64,
            "ppc64le" => subdir == Subdir::LinuxPpc64le,
            "osx64" => subdir == Subdir::Osx64,
            "arm64" => subdir == Subdir::OsxArm64,
            "win64" => subdir == Subdir::Win64,
            "linux" => subdir.is_linux(),
            "osx" => subdir.is_osx(),
            "unix" => subdir.is_unix(),
            _ => subdir.is_windows(),
        };
        selected != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        for (comment, expected) in [
            (" [linux64]", "linux-64"),
            (" [aarch64]", "linux-aarch64"),
            (" [ppc64le]", "linux-ppc64le"),
            (" [osx64]", "osx-64"),
            (" [arm64]", "osx-arm64"),
            (" [ linux ]", "linux-64 linux-aarch64 linux-ppc64le"),
            ("[osx]", "osx-64 osx-arm64"),
            (" [win]", "win-64"),
            (" [win64]", "win-64"),
            (" [unix]", "linux-64 linux-aarch64 linux-ppc64le osx-64 osx-arm64"),
            (" [not win]", "linux-64 linux-aarch64 linux-ppc64le osx-64 osx-arm64"),
            (" [linux and not ppc64le]", "linux-64 linux-aarch64"),
            (" [osx or linux and not aarch64 and not ppc64le]", "linux-64 osx-64 osx-arm64"),
            (" no build on arm, see [1] [linux64]", "linux-64"),
            (" [linux64] until they fix it", "linux-64"),
            (" [linux and osx]", ""),
        ] {
            let Selection::Subdirs(_, subdirs) = read(comment) else { panic!("{comment}") };
            let names: Vec<_> = subdirs.iter().map(|subdir| subdir.as_str()).collect();
            assert_eq!(names.join(" "), expected, "{comment}");
        }
    }

    #[test]
    fn prose_and_misspellings() {
        for comment in ["", " see [1]", " [1]", " not [this one]", " wait for [xarray] 2", " ]linux[", " []"] {
            assert_eq!(read(comment), Selection::Prose, "{comment}");
        }
        for (comment, word) in [
            (" [lnux64]", "lnux64"),
            (" [linux and x86]", "x86"),
            (" [py>=310]", "py>=310"),
            (" [not]", "not"),
            (" [linux linux]", "linux linux"),
        ] {
            let Selection::Unknown(selector) = read(comment) else { panic!("{comment}") };
            assert_eq!(unknown_word(&selector), word);
        }
    }
}
