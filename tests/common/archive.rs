//! Archives of conda packages, the same bytes every time.
//!
//! What a well-behaved builder makes is written by rattler's writer. Hard links and hostile paths, which it would
//! never write, are put together by hand.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use rattler_conda_types::compression_level::CompressionLevel;
use rattler_digest::{Md5, Sha256, compute_bytes_digest};
use rattler_package_streaming::write::{write_conda_package, write_tar_bz2_package};
use serde_json::{Value, json};

use super::package::{PLACEHOLDER, TIMESTAMP};

/// A member of a package.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub path: String,
    pub what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    File {
        content: Vec<u8>,
        executable: bool,
        prefix: Option<&'static str>,
    },
    Symlink(String),
    HardLink(String),
    Hostile(Vec<u8>),
    Unlisted(Vec<u8>),
    /// A file whose line in `paths.json` is another's.
    Lying(Vec<u8>),
    /// A member of another type or mode.
    Special(tar::EntryType, u32),
    /// So many zeros.
    Zeros(u64),
}

pub(super) fn md5(bytes: &[u8]) -> String {
    hex::encode(compute_bytes_digest::<Md5>(bytes))
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(compute_bytes_digest::<Sha256>(bytes))
}

impl What {
    pub fn file(content: &[u8]) -> Self {
        Self::File { content: content.to_vec(), executable: false, prefix: None }
    }
}

impl Entry {
    /// `info/NAME`, as conda-build formats it.
    pub fn info(name: &str, content: &Value) -> Self {
        let content = serde_json::to_string_pretty(content).expect("JSON serialises");
        Self { path: format!("info/{name}"), what: What::file(content.as_bytes()) }
    }

    /// The same with `{subdir}` filled in.
    pub fn for_subdir(&self, subdir: &str) -> Self {
        let fill = |content: &[u8]| match std::str::from_utf8(content) {
            Ok(text) => text.replace("{subdir}", subdir).into_bytes(),
            Err(_) => content.to_vec(),
        };
        let what = match &self.what {
            What::File { content, executable, prefix } => {
                What::File { content: fill(content), executable: *executable, prefix: *prefix }
            }
            What::Symlink(target) => What::Symlink(target.replace("{subdir}", subdir)),
            other => other.clone(),
        };
        Self { path: self.path.clone(), what }
    }

    /// Its entry in `info/paths.json`.
    pub fn paths_json(&self) -> Option<Value> {
        let file = |content: &[u8]| {
            json!({
                "_path": self.path,
                "path_type": "hardlink",
                "sha256": sha256(content),
                "size_in_bytes": content.len(),
            })
        };
        match &self.what {
            What::File { content, prefix, .. } => {
                let mut entry = file(content);
                if let Some(mode) = prefix {
                    entry["prefix_placeholder"] = PLACEHOLDER.into();
                    entry["file_mode"] = (*mode).into();
                }
                Some(entry)
            }
            What::Symlink(_) => Some(json!({ "_path": self.path, "path_type": "softlink" })),
            What::HardLink(_) => Some(json!({ "_path": self.path, "path_type": "hardlink" })),
            What::Hostile(content) => Some(file(content)),
            What::Lying(content) => Some(file(&[content.as_slice(), b"!"].concat())),
            What::Special(..) => Some(file(&[])),
            What::Zeros(size) => Some(json!({ "_path": self.path, "path_type": "hardlink", "size_in_bytes": size })),
            What::Unlisted(_) => None,
        }
    }

    fn needs_hand(&self) -> bool {
        matches!(self.what, What::HardLink(_) | What::Hostile(_) | What::Lying(_) | What::Special(..) | What::Zeros(_))
    }
}

/// A `.conda` archive.
pub(super) fn conda(stem: &str, entries: &[Entry]) -> Vec<u8> {
    if entries.iter().any(Entry::needs_hand) { conda_by_hand(stem, entries) } else { conda_by_rattler(stem, entries) }
}

/// A `.tar.bz2` archive; of files and symlinks only.
pub(super) fn tar_bz2(entries: &[Entry]) -> Vec<u8> {
    assert!(!entries.iter().any(Entry::needs_hand), "rattler's writer makes neither hard links nor hostile paths");
    let (folder, paths) = lay_out(entries);
    let mut bytes = Vec::new();
    write_tar_bz2_package(&mut bytes, folder.path(), &paths, CompressionLevel::Lowest, Some(&timestamp()), None)
        .expect("the writer takes plain files");
    bytes
}

fn conda_by_rattler(stem: &str, entries: &[Entry]) -> Vec<u8> {
    let (folder, paths) = lay_out(entries);
    let mut bytes = Cursor::new(Vec::new());
    let (level, time) = (CompressionLevel::Lowest, timestamp());
    write_conda_package(&mut bytes, folder.path(), &paths, level, Some(1), stem, Some(&time), None)
        .expect("the writer takes plain files");
    bytes.into_inner()
}

fn timestamp() -> jiff::Timestamp {
    jiff::Timestamp::from_second(TIMESTAMP).expect("a time of this century")
}

fn lay_out(entries: &[Entry]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let paths = entries.iter().map(|entry| lay_out_one(folder.path(), entry)).collect();
    (folder, paths)
}

fn lay_out_one(folder: &Path, entry: &Entry) -> PathBuf {
    let path = folder.join(&entry.path);
    fs_err::create_dir_all(path.parent().expect("it is below the folder")).expect("a folder");
    match &entry.what {
        What::Symlink(target) => fs_err::os::unix::fs::symlink(target, &path).expect("a symlink"),
        What::File { content, executable, .. } => {
            use std::os::unix::fs::PermissionsExt;
            fs_err::write(&path, content).expect("a file");
            let mode = if *executable { 0o755 } else { 0o644 };
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        }
        What::Unlisted(content) => fs_err::write(&path, content).expect("a file"),
        What::HardLink(_) | What::Hostile(_) | What::Lying(_) | What::Special(..) | What::Zeros(_) => {
            unreachable!("these are written by hand")
        }
    }
    path
}

fn conda_by_hand(stem: &str, entries: &[Entry]) -> Vec<u8> {
    let mut outer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    let mut member = |name: &str, content: &[u8]| {
        outer.start_file(name, options).expect("a member");
        outer.write_all(content).expect("memory takes it");
    };
    let (info, files): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.path.starts_with("info/"));
    member("metadata.json", br#"{"conda_pkg_format_version":2}"#);
    member(&format!("pkg-{stem}.tar.zst"), &tar_zst(&files));
    member(&format!("info-{stem}.tar.zst"), &tar_zst(&info));
    outer.finish().expect("memory takes it").into_inner()
}

fn tar_zst(entries: &[&Entry]) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).expect("a level that there is"));
    for entry in entries {
        append(&mut tar, entry);
    }
    tar.into_inner().and_then(zstd::Encoder::finish).expect("memory takes it")
}

fn append(tar: &mut tar::Builder<impl Write>, entry: &Entry) {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(TIMESTAMP.unsigned_abs());
    header.set_mode(0o644);
    header.set_size(0);
    let (content, link): (&[u8], Option<(tar::EntryType, &str)>) = match &entry.what {
        What::File { content, executable, .. } => {
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            (content, None)
        }
        What::Hostile(content) | What::Unlisted(content) | What::Lying(content) => (content, None),
        What::Special(kind, mode) => {
            header.set_mode(*mode);
            header.set_entry_type(*kind);
            (&[], None)
        }
        What::Zeros(_) => (&[], None),
        What::Symlink(target) => (&[], Some((tar::EntryType::Symlink, target))),
        What::HardLink(target) => (&[], Some((tar::EntryType::Link, target))),
    };
    if let Some((kind, target)) = link {
        header.set_entry_type(kind);
        header.set_link_name(target).expect("a short target");
    }
    let zeros = if let What::Zeros(size) = entry.what { size } else { 0 };
    header.set_size(content.len() as u64 + zeros);
    // Straight into the header: the safe setter refuses `..` and absolute paths.
    let name = &mut header.as_gnu_mut().expect("made as GNU").name;
    assert!(entry.path.len() <= name.len(), "a path by hand has at most {} bytes", name.len());
    name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
    header.set_cksum();
    tar.append(&header, content.chain(std::io::repeat(0).take(zeros))).expect("memory takes it");
}
