//! A small image that keeps the whole contract, in parts that a test can break one at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use esker::lock::{Lock, LockedPackage, Manager};
use esker::oci::tar::{Entry, Kind, TarWriter};
use esker::oci::{Digest, Layout, Platform};
use esker::progress::Silent;
use esker::project::{
    AptPolicy, DebianSettings, Dependency, Environment, ImageSpec, Place, Relocking, VirtualPackages,
};
use esker::verify::{Equipment, Error, Request, RuntimeKind, Selection, Verification, verify};
use oci_spec::image::{Descriptor, ImageIndexBuilder, ImageManifestBuilder, MediaType, PlatformBuilder};
use rattler_conda_types::Subdir;
use serde_json::{Value, json};

use crate::tiny;

/// A file or directory of the model.
#[derive(Clone)]
pub struct File {
    pub content: Option<Vec<u8>>,
    pub mode: u32,
    pub owner: u64,
}

/// The image, what was asked for, and the project's folder.
pub struct Model {
    pub folder: tempfile::TempDir,
    pub config: Value,
    pub files: BTreeMap<String, File>,
    pub spec: ImageSpec,
    pub lock: Lock,
    pub root: Option<Lock>,
    pub platforms: Vec<Platform>,
    /// The platforms to verify; all if empty.
    pub chosen: Vec<Platform>,
    pub selection: Selection,
    pub timeout: Duration,
    pub keep_unpacked: bool,
    pub keep_all_logs: bool,
    pub podman: PathBuf,
    pub equipment: Equipment,
}

/// Content of the file of python that its record has the hash of.
pub const HASHED: &str = "as it was packed";

pub const START: &str = r#"#!/bin/bash -l
export PANGEO_ENV="model"
if [[ -n "$PANGEO_SCRATCH_PREFIX" && -n "$JUPYTERHUB_USER" ]]; then
    export PANGEO_SCRATCH="$PANGEO_SCRATCH_PREFIX/$JUPYTERHUB_USER/"
fi
exec "$@"
"#;

impl Model {
    /// Whole, and with files enough to check but not to run.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let equipment = Equipment {
            tests: folder.path().join("tests"),
            tools: folder.path().join("tools"),
            work: folder.path().join("work"),
            pictures: folder.path().join("pictures"),
            gpus: false,
        };
        let mut model = Self {
            spec: spec(folder.path()),
            equipment,
            folder,
            config: config(),
            files: BTreeMap::new(),
            lock: lock(&[("python", "3.13.5"), ("zlib", "1.3.1")]),
            root: Some(lock(&[("conda", "25.5.1")])),
            platforms: vec![Platform::host().unwrap()],
            chosen: vec![],
            selection: Selection::default(),
            timeout: Duration::from_secs(20),
            keep_unpacked: false,
            keep_all_logs: false,
            podman: "podman".into(),
        };
        for (directory, mode) in [("etc", 0o755), ("home", 0o755), ("tmp", 0o1777)] {
            model.put(directory, None, mode, 0);
        }
        for directory in ["home/jovyan", "srv", "srv/conda", "srv/conda/envs", "srv/conda/envs/notebook"] {
            model.put(directory, None, 0o755, 1000);
        }
        let passwd = "root:x:0:0:root:/root:/bin/bash\njovyan:x:1000:1000::/home/jovyan:/bin/bash\n";
        model.put("etc/passwd", Some(passwd), 0o644, 0);
        let login = "export PATH=$NB_PYTHON_PREFIX/bin:$CONDA_DIR/bin:$PATH # what conda's hook does\n";
        model.put("etc/profile.d/init_conda.sh", Some(login), 0o644, 0);
        // Debian's begins like this, too.
        model.put("etc/profile", Some("PATH=/usr/bin:/bin\n. /etc/profile.d/init_conda.sh\n"), 0o644, 0);
        model.put("srv/start", Some(START), 0o755, 1000);
        model.put("srv/conda/.condarc", Some("channels: [conda-forge]\n"), 0o644, 1000);
        let dask = "labextension:\n  factory:\n    class: LocalCluster\n";
        model.put("srv/conda/etc/dask.yml", Some(dask), 0o644, 1000);
        model.put_records();
        model
    }

    /// Whole, and able to run programs of this machine.
    pub fn running() -> Self {
        let mut model = Self::new();
        model.add(tiny::fill);
        model
    }

    /// Adds the files that `fill` puts into a directory, except where there are some.
    pub fn add(&mut self, fill: impl FnOnce(&Path)) {
        let root = tempfile::tempdir().unwrap();
        fill(root.path());
        for entry in walkdir::WalkDir::new(root.path()).min_depth(1).into_iter().map(Result::unwrap) {
            let path = entry.path().strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned();
            let content = entry.file_type().is_file().then(|| fs_err::read(entry.path()).unwrap());
            self.files.entry(path).or_insert(File { content, mode: 0o755, owner: 0 });
        }
    }

    pub fn put(&mut self, path: &str, content: Option<&str>, mode: u32, owner: u64) {
        let content = content.map(|text| text.as_bytes().to_vec());
        self.files.insert(path.to_owned(), File { content, mode, owner });
    }

    /// Adds a program of the environment.
    pub fn program(&mut self, name: &str, script: &str) {
        let script = format!("#!/bin/bash\n{script}\n");
        self.put(&format!("srv/conda/envs/notebook/bin/{name}"), Some(&script), 0o755, 1000);
    }

    /// Locks and installs one package more.
    pub fn package(&mut self, name: &str, version: &str) {
        self.lock.packages.extend(lock(&[(name, version)]).packages);
        self.put_records();
    }

    pub fn file(&mut self, path: &str) -> &mut File {
        self.files.get_mut(path).unwrap()
    }

    /// Path of the record of an installed package.
    pub fn record(&self, name: &str) -> String {
        let found = self.files.keys().find(|path| path.contains(&format!("conda-meta/{name}-")));
        found.unwrap().clone()
    }

    pub fn edit(&mut self, path: &str, from: &str, to: &str) {
        let file = self.file(path);
        let text = String::from_utf8(file.content.clone().unwrap()).unwrap();
        assert!(text.contains(from), "{path} has no `{from}`");
        file.content = Some(text.replace(from, to).into_bytes());
    }

    /// Adds a test of the project.
    pub fn test(&self, name: &str) {
        let path = self.equipment.tests.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, "{}").unwrap();
    }

    pub fn variable(&mut self, name: &str, value: &str) {
        let env = self.config["config"]["Env"].as_array_mut().unwrap();
        env.retain(|line| !line.as_str().unwrap().starts_with(&format!("{name}=")));
        env.push(json!(format!("{name}={value}")));
    }

    fn put_records(&mut self) {
        let root = self.root.iter().flat_map(|root| &root.packages).map(|package| ("srv/conda", package));
        let packages = self.lock.packages.iter().map(|package| ("srv/conda/envs/notebook", package)).chain(root);
        let records: Vec<_> = packages
            .map(|(prefix, package)| {
                let (name, version, build) = (&package.name, &package.version, package.build().unwrap());
                let mut record = json!({
                    "name": name, "version": version, "build": build, "sha256": package.sha256, "files": [],
                    "license": "MIT",
                });
                if name == "python" {
                    let hash = Digest::of(HASHED.as_bytes()).hex();
                    record["files"] = json!(["share/hashed"]);
                    record["paths_data"] = json!({"paths": [{"_path": "share/hashed", "sha256_in_prefix": hash}]});
                }
                (format!("{prefix}/conda-meta/{name}-{version}-{build}.json"), record.to_string())
            })
            .collect();
        self.put("srv/conda/envs/notebook/share/hashed", Some(HASHED), 0o644, 1000);
        for (path, record) in records {
            self.put(&path, Some(&record), 0o644, 1000);
        }
    }

    /// Writes the image to a layout.
    pub fn layout(&self) -> Layout {
        let layout = Layout::create(self.folder.path().join("layout")).unwrap();
        let (digest, size) = layout.put(&self.layer()).unwrap();
        let manifests = self.platforms.iter().map(|platform| {
            let mut config = self.config.clone();
            config["architecture"] = json!(platform.architecture());
            config["rootfs"] = json!({"type": "layers", "diff_ids": [digest.to_string()]});
            let config = layout.put_json(MediaType::ImageConfig, &config).unwrap();
            let manifest = ImageManifestBuilder::default()
                .schema_version(2u32)
                .config(config)
                .layers(vec![Descriptor::new(MediaType::ImageLayer, size, digest)])
                .build()
                .unwrap();
            let mut descriptor = layout.put_json(MediaType::ImageManifest, &manifest).unwrap();
            let platform =
                PlatformBuilder::default().os("linux").architecture(platform.architecture()).build().unwrap();
            descriptor.set_platform(Some(platform));
            descriptor
        });
        let index = ImageIndexBuilder::default().schema_version(2u32).manifests(manifests.collect::<Vec<_>>());
        layout.set_index("model", &index.build().unwrap()).unwrap();
        layout
    }

    pub fn layer(&self) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (path, file) in &self.files {
            let kind = file.content.as_ref().map_or(Kind::Directory, |content| Kind::File(content.len() as u64));
            let (mode, owner) = (file.mode, file.owner);
            let entry = Entry { path: path.clone(), kind, mode, uid: owner, gid: owner, mtime: 0 };
            tar.append(&entry, file.content.as_deref().unwrap_or_default()).unwrap();
        }
        tar.end().unwrap()
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    pub fn packages_txt(&self) -> PathBuf {
        self.spec.packages_path()
    }

    /// Verifies the image.
    pub async fn verify_with(&self, runtime: RuntimeKind) -> Result<Verification, Error> {
        self.verify_layout(&self.layout(), runtime).await
    }

    /// Verifies the image as it is in `layout`.
    pub async fn verify_layout(&self, layout: &Layout, runtime: RuntimeKind) -> Result<Verification, Error> {
        let request = Request {
            image: &self.spec,
            layout,
            lock: &self.lock,
            is_root: false,
            root: self.root.as_ref(),
            platforms: &self.chosen,
            runtime,
            work_dir: &self.folder.path().join("work"),
            keep_unpacked: self.keep_unpacked,
            log_dir: &self.logs(),
            keep_all_logs: self.keep_all_logs,
            timeout: self.timeout,
            jobs: 2,
            selection: &self.selection,
            equipment: &self.equipment,
            runner: Some(&tiny::esker()),
            podman: &self.podman,
            docker: &crate::docker::setting(),
        };
        verify(&request, &Silent).await
    }

    /// Verifies the image with the embedded runner, and tells which checks failed.
    pub async fn failures(&self) -> Vec<String> {
        let verification = self.verify_with(RuntimeKind::Embedded).await.unwrap();
        verification.report.failures().map(|(_, check)| check.name.clone()).collect()
    }
}

fn spec(folder: &Path) -> ImageSpec {
    ImageSpec {
        name: "model".into(),
        folder: folder.to_owned(),
        files: folder.to_owned(),
        parent: None,
        environments: Vec::new(),
        platforms: vec![Platform::LinuxAmd64, Platform::LinuxArm64],
        subdirs: vec![Subdir::Linux64, Subdir::LinuxAarch64],
        virtual_packages: VirtualPackages::default(),
        mirrors: vec![],
        base: None,
        env: [("EXTRA".to_owned(), "asked".to_owned())].into(),
        labels: [("org.example.team".to_owned(), "model".to_owned())].into(),
        info: indexmap::IndexMap::new(),
        apt: AptPolicy::Refuse,
        debian: DebianSettings::default(),
        skip_link_scripts: Vec::new(),
        strip: esker::project::Strip::default(),
        layers: 10,
        relocking: Relocking::default(),
        sbom: true,
        cache_from: vec![],
        docker: Default::default(),
    }
}

/// Locks these packages for amd64 and arm64 alike.
pub fn lock(packages: &[(&str, &str)]) -> Lock {
    let package = |subdir: Subdir, name: &str, version: &str| LockedPackage {
        name: name.into(),
        version: version.into(),
        manager: Manager::Conda,
        subdir,
        dependencies: BTreeMap::new(),
        url: format!("https://conda.anaconda.org/conda-forge/noarch/{name}-{version}-h0_0.conda").parse().unwrap(),
        md5: Some("d41d8cd98f00b204e9800998ecf8427e".into()),
        sha256: Some(Digest::of(name.as_bytes()).hex()),
        category: "main".into(),
        optional: false,
    };
    let subdirs = vec![Subdir::Linux64, Subdir::LinuxAarch64];
    let all = subdirs.iter().flat_map(|subdir| packages.iter().map(|(name, version)| package(*subdir, name, version)));
    Lock { packages: all.collect(), subdirs, ..Lock::default() }
}

fn config() -> Value {
    json!({
        "os": "linux",
        "config": {
            "User": "1000",
            "ExposedPorts": {"8888/tcp": {}},
            "Env": [
                "PATH=/srv/conda/envs/notebook/bin:/srv/conda/bin:/usr/bin:/bin", "NB_USER=jovyan", "NB_UID=1000",
                "HOME=/home/jovyan", "CONDA_DIR=/srv/conda", "CONDA_ENV=notebook", "SHELL=/bin/bash",
                "NB_PYTHON_PREFIX=/srv/conda/envs/notebook", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "TZ=UTC",
                "DEBIAN_FRONTEND=noninteractive", "DASK_ROOT_CONFIG=/srv/conda/etc", "EXTRA=asked",
            ],
            "Entrypoint": ["/srv/start"],
            "Cmd": ["serve"],
            "WorkingDir": "/home/jovyan",
            "Labels": {
                "org.opencontainers.image.source": "https://example.org/model", "org.example.team": "model",
            },
        },
    })
}

/// An `environment.yml` in `folder` that asks for these packages.
pub fn environment(folder: &Path, specs: &[&str]) -> Environment {
    let place = |line: usize| Place { file: folder.join("environment.yml"), line, column: 5 };
    let dependency = |(index, spec): (usize, &&str)| Dependency {
        spec: (*spec).to_owned(),
        selector: None,
        place: place(index + 1),
    };
    Environment {
        path: folder.join("environment.yml"),
        name: None,
        channels: Vec::new(),
        channel_places: Vec::new(),
        dependencies: specs.iter().enumerate().map(dependency).collect(),
        pip: Vec::new(),
        platforms: None,
        category: None,
        variables: indexmap::IndexMap::new(),
    }
}
