//! What a builder gets besides the Dockerfile's text: a tar file of a folder, and of files that are made for it.
//!
//! The same files give the same bytes, whoever checked them out, so that the builder's cache holds: sorted, with one
//! time, nobody's in particular, executable or not.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::error::Error;
use super::ignore::Ignore;
use crate::oci::Digest;
use crate::oci::tar::{Entry, Kind, TarWriter};

/// Where esker keeps what it builds; never part of what it is built from.
const STATE: &str = ".esker";

/// What a Dockerfile is built with.
#[derive(Clone, Debug)]
pub struct Context {
    /// The folder whose files are sent, as far as `.dockerignore` lets them.
    pub folder: Option<PathBuf>,
    /// Files over those of the folder.
    pub files: Vec<ContextFile>,
    /// The path of the Dockerfile among them.
    pub dockerfile: String,
}

/// A file that is in no folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextFile {
    /// Its path, relative, with `/` between its parts.
    pub path: String,
    /// Whether it can be executed.
    pub executable: bool,
    /// Its content.
    pub content: Vec<u8>,
}

enum Content<'a> {
    Directory,
    Symlink(String),
    OnDisk(PathBuf, u64),
    Made(&'a [u8]),
}

impl Context {
    /// Writes the tar file to `sink`; all its entries are of the time `time`. A sink that takes no more ends the work
    /// without an error: whoever closed it knows why.
    ///
    /// # Errors
    /// [`Error::Context`] when a file cannot be read or not be sent.
    pub fn write(&self, time: u64, sink: impl Write) -> Result<(), Error> {
        let mut writer = TarWriter::new(sink);
        for (path, (mode, content)) in self.entries()? {
            let kind = match &content {
                Content::Directory => Kind::Directory,
                Content::Symlink(target) => Kind::Symlink(target.clone()),
                Content::OnDisk(_, size) => Kind::File(*size),
                Content::Made(bytes) => Kind::File(bytes.len() as u64),
            };
            let entry = Entry { path, kind, mode, uid: 0, gid: 0, mtime: time };
            let written = match content {
                Content::OnDisk(file, _) => {
                    let opened = fs_err::File::open(&file).map_err(Error::context(&file))?;
                    match writer.append(&entry, opened) {
                        // It changed while it was read, or cannot be read; a sink says that it is broken.
                        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                            return Err(Error::context(&file)(error));
                        }
                        written => written,
                    }
                }
                Content::Made(bytes) => writer.append(&entry, bytes),
                Content::Directory | Content::Symlink(_) => writer.append(&entry, io::empty()),
            };
            if written.is_err() {
                return Ok(());
            }
        }
        // As above: a sink's failure is told by who reads it.
        drop(writer.end().and_then(|mut sink| sink.flush()));
        Ok(())
    }

    /// What is sent, file by file, with its digest. Folders and links have no content.
    ///
    /// # Errors
    /// [`Error::Context`] when a file cannot be read or not be sent.
    pub fn digests(&self) -> Result<Vec<(String, Digest)>, Error> {
        let mut digests = Vec::new();
        for (path, (_, content)) in self.entries()? {
            let digest = match content {
                Content::Made(bytes) => Digest::of(bytes),
                Content::OnDisk(file, _) => {
                    let opened = fs_err::File::open(&file).map_err(Error::context(&file))?;
                    Digest::of_reader(BufReader::new(opened)).map_err(Error::context(&file))?.0
                }
                Content::Directory | Content::Symlink(_) => continue,
            };
            digests.push((path, digest));
        }
        Ok(digests)
    }

    /// The text of the Dockerfile; nothing where there is none, which its builder will say.
    pub fn dockerfile_text(&self) -> String {
        let made = self.files.iter().find(|file| file.path == self.dockerfile);
        let made = made.map(|file| String::from_utf8_lossy(&file.content).into_owned());
        let read = || fs_err::read_to_string(self.folder.as_ref()?.join(&self.dockerfile)).ok();
        made.or_else(read).unwrap_or_default()
    }

    fn entries(&self) -> Result<BTreeMap<String, (u32, Content<'_>)>, Error> {
        let mut entries = BTreeMap::new();
        if let Some(folder) = &self.folder {
            self.walk(folder, &self.ignore(folder)?, &mut entries)?;
        }
        for file in &self.files {
            entries.insert(file.path.clone(), (mode(file.executable), Content::Made(&file.content)));
        }
        Ok(entries)
    }

    fn walk(
        &self,
        folder: &Path,
        ignore: &Ignore,
        entries: &mut BTreeMap<String, (u32, Content<'_>)>,
    ) -> Result<(), Error> {
        let mut walk = WalkDir::new(folder).min_depth(1).into_iter();
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(folder).to_owned();
                Error::context(&path)(error.into())
            })?;
            let inside = entry.path().strip_prefix(folder).expect("it is below it");
            let path = inside.to_str().ok_or_else(|| not_sent(entry.path(), "its name is not UTF-8"))?.to_owned();
            let is_directory = entry.file_type().is_dir();
            // The builder needs these two, whatever the patterns say.
            let is_needed = path == self.dockerfile || path == ".dockerignore";
            if path == STATE || (ignore.excludes(&path) && !is_needed) {
                let may_hold = ignore.takes_back() || self.dockerfile.starts_with(&format!("{path}/"));
                if is_directory && (path == STATE || !may_hold) {
                    walk.skip_current_dir();
                }
                continue;
            }
            let found = found(entry.path(), entry.file_type())?;
            entries.insert(path, found);
        }
        Ok(())
    }

    /// The patterns beside the Dockerfile, for it alone, else those of the folder.
    fn ignore(&self, folder: &Path) -> Result<Ignore, Error> {
        for name in [format!("{}.dockerignore", self.dockerfile), ".dockerignore".to_owned()] {
            if let Some(file) = self.files.iter().find(|file| file.path == name) {
                return Ok(Ignore::parse(&String::from_utf8_lossy(&file.content)));
            }
            let path = folder.join(&name);
            match fs_err::read(&path) {
                Ok(text) => return Ok(Ignore::parse(&String::from_utf8_lossy(&text))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::context(&path)(error)),
            }
        }
        Ok(Ignore::default())
    }
}

fn found(path: &Path, kind: std::fs::FileType) -> Result<(u32, Content<'static>), Error> {
    if kind.is_dir() {
        return Ok((0o755, Content::Directory));
    }
    if kind.is_symlink() {
        let target = fs_err::read_link(path).map_err(Error::context(path))?;
        let target = target.to_str().ok_or_else(|| not_sent(path, "where it leads is not UTF-8"))?.to_owned();
        return Ok((0o777, Content::Symlink(target)));
    }
    if !kind.is_file() {
        return Err(not_sent(path, "it is no file, directory or symbolic link; name it in `.dockerignore`"));
    }
    let metadata = fs_err::metadata(path).map_err(Error::context(path))?;
    Ok((mode(metadata.permissions().mode() & 0o111 != 0), Content::OnDisk(path.to_owned(), metadata.len())))
}

const fn mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

fn not_sent(path: &Path, reason: &str) -> Error {
    Error::context(path)(io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::oci::entries::{Entries, EntryKind};

    fn listed(context: &Context) -> (Vec<u8>, Vec<String>) {
        let mut bytes = Vec::new();
        context.write(77, &mut bytes).unwrap();
        let mut entries = Entries::new(bytes.as_slice());
        let mut names = Vec::new();
        while let Some(entry) = entries.next_entry().unwrap() {
            assert_eq!((entry.mtime, entry.uid), (77, 0));
            let mark = if matches!(entry.kind, EntryKind::Symlink(_)) { "@" } else { "" };
            names.push(format!("{}{mark} {:o}", entry.path.display(), entry.mode));
        }
        (bytes, names)
    }

    #[test]
    fn a_folder_is_sent_as_its_patterns_say_and_made_files_lie_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        for path in ["Dockerfile", "b/one", "b/two.tmp", "c", "data/x", "data/keep", ".esker/images/big", "build.sh"] {
            write(path, path);
        }
        write(".dockerignore", "Dockerfile\n**/*.tmp\ndata\n!data/keep\n");
        std::os::unix::fs::symlink("c", dir.path().join("link")).unwrap();
        fs_err::set_permissions(dir.path().join("build.sh"), Permissions::from_mode(0o700)).unwrap();
        fs_err::set_permissions(dir.path().join("c"), Permissions::from_mode(0o600)).unwrap();
        let made = ContextFile { path: "c".into(), executable: true, content: b"made".to_vec() };
        let context =
            Context { folder: Some(dir.path().to_owned()), files: vec![made], dockerfile: "Dockerfile".into() };
        let (bytes, names) = listed(&context);
        let expected = [
            ".dockerignore 644",
            "Dockerfile 644",
            "b 755",
            "b/one 644",
            "build.sh 755",
            "c 755",
            "data/keep 644",
            "link@ 777",
        ];
        assert_eq!(names, expected);
        assert_eq!(listed(&context).0, bytes);
        let digests = context.digests().unwrap();
        let paths: Vec<_> = digests.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, [".dockerignore", "Dockerfile", "b/one", "build.sh", "c", "data/keep"]);
        assert_eq!([digests[2].1, digests[4].1], [Digest::of(b"b/one"), Digest::of(b"made")]);
        assert!(bytes.windows(4).any(|window| window == b"made"));
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let context = Context { folder: Some(dir.path().to_owned()), files: vec![], dockerfile: "Dockerfile".into() };
        let error = context.write(0, io::sink()).unwrap_err();
        assert!(error.to_string().contains("socket"), "{error}");
    }
}
