//! Looks into an image without unpacking it: for platforms that cannot run here, and for a few files of a base.
//!
//! Layers are read from the top down, so that a path is first met where it is decided. Paths are those the layers
//! write: a symbolic link in them is not followed.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::entries::{Entries, EntryKind, LayerEntry};
use super::error::{Error, Result};
use super::unpack::Whiteout;
use super::{Image, Layer, Layout};

/// The most bytes [`read_files`] takes from one file, and from all together.
const MAX_FILE: u64 = 64 << 20;
const MAX_FILES: u64 = 1 << 30;
/// How many hard links [`read_files`] follows one after another.
const MAX_LINKS: usize = 8;

/// What is called for each entry, with its content.
pub type Visit<'a> = dyn FnMut(&LayerEntry, &mut dyn Read) -> Result<ControlFlow<()>> + 'a;

/// Calls `visit` for each entry that is in the final file system of `image`, with its content, until it breaks off.
/// Layers come from the top down; within a layer, entries as they are written.
///
/// # Errors
/// When a layer cannot be read, and those of `visit`.
pub fn walk(
    image: &Image,
    layout: &Layout,
    mut visit: impl FnMut(&LayerEntry, &mut dyn Read) -> Result<ControlFlow<()>>,
) -> Result<()> {
    walk_layers(&image.layers, &|layer| layout.open_blob(&layer.digest), &mut visit)
}

/// Opens the blob of a layer.
pub type Open<'a> = dyn Fn(&Layer) -> Result<fs_err::File> + 'a;

/// [`walk`] for layers wherever their blobs are.
///
/// # Errors
/// Those of [`walk`].
pub fn walk_layers(layers: &[Layer], open: &Open<'_>, visit: &mut Visit<'_>) -> Result<()> {
    let mut above = Cover::default();
    for layer in layers.iter().rev() {
        let mut here = Cover::default();
        let flow =
            layer.read_from(open(layer)?, &|_| {}, |content| walk_layer(layer, content, &above, &mut here, visit))?;
        if flow.is_break() {
            break;
        }
        above.extend(here);
    }
    Ok(())
}

/// [`walk_layers`] to the end of every layer, whose content is compared with its `diff_id`. Returns how many bytes all
/// layers have, decompressed.
///
/// # Errors
/// Those of [`walk`], and those of [`Layer::measure`].
pub fn walk_measured(layers: &[Layer], open: &Open<'_>, visit: &mut Visit<'_>) -> Result<u64> {
    let mut above = Cover::default();
    let mut size = 0;
    for layer in layers.iter().rev() {
        let mut here = Cover::default();
        let walk = |content: &mut dyn Read| walk_layer(layer, content, &above, &mut here, visit).map(drop);
        size += layer.measure_from(open(layer)?, walk)?;
        above.extend(here);
    }
    Ok(size)
}

/// Calls `visit` for each entry of one layer's decompressed `content` that what lies `above` it does not hide, and adds to
/// `here` what the layer decides about those below.
///
/// # Errors
/// When the layer cannot be read, and those of `visit`.
pub fn walk_layer(
    layer: &Layer,
    content: &mut dyn Read,
    above: &Cover,
    here: &mut Cover,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>> {
    let mut entries = Entries::new(content);
    let unreadable = |source| Error::Layer { digest: layer.digest, source };
    while let Some(entry) = entries.next_entry().map_err(unreadable)? {
        if !here.whiteout(&entry.path) && !above.hides(&entry.path) {
            here.add(&entry);
            if visit(&entry, &mut entries)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The final content of the files whose path `wanted` chooses, by path. Hard links are followed.
///
/// # Errors
/// Those of [`walk`]; [`Error::TooLarge`] past 64 MiB for one file or 1 GiB for all.
pub fn read_files(image: &Image, layout: &Layout, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<u8>>> {
    read_files_of(&image.layers, &|layer| layout.open_blob(&layer.digest), &wanted)
}

/// [`read_files`] for layers wherever their blobs are.
///
/// # Errors
/// Those of [`read_files`].
pub fn read_files_of(
    layers: &[Layer],
    open: &Open<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = Found::default();
    walk_layers(layers, open, &mut |entry, content| found.take(entry, content, wanted))?;
    let files = found.finish(layers, open, wanted)?;
    Ok(files.into_iter().map(|(path, (_, bytes))| (path, bytes)).collect())
}

/// A file: its entry, that of its first name if it has several, and its content.
pub type ReadFile = (LayerEntry, Vec<u8>);

/// [`read_files_of`], with the files' entries, and how many bytes all layers have, decompressed. Each is compared with its `diff_id`.
///
/// # Errors
/// Those of [`read_files`], and those of [`Layer::measure`].
pub fn read_and_measure(
    layers: &[Layer],
    open: &Open<'_>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(BTreeMap<String, ReadFile>, u64)> {
    let mut found = Found::default();
    let size = walk_measured(layers, open, &mut |entry, content| found.take(entry, content, wanted))?;
    Ok((found.finish(layers, open, wanted)?, size))
}

#[derive(Default)]
struct Found {
    files: BTreeMap<String, ReadFile>,
    /// Hard links and what they are another name of.
    links: BTreeMap<String, String>,
    bytes: u64,
}

impl Found {
    /// Takes one entry, if it is `wanted`.
    fn take(
        &mut self,
        entry: &LayerEntry,
        content: &mut dyn Read,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<ControlFlow<()>> {
        let Some(path) = entry.path.to_str().filter(|path| wanted(path)) else {
            return Ok(ControlFlow::Continue(()));
        };
        match &entry.kind {
            EntryKind::File => {
                self.bytes = self.bytes.saturating_add(entry.size);
                if entry.size > MAX_FILE || self.bytes > MAX_FILES {
                    return Err(Error::TooLarge { what: path.to_owned(), size: entry.size, limit: MAX_FILE });
                }
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).map_err(Error::read(&entry.path))?;
                self.files.insert(path.to_owned(), (entry.clone(), bytes));
            }
            EntryKind::Hardlink(target) => {
                self.links.extend(target.to_str().map(|target| (path.to_owned(), target.to_owned())));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Looks for what hard links lead to.
    fn finish(
        mut self,
        layers: &[Layer],
        open: &Open<'_>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, ReadFile>> {
        for _ in 0..MAX_LINKS {
            let missing: HashSet<String> =
                self.links.values().filter(|t| !self.files.contains_key(*t)).cloned().collect();
            if missing.is_empty() {
                break;
            }
            let wanted = |path: &str| missing.contains(path);
            walk_layers(layers, open, &mut |entry, content| self.take(entry, content, &wanted))?;
        }
        Ok(self.resolve(wanted))
    }

    fn resolve(mut self, wanted: &dyn Fn(&str) -> bool) -> BTreeMap<String, ReadFile> {
        for (path, first) in &self.links {
            let mut target = first;
            for _ in 0..MAX_LINKS {
                if let Some(next) = self.links.get(target) {
                    target = next;
                }
            }
            if let Some(file) = self.files.get(target).cloned() {
                self.files.insert(path.clone(), file);
            }
        }
        self.files.retain(|path, _| wanted(path));
        self.files
    }
}

/// What upper layers decide about paths of the layers below.
#[derive(Clone, Debug, Default)]
pub struct Cover {
    /// Paths that are there: below, only directories on the way to other paths still count.
    paths: HashSet<PathBuf>,
    /// Paths whose lower content is gone, with all that is below them.
    gone: HashSet<PathBuf>,
    /// Directories whose lower content is gone, though they themselves stay.
    opaque: HashSet<PathBuf>,
}

impl Cover {
    /// Records `path` if it is a whiteout, and says whether it is.
    fn whiteout(&mut self, path: &Path) -> bool {
        let Some(whiteout) = path.file_name().and_then(Whiteout::of) else { return false };
        match whiteout {
            Whiteout::Path(name) => drop(self.gone.insert(path.with_file_name(name))),
            Whiteout::Opaque => drop(self.opaque.insert(path.parent().unwrap_or(Path::new("")).to_owned())),
            Whiteout::Ignored => {}
        }
        true
    }

    fn add(&mut self, entry: &LayerEntry) {
        self.paths.insert(entry.path.clone());
        if entry.kind != EntryKind::Directory {
            self.gone.insert(entry.path.clone());
        }
    }

    /// Whether a layer below that has `path` has it in vain.
    pub fn hides(&self, path: &Path) -> bool {
        self.paths.contains(path)
            || self.gone.contains(path)
            || path.ancestors().skip(1).any(|above| self.gone.contains(above) || self.opaque.contains(above))
    }

    /// Adds what the next layer below decides.
    pub fn extend(&mut self, other: Self) {
        self.paths.extend(other.paths);
        self.gone.extend(other.gone);
        self.opaque.extend(other.opaque);
    }
}
