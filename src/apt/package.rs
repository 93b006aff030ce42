//! One version of a Debian package: what it is, what it wants of others, where it can be had.

use url::Url;

use super::control::Paragraph;
use super::relation::{self, Provided, Relation};
use super::version::Version;

/// One version of a package for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// `amd64`, `arm64` …, or `all`.
    pub architecture: String,
    /// What it needs: of each group one.
    pub depends: Vec<Vec<Relation>>,
    /// What must not be there with it: conflicts and breaks.
    pub conflicts: Vec<Relation>,
    /// Other names it goes by.
    pub provides: Vec<Provided>,
    /// Where its archive is; `None` of a package that is installed.
    pub file: Option<PackageFile>,
}

/// A `.deb` in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageFile {
    /// Its canonical URL.
    pub url: Url,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
}

impl Package {
    /// Reads a paragraph of a `Packages` file, whose file names are relative to `root`, or of dpkg's status without one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(paragraph: &Paragraph<'_>, root: Option<&Url>) -> Result<Self, String> {
        let field = |name: &str| paragraph.get(name).ok_or_else(|| format!("it has no `{name}`"));
        let name = field("Package")?;
        if !relation::is_name(name) {
            return Err(format!("`{name}` is not the name of a package"));
        }
        let groups = |name: &str| {
            relation::groups(paragraph.get(name).unwrap_or_default())
                .map_err(|bad| format!("`{name}` has `{bad}`, which cannot be understood"))
        };
        let mut depends = groups("Pre-Depends")?;
        depends.extend(groups("Depends")?);
        let conflicts = [groups("Conflicts")?, groups("Breaks")?].concat().into_iter().flatten().collect();
        let provides = relation::provided(paragraph.get("Provides").unwrap_or_default())
            .map_err(|bad| format!("`Provides` has `{bad}`, which cannot be understood"))?;
        Ok(Self {
            name: name.to_owned(),
            version: field("Version")?.parse().map_err(|error: super::version::ParseVersionError| error.to_string())?,
            architecture: field("Architecture")?.to_owned(),
            depends,
            conflicts,
            provides,
            file: root.map(|root| PackageFile::read(paragraph, root)).transpose()?,
        })
    }

    /// Whether it is what `relation` asks for, by its name or one that it provides.
    pub fn satisfies(&self, relation: &Relation) -> bool {
        if self.name == relation.name {
            return relation.allows(&self.version)
                && (self.architecture == "all" || relation.is_for(&self.architecture));
        }
        self.provides.iter().filter(|provided| provided.name == relation.name).any(|provided| match &provided.version {
            Some(version) => relation.allows(version),
            None => relation.version.is_none(),
        })
    }
}

impl PackageFile {
    fn read(paragraph: &Paragraph<'_>, root: &Url) -> Result<Self, String> {
        let field = |name: &str| paragraph.get(name).ok_or_else(|| format!("it has no `{name}`"));
        let path = field("Filename")?;
        let is_plain = path.ends_with(".deb")
            && path.split('/').all(|part| {
                let allowed =
                    |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '~' | '%' | ':');
                !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
            });
        if !is_plain {
            return Err(format!("its file `{path}` is no path of an archive"));
        }
        let sha256 = field("SHA256")?.to_ascii_lowercase();
        if !is_sha256(&sha256) {
            return Err(format!("`{sha256}` is no SHA-256"));
        }
        let size = field("Size")?;
        Ok(Self {
            url: root.join(path).map_err(|error| format!("its file `{path}`: {error}"))?,
            sha256,
            size: size.parse().map_err(|_| format!("its size is `{size}`"))?,
        })
    }
}

/// Whether `text` is a SHA-256 in lower-case hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JQ: &str = "Package: jq\nVersion: 1.6-2.1\nArchitecture: amd64\nDepends: libjq1 (= 1.6-2.1), libc6 (>= 2.34)\n\
        Provides: json-tool (= 3), filter\nBreaks: old (<< 2)\nFilename: pool/main/j/jq/jq_1.6-2.1_amd64.deb\nSize: 7\n\
        SHA256: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";

    fn read(text: &str) -> Result<Package, String> {
        Package::read(&Paragraph::parse(text), Some(&"https://archive.example/debian/".parse().unwrap()))
    }

    #[test]
    fn a_paragraph_is_a_package_and_its_names() {
        let jq = read(JQ).unwrap();
        let file = jq.file.as_ref().unwrap();
        assert_eq!(file.url.as_str(), "https://archive.example/debian/pool/main/j/jq/jq_1.6-2.1_amd64.deb");
        assert_eq!((file.size, jq.depends.len(), jq.conflicts.len()), (7, 2, 1));
        for (relation, expected) in [
            ("jq", true),
            ("jq:any (>= 1.6)", true),
            ("jq:arm64", false),
            ("jq (<< 1.6)", false),
            ("json-tool (>= 2)", true),
            ("json-tool (>= 4)", false),
            ("filter", true),
            ("filter (>= 1)", false),
            ("other", false),
        ] {
            assert_eq!(jq.satisfies(&Relation::parse(relation).unwrap()), expected, "{relation}");
        }
    }

    #[test]
    fn paths_out_of_the_archive_and_missing_fields_are_refused() {
        for (from, to) in [
            ("pool/main", "../pool"),
            ("pool/main", "/pool"),
            ("pool/main", "https://elsewhere.example"),
            ("pool/main", "a?b"),
            ("Size: 7", "Size: -7"),
            ("SHA256: AA", "SHA256: zz"),
            ("Version: 1.6-2.1", "Version: "),
            ("Package: jq", "Package: j/q"),
            ("libc6 (>= 2.34)", "libc6 (>= )"),
        ] {
            assert!(read(&JQ.replacen(from, to, 1)).is_err(), "{to}");
        }
    }
}
