//! What can be typed: clap's types, and nothing that acts.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rattler_conda_types::Subdir;

use super::ui::Color;
use crate::cache::Size;
use crate::oci::{Compression, Platform};
use crate::project::{Age, ChangeKind, RelockPolicy};
use crate::settings::Given;

/// Reproducible Jupyter images from conda environments.
///
/// Reads esker.yml and the image folders beside it, or just folders with an environment.yml.
#[derive(Debug, Parser)]
#[command(name = "esker", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 the answer is no (unsolvable, stale, a check failed), 2 bad usage or \
                        configuration, 3 something outside is missing (network, Docker, disk); a retry may help.")]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Folder of the project, or of one of its images [default: the current one]
    #[arg(short = 'C', long, value_name = "DIR", global = true)]
    project: Option<PathBuf>,
    /// Where packages and layers are cached [default: esker in the user's cache folder]
    #[arg(long, env = "ESKER_CACHE_DIR", value_name = "DIR", global = true)]
    cache_dir: Option<PathBuf>,
    /// What the cache may have after a build, such as 20GB: what was not used for longest goes [default: `cache-limit` of
    /// esker.yml, else no limit]
    #[arg(long, env = "ESKER_CACHE_LIMIT", value_name = "SIZE", global = true)]
    cache_limit: Option<Size>,
    /// Fetch URLs that begin with FROM from TO (http or file) instead; locks keep FROM. May be repeated: several TO of
    /// one FROM are tried in order (in the variable: one pair a line, or spaces between)
    #[arg(long, env = "ESKER_MIRROR", value_name = "FROM=TO", hide_env_values = true, global = true)]
    mirror: Vec<String>,
    /// Fetch nothing; use what is cached
    #[arg(long, env = "ESKER_OFFLINE", value_parser = FalseyValueParser::new(), global = true)]
    offline: bool,
    /// Speak plain HTTP to this registry, which may have a port. May be repeated [default: to this machine alone]
    #[arg(long, env = "ESKER_PLAIN_HTTP", value_name = "HOST", value_delimiter = ',', global = true)]
    plain_http: Vec<String>,
    /// Threads to use [default: one a core]
    #[arg(short, long, value_name = "N", global = true)]
    jobs: Option<NonZeroUsize>,
    /// Print the result as one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log what happens; -vv for more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// When to use colours
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", global = true)]
    pub color: Color,
}

impl Global {
    /// The flags that settings are made from.
    pub fn given(&self) -> Given {
        Given {
            project: self.project.clone(),
            cache_dir: self.cache_dir.clone(),
            cache_limit: self.cache_limit,
            mirrors: self.mirror.clone(),
            offline: self.offline,
            plain_http: self.plain_http.clone(),
            jobs: self.jobs,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Do all stages that are stale: lock, build, verify; parents first
    Make(MakeArgs),
    /// Solve environments into conda-lock.yml and conda-<subdir>.lock
    Lock(LockArgs),
    /// Render the Dockerfiles of images, and what belongs to them, from templates and locks
    Render(RenderArgs),
    /// Build images from their locks, without a daemon
    Build(BuildArgs),
    /// Run what was built, to prove it, and write packages.txt
    Verify(VerifyArgs),
    /// Push what was built to a registry, as much of it as is missing there
    Push(PushArgs),
    /// Show what changed in locks: packages added, removed, upgraded, downgraded
    Diff(DiffArgs),
    /// Say which lines of environment.yml bring a package in, and by which way
    Why(WhyArgs),
    /// Tell in which git tag each version of a package first appeared
    History(HistoryArgs),
    /// List requested packages of which the channels have a newer version than the lock
    Outdated(OutdatedArgs),
    /// Print an image's lock in another tool's format
    Export(ExportArgs),
    /// Show which packages share a layer, and what an update makes clients pull
    Layers(LayersArgs),
    /// Tell what is inside an image, from its layers: packages, sizes, configuration, documents about it
    Inspect(InspectArgs),
    /// Build an image again from what is recorded beside it, and compare the digests
    Rebuild(RebuildArgs),
    /// Print the SBOM of an image: the one that is kept beside it, or one made from its layers
    Sbom(SbomArgs),
    /// List the project's images
    Images,
    /// Show what is in the cache, check it, or remove what is not needed
    Cache(CacheArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct LockArgs {
    /// Images to lock [default: all]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Change nothing; fail with a diff if a lock does not satisfy its environment any more
    #[arg(long, conflicts_with_all = ["update", "relock", "fresh", "exclude_newer", "update_apt"])]
    pub check: bool,
    /// Bring this package to its newest version, others only as it needs; say why where it cannot. May be repeated
    #[arg(short, long, value_name = "PKG", value_delimiter = ',')]
    pub update: Vec<String>,
    /// With --update: let everything that those packages depend on move with them
    #[arg(long, requires = "update")]
    pub recursive: bool,
    /// Lock anew, also where the lock holds, and move as much as this [default: `relock` of esker.yml]
    #[arg(long, value_name = "POLICY", num_args = 0..=1, require_equals = true)]
    pub relock: Option<Option<RelockPolicy>>,
    /// Lock anew with the newest version of every package: the same as --relock=fresh
    #[arg(long, conflicts_with = "relock")]
    pub fresh: bool,
    /// Lock the Debian packages of apt.txt anew, from the archive as it is now; --fresh does so, too
    #[arg(long)]
    pub update_apt: bool,
    /// Where packages may move, let other builds of the same version be reason enough
    #[arg(long)]
    pub rebuilds: bool,
    /// Leave out what was published later than a date, a time or an age ago, such as 2026-01-31 or "7 days"; what is
    /// locked may stay [default: `min-age` of esker.yml]
    #[arg(long, value_name = "WHEN")]
    pub exclude_newer: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "An image is oci:DIR (an OCI layout), docker-archive:FILE, docker://REGISTRY/NAME:TAG, or without \
                        docker:// where the registry has a dot or a port and no git revision is called so. What is \
                        installed in it is read from its layers; nothing is run."
)]
pub struct DiffArgs {
    /// A git revision, OLD..NEW, a lock file, or an image (with NEW another one) [default: HEAD]
    #[arg(value_name = "OLD")]
    pub old: Option<String>,
    /// A git revision, a lock file or an image [default: the working tree]
    #[arg(value_name = "NEW", requires = "old")]
    pub new: Option<String>,
    /// Images to compare [default: all]. May be repeated
    #[arg(long, value_name = "IMAGE", value_delimiter = ',')]
    pub image: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
    /// Fail on changes of this kind: downgrade, removal, source, addition, upgrade or rebuild. May be repeated
    /// [default: `deny` of esker.yml]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub deny: Vec<ChangeKind>,
    /// Let any change happen to this package, besides those in `allow` of esker.yml. May be repeated
    #[arg(long, value_name = "PKG", value_delimiter = ',')]
    pub allow: Vec<String>,
}

impl DiffArgs {
    /// The two files to compare, if that is what is asked.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        let (old, new) = (Path::new(self.old.as_ref()?), Path::new(self.new.as_ref()?));
        (old.is_file() && new.is_file()).then_some((old, new))
    }
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The package
    #[arg(value_name = "PKG")]
    pub package: String,
    /// Images to look into [default: all]. May be repeated
    #[arg(long, value_name = "IMAGE", value_delimiter = ',')]
    pub image: Vec<String>,
    /// Only the lock of this subdir, such as linux-64
    #[arg(long, value_name = "SUBDIR")]
    pub subdir: Option<Subdir>,
    /// Show every way, not the ten shortest
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The package
    #[arg(value_name = "PKG")]
    pub package: String,
    /// Images to look into [default: all]. May be repeated
    #[arg(long, value_name = "IMAGE", value_delimiter = ',')]
    pub image: Vec<String>,
    /// The subdir whose lock is read, such as linux-64 [default: the image's first]
    #[arg(long, value_name = "SUBDIR")]
    pub subdir: Option<Subdir>,
    /// How to print it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct OutdatedArgs {
    /// Images to look into [default: all]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Look at every locked package, not only at those that are asked for
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// What to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: ExportFormat,
    /// The subdir whose packages are printed, such as linux-64 [default: the lock's first; for pixi all of them]
    #[arg(long, value_name = "SUBDIR")]
    pub subdir: Option<Subdir>,
}

/// A format of another tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// environment.yml with exact pins (name=version=build), for conda and mamba
    #[default]
    Environment,
    /// pixi.lock (version 7), with whole records out of the channels' repodata
    Pixi,
}

/// How images are named that may be anywhere.
const IMAGE_HELP: &str = "IMAGE is an image of the project that was built, oci:DIR (an OCI layout), docker-archive:FILE, \
                          or docker://REGISTRY/NAME:TAG, without docker:// where the registry has a dot or a port. \
                          Nothing of it is run.";

#[derive(Debug, Args)]
#[command(after_help = IMAGE_HELP)]
pub struct InspectArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Only this platform [default: all]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// How many packages to list, the largest first
    #[arg(long, value_name = "N", default_value = "20")]
    pub top: usize,
    /// List every package
    #[arg(long, conflicts_with = "top")]
    pub all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = IMAGE_HELP)]
pub struct SbomArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// What to print
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: SbomFormat,
    /// The platform whose image is meant [default: the only one, else this machine's]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// Make it from the layers, whatever is kept beside the image
    #[arg(long)]
    pub scan: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "IMAGE is an image of the project that was built, oci:DIR (an OCI layout), or docker://REGISTRY/NAME:TAG, \
                  without docker:// where the registry has a dot or a port. As in every build, byte code is compiled by \
                  the Python of the image's lock, which runs on this machine: do not rebuild what you do not trust. \
                  Exit code 1 says that the digests differ."
)]
pub struct RebuildArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Keep what is built as an OCI layout in this folder
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// A format of a software bill of materials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SbomFormat {
    /// SPDX 2.3, JSON
    #[default]
    Spdx,
    /// CycloneDX 1.6, JSON
    Cyclonedx,
}

/// A form to print a table in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, for a terminal
    #[default]
    Text,
    /// For a pull request or a page
    Markdown,
    /// One document, as `--json`
    Json,
}

#[derive(Debug, Args)]
pub struct LayersArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The platform whose layers are shown [default: the image's first]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
    /// The git revision whose locks the update is counted from [default: HEAD]
    #[arg(long, value_name = "REV")]
    pub since: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A project changes what is rendered with files in its folder templates/: one that is called like \
                        esker's (base-image.Dockerfile, notebook.Dockerfile, IMAGE.Dockerfile, onbuild.sh, dockerignore) \
                        stands in its place, or extends it: {% extends \"esker/base-image.Dockerfile\" %}."
)]
pub struct RenderArgs {
    /// Images to render [default: all]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// Write nothing; fail with a diff if a file is not as it would be rendered
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Images to build [default: all]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    #[command(flatten)]
    pub build: BuildOptions,
}

/// How to build; shared by `build` and `make`.
#[derive(Clone, Debug, Args)]
pub struct BuildOptions {
    /// Platforms to build for [default: those of esker.yml]. May be repeated
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<Platform>,
    /// Where the image goes: oci:DIR, docker-archive:FILE[:REFERENCE], docker:[REFERENCE], registry:[REFERENCE],
    /// dir:DIR, squashfs:FILE or sif:FILE. May be repeated [default: oci:.esker/images/IMAGE]
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Vec<String>,
    /// What builds: esker itself from packages, or Docker from Dockerfiles [default: `engine` of esker.yml, else native]
    #[arg(long, value_enum, value_name = "ENGINE", env = "ESKER_ENGINE")]
    pub engine: Option<Engine>,
    /// With Docker: the BuildKit daemon that builds instead of the Docker engine, as tcp://HOST:PORT, unix://PATH,
    /// docker-container://NAME or kube-pod://POD [default: `buildkitd` of esker.yml]
    #[arg(long, value_name = "ADDRESS")]
    pub builder: Option<String>,
    /// With a builder at tcp://: speak TLS to it, with ca.pem, cert.pem and key.pem (or ca.crt, tls.crt and tls.key) of
    /// this folder
    #[arg(long, value_name = "DIR", env = "ESKER_BUILDER_CERTS")]
    pub builder_certs: Option<PathBuf>,
    /// With Docker: make every step anew, whatever the builder's cache has
    #[arg(long)]
    pub no_cache: bool,
    /// Base system: debian:bookworm[-slim][@DATE] (made of packages), a registry reference, oci:DIR or rootfs:FILE.tar
    /// [default: that of esker.yml]
    #[arg(long, value_name = "BASE")]
    pub base: Option<String>,
    /// Take the base as it is now, and record its digest anew; one made of packages, of today's
    #[arg(long)]
    pub update_base: bool,
    /// Lay the image on this one, the image before: a registry reference or oci:DIR. Its layers stay, what changed comes
    /// on top, for clients that pull everything above the first change
    #[arg(long, value_name = "IMAGE")]
    pub onto: Option<String>,
    /// With --onto: make it as a whole when the image before has this many updates on it
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub rebase_after: u32,
    /// Compression of layers: zstd, gzip, zstd:LEVEL or gzip:LEVEL
    #[arg(long, value_name = "NAME", default_value = "zstd")]
    pub compression: Compression,
    /// An image in a registry whose layers and packages are taken over as far as they have not changed. May be repeated;
    /// before those of esker.yml [default with --output registry: that tag, else latest]
    #[arg(long, value_name = "REFERENCE", value_delimiter = ',')]
    pub cache_from: Vec<String>,
    /// Put no SBOM and no provenance beside the image [default: `sbom` of esker.yml]
    #[arg(long)]
    pub no_sbom: bool,
}

/// What builds images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// esker itself: packages to layers, with nothing run
    Native,
    /// The Docker engine or a BuildKit daemon, from Dockerfiles
    Docker,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Credentials are those of `docker login` and `podman login`. Blobs that the registry has are not sent \
                        again, so a push that was stopped goes on where it was."
)]
pub struct PushArgs {
    /// Images to push [default: all]; behind a single one, where it goes: REGISTRY/NAME[:TAG]
    /// [default: `registry` of esker.yml and the image's name]
    #[arg(value_name = "IMAGE|REFERENCE")]
    pub images: Vec<String>,
    /// A tag it gets. May be repeated [default: that of the reference, else latest]
    #[arg(short, long, value_name = "TAG", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// A repository (REGISTRY/NAME) that may have some of its layers: they are taken from there. May be repeated
    /// [default: that of the image's base]
    #[arg(long, value_name = "REPOSITORY", value_delimiter = ',')]
    pub mount_from: Vec<String>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Images to verify [default: all]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The layout to verify, if not where `build` puts it
    #[arg(long, value_name = "DIR")]
    pub layout: Option<PathBuf>,
    /// Platforms to verify [default: all in the layout]. May be repeated
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<Platform>,
    /// Write report.html, report.json, junit.xml, manifest.md and the outputs of all containers into this folder
    #[arg(long, value_name = "DIR")]
    pub report: Option<PathBuf>,
    /// List the checks with what they are for, and verify nothing
    #[arg(long, conflicts_with_all = ["report", "layout", "platform", "images"])]
    pub list: bool,
    #[command(flatten)]
    pub verify: VerifyOptions,
}

/// How to verify; shared by `verify` and `make`.
#[derive(Clone, Debug, Args)]
pub struct VerifyOptions {
    /// What runs the image
    #[arg(long, value_enum, default_value_t)]
    pub runtime: Runtime,
    /// Run only these checks (a name, or a group such as `contract`). May be repeated
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these checks out. May be repeated
    #[arg(long, value_name = "CHECK", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Open JupyterLab in this machine's Chromium as well, and keep a picture of it
    #[arg(long)]
    pub page: bool,
    /// Use this machine's GPUs in the checks that need one
    #[arg(long)]
    pub gpus: bool,
    /// Seconds that one check may take
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub timeout: Duration,
    /// Remove the unpacked image afterwards [default: it stays in .esker/run for the next run]
    #[arg(long)]
    pub no_keep: bool,
}

/// What runs an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// esker itself: no daemon, as root or as an ordinary user
    #[default]
    Embedded,
    /// The Docker engine
    Docker,
    /// Podman, as root or as an ordinary user
    Podman,
}

#[derive(Debug, Args)]
pub struct MakeArgs {
    /// Images to make [default: all]
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    #[command(flatten)]
    pub build: BuildOptions,
    #[command(flatten)]
    pub verify: VerifyOptions,
}

#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    pub action: Option<CacheAction>,
}

#[derive(Debug, Subcommand)]
pub enum CacheAction {
    /// Read everything again, and drop what is damaged: in the cache, and in the layouts of the project's images
    Verify,
    /// Remove what was not used for longest, but nothing that a run which is still going relies on
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Keep at most this much, such as 20GB [default: the limit that is set]
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<Size>,
    /// Remove what was not used for so long, such as 30d or "2 weeks"
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<Age>,
    /// Remove everything
    #[arg(long, conflicts_with_all = ["max_size", "older_than"])]
    pub all: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of seconds, 1 or more".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
    }
}
