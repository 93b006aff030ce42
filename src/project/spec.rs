//! Reads conda package specifications, and refuses early what a solver would misread.
//!
//! rattler's strict parser refuses what environments really hold (`python 3.12`, `jaxlib>=0.4.31=cuda12*`), its lenient
//! one takes `numpy >=1.2;` as a request for the build `;`. So: lenient, and then the parts are looked at.

use rattler_conda_types::{MatchSpec, PackageName, ParseMatchSpecError, ParseMatchSpecOptions, StringMatcher};

/// Why a text is not a package specification.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// rattler's parser refuses it.
    #[error("{0}")]
    Syntax(#[source] ParseMatchSpecError),
    /// The name is a pattern.
    #[error("a package must be named; patterns (`*`, `^…$`) are not supported in names")]
    Pattern,
    /// What stands where the build string does cannot be one.
    #[error(
        "`{0}` is read as a build string, which has only letters, digits, `_`, `.`, `+` and `*`; write \
         `name>=version` or `name=version=build`"
    )]
    Build(String),
    /// `name[...]=...#...` and the like.
    #[error("`#` begins a comment only behind a space")]
    Comment,
    /// A package file by path.
    #[error("a path is not the same on another machine; use a `https://` or `file://` URL, or a channel")]
    Path,
    /// Requirements in pip's language.
    #[error("`{0}` belongs to pip's requirements; put this line below `- pip:`")]
    Pip(char),
}

/// Reads one conda dependency, as `environment.yml` and every stage after it do.
///
/// # Errors
/// A text that is no specification of one package by name or URL.
pub fn match_spec(text: &str) -> Result<MatchSpec, SpecError> {
    let is_url = text.contains("://") && !text.contains("::");
    if text.starts_with(['.', '/', '~']) || text.contains('\\') {
        return Err(SpecError::Path);
    }
    if !is_url && text.contains('#') && !text.contains('[') {
        return Err(SpecError::Comment);
    }
    if let Some(sign) = ['@', ';'].into_iter().find(|sign| !is_url && !text.contains('[') && text.contains(*sign)) {
        return Err(SpecError::Pip(sign));
    }
    let options = ParseMatchSpecOptions::lenient().with_exact_names_only(true);
    let spec = MatchSpec::from_str(text, options).map_err(syntax)?;
    if spec.name.as_exact().is_none() {
        return Err(SpecError::Pattern);
    }
    match &spec.build {
        Some(build) if !is_build(build) => Err(SpecError::Build(build.to_string())),
        _ => Ok(spec),
    }
}

/// The name of the package that `spec` asks for.
pub(super) fn name_of(spec: &MatchSpec) -> Option<&PackageName> {
    spec.name.as_exact()
}

fn syntax(error: ParseMatchSpecError) -> SpecError {
    match error {
        ParseMatchSpecError::OnlyExactPackageNameMatchersAllowedGlob(_)
        | ParseMatchSpecError::OnlyExactPackageNameMatchersAllowedRegex(_) => SpecError::Pattern,
        error => SpecError::Syntax(error),
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
            ("pangeo-notebook=2025.07.15", "pangeo-notebook", "2025.07.15.*", ""),
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
        for text in [
            "",
            "numpy >=1.2;",
            "foo=1=2=3",
            "foo=1=a-b",
            "foo 1.0 build more",
            "num*",
            "^num.*$",
            "*",
            "foo[bar=1]",
            "foo>=",
            "foo>=1,",
            "requests[socks]",
            "foo==1.0#x",
            "./a-1.0-0.conda",
            "/tmp/a-1.0-0.conda",
            "foo @ https://x/y.whl",
            "foo; python_version<'3'",
            "foo bar baz",
            "fö",
            "foo>=1>=2=",
            "=1.0",
            "https://host/not-a-package",
            "foo>=1.0 <2.0",
        ] {
            assert!(match_spec(text).is_err(), "{text}: {:?}", match_spec(text));
        }
    }
}
