//! What errors about a project's own files mean.

use super::{Kind, Verdict, hint, plain};
use crate::{project, render};

/// The messages say what would be right.
pub const fn of_parse_base(error: &project::ParseBaseError) -> Verdict {
    match error {
        project::ParseBaseError::NoPath { .. } | project::ParseBaseError::Reference { .. } => plain(Kind::Usage),
    }
}

/// The messages of this stage end in their own remedy.
pub fn of_project(error: &project::Error) -> Verdict {
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

pub fn of_render(error: &render::Error) -> Verdict {
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
