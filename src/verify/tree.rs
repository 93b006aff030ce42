//! The final file system of an image, read from its layers: every path with its owner and mode, and the content of
//! the files that checks look into. It is the truth about owners, and all there is for a platform that cannot run.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::oci::digest::HashingWriter;
use crate::oci::entries::{EntryKind, LayerEntry};
use crate::oci::walk::{Cover, walk_layer};
use crate::oci::{Digest, Error, Image, Layer, Layout};

/// The most bytes taken from one file, and from all together: conda's records of a thousand packages are some 100 MiB.
const MAX_FILE: u64 = 64 << 20;
const MAX_TOTAL: u64 = 1 << 30;
/// How many symbolic links are followed one after another.
const MAX_LINKS: usize = 8;

/// One path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Digest of its content, if it was asked for.
    pub digest: Option<Digest>,
}

/// What of the content of files is kept.
pub struct Wanted<'a> {
    /// Whether a file of this path and size is kept as it is.
    pub content: &'a (dyn Fn(&str, u64) -> bool + Sync),
    /// Whether a file of this path is hashed.
    pub digest: &'a (dyn Fn(&str) -> bool + Sync),
}

/// The paths of an image, relative to its root, and the content of some files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Every path. One that is no UTF-8 has its odd bytes replaced.
    pub nodes: BTreeMap<String, Node>,
    /// Content of the files that were asked for.
    pub contents: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// Reads all layers of `image` once, side by side, and keeps what is `wanted` of files.
    ///
    /// # Errors
    /// When a layer is missing or damaged, or a wanted file is enormous.
    pub fn read(image: &Image, layout: &Layout, wanted: &Wanted<'_>) -> Result<Self, Error> {
        let total = AtomicU64::new(0);
        let parts = image.layers.par_iter().map(|layer| Part::read(layer, layout, wanted, &total));
        let parts: Vec<_> = parts.collect::<Result<_, _>>()?;
        let mut tree = Self::default();
        let mut above = Cover::default();
        for mut part in parts.into_iter().rev() {
            part.nodes.retain(|path, _| !above.hides(path));
            for (path, (node, content)) in part.nodes {
                let path = path.to_string_lossy().into_owned();
                tree.contents.extend(content.map(|content| (path.clone(), content)));
                tree.nodes.insert(path, node);
            }
            above.extend(part.cover);
        }
        Ok(tree)
    }

    /// The paths below `directory`, which is given without a slash at either end.
    pub fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let start = format!("{directory}/");
        self.nodes
            .range(start.clone()..)
            .take_while(move |(path, _)| path.starts_with(&start))
            .map(|(path, node)| (path.as_str(), node))
    }

    /// What is at `path`, hard links and symbolic links of the last part followed.
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.follow(path).and_then(|path| self.nodes.get(&path))
    }

    /// The content of the file at `path`, links followed, if it was asked for.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.follow(path).and_then(|path| self.contents.get(&path)).map(Vec::as_slice)
    }

    /// [`content`](Self::content) as text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.content(path).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    fn follow(&self, path: &str) -> Option<String> {
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            path = match &self.nodes.get(&path)?.kind {
                EntryKind::Symlink(target) => resolve(&path, target)?,
                EntryKind::Hardlink(target) => target.to_str()?.to_owned(),
                _ => return Some(path),
            };
        }
        None
    }
}

/// What one layer has, whatever those above it make of that.
#[derive(Default)]
struct Part {
    nodes: BTreeMap<PathBuf, (Node, Option<Vec<u8>>)>,
    cover: Cover,
}

impl Part {
    /// Reads a layer. What is kept of all layers is counted in `total`.
    fn read(layer: &Layer, layout: &Layout, wanted: &Wanted<'_>, total: &AtomicU64) -> Result<Self, Error> {
        let (mut nodes, mut cover) = (BTreeMap::new(), Cover::default());
        let _whole = layer.read(layout, &|_| {}, |content| {
            walk_layer(layer, content, &Cover::default(), &mut cover, &mut |entry, content| {
                let (content, digest) = match entry.kind {
                    EntryKind::File => keep(entry, content, wanted, total)?,
                    _ => (None, None),
                };
                let node = Node { kind: entry.kind.clone(), mode: entry.mode, uid: entry.uid, gid: entry.gid, digest };
                nodes.insert(entry.path.clone(), (node, content));
                Ok(ControlFlow::Continue(()))
            })
        })?;
        Ok(Self { nodes, cover })
    }
}

/// What is wanted of a file: its content, its digest, both or neither.
fn keep(
    entry: &LayerEntry,
    content: &mut dyn Read,
    wanted: &Wanted<'_>,
    total: &AtomicU64,
) -> Result<(Option<Vec<u8>>, Option<Digest>), Error> {
    let (path, unreadable) = (entry.path.to_string_lossy(), Error::read(&entry.path));
    let hashes = (wanted.digest)(&path);
    if (wanted.content)(&path, entry.size) {
        let before = total.fetch_add(entry.size, Ordering::Relaxed);
        if entry.size > MAX_FILE || before.saturating_add(entry.size) > MAX_TOTAL {
            return Err(Error::TooLarge { what: path.into_owned(), size: entry.size, limit: MAX_FILE });
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(unreadable)?;
        let digest = hashes.then(|| Digest::of(&bytes));
        return Ok((Some(bytes), digest));
    }
    if !hashes {
        return Ok((None, None));
    }
    let mut hash = HashingWriter::new(io::sink());
    io::copy(content, &mut hash).map_err(unreadable)?;
    Ok((None, Some(hash.finish().1)))
}

/// Where a link at `path` leads, relative to the root.
fn resolve(path: &str, target: &Path) -> Option<String> {
    let joined = Path::new("/").join(path).parent()?.join(target);
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.to_str()?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, EntryKind)]) -> Tree {
        let node = |kind: &EntryKind| Node { kind: kind.clone(), mode: 0o644, uid: 0, gid: 0, digest: None };
        let nodes = entries.iter().map(|(path, kind)| ((*path).to_owned(), node(kind))).collect();
        let files = entries.iter().filter(|(_, kind)| *kind == EntryKind::File);
        Tree { nodes, contents: files.map(|(path, _)| ((*path).to_owned(), path.as_bytes().to_vec())).collect() }
    }

    #[test]
    fn links_lead_to_content_and_loops_to_nothing() {
        let tree = tree(&[
            ("a/file", EntryKind::File),
            ("a/hard", EntryKind::Hardlink("a/file".into())),
            ("b/soft", EntryKind::Symlink("../a/hard".into())),
            ("b/absolute", EntryKind::Symlink("/a/file".into())),
            ("b/loop", EntryKind::Symlink("loop".into())),
        ]);
        for path in ["a/file", "a/hard", "b/soft", "b/absolute"] {
            assert_eq!(tree.text(path), Some("a/file"), "{path}");
        }
        assert_eq!(tree.content("b/loop"), None);
    }

    #[test]
    fn below_is_exact() {
        let tree = tree(&[("srv", EntryKind::Directory), ("srv-x/f", EntryKind::File), ("srv/f", EntryKind::File)]);
        assert_eq!(tree.below("srv").map(|(path, _)| path).collect::<Vec<_>>(), ["srv/f"]);
    }
}
