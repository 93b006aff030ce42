//! Reads all of the cache again, and drops what is not what it should be.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rattler_digest::{Md5, Sha256, compute_file_digest};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{Cache, Entry, Error, Kind};
use crate::oci::Digest;
use crate::oci::digest::HashingWriter;

/// An entry that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What it was.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What was wrong with it.
    pub reason: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries that are what they should be.
    pub good: usize,
    /// Entries of which nothing tells what they should be.
    pub unknown: usize,
    /// Halves of entries that killed runs left, which were dropped.
    pub leftover: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Entries that were dropped.
    pub damaged: Vec<Damage>,
}

/// What is known of a fragment or a Python, as far as it says what the entry is.
#[derive(Deserialize)]
struct Known {
    digest: Digest,
}

enum Finding {
    Good,
    Unknown,
    /// It may be that somebody is writing it.
    Incomplete,
    Damaged(String),
}

impl Cache {
    /// Reads every entry, compares it with its hash where it has one, and drops those that are damaged. `tell` is called
    /// with the bytes of each.
    ///
    /// # Errors
    /// When a folder cannot be read, or an entry not be removed.
    pub fn verify(&self, tell: impl Fn(u64) + Sync) -> Result<Verified, Error> {
        let entries = self.entries()?;
        let findings: Vec<_> = entries
            .par_iter()
            .map(|entry| {
                let finding = entry.check();
                tell(entry.size);
                finding
            })
            .collect();
        let running = self.oldest_run();
        let mut verified = Verified::default();
        let mut bad = Vec::new();
        for (entry, finding) in entries.into_iter().zip(findings) {
            verified.bytes += entry.size;
            match finding {
                Finding::Good => verified.good += 1,
                Finding::Unknown => verified.unknown += 1,
                Finding::Incomplete if running.is_some_and(|begun| entry.used >= begun) => verified.unknown += 1,
                Finding::Incomplete => {
                    verified.leftover += 1;
                    bad.push(entry);
                }
                Finding::Damaged(reason) => {
                    verified.damaged.push(Damage { kind: entry.kind, name: entry.name.clone(), reason });
                    bad.push(entry);
                }
            }
        }
        if !bad.is_empty() {
            self.discard(&bad)?;
        }
        Ok(verified)
    }
}

impl Entry {
    fn check(&self) -> Finding {
        match self.kind {
            Kind::Packages => self.check_package(),
            Kind::Fragments => {
                self.check_known(|path| Digest::of_reader(fs_err::File::open(path)?).map(|found| found.0))
            }
            Kind::Pythons => self.check_known(tree_digest),
            Kind::Layers | Kind::Plans | Kind::Bases | Kind::Documents => self.check_json(),
            Kind::Blobs => self.check_blob(),
            Kind::Repodata | Kind::WheelMetadata | Kind::Rootfs | Kind::Seen | Kind::Extracted | Kind::Tools => {
                Finding::Unknown
            }
        }
    }

    fn check_package(&self) -> Finding {
        let Some(folder) = self.paths.first() else { return Finding::Unknown };
        let files = WalkDir::new(folder).min_depth(1).into_iter().flatten().map(walkdir::DirEntry::into_path);
        // Downloads that are under way, or were.
        let files = files.filter(|path| path.extension().is_none_or(|extension| extension != "part"));
        for path in files {
            let digest = match self.name.len() {
                32 => compute_file_digest::<Md5>(&path).map(hex::encode),
                _ => compute_file_digest::<Sha256>(&path).map(hex::encode),
            };
            match digest {
                Ok(digest) if digest == self.name => {}
                Ok(digest) => return Finding::Damaged(format!("`{}` has the hash {digest}", path.display())),
                Err(error) => return Finding::Damaged(error.to_string()),
            }
        }
        Finding::Good
    }

    /// An entry beside which a file says what its digest is.
    fn check_known(&self, digest: impl Fn(&Path) -> std::io::Result<Digest>) -> Finding {
        let (json, data): (Vec<_>, Vec<_>) =
            self.paths.iter().partition(|path| path.extension().is_some_and(|extension| extension == "json"));
        let (Some(json), Some(data)) = (json.first(), data.first()) else {
            return Finding::Incomplete;
        };
        let known = fs_err::read(json).ok().and_then(|text| serde_json::from_slice::<Known>(&text).ok());
        let Some(known) = known else { return Finding::Damaged(format!("`{}` cannot be read", json.display())) };
        match digest(data) {
            Ok(found) if found == known.digest => Finding::Good,
            Ok(found) => Finding::Damaged(format!("its content is {found}, not {}", known.digest)),
            Err(error) => Finding::Damaged(error.to_string()),
        }
    }

    fn check_json(&self) -> Finding {
        let read = |path: &Path| serde_json::from_slice::<serde_json::Value>(&fs_err::read(path).ok()?).ok();
        match self.paths.iter().all(|path| read(path).is_some()) {
            true => Finding::Good,
            false => Finding::Damaged("it is no JSON".to_owned()),
        }
    }

    fn check_blob(&self) -> Finding {
        let Some(path) = self.paths.first() else { return Finding::Unknown };
        if self.name.len() != 64 {
            // On its way to its name.
            return Finding::Unknown;
        }
        match fs_err::File::open(path).and_then(Digest::of_reader) {
            Ok((found, _)) if found.hex() == self.name => Finding::Good,
            Ok((found, _)) => Finding::Damaged(format!("its content is {found}")),
            Err(error) => Finding::Damaged(error.to_string()),
        }
    }
}

/// A digest of all that is below `root`: paths, modes, where links lead, what files hold.
///
/// # Errors
/// When something cannot be read.
pub fn tree_digest(root: &Path) -> std::io::Result<Digest> {
    let mut hasher = HashingWriter::new(std::io::sink());
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(path).display();
        let metadata = entry.metadata()?;
        let mode = metadata.permissions().mode() & 0o111;
        let what = if metadata.is_symlink() {
            format!("link {}", fs_err::read_link(path)?.display())
        } else if metadata.is_dir() {
            "folder".to_owned()
        } else {
            Digest::of_reader(fs_err::File::open(path)?)?.0.to_string()
        };
        writeln!(hasher, "{mode:o} {what} {relative}")?;
    }
    Ok(hasher.finish().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        fs_err::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs_err::write(root.join(path), content).unwrap();
    }

    fn known(digest: &Digest) -> String {
        format!("{{\"digest\":\"{digest}\",\"size\":1}}")
    }

    #[test]
    fn damaged_entries_are_dropped_and_good_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (root, x) = (folder.path(), Digest::of(b"x"));
        let hex = x.hex();
        write(root, &format!("packages/{hex}/a.conda"), "x");
        write(root, &format!("packages/{}/b.conda", "0".repeat(64)), "x");
        write(root, "fragments/aa/aa", "x");
        write(root, "fragments/aa/aa.json", &known(&x));
        write(root, "fragments/bb/bb", "y");
        write(root, "fragments/bb/bb.json", &known(&x));
        write(root, "fragments/cc/cc", "x");
        write(root, "layers/aa/aa.json", "{}");
        write(root, "layers/bb/bb.json", "{");
        write(root, &format!("blobs/sha256/{hex}"), "x");
        write(root, &format!("blobs/sha256/{}", "1".repeat(64)), "x");
        write(root, "pythons/aa/aa/bin/python", "x");
        write(root, "pythons/aa/aa.json", &known(&tree_digest(&root.join("pythons/aa/aa")).unwrap()));
        write(root, "seen/x", "anything");
        fs_err::create_dir_all(root.join("tmp")).unwrap();
        let cache = Cache::new(root);
        let verified = cache.verify(|_| {}).unwrap();
        let damaged: Vec<_> =
            verified.damaged.iter().map(|damage| format!("{} {}", damage.kind, damage.name)).collect();
        let (zeros, ones) = (format!("packages {}", "0".repeat(64)), format!("blobs {}", "1".repeat(64)));
        assert_eq!(damaged, [zeros.as_str(), "fragments bb", "layers bb", ones.as_str()]);
        assert_eq!((verified.good, verified.unknown, verified.leftover), (5, 1, 1));
        let again = cache.verify(|_| {}).unwrap();
        assert_eq!((again.good, again.unknown, again.leftover, again.damaged), (5, 1, 0, vec![]));
        fs_err::write(root.join("pythons/aa/aa/bin/more"), "").unwrap();
        assert_eq!(cache.verify(|_| {}).unwrap().damaged.len(), 1);
        assert!(!root.join("pythons/aa/aa").exists());
    }
}
