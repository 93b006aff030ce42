//! What errors about Debian's packages mean.

use super::building::of_base;
use super::images::of_oci;
use super::locking::of_channel;
use super::{Kind, Verdict, hint, of_io};
use crate::apt;
use crate::build::debian;

pub fn of_apt(error: &apt::Error) -> Verdict {
    use apt::Error as E;
    match error {
        E::Fetch(error) => of_channel(error),
        E::Gpgv { .. } => {
            hint(Kind::Environment, "install it (Debian's package `gpgv`, or GnuPG), or set `ESKER_GPGV` to its path")
        }
        E::NoKeys => hint(
            Kind::Environment,
            "install Debian's package `debian-archive-keyring`, or set `ESKER_DEBIAN_KEYRING` to its file",
        ),
        E::Bootstrap { .. } => hint(
            Kind::No,
            "name another date, as in `base: debian:bookworm@2026-11-01`, or see whether the mirror has the whole archive",
        ),
        E::NoSuite { .. } => hint(
            Kind::Environment,
            "set `apt-snapshot` in `esker.yml` to a date on which the archive has it; see docs/apt.md",
        ),
        E::Signature { .. } | E::Archive { .. } => {
            hint(Kind::Environment, "try again; if it stays, do not trust the archive or the mirror")
        }
        E::Base { .. } | E::Status { .. } => hint(Kind::Usage, "use a base made of Debian, or write `apt: skip`"),
        E::Unknown { .. } => hint(Kind::No, "check the spelling, and which release of Debian the base is"),
        E::Unsatisfiable { .. } => hint(
            Kind::No,
            "the base's own packages stay as they are: if it is too old or too new for the archive, take a newer base (`esker build --update-base`) or set `apt-snapshot` in `esker.yml`",
        ),
        E::Invalid { .. } => hint(Kind::Usage, "restore the file, or remove it and run `esker lock`"),
        E::Read { source, .. } | E::Write { source, .. } => of_io(source),
    }
}

pub fn of_debian(error: &debian::Error) -> Verdict {
    use debian::Error as E;
    match error {
        E::Archive { .. } => {
            hint(Kind::Environment, "the download may be damaged: remove it from the cache, try again")
        }
        E::Script { package, .. } => {
            let name = package.split(' ').next().unwrap_or(package);
            hint(
                Kind::No,
                format!("if the image works without, add `{name}` to `skip-maintainer-scripts` in `esker.yml`"),
            )
        }
        E::OtherBase { .. } => hint(Kind::Usage, "run `esker lock`"),
        E::Base { .. } => hint(Kind::Usage, "use another base"),
        E::OtherPackage { .. } | E::Path { .. } | E::FileConflict { .. } => {
            hint(Kind::No, "leave the package out of `apt.txt`, or use a base that has it")
        }
        E::BaseContent(error) => of_base(error),
        E::Read { source, .. } | E::Write { source, .. } => of_io(source),
        E::Layout(error) => of_oci(error),
    }
}
