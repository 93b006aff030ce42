//! What errors of locking mean.

use super::project::of_project;
use super::{Kind, Verdict, hint, of_io, plain};
use crate::{channel, git, lock};

pub fn of_channel(error: &channel::Error) -> Verdict {
    use channel::Error as E;
    match error {
        E::Credentials { .. } => plain(Kind::Usage),
        E::UnsetVariable { variable, .. } => hint(Kind::Usage, format!("set `{variable}` in the environment")),
        E::StrayVariable { .. } => hint(Kind::Usage, "the lock is of other channels: solve it anew"),
        E::NoChannel { .. } => hint(Kind::Usage, "check the channel's name in `environment.yml`"),
        E::NotFound { .. } => hint(Kind::Environment, "if a mirror is set, it may lag behind; else solve anew"),
        E::Unauthorized { .. } => {
            hint(Kind::Environment, "add a token to `RATTLER_AUTH_FILE`, or the host to your netrc")
        }
        E::Dns { .. } | E::Connect { .. } => {
            hint(Kind::Environment, "check the network, or fetch from elsewhere with `--mirror FROM=TO`")
        }
        E::Offline { .. } => hint(Kind::Environment, "run once without `--offline`"),
        E::DiskFull { .. } => hint(Kind::Environment, "free some space, or put the cache elsewhere with `--cache-dir`"),
        E::WrongHash(_) => hint(
            Kind::Environment,
            "the download is damaged, or the package was replaced: try again, and do not trust the channel if it stays",
        ),
        E::NoHash { .. } | E::NotAPackage { .. } => hint(Kind::Usage, "solve the lock anew"),
        E::Setup(_)
        | E::TooLarge { .. }
        | E::Status { .. }
        | E::Timeout { .. }
        | E::Connection { .. }
        | E::Truncated { .. }
        | E::File { .. }
        | E::Repodata { .. } => plain(Kind::Environment),
        E::Cache { .. } => {
            hint(Kind::Environment, "let the folder be written to, or put the cache elsewhere with `--cache-dir`")
        }
    }
}

pub fn of_lock(error: &lock::Error) -> Verdict {
    use lock::Error as E;
    match error {
        E::Request(error) => of_project(error),
        E::Fetch(error) => of_channel(error),
        E::UnknownPackages { .. } => {
            hint(Kind::No, "check the spelling, the channels, and whether this platform has it")
        }
        E::Unsolvable { image, failures } => hint(Kind::No, lock::advice(image, failures)),
        E::HashChanged { .. } => {
            hint(Kind::No, "the channel replaced a package, which it must not: find out why before locking it anew")
        }
        E::NoHash { .. } => hint(
            Kind::Environment,
            "a package asked for by its URL may be given its MD5: `https://…/name-1.0-0.conda#MD5`",
        ),
        E::Solver { .. } => plain(Kind::Environment),
        E::UvMissing { .. } => hint(Kind::Environment, "install it (`pip install uv`), or set `ESKER_UV` to its path"),
        E::UvRun { source, .. } => of_io(source),
        E::Uv { .. } => hint(Kind::Environment, "indexes and credentials of uv are set by its own variables (`UV_…`)"),
        E::PipPlatform { .. } => {
            hint(Kind::Usage, "keep pip's packages off it with selectors (`# [linux64]`), or use conda packages")
        }
        E::NotOffered { .. } => {
            hint(Kind::No, "replace them: `esker lock`; until then the explicit lock still names them")
        }
        E::NotForPixi { .. } => plain(Kind::No),
        E::Format { .. } => hint(Kind::Usage, "restore the file, or remove it and run `esker lock`"),
        E::PixiLock { .. } => {
            hint(Kind::Usage, "rename it to `pixi.lock`: `esker lock` then takes its versions where it can")
        }
        E::ChannelSecret { .. } => hint(
            Kind::Usage,
            "write a variable in its place, as `/t/$TOKEN/`, or keep it in a netrc or in rattler's credentials file",
        ),
        E::ChannelHost { .. } => hint(Kind::Usage, "write the host out; to fetch from another one, set a mirror"),
        E::Channel { .. } | E::Read { .. } | E::ConflictMarker { .. } => plain(Kind::Usage),
        E::Write { source, .. } => of_io(source),
    }
}

pub fn of_git(error: &git::Error) -> Verdict {
    use git::Error as E;
    match error {
        E::Run { .. } => hint(Kind::Environment, "install git"),
        E::NoRepository { .. } => hint(Kind::Usage, "give `--project`, or two lock files to `esker diff`"),
        E::UnknownRevision { .. } => {
            hint(Kind::Usage, "check its spelling; a shallow clone may lack it: `git fetch --unshallow --tags`")
        }
        E::Failed { .. } => plain(Kind::Environment),
    }
}
