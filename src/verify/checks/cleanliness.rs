//! What an image must not hold.

use super::files::some;
use crate::oci::entries::EntryKind;
use crate::verify::report::Outcome;
use crate::verify::subject::Subject;

/// Directories whose files are of use to the building machine alone.
const LEFTOVERS: [&str; 8] = [
    "home/jovyan/.cache",
    "root/.cache",
    "root/.conda",
    "srv/conda/pkgs",
    "tmp",
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/tmp",
];

/// Programs of Debian that change the user or group that runs them: those of every system, then those of packages that
/// images ask for. No container that esker or a hub starts lets them.
const SETUID: [&str; 24] = [
    "usr/bin/chage",
    "usr/bin/chfn",
    "usr/bin/chsh",
    "usr/bin/expiry",
    "usr/bin/gpasswd",
    "usr/bin/mount",
    "usr/bin/newgidmap",
    "usr/bin/newgrp",
    "usr/bin/newuidmap",
    "usr/bin/passwd",
    "usr/bin/su",
    "usr/bin/umount",
    "usr/sbin/unix_chkpwd",
    "usr/bin/bsd-write",
    "usr/bin/crontab",
    "usr/bin/dotlockfile",
    "usr/bin/fusermount",
    "usr/bin/fusermount3",
    "usr/bin/ssh-agent",
    "usr/bin/sudo",
    "usr/bin/wall",
    "usr/bin/write",
    "usr/lib/dbus-1.0/dbus-daemon-launch-helper",
    "usr/lib/openssh/ssh-keysign",
];

pub fn setuid(subject: &Subject<'_>) -> Outcome {
    let files = subject.tree.nodes.iter().filter(|(_, node)| node.kind == EntryKind::File && node.mode & 0o6000 != 0);
    // A system whose /bin is a folder of its own has the same programs there.
    let known = |path: &str| SETUID.iter().any(|known| path == *known || Some(path) == known.strip_prefix("usr/"));
    let unknown = files.filter(|(path, _)| !known(path));
    let faults = some(unknown, |(path, node)| format!("/{path} has mode {:o}", node.mode));
    Outcome::of_faults("files change the user or group that runs them", faults)
}

pub fn world_writable(subject: &Subject<'_>) -> Outcome {
    let writable = subject.tree.nodes.iter().filter(|(_, node)| match node.kind {
        EntryKind::File => node.mode & 0o002 != 0,
        // With the sticky bit everybody may add, and nobody change what is another's.
        EntryKind::Directory => node.mode & 0o1002 == 0o002,
        EntryKind::Symlink(_) | EntryKind::Hardlink(_) | EntryKind::Special(_) => false,
    });
    let faults = some(writable, |(path, node)| format!("/{path} has mode {:o}", node.mode));
    Outcome::of_faults("everybody may change files or directories", faults)
}

pub fn leftovers(subject: &Subject<'_>) -> Outcome {
    let below = LEFTOVERS.iter().flat_map(|directory| subject.tree.below(directory));
    // apt wants its lock files and empty directories to be there.
    let files = below.filter(|(path, node)| node.kind == EntryKind::File && !path.ends_with("/lock"));
    Outcome::of_faults("caches and temporary files are left", some(files, |(path, _)| format!("/{path}")))
}

pub fn build_paths(subject: &Subject<'_>) -> Outcome {
    let records = subject.installed.packages.values().chain(subject.installed_root.packages.values());
    let paths = records.flat_map(|record| {
        let source = record.link.as_ref().and_then(|link| link.source.as_ref());
        let paths = [record.extracted_package_dir.as_ref(), record.package_tarball_full_path.as_ref(), source];
        // What lies in the image's own prefix could even be true.
        let foreign = paths.into_iter().flatten().filter(|path| !path.is_empty() && !path.starts_with("/srv/conda/"));
        foreign.map(|path| format!("{}: {path}", record.name))
    });
    Outcome::of_faults("conda's records name paths of the machine that built the image", some(paths, |path| path))
}
