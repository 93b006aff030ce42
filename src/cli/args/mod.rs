//! What can be typed: clap's types, and nothing that acts.

mod images;
mod locks;
mod stages;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::images::{InspectArgs, LayersArgs, RebuildArgs, SbomArgs, SbomFormat};
pub use self::locks::{DiffArgs, ExportArgs, ExportFormat, HistoryArgs, LockArgs, OutdatedArgs, WhyArgs};
pub use self::stages::{
    BuildArgs, BuildOptions, Engine, MakeArgs, PushArgs, RenderArgs, Runtime, VerifyArgs, VerifyOptions,
};
use super::ui::Color;
use crate::cache::Size;
use crate::project::Age;
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
