//! Commands that are about locks.

use std::path::Path;

use clap::{Args, ValueEnum};
use rattler_conda_types::Subdir;

use super::Format;
use crate::project::{ChangeKind, RelockPolicy};

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
