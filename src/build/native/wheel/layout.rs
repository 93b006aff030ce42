//! Where the files of a wheel go in a prefix (PEP 427, "Spread").

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, Wheel};
use crate::build::native::asked::Asked;
use crate::build::native::error::Error;
use crate::build::native::install::{Installed, Origin};
use crate::build::native::paths::{PathFault, PrefixPath};
use crate::build::native::python::Python;

/// What installers write into `*.dist-info`: a wheel's own would be somebody else's.
const INSTALLERS: [&str; 4] = ["INSTALLER", "REQUESTED", "RECORD", "direct_url.json"];

impl Wheel {
    /// What the wheel puts into a prefix with this `python`, by path; why it was `asked` for is noted beside.
    ///
    /// # Errors
    /// [`Error::NoPython`] without one; [`Error::Path`] when two files end up in one place, or in none.
    pub fn installed(&self, asked: Asked, python: Option<&Python>, prefix: &str) -> Result<Installed, Error> {
        let no_python = || Error::NoPython { package: self.name.clone(), prefix: prefix.to_owned() };
        let python = python.ok_or_else(no_python)?;
        let mut files = BTreeMap::new();
        for (index, member) in self.members.iter().enumerate().filter(|(_, member)| self.is_installed(member)) {
            let fault = |fault| self.fault(member.path.as_str().as_bytes(), fault);
            let place = self.place(member, python).map_err(fault)?;
            if files.insert(place, Origin::Member(index)).is_some() {
                return Err(fault(PathFault::Twice));
            }
        }
        for (index, entry_point) in self.entry_points.iter().enumerate() {
            // Old wheels bring the script that would be made.
            files.insert(PrefixPath::join("bin", &entry_point.command), Origin::EntryPoint(index));
        }
        let code: Vec<_> = files
            .iter()
            .filter(|(_, origin)| matches!(origin, Origin::Member(_)))
            .filter_map(|(source, _)| Some((python.byte_code(source)?, Origin::ByteCode(source.clone()))))
            .collect();
        // What byte code a wheel brings is of a source with another time.
        files.extend(code);
        let dist_info = PrefixPath::join(python.site_packages(), &self.dist_info);
        for note in asked.notes() {
            files.insert(PrefixPath::join(dist_info.as_str(), note), Origin::Note(note));
        }
        let record = PrefixPath::join(dist_info.as_str(), "RECORD");
        files.insert(record.clone(), Origin::Record);
        Ok(Installed { files, directories: BTreeSet::new(), record })
    }

    /// Whether `member` goes to where scripts go.
    pub(super) fn is_script(&self, member: &Member) -> bool {
        scheme(&member.path).is_some_and(|(key, _)| key == "scripts")
    }

    fn is_installed(&self, member: &Member) -> bool {
        let note = member.path.below(&self.dist_info).is_some_and(|file| INSTALLERS.contains(&file));
        !note && !self.is_unlisted(&member.path)
    }

    fn place(&self, member: &Member, python: &Python) -> Result<PrefixPath, PathFault> {
        let site_packages = python.site_packages();
        let Some((key, rest)) = scheme(&member.path) else {
            return Ok(PrefixPath::join(site_packages, member.path.as_str()));
        };
        let path = match key {
            _ if rest.is_empty() => return Err(PathFault::UnknownScheme),
            "purelib" | "platlib" => PrefixPath::join(site_packages, rest),
            "scripts" => PrefixPath::join("bin", rest),
            "headers" => PrefixPath::join(&format!("{}/{}", python.headers(), self.distribution), rest),
            "data" => PrefixPath::parse(rest.as_bytes())?,
            _ => return Err(PathFault::UnknownScheme),
        };
        // conda's records are conda's; and what two paths make together may be too long.
        match path.below("conda-meta") {
            Some(_) => Err(PathFault::Record),
            None => PrefixPath::parse(path.as_str().as_bytes()),
        }
    }

    /// The digest of what would be at a place, where it is known without reading: what `RECORD` says of an unchanged file.
    pub fn digest_of(&self, origin: &Origin) -> Option<crate::oci::Digest> {
        let Origin::Member(index) = origin else { return None };
        let member = &self.members[*index];
        member.listed.as_ref().filter(|_| !self.is_script(member))?.sha256()
    }
}

/// For a path `NAME.data/KEY/REST`, the key and the rest.
fn scheme(path: &PrefixPath) -> Option<(&str, &str)> {
    let (directory, inside) = path.as_str().split_once('/')?;
    if !directory.ends_with(".data") {
        return None;
    }
    Some(inside.split_once('/').unwrap_or((inside, "")))
}
