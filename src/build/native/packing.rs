//! Goes through a package's members and writes those that are installed.

use std::collections::{BTreeSet, HashMap};
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use rattler::install::link::copy_and_replace_placeholders;
use rattler_conda_types::Subdir;
use rattler_conda_types::package::{PathType, PrefixPlaceholder};
use rattler_conda_types::prefix_record;
use tempfile::SpooledTempFile;

use super::archive::{Archive, Member, Section, What};
use super::entries::{Meta, PartWriter, Provenance};
use super::error::Error;
use super::fragment::{Fragment, Workshop};
use super::install::{Installed, Origin};
use super::package::{Info, ListedPath, read_all};
use super::paths::{PathFault, PrefixPath, link_target};
use super::pyc::MAX_SOURCE;
use super::record;
use super::siblings::Siblings;
use crate::oci::Digest;
use crate::oci::digest::HashingWriter;
use crate::oci::tar::Kind;

/// A patched file larger than this, in bytes, goes to disk while its entry waits for it.
const SPOOL: usize = 8 << 20;
/// Files smaller than this, in bytes, are held in memory without asking.
const SMALL: u64 = 1 << 20;

/// One package being packed.
pub struct Packing<'a, W> {
    fragment: &'a Fragment,
    archive: &'a Archive,
    info: &'a Info,
    installed: &'a Installed,
    workshop: &'a Workshop,
    siblings: &'a Siblings<'a>,
    out: PartWriter<W>,
    /// Members to install: their path in the package, to their place in the prefix.
    places: HashMap<&'a str, (&'a ListedPath, &'a PrefixPath)>,
    /// Byte code to compile, by the path of its source in the prefix.
    byte_code: HashMap<&'a PrefixPath, &'a PrefixPath>,
    placeholders: BTreeSet<&'a str>,
    /// Members that have been written, by their path in the package.
    done: HashMap<PrefixPath, Done>,
    uncompiled: u64,
}

/// What became of a member.
enum Done {
    /// A file was written for it.
    File(Provenance),
    /// Something else was.
    Other,
}

impl<'a, W: Write> Packing<'a, W> {
    /// Prepares to write `installed` to `out`.
    pub fn new(
        fragment: &'a Fragment,
        archive: &'a Archive,
        info: &'a Info,
        installed: &'a Installed,
        (workshop, siblings): (&'a Workshop, &'a Siblings<'a>),
        out: PartWriter<W>,
    ) -> Self {
        let mut places = HashMap::new();
        let mut byte_code = HashMap::new();
        for (place, origin) in &installed.files {
            match origin {
                Origin::Member(index) => {
                    let listed = &info.paths[*index];
                    places.insert(listed.path.as_str(), (listed, place));
                }
                Origin::ByteCode(source) => drop(byte_code.insert(source, place)),
                Origin::EntryPoint(_) | Origin::Record | Origin::Note(_) | Origin::Effect(_) => {}
            }
        }
        let placeholders = info.paths.iter().filter_map(|p| placeholder(p)).map(|p| p.placeholder.as_str()).collect();
        let done = HashMap::new();
        Self {
            fragment,
            archive,
            info,
            installed,
            workshop,
            siblings,
            out,
            places,
            byte_code,
            placeholders,
            done,
            uncompiled: 0,
        }
    }

    /// Writes everything; returns the sink and how many modules did not compile.
    ///
    /// # Errors
    /// See [`Fragment::make`].
    pub fn pack(mut self) -> Result<(W, u64), Error> {
        let archive = self.archive;
        archive.walk(Section::Content, &mut |member| self.member(member))?;
        if let Some(missing) = self.places.keys().find(|path| !self.done.contains_key(**path)) {
            return Err(Error::Missing { package: archive.name.clone(), path: (*missing).to_owned() });
        }
        for directory in &self.installed.directories {
            self.out.record(directory, prefix_record::PathType::Directory);
        }
        self.commands()?;
        self.effects()?;
        let paths = std::mem::take(&mut self.out.recorded);
        let record = record::record(&self.fragment.package, archive, self.info, paths)?;
        self.out.generated(&self.installed.record, false, &record, None)?;
        Ok((self.out.into_sink(), self.uncompiled))
    }

    fn member(&mut self, member: Member<'_>) -> Result<(), Error> {
        self.workshop.cancel.check()?;
        let Some(&(listed, place)) = self.places.get(member.path.as_str()) else { return Ok(()) };
        if self.done.contains_key(&member.path) {
            return Err(self.fault(&member.path, PathFault::Twice));
        }
        let meta = Meta { executable: member.executable, mtime: member.mtime };
        let done = match member.what {
            What::File(size, data) => Done::File(self.file(listed, place, meta, size, data)?),
            What::Symlink(target) if listed.entry.path_type == PathType::SoftLink => {
                self.symlink(listed, place, meta, &target)?
            }
            What::Hardlink(target) => self.hardlink(listed, place, meta, &target)?,
            // The plan took it for a file; were it a link, others might be written through it.
            What::Symlink(_) | What::Directory => return Err(self.fault(&member.path, PathFault::OtherType)),
        };
        self.done.insert(member.path, done);
        Ok(())
    }

    fn file(
        &mut self,
        listed: &ListedPath,
        place: &PrefixPath,
        meta: Meta,
        size: u64,
        data: &mut dyn Read,
    ) -> Result<Provenance, Error> {
        let code = self.byte_code.get(place).copied().filter(|_| size <= MAX_SOURCE);
        let provenance = if let Some(placeholder) = placeholder(listed) {
            self.patched(listed, place, meta, placeholder, code, (size, data))?
        } else if let Some(code) = code {
            let source = read_all(self.archive, &listed.path, size, data)?;
            let digest = self.check(listed, Digest::of(&source), size)?;
            self.out.write(place, meta, size, source.as_slice())?;
            self.compile(place, code, (&source, digest))?;
            Provenance { original: digest, written: digest, size, placeholder: None }
        } else {
            let digest = self.out.stream(place, meta, size, data, &|error| self.archive.damaged(error))?;
            let digest = self.check(listed, digest, size)?;
            Provenance { original: digest, written: digest, size, placeholder: None }
        };
        self.out.record_file(place, &provenance);
        Ok(provenance)
    }

    fn patched(
        &mut self,
        listed: &ListedPath,
        place: &PrefixPath,
        meta: Meta,
        placeholder: &PrefixPlaceholder,
        code: Option<&PrefixPath>,
        (size, data): (u64, &mut dyn Read),
    ) -> Result<Provenance, Error> {
        let workshop = self.workshop;
        let _share = (size > SMALL).then(|| workshop.budget.take(size + SPOOL as u64));
        let content = read_all(self.archive, &listed.path, size, data)?;
        let original = self.check(listed, Digest::of(&content), size)?;
        let mut sink = HashingWriter::new(SpooledTempFile::new_in(SPOOL, workshop.store.scratch()));
        let target = &self.fragment.environment.prefix;
        copy_and_replace_placeholders(
            &content,
            &mut sink,
            &placeholder.placeholder,
            target,
            // Tells Unix from Windows only: the rules are the same on every Linux.
            &Subdir::Linux64,
            placeholder.file_mode,
        )
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::InvalidData => Error::Placeholder {
                package: self.archive.name.clone(),
                path: listed.path.to_string(),
                prefix: target.clone(),
                source,
            },
            _ => Error::write(workshop.store.scratch())(source),
        })?;
        drop(content);
        let (mut patched, written, patched_size) = sink.finish();
        patched.seek(SeekFrom::Start(0)).map_err(Error::read(workshop.store.scratch()))?;
        if let Some(code) = code {
            let mut source = Vec::new();
            patched.read_to_end(&mut source).map_err(Error::read(workshop.store.scratch()))?;
            self.out.write(place, meta, patched_size, Cursor::new(&source))?;
            self.compile(place, code, (&source, written))?;
        } else {
            self.out.write(place, meta, patched_size, patched)?;
        }
        let placeholder = Some((placeholder.file_mode, placeholder.placeholder.clone()));
        Ok(Provenance { original, written, size, placeholder })
    }

    fn compile(&mut self, place: &PrefixPath, code: &PrefixPath, source: (&[u8], Digest)) -> Result<(), Error> {
        let name = format!("/{}", self.out.in_image(place));
        match self.siblings.compile(self.fragment.compiler(self.workshop), name, source)? {
            Some(bytes) => self.out.generated(code, false, &bytes, Some(prefix_record::PathType::PycFile)),
            None => {
                self.uncompiled += 1;
                Ok(())
            }
        }
    }

    fn symlink(&mut self, listed: &ListedPath, place: &PrefixPath, meta: Meta, target: &[u8]) -> Result<Done, Error> {
        let prefix = &self.fragment.environment.prefix;
        let target = link_target(place, target, prefix, self.placeholders.iter().copied())
            .map_err(|fault| self.fault(&listed.path, fault))?;
        self.out.link(place, Kind::Symlink(target), meta)?;
        self.out.record(place, prefix_record::PathType::SoftLink);
        Ok(Done::Other)
    }

    /// A hard link stays one if its target is a file of the same part with the same content; else it becomes a file.
    fn hardlink(
        &mut self,
        listed: &ListedPath,
        place: &PrefixPath,
        meta: Meta,
        target: &PrefixPath,
    ) -> Result<Done, Error> {
        if let (Some(Done::File(from)), Some((other, other_place))) =
            (self.done.get(target), self.places.get(target.as_str()))
            && placeholder(other) == placeholder(listed)
            && !self.byte_code.contains_key(place)
        {
            let from = from.clone();
            self.check(listed, from.original, from.size)?;
            let kind = Kind::Hardlink(self.out.in_image(other_place));
            self.out.link(place, kind, meta)?;
            self.out.record_file(place, &from);
            return Ok(Done::File(from));
        }
        self.copy_of(listed, place, meta, target)
    }

    /// Reads the package once more for the member `target`, which came before and was not kept.
    fn copy_of(
        &mut self,
        listed: &ListedPath,
        place: &PrefixPath,
        meta: Meta,
        target: &PrefixPath,
    ) -> Result<Done, Error> {
        let archive = self.archive;
        let mut done = None;
        archive.walk(Section::Content, &mut |member| {
            if done.is_some() || member.path != *target {
                return Ok(());
            }
            match member.what {
                What::File(size, data) => {
                    done = Some(Done::File(self.file(listed, place, meta, size, data)?));
                }
                What::Symlink(target) if listed.entry.path_type == PathType::SoftLink => {
                    done = Some(self.symlink(listed, place, meta, &target)?);
                }
                _ => {}
            }
            Ok(())
        })?;
        done.ok_or_else(|| self.fault(&listed.path, PathFault::DanglingHardLink(target.to_string())))
    }

    fn commands(&mut self) -> Result<(), Error> {
        let Some(python) = &self.fragment.environment.python else { return Ok(()) };
        for (place, origin) in &self.installed.files {
            if let Origin::EntryPoint(index) = origin {
                let script = python.script(&self.fragment.environment.prefix, &self.info.entry_points[*index]);
                let kind = Some(prefix_record::PathType::UnixPythonEntryPoint);
                self.out.generated(place, true, script.as_bytes(), kind)?;
            }
        }
        Ok(())
    }

    /// As conda's, the record does not list what scripts made.
    fn effects(&mut self) -> Result<(), Error> {
        for (place, origin) in &self.installed.files {
            if let Origin::Effect(effect) = origin {
                self.out.generated(place, false, effect.content().as_bytes(), None)?;
            }
        }
        Ok(())
    }

    /// Compares a member with what is listed of it.
    fn check(&self, listed: &ListedPath, found: Digest, size: u64) -> Result<Digest, Error> {
        let other_size = listed.entry.size_in_bytes.is_some_and(|expected| expected != size);
        let other_hash = listed.entry.sha256.is_some_and(|expected| hex::encode(expected) != found.hex());
        // Of a link, the size and hash listed are those of what it leads to.
        if listed.entry.path_type == PathType::HardLink && (other_size || other_hash) {
            return Err(Error::Content { package: self.archive.name.clone(), path: listed.path.to_string() });
        }
        Ok(found)
    }

    fn fault(&self, path: &PrefixPath, fault: PathFault) -> Error {
        self.archive.fault(path.as_str().as_bytes(), fault)
    }
}

/// The placeholder of a path; an empty one is none.
fn placeholder(listed: &ListedPath) -> Option<&PrefixPlaceholder> {
    listed.entry.prefix_placeholder.as_ref().filter(|placeholder| !placeholder.placeholder.is_empty())
}
