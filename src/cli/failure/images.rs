//! What errors about images mean, where they are and where they go.

use super::building::of_docker;
use super::{Kind, Verdict, hint, of_io, plain};
use crate::build::output;
use crate::build::output::ProgramError;
use crate::build::target::ParseTargetError;
use crate::{installed, oci, registry};

pub fn of_oci(error: &oci::Error) -> Verdict {
    use oci::Error as E;
    match error {
        E::Read { source, .. } | E::Write { source, .. } | E::Sink { source } | E::Unpack { source, .. } => {
            of_io(source)
        }
        E::NotALayout { .. } => hint(Kind::Usage, "build the image first: `esker build IMAGE`"),
        E::Occupied { .. } => hint(Kind::Usage, "a layout wants a directory of its own: an empty one, or none yet"),
        E::MissingBlob { .. } | E::Corrupt { .. } | E::Layer { .. } => {
            hint(Kind::Environment, "remove the layout and build it again")
        }
        E::NoPlatform { .. } => hint(Kind::Usage, "build for that platform, or leave it out"),
        E::TooLarge { .. } | E::Json { .. } | E::Malformed { .. } | E::Ambiguous { .. } => plain(Kind::Usage),
    }
}

pub fn of_output(error: &output::Error) -> Verdict {
    use output::Error as E;
    match error {
        E::Unknown(_) => plain(Kind::Usage),
        E::WhichPlatform { .. } => hint(Kind::Usage, "choose one with `--platform`"),
        E::Layout(error) => of_oci(error),
        E::Write { source, .. } => of_io(source),
        E::Docker(error) => of_docker(error),
        E::Target(error) => of_target(error),
        E::NoRegistry(_) => hint(Kind::Usage, "set `registry` in `esker.yml`, or write `registry:REGISTRY/NAME:TAG`"),
        E::Registry(error) => of_push(error),
        E::NotEmpty(_) => hint(Kind::Usage, "remove it, or name another"),
        E::Program(error) => of_program(error),
    }
}

/// The message says what would be right.
pub const fn of_target(_: &ParseTargetError) -> Verdict {
    plain(Kind::Usage)
}

pub fn of_program(error: &ProgramError) -> Verdict {
    match error {
        ProgramError::Missing { output, .. } if output == "squashfs" => {
            hint(Kind::Environment, "install squashfs-tools 4.5 or later, or unpack with `--output dir:DIR`")
        }
        ProgramError::Missing { .. } => {
            hint(Kind::Environment, "install Apptainer, or make it there from `--output docker-archive:FILE`")
        }
        ProgramError::Run { source, .. } => of_io(source),
        ProgramError::Failed { .. } => plain(Kind::Environment),
    }
}

/// What a registry's error means to whoever pushes.
pub fn of_push(error: &registry::Error) -> Verdict {
    use registry::Error as E;
    match error {
        E::NotFound { .. } => hint(Kind::Usage, "check the name; some registries want a repository to be made first"),
        E::Unreachable { .. } => hint(Kind::Environment, "check the network; what was sent stays there"),
        E::Source { source: oci::Error::MissingBlob { .. } } => {
            hint(Kind::Usage, "build the image again, or say where the layer is with `--mount-from`")
        }
        other => of_registry(other),
    }
}

pub fn of_registry(error: &registry::Error) -> Verdict {
    use registry::Error as E;
    match error {
        E::Unreachable { .. } => hint(Kind::Environment, "check the network"),
        E::Denied { registry, .. } => hint(Kind::Environment, format!("log in first: `docker login {registry}`")),
        E::NotFound { .. } => hint(Kind::Usage, "check the name and tag of the base"),
        E::Credentials { .. } => plain(Kind::Usage),
        E::NoPlatform { .. } => hint(Kind::Usage, "leave the platform out, or use another base"),
        E::Store { source, .. } => of_oci(source),
        E::Source { source } => of_oci(source),
        E::Busy { .. } => hint(Kind::Environment, "try again later; what was sent stays there"),
        E::Stalled { .. } => hint(Kind::Environment, "check the network; what was sent stays there"),
        E::Tls { .. } | E::Status { .. } | E::Malformed { .. } | E::Corrupt { .. } => plain(Kind::Environment),
    }
}

pub fn of_installed(error: &installed::Error) -> Verdict {
    use installed::Error as E;
    match error {
        E::Registry { source: registry::Error::NotFound { .. }, .. } => {
            hint(Kind::Usage, "check the name and tag of the image")
        }
        E::Registry { source, .. } => of_registry(source),
        E::Left { source, .. } => match &**source {
            E::Registry { source: registry::Error::NotFound { .. }, .. } => {
                hint(Kind::Usage, "build the image again: `esker build IMAGE`")
            }
            E::Offline { .. } => hint(Kind::Environment, "run without `--offline`, or build the image again"),
            source => of_installed(source),
        },
        E::Image { source, .. } => of_oci(source),
        E::Pulled { .. } => plain(Kind::Environment),
        E::NoPlatform { .. } | E::NoPackages { .. } => plain(Kind::Usage),
        E::Offline { .. } => hint(Kind::Environment, "run without `--offline`, or give an `oci:DIR`"),
    }
}

/// The message says what would be right.
pub const fn of_parse_image(_: &installed::ParseImageError) -> Verdict {
    plain(Kind::Usage)
}
