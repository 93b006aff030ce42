//! The files of an image above its base, and what differs between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::build::base::BaseLayer;
use crate::oci::digest::HashingWriter;
use crate::oci::entries::{EntryKind, LayerEntry};
use crate::oci::error::Result;
use crate::oci::walk::{Cover, walk_layer};
use crate::oci::{Digest, Error, Layer};

/// A layer and the file that holds its blob.
pub type Stored = (Layer, PathBuf);

/// The layers with their blobs.
///
/// # Errors
/// When one is of a kind that is not known.
pub fn stored(layers: &[BaseLayer]) -> Result<Vec<Stored>> {
    let stored =
        |layer: &BaseLayer| Ok((Layer::new(&layer.descriptor, &layer.diff_id.to_string())?, layer.path.clone()));
    layers.iter().map(stored).collect()
}

/// Opens a layer's blob.
///
/// # Errors
/// When it is not there.
pub fn open(path: &PathBuf) -> Result<fs_err::File> {
    fs_err::File::open(path).map_err(|source| Error::Read { path: path.clone(), source })
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Directory, link, or file with its content.
    pub what: What,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Seconds since 1970.
    pub mtime: u64,
}

/// A kind of file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(String),
    /// Another name for this path.
    Hardlink(String),
    /// A file with this content: its digest, or the layer it is in, if both images have that.
    File(Digest),
}

/// Files by path, and in which of the layers each is.
#[derive(Clone, Debug, Default)]
pub struct Tree(pub BTreeMap<String, (Node, usize)>);

impl Tree {
    /// Lists `layers`. What is in one of `common` is not read: it is the same wherever that layer is. `None` if there is
    /// something that no layer of esker's has: a name that is not UTF-8, a device.
    ///
    /// # Errors
    /// When a layer cannot be read or is not what its digest says.
    pub fn read(layers: &[Stored], common: &BTreeSet<Digest>) -> Result<Option<Self>> {
        let (mut tree, mut is_foreign) = (Self::default(), false);
        let mut above = Cover::default();
        for (index, (layer, path)) in layers.iter().enumerate().rev() {
            let mut here = Cover::default();
            let known = common.contains(&layer.digest).then_some(layer.digest);
            let _whole = layer.read_from(open(path)?, &|_| {}, |content| {
                walk_layer(layer, content, &above, &mut here, &mut |entry, content| {
                    let node = node(entry, known, content)?;
                    match entry.path.to_str().zip(node) {
                        Some((path, node)) => drop(tree.0.insert(path.to_owned(), (node, index))),
                        None => is_foreign = true,
                    }
                    Ok(ControlFlow::Continue(()))
                })
            })?;
            above.extend(here);
        }
        Ok((!is_foreign).then_some(tree))
    }

    fn lists_directories(&self) -> bool {
        let is_directory = |path: &String| self.0.get(path).is_some_and(|(node, _)| node.what == What::Directory);
        self.0.keys().flat_map(|path| ancestors(path)).all(|above| is_directory(&above))
    }
}

fn node(entry: &LayerEntry, known: Option<Digest>, content: &mut dyn io::Read) -> Result<Option<Node>> {
    let text = |path: &PathBuf| path.to_str().map(str::to_owned);
    let what = match &entry.kind {
        EntryKind::Directory => Some(What::Directory),
        EntryKind::Symlink(target) => text(target).map(What::Symlink),
        EntryKind::Hardlink(target) => text(target).map(What::Hardlink),
        EntryKind::Special(_) => None,
        EntryKind::File => match known {
            Some(layer) => Some(What::File(layer)),
            None => {
                let mut hash = HashingWriter::new(io::sink());
                io::copy(content, &mut hash).map_err(Error::read(&entry.path))?;
                Some(What::File(hash.finish().1))
            }
        },
    };
    let (mode, owner, mtime) = (entry.mode, (entry.uid, entry.gid), entry.mtime);
    Ok(what.map(|what| Node { what, mode, owner, mtime }))
}

/// The paths of the files in `layers` that are seen; `None` if one is not UTF-8.
///
/// # Errors
/// When a layer cannot be read or is not what its digest says.
pub fn paths(layers: &[Stored]) -> Result<Option<BTreeSet<String>>> {
    let (mut paths, mut above) = (Some(BTreeSet::new()), Cover::default());
    for (layer, path) in layers.iter().rev() {
        let mut here = Cover::default();
        let _whole = layer.read_from(open(path)?, &|_| {}, |content| {
            walk_layer(layer, content, &above, &mut here, &mut |entry, _| {
                match (entry.path.to_str(), &mut paths) {
                    (Some(path), Some(paths)) => drop(paths.insert(path.to_owned())),
                    _ => paths = None,
                }
                Ok(ControlFlow::Continue(()))
            })
        })?;
        above.extend(here);
    }
    Ok(paths)
}

/// What has to be laid over one tree to make another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Files and links that are written, and directories, with all above what is written or removed.
    pub written: BTreeSet<String>,
    /// Paths that are removed with all that is below them.
    pub removed: BTreeSet<String>,
}

impl Difference {
    /// From `old` to `new`; `None` if hard links lead from one layer to another, or a directory has no entry of its own.
    pub fn between(old: &Tree, new: &Tree) -> Option<Self> {
        if ![old, new].iter().all(|tree| tree.lists_directories()) {
            return None;
        }
        let differs = |path: &&String| old.0.get(*path).map(|(node, _)| node) != new.0.get(*path).map(|(node, _)| node);
        let mut written: BTreeSet<String> = new.0.keys().filter(differs).cloned().collect();
        add_links(&mut written, new)?;
        let removed = removed(old, new);
        let above: BTreeSet<String> = written.iter().chain(&removed).flat_map(|path| ancestors(path)).collect();
        written.extend(above.into_iter().filter(|path| new.0.contains_key(path)));
        Some(Self { written, removed })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.removed.is_empty()
    }
}

/// The directories above `path`, the nearest first.
pub fn ancestors(path: &str) -> impl Iterator<Item = String> + '_ {
    path.rmatch_indices('/').map(|(end, _)| path[..end].to_owned())
}

/// All names of one file are written, or none: a link in one layer to a file in another means different things to
/// different clients.
fn add_links(written: &mut BTreeSet<String>, new: &Tree) -> Option<()> {
    let mut names: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for (path, (node, layer)) in &new.0 {
        if let What::Hardlink(target) = &node.what {
            new.0.get(target).filter(|(_, other)| other == layer)?;
            names.entry(target).or_default().extend([path, target]);
        }
    }
    for group in names.values() {
        if group.iter().any(|name| written.contains(*name)) {
            written.extend(group.iter().copied().cloned());
        }
    }
    Some(())
}

/// The uppermost of the paths that are gone and that nothing else stands in the way of.
fn removed(old: &Tree, new: &Tree) -> BTreeSet<String> {
    let there: BTreeSet<String> = new.0.keys().flat_map(|path| ancestors(path).chain([path.clone()])).collect();
    let is_replaced = |path: &str| {
        ancestors(path).any(|above| new.0.get(&above).is_some_and(|(node, _)| node.what != What::Directory))
    };
    let gone = old.0.keys().filter(|path| !there.contains(*path) && !is_replaced(path));
    let uppermost = |path: &String| ancestors(path).filter(|above| !there.contains(above)).last();
    gone.map(|path| uppermost(path).unwrap_or_else(|| path.clone())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(files: &[(&str, What)]) -> Tree {
        let node = |what: &What| Node { what: what.clone(), mode: 0o644, owner: (0, 0), mtime: 0 };
        Tree(files.iter().map(|(path, what)| ((*path).to_owned(), (node(what), 0))).collect())
    }

    fn file(content: &str) -> What {
        What::File(Digest::of(content.as_bytes()))
    }

    fn difference(old: &[(&str, What)], new: &[(&str, What)]) -> (Vec<String>, Vec<String>) {
        let difference = Difference::between(&tree(old), &tree(new)).unwrap();
        (difference.written.into_iter().collect(), difference.removed.into_iter().collect())
    }

    #[test]
    fn what_changed_is_written_with_its_directories() {
        let directory = || What::Directory;
        let old = [("a", directory()), ("a/b", file("1")), ("a/c", file("2")), ("d", directory()), ("d/e", file("3"))];
        let mut new = old.clone();
        assert!(Difference::between(&tree(&old), &tree(&new)).unwrap().is_empty());
        new[1].1 = file("other");
        assert_eq!(difference(&old, &new), (vec!["a".into(), "a/b".into()], vec![]));
        assert_eq!(difference(&old, &old[..3]), (vec![], vec!["d".into()]), "with all below it");
        assert_eq!(difference(&old, &old[..4]), (vec!["d".into()], vec!["d/e".into()]));
    }

    #[test]
    fn what_another_kind_replaces_is_not_removed_as_well() {
        let old = [("d", What::Directory), ("d/e", file("3"))];
        assert_eq!(difference(&old, &[("d", What::Symlink("x".into()))]), (vec!["d".into()], vec![]));
        let new = [("d", file("1"))];
        assert_eq!(difference(&new, &old), (vec!["d".into(), "d/e".into()], vec![]));
    }

    /// Files and directories up to three levels deep, nothing below a file.
    fn any_tree() -> impl Strategy<Value = Tree> {
        let path = prop::collection::vec(0_u8..3, 1..4);
        prop::collection::btree_map(path, 0_u8..6, 0..12).prop_map(|all| {
            let mut files = Tree::default();
            for (path, kind) in all {
                let path = path.iter().map(|part| format!("p{part}")).collect::<Vec<_>>().join("/");
                let what = match kind {
                    0..=2 => file(&kind.to_string()),
                    3 => What::Symlink("p0".into()),
                    _ => What::Directory,
                };
                let blocked =
                    ancestors(&path).any(|up| files.0.get(&up).is_some_and(|(n, _)| n.what != What::Directory));
                if !blocked {
                    let above: Vec<String> = ancestors(&path).collect();
                    files.0.extend(tree(&above.iter().map(|up| (up.as_str(), What::Directory)).collect::<Vec<_>>()).0);
                    files.0.extend(tree(&[(&path, what)]).0);
                }
            }
            files
        })
    }

    proptest! {
        /// As clients do it: whiteouts first, then what is written, which replaces what is not a directory.
        #[test]
        fn old_and_difference_are_new(old in any_tree(), new in any_tree()) {
            let difference = Difference::between(&old, &new).unwrap();
            let below = |path: &str, up: &str| path.strip_prefix(up).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let mut laid = old.0.clone();
            laid.retain(|path, _| !difference.removed.iter().any(|gone| below(path, gone)));
            for path in &difference.written {
                let node = new.0[path].clone();
                if node.0.what != What::Directory {
                    laid.retain(|other, _| other == path || !below(other, path));
                }
                laid.insert(path.clone(), node);
            }
            prop_assert_eq!(laid, new.0);
        }
    }

    #[test]
    fn hard_links_are_written_together() {
        let links = |content: &str| [("a", file(content)), ("b", What::Hardlink("a".into())), ("c", file("c"))];
        assert_eq!(difference(&links("1"), &links("2")), (vec!["a".into(), "b".into()], vec![]));
        let mut apart = tree(&links("2"));
        apart.0.get_mut("b").unwrap().1 = 1;
        assert_eq!(Difference::between(&tree(&links("1")), &apart), None);
        assert_eq!(Difference::between(&tree(&[]), &tree(&[("a/b", file("1"))])), None, "nobody knows whose `a` is");
    }
}
