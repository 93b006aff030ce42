//! Wheels: packages of the lock that pip would install (PEP 427), unpacked without pip.
//!
//! A wheel is a zip archive whose `RECORD` has the hash of every file. What it says of itself is read here and checked:
//! paths that climb, links, devices, entries that are there twice, or not listed, or more than plausible are refused by
//! name. `layout` says where the files go, `packing` writes them.

mod described;
mod entry_points;
mod layout;
mod packing;
mod record;

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::PathBuf;
use std::str::FromStr;

use fs_err::File;
use pep508_rs::pep440_rs::Version;
use rattler_conda_types::package::EntryPoint;
use zip::ZipArchive;

use super::archive::Limits;
use super::error::Error;
use super::paths::{PathFault, PrefixPath};
use super::pinned::Pinned;
use crate::supply::Component;
pub use described::DescribedWheel;
pub use packing::WheelPacking;
use record::Listed;

/// The most bytes that a file which is read for what it says may have.
const MAX_INFO: u64 = 16 << 20;
/// Files of `*.dist-info` that `RECORD` does not list: itself and its signatures.
const UNLISTED: [&str; 3] = ["RECORD", "RECORD.jws", "RECORD.p7s"];
/// The time of a member without one: the first that a zip archive can tell, in seconds since 1970.
const EARLIEST: u64 = 315_532_800;

/// A wheel on disk, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Wheel {
    /// Its file name, for messages.
    pub name: String,
    /// Bytes of the archive.
    pub size: u64,
    /// When its newest file was made, in seconds since 1970.
    pub timestamp: u64,
    path: PathBuf,
    /// The directory `NAME-VERSION.dist-info`.
    dist_info: String,
    /// The distribution's name, as it writes it.
    distribution: String,
    /// Its files, by path.
    members: Vec<Member>,
    entry_points: Vec<EntryPoint>,
    /// Its licence, in its own words.
    pub license: Option<String>,
    /// The names of what it needs.
    pub depends: Vec<String>,
}

/// One file of a wheel.
#[derive(Clone, Debug)]
struct Member {
    index: usize,
    path: PrefixPath,
    size: u64,
    executable: bool,
    mtime: u64,
    /// What `RECORD` says; nothing of `RECORD` itself and its signatures.
    listed: Option<Listed>,
}

impl Wheel {
    /// Reads what the wheel of `package` says about itself, and checks that it is what the lock says.
    ///
    /// # Errors
    /// When the archive is damaged or hostile, or holds another package.
    pub fn open(package: &Pinned) -> Result<Self, Error> {
        let wheel = Self::read(package.path().to_owned(), package.locked.file_name(), Limits::default())?;
        wheel.check_identity(package)?;
        Ok(wheel)
    }

    fn read(path: PathBuf, name: &str, limits: Limits) -> Result<Self, Error> {
        let size = fs_err::metadata(&path).map_err(Error::read(&path))?.len();
        let mut wheel = Self {
            name: name.to_owned(),
            size,
            timestamp: EARLIEST,
            path,
            dist_info: String::new(),
            distribution: String::new(),
            members: Vec::new(),
            entry_points: Vec::new(),
            license: None,
            depends: Vec::new(),
        };
        let mut zip = wheel.archive()?;
        if zip.has_duplicate_names() {
            return Err(wheel.damaged(io::Error::other("it has a file twice")));
        }
        wheel.members = wheel.list(&zip, limits)?;
        wheel.timestamp = wheel.members.iter().map(|member| member.mtime).max().unwrap_or(EARLIEST);
        wheel.dist_info = wheel.find_dist_info()?;
        wheel.check_format(&mut zip)?;
        if let Some(content) = wheel.info(&mut zip, "entry_points.txt")? {
            let parsed = entry_points::parse(&content);
            wheel.entry_points = parsed.map_err(|error| wheel.misread("entry_points.txt", error))?;
        }
        wheel.attach_hashes(&mut zip)?;
        Ok(wheel)
    }

    fn archive(&self) -> Result<ZipArchive<BufReader<File>>, Error> {
        let file = File::open(&self.path).map_err(Error::read(&self.path))?;
        ZipArchive::new(BufReader::with_capacity(1 << 16, file)).map_err(|error| self.damaged(error.into()))
    }

    /// The files of the archive, checked, by path. Nothing is decompressed.
    fn list(&self, zip: &ZipArchive<BufReader<File>>, limits: Limits) -> Result<Vec<Member>, Error> {
        if zip.len() > limits.members {
            return Err(self.too_large(format!("{} files", limits.members)));
        }
        let mut members = Vec::new();
        let mut total = 0u64;
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index).map_err(|error| self.damaged(error.into()))?;
            let raw = entry.name_raw();
            let fault = |fault| self.fault(raw, fault);
            if entry.is_dir() {
                PrefixPath::parse_directory(raw).map_err(fault)?;
                continue;
            }
            // The upper half is what stat(2) says of it, whatever the system that made the archive is called.
            let mode = entry.external_attributes() >> 16;
            check_mode(mode).map_err(fault)?;
            total = total.saturating_add(entry.size());
            if total > limits.bytes(self.size) {
                return Err(self.too_large(limits.to_string()));
            }
            members.push(Member {
                index,
                path: PrefixPath::parse(raw).map_err(fault)?,
                size: entry.size(),
                executable: mode & 0o111 != 0,
                mtime: entry.last_modified().and_then(seconds).unwrap_or(EARLIEST),
                listed: None,
            });
        }
        members.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(members)
    }

    /// The one directory that ends in `.dist-info`.
    fn find_dist_info(&self) -> Result<String, Error> {
        let mut found = self.members.iter().filter_map(|member| {
            let (directory, file) = member.path.as_str().split_once('/')?;
            (directory.ends_with(".dist-info") && file == "METADATA").then_some(directory)
        });
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.to_owned()),
            (None, _) => Err(self.misread("METADATA", io::ErrorKind::NotFound.into())),
            (Some(_), Some(_)) => Err(self.misread("METADATA", io::Error::other("there are several"))),
        }
    }

    /// Wheels of another major version are laid out otherwise.
    fn check_format(&mut self, zip: &mut ZipArchive<BufReader<File>>) -> Result<(), Error> {
        let wheel = self.headers(zip, "WHEEL")?;
        let version = wheel.get("wheel-version").map_or("", String::as_str);
        if version.split('.').next() != Some("1") {
            let reason = format!("the wheel is of version `{version}`, not 1.x");
            return Err(self.misread("WHEEL", io::Error::other(reason)));
        }
        let metadata = self.headers(zip, "METADATA")?;
        let name = metadata.get("name").filter(|name| !name.contains('/')).cloned();
        self.distribution = name.ok_or_else(|| self.misread("METADATA", io::Error::other("it has no name")))?;
        let text = self.info(zip, "METADATA")?.unwrap_or_default();
        if let Some(described) = Component::of_python(&String::from_utf8_lossy(&text), "") {
            (self.license, self.depends) = (described.license, described.depends);
        }
        Ok(())
    }

    fn check_identity(&self, package: &Pinned) -> Result<(), Error> {
        let mut zip = self.archive()?;
        let version = self.headers(&mut zip, "METADATA")?.remove("version").unwrap_or_default();
        let same_name = plain(&self.distribution) == plain(&package.locked.name);
        let parsed = [&version, &package.locked.version].map(|text| Version::from_str(text).ok());
        let same_version = version == package.locked.version || (parsed[0].is_some() && parsed[0] == parsed[1]);
        if same_name && same_version {
            return Ok(());
        }
        Err(Error::OtherPackage { package: self.name.clone(), found: format!("{} {version}", self.distribution) })
    }

    /// The header fields of a file of `*.dist-info` that is written as an e-mail's, names in lower case, first ones only.
    fn headers(
        &self,
        zip: &mut ZipArchive<BufReader<File>>,
        file: &'static str,
    ) -> Result<BTreeMap<String, String>, Error> {
        let content = self.info(zip, file)?.ok_or_else(|| self.misread(file, io::ErrorKind::NotFound.into()))?;
        // The fields that matter are ASCII; old packages have authors in other encodings.
        let text = String::from_utf8_lossy(&content);
        let mut fields = BTreeMap::new();
        for line in text.lines().take_while(|line| !line.trim().is_empty()) {
            if let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.contains(' ')) {
                fields.entry(name.to_ascii_lowercase()).or_insert_with(|| value.trim().to_owned());
            }
        }
        Ok(fields)
    }

    /// The content of a file of `*.dist-info`, if there is one.
    fn info(&self, zip: &mut ZipArchive<BufReader<File>>, file: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = format!("{}/{file}", self.dist_info);
        let Ok(found) = self.members.binary_search_by(|member| member.path.as_str().cmp(&path)) else {
            return Ok(None);
        };
        let member = &self.members[found];
        if member.size > MAX_INFO {
            return Err(self.too_large(format!("{} MiB in `{file}`", MAX_INFO >> 20)));
        }
        let mut entry = zip.by_index(member.index).map_err(|error| self.damaged(error.into()))?;
        let mut content = Vec::new();
        entry.by_ref().take(MAX_INFO + 1).read_to_end(&mut content).map_err(|error| self.damaged(error))?;
        if content.len() as u64 == member.size { Ok(Some(content)) } else { Err(self.damaged(other_size(&path))) }
    }

    /// Every file must be in `RECORD` (PEP 427), and what is listed must be there.
    fn attach_hashes(&mut self, zip: &mut ZipArchive<BufReader<File>>) -> Result<(), Error> {
        let content = self.info(zip, "RECORD")?;
        let content = content.ok_or_else(|| self.misread("RECORD", io::ErrorKind::NotFound.into()))?;
        let mut listed = record::parse(&content).map_err(|error| self.misread("RECORD", error))?;
        let mut members = std::mem::take(&mut self.members);
        for member in &mut members {
            member.listed = listed.remove(member.path.as_str());
            if member.listed.is_none() && !self.is_unlisted(&member.path) {
                return Err(self.fault(member.path.as_str().as_bytes(), PathFault::NotListed));
            }
        }
        self.members = members;
        match listed.into_keys().next() {
            Some(path) => Err(Error::Missing { package: self.name.clone(), path }),
            None => Ok(()),
        }
    }

    fn is_unlisted(&self, path: &PrefixPath) -> bool {
        path.below(&self.dist_info).is_some_and(|file| UNLISTED.contains(&file))
    }

    fn fault(&self, path: &[u8], fault: PathFault) -> Error {
        Error::Path { package: self.name.clone(), path: String::from_utf8_lossy(path).into_owned(), fault }
    }

    fn damaged(&self, source: io::Error) -> Error {
        Error::Archive { package: self.name.clone(), source }
    }

    fn misread(&self, file: &'static str, source: io::Error) -> Error {
        Error::Metadata { package: self.name.clone(), file, source }
    }

    fn too_large(&self, limit: String) -> Error {
        Error::TooLarge { package: self.name.clone(), limit }
    }
}

/// A member that is not as long as the archive says.
fn other_size(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("`{path}` is not as long as the archive says"))
}

/// A name as PEP 503 compares them.
pub fn plain(name: &str) -> String {
    let words = name.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Refuses what is no plain file. Archives that were made on other systems tell no type.
fn check_mode(mode: u32) -> Result<(), PathFault> {
    const TYPE: u32 = 0o170_000;
    match mode & TYPE {
        0 | 0o100_000 if mode & 0o6000 != 0 => Err(PathFault::SetId),
        0 | 0o100_000 => Ok(()),
        0o120_000 => Err(PathFault::Link),
        _ => Err(PathFault::Special),
    }
}

/// The time of a zip member, which has no zone and is taken for UTC, in seconds since 1970.
fn seconds(time: zip::DateTime) -> Option<u64> {
    let part = |number: u8| i8::try_from(number).ok();
    let date = jiff::civil::DateTime::new(
        i16::try_from(time.year()).ok()?,
        part(time.month())?,
        part(time.day())?,
        part(time.hour())?,
        part(time.minute())?,
        part(time.second())?,
        0,
    );
    let zoned = date.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(zoned.timestamp().as_second()).ok().map(|seconds| seconds.min(u32::MAX.into()))
}

#[cfg(test)]
mod tests;
