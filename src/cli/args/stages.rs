//! Commands that are stages: render, build, verify, push, and all of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::oci::{Compression, Platform};

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

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of seconds, 1 or more".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
    }
}
