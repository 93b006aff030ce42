//! Errors of the stages as what the user sees: a message, its causes, a hint, an exit code.
//!
//! Every variant of every stage's error is named here, without a catch-all: a new one does not compile until somebody
//! has decided what it means to the reader and to a bot, which comments on a [`Kind::No`] and retries a
//! [`Kind::Environment`].

use std::error::Error as StdError;
use std::io;
use std::process::ExitCode;

use super::ui::Ui;
use crate::build::output::ProgramError;
use crate::build::target::ParseTargetError;
use crate::build::{self, base, debian, native, output, pins};
use crate::{
    apt, cache, channel, docker, git, installed, lock, oci, pipeline, project, registry, render, settings, verify,
};

/// What an error means to whoever ran esker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something outside is missing: network, Docker, disk. A retry may help. Exit code 3.
    Environment,
    /// The work ran, and the answer is no. Exit code 1.
    No,
    /// A flag, setting or file of the user's is wrong. Exit code 2.
    Usage,
    /// Ended by a signal: 128 and its number, as shells report it.
    Interrupted(u8),
}

/// An error, ready to be shown.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A wrong use of the command line.
    pub fn usage(message: &str) -> Self {
        Self { kind: Kind::Usage, message: message.to_owned(), causes: Vec::new(), hint: None }
    }

    /// A failed check or the like: the answer is no.
    pub fn no(message: String, hint: Option<String>) -> Self {
        Self { kind: Kind::No, message, causes: Vec::new(), hint }
    }

    /// A failure of the system, with what was being done.
    pub fn io(message: &str, source: &io::Error) -> Self {
        Self { kind: Kind::Environment, message: message.to_owned(), causes: vec![source.to_string()], hint: None }
    }

    /// The async runtime did not start.
    pub fn runtime(source: &io::Error) -> Self {
        Self::io("cannot start threads", source)
    }

    /// Ended by a signal.
    pub fn interrupted(signal: i32) -> Self {
        let number = u8::try_from(signal).unwrap_or(0);
        let message = "interrupted; nothing is half done, and the next run goes on from here".to_owned();
        Self { kind: Kind::Interrupted(number), message, causes: Vec::new(), hint: None }
    }

    /// Prints all but the last of the worst of `failures`, which is returned to be printed at the end.
    pub fn worst(mut failures: Vec<Self>, ui: &Ui) -> Option<Self> {
        failures.sort_by_key(|failure| failure.kind);
        let last = failures.pop();
        for failure in &failures {
            failure.show(ui);
        }
        last
    }

    /// Prints the failure, and returns the exit code that goes with it.
    pub fn print(&self, ui: &Ui) -> ExitCode {
        self.show(ui);
        ExitCode::from(match self.kind {
            Kind::No => 1,
            Kind::Usage => 2,
            Kind::Environment => 3,
            Kind::Interrupted(signal) => 128 + signal,
        })
    }

    fn show(&self, ui: &Ui) {
        ui.failure(&self.message, &self.causes, self.hint.as_deref());
    }

    fn new(error: &dyn StdError, (kind, hint): (Kind, Option<String>)) -> Self {
        let message = error.to_string();
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = without_path(inner, &format!("{message} {}", causes.join(" ")));
            // Some libraries repeat their cause in their own words.
            if text != message && causes.last() != Some(&text) {
                causes.push(text);
            }
            cause = inner.source();
        }
        Self { kind, message, causes, hint }
    }
}

/// The text of `error`. Of an I/O error with the path it is about, as fs_err makes them, only what the system said if
/// what was `said` before names the path.
fn without_path(error: &(dyn StdError + 'static), said: &str) -> String {
    let text = error.to_string();
    let names_a_path = error.downcast_ref::<io::Error>().is_some_and(|error| error.get_ref().is_some());
    match text.rsplit_once("`: ") {
        Some((paths, system))
            if names_a_path && paths.split('`').skip(1).step_by(2).all(|path| said.contains(path)) =>
        {
            system.to_owned()
        }
        _ => text,
    }
}

/// What an error means, and what can be done about it: a line for each thing.
type Verdict = (Kind, Option<String>);

fn hint(kind: Kind, text: impl Into<String>) -> Verdict {
    (kind, Some(text.into()))
}

const fn plain(kind: Kind) -> Verdict {
    (kind, None)
}

macro_rules! from {
    ($($error:ty => $verdict:ident),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let verdict = $verdict(&error);
                Self::new(&error, verdict)
            }
        }
    )*};
}

from! {
    settings::Error => of_settings,
    project::Error => of_project,
    project::ParseBaseError => of_parse_base,
    pipeline::Error => of_pipeline,
    cache::Error => of_cache,
    oci::Error => of_oci,
    pipeline::rebuild::Error => of_rebuild,
    output::Error => of_output,
    docker::Error => of_docker,
    ParseTargetError => of_target,
    lock::Error => of_lock,
    git::Error => of_git,
    installed::Error => of_installed,
    installed::ParseImageError => of_parse_image,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::io("cannot write the result", &error)
    }
}

fn of_settings(error: &settings::Error) -> Verdict {
    match error {
        settings::Error::Directory { .. } | settings::Error::Variable { .. } => plain(Kind::Usage),
        settings::Error::NoCacheDirectory => hint(Kind::Usage, "give `--cache-dir`"),
        settings::Error::Mirror(_) => plain(Kind::Usage),
    }
}

/// The messages say what would be right.
const fn of_parse_base(error: &project::ParseBaseError) -> Verdict {
    match error {
        project::ParseBaseError::NoPath { .. } | project::ParseBaseError::Reference { .. } => plain(Kind::Usage),
    }
}

/// The messages of this stage end in their own remedy.
fn of_project(error: &project::Error) -> Verdict {
    use project::Error as E;
    match error {
        E::Read { .. } => plain(Kind::Usage),
        E::NoImages { .. } => hint(Kind::Usage, "make a folder with an `environment.yml`, or give `--project`"),
        E::UnknownImage { .. } => hint(Kind::Usage, "`esker images` lists them"),
        E::TooLarge { .. }
        | E::NotUtf8 { .. }
        | E::Empty { .. }
        | E::Yaml { .. }
        | E::UnsupportedYaml { .. }
        | E::DuplicateKey { .. }
        | E::UnknownKey { .. }
        | E::MissingKey { .. }
        | E::WrongType { .. }
        | E::Value { .. }
        | E::NotASpec { .. }
        | E::Spec { .. }
        | E::Requirement { .. }
        | E::UnknownSelector { .. }
        | E::MisplacedSelector { .. }
        | E::UnknownSubdir { .. }
        | E::UnknownPlatform { .. }
        | E::Base { .. }
        | E::Mirror { .. }
        | E::Conflict(_)
        | E::Channels(_)
        | E::NoChannels { .. }
        | E::ImageName { .. }
        | E::NoEnvironment { .. }
        | E::TwoBinders { .. }
        | E::HiddenEnvironment { .. }
        | E::MissingImage { .. }
        | E::Cycle { .. }
        | E::RootIsParent { .. }
        | E::PlatformWithoutLock { .. }
        | E::RootWithoutPlatform { .. }
        | E::AptForm { .. }
        | E::AptPackage { .. } => plain(Kind::Usage),
    }
}

fn of_pipeline(error: &pipeline::Error) -> Verdict {
    use pipeline::Error as E;
    match error {
        E::Project(error) => of_project(error),
        E::Cache(error) => of_cache(error),
        E::Channel(error) => of_channel(error),
        E::Lock(error) => of_lock(error),
        E::Base(error) => of_base(error),
        E::Pins(error) => of_pins(error),
        E::Render(error) => of_render(error),
        E::Native(error) => of_native(error),
        E::Docker(error) => of_docker_build(error),
        E::Verify(error) => of_verify(error),
        E::Layout(error) => of_oci(error),
        E::Registry(error) => of_push(error),
        E::NotLocked { image, .. } | E::Stale { image, .. } => {
            hint(Kind::No, format!("run `esker lock {image}`, or `esker make` to do all stages"))
        }
        E::PlatformNotLocked { image, .. } => {
            hint(Kind::Usage, format!("add it to `platforms` and `lock-subdirs` of `{image}` in `esker.yml`"))
        }
        E::NoRoot { .. } => {
            hint(Kind::Usage, "add a `base-image` with `micromamba`, or name it as `root` in `esker.yml`")
        }
        E::BaseNotPinned { .. } => hint(Kind::No, "run `esker render`, which looks it up, and commit `base-lock.yml`"),
        E::SeveralBases { .. } => hint(Kind::Usage, "name an image that has all platforms as `base`"),
        E::WriteRendered { source, .. } => of_io(source),
        E::NoBase { .. } => hint(Kind::Usage, "add the platform to `base` in `esker.yml`, or give `--base`"),
        E::UnsupportedFile { file, .. } if file.ends_with("requirements.txt") => {
            hint(Kind::Usage, "list its packages as conda packages in `environment.yml`, and remove the file")
        }
        E::UnsupportedFile { .. } => {
            hint(Kind::Usage, "do what it does in `start` or in the base, or in a conda package, and remove the file")
        }
        E::Debian(error) => of_apt(error),
        E::AptStale { image, .. } => hint(Kind::Usage, format!("run `esker lock {image}`")),
        E::Apt { .. } => hint(
            Kind::Usage,
            "write `apt: install` for the image in `esker.yml` to install them, or `apt: skip` to do without",
        ),
    }
}

fn of_cache(error: &cache::Error) -> Verdict {
    match error {
        cache::Error::Read { source, .. } | cache::Error::Write { source, .. } => of_io(source),
    }
}

fn of_apt(error: &apt::Error) -> Verdict {
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

fn of_debian(error: &debian::Error) -> Verdict {
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

fn of_rebuild(error: &pipeline::rebuild::Error) -> Verdict {
    use native::inputs::InputsError as I;
    use pipeline::rebuild::Error as E;
    match error {
        E::Installed(error) => of_installed(error),
        E::Channel(error) => of_channel(error),
        E::Native(error) => of_native(error),
        E::Folder(error) => of_oci(error),
        E::NotRecorded { .. } => hint(
            Kind::Usage,
            "esker records it, unless told not to or a channel's address has variables: copy an image with what is beside it",
        ),
        E::Inputs { source: I::Format { .. }, .. } => hint(Kind::Usage, "use an esker that writes that format"),
        E::Inputs { source: I::Variable { .. }, .. } => hint(Kind::Usage, "rebuild it in its project"),
        E::Inputs { source: I::Json(_) | I::Invalid(_) | I::Lock(_) | I::Base(_), .. } => plain(Kind::Usage),
    }
}

fn of_channel(error: &channel::Error) -> Verdict {
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

fn of_render(error: &render::Error) -> Verdict {
    match error {
        render::Error::Read { .. } => plain(Kind::Usage),
        render::Error::Template { .. } => plain(Kind::Usage),
        render::Error::UnknownVariable { .. } => {
            hint(Kind::Usage, "only `${NAME}` of variables set before it is known")
        }
        render::Error::Apt(error) => of_project(error),
        render::Error::NoInstaller { image, .. } => {
            hint(Kind::Usage, format!("add `micromamba` to `{image}/environment.yml`, and run `esker lock {image}`"))
        }
        render::Error::BinderFolder { .. } => hint(Kind::Usage, "move them there, or write a Dockerfile by hand"),
    }
}

fn of_oci(error: &oci::Error) -> Verdict {
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

fn of_io(error: &io::Error) -> Verdict {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => hint(Kind::Environment, "free some space"),
        _ => plain(Kind::Environment),
    }
}

fn of_docker(error: &docker::Error) -> Verdict {
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

fn of_docker_build(error: &build::docker::Error) -> Verdict {
    use build::docker::Error as E;
    match error {
        E::Docker(error) => of_docker(error),
        E::Context { source, .. } | E::Write { source, .. } | E::Transfer { source, .. } | E::Serve(source) => {
            of_io(source)
        }
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

fn of_output(error: &output::Error) -> Verdict {
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
const fn of_target(_: &ParseTargetError) -> Verdict {
    plain(Kind::Usage)
}

fn of_program(error: &ProgramError) -> Verdict {
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
fn of_push(error: &registry::Error) -> Verdict {
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

fn of_registry(error: &registry::Error) -> Verdict {
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

fn of_installed(error: &installed::Error) -> Verdict {
    use installed::Error as E;
    match error {
        E::Registry { source: registry::Error::NotFound { .. }, .. } => {
            hint(Kind::Usage, "check the name and tag of the image")
        }
        E::Registry { source, .. } => of_registry(source),
        E::Image { source, .. } => of_oci(source),
        E::Pulled { .. } => plain(Kind::Environment),
        E::NoPlatform { .. } | E::NoPackages { .. } => plain(Kind::Usage),
        E::Offline { .. } => hint(Kind::Environment, "run without `--offline`, or give an `oci:DIR`"),
    }
}

/// The message says what would be right.
const fn of_parse_image(_: &installed::ParseImageError) -> Verdict {
    plain(Kind::Usage)
}

fn of_base(error: &base::Error) -> Verdict {
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

fn of_pins(error: &pins::Error) -> Verdict {
    match error {
        pins::Error::Read { .. } => plain(Kind::Usage),
        pins::Error::Invalid { .. } => hint(Kind::Usage, "restore `base-lock.yml`, or remove it to pin bases anew"),
        pins::Error::Version { .. } => hint(Kind::Usage, "use a newer esker"),
        pins::Error::Write { source } => of_oci(source),
    }
}

fn of_lock(error: &lock::Error) -> Verdict {
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

fn of_git(error: &git::Error) -> Verdict {
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

fn of_native(error: &native::Error) -> Verdict {
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

fn of_verify(error: &verify::Error) -> Verdict {
    use verify::Error as E;
    match error {
        E::Image(error) => of_oci(error),
        E::Runtime { source, .. } => (Kind::Environment, source.remedy()),
        E::UnknownCheck { .. } => hint(Kind::Usage, "`esker verify --help` says how checks are named"),
        E::Template { .. } => plain(Kind::Usage),
        E::Tests { source, .. } | E::Write { source, .. } => of_io(source),
    }
}
