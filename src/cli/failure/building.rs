//! What errors of building and verifying images mean.

use super::debian::of_debian;
use super::images::{of_installed, of_oci, of_registry};
use super::locking::of_channel;
use super::{Kind, Verdict, hint, of_cache, of_io, plain};
use crate::build::{self, base, native, pins};
use crate::{docker, pipeline, registry, verify};

pub fn of_rebuild(error: &pipeline::rebuild::Error) -> Verdict {
    use native::inputs::InputsError as I;
    use pipeline::rebuild::Error as E;
    match error {
        E::Installed(error) => of_installed(error),
        E::Channel(error) => of_channel(error),
        E::Native(error) => of_native(error),
        E::Folder(error) => of_oci(error),
        E::NotRecorded { .. } => hint(
            Kind::Usage,
            "`--engine native` records it, unless told not to or a channel's address has variables: copy an image with what \
             is beside it",
        ),
        E::OfDockerfile { .. } => hint(Kind::Usage, "build it in its project: `esker build --engine docker`"),
        E::Inputs { source: I::Format { .. }, .. } => hint(Kind::Usage, "use an esker that writes that format"),
        E::Inputs { source: I::Variable { .. }, .. } => hint(Kind::Usage, "rebuild it in its project"),
        E::Inputs { source: I::Json(_) | I::Invalid(_) | I::Lock(_) | I::Base(_), .. } => plain(Kind::Usage),
    }
}

pub fn of_base(error: &base::Error) -> Verdict {
    use base::Error as E;
    match error {
        E::Registry { source: registry::Error::Unreachable { .. }, .. } => hint(
            Kind::Environment,
            "check the network, or use a base that is here: `base: oci:DIR` in `esker.yml`, or for `esker build` and \
             `esker make` alone `--base oci:DIR`",
        ),
        E::Registry { source, .. } => of_registry(source),
        E::Image { source, .. } | E::Cache { source, .. } => of_oci(source),
        E::NoPlatform { .. } | E::WrongArchitecture { .. } => {
            hint(Kind::Usage, "use a base that has the platform, or build for another with `--platform`")
        }
        E::PinMismatch { .. } => {
            hint(Kind::No, "if the base was meant to change, record its new digest with `--update-base`")
        }
        E::Offline { .. } => hint(Kind::Environment, "run once without `--offline`"),
        E::Rootfs { .. } => hint(Kind::Usage, "a root file system is a tar archive, plain or compressed"),
        E::NoImage { .. } => hint(Kind::Usage, "name an image in a registry, or `oci:DIR`"),
        E::Packages { source, .. } => of_debian(source),
        E::Busy { source, .. } => of_cache(source),
        E::Interrupted { .. } => plain(Kind::Environment),
    }
}

pub fn of_pins(error: &pins::Error) -> Verdict {
    match error {
        pins::Error::Read { .. } => plain(Kind::Usage),
        pins::Error::Invalid { .. } => hint(Kind::Usage, "restore `base-lock.yml`, or remove it to pin bases anew"),
        pins::Error::Version { .. } => hint(Kind::Usage, "use a newer esker"),
        pins::Error::Write { source } => of_oci(source),
    }
}

pub fn of_native(error: &native::Error) -> Verdict {
    use native::Error as E;
    match error {
        E::Packages(error) => of_channel(error),
        E::Debian(error) => of_debian(error),
        E::Layout(error) => of_oci(error),
        E::BaseContent(error) => of_base(error),
        E::AddedPath { .. } => plain(Kind::Usage),
        E::Archive { .. } => {
            hint(Kind::Environment, "the download may be damaged: remove it from the cache, try again")
        }
        E::LinkScript { package, .. } => {
            hint(Kind::No, format!("if the image works without, add `{package}` to `skip-link-scripts` in `esker.yml`"))
        }
        E::NoHostPython { subdir, .. } => hint(
            Kind::Usage,
            format!(
                "add `{subdir}` to `lock-subdirs`: byte code is compiled by the lock's own Python for this machine"
            ),
        ),
        E::NotLocked { .. } | E::LockedTwice { .. } => hint(Kind::Usage, "run `esker lock`"),
        E::NoPython { .. } => hint(Kind::Usage, "add `python` to `environment.yml`"),
        E::NoBase { .. } | E::Base { .. } | E::TooManyLayers { .. } => hint(Kind::Usage, "use another base"),
        E::StorageFull { .. } => {
            hint(Kind::Environment, "free some space, or put the cache elsewhere with `--cache-dir`")
        }
        E::Metadata { .. }
        | E::OtherPackage { .. }
        | E::Path { .. }
        | E::Content { .. }
        | E::RecordedHash { .. }
        | E::Misdescribed { .. }
        | E::Missing { .. }
        | E::TooLarge { .. }
        | E::Clash { .. }
        | E::Placeholder { .. } => hint(Kind::No, "leave the package out, and tell its maintainers"),
        E::Overlap { .. } => hint(Kind::No, "leave one of the two out: which of them works depends on the other"),
        E::Compiler { .. } | E::Write { .. } | E::Read { .. } | E::Cancelled => plain(Kind::Environment),
    }
}

pub fn of_docker(error: &docker::Error) -> Verdict {
    use docker::Error as E;
    let kind = match error {
        E::Host { .. } | E::Context { .. } | E::Login { .. } | E::BuilderAddress(_) | E::BuilderCertificates { .. } => {
            Kind::Usage
        }
        E::Step { .. } | E::Build { .. } => Kind::No,
        E::Unreachable { .. }
        | E::Refused { .. }
        | E::NotExecutable(_)
        | E::NothingLoaded { .. }
        | E::Archive { .. }
        | E::Image(_)
        | E::Panicked
        | E::NoPort { .. }
        | E::NoBuilder { .. } => Kind::Environment,
    };
    (kind, error.remedy())
}

pub fn of_docker_build(error: &build::docker::Error) -> Verdict {
    use build::docker::Error as E;
    match error {
        E::Docker(error) => of_docker(error),
        E::Context { source, .. } | E::Write { source, .. } | E::Transfer { source, .. } | E::Serve(source) => {
            of_io(source)
        }
        E::Contents { source, .. } => {
            let (kind, _) = of_installed(source);
            hint(kind, "mend what the Dockerfile leaves there, or build without documents: `--no-sbom`")
        }
        E::Store(error) => of_native(error),
        E::Saved { .. } => hint(Kind::Environment, "try again; if it stays, another version of the engine may do"),
        E::Layout(error) => of_oci(error),
        E::NoBase { .. } => hint(Kind::Usage, "add the platform to `base` in `esker.yml`, or give `--base`"),
        E::Package(error) => of_channel(error),
        E::LocalBase { .. } => hint(Kind::Usage, "use a base of a registry, or build without `--builder`"),
        E::LocalParent { image, .. } => {
            hint(Kind::No, format!("build and push it first: `esker push {image}`; or build without `--builder`"))
        }
    }
}

pub fn of_verify(error: &verify::Error) -> Verdict {
    use verify::Error as E;
    match error {
        E::Image(error) => of_oci(error),
        E::Runtime { source, .. } => (Kind::Environment, source.remedy()),
        E::UnknownCheck { .. } => hint(Kind::Usage, "`esker verify --help` says how checks are named"),
        E::Template { .. } => plain(Kind::Usage),
        E::Tests { source, .. } | E::Write { source, .. } => of_io(source),
    }
}
