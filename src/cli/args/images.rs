//! Commands that are about images, wherever these are.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::oci::Platform;

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
