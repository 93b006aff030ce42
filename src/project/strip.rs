//! Which files of packages are left out of images: `strip` in `esker.yml`.
//!
//! What nobody needs in a notebook, every user pulls: static libraries, source maps, the copies of bokeh's JavaScript that
//! are only read by people.

use glob::{MatchOptions, Pattern};

/// What is left out where nothing else is said.
const DEFAULT: [&str; 4] = ["*.a", "*.js.map", "lib/python*/site-packages/bokeh/server/static/**/*.js", "!*.min.js"];

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Patterns of paths below a prefix, as in a `.gitignore`: one without `/` is of file names in any folder, `**` is any
/// folders, one with `!` in front takes back what those before it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strip {
    texts: Vec<String>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    by_name: bool,
    takes: bool,
}

impl Default for Strip {
    fn default() -> Self {
        Self::parse(DEFAULT.map(str::to_owned)).expect("these are patterns")
    }
}

impl Strip {
    /// Reads patterns.
    ///
    /// # Errors
    /// What to write instead of the first that is none.
    pub fn parse(texts: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let texts: Vec<String> = texts.into_iter().collect();
        let rules = texts.iter().map(|text| rule(text)).collect::<Result<_, _>>()?;
        Ok(Self { texts, rules })
    }

    /// Nothing is left out.
    pub fn nothing() -> Self {
        Self { texts: Vec::new(), rules: Vec::new() }
    }

    /// Whether the file at `path` below the prefix is left out.
    pub fn takes(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let fits = |rule: &&Rule| rule.pattern.matches_with(if rule.by_name { name } else { path }, OPTIONS);
        self.rules.iter().rev().find(fits).is_some_and(|rule| rule.takes)
    }

    /// The patterns as they are written.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

fn rule(text: &str) -> Result<Rule, String> {
    let (takes, pattern) = text.strip_prefix('!').map_or((true, text), |pattern| (false, pattern));
    if pattern.is_empty() || pattern.starts_with('/') || pattern.ends_with('/') || pattern.split('/').any(|p| p == "..")
    {
        return Err("write a pattern of files below the prefix, as `*.a` or `share/doc/**/*.html`".to_owned());
    }
    let parsed = Pattern::new(pattern).map_err(|error| format!("write a pattern as `*.a`: {error}"))?;
    Ok(Rule { pattern: parsed, by_name: !pattern.contains('/'), takes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_needs() {
        let strip = Strip::default();
        let site = "lib/python3.12/site-packages";
        for gone in [
            "lib/libz.a",
            "libz.a",
            &format!("{site}/jupyterlab/static/1.js.map"),
            &format!("{site}/bokeh/server/static/js/bokeh.js"),
            &format!("{site}/bokeh/server/static/js/lib/core/util.js"),
        ] {
            assert!(strip.takes(gone), "{gone}");
        }
        for kept in [
            "lib/libz.so",
            "lib/libz.a.txt",
            &format!("{site}/bokeh/server/static/js/bokeh.min.js"),
            &format!("{site}/bokeh/server/static/js/bokeh.json"),
            &format!("{site}/panel/bokeh/server/static/x.js"),
            &format!("{site}/other/x.js"),
        ] {
            assert!(!strip.takes(kept), "{kept}");
        }
        assert!(!Strip::nothing().takes("lib/libz.a"));
    }

    #[test]
    fn later_patterns_have_the_last_word() {
        let strip =
            Strip::parse(["share/doc/**/*", "!LICENSE*", "share/doc/secret/LICENSE"].map(str::to_owned)).unwrap();
        assert!(
            strip.takes("share/doc/a/b/c") && strip.takes("share/doc/a") && strip.takes("share/doc/secret/LICENSE")
        );
        assert!(!strip.takes("share/doc/a/LICENSE.txt") && !strip.takes("share/docs/a"));
    }

    #[test]
    fn what_is_no_pattern() {
        for bad in ["", "!", "/lib/*.a", "share/", "../x", "a/***/b", "[a"] {
            assert!(Strip::parse([bad.to_owned()]).unwrap_err().starts_with("write a pattern"), "{bad}");
        }
    }
}
