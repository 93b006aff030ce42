//! Reads the archive that `docker save` writes, of engines old and new, and makes its layers normal on the way.
//!
//! `manifest.json`, which says what each file is, comes last. So what is small is remembered, and what is large is taken
//! for a layer when it comes: it goes to a temporary file, and from there, if nobody has made a layer of it before,
//! through [`normalise`] into the layout.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use oci_spec::image::Descriptor;
use serde::Deserialize;
use serde_json::Value;
use tempfile::SpooledTempFile;

use super::error::Error;
use super::known::{Kept, Known};
use super::normal::normalise;
use crate::oci::digest::HashingWriter;
use crate::oci::entries::{Entries, EntryKind};
use crate::oci::{Compression, Digest};

/// What is smaller is kept in memory: configurations are, and most layers that a person writes.
const SMALL: u64 = 1 << 20;
const BUFFER: usize = 1 << 18;

/// An image that was taken out of an engine.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Its configuration as the engine has it.
    pub configuration: Value,
    /// Its layers, in the layout, the lowest first; and how many were there before.
    pub layers: Vec<Kept>,
    /// How many of them were there before.
    pub reused: usize,
}

/// `manifest.json` (moby's image-spec v1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// A layer of the archive: what it was, what it is now, and whether that was there.
type Taken = (Digest, Kept, bool);

struct Reader<'a> {
    image: &'a str,
    known: &'a Known,
    small: BTreeMap<PathBuf, Vec<u8>>,
    links: BTreeMap<PathBuf, PathBuf>,
    taken: BTreeMap<PathBuf, Taken>,
}

/// Reads the archive of the image that the engine calls `image`.
///
/// # Errors
/// [`Error::Transfer`] when it ends early, [`Error::Saved`] when it holds no image; when the layout cannot be written.
pub fn read(archive: impl Read, image: &str, known: &Known) -> Result<Saved, Error> {
    let mut reader = Reader { image, known, small: BTreeMap::new(), links: BTreeMap::new(), taken: BTreeMap::new() };
    reader.files(archive)?;
    reader.image()
}

impl Reader<'_> {
    fn files(&mut self, archive: impl Read) -> Result<(), Error> {
        let failed = |source| Error::Transfer { image: self.image.to_owned(), source };
        let mut entries = Entries::new(BufReader::with_capacity(BUFFER, archive));
        while let Some(entry) = entries.next_entry().map_err(failed)? {
            match entry.kind {
                EntryKind::File if entry.size > SMALL => {
                    let taken = take(&mut entries, self.image, self.known)?;
                    self.taken.insert(entry.path, taken);
                }
                EntryKind::File => {
                    let mut bytes = Vec::new();
                    entries.read_to_end(&mut bytes).map_err(failed)?;
                    self.small.insert(entry.path, bytes);
                }
                // Some engines write a layer once, and lead to it from other places.
                EntryKind::Symlink(target) => {
                    let target = resolve(&entry.path, &target);
                    self.links.insert(entry.path, target);
                }
                EntryKind::Hardlink(target) => drop(self.links.insert(entry.path, target)),
                EntryKind::Directory | EntryKind::Special(_) => {}
            }
        }
        // Until its end: an engine that fails late says so there.
        io::copy(&mut entries.into_inner(), &mut io::sink()).map_err(failed).map(drop)
    }

    fn image(mut self) -> Result<Saved, Error> {
        let manifests: Vec<Manifest> = self.json("manifest.json")?;
        let [manifest] = <[Manifest; 1]>::try_from(manifests).map_err(|all| {
            let reason = format!("it holds {} images, not one", all.len());
            self.unusable(reason)
        })?;
        let configuration: Value = self.json(&manifest.config)?;
        let diff_ids =
            diff_ids(&configuration).ok_or_else(|| self.unusable("its configuration names no layers".into()))?;
        if diff_ids.len() != manifest.layers.len() {
            return Err(self.unusable("its layers are not those of its configuration".into()));
        }
        let mut saved = Saved { configuration, layers: Vec::new(), reused: 0 };
        for (path, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let (found, kept, was_there) = self.layer(Path::new(path))?;
            if found != diff_id {
                return Err(self.unusable(format!("`{path}` is {found}, its configuration says {diff_id}")));
            }
            saved.reused += usize::from(was_there);
            saved.layers.push(kept);
        }
        Ok(saved)
    }

    fn layer(&mut self, path: &Path) -> Result<Taken, Error> {
        let path = self.links.get(path).map_or(path, PathBuf::as_path).to_owned();
        if let Some(bytes) = self.small.remove(&path) {
            let taken = take(&mut bytes.as_slice(), self.image, self.known)?;
            self.taken.insert(path.clone(), taken);
        }
        let taken = self.taken.get(&path).cloned();
        taken.ok_or_else(|| self.unusable(format!("it lacks `{}`", path.display())))
    }

    fn json<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, Error> {
        let bytes = self.small.get(Path::new(path)).ok_or_else(|| self.unusable(format!("it lacks `{path}`")))?;
        serde_json::from_slice(bytes).map_err(|error| self.unusable(format!("its `{path}` is damaged: {error}")))
    }

    fn unusable(&self, reason: String) -> Error {
        Error::Saved { image: self.image.to_owned(), reason }
    }
}

/// The digests of layers that `configuration` names; `None` if they are no digests.
pub fn diff_ids(configuration: &Value) -> Option<Vec<Digest>> {
    let named = configuration.get("rootfs")?.get("diff_ids")?.as_array()?;
    named.iter().map(|digest| digest.as_str()?.parse().ok()).collect()
}

/// Takes a layer in: as it is known already, or made normal.
fn take(content: &mut impl Read, image: &str, known: &Known) -> Result<Taken, Error> {
    let failed = |source| Error::Transfer { image: image.to_owned(), source };
    let folder = known.layout.path();
    let mut file = SpooledTempFile::new_in(usize::try_from(SMALL).unwrap_or_default(), folder);
    io::copy(content, &mut file).map_err(failed)?;
    let compression = compression_of(&mut file).map_err(failed)?;
    // What is compressed is known by what it is not compressed.
    let diff_id = {
        let mut plain = opened(&mut file, compression).map_err(failed)?;
        Digest::of_reader(&mut plain).map_err(failed)?.0
    };
    if let Some(kept) = known.layer(diff_id)? {
        return Ok((diff_id, kept, true));
    }
    let plain = opened(&mut file, compression).map_err(failed)?;
    let kept = make(plain, image, known)?;
    known.keep_layer(diff_id, &kept)?;
    Ok((diff_id, kept, false))
}

fn make(plain: impl Read, image: &str, known: &Known) -> Result<Kept, Error> {
    let failed = |source| Error::Transfer { image: image.to_owned(), source };
    let encoder = known.compression.encoder(known.layout.writer()?).map_err(failed)?;
    let mut sink = HashingWriter::new(BufWriter::with_capacity(BUFFER, encoder));
    normalise(plain, &mut sink, known.latest).map_err(failed)?;
    let (buffered, diff_id, unpacked_size) = sink.finish();
    let encoder = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    let (digest, size) = encoder.finish().map_err(failed)?.commit()?;
    let descriptor = Descriptor::new(known.compression.layer_media_type(), size, digest);
    Ok(Kept { descriptor, diff_id, unpacked_size })
}

fn opened<'a>(file: &'a mut SpooledTempFile, compression: Compression) -> io::Result<impl Read + 'a> {
    file.rewind()?;
    compression.decoder(BufReader::with_capacity(BUFFER, file))
}

/// Old engines keep layers as they are, those that keep them in containerd compressed.
fn compression_of(file: &mut SpooledTempFile) -> io::Result<Compression> {
    file.flush()?;
    file.rewind()?;
    let mut magic = [0; 4];
    let read = file.read(&mut magic)?;
    Ok(match &magic[..read] {
        [0x1f, 0x8b, ..] => Compression::GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::ZSTD,
        _ => Compression::None,
    })
}

/// Where a link at `path` leads in the archive.
fn resolve(path: &Path, target: &Path) -> PathBuf {
    let mut resolved = path.parent().map(Path::to_owned).unwrap_or_default();
    for component in target.components() {
        match component {
            Component::Normal(part) => resolved.push(part),
            Component::ParentDir => drop(resolved.pop()),
            Component::RootDir => resolved = PathBuf::new(),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oci::Layout;
    use crate::oci::tar::{Entry, Kind, TarWriter};

    fn entry(path: &str, kind: Kind, mtime: u64) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime }
    }

    fn layer(name: &str, size: usize, time: u64) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        let content = vec![b'x'; size];
        writer.append(&entry(name, Kind::File(size as u64), time), content.as_slice()).unwrap();
        writer.end().unwrap()
    }

    fn archive(files: &[(&str, Kind, &[u8])]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        for (path, kind, bytes) in files {
            writer.append(&entry(path, kind.clone(), 0), *bytes).unwrap();
        }
        writer.end().unwrap()
    }

    fn file(bytes: &[u8]) -> Kind {
        Kind::File(bytes.len() as u64)
    }

    fn known(dir: &Path) -> Known {
        Known {
            notes: dir.join("notes"),
            layout: Layout::create(dir.join("layout")).unwrap(),
            others: vec![],
            compression: Compression::ZSTD,
            latest: 1000,
        }
    }

    fn config(layers: &[&[u8]]) -> Vec<u8> {
        let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
            .to_string()
            .into_bytes()
    }

    /// As engines before containerd write it: a folder a layer, links to what is there already.
    fn classic(time: u64) -> Vec<u8> {
        let (small, large) = (layer("a", 5, time), layer("b", 3 << 20, time));
        let config = config(&[&small, &large, &small]);
        let manifest =
            json!([{"Config": "c.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"]}]);
        let manifest = manifest.to_string().into_bytes();
        archive(&[
            ("1", Kind::Directory, b""),
            ("1/layer.tar", file(&small), &small),
            ("2/layer.tar", file(&large), &large),
            ("3/layer.tar", Kind::Symlink("../1/layer.tar".into()), b""),
            ("c.json", file(&config), &config),
            ("manifest.json", file(&manifest), &manifest),
        ])
    }

    /// As engines with containerd write it: blobs, compressed.
    fn modern(time: u64) -> Vec<u8> {
        let (small, large) = (layer("a", 5, time), layer("b", 3 << 20, time));
        let config = config(&[&small, &large, &small]);
        let packed: Vec<Vec<u8>> = [(&small, Compression::GZIP), (&large, Compression::ZSTD)]
            .map(|(layer, compression)| {
                let mut encoder = compression.encoder(Vec::new()).unwrap();
                encoder.write_all(layer).unwrap();
                encoder.finish().unwrap()
            })
            .into();
        let manifest =
            json!([{"Config": "blobs/sha256/c", "Layers": ["blobs/sha256/s", "blobs/sha256/l", "blobs/sha256/s"]}]);
        let manifest = manifest.to_string().into_bytes();
        archive(&[
            ("blobs/sha256/c", file(&config), &config),
            ("blobs/sha256/l", file(&packed[1]), &packed[1]),
            ("blobs/sha256/s", file(&packed[0]), &packed[0]),
            ("manifest.json", file(&manifest), &manifest),
        ])
    }

    #[test]
    fn archives_of_all_engines_give_the_same_layers() {
        let dir = tempfile::tempdir().unwrap();
        let known = known(dir.path());
        let first = read(classic(5000).as_slice(), "x", &known).unwrap();
        assert_eq!((first.layers.len(), first.reused), (3, 0));
        assert_eq!(first.layers[0], first.layers[2]);
        let again = read(classic(5000).as_slice(), "x", &known).unwrap();
        assert_eq!((&again.layers, again.reused), (&first.layers, 3), "known by then");
        let later = read(modern(7000).as_slice(), "x", &known).unwrap();
        assert_eq!(later.layers, first.layers, "only times differed");
        for layer in &first.layers {
            assert!(known.layout.has(&layer.digest(), layer.descriptor.size()));
        }
    }

    #[test]
    fn what_was_lost_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let known = known(dir.path());
        let first = read(classic(1).as_slice(), "x", &known).unwrap();
        fs_err::remove_file(known.layout.blob_path(&first.layers[1].digest())).unwrap();
        let again = read(classic(1).as_slice(), "x", &known).unwrap();
        assert_eq!((&again.layers, again.reused), (&first.layers, 2));
    }

    #[test]
    fn layers_of_other_images_of_the_project_are_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let first = known(dir.path());
        read(classic(1).as_slice(), "x", &first).unwrap();
        let layout = Layout::create(dir.path().join("second")).unwrap();
        let second = Known { layout, others: vec![first.layout.clone()], ..first };
        let saved = read(classic(1).as_slice(), "y", &second).unwrap();
        assert_eq!(saved.reused, 3);
        assert!(second.layout.has(&saved.layers[1].digest(), saved.layers[1].descriptor.size()));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let known = known(dir.path());
        let whole = classic(1);
        assert!(matches!(read(&whole[..whole.len() / 2], "x", &known), Err(Error::Transfer { .. })));
        let one = layer("a", 5, 1);
        let other = config(&[b"other"]);
        let manifest = br#"[{"Config": "c.json", "Layers": ["l"]}]"#;
        let kind = Kind::File;
        for (reason, files) in [
            ("lacks `manifest.json`", vec![("x", kind(1), &b"y"[..])]),
            (
                "holds 2 images",
                vec![(
                    "manifest.json",
                    kind(62),
                    &br#"[{"Config":"a","Layers":[]    },{"Config":"a","Layers":[]     }]"#[..],
                )],
            ),
            ("lacks `c.json`", vec![("manifest.json", file(manifest), &manifest[..])]),
            (
                "its configuration says",
                vec![
                    ("c.json", file(&other), other.as_slice()),
                    ("l", file(&one), one.as_slice()),
                    ("manifest.json", file(manifest), &manifest[..]),
                ],
            ),
            (
                "lacks `l`",
                vec![("c.json", file(&other), other.as_slice()), ("manifest.json", file(manifest), &manifest[..])],
            ),
        ] {
            let bytes = archive(
                &files
                    .iter()
                    .map(|(path, kind, bytes)| {
                        let kind = if *path == "manifest.json" { file(bytes) } else { kind.clone() };
                        (*path, kind, *bytes)
                    })
                    .collect::<Vec<_>>(),
            );
            let error = read(bytes.as_slice(), "x", &known).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
