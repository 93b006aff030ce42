//! What changed from one lock to another, for a person to agree to.
//!
//! A lock of a real image is tens of thousands of lines, and a diff of those hides a downgrade among rebuilds. Here a
//! change is one row, the same change on several platforms is one row too, and what is most worth a look comes first.

mod markdown;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use rattler_conda_types::{Subdir, Version};
use serde::{Serialize, Serializer};

use super::{Lock, LockedPackage, Manager};
use crate::project::ChangeKind;

pub use markdown::{LIMIT, markdown};

/// The changes of one image's lock.
#[derive(Clone, Debug, Serialize)]
pub struct ImageDiff {
    /// The image.
    pub image: String,
    /// How its lock changed.
    #[serde(flatten)]
    pub diff: LockDiff,
}

/// The difference of two locks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockDiff {
    /// Subdirs of either lock, by name.
    #[serde(serialize_with = "names")]
    pub subdirs: Vec<Subdir>,
    /// Those only the new lock has.
    #[serde(serialize_with = "names")]
    pub subdirs_added: Vec<Subdir>,
    /// Those only the old lock has.
    #[serde(serialize_with = "names")]
    pub subdirs_removed: Vec<Subdir>,
    /// All changes, by kind and then by name.
    pub changes: Vec<Change>,
}

/// One change of one package, on all subdirs where it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The package's name.
    pub name: String,
    /// Its installer.
    pub manager: Manager,
    /// What was locked; `None` for an addition.
    pub old: Option<Pin>,
    /// What is locked now; `None` for a removal.
    pub new: Option<Pin>,
    /// Where, by name.
    #[serde(serialize_with = "names")]
    pub subdirs: Vec<Subdir>,
}

/// What a package is locked to, as precisely as the kind of change needs it told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Pin {
    /// Its version.
    pub version: String,
    /// Its build string, where the change is a rebuild.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The part of its source that changed: the channel, the file or the hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// All that two changes must share to be one row. The kind first: it is the order of rows.
type Key = (ChangeKind, String, Manager, Option<Pin>, Option<Pin>);

impl LockDiff {
    /// What changed from `old` to `new`. The empty lock (`Lock::default()`) stands for none.
    pub fn between(old: &Lock, new: &Lock) -> Self {
        let (before, after) = (by_package(old), by_package(new));
        let everything: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let mut rows: BTreeMap<Key, Vec<Subdir>> = BTreeMap::new();
        for key @ (_, name, manager) in everything {
            let (old, new) = (before.get(key).copied(), after.get(key).copied());
            if let (Some((kind, from, to)), Some(package)) = (change(old, new), new.or(old)) {
                rows.entry((kind, (*name).to_owned(), *manager, from, to)).or_default().push(package.subdir);
            }
        }
        let row = |((kind, name, manager, old, new), subdirs)| Change { kind, name, manager, old, new, subdirs };
        Self {
            subdirs: sorted(old.subdirs.iter().chain(&new.subdirs)),
            subdirs_added: sorted(new.subdirs.iter().filter(|subdir| !old.subdirs.contains(subdir))),
            subdirs_removed: sorted(old.subdirs.iter().filter(|subdir| !new.subdirs.contains(subdir))),
            changes: rows.into_iter().map(row).collect(),
        }
    }

    /// Whether the locks install the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.subdirs_added.is_empty() && self.subdirs_removed.is_empty()
    }

    /// The changes of one kind.
    pub fn of_kind(&self, kind: ChangeKind) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.kind == kind)
    }

    /// One line: how many packages there are of each kind of change, and what became of platforms.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        for kind in ChangeKind::ALL {
            let names: BTreeSet<_> = self.of_kind(kind).map(|change| (&change.name, change.manager)).collect();
            if !names.is_empty() {
                parts.push(format!("{} {}", names.len(), kind.participle()));
            }
        }
        let platforms = [(&self.subdirs_added, "new"), (&self.subdirs_removed, "no longer locked")];
        parts.extend(
            platforms.into_iter().flat_map(|(subdirs, what)| subdirs.iter().map(move |s| format!("{s} {what}"))),
        );
        if parts.is_empty() { "no changes".to_owned() } else { parts.join(", ") }
    }
}

impl Change {
    /// The old and the new pin as a reader wants them: empty where there is none.
    pub fn sides(&self) -> [String; 2] {
        [&self.old, &self.new].map(|pin| pin.as_ref().map(Pin::text).unwrap_or_default())
    }

    /// The name, marked where it is pip's.
    pub fn label(&self) -> String {
        match self.manager {
            Manager::Conda => self.name.clone(),
            Manager::Pip => format!("{} (pip)", self.name),
        }
    }
}

impl Pin {
    fn text(&self) -> String {
        match self.build.as_deref().or(self.source.as_deref().map(shortened)) {
            Some(detail) => format!("{} {detail}", self.version),
            None => self.version.clone(),
        }
    }
}

/// A hash without the end that nobody compares by eye.
fn shortened(source: &str) -> &str {
    let hash = ["sha256:", "md5:"].into_iter().find(|kind| source.starts_with(kind));
    hash.and_then(|kind| source.get(..kind.len() + 12)).unwrap_or(source)
}

/// The packages of a lock by subdir's name, name and manager; of several categories the first.
fn by_package(lock: &Lock) -> BTreeMap<(&str, &str, Manager), &LockedPackage> {
    let mut packages = BTreeMap::new();
    for package in &lock.packages {
        packages.entry((package.subdir.as_str(), package.name.as_str(), package.manager)).or_insert(package);
    }
    packages
}

/// What happened to one package on one subdir; `None` if it stayed what it is.
fn change(old: Option<&LockedPackage>, new: Option<&LockedPackage>) -> Option<(ChangeKind, Option<Pin>, Option<Pin>)> {
    let version = |package: &LockedPackage| Pin { version: package.version.clone(), build: None, source: None };
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (old, new) => {
            let kind = if old.is_some() { ChangeKind::Removal } else { ChangeKind::Addition };
            return Some((kind, old.map(version), new.map(version)));
        }
    };
    let pins = |kind, old, new| Some((kind, Some(old), Some(new)));
    match compare(&old.version, &new.version) {
        Ordering::Less => return pins(ChangeKind::Upgrade, version(old), version(new)),
        Ordering::Greater => return pins(ChangeKind::Downgrade, version(old), version(new)),
        Ordering::Equal => {}
    }
    if old.build() != new.build() || old.version != new.version {
        let build = |package: &LockedPackage| Pin { build: package.build().map(str::to_owned), ..version(package) };
        return pins(ChangeKind::Rebuild, build(old), build(new));
    }
    let (from, to) = sources(old, new)?;
    let source = |package: &LockedPackage, source| Pin { source: Some(source), ..version(package) };
    pins(ChangeKind::Source, source(old, from), source(new, to))
}

/// conda's order of versions; where one is none, that of text.
fn compare(old: &str, new: &str) -> Ordering {
    match (Version::from_str(old), Version::from_str(new)) {
        (Ok(old), Ok(new)) => old.cmp(&new),
        _ => old.cmp(new),
    }
}

/// What differs in where two packages come from: the channel, else the file, else the hash.
fn sources(old: &LockedPackage, new: &LockedPackage) -> Option<(String, String)> {
    let parts = |package: &LockedPackage| {
        let url = package.written_url();
        let file = url.rsplit('/').take(2).map(str::len).sum::<usize>() + 1;
        let (channel, file) = url.split_at(url.len().saturating_sub(file));
        (channel.to_owned(), file.to_owned())
    };
    let ((old_channel, old_file), (new_channel, new_file)) = (parts(old), parts(new));
    let differ = |old: String, new: String| (old != new).then_some((old, new));
    let hashes = |name: &str, old: &Option<String>, new: &Option<String>| {
        let (old, new) = (old.as_ref()?, new.as_ref()?);
        differ(format!("{name}:{old}"), format!("{name}:{new}"))
    };
    differ(old_channel, new_channel)
        .or_else(|| differ(old_file, new_file))
        .or_else(|| hashes("sha256", &old.sha256, &new.sha256))
        .or_else(|| hashes("md5", &old.md5, &new.md5))
}

fn sorted<'a>(subdirs: impl Iterator<Item = &'a Subdir>) -> Vec<Subdir> {
    let by_name: BTreeMap<&str, Subdir> = subdirs.map(|subdir| (subdir.as_str(), *subdir)).collect();
    by_name.into_values().collect()
}

fn names<S: Serializer>(subdirs: &[Subdir], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(subdirs.iter().map(|subdir| subdir.as_str()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A lock of `NAME VERSION BUILD`s for both Linux subdirs.
    pub fn lock(packages: &[&str]) -> Lock {
        let subdirs = vec![Subdir::Linux64, Subdir::LinuxAarch64];
        let packages = subdirs.iter().flat_map(|subdir| packages.iter().map(|text| package(*subdir, text)));
        Lock { packages: packages.collect(), subdirs: subdirs.clone(), ..Lock::default() }
    }

    pub fn package(subdir: Subdir, text: &str) -> LockedPackage {
        let [name, version, build] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let url = format!("https://conda.anaconda.org/conda-forge/{subdir}/{name}-{version}-{build}.conda");
        LockedPackage {
            name: name.into(),
            version: version.into(),
            manager: Manager::Conda,
            subdir,
            dependencies: BTreeMap::new(),
            url: url.parse().unwrap(),
            md5: Some("0".repeat(32)),
            sha256: None,
            category: "main".into(),
            optional: false,
        }
    }

    fn rows(diff: &LockDiff) -> Vec<String> {
        let row = |change: &Change| {
            let [old, new] = change.sides();
            let subdirs: Vec<_> = change.subdirs.iter().map(|subdir| subdir.as_str()).collect();
            format!("{} {}: {old} -> {new} on {}", change.kind, change.label(), subdirs.join("+"))
        };
        diff.changes.iter().map(row).collect()
    }

    #[test]
    fn every_kind_is_told_in_the_order_of_worth() {
        let old = lock(&["a 1.9 0", "b 1.0 h_0", "c 2.0 0", "d 1.0 0", "same 1 0"]);
        let new = lock(&["a 1.10 0", "b 1.0 h_1", "c 1.0rc1 0", "e 1.0 0", "same 1 0"]);
        let diff = LockDiff::between(&old, &new);
        let both = "linux-64+linux-aarch64";
        let expected = [
            format!("downgrade c: 2.0 -> 1.0rc1 on {both}"),
            format!("removal d: 1.0 ->  on {both}"),
            format!("addition e:  -> 1.0 on {both}"),
            format!("upgrade a: 1.9 -> 1.10 on {both}"),
            format!("rebuild b: 1.0 h_0 -> 1.0 h_1 on {both}"),
        ];
        assert_eq!(rows(&diff), expected);
        assert_eq!(diff.summary(), "1 downgraded, 1 removed, 1 added, 1 upgraded, 1 rebuilt");
        assert!(LockDiff::between(&old, &old).is_empty());
        assert_eq!(LockDiff::between(&old, &old).summary(), "no changes");
    }

    #[test]
    fn platforms_that_disagree_are_rows_of_their_own() {
        let old = lock(&["a 1.0 0"]);
        let mut new = lock(&["a 1.1 0"]);
        new.packages[1] = package(Subdir::LinuxAarch64, "a 0.9 0");
        let diff = LockDiff::between(&old, &new);
        assert_eq!(rows(&diff), ["downgrade a: 1.0 -> 0.9 on linux-aarch64", "upgrade a: 1.0 -> 1.1 on linux-64"]);
        // Builds differ between platforms as a rule; an upgrade on both is one row all the same.
        let mut other = lock(&["a 1.1 0"]);
        other.packages[1] = package(Subdir::LinuxAarch64, "a 1.1 other_0");
        assert_eq!(rows(&LockDiff::between(&old, &other)), ["upgrade a: 1.0 -> 1.1 on linux-64+linux-aarch64"]);
    }

    #[test]
    fn other_bytes_of_the_same_build_are_a_change_of_source() {
        let old = lock(&["a 1.0 0"]);
        let moved = |change: &dyn Fn(&mut LockedPackage)| {
            let mut new = old.clone();
            new.packages.iter_mut().for_each(change);
            rows(&LockDiff::between(&old, &new))
        };
        let url = |from: &'static str, to: &'static str| {
            move |package: &mut LockedPackage| package.url = package.url.as_str().replace(from, to).parse().unwrap()
        };
        assert_eq!(
            moved(&url("anaconda.org/conda-forge", "anaconda.org/other")),
            ["source a: 1.0 https://conda.anaconda.org/conda-forge/ -> 1.0 https://conda.anaconda.org/other/ on \
                 linux-64+linux-aarch64"]
        );
        assert_eq!(
            moved(&url(".conda", ".tar.bz2"))[0],
            "source a: 1.0 linux-64/a-1.0-0.conda -> 1.0 linux-64/a-1.0-0.tar.bz2 on linux-64"
        );
        let hash = moved(&|package: &mut LockedPackage| package.md5 = Some("1".repeat(32)));
        assert!(hash[0].starts_with("source a: 1.0 md5:000000000000 -> 1.0 md5:111111111111 on"), "{hash:?}");
        // A hash that one of the locks does not tell is no change.
        assert!(moved(&|package: &mut LockedPackage| package.sha256 = Some("2".repeat(64))).is_empty());
    }

    #[test]
    fn nothing_locked_before_is_all_added_and_platforms_are_told() {
        let diff = LockDiff::between(&Lock::default(), &lock(&["a 1.0 0"]));
        assert_eq!(rows(&diff), ["addition a:  -> 1.0 on linux-64+linux-aarch64"]);
        assert_eq!(diff.summary(), "1 added, linux-64 new, linux-aarch64 new");
    }

    #[test]
    fn order_of_packages_does_not_matter() {
        let old = lock(&["a 1 0", "b 1 0", "c 1 0"]);
        let mut new = lock(&["a 2 0", "b 2 0", "c 2 0"]);
        let expected = LockDiff::between(&old, &new);
        new.packages.reverse();
        new.subdirs.reverse();
        assert_eq!(LockDiff::between(&old, &new), expected);
    }
}
