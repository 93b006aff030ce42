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

pub fn setuid(subject: &Subject<'_>) -> Outcome {
    let files = subject.tree.below("srv").filter(|(_, node)| node.kind == EntryKind::File && node.mode & 0o6000 != 0);
    let faults = some(files, |(path, node)| format!("/{path} has mode {:o}", node.mode));
    Outcome::of_faults("files in /srv change the user or group that runs them", faults)
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
