//! Whether files are what was recorded of them when they were installed.
//!
//! conda records the SHA-256 of each file as it is in the prefix, so after its own path was written into it; a wheel's
//! `RECORD` has that of what pip unpacked. Files that were left out of the image are in no record. Compiled byte code
//! and what pip makes itself have no hash, and are counted.

use std::collections::BTreeMap;

use super::files::some;
use super::{Finding, Outcome};
use crate::oci::Digest;
use crate::oci::entries::EntryKind;
use crate::verify::installed::Prefix;
use crate::verify::subject::{ROOT_PREFIX, Subject};

pub fn recorded(subject: &Subject<'_>) -> Finding {
    let mut seen = Seen::default();
    seen.compare(subject, subject.prefix, &subject.installed);
    if !subject.is_root() {
        seen.compare(subject, ROOT_PREFIX, &subject.installed_root);
    }
    let facts = [("files-as-recorded", seen.equal), ("files-without-a-recorded-hash", seen.unknown)];
    let outcome = match seen.equal + seen.different.len() {
        0 => Outcome::not_run("the records have no hashes of files"),
        _ => Outcome::of_faults(
            "files are not what was recorded when they were installed",
            some(seen.different.into_iter(), |path| format!("/{path}")),
        ),
    };
    Finding { outcome, facts: facts.map(|(name, count)| (name.to_owned(), count.to_string())).into() }
}

#[derive(Default)]
struct Seen {
    equal: usize,
    unknown: usize,
    different: Vec<String>,
}

impl Seen {
    fn compare(&mut self, subject: &Subject<'_>, prefix: &str, installed: &Prefix) {
        let mut recorded: BTreeMap<&str, Option<Digest>> = BTreeMap::new();
        for path in installed.packages.values().flat_map(|package| &package.paths_data.paths) {
            let digest = path.sha256_in_prefix.as_deref().and_then(|hex| Digest::from_hex(hex).ok());
            recorded.insert(&path.path, digest);
        }
        for wheel in &installed.wheels {
            recorded.extend(wheel.files.iter().map(|path| (path.as_str(), None)));
            recorded.extend(wheel.digests.iter().map(|(path, digest)| (path.as_str(), Some(*digest))));
        }
        for (path, digest) in recorded {
            self.one(subject, format!("{prefix}/{path}"), digest);
        }
    }

    fn one(&mut self, subject: &Subject<'_>, path: String, recorded: Option<Digest>) {
        // That it is missing is `identity.files`' to say. A link has no content; what it leads to has its own record.
        let Some(node) = subject.tree.nodes.get(&path) else { return };
        if !matches!(node.kind, EntryKind::File | EntryKind::Hardlink(_)) {
            return;
        }
        let found = subject.tree.node(&path).and_then(|node| node.digest);
        match recorded {
            None => self.unknown += 1,
            Some(recorded) if found == Some(recorded) => self.equal += 1,
            Some(_) => self.different.push(path),
        }
    }
}
