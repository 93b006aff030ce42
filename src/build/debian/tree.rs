//! The file system that packages are unpacked into: the base's, with what is added. Nothing of it is on disk but the
//! content of what is added, in one temporary file.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Seek, SeekFrom, Write};

use fs_err::File;

use super::error::Error;
use crate::oci::entries::{EntryKind, LayerEntry};

/// As many links as Linux follows in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A symbolic link to this target, as written.
    Symlink(String),
    /// A file that the base has.
    BaseFile,
    /// A file that is added: where its content begins in the temporary file, and how long it is. Those that begin at
    /// the same place are one file with several names.
    File(u64, u64),
    /// Anything else that the base has.
    BaseSpecial,
}

/// Whose a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No package's, as far as dpkg knows.
    Nobody,
    /// A package's of the base, or one that is being installed.
    Package(String),
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
    /// Whose it is.
    pub owner: Owner,
    /// Whether the layer has it.
    pub added: bool,
}

/// See the module's documentation. Paths are relative to the root, without `/` in front.
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    /// Paths of the base that are there no more.
    pub gone: Vec<String>,
    spool: File,
    spooled: u64,
}

impl Tree {
    /// An empty tree, with `spool` for contents.
    pub const fn new(spool: File) -> Self {
        Self { nodes: BTreeMap::new(), gone: Vec::new(), spool, spooled: 0 }
    }

    /// Adds a path of the base. One that is no UTF-8 is not met by any package.
    pub fn base(&mut self, entry: &LayerEntry) {
        let Some(path) = entry.path.to_str() else { return };
        let content = match &entry.kind {
            EntryKind::Directory => Content::Directory,
            EntryKind::Symlink(target) => Content::Symlink(target.to_string_lossy().into_owned()),
            EntryKind::File | EntryKind::Hardlink(_) => Content::BaseFile,
            EntryKind::Special(_) => Content::BaseSpecial,
        };
        let (mode, uid, gid, mtime) = (entry.mode, entry.uid, entry.gid, entry.mtime);
        let node = Node { content, mode, uid, gid, mtime, owner: Owner::Nobody, added: false };
        self.nodes.insert(path.to_owned(), node);
    }

    /// What is at `path`; links are not followed.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// [`get`](Self::get) to change it.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// All paths, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The paths below `folder`.
    pub fn below<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let start = format!("{folder}/");
        let range = self.nodes.range(start.clone()..);
        range.take_while(move |(path, _)| path.starts_with(&start)).map(|(path, node)| (path.as_str(), node))
    }

    /// Keeps `content` for a file, and returns what the file is.
    ///
    /// # Errors
    /// When the temporary file cannot be written; those of `content` as they are, in the second layer.
    pub fn keep(&mut self, content: &mut dyn Read, size: u64) -> std::io::Result<Content> {
        let start = self.spooled;
        self.spool.seek(SeekFrom::Start(start))?;
        let written = std::io::copy(&mut content.take(size), &mut self.spool)?;
        // An empty file begins where the next one does: a byte keeps them apart.
        self.spool.write_all(&[0])?;
        self.spooled += written + 1;
        if written == size { Ok(Content::File(start, size)) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The content of an added file.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn read(&mut self, start: u64, size: u64) -> std::io::Result<impl Read + '_> {
        self.spool.seek(SeekFrom::Start(start))?;
        Ok((&mut self.spool).take(size))
    }

    /// The content of the added file at `path`; `None` if it is none.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn added_bytes(&mut self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(&Node { content: Content::File(start, size), .. }) = self.get(path) else { return Ok(None) };
        let mut bytes = Vec::new();
        let spool = self.spool.path().to_owned();
        let read = self.read(start, size).and_then(|mut reader| reader.read_to_end(&mut bytes));
        read.map_err(|source| Error::Read { path: spool, source })?;
        Ok(Some(bytes))
    }

    /// Puts `node` at `path`, whose directories are there or are made.
    pub fn insert(&mut self, path: &str, node: Node) {
        for (end, _) in path.match_indices('/') {
            let directory = Node { content: Content::Directory, mode: 0o755, uid: 0, gid: 0, ..node.clone() };
            self.nodes.entry(path[..end].to_owned()).or_insert(directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// Removes `path`, which is no directory.
    pub fn remove(&mut self, path: &str) {
        if self.nodes.remove(path).is_some_and(|node| !node.added) {
            self.gone.push(path.to_owned());
        }
    }

    /// Writes a file of root's.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn write(&mut self, path: &str, bytes: &[u8], mode: u32, mtime: u64) -> Result<(), Error> {
        let spool = self.spool.path().to_owned();
        let content = self.keep(&mut &*bytes, bytes.len() as u64).map_err(Error::write(&spool))?;
        let owner = self.get(path).map_or(Owner::Nobody, |node| node.owner.clone());
        self.insert(path, Node { content, mode, uid: 0, gid: 0, mtime, owner, added: true });
        Ok(())
    }

    /// Makes a symbolic link.
    pub fn link(&mut self, path: &str, target: &str, mtime: u64) {
        let content = Content::Symlink(target.to_owned());
        self.insert(path, Node { content, mode: 0o777, uid: 0, gid: 0, mtime, owner: Owner::Nobody, added: true });
    }

    /// `path` with the links in its directories followed, its last part as it is. An absolute link starts at the root,
    /// and `..` stops there, so that nothing leads out.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn locate(&self, path: &str) -> Result<String, String> {
        let Some((parent, name)) = path.trim_start_matches('/').rsplit_once('/') else {
            return Ok(path.trim_start_matches('/').to_owned());
        };
        let parent = self.directory(parent)?;
        if !matches!(self.get(&parent).map(|node| &node.content), None | Some(Content::Directory)) {
            return Err(format!("leads through `/{parent}`, which is no directory"));
        }
        Ok(if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") })
    }

    /// Where `path` leads, all links followed, whether there is anything or not.
    ///
    /// # Errors
    /// When links go round in circles, or through what is no directory.
    pub fn directory(&self, path: &str) -> Result<String, String> {
        let mut rest: VecDeque<String> = parts(path).map(str::to_owned).collect();
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(part);
            let here = at.join("/");
            match self.get(&here).map(|node| &node.content) {
                None | Some(Content::Directory) => {}
                Some(Content::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(format!("leads through too many links, as `/{here}`"));
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(part.to_owned());
                    }
                }
                Some(_) if rest.is_empty() => {}
                Some(_) => return Err(format!("leads through `/{here}`, which is no directory")),
            }
        }
        Ok(at.join("/"))
    }

    /// What is at `path` when all links are followed.
    pub fn follow(&self, path: &str) -> Option<&Node> {
        self.get(&self.directory(path).ok()?)
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A tree of a base: directories end with `/`, links have ` -> `, everything else is a file.
    pub fn tree(paths: &[&str]) -> Tree {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let spool = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        let mut tree = Tree::new(spool);
        for path in paths {
            let (path, kind) = match (path.split_once(" -> "), path.strip_suffix('/')) {
                (Some((path, target)), _) => (path, EntryKind::Symlink(target.into())),
                (None, Some(path)) => (path, EntryKind::Directory),
                (None, None) => (*path, EntryKind::File),
            };
            tree.base(&LayerEntry { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, mtime: 1, size: 0 });
        }
        tree
    }

    #[test]
    fn links_are_followed_inside_only() {
        let tree =
            tree(&["usr/", "usr/lib/", "lib -> usr/lib", "out -> ../../etc", "abs -> /usr", "loop -> loop", "file"]);
        for (path, expected) in [
            ("lib/x.so", Ok("usr/lib/x.so")),
            ("/lib/new/x", Ok("usr/lib/new/x")),
            ("lib", Ok("lib")),
            ("out/passwd", Ok("etc/passwd")),
            ("abs/lib/x", Ok("usr/lib/x")),
            ("loop/x", Err("too many links")),
            ("file/x", Err("no directory")),
            ("file/x/y", Err("no directory")),
        ] {
            match (tree.locate(path), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{path}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{path}: {error}"),
                (found, _) => panic!("{path}: {found:?}"),
            }
        }
        assert_eq!(tree.follow("lib").unwrap().content, Content::Directory);
    }

    #[test]
    fn contents_are_kept_apart() {
        let mut tree = tree(&["etc/", "etc/old"]);
        tree.write("etc/empty", b"", 0o644, 5).unwrap();
        tree.write("etc/a/b", b"text", 0o600, 5).unwrap();
        assert_ne!(tree.get("etc/empty").unwrap().content, tree.get("etc/a/b").unwrap().content);
        assert_eq!(tree.added_bytes("etc/a/b").unwrap().unwrap(), b"text");
        assert_eq!(tree.added_bytes("etc/old").unwrap(), None, "the base's content is not here");
        assert!(tree.get("etc/a").unwrap().added && !tree.get("etc").unwrap().added);
        tree.remove("etc/old");
        tree.remove("etc/a/b");
        assert_eq!(tree.gone, ["etc/old"]);
    }
}
