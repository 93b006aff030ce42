//! The root file system as one squashfs file, made by `sqfstar`: the same bytes whoever makes it.
//!
//! Nobody but root can unpack files that belong to somebody else. So what lies unpacked on the disk gives contents
//! alone; owners, modes and times are those of the layers, and go to the program in a tar archive.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::program::run;
use super::{Error, folder};
use crate::build::Built;
use crate::oci::tar::{Entry, Kind, TarWriter};
use crate::oci::unpack::{Listing, unpack_with_list};
use crate::oci::{Image, Layout, Platform};
use crate::progress::Progress;

/// Of squashfs-tools 4.5 and later.
const PROGRAMS: [&str; 1] = ["sqfstar"];
/// The format has no times after this.
const LAST_TIME: u64 = u32::MAX as u64;

pub fn write(built: &Built, file: &Path, platform: Platform, progress: &dyn Progress) -> Result<(), Error> {
    let failed = |source| Error::Write { path: file.to_owned(), source };
    let layout = Layout::open(&built.layout)?;
    let image = layout.image(platform)?;
    let time = created(&image);
    let scratch = tempfile::Builder::new().prefix(".esker-").tempdir_in(folder(file)).map_err(failed)?;
    let [root, tar, made] = ["root", "tar", "image.squashfs"].map(|name| scratch.path().join(name));
    let listed = unpack_with_list(&image, &layout, &root, progress)?;
    let sink = fs_err::File::create(&tar).map_err(failed)?;
    archive(&root, &listed, time, BufWriter::with_capacity(1 << 20, sink)).map_err(failed)?;
    let top = listed.get(Path::new("")).map_or((0o755, 0, 0, time), |top| (top.mode, top.uid, top.gid, top.mtime));
    let (mode, uid, gid) = (format!("{:o}", top.0), top.1.to_string(), top.2.to_string());
    let top_time = top.3.min(LAST_TIME).to_string();
    // The time of the file, and that of its root in versions which pass over `-root-time`. Later times than this one
    // would be cut down to it.
    let newest = listed.values().map(|entry| entry.mtime.min(LAST_TIME)).max().unwrap_or(0).max(time).to_string();
    // gzip, because kernels of clusters are old.
    let options = ["-quiet", "-no-progress", "-exit-on-error", "-no-xattrs", "-comp", "gzip"];
    let of_root = ["-root-mode", &mode, "-root-uid", &uid, "-root-gid", &gid, "-root-time", &top_time];
    let mut arguments: Vec<&OsStr> = options.iter().chain(&of_root).map(OsStr::new).collect();
    arguments.push(made.as_os_str());
    run("squashfs", &PROGRAMS, &arguments, Some(&tar), &[("SOURCE_DATE_EPOCH", &newest)])?;
    fs_err::rename(&made, file).map_err(failed)
}

/// When the image was made, in seconds since 1970.
fn created(image: &Image) -> u64 {
    let created = image.config.created().as_deref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    created.and_then(|time| u64::try_from(time.as_second()).ok()).unwrap_or(0).min(LAST_TIME)
}

/// All below `root`, by path, as the layers say. Directories that they do not list are root's, and as old as the image.
fn archive(root: &Path, listed: &Listing, time: u64, sink: impl Write) -> io::Result<()> {
    let mut tar = TarWriter::new(sink);
    let mut names: HashMap<u64, String> = HashMap::new();
    for found in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let found = found?;
        let place = found.path();
        let relative = place.strip_prefix(root).map_err(io::Error::other)?;
        let path = text(relative)?;
        let on_disk = found.metadata()?;
        let known = (!on_disk.is_dir()).then(|| names.get(&on_disk.ino()).cloned()).flatten();
        let (mode, uid, gid, mtime) = match listed.get(relative) {
            Some(entry) => (entry.mode, entry.uid, entry.gid, entry.mtime.min(LAST_TIME)),
            None => (0o755, 0, 0, time),
        };
        let kind = match known {
            Some(first) => Kind::Hardlink(first),
            None if on_disk.is_dir() => Kind::Directory,
            None if on_disk.is_symlink() => Kind::Symlink(text(&fs_err::read_link(place)?)?),
            None => Kind::File(on_disk.len()),
        };
        if on_disk.is_file() && on_disk.nlink() > 1 {
            names.entry(on_disk.ino()).or_insert_with(|| path.clone());
        }
        let entry = Entry { path, mode, uid: uid.into(), gid: gid.into(), mtime, kind };
        let content: Box<dyn Read> = match entry.kind {
            Kind::File(_) => Box::new(fs_err::File::open(place)?),
            _ => Box::new(io::empty()),
        };
        tar.append(&entry, content)?;
    }
    tar.end()?.flush()
}

fn text(path: &Path) -> io::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is not UTF-8", path.display())))
}
