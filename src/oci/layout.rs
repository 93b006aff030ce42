//! An OCI image layout: a directory of blobs named by their digest, and an `index.json` that says where to begin.
//!
//! Follows OCI image-spec 1.1, "Image Layout". `index.json` is written last, so what it refers to is complete; a
//! crash leaves blobs that nothing refers to, which the next build uses or [`Layout::prune`] removes.
//!
//! The shape of `index.json` is what skopeo, umoci and Docker all accept. Its first entry is the image index of all
//! platforms, tagged with the image's name. With several platforms, one entry more for each follows, tagged
//! `NAME-amd64` and so on: umoci cannot choose between platforms, so it needs a tag that stands for exactly one
//! manifest. With one platform the index alone serves everybody. Last come artifacts, which have no tag.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageIndexBuilder, MediaType, OciLayout, OciLayoutBuilder,
};
use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blob::TEMPORARY;
pub(crate) use super::blob::write_atomically;
use super::error::{Error, Mismatch, Result};
use super::{BlobWriter, Digest, Platform, canonical_json};

/// The most bytes a manifest, index or configuration may have; registries enforce the same for manifests
/// (distribution-spec, "Pushing Manifests").
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// A temporary file that nobody wrote to for this long belongs to a process that is gone.
const STALE: Duration = Duration::from_secs(3600);

const VERSION: &str = "1.0.0";

/// An OCI layout on disk.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Opens the layout at `dir`, making it if it is not there. Removes what killed processes left behind.
    ///
    /// # Errors
    /// [`Error::Occupied`] when `dir` holds other things; [`Error::Write`] when it cannot be made.
    pub fn create(dir: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { root: dir.into() };
        if !layout.marker().exists() {
            fs_err::create_dir_all(&layout.root).map_err(Error::write(&layout.root))?;
            layout.refuse_foreign()?;
            let marker = OciLayoutBuilder::default().image_layout_version(VERSION).build().expect("it is complete");
            write_atomically(&layout.marker(), &canonical_json(&marker))?;
        }
        layout.check_version()?;
        fs_err::create_dir_all(layout.blobs()).map_err(Error::write(&layout.blobs()))?;
        remove_stale(&layout.root);
        remove_stale(&layout.blobs());
        Ok(layout)
    }

    /// Opens a layout that exists.
    ///
    /// # Errors
    /// [`Error::NotALayout`] when `dir` is none, or one of a version that is not known.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let layout = Self { root: dir.into() };
        layout.check_version()?;
        Ok(layout)
    }

    /// A directory of blobs without an index: what was pulled or made before, and may be needed again. Unlike a layout
    /// it may share its directory with other things.
    ///
    /// # Errors
    /// [`Error::Write`] when it cannot be made.
    pub fn cache(dir: impl Into<PathBuf>) -> Result<Self> {
        let cache = Self { root: dir.into() };
        fs_err::create_dir_all(cache.blobs()).map_err(Error::write(&cache.blobs()))?;
        remove_stale(&cache.blobs());
        Ok(cache)
    }

    /// The layout's directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Where the blob `digest` is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Whether the blob is there with the right size. Its content is checked when it is read.
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        fs_err::metadata(self.blob_path(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Stores `bytes`; returns their digest and how many there are.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn put(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        // What fits into memory is quickly compared: a damaged document must not stay because it is as long as it was.
        if !(self.has(&digest, size) && fs_err::read(self.blob_path(&digest)).is_ok_and(|there| there == bytes)) {
            write_atomically(&self.blob_path(&digest), bytes)?;
        }
        Ok((digest, size))
    }

    /// Stores `value` as canonical JSON and returns a descriptor of it.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn put_json<T: Serialize>(&self, media_type: MediaType, value: &T) -> Result<Descriptor> {
        let (digest, size) = self.put(&canonical_json(value))?;
        Ok(Descriptor::new(media_type, size, digest))
    }

    /// Reads every blob, and removes those that are not what they are called: the next build writes them anew. Returns
    /// the digests of those that were removed.
    ///
    /// # Errors
    /// When the layout cannot be read, or a blob not be removed.
    pub fn drop_damaged(&self) -> Result<Vec<Digest>> {
        let listed = fs_err::read_dir(self.blobs()).map_err(Error::read(&self.blobs()))?;
        let named = listed.flatten().filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?).ok());
        let mut digests: Vec<Digest> = named.collect();
        digests.sort();
        let is_damaged = |digest: &Digest| -> Result<bool> {
            let path = self.blob_path(digest);
            let (found, _) = Digest::of_reader(self.open_blob(digest)?).map_err(Error::read(&path))?;
            Ok(found != *digest)
        };
        let checked: Vec<_> = digests.into_par_iter().map(|digest| Ok((digest, is_damaged(&digest)?))).collect();
        let mut damaged = Vec::new();
        for result in checked {
            match result {
                Ok((digest, true)) => {
                    let path = self.blob_path(&digest);
                    fs_err::remove_file(&path).map_err(Error::write(&path))?;
                    damaged.push(digest);
                }
                // A build may just have removed it.
                Ok((_, false)) | Err(Error::MissingBlob { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// Starts a blob whose digest is not known yet.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        BlobWriter::new(self, None)
    }

    /// Starts a blob that must turn out to have this digest and size.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn writer_for(&self, digest: Digest, size: u64) -> Result<BlobWriter<'_>> {
        BlobWriter::new(self, Some((digest, size)))
    }

    /// Copies the file `path`, which must have this digest and size, into the layout, unless the blob is there.
    ///
    /// A copy, not a hard link: a later change to one must not reach the other.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is something else; [`Error::Read`] and [`Error::Write`].
    pub fn import(&self, path: &Path, digest: &Digest, size: u64) -> Result<()> {
        if self.has(digest, size) {
            return Ok(());
        }
        let file = fs_err::File::open(path).map_err(Error::read(path))?;
        let mut blob = self.writer_for(*digest, size)?;
        copy(&mut file.take(size.saturating_add(1)), &mut blob, path, &self.blob_path(digest))?;
        match blob.commit() {
            // It is the source that is wrong, not the layout.
            Err(Error::Corrupt { mismatch, .. }) => Err(Error::Corrupt { path: path.to_owned(), mismatch }),
            other => other.map(drop),
        }
    }

    /// Opens a blob for reading. Its content is not checked here.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] when it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<fs_err::File> {
        let path = self.blob_path(digest);
        fs_err::File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::MissingBlob { layout: self.root.clone(), digest: *digest },
            _ => Error::Read { path, source },
        })
    }

    /// The bytes of a manifest, index or configuration, checked against the descriptor.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past [`MAX_DOCUMENT`], [`Error::MissingBlob`], [`Error::Corrupt`].
    pub fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        self.read_checked(&sha256(descriptor)?, Some(descriptor.size()))
    }

    /// [`read`](Self::read) for a document of which only the digest is known.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    pub fn read_document(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.read_checked(digest, None)
    }

    fn read_checked(&self, expected: &Digest, size: Option<u64>) -> Result<Vec<u8>> {
        if let Some(size) = size.filter(|size| *size > MAX_DOCUMENT) {
            return Err(Error::TooLarge { what: expected.to_string(), size, limit: MAX_DOCUMENT });
        }
        let path = self.blob_path(expected);
        let bytes = read_bounded(self.open_blob(expected)?, &path)?;
        let found = (Digest::of(&bytes), bytes.len() as u64);
        Mismatch::check((*expected, size.unwrap_or(found.1)), found)
            .map_err(|mismatch| Error::Corrupt { path, mismatch })?;
        Ok(bytes)
    }

    /// Reads a manifest, index or configuration; see [`read`](Self::read).
    ///
    /// # Errors
    /// Those of [`read`](Self::read), and [`Error::Json`].
    pub fn read_json<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T> {
        let bytes = self.read(descriptor)?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { what: descriptor.digest().to_string(), source })
    }

    /// Makes `index` what the layout holds, under the tag `name`; the module's documentation shows the shape.
    /// Every manifest must be in the layout. Returns the descriptor of `index`.
    ///
    /// # Errors
    /// [`Error::MissingBlob`] when a manifest is not there; [`Error::Write`].
    pub fn set_index(&self, name: &str, index: &ImageIndex) -> Result<Descriptor> {
        self.set_index_with(name, index, &[])
    }

    /// [`set_index`](Self::set_index), with `artifacts` about its images.
    ///
    /// # Errors
    /// Those of [`set_index`](Self::set_index).
    pub fn set_index_with(&self, name: &str, index: &ImageIndex, artifacts: &[Descriptor]) -> Result<Descriptor> {
        for manifest in index.manifests().iter().chain(artifacts) {
            let digest = sha256(manifest)?;
            if !self.has(&digest, manifest.size()) {
                return Err(Error::MissingBlob { layout: self.root.clone(), digest });
            }
        }
        let descriptor = self.put_json(MediaType::ImageIndex, index)?;
        let mut entries = vec![tagged(&descriptor, name)];
        if index.manifests().len() > 1 {
            entries.extend(index.manifests().iter().filter_map(|manifest| {
                let platform = platform_of(manifest)?;
                Some(tagged(manifest, &format!("{name}-{}", platform.architecture())))
            }));
        }
        entries.extend_from_slice(artifacts);
        let top = ImageIndexBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageIndex)
            .manifests(entries)
            .build()
            .expect("it is complete");
        let text = canonical_json(&top);
        // A build with nothing to do changes nothing, not even a file's time.
        if !fs_err::read(self.index_path()).is_ok_and(|old| old == text) {
            write_atomically(&self.index_path(), &text)?;
        }
        Ok(descriptor)
    }

    /// The tag of its image, which is the first there is; `None` where none has one.
    pub fn name(&self) -> Option<String> {
        let index = self.index().ok()?;
        let mut names =
            index.manifests().iter().filter_map(|entry| entry.annotations().as_ref()?.get(ANNOTATION_REF_NAME));
        names.next().cloned()
    }

    /// Reads `index.json`.
    ///
    /// # Errors
    /// [`Error::Read`] when there is none, as in a layout that was never finished; [`Error::Json`].
    pub fn index(&self) -> Result<ImageIndex> {
        self.read_file(&self.index_path())
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs").join("sha256")
    }

    fn marker(&self) -> PathBuf {
        self.root.join("oci-layout")
    }

    fn read_file<T: DeserializeOwned>(&self, path: &Path) -> Result<T> {
        let bytes = read_bounded(fs_err::File::open(path).map_err(Error::read(path))?, path)?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { what: path.display().to_string(), source })
    }

    fn check_version(&self) -> Result<()> {
        let not = |reason: String| Error::NotALayout { path: self.root.clone(), reason };
        if !self.marker().is_file() {
            return Err(not("it has no file `oci-layout`".into()));
        }
        let marker: OciLayout = self.read_file(&self.marker())?;
        let version = marker.image_layout_version();
        if version == VERSION { Ok(()) } else { Err(not(format!("its version is `{version}`, not `{VERSION}`"))) }
    }

    /// Refuses to make a layout among other files: the next build would remove blobs from it.
    fn refuse_foreign(&self) -> Result<()> {
        for entry in fs_err::read_dir(&self.root).map_err(Error::read(&self.root))? {
            let name = entry.map_err(Error::read(&self.root))?.file_name();
            // A process that makes the same layout at this moment shows up as its temporary file or its result.
            let ours = name.to_string_lossy().starts_with(TEMPORARY) || name == "oci-layout" || name == "blobs";
            if !ours {
                return Err(Error::Occupied { path: self.root.clone(), found: name.display().to_string() });
            }
        }
        Ok(())
    }
}

/// The digest of a descriptor, which must be SHA-256.
pub(crate) fn sha256(descriptor: &Descriptor) -> Result<Digest> {
    Digest::try_from(descriptor.digest()).map_err(|error| Error::malformed(descriptor.digest(), &error))
}

/// The platform a descriptor names, if images can be built for it.
pub(super) fn platform_of(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    Platform::from_oci(&platform.os().to_string(), &platform.architecture().to_string())
}

fn tagged(descriptor: &Descriptor, name: &str) -> Descriptor {
    let mut descriptor = descriptor.clone();
    descriptor.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), name.to_owned())])));
    descriptor
}

fn read_bounded(file: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes).map_err(Error::read(path))?;
    let size = bytes.len() as u64;
    if size > MAX_DOCUMENT {
        return Err(Error::TooLarge { what: path.display().to_string(), size, limit: MAX_DOCUMENT });
    }
    Ok(bytes)
}

/// Copies and tells a failed read from a failed write.
fn copy(from: &mut impl Read, to: &mut impl Write, source: &Path, target: &Path) -> Result<()> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match from.read(&mut buffer).map_err(Error::read(source))? {
            0 => return Ok(()),
            n => to.write_all(&buffer[..n]).map_err(Error::write(target))?,
        }
    }
}

/// Removes temporary files that nobody writes to any more. What cannot be removed does no harm.
fn remove_stale(directory: &Path) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY)) {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age > STALE) {
            let _gone_already = fs_err::remove_file(entry.path());
        }
    }
}
