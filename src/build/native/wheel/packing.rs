//! Writes the files of a wheel, and `RECORD` of what was written.

use std::collections::HashMap;
use std::io::{self, BufReader, Cursor, Read, Write};

use fs_err::File;
use zip::ZipArchive;

use super::record::{Hasher, Listed, Written};
use super::{MAX_INFO, Member, Wheel, other_size};
use crate::build::native::asked::Asked;
use crate::build::native::entries::{Meta, PartWriter};
use crate::build::native::error::Error;
use crate::build::native::fragment::{Fragment, Workshop};
use crate::build::native::install::{Installed, Origin};
use crate::build::native::paths::PrefixPath;
use crate::build::native::pyc::MAX_SOURCE;
use crate::build::native::python::Python;
use crate::build::native::siblings::Siblings;
use crate::oci::Digest;

/// How a script begins whose first line names the Python that it is installed for (PEP 427).
const SHEBANG: &[u8] = b"#!python";

/// One wheel being packed.
pub struct WheelPacking<'a, W> {
    fragment: &'a Fragment,
    wheel: &'a Wheel,
    installed: &'a Installed,
    workshop: &'a Workshop,
    siblings: &'a Siblings<'a>,
    python: &'a Python,
    out: PartWriter<W>,
    record: Written,
    /// Byte code to compile, by the path of its source in the prefix.
    byte_code: HashMap<&'a PrefixPath, &'a PrefixPath>,
    uncompiled: u64,
}

impl<'a, W: Write> WheelPacking<'a, W> {
    /// Prepares to write `installed` of `wheel`, for `python`, to `out`.
    pub fn new(
        fragment: &'a Fragment,
        wheel: &'a Wheel,
        installed: &'a Installed,
        python: &'a Python,
        (workshop, siblings): (&'a Workshop, &'a Siblings<'a>),
        out: PartWriter<W>,
    ) -> Self {
        let code = installed.files.iter().filter_map(|(place, origin)| match origin {
            Origin::ByteCode(source) => Some((source, place)),
            _ => None,
        });
        let record = Written::new(python.site_packages());
        let byte_code = code.collect();
        Self { fragment, wheel, installed, workshop, siblings, python, out, record, byte_code, uncompiled: 0 }
    }

    /// Writes everything; returns the sink and how many modules did not compile.
    ///
    /// # Errors
    /// See [`Fragment::make`].
    pub fn pack(mut self) -> Result<(W, u64), Error> {
        let mut zip = self.wheel.archive()?;
        for (place, origin) in &self.installed.files {
            self.workshop.cancel.check()?;
            match origin {
                Origin::Member(index) => self.member(&self.wheel.members[*index], place, &mut zip)?,
                Origin::EntryPoint(index) => {
                    let prefix = &self.fragment.environment.prefix;
                    let script = self.python.script(prefix, &self.wheel.entry_points[*index]);
                    self.generated(place, true, script.as_bytes())?;
                }
                Origin::Note(note) => {
                    let content = Asked::note(note, &self.fragment.package.locked);
                    self.generated(place, false, &content)?;
                }
                // With its source, and when everything else is there.
                Origin::ByteCode(_) | Origin::Record | Origin::Effect(_) => {}
            }
        }
        self.record.unhashed(self.installed.record.as_str());
        let record = std::mem::replace(&mut self.record, Written::new("")).finish();
        self.out.generated(&self.installed.record, false, &record, None)?;
        Ok((self.out.into_sink(), self.uncompiled))
    }

    fn member(
        &mut self,
        member: &Member,
        place: &PrefixPath,
        zip: &mut ZipArchive<BufReader<File>>,
    ) -> Result<(), Error> {
        let wheel = self.wheel;
        let entry = zip.by_index(member.index).map_err(|error| wheel.damaged(error.into()))?;
        let mut data = Checked::new(entry, member.listed.as_ref());
        if wheel.is_script(member) {
            self.script(member, place, &mut data)?;
        } else if let Some(code) = self.byte_code.get(place).copied().filter(|_| member.size <= MAX_SOURCE) {
            let source = self.read_all(member, &mut data)?;
            let digest = self.write(member, place, member.executable, &source)?;
            self.compile(place, code, (&source, digest))?;
        } else {
            self.stream(member, place, member.executable, &mut data)?;
        }
        data.finish(member, wheel)
    }

    /// A script becomes executable, and its first line names the environment's Python if it asks for that.
    fn script(&mut self, member: &Member, place: &PrefixPath, data: &mut dyn Read) -> Result<(), Error> {
        let mut head = Vec::new();
        data.take(SHEBANG.len() as u64).read_to_end(&mut head).map_err(|error| self.wheel.damaged(error))?;
        if head != SHEBANG {
            return self.stream(member, place, true, &mut Cursor::new(head).chain(data));
        }
        let script = self.read_all(member, &mut Cursor::new(head).chain(data))?;
        let rest = script.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &script[end..]);
        let shebang = self.python.shebang(&self.fragment.environment.prefix);
        self.write(member, place, true, &[shebang.as_bytes(), rest].concat()).map(drop)
    }

    fn stream(
        &mut self,
        member: &Member,
        place: &PrefixPath,
        executable: bool,
        data: &mut dyn Read,
    ) -> Result<(), Error> {
        let meta = Meta { executable, mtime: member.mtime };
        let damaged = |error| self.wheel.damaged(error);
        let digest = self.out.stream(place, meta, member.size, &mut data.take(member.size), &damaged)?;
        self.record.file(place.as_str(), &digest, member.size);
        Ok(())
    }

    fn read_all(&self, member: &Member, data: &mut dyn Read) -> Result<Vec<u8>, Error> {
        if member.size > MAX_INFO.max(MAX_SOURCE) {
            let limit = format!("{} MiB in the script `{}`", MAX_INFO >> 20, member.path);
            return Err(self.wheel.too_large(limit));
        }
        let mut content = Vec::new();
        data.take(member.size).read_to_end(&mut content).map_err(|error| self.wheel.damaged(error))?;
        let whole = content.len() as u64 == member.size;
        if whole { Ok(content) } else { Err(self.wheel.damaged(other_size(member.path.as_str()))) }
    }

    fn write(
        &mut self,
        member: &Member,
        place: &PrefixPath,
        executable: bool,
        content: &[u8],
    ) -> Result<Digest, Error> {
        let (size, digest) = (content.len() as u64, Digest::of(content));
        self.out.write(place, Meta { executable, mtime: member.mtime }, size, content)?;
        self.record.file(place.as_str(), &digest, size);
        Ok(digest)
    }

    fn generated(&mut self, place: &PrefixPath, executable: bool, content: &[u8]) -> Result<(), Error> {
        self.out.generated(place, executable, content, None)?;
        self.record.file(place.as_str(), &Digest::of(content), content.len() as u64);
        Ok(())
    }

    fn compile(&mut self, place: &PrefixPath, code: &PrefixPath, source: (&[u8], Digest)) -> Result<(), Error> {
        let name = format!("/{}", self.out.in_image(place));
        match self.siblings.compile(self.fragment.compiler(self.workshop), name, source)? {
            Some(bytes) => {
                self.out.generated(code, false, &bytes, None)?;
                self.record.unhashed(code.as_str());
            }
            None => self.uncompiled += 1,
        }
        Ok(())
    }
}

/// Reads a member, and hashes it as `RECORD` does.
struct Checked<'a, R> {
    inner: R,
    listed: Option<(&'a Listed, Hasher)>,
}

impl<'a, R: Read> Checked<'a, R> {
    fn new(inner: R, listed: Option<&'a Listed>) -> Self {
        Self { inner, listed: listed.map(|listed| (listed, listed.hasher())) }
    }

    /// Checks that the member ends here (which has its CRC compared), and that it is the listed one.
    fn finish(mut self, member: &Member, wheel: &Wheel) -> Result<(), Error> {
        let path = member.path.as_str();
        match self.inner.read(&mut [0; 1]).map_err(|error| wheel.damaged(error))? {
            0 => {}
            _ => return Err(wheel.damaged(other_size(path))),
        }
        let is_listed = self.listed.is_none_or(|(listed, hasher)| listed.is(hasher));
        if is_listed { Ok(()) } else { Err(Error::RecordedHash { package: wheel.name.clone(), path: path.to_owned() }) }
    }
}

impl<R: Read> Read for Checked<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        if let Some((_, hasher)) = &mut self.listed {
            hasher.update(&buf[..n]);
        }
        Ok(n)
    }
}
