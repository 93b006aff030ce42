//! Which changes of locks a project wants to see a person agree to: `deny:` and `allow:` of `esker.yml`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A kind of change from one lock to another, what is most worth a look first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// A lower version.
    Downgrade,
    /// Not locked any more.
    Removal,
    /// The same version and build, from elsewhere or with other bytes.
    Source,
    /// Newly locked.
    Addition,
    /// A higher version.
    Upgrade,
    /// The same version, built anew.
    Rebuild,
}

/// The changes that a project refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Kinds of changes.
    pub kinds: Vec<ChangeKind>,
    /// Packages to which any of these may happen.
    pub allow: Vec<String>,
}

impl ChangeKind {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Downgrade, Self::Removal, Self::Source, Self::Addition, Self::Upgrade, Self::Rebuild];

    /// Its name in `--deny`, in `deny:` and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Downgrade => "downgrade",
            Self::Removal => "removal",
            Self::Source => "source",
            Self::Addition => "addition",
            Self::Upgrade => "upgrade",
            Self::Rebuild => "rebuild",
        }
    }

    /// What happened to the package, as `3 downgraded` has it.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Downgrade => "downgraded",
            Self::Removal => "removed",
            Self::Source => "from another source",
            Self::Addition => "added",
            Self::Upgrade => "upgraded",
            Self::Rebuild => "rebuilt",
        }
    }
}

impl Denied {
    /// Whether `kind` of change of `package` is refused.
    pub fn refuses(&self, kind: ChangeKind, package: &str) -> bool {
        self.kinds.contains(&kind) && !self.allow.iter().any(|allowed| allowed == package)
    }
}

impl FromStr for ChangeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join("`, `");
            format!("expected one of `{names}`")
        })
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ChangeKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_packages_are_not_refused() {
        let denied = Denied { kinds: vec![ChangeKind::Downgrade], allow: vec!["gcsfs".into()] };
        assert!(denied.refuses(ChangeKind::Downgrade, "s3fs"));
        assert!(!denied.refuses(ChangeKind::Downgrade, "gcsfs"));
        assert!(!denied.refuses(ChangeKind::Removal, "s3fs"));
    }

    #[test]
    fn every_kind_is_written_as_it_is_read() {
        for kind in ChangeKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("down".parse::<ChangeKind>().unwrap_err().contains("`downgrade`"));
    }
}
