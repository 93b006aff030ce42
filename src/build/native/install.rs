//! Which files a package puts into a prefix: its members, renamed where `noarch: python` says so, and what is made for
//! it (commands, byte code, its record in `conda-meta`). Decided from `info/` alone, before any content is read.

use std::collections::{BTreeMap, BTreeSet};

use rattler_conda_types::package::PathType;

use super::archive::Archive;
use super::effects::Effect;
use super::error::Error;
use super::package::Info;
use super::paths::{PathFault, PrefixPath};
use super::python::Python;

/// A file that a package puts into a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The member `Info::paths[.0]`, or of a wheel its file of that number.
    Member(usize),
    /// The command of the entry point of that number.
    EntryPoint(usize),
    /// Byte code of the module at this path of the prefix.
    ByteCode(PrefixPath),
    /// The record in `conda-meta`, of a wheel its `RECORD`.
    Record,
    /// What a link script would have written.
    Effect(Effect),
    /// A file of a wheel's `*.dist-info` that installers add.
    Note(&'static str),
}

/// The files of one package, by their paths in the prefix.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Every file and link. Directories are in [`directories`](Self::directories).
    pub files: BTreeMap<PrefixPath, Origin>,
    /// Directories that are listed for themselves.
    pub directories: BTreeSet<PrefixPath>,
    /// Path in the prefix of the package's record.
    pub record: PrefixPath,
}

impl Installed {
    /// What the package `info` of `archive` puts into a prefix with this `python`.
    ///
    /// # Errors
    /// [`Error::NoPython`] for a `noarch: python` package without one; [`Error::Path`] when two members end up in one
    /// place.
    pub fn of(info: &Info, archive: &Archive, python: Option<&Python>, prefix: &str) -> Result<Self, Error> {
        let is_noarch_python = info.index.noarch.is_python();
        if is_noarch_python && python.is_none() {
            return Err(Error::NoPython { package: archive.name.clone(), prefix: prefix.to_owned() });
        }
        let mapping = python.filter(|_| is_noarch_python);
        let record = record_path(info, archive)?;
        let mut installed = Self { files: BTreeMap::new(), directories: BTreeSet::new(), record };
        for (index, listed) in info.paths.iter().enumerate() {
            let path = mapping.map_or_else(|| listed.path.clone(), |python| python.place(&listed.path));
            if is_record(&path) && path != installed.record {
                return Err(archive.fault(listed.path.as_str().as_bytes(), PathFault::Record));
            }
            if listed.entry.path_type == PathType::Directory {
                installed.directories.insert(path);
            } else if installed.files.insert(path, Origin::Member(index)).is_some() {
                return Err(archive.fault(listed.path.as_str().as_bytes(), PathFault::Twice));
            }
        }
        installed.add_commands(info, mapping);
        if let Some(python) = python {
            installed.add_byte_code(info, python);
        }
        // Whatever a package brings in this place would be a forgery.
        installed.files.insert(installed.record.clone(), Origin::Record);
        Ok(installed)
    }

    /// conda writes commands after it has linked the members, and over them.
    fn add_commands(&mut self, info: &Info, mapping: Option<&Python>) {
        for (index, entry_point) in info.entry_points.iter().enumerate().filter(|_| mapping.is_some()) {
            self.files.insert(PrefixPath::join("bin", &entry_point.command), Origin::EntryPoint(index));
        }
    }

    /// Byte code for modules that come without, and for those with a placeholder: theirs is of another source.
    fn add_byte_code(&mut self, info: &Info, python: &Python) {
        let is_changed = |origin: &Origin| match origin {
            Origin::Member(index) => info.paths[*index].entry.prefix_placeholder.is_some(),
            _ => false,
        };
        let is_file = |origin: &Origin| match origin {
            Origin::Member(index) => info.paths[*index].entry.path_type == PathType::HardLink,
            _ => false,
        };
        let missing: Vec<_> = self
            .files
            .iter()
            .filter(|(_, origin)| is_file(origin))
            .filter_map(|(source, origin)| {
                let code = python.byte_code(source)?;
                (is_changed(origin) || !self.files.contains_key(&code)).then(|| (code, source.clone()))
            })
            .collect();
        self.files.extend(missing.into_iter().map(|(code, source)| (code, Origin::ByteCode(source))));
    }

    /// Adds what is made for link scripts; where the package has the file, it stays.
    pub fn add_effects(&mut self, effects: &[Effect]) {
        for effect in effects {
            let path = PrefixPath::parse(effect.path().as_bytes()).expect("it is written here");
            self.files.entry(path).or_insert(Origin::Effect(*effect));
        }
    }

    /// The places of what comes out of the archive.
    pub fn members(&self) -> impl Iterator<Item = &PrefixPath> {
        self.files.iter().filter(|(_, origin)| matches!(origin, Origin::Member(_))).map(|(path, _)| path)
    }

    /// Takes out what other packages of the environment win, and the byte code of modules that are gone.
    pub fn without(mut self, excluded: &BTreeSet<PrefixPath>) -> Self {
        self.files.retain(|path, origin| match origin {
            Origin::ByteCode(source) => !excluded.contains(path) && !excluded.contains(source),
            _ => !excluded.contains(path),
        });
        self
    }

    /// Every directory that has to be there for the files, and those listed for themselves.
    pub fn all_directories(&self) -> BTreeSet<String> {
        let parents = self.files.keys().chain(&self.directories).flat_map(PrefixPath::ancestors).map(str::to_owned);
        parents.chain(self.directories.iter().map(ToString::to_string)).collect()
    }

    /// How many files are byte code that has to be compiled.
    pub fn modules(&self) -> usize {
        self.files.values().filter(|origin| matches!(origin, Origin::ByteCode(_))).count()
    }
}

/// Whether conda would take `path` for the record of a package.
fn is_record(path: &PrefixPath) -> bool {
    path.below("conda-meta").is_some_and(|file| !file.contains('/') && file.ends_with(".json"))
}

/// `conda-meta/NAME-VERSION-BUILD.json`.
fn record_path(info: &Info, archive: &Archive) -> Result<PrefixPath, Error> {
    let index = &info.index;
    let name = format!("{}-{}-{}.json", index.name.as_normalized(), index.version, index.build);
    if name.contains('/') {
        return Err(archive.fault(name.as_bytes(), PathFault::Odd));
    }
    PrefixPath::parse(format!("conda-meta/{name}").as_bytes()).map_err(|fault| archive.fault(name.as_bytes(), fault))
}
