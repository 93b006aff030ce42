//! What packages say of other packages: `libc6 (>= 2.34), default-mta | mail-transport-agent` (Debian policy 7.1).

use std::cmp::Ordering;
use std::fmt;

use super::version::Version;

/// How a version must be related to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// A package's name, and which versions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The name.
    pub name: String,
    /// Behind a colon: `any`, or an architecture.
    pub architecture: Option<String>,
    /// Which versions; `None` for all.
    pub version: Option<(Operator, Version)>,
}

/// A name that a package provides besides its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The name.
    pub name: String,
    /// The version it stands for; without one it satisfies no relation with a version.
    pub version: Option<Version>,
}

impl Operator {
    /// Whether `found` is so related to `wanted`.
    pub fn holds(self, found: &Version, wanted: &Version) -> bool {
        let order = found.cmp(wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }

    const fn sign(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }

    fn split(text: &str) -> Option<(Self, &str)> {
        // `<` and `>` alone are obsolete, and mean what they hardly say.
        let signs = [
            ("<<", Self::Earlier),
            ("<=", Self::EarlierOrEqual),
            (">=", Self::LaterOrEqual),
            (">>", Self::Later),
            ("=", Self::Equal),
            ("<", Self::EarlierOrEqual),
            (">", Self::LaterOrEqual),
        ];
        signs.iter().find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?.trim())))
    }
}

impl Relation {
    /// Any version of `name`.
    pub fn any(name: &str) -> Self {
        Self { name: name.to_owned(), architecture: None, version: None }
    }

    /// Reads one relation; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        // Restrictions to architectures and build profiles stand in source packages only.
        let text = text.split(['[', '<']).next().filter(|_| !text.contains('(')).unwrap_or(text).trim();
        let (name, version) = match text.split_once('(') {
            Some((name, rest)) => {
                let (operator, version) = Operator::split(rest.split_once(')')?.0.trim())?;
                (name.trim(), Some((operator, version.parse().ok()?)))
            }
            None => (text, None),
        };
        let (name, architecture) = name.split_once(':').map_or((name, None), |(name, arch)| (name, Some(arch)));
        let architecture = architecture.map(str::to_owned);
        is_name(name).then(|| Self { name: name.to_owned(), architecture, version })
    }

    /// Whether a package of this version has one of the wanted ones.
    pub fn allows(&self, version: &Version) -> bool {
        self.version.as_ref().is_none_or(|(operator, wanted)| operator.holds(version, wanted))
    }

    /// Whether a package of `architecture` can satisfy it.
    pub fn is_for(&self, architecture: &str) -> bool {
        self.architecture.as_deref().is_none_or(|wanted| ["any", "native", architecture].contains(&wanted))
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(architecture) = &self.architecture {
            write!(f, ":{architecture}")?;
        }
        match &self.version {
            Some((operator, version)) => write!(f, " ({} {version})", operator.sign()),
            None => Ok(()),
        }
    }
}

/// Reads `a | b, c`: all of the groups are wanted, of each group one.
///
/// # Errors
/// What is no relation.
pub fn groups(text: &str) -> Result<Vec<Vec<Relation>>, String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let group = |item: &str| {
        let alternatives = item.split('|').map(|one| Relation::parse(one).ok_or_else(|| one.trim().to_owned()));
        alternatives.collect::<Result<Vec<_>, _>>()
    };
    items.map(group).collect()
}

/// Reads what a package conflicts with, breaks or replaces.
///
/// # Errors
/// What is no relation.
pub fn list(text: &str) -> Result<Vec<Relation>, String> {
    Ok(groups(text)?.into_iter().flatten().collect())
}

/// Reads what a package provides.
///
/// # Errors
/// What is no relation.
pub fn provided(text: &str) -> Result<Vec<Provided>, String> {
    let provided = |relation: Relation| Provided {
        name: relation.name,
        version: relation.version.filter(|(operator, _)| *operator == Operator::Equal).map(|(_, version)| version),
    };
    Ok(list(text)?.into_iter().map(provided).collect())
}

/// Whether `text` can be a package's name (Debian policy 5.6.1). Real ones are a character longer, virtual ones not all.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 200
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_read_and_written() {
        let text = "libc6 (>= 2.34), default-mta | mail-transport-agent,python3:any(<<3.12) , a (= 1:1-1)";
        let shown: Vec<Vec<String>> =
            groups(text).unwrap().iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
        let expected: [&[&str]; 4] = [
            &["libc6 (>= 2.34)"],
            &["default-mta", "mail-transport-agent"],
            &["python3:any (<< 3.12)"],
            &["a (= 1:1-1)"],
        ];
        assert_eq!(shown, expected);
        for wrong in ["a (>= )", "a (~ 1)", "a (>= 1", "-a", "a b", "../x"] {
            assert!(groups(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_an_equal_version_is_provided() {
        let all = provided("a, b (= 2), c (>= 3)").unwrap();
        let shown: Vec<_> = all.iter().map(|one| one.version.as_ref().map(Version::as_str)).collect();
        assert_eq!(shown, [None, Some("2"), None]);
    }

    #[test]
    fn versions_are_compared_as_the_sign_says() {
        for (sign, found) in [("<<", "1"), ("<=", "2"), ("=", "2"), (">=", "2"), (">>", "3")] {
            let relation = Relation::parse(&format!("a ({sign} 2)")).unwrap();
            assert!(relation.allows(&found.parse().unwrap()), "{relation}");
            let not = if sign.contains('>') { "1" } else { "3" };
            assert!(!relation.allows(&not.parse().unwrap()), "{relation}");
        }
    }
}
