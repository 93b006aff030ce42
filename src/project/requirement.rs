//! Reads the requirements below `pip:`, and refuses early what could not be locked.
//!
//! What is locked is a wheel with its hash: the one thing that is the same bytes everywhere. So sources, paths and
//! options are refused here, with the line, and not in the words of a resolver.

use url::Url;

/// A requirement of pip's (PEP 508). With plain URLs: the library's own kind would put variables of the environment in.
pub type Requirement = pep508_rs::Requirement<Url>;

/// Why a text is no requirement that can be locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// An option of pip's.
    #[error("options of pip cannot be locked; list the requirements themselves")]
    Option,
    /// The parser refuses it.
    #[error("{0}; write `name>=1.2,<2`, `name[extra]` or `name @ https://…/name-1.2-py3-none-any.whl#sha256=…`")]
    Syntax(String),
    /// A URL without a name.
    #[error("a URL needs the package's name in front: `name @ {0}`")]
    Unnamed(String),
    /// A repository.
    #[error("a repository is no package yet; build a wheel of it and give its URL, or use a conda package")]
    Repository,
    /// A file or a folder.
    #[error("a path is not the same on another machine; give the `https://` URL of a wheel")]
    Path,
    /// A URL of something else than a wheel.
    #[error("`{0}` is no wheel: only wheels can be locked")]
    NotAWheel(String),
    /// A URL with a user, a password or a query.
    #[error("its URL may hold a secret, which a lock would publish: keep credentials in a netrc")]
    Secret,
    /// A fragment that is not `#sha256=…`.
    #[error("the fragment of a URL must be its hash: `#sha256=` and 64 hexadecimal digits")]
    Fragment,
}

/// Reads one requirement, as `environment.yml` and every stage after it do.
///
/// # Errors
/// A text that is no requirement, or one that no wheel can answer.
pub fn requirement(text: &str) -> Result<Requirement, RequirementError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(RequirementError::Option);
    }
    let target = text.split_once('@').map_or(text, |(_, target)| target.trim());
    if ["git+", "hg+", "svn+", "bzr+"].iter().any(|scheme| text.starts_with(scheme) || target.starts_with(scheme)) {
        return Err(RequirementError::Repository);
    }
    if text.starts_with(['.', '/', '~']) || target.starts_with(['.', '/', '~']) || target.starts_with("file:") {
        return Err(RequirementError::Path);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return Err(RequirementError::Unnamed(text.to_owned()));
    }
    let parsed = parse_requirement(text)?;
    wheel_url(&parsed).map_or(Ok(()), check_url)?;
    Ok(parsed)
}

/// Reads one requirement of any kind, also what a package says of itself.
///
/// # Errors
/// [`RequirementError::Syntax`] for a text that is none.
pub fn parse_requirement(text: &str) -> Result<Requirement, RequirementError> {
    check_parsable(text).map_err(|problem| RequirementError::Syntax(problem.to_owned()))?;
    // The parser's own message shows the text with a mark below, and counts characters as bytes.
    text.parse::<Requirement>().map_err(|error| RequirementError::Syntax(error.message.to_string()))
}

/// Refuses what the parser panics on: names and extras that end in a sign, and text that is not ASCII. It recurses into
/// parentheses.
fn check_parsable(text: &str) -> Result<(), &'static str> {
    const DEEP: usize = 32;
    if !text.is_ascii() {
        return Err("a requirement is ASCII text");
    }
    if text.matches('(').count() > DEEP {
        return Err("too many parentheses");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_end = |c: char| c.is_ascii_alphanumeric();
    let is_name = |name: &str| name.chars().all(is_part) && name.starts_with(is_end) && name.ends_with(is_end);
    let text = text.trim();
    let name = &text[..text.find(|c| !is_part(c)).unwrap_or(text.len())];
    if !is_name(name) {
        return Err("a name begins and ends with a letter or a digit");
    }
    let Some(rest) = text[name.len()..].trim_start().strip_prefix('[') else { return Ok(()) };
    let (extras, _) = rest.split_once(']').ok_or("a `[` is not closed")?;
    let are_names = extras.split(',').map(str::trim).all(|extra| extra.is_empty() || is_name(extra));
    if are_names { Ok(()) } else { Err("extras are names with commas between them") }
}

/// The URL a requirement names, if it names one.
pub fn wheel_url(requirement: &Requirement) -> Option<&Url> {
    match requirement.version_or_url.as_ref()? {
        pep508_rs::VersionOrUrl::Url(url) => Some(url),
        pep508_rs::VersionOrUrl::VersionSpecifier(_) => None,
    }
}

/// The SHA-256 in the fragment of a wheel's URL, in lower case.
pub fn sha256_of(url: &Url) -> Option<String> {
    let digits = url.fragment()?.strip_prefix("sha256=")?;
    let is_hash = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| digits.to_ascii_lowercase())
}

fn check_url(url: &Url) -> Result<(), RequirementError> {
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(RequirementError::Secret);
    }
    let file = url.path().rsplit('/').next().unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || !file.ends_with(".whl") {
        return Err(RequirementError::NotAWheel(file.to_owned()));
    }
    if url.fragment().is_some() && sha256_of(url).is_none() {
        return Err(RequirementError::Fragment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_pip_takes_is_read() {
        for (text, name) in [
            ("requests", "requests"),
            ("Zope.Interface >=1, <2", "zope-interface"),
            ("dask[distributed,array]==2024.1.*; python_version >= '3.9' and sys_platform == 'linux'", "dask"),
            ("foo ~= 1.4", "foo"),
            ("foo @ https://host/foo-1.0-py3-none-any.whl", "foo"),
            ("foo@https://host/foo-1.0-py3-none-any.whl", "foo"),
        ] {
            let parsed = requirement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(parsed.name.as_ref(), name, "{text}");
        }
        let url = format!("foo @ https://host/foo-1.0-py3-none-any.whl#sha256={}", "AB".repeat(32));
        let parsed = requirement(&url).unwrap();
        assert_eq!(wheel_url(&parsed).and_then(sha256_of), Some("ab".repeat(32)));
    }

    #[test]
    fn what_cannot_be_locked_is_refused() {
        for (kind, texts) in [
            ("Option", &["-r requirements.txt", "-e .", "--index-url https://host"][..]),
            (
                "Syntax",
                &[
                    "",
                    "foo bar",
                    "foo>=",
                    "foo==1.0 --hash=sha256:ab",
                    "fö",
                    "foo;",
                    "foo ; python > '3'",
                    // The parser panics on these.
                    "foo.",
                    "foo-{",
                    "foo[a-]",
                    "foo[a",
                    "foo ; os_name == 'é'",
                ],
            ),
            ("Unnamed", &["https://host/foo-1.0-py3-none-any.whl"]),
            ("Repository", &["git+https://host/foo", "foo @ git+https://host/foo@main", "foo@hg+https://host/foo"]),
            ("Path", &["./foo", "/tmp/foo.whl", "foo @ ./foo.whl", "foo @ file:///tmp/foo-1.0-py3-none-any.whl"]),
            ("NotAWheel", &["foo @ https://host/foo-1.0.tar.gz", "foo @ ftp://host/foo-1.0-py3-none-any.whl"]),
            ("Secret", &["foo @ https://u:p@host/foo-1.0-py3-none-any.whl", "foo @ https://host/foo.whl?token=x"]),
            ("Fragment", &["foo @ https://host/foo-1.0-py3-none-any.whl#sha256=ab"]),
        ] {
            for text in texts {
                let error = requirement(text).expect_err(text);
                assert!(format!("{error:?}").starts_with(kind), "{text}: {error:?}");
            }
        }
    }

    #[test]
    fn parentheses_do_not_exhaust_the_stack() {
        let deep = format!("foo; {}os_name == 'nt'{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(matches!(requirement(&deep), Err(RequirementError::Syntax(_))));
        assert!(requirement("foo; ((os_name == 'nt') and ((sys_platform == 'win32')))").is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = requirement(&text);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_requirement(
            text in "[a-z.é-]{0,4}(\\[[a-z,é.]{0,4}\\]?)?[<>=~!@ ]{0,3}[0-9.*é+a-]{0,7}"
        ) {
            let _ = requirement(&text);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_marker(
            text in "a ?; ?(\\(?(extra|os_name|python_version|python_full_version|sys_platform|'[0-9.*a-z+-]{0,6}')? ?(in|not in|[<>=~!]{0,3}) ?(os_name|python_version|extra|'[0-9.*a-z+ -]{0,9}')?\\)? ?(and|or|) ){0,3}"
        ) {
            let target = requirement(&text).map(|parsed| (parsed.to_string(), parsed.marker.to_dnf()));
            drop(target);
        }
    }
}
