//! Reads conda package specifications, and refuses early what a solver would misread.
//!
//! rattler's strict parser refuses what environments really hold (`python 3.12`, `jaxlib>=0.4.31=cuda12*`), its lenient
//! one takes `numpy >=1.2;` as a request for the build `;`. So: lenient, and then the parts are looked at.

use rattler_conda_types::{MatchSpec, PackageName, ParseMatchSpecError, ParseMatchSpecOptions, StringMatcher};
use rattler_digest::{Md5, Sha256, parse_digest_from_hex};

/// Why a text is not a package specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// rattler's parser refuses it.
    #[error(transparent)]
    Syntax(Box<ParseMatchSpecError>),
    /// rattler's parser refuses its version.
    #[error("its version cannot be read; write `name>=1.2,<2`, `name=1.2` or `name==1.2.3`")]
    Version(#[source] Box<ParseMatchSpecError>),
    /// Something else in brackets than conda has there.
    #[error("brackets hold keys and values (`name[version='>=1', build=py312_0]`); conda has no extras")]
    Bracket(#[source] Box<ParseMatchSpecError>),
    /// The name is a pattern.
    #[error("a package must be named; patterns (`*`, `^…$`) are not supported in names")]
    Pattern,
    /// The name begins like an option or a file.
    #[error("a package's name begins with a letter, a digit or `_`, not as `{0}` does")]
    Name(String),
    /// `channel:name`.
    #[error("`{0}:` means nothing; write `channel::name` for a package of one channel")]
    Namespace(String),
    /// What stands where the build string does cannot be one.
    #[error(
        "`{0}` is read as a build string, which has only letters, digits, `_`, `.`, `+` and `*`; write \
         `name>=version` or `name=version=build`, with commas between versions"
    )]
    Build(String),
    /// `name==1.0#comment` and the like.
    #[error("`#` begins a comment only behind a space")]
    Comment,
    /// A package file by path.
    #[error("a path is not the same on another machine; use a `https://` or `file://` URL, or a channel")]
    Path,
    /// A URL whose fragment is no hash.
    #[error("what follows `#` must be the package's MD5 (32 hexadecimal digits) or SHA-256 (64)")]
    Fragment,
    /// A URL with a user, a password or a token.
    #[error("its URL holds a secret, which a lock would publish: keep credentials in a netrc")]
    Secret,
    /// `numpy scipy`: a word where a version should be.
    #[error("`{0}` is read as a version; write one package a line")]
    Word(String),
    /// Requirements in pip's language.
    #[error("`{0}` has a meaning only in pip's requirements; remove it, or put this line below `- pip:`")]
    Pip(char),
}

/// Reads one conda dependency, as `environment.yml` and every stage after it do.
///
/// # Errors
/// A text that is no specification of one package by name or URL.
pub fn match_spec(text: &str) -> Result<MatchSpec, SpecError> {
    refuse_foreign_syntax(text)?;
    let options = ParseMatchSpecOptions::lenient().with_exact_names_only(true);
    let mut spec = MatchSpec::from_str(text, options).map_err(syntax)?;
    if spec.url.is_some() {
        add_url_parts(&mut spec, text)?;
    }
    let name = name_of(&spec).ok_or(SpecError::Pattern)?.as_source();
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_') {
        return Err(SpecError::Name(name.to_owned()));
    }
    match (&spec.namespace, &spec.build) {
        (Some(namespace), _) => Err(SpecError::Namespace(namespace.clone())),
        (_, Some(build)) if !is_build(build) => Err(SpecError::Build(build.to_string())),
        _ => Ok(spec),
    }
}

/// Refuses what rattler would understand in its own way, or explain badly.
fn refuse_foreign_syntax(text: &str) -> Result<(), SpecError> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let is_url = scheme.is_some_and(|scheme| scheme.chars().all(char::is_alphanumeric)) && !text.contains("::");
    if text.starts_with(['.', '/', '~']) || text.contains('\\') {
        return Err(SpecError::Path);
    }
    let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.is_some_and(|authority| authority.contains('@')) || (scheme.is_some() && text.contains("/t/")) {
        return Err(SpecError::Secret);
    }
    if is_url || text.contains('[') {
        return Ok(());
    }
    if let Some(sign) = ['@', ';'].into_iter().find(|sign| text.contains(*sign)) {
        return Err(SpecError::Pip(sign));
    }
    if text.contains('#') {
        return Err(SpecError::Comment);
    }
    match text.split_whitespace().nth(1) {
        Some(word) if word.chars().all(|c| c.is_ascii_alphabetic()) => Err(SpecError::Word(word.to_owned())),
        _ => Ok(()),
    }
}

/// What rattler leaves out of a URL: the hash behind `#`, as explicit locks have it.
fn add_url_parts(spec: &mut MatchSpec, text: &str) -> Result<(), SpecError> {
    if spec.url.as_ref().is_some_and(|url| url.query().is_some()) {
        return Err(SpecError::Secret);
    }
    let Some((_, hash)) = text.split_once('#') else { return Ok(()) };
    let hash = hash.trim();
    let hash = hash.strip_prefix("sha256:").or_else(|| hash.strip_prefix("sha256=")).unwrap_or(hash);
    match hash.len() {
        32 => spec.md5 = Some(parse_digest_from_hex::<Md5>(hash).ok_or(SpecError::Fragment)?),
        64 => spec.sha256 = Some(parse_digest_from_hex::<Sha256>(hash).ok_or(SpecError::Fragment)?),
        _ => return Err(SpecError::Fragment),
    }
    Ok(())
}

/// What `text`, a valid specification, says and probably does not mean; `None` for most.
pub fn lint(text: &str) -> Option<String> {
    exact_by_accident(text).or_else(|| glob_in_comparison(text))
}

/// `python 3.12` is 3.12.0 alone. Dates (`pytz 2024.1`) are versions of two numbers that are meant so.
fn exact_by_accident(text: &str) -> Option<String> {
    let [name, version] = text.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let numbers: Vec<u32> = version.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
    let is_whole = numbers.len() > 2 || numbers.first().is_some_and(|first| *first > 1900);
    (!is_whole).then(|| {
        format!(
            "`{text}` asks for {version} and not for {version}.1; write `{name}={version}` for any {version}, or \
             `{name}=={version}` if it is meant"
        )
    })
}

/// `foo>1.*`: conda is about to give up reading it, and tools differ in what they take it for.
fn glob_in_comparison(text: &str) -> Option<String> {
    let is_odd = |part: &str| part.trim_start().starts_with(['<', '>']) && part.trim_end().ends_with(".*");
    let start = text.find(['<', '>'])?;
    text[start..].split([',', '|']).any(is_odd).then(|| {
        let read = match_spec(text).ok().and_then(|spec| spec.version).map(|version| version.to_string());
        let read = read.unwrap_or_default();
        format!("`.*` means nothing behind `<` and `>`; `{text}` is read as `{read}`: write that, or what is meant")
    })
}

/// The name of the package that `spec` asks for.
pub(super) fn name_of(spec: &MatchSpec) -> Option<&PackageName> {
    spec.name.as_exact()
}

fn syntax(error: ParseMatchSpecError) -> SpecError {
    match error {
        ParseMatchSpecError::OnlyExactPackageNameMatchersAllowedGlob(_)
        | ParseMatchSpecError::OnlyExactPackageNameMatchersAllowedRegex(_) => SpecError::Pattern,
        ParseMatchSpecError::InvalidVersionSpec(_) | ParseMatchSpecError::InvalidVersionAndBuild(_) => {
            SpecError::Version(Box::new(error))
        }
        ParseMatchSpecError::InvalidBracket | ParseMatchSpecError::InvalidBracketKey(_) => {
            SpecError::Bracket(Box::new(error))
        }
        error => SpecError::Syntax(Box::new(error)),
    }
}

/// Whether a package's build string could match; the characters are those of CEP 26.
fn is_build(build: &StringMatcher) -> bool {
    let text = build.to_string();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '*');
    matches!(build, StringMatcher::Regex(_)) || text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_environments_hold_is_accepted() {
        for (text, name, version, build) in [
            ("python", "python", "", ""),
            ("NumPy", "numpy", "", ""),
            ("python 3.12", "python", "==3.12", ""),
            ("python=3.12", "python", "3.12.*", ""),
            ("python==3.12", "python", "==3.12", ""),
            ("python 3.12.*", "python", "3.12.*", ""),
            ("pangeo-notebook=2025.07.15", "pangeo-notebook", "2025.7.15.*", ""),
            ("jaxlib>=0.4.31=cuda12*", "jaxlib", ">=0.4.31", "cuda12*"),
            ("pkg=1.2=py*", "pkg", "==1.2", "py*"),
            ("pkg[version='>=1']", "pkg", ">=1", ""),
            ("pkg[version='>=1,<2', build=py312_0]", "pkg", ">=1,<2", "py312_0"),
            ("numpy >=1.2, <2", "numpy", ">=1.2,<2", ""),
            ("foo>1.*", "foo", ">=1", ""),
            ("foo ~=1.4", "foo", "~=1.4", ""),
            ("foo!=1.5", "foo", "!=1.5", ""),
            ("foo 1.0|2.0", "foo", "==1.0|==2.0", ""),
            ("conda-forge::xarray", "xarray", "", ""),
            ("conda-forge/linux-64::xarray>=1", "xarray", ">=1", ""),
            ("__glibc>=2.34", "__glibc", ">=2.34", ""),
            (
                "https://conda.anaconda.org/conda-forge/noarch/a-1.0-0.conda#0123456789abcdef0123456789abcdef",
                "a",
                "",
                "",
            ),
        ] {
            let spec = match_spec(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(name_of(&spec).unwrap().as_normalized(), name, "{text}");
            assert_eq!(spec.version.map(|version| version.to_string()).unwrap_or_default(), version, "{text}");
            assert_eq!(spec.build.map(|build| build.to_string()).unwrap_or_default(), build, "{text}");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for (kind, texts) in [
            ("Syntax", &["", "=1.0", "fö", "foo/bar", "https://host/not-a-package"][..]),
            ("Version", &["foo>=", "foo>=1,", "foo=>3", "foo=3.1x*y", "foo[version='>=1;']"]),
            ("Bracket", &["foo[bar=1]", "requests[socks]", "foo[extras=[a]]"]),
            ("Pattern", &["num*", "^num.*$", "*"]),
            ("Name", &["-foo", "--channel"]),
            ("Namespace", &["conda-forge:foo"]),
            ("Build", &["foo=1=2=3", "foo=1=a-b", "foo 1.0 build more", "foo>=1.0 <2.0", "foo[build='a;b']"]),
            ("Comment", &["foo==1.0#x"]),
            (
                "Fragment",
                &[
                    "https://h/c/noarch/a-1.0-0.conda#x",
                    "https://h/c/noarch/a-1.0-0.conda#xx23456789abcdef0123456789abcdef",
                ],
            ),
            (
                "Secret",
                &[
                    "https://u:p@h/c/noarch/a-1.0-0.conda",
                    "https://h/t/tk-1/c/noarch/a-1.0-0.conda",
                    "https://h/c/noarch/a-1.0-0.conda?token=x",
                    "https://u:p@h/c::a",
                    "https://h/t/tk-1/c::a",
                ],
            ),
            ("Path", &["./a-1.0-0.conda", "/tmp/a-1.0-0.conda", "C:\\a-1.0-0.conda"]),
            ("Word", &["foo bar", "foo bar baz"]),
            ("Pip", &["numpy >=1.2;", "foo @ https://x/y.whl", "foo; python_version<'3'"]),
        ] {
            for text in texts {
                let error = match_spec(text).expect_err(text);
                assert!(format!("{error:?}").starts_with(kind), "{text}: {error:?}");
            }
        }
    }

    #[test]
    fn a_url_keeps_its_hash() {
        let url = "https://conda.anaconda.org/conda-forge/noarch/a-1.0-0.conda";
        let md5 = match_spec(&format!("{url}#0123456789ABCDEF0123456789abcdef")).unwrap();
        assert_eq!(md5.url.unwrap().as_str(), url);
        assert_eq!(md5.md5.map(hex::encode).unwrap(), "0123456789abcdef0123456789abcdef");
        for prefix in ["", "sha256:", "sha256="] {
            let sha256 = match_spec(&format!("{url}#{prefix}{}", "ab".repeat(32))).unwrap();
            assert_eq!(sha256.sha256.map(hex::encode).unwrap(), "ab".repeat(32));
        }
        assert_eq!(match_spec(url).unwrap().md5, None);
    }

    #[test]
    fn brackets_hold_hash_subdir_and_features() {
        let spec =
            match_spec("foo[md5=0123456789abcdef0123456789abcdef, subdir=noarch, track_features='a b']").unwrap();
        assert_eq!(spec.md5.map(hex::encode).unwrap(), "0123456789abcdef0123456789abcdef");
        assert_eq!(spec.subdir.as_deref(), Some("noarch"));
        assert_eq!(spec.track_features.unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_is_valid_and_hardly_meant() {
        for (text, expected) in [
            ("python 3.12", "write `python=3.12` for any 3.12, or `python==3.12` if it is meant"),
            ("foo 3", "write `foo=3`"),
            ("foo>1.*", "`foo>1.*` is read as `>=1`"),
            ("foo >=1.2,<2.*", "is read as `>=1.2,<2`"),
        ] {
            let found = lint(text).unwrap_or_else(|| panic!("{text}"));
            assert!(found.contains(expected), "{text}: {found}");
        }
        for text in [
            "python",
            "python=3.12",
            "python==3.12",
            "python 3.12.*",
            "python 3.12.1",
            "python >=3.12",
            "pytz 2024.1",
            "foo 1.2 py_0",
            "foo=1.*",
            "foo!=1.*",
            "foo >=1,!=1.5.*",
            "foo ~=1.4",
            "https://h/c/noarch/a-1.0-0.conda",
        ] {
            assert_eq!(lint(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = match_spec(&text);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_spec(text in "([a-zé0-9 ]|::|==|[<>=!~,|*'\"#@;/.^$(\\[\\])-]|\\.conda|https://){0,30}") {
            if let Ok(spec) = match_spec(&text) {
                prop_assert!(name_of(&spec).is_some());
            }
        }
    }
}
