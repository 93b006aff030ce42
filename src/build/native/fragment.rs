//! A package as a part of a layer: its files as tar entries, patched and normalised, without the end of an archive,
//! compressed by itself and kept in the cache.
//!
//! Parts are put one after another to make layers ([`super::layer`]), so moving a package to another layer, or changing
//! its neighbour, costs no compression. Directories are not in the parts, as several packages need the same ones: a
//! layer begins with them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::asked::Asked;
use super::entries::PartWriter;
use super::error::Error;
use super::install::Installed;
use super::interpreter::Interpreter;
use super::layer;
use super::package::Info;
use super::packing::Packing;
use super::pinned::Pinned;
use super::prefix::{PlannedPackage, check_identity};
use super::pyc::{Compiler, How};
use super::python::Python;
use super::siblings::{Room, Siblings};
use super::store::{self, Store};
use super::wheel::{Wheel, WheelPacking};
use super::work::{Budget, Cancel};
use crate::oci::digest::HashingWriter;
use crate::oci::tar::END;
use crate::oci::{Compression, Digest, Encoder};

/// The kind of a part in the [`Store`].
pub const KIND: &str = "fragments";

/// How many bytes of entries are gathered before they are hashed and compressed. In between, byte code is compiled on the
/// same core: taking turns at every module, zstd would find its tables gone from the core's cache each time.
const GATHERED: usize = 4 << 20;

/// Where the entries of a part go: gathered, hashed, compressed, hashed, to a file.
type Sink = BufWriter<HashingWriter<Encoder<HashingWriter<BufWriter<NamedTempFile>>>>>;

/// One package for one environment.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// The package.
    pub package: Pinned,
    /// Why it is installed, if it is a wheel.
    asked: Asked,
    /// What the environment's plan says of it.
    pub planned: PlannedPackage,
    /// The environment, shared by its packages.
    pub environment: Arc<Target>,
    /// The digest of everything that decides the part's bytes.
    pub key: Digest,
}

/// What the packages of an environment have in common.
#[derive(Clone, Debug)]
pub struct Target {
    /// The absolute path of the prefix in the image.
    pub prefix: String,
    /// Its Python.
    pub python: Option<Python>,
    /// Which Python compiles its byte code: the SHA-256 of a package.
    pub compiler_id: Option<String>,
    /// How parts are compressed.
    pub compression: Compression,
}

/// What is known of a part that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Digest of the part, compressed.
    pub digest: Digest,
    /// Bytes of the part, compressed.
    pub size: u64,
    /// Bytes of its tar entries.
    pub unpacked_size: u64,
    /// The digest of the uncompressed layer that holds this part alone.
    pub diff_id: Digest,
    /// Directories it needs, relative to the prefix.
    pub directories: BTreeSet<String>,
    /// Modules that do not compile.
    pub uncompiled: u64,
}

/// What making parts needs.
pub struct Workshop {
    /// Where parts are kept.
    pub store: Arc<Store>,
    /// Compile byte code, by [`Target::compiler_id`]; there once they are [laid out](Workshop::lay_out).
    pub compilers: BTreeMap<String, OnceLock<Compiler>>,
    /// Bounds what all threads hold in memory.
    pub budget: Budget,
    /// Bounds what they keep of byte code.
    pub room: Room,
    /// Ends the work early.
    pub cancel: Cancel,
}

impl Workshop {
    /// Makes `interpreter`, whose packages must have been fetched, compile byte code.
    ///
    /// # Errors
    /// When it cannot be laid out.
    pub fn lay_out(&self, interpreter: &Interpreter) -> Result<(), Error> {
        let program = interpreter.lay_out(&self.store, &self.cancel)?;
        if let Some(compiler) = self.compilers.get(&interpreter.id) {
            compiler.get_or_init(|| Compiler::new(program, interpreter.version(), How::ByVersion));
        }
        Ok(())
    }
}

impl Fragment {
    /// A part of `package`, `asked` for like this, for `environment`.
    pub fn new(package: Pinned, planned: PlannedPackage, asked: Asked, environment: &Arc<Target>) -> Self {
        let target = environment.as_ref();
        let key = store::key(
            KIND,
            &(
                (&package.sha256, package.locked.url.as_str(), &package.locked.md5),
                (&target.prefix, target.compression),
                planned.for_python.then_some(&target.python),
                planned.compiles.then_some(&target.compiler_id),
                (&planned.excluded, &planned.effects, (!package.is_conda()).then_some(asked)),
            ),
        );
        Self { package, planned, asked, environment: Arc::clone(environment), key }
    }

    /// What is known of the part, if it is in the cache.
    pub fn cached(&self, store: &Store) -> Option<Part> {
        let part: Part = store.get(KIND, &self.key)?;
        let size = fs_err::metadata(self.place(store)).ok()?.len();
        (size == part.size).then_some(part)
    }

    /// Where the part is in the cache, or would be.
    pub fn place(&self, store: &Store) -> PathBuf {
        store.path(KIND, &self.key)
    }

    /// Makes the part and puts it into the cache.
    ///
    /// # Errors
    /// When the package is damaged, hostile, or cannot be moved to the prefix; when the cache cannot be written.
    pub fn make(&self, workshop: &Workshop, siblings: &Siblings<'_>) -> Result<Part, Error> {
        match self.package.is_conda() {
            true => self.make_of_conda((workshop, siblings)),
            false => self.make_of_wheel((workshop, siblings)),
        }
    }

    /// What compiles byte code for the environment.
    ///
    /// # Panics
    /// When none of its packages needs byte code, or before it is laid out: then there is none.
    pub fn compiler<'a>(&self, workshop: &'a Workshop) -> &'a Compiler {
        let compiler = self.environment.compiler_id.as_ref().and_then(|id| workshop.compilers.get(id)?.get());
        compiler.expect("the build has a compiler for every environment whose packages need one")
    }

    fn make_of_conda(&self, with: (&Workshop, &Siblings<'_>)) -> Result<Part, Error> {
        let archive = self.package.archive()?;
        let info = Info::read(&archive)?;
        check_identity(&self.package, &info, &archive)?;
        let target = self.environment.as_ref();
        let mut installed = Installed::of(&info, &archive, target.python.as_ref(), &target.prefix)?;
        installed.add_effects(&self.planned.effects);
        let installed = installed.without(&self.planned.excluded);
        let pack = |out| Packing::new(self, &archive, &info, &installed, with, out).pack();
        self.write(&installed, info.timestamp, with.0, pack)
    }

    fn make_of_wheel(&self, with: (&Workshop, &Siblings<'_>)) -> Result<Part, Error> {
        let wheel = Wheel::open(&self.package)?;
        let target = self.environment.as_ref();
        let installed = wheel.installed(self.asked, target.python.as_ref(), &target.prefix)?;
        let installed = installed.without(&self.planned.excluded);
        let python = target.python.as_ref().expect("it was laid out for one");
        let pack = |out| WheelPacking::new(self, &wheel, &installed, python, with, out).pack();
        self.write(&installed, wheel.timestamp, with.0, pack)
    }

    fn write(
        &self,
        installed: &Installed,
        timestamp: u64,
        workshop: &Workshop,
        pack: impl FnOnce(PartWriter<Sink>) -> Result<(Sink, u64), Error>,
    ) -> Result<Part, Error> {
        let target = self.environment.as_ref();
        let directories = installed.all_directories();
        let file = workshop.store.temporary()?;
        let path = self.place(&workshop.store);
        let buffered = HashingWriter::new(BufWriter::with_capacity(1 << 17, file));
        let encoder = target.compression.encoder(buffered).map_err(Error::write(&path))?;
        let mut sink = HashingWriter::new(encoder);
        sink.only_hash(&layer::directories(&target.prefix, &directories, self.planned.timestamp));
        let sink = BufWriter::with_capacity(GATHERED, sink);
        let (sink, uncompiled) = pack(PartWriter::new(sink, path.clone(), &target.prefix, timestamp))?;
        let mut sink = sink.into_inner().map_err(|error| Error::write(&path)(error.into_error()))?;
        sink.only_hash(&END);
        let (encoder, diff_id, unpacked_size) = sink.finish();
        let (buffered, digest, size) = encoder.finish().map_err(Error::write(&path))?.finish();
        let file = buffered.into_inner().map_err(|error| Error::write(&path)(error.into_error()))?;
        let part = Part { digest, size, unpacked_size, diff_id, directories, uncompiled };
        // The part first: what is known of it says that it is there.
        Store::persist(file, &path)?;
        workshop.store.put(KIND, &self.key, &part)?;
        Ok(part)
    }
}
