//! An unpacked image that stays for the next run, as long as nothing in it changes.
//!
//! A directory is used under a shared lock, and changed or removed under an exclusive one. What the kernel says of each
//! file when the image was unpacked is hashed into a seal: whoever writes, replaces, renames, chmods or removes a file
//! alters its status change time or the list of files. So an image that a container could write to, for want of an overlay,
//! or that somebody looked into with an editor, is unpacked again. The content is not read: that would take as long.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::Privilege;
use super::image::{LOCK, make_inside, open_up};
use crate::oci::digest::HashingWriter;
use crate::oci::{Digest, Platform};
use crate::verify::runtime::Error;

const SEAL: &str = "seal";
/// Hexadecimal digits of a digest in the name of a directory.
const DIGITS: usize = 16;

/// Which image lies in a directory.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The image's name. Of all images of one name and platform, the last that was unpacked stays.
    pub name: &'a str,
    /// Its platform.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
}

impl Key<'_> {
    fn stem(&self) -> String {
        format!("{}.linux-{}.", self.name, self.platform.architecture())
    }

    fn directory(&self, privilege: Privilege) -> String {
        // Owners differ by who unpacks.
        let who = match privilege {
            Privilege::Root => "root",
            Privilege::User => "user",
        };
        format!("{}{}.{who}", self.stem(), &self.manifest.hex()[..DIGITS])
    }

    /// Whether `name` is that of another image's directory, of the same name and platform.
    fn precedes(&self, name: &str, privilege: Privilege) -> bool {
        let rest = name.strip_prefix(&self.stem()).and_then(|rest| rest.split_once('.'));
        let is_digest = |hex: &str| hex.len() == DIGITS && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        rest.is_some_and(|(hex, who)| is_digest(hex) && ["root", "user"].contains(&who))
            && name != self.directory(privilege)
    }
}

/// A directory with an image in it that nobody changes, and the lock that sees to that.
pub struct Kept {
    pub directory: PathBuf,
    pub lock: File,
}

/// Finds the image below `work_dir`, or has it unpacked there by `unpack`, and then removes others of its name and platform
/// that nobody uses: afterwards, because ext4 takes several times as long to make files where many have just been removed
/// (it looks for inodes that were not in use a moment ago), and before only if there is no room otherwise.
pub fn find<E: From<Error>>(
    work_dir: &Path,
    key: Key<'_>,
    privilege: Privilege,
    unpack: impl Fn(&Path) -> Result<(), E>,
) -> Result<Kept, E> {
    let directory = work_dir.join(key.directory(privilege));
    fs_err::create_dir_all(work_dir).map_err(unusable(work_dir))?;
    loop {
        let lock = open(&directory)?;
        lock.lock_shared().map_err(unusable(&directory))?;
        if is_at(&lock, &directory) && is_whole(&directory) {
            remove_predecessors(work_dir, key, privilege);
            return Ok(Kept { directory, lock });
        }
        // There is no step from a shared lock to an exclusive one that nobody could come between.
        lock.unlock().map_err(unusable(&directory))?;
        lock.lock().map_err(unusable(&directory))?;
        if is_at(&lock, &directory) && !is_whole(&directory) {
            let filled = fill(&directory, privilege, &unpack);
            if filled.is_err() && remove_predecessors(work_dir, key, privilege) == 0 {
                filled?;
            }
        }
    }
}

/// Unpacks the image into the directory, and seals it. Leaves nothing where that fails.
fn fill<E: From<Error>>(
    directory: &Path,
    privilege: Privilege,
    unpack: impl Fn(&Path) -> Result<(), E>,
) -> Result<(), E> {
    remove(&directory.join("rootfs"), privilege);
    drop(fs_err::remove_dir(directory.join("scratch")));
    let filled = make_inside(directory).map_err(E::from).and_then(|()| unpack(&directory.join("rootfs")));
    let sealed = filled.and_then(|()| {
        let seal = seal(&directory.join("rootfs")).map_err(unusable(directory))?;
        Ok(fs_err::write(directory.join(SEAL), seal.to_string()).map_err(unusable(directory))?)
    });
    if sealed.is_err() {
        remove(directory, privilege);
    }
    sealed
}

fn is_whole(directory: &Path) -> bool {
    let known = fs_err::read_to_string(directory.join(SEAL));
    known.is_ok_and(|known| seal(&directory.join("rootfs")).is_ok_and(|now| now.to_string() == known))
}

/// What the kernel says of every file, hashed.
fn seal(rootfs: &Path) -> std::io::Result<Digest> {
    let mut hash = HashingWriter::new(std::io::sink());
    for entry in WalkDir::new(rootfs).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path().as_os_str().as_encoded_bytes();
        std::io::Write::write_all(&mut hash, path)?;
        std::io::Write::write_all(&mut hash, status(&entry.metadata()?).as_bytes())?;
    }
    Ok(hash.finish().1)
}

fn status(metadata: &Metadata) -> String {
    let (m, owner) = (metadata, (metadata.uid(), metadata.gid()));
    // Separators that a path cannot hold.
    format!("\0{} {:o} {owner:?} {} {}.{}\0", m.ino(), m.mode(), m.size(), m.ctime(), m.ctime_nsec())
}

/// The directory's lock, made with it if need be.
fn open(directory: &Path) -> Result<File, Error> {
    fs_err::create_dir_all(directory).map_err(unusable(directory))?;
    let path = directory.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    file.or_else(|error| match error.kind() {
        // Removed by another run just now.
        std::io::ErrorKind::NotFound => {
            fs_err::create_dir_all(directory)?;
            File::options().create(true).truncate(false).write(true).open(&path)
        }
        _ => Err(error),
    })
    .map_err(unusable(directory))
}

/// Whether the lock is that of the directory still, and not of one that was removed meanwhile.
fn is_at(lock: &File, directory: &Path) -> bool {
    let there = fs_err::metadata(directory.join(LOCK));
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    there.is_ok_and(|there| lock.metadata().is_ok_and(|mine| same(&mine, &there)))
}

/// Removes what nobody uses, and returns how many there were. What cannot be removed (another user's) does no harm.
fn remove_predecessors(work_dir: &Path, key: Key<'_>, privilege: Privilege) -> usize {
    let entries = fs_err::read_dir(work_dir).into_iter().flatten().filter_map(Result::ok);
    let others = entries.filter(|entry| key.precedes(&entry.file_name().to_string_lossy(), privilege));
    let unused = others.filter(|entry| {
        let lock = File::open(entry.path().join(LOCK));
        let is_unused = lock.as_ref().is_ok_and(|lock| lock.try_lock().is_ok());
        if is_unused {
            remove(&entry.path(), privilege);
        }
        is_unused && !entry.path().exists()
    });
    unused.count()
}

fn remove(path: &Path, privilege: Privilege) {
    if privilege == Privilege::User && path.is_dir() {
        open_up(path);
    }
    fs_err::remove_dir_all(path).unwrap_or_default();
}

fn unusable(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const WHO: Privilege = Privilege::User;

    fn key(manifest: &str) -> Key<'_> {
        Key { name: "nb", platform: Platform::LinuxAmd64, manifest: Digest::of(manifest.as_bytes()) }
    }

    /// Finds the image, and says how often it was unpacked for that.
    fn find_counted(work: &Path, manifest: &str) -> (Kept, usize) {
        let count = Cell::new(0);
        let kept = find::<Error>(work, key(manifest), WHO, |rootfs| {
            count.set(count.get() + 1);
            fs_err::write(rootfs.join("file"), manifest).unwrap();
            fs_err::create_dir(rootfs.join("folder")).unwrap();
            Ok(())
        });
        (kept.unwrap(), count.get())
    }

    #[test]
    fn an_image_is_unpacked_once_until_something_changes() {
        let work = tempfile::tempdir().unwrap();
        let changes: [fn(&Path); 6] = [
            |root| fs_err::write(root.join("file"), "other").unwrap(),
            |root| fs_err::write(root.join("folder/new"), "").unwrap(),
            |root| fs_err::remove_file(root.join("file")).unwrap(),
            |root| fs_err::rename(root.join("file"), root.join("moved")).unwrap(),
            |root| fs_err::set_permissions(root.join("file"), std::fs::Permissions::from_mode(0o600)).unwrap(),
            |root| {
                let old = fs_err::metadata(root.join("file")).unwrap().modified().unwrap();
                fs_err::write(root.join("file"), "1").unwrap();
                File::options().write(true).open(root.join("file")).unwrap().set_modified(old).unwrap();
            },
        ];
        assert_eq!(find_counted(work.path(), "1").1, 1);
        assert_eq!(find_counted(work.path(), "1").1, 0);
        for (index, change) in changes.iter().enumerate() {
            // The kernel's clock for files ticks every few milliseconds.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let (kept, _) = find_counted(work.path(), "1");
            change(&kept.directory.join("rootfs"));
            drop(kept);
            let (kept, unpacked) = find_counted(work.path(), "1");
            assert_eq!(unpacked, 1, "change {index}");
            assert_eq!(fs_err::read_to_string(kept.directory.join("rootfs/file")).unwrap(), "1");
            assert_eq!(fs_err::read_dir(kept.directory.join("rootfs/folder")).unwrap().count(), 0);
        }
    }

    #[test]
    fn only_the_newest_stays_and_what_is_in_use() {
        let work = tempfile::tempdir().unwrap();
        let other = Key { platform: Platform::LinuxArm64, ..key("1") };
        drop(find::<Error>(work.path(), other, WHO, |_| Ok(())).unwrap());
        let (used, _) = find_counted(work.path(), "1");
        drop(find_counted(work.path(), "2"));
        assert!(used.directory.join("rootfs/file").is_file());
        drop(used);
        drop(find_counted(work.path(), "3"));
        let left = fs_err::read_dir(work.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut left: Vec<_> = left.map(|name| name.into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [key("3").directory(WHO), other.directory(WHO)]);
    }

    #[test]
    fn others_go_first_where_there_is_no_room_for_both() {
        let work = tempfile::tempdir().unwrap();
        drop(find_counted(work.path(), "1"));
        let old = work.path().join(key("1").directory(WHO));
        let (tried, old) = (Cell::new(0), &old);
        let kept = find::<Error>(work.path(), key("2"), WHO, |rootfs| {
            tried.set(tried.get() + 1);
            fs_err::write(rootfs.join("file"), "2").unwrap();
            if old.exists() { Err(Error::Lost) } else { Ok(()) }
        });
        assert!(kept.unwrap().directory.join("rootfs/file").is_file());
        assert_eq!(tried.get(), 2);
    }

    #[test]
    fn nothing_half_unpacked_stays() {
        let work = tempfile::tempdir().unwrap();
        let failed = find::<Error>(work.path(), key("1"), WHO, |rootfs| {
            fs_err::write(rootfs.join("half"), "").unwrap();
            Err(Error::Lost)
        });
        assert!(matches!(failed, Err(Error::Lost)));
        assert_eq!(fs_err::read_dir(work.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_of_images_do_not_run_into_each_other() {
        let longer = Key { name: "nb.linux-amd64", ..key("1") };
        assert!(key("2").precedes(&key("1").directory(WHO), WHO));
        assert!(!key("2").precedes(&longer.directory(WHO), WHO) && !key("1").precedes(&key("1").directory(WHO), WHO));
    }
}
