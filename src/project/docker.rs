//! `docker:` in `esker.yml`: what Dockerfiles of the project's images are rendered with.

use indexmap::IndexMap;

use super::Error;
use super::fields::get;
use super::yaml::Node;

const KEYS: [&str; 3] = ["build-args", "base-tag", "default-packages"];
const DEFAULT_TAG: &str = "latest";
const DEFAULT_PACKAGES: &str = "pangeo-notebook";

/// How Dockerfiles are rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DockerSettings {
    /// Arguments of the build with their defaults (`build-args:`).
    pub build_args: IndexMap<String, String>,
    base_tag: Option<String>,
    default_packages: Option<String>,
}

impl DockerSettings {
    /// The tag of the root image that others are built on if nobody says otherwise (`base-tag:`).
    pub fn base_tag(&self) -> &str {
        self.base_tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    /// The packages of an environment that a folder does not describe (`default-packages:`), spaces between.
    pub fn default_packages(&self) -> &str {
        self.default_packages.as_deref().unwrap_or(DEFAULT_PACKAGES)
    }

    /// These settings, and where they say nothing `others`.
    #[must_use]
    pub(super) fn over(&self, others: &Self) -> Self {
        let mut build_args = others.build_args.clone();
        build_args.extend(self.build_args.clone());
        Self {
            build_args,
            base_tag: self.base_tag.clone().or_else(|| others.base_tag.clone()),
            default_packages: self.default_packages.clone().or_else(|| others.default_packages.clone()),
        }
    }

    /// Reads the value of `docker:`.
    pub(super) fn read(node: &Node) -> Result<Self, Error> {
        let fields = node.fields("docker", &KEYS)?;
        let base_tag = get(fields, "base-tag").map(base_tag).transpose()?;
        let default_packages = get(fields, "default-packages").map(packages).transpose()?;
        Ok(Self {
            build_args: get(fields, "build-args")
                .map(|node| super::config::variables(node, "build-args"))
                .transpose()?
                .unwrap_or_default(),
            base_tag,
            default_packages,
        })
    }
}

/// A tag as the distribution specification has it.
fn base_tag(node: &Node) -> Result<String, Error> {
    let text = node.text_or_number("base-tag")?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let fits = text.starts_with(is_word) && text.len() <= 128 && text.chars().all(|c| is_word(c) || ".-".contains(c));
    if fits { Ok(text.to_owned()) } else { Err(node.bad_value("base-tag", "write a tag, as `2026.11.01`")) }
}

/// Specs as they are written on micromamba's command line; they come to stand in a Dockerfile and in a shell.
fn packages(node: &Node) -> Result<String, Error> {
    let text = node.text("default-packages")?;
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || " =._-".contains(c)) && !text.trim().is_empty();
    let problem = "write packages with spaces between, as `python=3.12 jupyterlab`";
    if fits { Ok(text.trim().to_owned()) } else { Err(node.bad_value("default-packages", problem)) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::project::yaml::Document;

    fn parse(text: &str) -> Result<DockerSettings, Error> {
        DockerSettings::read(&Document::parse(Path::new("f"), text)?.root.unwrap())
    }

    #[test]
    fn an_image_has_its_own_over_those_of_the_project() {
        let project = parse("build-args: {A: 1, B: 2}\nbase-tag: 2026.11\n").unwrap();
        let image = parse("build-args: {B: 3}\ndefault-packages: python=3.12 jupyterlab\n").unwrap().over(&project);
        assert_eq!(image.build_args, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "3".to_owned())].into());
        assert_eq!((image.base_tag(), image.default_packages()), ("2026.11", "python=3.12 jupyterlab"));
        let nothing = DockerSettings::default();
        assert_eq!((nothing.base_tag(), nothing.default_packages()), ("latest", "pangeo-notebook"));
    }

    #[test]
    fn what_would_leave_its_place_is_refused() {
        for bad in ["base-tag: a b", "base-tag: -x", "default-packages: a; rm -rf /", "default-packages: ''", "x: 1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
