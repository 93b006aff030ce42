//! The file systems of a container, and moving into them.
//!
//! The image is unpacked once and shared by all containers of it, so each gets an overlay on a tmpfs of its own:
//! what one check writes, the next does not see. Nothing of this is visible outside the mount namespace, and all of
//! it disappears with the last process.
//!
//! The tree comes from an image that nobody vouches for. A symbolic link in it must not lead a mount or a write out
//! of it, so mount points are walked part by part and files are replaced, never written through.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use fs_err::os::unix::fs::symlink;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{chdir, pivot_root};

use super::protocol::{Blame, Failure, Privilege, Spec, Step};

/// Where the merged tree is, relative to the container's directory.
const MERGED: &str = "scratch/merged";

/// Builds the container's file systems and makes them this process's root.
pub fn enter(spec: &Spec) -> Result<(), Failure> {
    chdir(&spec.directory).step("enter the container's directory")?;
    mount_root(spec)?;
    let root = spec.directory.join(MERGED);
    write_network_files(&root, &spec.hostname)?;
    mount_proc(&root)?;
    mount_dev(&root)?;
    mount_sys(&root);
    tmpfs(&mount_point(&root, "/tmp")?, "mode=1777", "mount /tmp")?;
    if let Some(volume) = &spec.volume {
        tmpfs(&mount_point(&root, volume)?, &owned(spec), "mount the empty volume")?;
    }
    for bind in &spec.mounts {
        bind_read_only(&bind.source, &mount_point(&root, &bind.target)?)?;
    }
    if spec.read_only {
        // Of this mount alone: what lies over it stays as it is.
        make_read_only(&root).step("make the image's files read-only")?;
    }
    pivot(&root)
}

fn mount_root(spec: &Spec) -> Result<(), Failure> {
    tmpfs(Path::new("scratch"), "mode=0755", "mount a tmpfs")?;
    for directory in ["scratch/upper", "scratch/work", MERGED] {
        fs_err::create_dir(directory).step("make the overlay's directories")?;
    }
    // Relative paths: an absolute one may hold the commas and colons that separate the options.
    let mut options = "lowerdir=rootfs,upperdir=scratch/upper,workdir=scratch/work".to_owned();
    if spec.privilege == Privilege::User {
        options.push_str(",userxattr");
    }
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    match mount(Some("overlay"), MERGED, Some("overlay"), flags, Some(options.as_str())) {
        // No overlay for ordinary users before Linux 5.11, none at all on some kernels: the tree is shared, then.
        Err(Errno::EPERM | Errno::EINVAL | Errno::ENODEV) => {
            mount(Some("rootfs"), MERGED, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .step("mount the image's files")?;
            // The kernel takes these from a second call only. Where nobody is root there are no devices to fear, and
            // the mount's own flags may be locked.
            if spec.privilege == Privilege::User {
                return Ok(());
            }
            let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
            mount(None::<&str>, MERGED, None::<&str>, flags, None::<&str>).step("forbid devices in the image's files")
        }
        result => result.step("mount an overlay over the image's files"),
    }
}

fn mount_proc(root: &Path) -> Result<(), Failure> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &mount_point(root, "/proc")?, Some("proc"), flags, None::<&str>).step("mount /proc")
}

/// The devices of the OCI runtime specification ("Default Devices"), less the console.
fn mount_dev(root: &Path) -> Result<(), Failure> {
    let dev = mount_point(root, "/dev")?;
    tmpfs(&dev, "mode=0755", "mount /dev")?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let (host, inside) = (Path::new("/dev").join(name), dev.join(name));
        fs_err::write(&inside, "").step("make a device file")?;
        let flags = MsFlags::MS_BIND;
        mount(Some(&host), &inside, None::<&str>, flags, None::<&str>).step(&format!("bind /dev/{name}"))?;
    }
    let links = [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")];
    for (name, target) in links {
        symlink(Path::new("/proc/self").join(target), dev.join(name)).step("link /dev/fd")?;
    }
    symlink("pts/ptmx", dev.join("ptmx")).step("link /dev/ptmx")?;
    tmpfs(&mount_point(root, "/dev/shm")?, "mode=1777", "mount /dev/shm")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=0620");
    mount(Some("devpts"), &mount_point(root, "/dev/pts")?, Some("devpts"), flags, options).step("mount /dev/pts")
}

/// Shows the host's /sys, read-only with all that is mounted below it. A convenience (counting processors): containers run
/// without it.
fn mount_sys(root: &Path) {
    let Ok(sys) = mount_point(root, "/sys") else { return };
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    if mount(Some("/sys"), &sys, None::<&str>, bind, None::<&str>).is_ok() {
        // The flag is of each mount alone. Where it is refused, the container's user cannot write anyway.
        for point in std::iter::once(sys.clone()).chain(mounts_below(&sys)) {
            make_read_only(&point).unwrap_or_default();
        }
    }
}

/// Where something is mounted below `folder`; nothing if the kernel does not tell.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs_err::read("/proc/self/mountinfo").unwrap_or_default();
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let paths = points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point))));
    paths.filter(|path| path != folder && path.starts_with(folder)).collect()
}

/// A path of the kernel's tables, in which spaces, line ends and backslashes are three octal digits (proc_pid_mountinfo(5)).
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = path;
    while let [first, behind @ ..] = rest {
        (plain, rest) = match behind {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                (plain, after)
            }
            _ => {
                plain.push(*first);
                (plain, behind)
            }
        };
    }
    plain
}

fn bind_read_only(source: &Path, target: &Path) -> Result<(), Failure> {
    let step = format!("mount `{}`", source.display());
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).step(&step)?;
    make_read_only(target).step(&step)
}

/// The kernel takes flags from a second call only, and an ordinary user's may not drop those that are there.
fn make_read_only(target: &Path) -> nix::Result<()> {
    let there = statvfs(target)?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| there.contains(*flag)).map(|(_, flag)| flag);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept.collect::<MsFlags>();
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
}

fn write_network_files(root: &Path, hostname: &str) -> Result<(), Failure> {
    let etc = mount_point(root, "/etc")?;
    let hosts = format!("127.0.0.1 localhost {hostname}\n::1 localhost\n");
    let resolv = fs_err::read("/etc/resolv.conf").unwrap_or_default();
    let hostname = format!("{hostname}\n");
    for (name, content) in [("hosts", hosts.as_bytes()), ("hostname", hostname.as_bytes()), ("resolv.conf", &resolv)] {
        replace(&etc.join(name), content).blamed(Blame::Image, &format!("write /etc/{name}"))?;
    }
    Ok(())
}

/// Puts a new file in the place of whatever is there, without following it.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs_err::File::create_new(path)?;
    io::Write::write_all(&mut file, content)
}

/// The directory `inside` of the tree at `root`, made if it is not there.
fn mount_point(root: &Path, inside: &str) -> Result<PathBuf, Failure> {
    let mut path = root.to_owned();
    for component in Path::new(inside).components() {
        match component {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => path.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                let climbs = Err(io::Error::from(io::ErrorKind::InvalidInput));
                return climbs.blamed(Blame::Image, &format!("mount `{inside}`"));
            }
        }
        let made = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(io::Error::from(io::ErrorKind::NotADirectory)),
            Err(_) => fs_err::create_dir(&path),
        };
        made.blamed(Blame::Image, &format!("make a mount point at `{inside}`"))?;
    }
    Ok(path)
}

fn tmpfs(target: &Path, options: &str, step: &str) -> Result<(), Failure> {
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options)).step(step)
}

/// Options of a volume that belongs to the container's user. With user namespaces that user is still number 0 here.
fn owned(spec: &Spec) -> String {
    let (uid, gid) = match spec.privilege {
        Privilege::Root => spec.owner,
        Privilege::User => (0, 0),
    };
    format!("mode=0755,uid={uid},gid={gid}")
}

/// Makes `root` the root and drops the old one; see pivot_root(2), `pivot_root(".", ".")`.
fn pivot(root: &Path) -> Result<(), Failure> {
    chdir(root).step("enter the new root")?;
    pivot_root(".", ".").step("change the root")?;
    umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
    chdir("/").step("enter the new root")
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn paths_of_the_kernels_tables_are_plain_again() {
        for (written, plain) in [
            ("/sys", "/sys"),
            (r"/a\040b\134c", r"/a b\c"),
            (r"\011\012", "\t\n"),
            (r"/a\04", r"/a\04"),
            (r"\400", r"\400"),
            ("", ""),
        ] {
            assert_eq!(unescaped(written.as_bytes()), plain.as_bytes(), "{written}");
        }
    }
}
