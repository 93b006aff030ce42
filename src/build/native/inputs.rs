//! All that decides the bytes of an image, to be kept beside it: with it, [`build`](super::build) makes the same image
//! anywhere, without the project it came from.
//!
//! Nothing may be missing: [`Inputs::of`] takes a [`Request`] apart field by field, so that a new field does not compile
//! until somebody has decided whether it belongs here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use oci_spec::image::{Descriptor, ImageConfiguration};
use rattler_conda_types::Subdir;
use serde::{Deserialize, Serialize};
use url::Url;

use super::store::FORMAT;
use super::{Asked, AskedFor, Environment, Parent, Request, Reuse};
use crate::apt::{self, AptLock};
use crate::build::base::{BaseImage, BaseLayer};
use crate::build::debian::DebianRequest;
use crate::channel::variables;
use crate::lock::{self, Lock};
use crate::oci::layout::sha256;
use crate::oci::{self, Compression, Digest, Platform};
use crate::project::Strip;
use crate::render::{Account, ContentFile, ImageContent};

/// The media type of the document, and of the artifact that holds it.
pub const MEDIA_TYPE: &str = "application/vnd.esker.inputs.v1+json";
/// What a base is called that was on the building machine only; as a path it is not told to anybody.
const LOCAL_BASE: &str = "oci:";

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Inputs {
    /// The version of esker that built the image.
    pub esker: String,
    /// The number of the format it writes images in; another one gives other bytes.
    pub format: u32,
    /// The image's name.
    pub image: String,
    /// Its platforms, in order.
    pub platforms: Vec<Platform>,
    compression: Compression,
    source_date_epoch: Option<u64>,
    environments: Vec<Prefix>,
    content: Content,
    bases: BTreeMap<Platform, Base>,
    debian: Option<Debian>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Prefix {
    path: String,
    /// `conda-lock.yml`.
    lock: String,
    skip_link_scripts: Vec<String>,
    strip: Vec<String>,
    layers: usize,
    /// The locks it extends, each with the most layers it may take.
    parents: Vec<(String, usize)>,
    requested: BTreeMap<String, Vec<String>>,
    asked: BTreeMap<String, BTreeMap<String, Asked>>,
}

/// What is installed of Debian's packages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Debian {
    /// `apt-lock.yml`.
    lock: String,
    skip: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Content {
    files: Vec<File>,
    /// In the order they are set.
    env: Vec<(String, String)>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    labels: Vec<(String, String)>,
    exposed_ports: Vec<String>,
    user: String,
    workdir: String,
    account: (String, u64, u64, String, String),
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    on_build: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    path: String,
    mode: u32,
    owner: (u64, u64),
    #[serde(flatten)]
    content: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Bytes {
    Text(String),
    Hex(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Base {
    /// Its reference in a registry.
    name: Option<String>,
    source_digest: Digest,
    manifest_digest: Digest,
    config: ImageConfiguration,
    layers: Vec<(Descriptor, Digest)>,
}

/// Why an image cannot be built from what was recorded of it.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// It is not what esker writes.
    #[error("the recorded inputs are not valid")]
    Json(#[source] serde_json::Error),
    /// A value in it makes no sense.
    #[error("the recorded inputs are not valid: {0}")]
    Invalid(String),
    /// A lock in it cannot be read.
    #[error("a lock in the recorded inputs cannot be read")]
    Lock(#[source] Box<lock::Error>),
    /// A base's layer in it is none.
    #[error("a base in the recorded inputs is not valid")]
    Base(#[source] oci::Error),
    /// Another esker wrote the image, and this one would write other bytes.
    #[error("the image was built by esker {esker} in format {found}, and this esker writes format {FORMAT}")]
    Format {
        /// The version that built it.
        esker: String,
        /// Its format.
        found: u32,
    },
    /// A package is in a channel whose address has a variable.
    #[error("`{url}` holds a variable, which is filled in for no image from elsewhere")]
    Variable {
        /// The package's address, variables as such.
        url: String,
    },
}

/// Inputs as [`build`](super::build) takes them, but for what is the machine's.
#[derive(Clone, Debug)]
pub struct Recorded {
    environments: Vec<ReadPrefix>,
    /// What is added besides packages.
    pub content: ImageContent,
    /// The base of each platform. The blobs of its layers are wherever [`Inputs::recorded`] was told.
    pub bases: BTreeMap<Platform, BaseImage>,
    debian: Option<(AptLock, Vec<String>)>,
    inputs: Inputs,
}

/// An [`Environment`] that owns what it is made of.
#[derive(Clone, Debug)]
struct ReadPrefix {
    path: String,
    lock: Lock,
    skip_link_scripts: Vec<String>,
    strip: Strip,
    layers: usize,
    parents: Vec<(Lock, usize)>,
    requested: BTreeMap<Subdir, Vec<String>>,
    asked: AskedFor,
}

impl Inputs {
    /// What `request` is made of. Nothing where a channel's address has variables: not even their names get out with an
    /// image, and who has the image could not fill them in.
    pub fn of(request: &Request<'_>) -> Option<Self> {
        // Every field by name. `cache_dir`, `jobs` and `reuse` decide no bytes, `sbom` none of the image's.
        let Request {
            image,
            environments,
            platforms,
            bases,
            debian,
            content,
            compression,
            source_date_epoch,
            cache_dir: _,
            jobs: _,
            sbom: _,
            reuse: _,
        } = request;
        let locks = environments
            .iter()
            .flat_map(|environment| environment.parents.iter().map(|parent| parent.lock).chain([environment.lock]));
        if locks.into_iter().any(has_variables) {
            return None;
        }
        let bases = platforms.iter().filter_map(|platform| Some((*platform, Base::of(bases.get(platform)?))));
        Some(Self {
            esker: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT,
            image: (*image).to_owned(),
            platforms: platforms.to_vec(),
            compression: *compression,
            source_date_epoch: *source_date_epoch,
            environments: environments.iter().map(Prefix::of).collect(),
            content: Content::of(content),
            bases: bases.collect(),
            debian: debian.map(|debian| Debian { lock: debian.lock.text(), skip: debian.skip.to_vec() }),
        })
    }

    /// Reads what was recorded.
    ///
    /// # Errors
    /// [`InputsError::Json`]; [`InputsError::Format`] when this esker would write other bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, InputsError> {
        /// What every version of the document has, whatever else.
        #[derive(Deserialize)]
        struct Head {
            esker: String,
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(InputsError::Json)?;
        if head.format != FORMAT {
            return Err(InputsError::Format { esker: head.esker, found: head.format });
        }
        serde_json::from_slice(bytes).map_err(InputsError::Json)
    }

    /// Descriptors of the layers of all bases, each once.
    pub fn base_layers(&self) -> BTreeMap<String, &Descriptor> {
        let layers = self.bases.values().flat_map(|base| &base.layers);
        layers.map(|(descriptor, _)| (descriptor.digest().to_string(), descriptor)).collect()
    }

    /// Checks it and puts it in the engine's terms; `blobs` says where the blob of each base's layer is.
    ///
    /// # Errors
    /// See [`InputsError`].
    pub fn recorded(self, blobs: &BTreeMap<String, PathBuf>) -> Result<Recorded, InputsError> {
        let environments = self.environments.iter().map(Prefix::read).collect::<Result<_, _>>()?;
        let bases = self.bases.iter().map(|(platform, base)| Ok((*platform, base.read(*platform, blobs)?)));
        let bases = bases.collect::<Result<_, InputsError>>()?;
        let content = self.content.read()?;
        let debian = self.debian.as_ref().map(Debian::read).transpose()?;
        Ok(Recorded { environments, content, bases, debian, inputs: self })
    }
}

impl Recorded {
    /// The request that makes the image again.
    pub fn request<'a>(&'a self, cache_dir: &'a Path, jobs: usize) -> Request<'a> {
        let environments = self.environments.iter().map(|read| Environment {
            prefix: &read.path,
            lock: &read.lock,
            skip_link_scripts: &read.skip_link_scripts,
            strip: &read.strip,
            layers: read.layers,
            parents: read.parents.iter().map(|(lock, layers)| Parent { lock, layers: *layers }).collect(),
            requested: read.requested.clone(),
            asked: read.asked.clone(),
        });
        Request {
            image: &self.inputs.image,
            environments: environments.collect(),
            platforms: &self.inputs.platforms,
            bases: &self.bases,
            debian: self.debian.as_ref().map(|(lock, skip)| DebianRequest { lock, skip }),
            content: &self.content,
            compression: self.inputs.compression,
            source_date_epoch: self.inputs.source_date_epoch,
            cache_dir,
            jobs,
            sbom: false,
            reuse: Reuse::default(),
        }
    }
}

impl Prefix {
    fn of(environment: &Environment<'_>) -> Self {
        let Environment { prefix, lock, skip_link_scripts, strip, layers, parents, requested, asked } = environment;
        // What somebody noted down in a lock decides nothing, and was not meant for everybody.
        let text = |lock: &Lock| Lock { custom_metadata: BTreeMap::new(), ..lock.clone() }.to_conda_lock_yaml();
        Self {
            path: (*prefix).to_owned(),
            lock: text(lock),
            skip_link_scripts: skip_link_scripts.to_vec(),
            strip: strip.texts().to_vec(),
            layers: *layers,
            parents: parents.iter().map(|parent| (text(parent.lock), parent.layers)).collect(),
            requested: requested.iter().map(|(subdir, specs)| (subdir.to_string(), specs.clone())).collect(),
            asked: asked.iter().map(|(subdir, asked)| (subdir.to_string(), asked.clone())).collect(),
        }
    }

    fn read(&self) -> Result<ReadPrefix, InputsError> {
        let parents = self.parents.iter().map(|(text, layers)| Ok((read_lock(text)?, *layers)));
        let requested = self.requested.iter().map(|(name, specs)| Ok((subdir(name)?, specs.clone())));
        let asked = self.asked.iter().map(|(name, asked)| Ok((subdir(name)?, asked.clone())));
        Ok(ReadPrefix {
            path: self.path.clone(),
            lock: read_lock(&self.lock)?,
            skip_link_scripts: self.skip_link_scripts.clone(),
            strip: Strip::parse(self.strip.iter().cloned()).map_err(InputsError::Invalid)?,
            layers: self.layers,
            parents: parents.collect::<Result<_, InputsError>>()?,
            requested: requested.collect::<Result<_, InputsError>>()?,
            asked: asked.collect::<Result<_, InputsError>>()?,
        })
    }
}

/// Reads a recorded `conda-lock.yml`, and lets none of its packages reach for what is this machine's.
fn read_lock(text: &str) -> Result<Lock, InputsError> {
    let lock = Lock::parse(Path::new("conda-lock.yml"), text);
    let lock = lock.map_err(|error| InputsError::Lock(Box::new(error)))?;
    lock.packages.iter().try_for_each(|package| fetched(&package.url, package.written_url()))?;
    Ok(lock)
}

/// Whether `url`, written as `written`, may be fetched for an image from elsewhere.
fn fetched(url: &Url, written: String) -> Result<(), InputsError> {
    if variables(&written).next().is_some() {
        return Err(InputsError::Variable { url: written });
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(InputsError::Invalid(format!("`{written}` is not fetched over HTTP")));
    }
    Ok(())
}

fn subdir(name: &str) -> Result<Subdir, InputsError> {
    name.parse().map_err(|_| InputsError::Invalid(format!("`{name}` is no subdir")))
}

impl Debian {
    fn read(&self) -> Result<(AptLock, Vec<String>), InputsError> {
        let lock = AptLock::parse(&self.lock, Path::new(apt::FILE));
        let lock = lock.map_err(|error| InputsError::Invalid(error.to_string()))?;
        for deb in lock.platforms.values().flat_map(|platform| &platform.packages) {
            fetched(&deb.url, deb.url.to_string())?;
        }
        Ok((lock, self.skip.clone()))
    }
}

/// Whether a channel of `lock`, or a package's address, holds a variable.
fn has_variables(lock: &Lock) -> bool {
    let has = |text: &str| variables(text).next().is_some();
    lock.channels.iter().any(|channel| !channel.used_env_vars.is_empty() || has(&channel.url))
        || lock.packages.iter().any(|package| has(package.url.as_str()))
}

impl Content {
    fn of(content: &ImageContent) -> Self {
        let ImageContent { files, env, entrypoint, cmd, labels, exposed_ports, user, workdir, account, on_build } =
            content;
        let pairs = |map: &IndexMap<String, String>| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        let Account { name, uid, gid, home, shell } = account;
        Self {
            files: files.iter().map(File::of).collect(),
            env: pairs(env),
            entrypoint: entrypoint.clone(),
            cmd: cmd.clone(),
            labels: pairs(labels),
            exposed_ports: exposed_ports.clone(),
            user: user.clone(),
            workdir: workdir.clone(),
            account: (name.clone(), *uid, *gid, home.clone(), shell.clone()),
            on_build: on_build.clone(),
        }
    }

    fn read(&self) -> Result<ImageContent, InputsError> {
        let (name, uid, gid, home, shell) = self.account.clone();
        Ok(ImageContent {
            files: self.files.iter().map(File::read).collect::<Result<_, _>>()?,
            env: self.env.iter().cloned().collect(),
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
            labels: self.labels.iter().cloned().collect(),
            exposed_ports: self.exposed_ports.clone(),
            user: self.user.clone(),
            workdir: self.workdir.clone(),
            account: Account { name, uid, gid, home, shell },
            on_build: self.on_build.clone(),
        })
    }
}

impl File {
    fn of(file: &ContentFile) -> Self {
        let ContentFile { path, content, mode, owner } = file;
        let content = match std::str::from_utf8(content) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Hex(hex::encode(content)),
        };
        Self { path: path.clone(), mode: *mode, owner: *owner, content }
    }

    fn read(&self) -> Result<ContentFile, InputsError> {
        let content = match &self.content {
            Bytes::Text(text) => text.clone().into_bytes(),
            Bytes::Hex(digits) => hex::decode(digits).map_err(|error| InputsError::Invalid(error.to_string()))?,
        };
        Ok(ContentFile { path: self.path.clone(), content, mode: self.mode, owner: self.owner })
    }
}

impl Base {
    fn of(base: &BaseImage) -> Self {
        let BaseImage { reference: _, source_digest, manifest_digest, platform: _, config, layers, made_of: _ } = base;
        Self {
            name: base.public_name().map(str::to_owned),
            source_digest: *source_digest,
            manifest_digest: *manifest_digest,
            config: config.clone(),
            layers: layers.iter().map(|layer| (layer.descriptor.clone(), layer.diff_id)).collect(),
        }
    }

    fn read(&self, platform: Platform, blobs: &BTreeMap<String, PathBuf>) -> Result<BaseImage, InputsError> {
        let layer = |(descriptor, diff_id): &(Descriptor, Digest)| {
            let digest = sha256(descriptor).map_err(InputsError::Base)?;
            let path = blobs.get(&digest.to_string()).cloned();
            let path = path.ok_or_else(|| InputsError::Invalid(format!("the base's layer {digest} is not there")))?;
            Ok(BaseLayer { descriptor: descriptor.clone(), diff_id: *diff_id, path })
        };
        Ok(BaseImage {
            reference: self.name.clone().unwrap_or_else(|| LOCAL_BASE.to_owned()),
            source_digest: self.source_digest,
            manifest_digest: self.manifest_digest,
            platform,
            config: self.config.clone(),
            layers: self.layers.iter().map(layer).collect::<Result<_, InputsError>>()?,
            made_of: None,
        })
    }
}
