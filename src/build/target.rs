//! Where an image goes in a registry: a repository, and the tags it gets there.

use std::fmt;

use oci_spec::distribution::Reference;

use crate::oci::{Closure, Layout, reference};
use crate::progress::Progress;
use crate::registry::{self, Client, Push, Pushed};

/// The tag of an image that is given none.
const DEFAULT_TAG: &str = "latest";

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    repository: Reference,
    tags: Vec<String>,
}

/// A target that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ParseTargetError {
    /// It is no reference to an image in a registry.
    #[error("`{given}` cannot be pushed to; write `REGISTRY/NAME:TAG`")]
    Reference {
        /// As written.
        given: String,
    },
    /// A tag has characters that tags do not have, or too many.
    #[error("`{given}` cannot be a tag: up to 128 letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`")]
    Tag {
        /// As written.
        given: String,
    },
}

impl Target {
    /// Reads `REGISTRY/NAME[:TAG]`, and adds `tags`. Without either it is tagged `latest`.
    ///
    /// # Errors
    /// When it is no reference, has a digest, or a tag is none.
    pub fn parse(text: &str, tags: &[String]) -> Result<Self, ParseTargetError> {
        let invalid = || ParseTargetError::Reference { given: text.to_owned() };
        let repository = reference::parse(text).map_err(|_| invalid())?;
        // Nobody decides on a digest, and Docker Hub is not meant where no registry is named.
        let has_registry =
            text.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        if repository.digest().is_some() || !has_registry {
            return Err(invalid());
        }
        let named = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let mut all: Vec<String> = repository.tag().filter(|_| named).map(str::to_owned).into_iter().collect();
        for tag in tags {
            if reference::parse(&format!("{}:{tag}", repository.repository())).is_err() {
                return Err(ParseTargetError::Tag { given: tag.clone() });
            }
            if !all.contains(tag) {
                all.push(tag.clone());
            }
        }
        if all.is_empty() {
            all.push(DEFAULT_TAG.to_owned());
        }
        Ok(Self { repository, tags: all })
    }

    /// The repository, with the first tag.
    pub fn reference(&self) -> Reference {
        self.tagged(&self.tags[0])
    }

    /// The image under each tag.
    pub fn references(&self) -> Vec<Reference> {
        self.tags.iter().map(|tag| self.tagged(tag)).collect()
    }

    /// The newest image of the repository, by its usual tag.
    pub fn latest(&self) -> Reference {
        self.tagged(DEFAULT_TAG)
    }

    fn tagged(&self, tag: &str) -> Reference {
        let repository = &self.repository;
        Reference::with_tag(repository.registry().to_owned(), repository.repository().to_owned(), tag.to_owned())
    }

    /// Pushes the image of `layout`. Layers may be taken from `sources`, and from the repository of the image's base.
    ///
    /// # Errors
    /// When the layout cannot be read or the registry does not take it.
    pub async fn push(
        &self,
        layout: &Layout,
        sources: &[Reference],
        client: &Client,
        progress: &dyn Progress,
    ) -> Result<Pushed, registry::Error> {
        let closure = layout.top().and_then(|top| Closure::of(layout, &top));
        let image = closure.map_err(|source| registry::Error::Source { source })?;
        let mut sources = sources.to_vec();
        sources.extend(image.bases().iter().filter_map(|base| reference::parse(base).ok()));
        let push = Push { layout, image: &image, reference: &self.repository, tags: &self.tags, sources: &sources };
        client.push(&push, progress).await
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reference())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, tags: &[&str]) -> Option<Vec<String>> {
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let target = Target::parse(text, &tags).ok()?;
        Some(target.references().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn tags_are_those_that_are_given() {
        let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names("quay.io/a/b", &[]), list(&["quay.io/a/b:latest"]));
        assert_eq!(names("localhost:5000/b", &["1", "2", "1"]), list(&["localhost:5000/b:1", "localhost:5000/b:2"]));
        assert_eq!(names("quay.io/a/b:x", &["1", "x"]), list(&["quay.io/a/b:x", "quay.io/a/b:1"]));
    }

    #[test]
    fn what_nobody_can_push_to_is_refused() {
        let digest = format!("quay.io/a/b@sha256:{}", "0a".repeat(32));
        for (text, tag) in [("b", "1"), ("a/b", "1"), ("quay.io/A", "1"), (digest.as_str(), "1"), ("quay.io/a", "x y")]
        {
            assert_eq!(names(text, &[tag]), None, "{text} {tag}");
        }
    }
}
