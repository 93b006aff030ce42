//! Builds small images from a tiny channel, natively, and looks into them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use esker::build::Built;
use esker::build::base::{BaseImage, BaseLayer};
use esker::build::native::{self, AskedFor, Environment, Parent, Request, Reuse};
use esker::channel::{Client, Options};
use esker::lock::Lock;
use esker::oci::entries::{EntryKind, LayerEntry};
use esker::oci::tar::{Entry, Kind, TarWriter};
use esker::oci::{Compression, Digest, Layout, Platform, walk};
use esker::progress::Silent;
use esker::project::{AptPolicy, DebianSettings, ImageSpec, Mirror, Relocking, Strip, VirtualPackages};
use esker::render::{Account, ContentFile, ImageContent};
use indexmap::IndexMap;
use oci_spec::image::{ConfigBuilder, Descriptor, ImageConfigurationBuilder, MediaType, Os, RootFsBuilder};
use rattler_conda_types::Subdir;
use tempfile::TempDir;

use crate::common::pypi::Wheel;
use crate::common::{Pkg, TinyChannel, Written, skipped};

pub const PREFIX: &str = "/srv/conda/envs/notebook";
/// Where the wheels of locks come from.
pub const WHEELS: &str = "https://wheels.example.org/";

/// A channel, a base system, and somewhere to build.
pub struct World {
    pub channel: Written,
    pub bases: BTreeMap<Platform, BaseImage>,
    pub folder: TempDir,
    pub prefix: String,
}

/// What can be chosen for a build.
#[derive(Clone)]
pub struct Choices {
    pub compression: Compression,
    pub jobs: usize,
    pub layers: usize,
    pub parents: Vec<(Lock, usize)>,
    pub skip_link_scripts: Vec<String>,
    pub cache: String,
    pub output: String,
    pub platforms: Vec<Platform>,
    pub source_date_epoch: Option<u64>,
    pub asked: AskedFor,
    pub strip: Strip,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            compression: Compression::Zstd(1),
            jobs: 2,
            layers: 20,
            parents: vec![],
            skip_link_scripts: vec![],
            cache: "one".into(),
            output: "image".into(),
            platforms: vec![Platform::LinuxAmd64, Platform::LinuxArm64],
            source_date_epoch: None,
            asked: AskedFor::new(),
            strip: Strip::default(),
        }
    }
}

impl World {
    pub fn new(channel: &TinyChannel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let channel = channel.write(folder.path().join("channel"));
        let bases = Platform::ALL.map(|platform| (platform, base(folder.path(), platform)));
        Self { channel, bases: bases.into_iter().collect(), folder, prefix: PREFIX.into() }
    }

    /// A lock of these conda packages and wheels, which are written to where [`WHEELS`] leads.
    pub fn lock_with(&self, names: &[&str], wheels: &[Wheel]) -> Lock {
        let mut lock = self.channel.lock(names);
        std::fs::create_dir_all(self.path("wheels")).unwrap();
        for wheel in wheels {
            std::fs::write(self.path("wheels").join(wheel.file_name()), wheel.bytes()).unwrap();
            lock.packages.extend(lock.subdirs.iter().map(|subdir| wheel.locked(*subdir, WHEELS)));
        }
        lock
    }

    fn wheel_mirror(&self) -> Mirror {
        let to = url::Url::from_directory_path(self.path("wheels")).unwrap();
        Mirror { from: WHEELS.parse().unwrap(), to }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn build(&self, names: &[&str], choices: &Choices) -> Result<Built, native::Error> {
        self.build_lock(&self.channel.lock(names), choices).await
    }

    pub async fn build_lock(&self, lock: &Lock, choices: &Choices) -> Result<Built, native::Error> {
        let cache = self.path("caches").join(&choices.cache);
        let mut options = Options::new(cache.join("channel"));
        options.mirrors = vec![self.channel.mirror(), self.wheel_mirror()];
        let client = Client::new(options).unwrap();
        let environment = Environment {
            prefix: &self.prefix,
            lock,
            skip_link_scripts: &choices.skip_link_scripts,
            strip: &choices.strip,
            layers: choices.layers,
            parents: choices.parents.iter().map(|(lock, layers)| Parent { lock, layers: *layers }).collect(),
            requested: BTreeMap::from([(Subdir::Linux64, vec!["hello".to_owned()])]),
            asked: choices.asked.clone(),
        };
        let (image, content) = (image_spec(), content());
        let request = Request {
            image: &image.name,
            environments: vec![environment],
            platforms: &choices.platforms,
            bases: &self.bases,
            debian: None,
            content: &content,
            compression: choices.compression,
            source_date_epoch: choices.source_date_epoch,
            cache_dir: &cache.join("build"),
            jobs: choices.jobs,
            sbom: true,
            reuse: Reuse::default(),
        };
        native::build(&request, &client, &self.path(&choices.output), &Silent).await
    }
}

/// A Python that is the system's, for both arches: `None`, loudly, where there is none. With its version.
pub fn python() -> Option<(Pkg, String)> {
    let script = "import sys; print(sys.executable); print('%d.%d' % sys.version_info[:2])";
    let run = std::process::Command::new("python3").args(["-c", script]).output();
    let Some(output) = run.ok().filter(|output| output.status.success()) else {
        skipped("there is no python3 on PATH");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (program, version) = text.trim().split_once('\n').unwrap();
    let package = Pkg::new("python", &format!("{version}.0"))
        .native()
        .build("h1_0_cpython", 0)
        .executable(&format!("bin/python{version}"), format!("#!/bin/sh\nexec '{program}' \"$@\"\n"));
    Some((package, version.to_owned()))
}

/// The files of an image by path, with their content.
pub type Contents = BTreeMap<String, (LayerEntry, Vec<u8>)>;

/// What is in one platform's image.
pub fn contents(built: &Built, platform: Platform) -> Contents {
    let layout = Layout::open(&built.layout).unwrap();
    let image = layout.image(platform).unwrap();
    let mut found = BTreeMap::new();
    walk(&image, &layout, |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).unwrap();
        found.insert(entry.path.to_str().unwrap().to_owned(), (entry.clone(), bytes));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    found
}

/// The text of a file below the prefix.
pub fn text(contents: &Contents, path: &str) -> String {
    let path = format!("{}/{path}", &PREFIX[1..]);
    let (entry, bytes) = contents.get(&path).unwrap_or_else(|| panic!("no `{path}` in the image"));
    assert_eq!(entry.kind, EntryKind::File, "{path}");
    String::from_utf8_lossy(bytes).into_owned()
}

/// The entry of a path below the prefix.
pub fn entry<'a>(contents: &'a Contents, path: &str) -> &'a LayerEntry {
    &contents.get(&format!("{}/{path}", &PREFIX[1..])).unwrap_or_else(|| panic!("no `{path}` in the image")).0
}

/// Whether a path is below the prefix.
pub fn has(contents: &Contents, path: &str) -> bool {
    contents.contains_key(&format!("{}/{path}", &PREFIX[1..]))
}

/// Digests of the layers of a platform, the base's left out.
pub fn layers(built: &Built, platform: Platform) -> Vec<Digest> {
    let image = Layout::open(&built.layout).unwrap().image(platform).unwrap();
    image.layers.iter().skip(1).map(|layer| layer.digest).collect()
}

pub fn content() -> ImageContent {
    let start = ContentFile {
        path: "srv/start".into(),
        content: b"#!/bin/bash -l\nexec \"$@\"\n".to_vec(),
        mode: 0o755,
        owner: (1000, 1000),
    };
    ImageContent {
        files: vec![start],
        env: IndexMap::from([("PATH".to_owned(), format!("{PREFIX}/bin"))]),
        entrypoint: vec!["/srv/start".into()],
        cmd: vec!["jupyter".into(), "lab".into()],
        labels: IndexMap::from([("org.opencontainers.image.source".to_owned(), "https://example.org".to_owned())]),
        exposed_ports: vec!["8888/tcp".into()],
        user: "1000:1000".into(),
        workdir: "/home/jovyan".into(),
        account: Account {
            name: "jovyan".into(),
            uid: 1000,
            gid: 1000,
            home: "/home/jovyan".into(),
            shell: "/bin/bash".into(),
        },
        on_build: vec![],
    }
}

pub fn image_spec() -> ImageSpec {
    ImageSpec {
        name: "test".into(),
        folder: "/nowhere".into(),
        files: "/nowhere".into(),
        parent: None,
        environments: vec![],
        platforms: vec![],
        subdirs: vec![],
        virtual_packages: VirtualPackages::default(),
        mirrors: vec![],
        base: None,
        env: IndexMap::new(),
        labels: IndexMap::new(),
        info: indexmap::IndexMap::new(),
        apt: AptPolicy::Refuse,
        debian: DebianSettings::default(),
        skip_link_scripts: vec![],
        strip: esker::project::Strip::default(),
        layers: 80,
        relocking: Relocking::default(),
        sbom: true,
        cache_from: vec![],
        docker: Default::default(),
    }
}

/// A base of one gzip layer.
fn base(folder: &Path, platform: Platform) -> BaseImage {
    let mut tar = TarWriter::new(Vec::new());
    let passwd = "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n";
    let os_release = format!("PRETTY_NAME=\"Tiny on {platform}\"\n");
    for (path, text) in [("etc/os-release", os_release.as_str()), ("etc/passwd", passwd)] {
        let kind = Kind::File(text.len() as u64);
        let entry = Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1_600_000_000 };
        tar.append(&entry, text.as_bytes()).unwrap();
    }
    let tar = tar.end().unwrap();
    let mut encoder = Compression::GZIP.encoder(Vec::new()).unwrap();
    std::io::Write::write_all(&mut encoder, &tar).unwrap();
    let blob = encoder.finish().unwrap();
    let path = folder.join(format!("base-{}", platform.architecture()));
    std::fs::write(&path, &blob).unwrap();
    let diff_id = Digest::of(&tar);
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(vec![diff_id.to_string()]).build().unwrap();
    let config = ImageConfigurationBuilder::default()
        .os(Os::Linux)
        .architecture(platform.architecture())
        .rootfs(rootfs)
        .config(ConfigBuilder::default().env(vec!["PATH=/usr/bin:/bin".to_owned()]).build().unwrap())
        .build()
        .unwrap();
    let descriptor = Descriptor::new(MediaType::ImageLayerGzip, blob.len() as u64, Digest::of(&blob));
    BaseImage {
        reference: "docker.io/library/tiny:1".into(),
        source_digest: Digest::of(b"tiny"),
        manifest_digest: Digest::of(b"tiny manifest"),
        platform,
        config,
        layers: vec![BaseLayer { descriptor, diff_id, path }],
        made_of: None,
    }
}
