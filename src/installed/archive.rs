//! An image in an archive that `docker save` wrote (moby's image-spec v1.2, "Combined Image JSON + Filesystem Changeset
//! Format"), or `esker build`, or skopeo.
//!
//! Nothing is unpacked: the archive is gone through once, from header to header, and layers are read where they lie.
//! It has no manifest that a registry knows, so the image is told by the digest of its configuration.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use fs_err::File;
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifestBuilder, MediaType};
use serde::Deserialize;

use crate::oci::error::{Error, Result};
use crate::oci::layout::MAX_DOCUMENT;
use crate::oci::{Compression, Digest, Image, Layer, canonical_json};

/// The most members an archive may have: an image has at most a few hundred layers.
const MAX_MEMBERS: usize = 10_000;
/// How many links from a layer to another are followed.
const MAX_LINKS: usize = 4;

/// An archive and the image in it.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    /// Where the blob of each layer is.
    layers: BTreeMap<Digest, (u64, u64)>,
    image: Image,
}

#[derive(Clone, Debug)]
enum Member {
    /// Where the content begins, and how many bytes it has.
    File(u64, u64),
    /// Another name, as old versions of Docker wrote layers that two images share.
    Link(String),
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    layers: Vec<String>,
}

impl Archive {
    /// Opens `path` and reads which image it holds.
    ///
    /// # Errors
    /// When it cannot be read, is compressed, or holds no image or several.
    pub fn open(path: &Path) -> Result<Self> {
        let archive = Parts { path, members: members(path)? };
        let invalid = |reason: &str| Error::malformed(&path.display(), &reason);
        let manifest = archive.document("manifest.json")?;
        let json = |source| Error::Json { what: format!("{}: manifest.json", path.display()), source };
        let entries: Vec<Entry> = serde_json::from_slice(&manifest).map_err(json)?;
        let [entry] = entries.as_slice() else {
            return Err(invalid(&format!("it holds {} images; save one alone", entries.len())));
        };
        let config = archive.document(&entry.config)?;
        let json = |source| Error::Json { what: format!("{}: {}", path.display(), entry.config), source };
        let parsed: ImageConfiguration = serde_json::from_slice(&config).map_err(json)?;
        let diff_ids = parsed.rootfs().diff_ids();
        if diff_ids.len() != entry.layers.len() {
            return Err(invalid("its configuration has another number of layers"));
        }
        let (mut descriptors, mut layers) = (Vec::new(), BTreeMap::new());
        for (name, diff_id) in entry.layers.iter().zip(diff_ids) {
            let (descriptor, digest, place) = archive.layer(name, diff_id)?;
            descriptors.push(descriptor);
            layers.insert(digest, place);
        }
        let image = image(&config, parsed, descriptors)?;
        Ok(Self { path: path.to_owned(), layers, image })
    }

    /// The image.
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The blob of `layer`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is none of the image's.
    pub fn blob(&self, layer: &Layer) -> Result<Take<File>> {
        let place = self.layers.get(&layer.digest).copied();
        let (offset, size) = place.ok_or_else(|| Error::malformed(&self.path.display(), &"a layer is not in it"))?;
        section(&self.path, offset, size)
    }
}

/// An archive while it is found out what it holds.
struct Parts<'a> {
    path: &'a Path,
    members: BTreeMap<String, Member>,
}

impl Parts<'_> {
    fn find(&self, name: &str) -> Result<(u64, u64)> {
        let mut name = name.to_owned();
        for _ in 0..=MAX_LINKS {
            match self.members.get(&name) {
                Some(Member::File(offset, size)) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => name.clone_from(target),
                None => break,
            }
        }
        Err(Error::malformed(&self.path.display(), &format!("there is no `{name}` in it")))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let (offset, size) = self.find(name)?;
        if size > MAX_DOCUMENT {
            return Err(Error::TooLarge { what: name.to_owned(), size, limit: MAX_DOCUMENT });
        }
        let mut bytes = Vec::new();
        section(self.path, offset, size)?.read_to_end(&mut bytes).map_err(Error::read(self.path))?;
        Ok(bytes)
    }

    /// The descriptor and the digest of a layer, and where it is. The digest of one that is not compressed is its
    /// `diff_id`, and is compared when it is read.
    fn layer(&self, name: &str, diff_id: &str) -> Result<(Descriptor, Digest, (u64, u64))> {
        let (offset, size) = self.find(name)?;
        let mut start = [0; 4];
        let mut blob = section(self.path, offset, size)?;
        let read = blob.read(&mut start).map_err(Error::read(self.path))?;
        let compression = match &start[..read] {
            [0x1f, 0x8b, ..] => Compression::GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => Compression::ZSTD,
            _ => Compression::None,
        };
        let digest = match compression {
            Compression::None => diff_id.parse().map_err(|error| Error::malformed(&self.path.display(), &error))?,
            _ => Digest::of_reader(section(self.path, offset, size)?).map_err(Error::read(self.path))?.0,
        };
        Ok((Descriptor::new(compression.layer_media_type(), size, digest), digest, (offset, size)))
    }
}

/// The image, under a manifest that is made up for it.
fn image(config: &[u8], parsed: ImageConfiguration, layers: Vec<Descriptor>) -> Result<Image> {
    let config = Descriptor::new(MediaType::ImageConfig, config.len() as u64, Digest::of(config));
    let manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers)
        .build()
        .expect("it is complete");
    let bytes = canonical_json(&manifest);
    Image::new(Descriptor::new(MediaType::ImageManifest, bytes.len() as u64, Digest::of(&bytes)), manifest, parsed)
}

fn section(path: &Path, offset: u64, size: u64) -> Result<Take<File>> {
    let mut file = File::open(path).map_err(Error::read(path))?;
    file.seek(SeekFrom::Start(offset)).map_err(Error::read(path))?;
    Ok(file.take(size))
}

fn members(path: &Path) -> Result<BTreeMap<String, Member>> {
    let invalid = |reason: &str| Error::malformed(&path.display(), &reason);
    let mut file = File::open(path).map_err(Error::read(path))?;
    let mut start = [0; 4];
    let read = file.read(&mut start).map_err(Error::read(path))?;
    if matches!(&start[..read], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] | [b'B', b'Z', b'h', _]) {
        return Err(invalid("it is compressed; decompress it first"));
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::read(path))?;
    let unreadable = |error: io::Error| invalid(&format!("it is no tar archive ({error})"));
    let mut archive = tar::Archive::new(file);
    let mut members = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if members.len() == MAX_MEMBERS {
            return Err(invalid("it has too many members for an image"));
        }
        let name = entry.path().map_err(unreadable)?.to_string_lossy().into_owned();
        let kind = entry.header().entry_type();
        let member = if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name().map_err(unreadable)?.unwrap_or_default();
            Member::Link(linked(&name, &target.to_string_lossy(), kind.is_symlink()))
        } else if kind.is_file() {
            Member::File(entry.raw_file_position(), entry.size())
        } else {
            continue;
        };
        members.insert(name.trim_start_matches("./").to_owned(), member);
    }
    Ok(members)
}

/// What the link `name` leads to: a symbolic one (`../ID/layer.tar`) from its own folder, a hard one from the root.
fn linked(name: &str, target: &str, symbolic: bool) -> String {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder).split('/');
    let mut parts: Vec<&str> = if symbolic { folder.filter(|part| !part.is_empty()).collect() } else { vec![] };
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_their_folder() {
        assert_eq!(linked("a/layer.tar", "../b/layer.tar", true), "b/layer.tar");
        assert_eq!(linked("a/layer.tar", "b/layer.tar", false), "b/layer.tar");
        assert_eq!(linked("layer.tar", "../../x", true), "x");
    }
}
