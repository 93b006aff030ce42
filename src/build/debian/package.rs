//! A package that is being installed: what its control files say, and which paths are its.

use std::collections::{BTreeMap, BTreeSet};

use crate::apt::control::Paragraph;
use crate::apt::relation::{self, Relation};
use crate::apt::version::Version;

use super::deb::Deb;
use super::error::Error;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its archive.
    pub deb: Deb,
    /// Control files by name.
    pub control: BTreeMap<String, Vec<u8>>,
    /// The files that its administrator may edit, as it lists them, with a `/` in front.
    pub conffiles: BTreeSet<String>,
    /// What it may take files from.
    pub replaces: Vec<Relation>,
    /// Its paths as dpkg lists them, with a `/` in front, in the archive's order.
    pub list: Vec<String>,
    /// MD5 of each of its conffiles.
    pub conffile_hashes: BTreeMap<String, String>,
    /// What can be several times on a system, once for each architecture.
    pub same: bool,
}

impl Package {
    /// Reads the control files of `deb`.
    ///
    /// # Errors
    /// When it is damaged, or says that it is another package than the lock says.
    pub fn read(deb: Deb) -> Result<Self, Error> {
        let control = deb.control()?;
        let text = String::from_utf8_lossy(control.get("control").map_or(&[][..], Vec::as_slice)).into_owned();
        let paragraph = Paragraph::parse(&text);
        let field = |name: &str| paragraph.get(name).unwrap_or_default();
        let found = (field("Package"), field("Version"), field("Architecture"));
        if found != (&*deb.locked.name, &*deb.locked.version, &*deb.locked.architecture) {
            let found = format!("{} {} {}", found.0, found.1, found.2);
            return Err(Error::OtherPackage { package: deb.locked.label(), found });
        }
        // What cannot be read replaces nothing: then a file of another package is refused by name.
        let replaces = relation::list(field("Replaces")).unwrap_or_default();
        let same = field("Multi-Arch") == "same";
        let conffiles = String::from_utf8_lossy(control.get("conffiles").map_or(&[][..], Vec::as_slice)).into_owned();
        let is_path = |line: &&str| line.starts_with('/');
        let conffiles = conffiles.lines().map(str::trim).filter(is_path).map(str::to_owned).collect();
        Ok(Self { deb, control, conffiles, replaces, list: vec![], conffile_hashes: BTreeMap::new(), same })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.deb.locked.name
    }

    /// Whether it may take files from the package `name` of this version.
    pub fn replaces(&self, name: &str, version: Option<&Version>) -> bool {
        let allows =
            |relation: &Relation| version.map_or(relation.version.is_none(), |version| relation.allows(version));
        self.replaces.iter().any(|relation| relation.name == name && allows(relation))
    }

    /// What the names of its files in dpkg's database begin with.
    pub fn info_name(&self) -> String {
        let locked = &self.deb.locked;
        if self.same { format!("{}:{}", locked.name, locked.architecture) } else { locked.name.clone() }
    }

    /// One of its control files as text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.control.get(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}
