//! Takes entries out of the cache, the least recently used first.
//!
//! Entries are moved away while nobody marks anything, which is quick, and removed afterwards.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tempfile::TempDir;

use super::run::Turn;
use super::{Cache, Entry, Error};

/// What goes. With neither a size nor an age, everything does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// As much as is needed for the rest to have at most so many bytes.
    pub max_size: Option<u64>,
    /// What was not used for so long.
    pub older_than: Option<Duration>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Entries that were removed.
    pub removed: usize,
    /// Their bytes.
    pub freed: u64,
    /// Entries that should have gone, but for somebody who may be using them.
    pub held: usize,
    /// Bytes that are left.
    pub left: u64,
}

impl Cache {
    /// Removes what `rule` says, but for what a run that is still going may rely on.
    ///
    /// # Errors
    /// When a folder cannot be read or an entry not be moved.
    pub fn prune(&self, rule: Rule) -> Result<Pruned, Error> {
        if !self.root.exists() {
            return Ok(Pruned::default());
        }
        let temporary = self.temporary();
        fs_err::create_dir_all(&temporary).map_err(Error::write(&temporary))?;
        let trash =
            tempfile::Builder::new().prefix("gone-").tempdir_in(&temporary).map_err(Error::write(&temporary))?;
        let mut entries = self.entries()?;
        entries.sort_by(|a, b| a.age().cmp(&b.age()));
        let total: u64 = entries.iter().map(|entry| entry.size).sum();
        let mut pruned = Pruned { left: total, ..Pruned::default() };
        let turn = Turn::alone(&self.root)?;
        let oldest_run = self.oldest_run();
        let now = SystemTime::now();
        for entry in entries {
            if !rule.wants(&entry, pruned.left, now) {
                continue;
            }
            // Somebody may have come to rely on it since it was listed.
            let Some(entry) = entry.again() else { continue };
            if oldest_run.is_some_and(|begun| !entry.kind.is_marked() || entry.used >= begun) {
                pruned.held += 1;
                continue;
            }
            move_away(&entry, &trash, pruned.removed)?;
            pruned.removed += 1;
            pruned.freed += entry.size;
            pruned.left = pruned.left.saturating_sub(entry.size);
        }
        drop(turn);
        trash.close().map_err(Error::write(&temporary))?;
        Ok(pruned)
    }

    /// Moves `entries`, of which nothing is worth keeping, out of the way and removes them.
    ///
    /// # Errors
    /// When one cannot be moved.
    pub(super) fn discard(&self, entries: &[Entry]) -> Result<(), Error> {
        let temporary = self.temporary();
        let trash =
            tempfile::Builder::new().prefix("gone-").tempdir_in(&temporary).map_err(Error::write(&temporary))?;
        let turn = Turn::alone(&self.root)?;
        for (number, entry) in entries.iter().enumerate() {
            move_away(entry, &trash, number)?;
        }
        drop(turn);
        trash.close().map_err(Error::write(&temporary))
    }
}

/// Entries that were used within so many seconds of each other were used by the same build, one after another: which of
/// them goes first is a question of what it is.
const TOGETHER: u64 = 3600;

impl Entry {
    /// Orders entries: those that are to go first come first.
    fn age(&self) -> (u64, u8, SystemTime, &str) {
        let seconds = self.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        (seconds / TOGETHER, self.kind.worth(), self.used, &self.name)
    }
}

impl Rule {
    fn wants(&self, entry: &Entry, left: u64, now: SystemTime) -> bool {
        let unused = now.duration_since(entry.used).unwrap_or_default();
        match (self.max_size, self.older_than) {
            (None, None) => true,
            (size, age) => size.is_some_and(|size| left > size) || age.is_some_and(|age| unused >= age),
        }
    }
}

fn move_away(entry: &Entry, trash: &TempDir, number: usize) -> Result<(), Error> {
    for (part, path) in entry.paths.iter().enumerate() {
        match fs_err::rename(path, trash.path().join(format!("{number}-{part}"))) {
            // Another one of us was quicker.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            moved => moved.map_err(Error::write(path))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fs_err::File;

    use super::*;
    use crate::cache::{Kind, Run, rely_on};

    /// A cache with three fragments of 10 bytes, used 30, 20 and 10 days ago.
    fn cache() -> (TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        for days in [30, 20, 10] {
            let shelf = folder.path().join(format!("fragments/{days}"));
            fs_err::create_dir_all(&shelf).unwrap();
            for (file, content) in [(format!("{days}ff"), "123456"), (format!("{days}ff.json"), "1234")] {
                fs_err::write(shelf.join(&file), content).unwrap();
                let time = SystemTime::now() - Duration::from_secs(days * 86400 + 3600);
                File::options().write(true).open(shelf.join(&file)).unwrap().file().set_modified(time).unwrap();
            }
        }
        (folder, cache)
    }

    fn names(cache: &Cache) -> Vec<String> {
        cache.entries().unwrap().into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let (_folder, cache) = cache();
        let pruned = cache.prune(Rule { max_size: Some(20), older_than: None }).unwrap();
        assert_eq!(pruned, Pruned { removed: 1, freed: 10, held: 0, left: 20 });
        assert_eq!(names(&cache), ["10ff", "20ff"]);
        let pruned = cache.prune(Rule { max_size: None, older_than: Some(Duration::from_secs(20 * 86400)) }).unwrap();
        assert_eq!((pruned.removed, names(&cache)), (1, vec!["10ff".to_owned()]));
        assert_eq!(cache.prune(Rule::default()).unwrap().left, 0);
        assert!(names(&cache).is_empty());
    }

    #[test]
    fn of_what_was_used_together_packages_go_first_and_notes_last() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["layers/aa/aa.json", "fragments/aa/aa", "fragments/aa/aa.json", "packages/aa/a.conda"];
        for (second, path) in (0..).zip(paths) {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, "1234").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + second);
            File::options().write(true).open(&path).unwrap().file().set_modified(time).unwrap();
        }
        let cache = Cache::new(folder.path());
        for (size, left) in [(12, vec![Kind::Fragments, Kind::Layers]), (4, vec![Kind::Layers]), (0, vec![])] {
            cache.prune(Rule { max_size: Some(size), older_than: None }).unwrap();
            assert_eq!(cache.entries().unwrap().iter().map(|entry| entry.kind).collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn what_a_run_relies_on_stays() {
        let (folder, cache) = cache();
        let seen = folder.path().join("seen");
        fs_err::create_dir_all(&seen).unwrap();
        fs_err::write(seen.join("x"), "x").unwrap();
        let run = Run::begin(folder.path()).unwrap();
        assert!(rely_on(folder.path(), &folder.path().join("fragments/20/20ff.json")));
        assert!(!rely_on(folder.path(), &folder.path().join("fragments/20/no.json")));
        let pruned = cache.prune(Rule::default()).unwrap();
        assert_eq!((pruned.removed, pruned.held), (2, 2), "of `seen` nobody knows who uses it");
        assert_eq!(names(&cache), ["20ff", "x"]);
        drop(run);
        assert_eq!(cache.prune(Rule::default()).unwrap().held, 0);
        assert!(names(&cache).is_empty());
    }

    #[test]
    fn no_cache_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("none"));
        assert!(cache.entries().unwrap().is_empty());
        assert_eq!(cache.prune(Rule::default()).unwrap(), Pruned::default());
        assert!(!cache.path().exists());
    }

    #[test]
    fn every_kind_has_a_folder_of_its_own() {
        let folders: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.folder()).collect();
        assert_eq!(folders.len(), Kind::ALL.len());
    }
}
