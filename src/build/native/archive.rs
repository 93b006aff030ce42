//! Reads the members of a package one after another: `.conda` and `.tar.bz2` alike, nothing unpacked to disk.
//!
//! Members that no package needs (devices, set-user-id bits, paths that climb) are refused here, before anything else
//! sees them; and so is an archive that unpacks to far more than its size makes plausible.
//!
//! A `.tar.bz2` is one stream, slow to decompress. What it says of itself is at its front, where conda-build puts it, and
//! is read from there alone ([`Front`]).

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err::File;
use rattler_conda_types::package::CondaArchiveType;
use rattler_package_streaming::{ExtractError, read::stream_tar_bz2, seek};
use tar::EntryType;

use super::error::Error;
use super::package::WANTED;
use super::paths::{PathFault, PrefixPath};

/// What a package may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that are free, whatever its size.
    pub free: u64,
    /// How many times its own size it may have besides.
    pub ratio: u64,
    /// The most files it may have.
    pub members: usize,
}

impl Default for Limits {
    /// Real packages stay below 50 times their size; the largest have some 50,000 files.
    fn default() -> Self {
        Self { free: 1 << 30, ratio: 200, members: 1_000_000 }
    }
}

impl Limits {
    /// Bytes that a package of `size` bytes may unpack to.
    pub const fn bytes(&self, size: u64) -> u64 {
        self.free.saturating_add(size.saturating_mul(self.ratio))
    }
}

impl std::fmt::Display for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} times its size and {} MiB", self.ratio, self.free >> 20)
    }
}

/// A package's archive on disk.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its file name, for messages.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    kind: CondaArchiveType,
    size: u64,
    limits: Limits,
}

/// Which half of a package is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// `info/`.
    Info,
    /// Everything that is installed.
    Content,
}

/// A member of a package.
pub struct Member<'a> {
    /// Its path in the package.
    pub path: PrefixPath,
    /// What it is.
    pub what: What<'a>,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
}

/// What a member is.
pub enum What<'a> {
    /// A file of so many bytes.
    File(u64, &'a mut dyn Read),
    /// A symbolic link, its target as written.
    Symlink(Vec<u8>),
    /// Another name of an earlier member.
    Hardlink(PrefixPath),
    /// A directory.
    Directory,
}

/// The front of a `.tar.bz2` that begins with `info/`: once that said what a plan has to know, it is over with the first
/// member outside of `info/`. Such a file of `info/` behind the front is refused, so that nobody has to look for it.
/// Older packages, which begin with anything, are read to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    /// So far all was in `info/`; whether that has `index.json`, and a list of files.
    Lasts { index: bool, paths: bool },
    /// It told enough.
    Over,
    /// There is none.
    Absent,
}

impl Front {
    /// What it is after one more member.
    fn with(self, path: &PrefixPath, is_info: bool) -> Result<Self, PathFault> {
        match (self, path.as_str()) {
            (Self::Over, name) if WANTED.contains(&name) => Err(PathFault::Late),
            (Self::Lasts { paths, .. }, "info/index.json") => Ok(Self::Lasts { index: true, paths }),
            (Self::Lasts { index, .. }, "info/paths.json" | "info/files") => Ok(Self::Lasts { index, paths: true }),
            (Self::Lasts { index: true, paths: true }, _) if !is_info => Ok(Self::Over),
            (Self::Lasts { .. }, _) if !is_info => Ok(Self::Absent),
            _ => Ok(self),
        }
    }
}

impl Archive {
    /// Looks at the archive at `path`, called `name`.
    ///
    /// # Errors
    /// When it is not there, or its name is not that of a package.
    pub fn open(path: PathBuf, name: &str) -> Result<Self, Error> {
        let size = fs_err::metadata(&path).map_err(Error::read(&path))?.len();
        Self::of_size(path, name, size)
    }

    /// An archive of `size` bytes that need not be there as long as nothing of it is read.
    ///
    /// # Errors
    /// When its name is not that of a package.
    pub fn of_size(path: PathBuf, name: &str, size: u64) -> Result<Self, Error> {
        let no_package = || io::Error::new(io::ErrorKind::InvalidInput, "it is neither `.conda` nor `.tar.bz2`");
        let kind = CondaArchiveType::try_from(Path::new(name))
            .ok_or_else(|| Error::Archive { package: name.to_owned(), source: no_package() })?;
        Ok(Self { name: name.to_owned(), path, kind, size, limits: Limits::default() })
    }

    /// Bytes of the archive.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Calls `visit` with every member of `section`, in the archive's order.
    ///
    /// # Errors
    /// Those of `visit`, and for a damaged archive or a member that is refused.
    pub fn walk(&self, section: Section, visit: &mut dyn FnMut(Member<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let file = io::BufReader::with_capacity(1 << 17, File::open(&self.path).map_err(Error::read(&self.path))?);
        match (self.kind, section) {
            (CondaArchiveType::TarBz2, _) => self.members(stream_tar_bz2(file), section, visit),
            (CondaArchiveType::Conda, Section::Info) => {
                let tar = seek::stream_conda_info(file).map_err(|error| self.extract_error(error))?;
                self.members(tar, section, visit)
            }
            (CondaArchiveType::Conda, Section::Content) => {
                let tar = seek::stream_conda_content(file).map_err(|error| self.extract_error(error))?;
                self.members(tar, section, visit)
            }
        }
    }

    fn members(
        &self,
        tar: tar::Archive<impl Read>,
        section: Section,
        visit: &mut dyn FnMut(Member<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // The limit counts what the tar stream yields, padding and headers included.
        let mut tar = tar::Archive::new(Limited { inner: tar.into_inner(), left: self.limits.bytes(self.size) });
        let mut count = 0usize;
        let mut front = Front::Lasts { index: false, paths: false };
        for entry in tar.entries().map_err(|error| self.damaged(error))? {
            let mut entry = entry.map_err(|error| self.damaged(error))?;
            count += 1;
            if count > self.limits.members {
                let limit = format!("{} files", self.limits.members);
                return Err(Error::TooLarge { package: self.name.clone(), limit });
            }
            if entry.header().entry_type() == EntryType::XGlobalHeader {
                // Comments of the archiver; what they could change is not looked at.
                continue;
            }
            let raw = entry.path_bytes().into_owned();
            let header = Header::read(&entry).map_err(|error| self.damaged(error))?;
            let path = header.path(&raw).map_err(|fault| self.fault(&raw, fault))?;
            let is_info = path.below("info").is_some() || path.as_str() == "info";
            if self.kind == CondaArchiveType::TarBz2 {
                front = front.with(&path, is_info).map_err(|fault| self.fault(&raw, fault))?;
                if front == Front::Over && section == Section::Info {
                    return Ok(());
                }
            }
            if is_info != (section == Section::Info) {
                continue;
            }
            let what = match header.kind {
                EntryType::Directory => What::Directory,
                EntryType::Symlink => What::Symlink(header.link),
                EntryType::Link => {
                    What::Hardlink(PrefixPath::parse(&header.link).map_err(|fault| self.fault(&header.link, fault))?)
                }
                _ => What::File(entry.size(), &mut entry),
            };
            visit(Member { path, what, executable: header.executable, mtime: header.mtime })?;
        }
        // Up to the end, where a truncated or damaged stream shows.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(|error| self.damaged(error))?;
        Ok(())
    }

    /// An error that names `path` of this package.
    pub(super) fn fault(&self, path: &[u8], fault: PathFault) -> Error {
        Error::Path { package: self.name.clone(), path: String::from_utf8_lossy(path).into_owned(), fault }
    }

    /// An error for a failed read of this package.
    pub(super) fn damaged(&self, source: io::Error) -> Error {
        if is_over_limit(&source) {
            return Error::TooLarge { package: self.name.clone(), limit: self.limits.to_string() };
        }
        Error::Archive { package: self.name.clone(), source }
    }

    fn extract_error(&self, error: ExtractError) -> Error {
        match error {
            ExtractError::IoError(source) => self.damaged(source),
            other => self.damaged(io::Error::other(other)),
        }
    }
}

/// The part of a tar header that matters here.
struct Header {
    kind: EntryType,
    executable: bool,
    set_id: bool,
    mtime: u64,
    link: Vec<u8>,
}

impl Header {
    fn read<R: Read>(entry: &tar::Entry<'_, R>) -> io::Result<Self> {
        let header = entry.header();
        let mode = header.mode()?;
        Ok(Self {
            kind: header.entry_type(),
            executable: mode & 0o100 != 0,
            set_id: mode & 0o6000 != 0,
            // Later than 2106 is nonsense, and not every unpacker takes it.
            mtime: header.mtime()?.min(u32::MAX.into()),
            link: entry.link_name_bytes().unwrap_or_default().into_owned(),
        })
    }

    fn path(&self, raw: &[u8]) -> Result<PrefixPath, PathFault> {
        match self.kind {
            EntryType::Directory => PrefixPath::parse_directory(raw),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse if self.set_id => Err(PathFault::SetId),
            EntryType::Regular
            | EntryType::Continuous
            | EntryType::GNUSparse
            | EntryType::Symlink
            | EntryType::Link => PrefixPath::parse(raw),
            _ => Err(PathFault::Special),
        }
    }
}

/// Stops a stream that goes on for too long.
struct Limited<R> {
    inner: R,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the archive unpacks to too much")]
struct OverLimit;

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| io::Error::other(OverLimit))?;
        Ok(n)
    }
}

/// Readers in between wrap errors in their own.
fn is_over_limit(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<OverLimit>() {
            return true;
        }
        cause = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::tar::{Entry, Kind, TarWriter};

    /// A `.conda` of one member, written bit by bit.
    fn archive(folder: &Path, name: &[u8], kind: EntryType, mode: u32) -> Archive {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(u64::MAX >> 8);
        header.set_size(0);
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        tar.extend(crate::oci::tar::END);
        let path = folder.join("a-1-0.conda");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file("pkg-a-1-0.tar.zst", options).unwrap();
        io::Write::write_all(&mut zip, &zstd::encode_all(tar.as_slice(), 1).unwrap()).unwrap();
        zip.finish().unwrap();
        Archive::open(path, "a-1-0.conda").unwrap()
    }

    fn members(name: &[u8], kind: EntryType, mode: u32) -> Result<Vec<(String, u64)>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        archive(folder.path(), name, kind, mode).walk(Section::Content, &mut |member| {
            seen.push((member.path.to_string(), member.mtime));
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn members_that_no_package_needs_are_refused() {
        for (name, kind, mode, fault) in [
            (&b"dev/null"[..], EntryType::Char, 0o666, PathFault::Special),
            (b"dev/sda", EntryType::Block, 0o666, PathFault::Special),
            (b"pipe", EntryType::Fifo, 0o666, PathFault::Special),
            (b"bin/su", EntryType::Regular, 0o4755, PathFault::SetId),
            (b"bin/wall", EntryType::Regular, 0o2755, PathFault::SetId),
            (b"caf\xe9", EntryType::Regular, 0o644, PathFault::NotUtf8),
            (b"a/../../b/", EntryType::Directory, 0o755, PathFault::Climbs),
        ] {
            let error = members(name, kind, mode).unwrap_err();
            assert!(matches!(&error, Error::Path { fault: found, .. } if *found == fault), "{error}");
        }
    }

    #[test]
    fn more_files_and_bytes_than_the_limits_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let whole = archive(folder.path(), b"bin/x", EntryType::Regular, 0o755);
        for limits in [Limits { members: 0, ..Limits::default() }, Limits { free: 100, ratio: 0, members: 9 }] {
            let error = Archive { limits, ..whole.clone() }.walk(Section::Content, &mut |_| Ok(())).unwrap_err();
            assert!(matches!(&error, Error::TooLarge { package, .. } if package == "a-1-0.conda"), "{error}");
        }
    }

    /// A `.tar.bz2` of these files, in this order.
    fn bzip2(folder: &Path, names: &[&str]) -> Archive {
        let path = folder.join("old-1-0.tar.bz2");
        let encoder = bzip2::write::BzEncoder::new(File::create(&path).unwrap(), bzip2::Compression::fast());
        let mut tar = TarWriter::new(encoder);
        for name in names {
            let entry = Entry { path: (*name).to_owned(), kind: Kind::File(1), mode: 0o644, uid: 0, gid: 0, mtime: 0 };
            tar.append(&entry, &b"x"[..]).unwrap();
        }
        tar.end().unwrap().finish().unwrap();
        Archive::open(path, "old-1-0.tar.bz2").unwrap()
    }

    /// The names in either half of a `.tar.bz2` of these files; of the second, the fault.
    fn halves(names: &[&str]) -> (Vec<String>, Result<Vec<String>, String>) {
        let folder = tempfile::tempdir().unwrap();
        let archive = bzip2(folder.path(), names);
        let walk = |section| {
            let mut seen = Vec::new();
            let walked = archive.walk(section, &mut |member| {
                seen.push(member.path.to_string());
                Ok(())
            });
            walked.map(|()| seen).map_err(|error| error.to_string())
        };
        (walk(Section::Info).unwrap(), walk(Section::Content))
    }

    #[test]
    fn of_a_bzip2_the_front_is_enough() {
        let front = ["info/index.json", "info/link.json", "info/paths.json"];
        let (info, content) = halves(&[&front[..], &["bin/x", "info/recipe/meta.yaml"]].concat());
        assert_eq!(
            (info.as_slice(), content.unwrap().as_slice()),
            (&front.map(str::to_owned)[..], &["bin/x".to_owned()][..])
        );
        let (info, content) = halves(&["info/index.json", "info/files", "bin/x", "info/link.json"]);
        assert_eq!(info, ["info/index.json", "info/files"]);
        assert!(content.unwrap_err().contains("`info/link.json` comes after"));
    }

    #[test]
    fn a_bzip2_without_a_front_is_read_to_its_end() {
        for names in [
            ["bin/x", "info/index.json", "info/paths.json", "lib/y", "info/link.json"],
            ["info/index.json", "bin/x", "info/paths.json", "lib/y", "info/link.json"],
            ["info/about.json", "bin/x", "info/index.json", "info/files", "info/link.json"],
        ] {
            let (info, content) = halves(&names);
            assert_eq!(info.len(), names.iter().filter(|name| name.starts_with("info/")).count(), "{names:?}");
            assert!(content.is_ok(), "{names:?}");
        }
    }
    #[test]
    fn ordinary_members_are_seen_and_their_times_bounded() {
        assert_eq!(members(b"bin/x", EntryType::Regular, 0o755).unwrap(), [("bin/x".to_owned(), u32::MAX.into())]);
        assert_eq!(members(b"./lib/", EntryType::Directory, 0o2755).unwrap()[0].0, "lib");
        assert_eq!(members(b"info/x", EntryType::Regular, 0o644).unwrap(), [], "that is the other half");
        assert_eq!(members(b"comment", EntryType::XGlobalHeader, 0o644).unwrap(), []);
    }

    #[test]
    fn a_stream_over_the_limit_is_told_apart() {
        let error = io::copy(&mut Limited { inner: io::repeat(0).take(11), left: 10 }, &mut io::sink()).unwrap_err();
        assert!(is_over_limit(&io::Error::other(error)));
        assert!(!is_over_limit(&io::Error::other("something else")));
        assert_eq!(io::copy(&mut Limited { inner: io::repeat(0).take(10), left: 10 }, &mut io::sink()).unwrap(), 10);
    }
}
