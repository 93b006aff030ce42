//! Unpacks an image into a directory, as a container engine would.
//!
//! Follows OCI image-spec, "Image Layer Filesystem Changeset": layers in order, whiteouts remove what lower layers
//! brought, whatever replaces a directory removes it. Nothing is written outside the directory, whatever the layers
//! say (see `rootdir.rs`). Extended attributes are left out.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{ffi::OsStr, fs};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;

use super::entries::{Entries, EntryKind, LayerEntry, Special};
use super::error::{Error, Result};
use super::rootdir::RootDir;
use super::{Digest, Image, Layout};
use crate::progress::{Progress, Task, Unit};

/// The most bytes an image may unpack to: several times the largest image there is, and small enough to notice a
/// layer that was made to fill the disk.
const MAX_UNPACKED: u64 = 200 << 30;

/// Who owns what is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// As the layers say, with device nodes and set-user-id bits. For root.
    Keep,
    /// The user who unpacks: no device nodes or pipes, no set-user-id bits, every directory writable by its owner.
    Mine,
}

/// Unpacks `image`, whose blobs are in `layout`, into the directory `target`, which is made if it is missing and
/// should be empty.
///
/// # Errors
/// [`Error::Unpack`] and [`Error::Layer`] name the layer; [`Error::Corrupt`], [`Error::MissingBlob`] and
/// [`Error::TooLarge`]. What was unpacked until then stays.
pub fn unpack(
    image: &Image,
    layout: &Layout,
    target: &Path,
    ownership: Ownership,
    progress: &dyn Progress,
) -> Result<()> {
    unpack_listed(image, layout, target, ownership, None, progress).map(drop)
}

/// What the layers say of each path that lies unpacked, by the path relative to the root; empty for the root itself.
pub type Listing = BTreeMap<PathBuf, LayerEntry>;

/// [`unpack`] to files of the one who unpacks, and a list of what the layers say of them: owners, modes, times.
/// Directories that no layer lists are not in it, nor are other names of a file.
///
/// # Errors
/// Those of [`unpack`].
pub fn unpack_with_list(image: &Image, layout: &Layout, target: &Path, progress: &dyn Progress) -> Result<Listing> {
    unpack_listed(image, layout, target, Ownership::Mine, Some(Listing::new()), progress)
}

fn unpack_listed(
    image: &Image,
    layout: &Layout,
    target: &Path,
    ownership: Ownership,
    listed: Option<Listing>,
    progress: &dyn Progress,
) -> Result<Listing> {
    fs_err::create_dir_all(target).map_err(Error::write(target))?;
    // A link that leads to the directory is not the root that the layers may replace.
    let target = &target.canonicalize().map_err(Error::read(target))?;
    let label = format!("unpacking {}", image.platform);
    let task = Task::start(progress, &label, Some(image.compressed_size()), Unit::Bytes);
    let mut unpacker = Unpacker {
        root: RootDir::new(target),
        ownership,
        made: HashSet::new(),
        directories: BTreeMap::new(),
        listed,
        left: MAX_UNPACKED,
    };
    for layer in &image.layers {
        let _whole = layer.read(layout, &|bytes| task.advance(bytes), |content| {
            unpacker.layer(layer.digest, content).map(ControlFlow::Continue)
        })?;
    }
    unpacker.finish().map_err(Error::write(target))?;
    let listed = unpacker.listed.unwrap_or_default().into_iter();
    Ok(listed.filter_map(|(place, entry)| Some((place.strip_prefix(target).ok()?.to_owned(), entry))).collect())
}

/// What a whiteout takes away.
pub(super) enum Whiteout<'a> {
    /// One path of the lower layers.
    Path(&'a OsStr),
    /// All the lower layers have in the directory.
    Opaque,
    /// Nothing: bookkeeping of AUFS.
    Ignored,
}

impl<'a> Whiteout<'a> {
    /// Reads the last component of a path; `None` when it is no whiteout.
    pub(super) fn of(name: &'a OsStr) -> Option<Self> {
        let hidden = name.as_bytes().strip_prefix(b".wh.")?;
        Some(match hidden {
            b".wh..opq" => Self::Opaque,
            // `.` and `..` would remove the directory itself or the one above.
            b"" | b"." | b".." => Self::Ignored,
            _ if hidden.starts_with(b".wh.") => Self::Ignored,
            _ => Self::Path(OsStr::from_bytes(hidden)),
        })
    }
}

struct Unpacker {
    root: RootDir,
    ownership: Ownership,
    /// Paths on disk that the current layer brought: its own whiteouts leave them alone.
    made: HashSet<PathBuf>,
    /// Mode and time of directories by path on disk. They are set last, as filling a directory changes its time and
    /// may need more rights than it grants.
    directories: BTreeMap<PathBuf, (u32, u64)>,
    /// What is unpacked, by path on disk, if that is to be known.
    listed: Option<Listing>,
    left: u64,
}

impl Unpacker {
    fn layer(&mut self, digest: Digest, content: &mut dyn Read) -> Result<()> {
        self.made.clear();
        let mut entries = Entries::new(content);
        while let Some(entry) = entries.next_entry().map_err(|source| Error::Layer { digest, source })? {
            self.left = self.left.checked_sub(entry.size).ok_or_else(|| Error::TooLarge {
                what: digest.to_string(),
                size: entry.size,
                limit: MAX_UNPACKED,
            })?;
            self.entry(&entry, &mut entries).map_err(|source| Error::Unpack { digest, entry: entry.path, source })?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &LayerEntry, content: &mut impl Read) -> io::Result<()> {
        let place = self.root.place(&entry.path)?;
        if let Some(whiteout) = entry.path.file_name().and_then(Whiteout::of) {
            return self.whiteout(&whiteout, &place);
        }
        if entry.kind == EntryKind::Directory {
            self.directory(place.clone(), entry)?;
            self.list(place, entry);
            return Ok(());
        }
        if place == self.root.path() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the root is no directory"));
        }
        self.remove(&place)?;
        match &entry.kind {
            EntryKind::File => self.file(&place, entry, content)?,
            EntryKind::Symlink(target) => {
                self.root.changed();
                symlink(target, &place)?;
                self.own(&place, entry)?;
                set_time(&place, entry.mtime)?;
            }
            EntryKind::Hardlink(target) => fs::hard_link(self.root.place(target)?, &place)?,
            EntryKind::Special(special) => self.special(&place, entry, *special)?,
            EntryKind::Directory => unreachable!("handled above"),
        }
        self.made.insert(place.clone());
        // Another name for a file is listed as that file.
        if !matches!(entry.kind, EntryKind::Hardlink(_)) {
            self.list(place, entry);
        }
        Ok(())
    }

    fn list(&mut self, place: PathBuf, entry: &LayerEntry) {
        if let Some(listed) = &mut self.listed {
            listed.insert(place, entry.clone());
        }
    }

    fn directory(&mut self, place: PathBuf, entry: &LayerEntry) -> io::Result<()> {
        if !fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
            self.remove(&place)?;
            fs::create_dir(&place)?;
        }
        self.own(&place, entry)?;
        self.directories.insert(place.clone(), (entry.mode, entry.mtime));
        self.made.insert(place);
        Ok(())
    }

    fn file(&self, place: &Path, entry: &LayerEntry, content: &mut impl Read) -> io::Result<()> {
        // `create_new` never follows a link.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
        io::copy(content, &mut file)?;
        // Owner before mode: a change of owner clears the set-user-id bit.
        self.own(place, entry)?;
        file.set_permissions(fs::Permissions::from_mode(self.mode(entry.mode)))?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(entry.mtime))
    }

    fn special(&self, place: &Path, entry: &LayerEntry, special: Special) -> io::Result<()> {
        let (kind, device) = match special {
            _ if self.ownership == Ownership::Mine => return Ok(()),
            Special::Fifo => (SFlag::S_IFIFO, 0),
            Special::Character(major, minor) => (SFlag::S_IFCHR, makedev(major.into(), minor.into())),
            Special::Block(major, minor) => (SFlag::S_IFBLK, makedev(major.into(), minor.into())),
        };
        match mknod(place, kind, Mode::from_bits_truncate(entry.mode & 0o777), device) {
            Ok(()) => {
                self.own(place, entry)?;
                fs::set_permissions(place, fs::Permissions::from_mode(self.mode(entry.mode)))?;
                set_time(place, entry.mtime)
            }
            // Root of a container may not make devices; whoever runs the image brings `/dev` along.
            Err(Errno::EPERM) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn whiteout(&mut self, whiteout: &Whiteout<'_>, place: &Path) -> io::Result<()> {
        let directory = place.parent().expect("a whiteout is in a directory").to_owned();
        match whiteout {
            Whiteout::Path(name) => self.remove_lower(&directory.join(name)),
            Whiteout::Opaque => self.remove_children(&directory),
            Whiteout::Ignored => Ok(()),
        }
    }

    /// Removes what lower layers have at `place`, and below it.
    fn remove_lower(&mut self, place: &Path) -> io::Result<()> {
        let Ok(found) = fs::symlink_metadata(place) else { return Ok(()) };
        if found.is_dir() {
            self.remove_children(place)?;
        }
        let mine = self.made.contains(place);
        let holds_mine = found.is_dir() && fs::read_dir(place)?.next().is_some();
        if mine || holds_mine { Ok(()) } else { self.remove(place) }
    }

    fn remove_children(&mut self, directory: &Path) -> io::Result<()> {
        for child in fs::read_dir(directory)? {
            self.remove_lower(&child?.path())?;
        }
        Ok(())
    }

    /// Removes whatever is at `place`, if anything is.
    fn remove(&mut self, place: &Path) -> io::Result<()> {
        if let Some(listed) = &mut self.listed {
            forget(listed, place);
        }
        let Ok(found) = fs::symlink_metadata(place) else { return Ok(()) };
        self.root.changed();
        if !found.is_dir() {
            return fs::remove_file(place);
        }
        // What is recorded of directories below must go too: a link in their place would lead their modes elsewhere.
        forget(&mut self.directories, place);
        fs::remove_dir_all(place)
    }

    fn own(&self, place: &Path, entry: &LayerEntry) -> io::Result<()> {
        match self.ownership {
            Ownership::Keep => lchown(place, Some(entry.uid), Some(entry.gid)),
            Ownership::Mine => Ok(()),
        }
    }

    const fn mode(&self, mode: u32) -> u32 {
        match self.ownership {
            Ownership::Keep => mode,
            Ownership::Mine => mode & 0o1777,
        }
    }

    fn finish(&self) -> io::Result<()> {
        // Children first: the mode of a directory may forbid to look into it.
        for (path, (mode, mtime)) in self.directories.iter().rev() {
            let writable = if self.ownership == Ownership::Mine { 0o700 } else { 0 };
            fs::set_permissions(path, fs::Permissions::from_mode(self.mode(*mode) | writable))?;
            set_time(path, *mtime)?;
        }
        Ok(())
    }
}

/// Removes `place` and all that is below it.
fn forget<T>(recorded: &mut BTreeMap<PathBuf, T>, place: &Path) {
    let gone = recorded.range(place.to_owned()..).map(|(path, _)| path);
    let gone: Vec<_> = gone.take_while(|path| path.starts_with(place)).cloned().collect();
    for path in gone {
        recorded.remove(&path);
    }
}

/// Sets the time of last change of `place`, of a link itself and not of what it points to.
fn set_time(place: &Path, mtime: u64) -> io::Result<()> {
    let time = TimeSpec::new(i64::try_from(mtime).unwrap_or(0), 0);
    Ok(utimensat(AT_FDCWD, place, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}
