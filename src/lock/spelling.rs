//! Versions and builds of a requirement as conda spells them.
//!
//! `conda-lock.yml` holds requirements in the words of conda's `MatchSpec`, which rewrites some of what people write
//! (`python=3.12` is `3.12.*`). rattler prints others (`==1.2` for `1.2`), and both the lock's lines and its content hash
//! are made of these words.

/// What is required of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Requirement {
    /// Its channel, if one is named.
    pub channel: Option<String>,
    /// Its name, normalised.
    pub name: String,
    /// conda's spelling of the version; empty for any.
    pub version: String,
    /// The build string or its pattern.
    pub build: Option<String>,
}

impl Requirement {
    /// Takes `text` apart; it was found to be a specification before.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some(requirement) = Self::of_url(text) {
            return requirement;
        }
        let (channel, text) = match text.split_once("::") {
            // `channel/subdir::name`: the subdir is no part of the channel.
            Some((channel, rest)) => (Some(without_subdir(channel)), rest),
            None => (None, text),
        };
        let (text, fields) = match text.split_once('[') {
            Some((text, fields)) => (text.trim(), fields.trim_end_matches(']')),
            None => (text, ""),
        };
        let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).unwrap_or(text.len());
        let (version, build) = version_and_build(text[end..].trim());
        let mut requirement = Self { channel, name: text[..end].to_lowercase(), version, build };
        for (key, value) in bracket_fields(fields) {
            match key {
                "version" => requirement.version = value,
                "build" => requirement.build = Some(value),
                _ => {}
            }
        }
        requirement
    }

    /// A package by URL: what its file name says.
    fn of_url(text: &str) -> Option<Self> {
        let url = text.split_once('#').map_or(text, |(url, _)| url);
        let stem = url.strip_suffix(".conda").or_else(|| url.strip_suffix(".tar.bz2"))?;
        let (folder, stem) = stem.rsplit_once('/').filter(|_| url.contains("://"))?;
        let (rest, build) = stem.rsplit_once('-')?;
        let (name, version) = rest.rsplit_once('-')?;
        let channel = folder.rsplit_once('/').map(|(channel, _subdir)| channel);
        let channel = channel.map(|channel| channel.trim_start_matches("https://conda.anaconda.org/").to_owned());
        Some(Self { channel, name: name.to_lowercase(), version: version.to_owned(), build: Some(build.to_owned()) })
    }
}

fn without_subdir(channel: &str) -> String {
    match channel.rsplit_once('/') {
        Some((rest, last)) if last.parse::<rattler_conda_types::Subdir>().is_ok() => rest.to_owned(),
        _ => channel.to_owned(),
    }
}

/// `version='>=1,<2', build=py*` in pairs; a comma within quotes separates nothing.
fn bracket_fields(fields: &str) -> Vec<(&str, String)> {
    let mut quote = None;
    let parts = fields.split(move |c: char| {
        match quote {
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        c == ',' && quote.is_none()
    });
    let pair = |part: &'_ str| {
        let (key, value) = part.split_once('=')?;
        Some((key.len(), value.trim().trim_matches(['\'', '"']).to_owned()))
    };
    parts.filter_map(|part| pair(part).map(|(end, value)| (part[..end].trim(), value))).collect()
}

/// Splits what follows a name, and rewrites the version as conda does.
fn version_and_build(text: &str) -> (String, Option<String>) {
    let text = without_inner_spaces(text);
    let (version, build) = match text.split_once(' ') {
        Some((version, build)) => (version, Some(build.trim())),
        None => match build_separator(&text) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text.as_str(), None),
        },
    };
    (rewritten(version, build.is_some()), build.filter(|build| !build.is_empty()).map(str::to_owned))
}

/// `>= 1, <2` without the spaces that separate nothing.
fn without_inner_spaces(text: &str) -> String {
    let is_operator = |c: char| "<>=!~,|".contains(c);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut out = String::with_capacity(text.len());
    for word in words {
        let joins = out.is_empty() || out.ends_with(is_operator) || word.starts_with([',', '|', '!']);
        if !joins {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// The `=` in front of a build string: the last one that is part of no operator.
fn build_separator(text: &str) -> Option<usize> {
    let at = text.rfind('=')?;
    let before = text[..at].chars().next_back()?;
    (!"<>=!~,|".contains(before)).then_some(at)
}

fn rewritten(version: &str, has_build: bool) -> String {
    let version = match version.strip_prefix('=') {
        Some(exact) if exact.starts_with('=') && !has_build => exact[1..].to_owned(),
        Some(fuzzy) if !fuzzy.contains(['=', ',', '|']) => {
            let open = !has_build && !fuzzy.ends_with('*');
            fuzzy.to_owned() + if open { ".*" } else { "" }
        }
        _ => version.to_owned(),
    };
    let is_simple = !version.contains(['<', '>', '=', '!', '~', ',', '|']);
    match version.strip_suffix('*') {
        Some(stem) if is_simple && !stem.is_empty() && !stem.ends_with('.') => format!("{stem}.*"),
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Expected values are those of conda-lock 4.0.3's `conda_spec_to_versioned_dep`.
    #[test]
    fn requirements_are_spelled_as_conda_does() {
        for (text, name, version, build) in [
            ("python", "python", "", None),
            ("NumPy", "numpy", "", None),
            ("python 3.12", "python", "3.12", None),
            ("python=3.12", "python", "3.12.*", None),
            ("python==3.12", "python", "3.12", None),
            ("python 3.12.*", "python", "3.12.*", None),
            ("jaxlib>=0.4.31=cuda12*", "jaxlib", ">=0.4.31", Some("cuda12*")),
            ("pkg=1.2=py*", "pkg", "1.2", Some("py*")),
            ("pkg[version='>=1']", "pkg", ">=1", None),
            ("pkg[version='>=1,<2', build=py312_0]", "pkg", ">=1,<2", Some("py312_0")),
            ("numpy >=1.2, <2", "numpy", ">=1.2,<2", None),
            ("foo>1.*", "foo", ">1.*", None),
            ("foo ~=1.4", "foo", "~=1.4", None),
            ("foo 1.0|2.0", "foo", "1.0|2.0", None),
            ("foo=1.0|2.0", "foo", "=1.0|2.0", None),
            ("foo=1.0,<2", "foo", "=1.0,<2", None),
            ("foo >=1|=2", "foo", ">=1|=2", None),
            ("foo ==1.2=py_0", "foo", "==1.2", Some("py_0")),
            ("foo 1.2 py_0", "foo", "1.2", Some("py_0")),
            ("foo=1.2=*", "foo", "1.2", Some("*")),
            ("foo=1.2*", "foo", "1.2.*", None),
            ("foo 1.2*", "foo", "1.2.*", None),
            ("foo==1.2.*", "foo", "1.2.*", None),
            ("foo=*", "foo", "*", None),
            ("foo >= 1.0", "foo", ">=1.0", None),
            ("foo[build=py*]", "foo", "", Some("py*")),
            ("__glibc >=2.17,<3.0.a0", "__glibc", ">=2.17,<3.0.a0", None),
            ("python_abi 3.12.* *_cp312", "python_abi", "3.12.*", Some("*_cp312")),
        ] {
            let build = build.map(str::to_owned);
            let expected = Requirement { channel: None, name: name.into(), version: version.into(), build };
            assert_eq!(Requirement::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn channels_and_urls_are_taken_apart() {
        let spec = Requirement::parse("conda-forge/linux-64::xarray>=1");
        assert_eq!((spec.channel.as_deref(), spec.version.as_str()), (Some("conda-forge"), ">=1"));
        let url = Requirement::parse("https://conda.anaconda.org/conda-forge/noarch/a-b-1.0-0.conda#0123");
        assert_eq!((url.name.as_str(), url.version.as_str(), url.build.as_deref()), ("a-b", "1.0", Some("0")));
        assert_eq!(url.channel.as_deref(), Some("conda-forge"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "([a-zé0-9 ]|::|==|[<>=!~,|*'\"#/.\\[\\]-]|\\.conda|https://){0,30}") {
            Requirement::parse(&text);
        }
    }
}
