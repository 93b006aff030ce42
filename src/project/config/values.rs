//! The values of `esker.yml`, each with its own rules.

use std::str::FromStr;

use indexmap::IndexMap;
use oci_spec::distribution::Reference;
use rattler_conda_types::Subdir;

use super::Placed;
use crate::cache::{ParseSizeError, Size};
use crate::oci::{Platform, reference};
use crate::project::fields::distinct;
use crate::project::yaml::{Node, Value};
use crate::project::{AptPolicy, BaseReference, BaseSource, ChangeKind, EngineKind, Error, Help, Mirror, Place, Strip};

/// Layers an image may have: Docker refuses more than 125, the base's counted; below 3 there is nothing to share.
const LAYERS: std::ops::RangeInclusive<usize> = 3..=110;

/// A registry and namespace: what an image's name can follow.
pub(super) fn registry(node: &Node) -> Result<String, Error> {
    let text = node.text("registry")?;
    let parsed = reference::parse(&format!("{text}/image"));
    let is_plain = !text.ends_with('/') && !text.contains("://");
    if parsed.is_err() || !is_plain {
        let problem = "write the registry's host and a namespace, as `quay.io/example`, without a scheme or a tag";
        return Err(node.bad_value("registry", problem));
    }
    Ok(text.to_owned())
}

pub(super) fn engine(node: &Node) -> Result<EngineKind, Error> {
    match node.text("engine")? {
        "native" => Ok(EngineKind::Native),
        "docker" => Ok(EngineKind::Docker),
        _ => Err(node.bad_value("engine", "write `native` or `docker`")),
    }
}

pub(super) fn cache_limit(node: &Node) -> Result<Size, Error> {
    let text = node.text_or_number("cache-limit")?;
    let problem = "write a number with a unit, such as `20GB` or `500 MiB`";
    text.parse().map_err(|_: ParseSizeError| node.bad_value("cache-limit", problem))
}

pub(super) fn cache_from(node: &Node) -> Result<Vec<Reference>, Error> {
    let items = node.items("cache-from", "a list of images (`[quay.io/example/nb:latest]`)")?;
    let problem = "write an image in a registry, as `quay.io/example/nb:latest`";
    distinct(items, "cache-from", |node| {
        reference::parse(node.text("cache-from")?).map_err(|_| node.bad_value("cache-from", problem))
    })
}

pub(super) fn base(node: &Node) -> Result<BaseSource, Error> {
    let Value::Mapping(entries) = &node.value else {
        return base_reference(node).map(BaseSource::Any);
    };
    let by_platform =
        entries.iter().map(|entry| Ok((platform(&entry.key, &entry.place)?, base_reference(&entry.value)?)));
    by_platform.collect::<Result<_, Error>>().map(BaseSource::PerPlatform)
}

fn base_reference(node: &Node) -> Result<BaseReference, Error> {
    BaseReference::parse(node.text("base")?).map_err(|source| Error::Base { place: node.place.clone(), source })
}

pub(super) fn platform(name: &str, place: &Place) -> Result<Platform, Error> {
    if let Ok(platform) = name.parse() {
        return Ok(platform);
    }
    let same_subdir = |platform: &Platform| platform.subdir().as_str() == name;
    let help = match Platform::ALL.into_iter().find(same_subdir) {
        Some(platform) => Help::meant(&platform.to_string()),
        None => Help::for_word(name, Platform::ALL.map(|platform| platform.to_string()).iter().map(String::as_str)),
    };
    Err(Error::UnknownPlatform { place: place.clone(), given: name.to_owned(), help })
}

pub(super) fn platforms(node: &Node) -> Result<Vec<Placed<Platform>>, Error> {
    let items = node.items("platforms", "a list (`[linux/amd64, linux/arm64]`)")?;
    if items.is_empty() {
        return Err(node.bad_value("platforms", "list at least one platform, or remove the key"));
    }
    let platforms = distinct(items, "platforms", |node| platform(node.text("platforms")?, &node.place))?;
    let placed = platforms.into_iter().zip(items).map(|(value, node)| Placed { value, place: node.place.clone() });
    Ok(placed.collect())
}

pub(super) fn lock_subdirs(node: &Node) -> Result<Placed<Vec<Subdir>>, Error> {
    Ok(Placed { value: node.subdirs("lock-subdirs")?, place: node.place.clone() })
}

pub(super) fn mirrors(node: &Node) -> Result<Vec<Mirror>, Error> {
    let mut mirrors = Vec::new();
    for entry in node.entries("mirrors")? {
        let targets = match &entry.value.value {
            Value::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        if targets.is_empty() {
            return Err(entry.value.bad_value("mirrors", "list at least one URL, or remove the entry"));
        }
        for target in targets {
            let mirror = Mirror::new(&entry.key, target.text("mirrors")?);
            mirrors.push(mirror.map_err(|source| Error::Mirror { place: entry.place.clone(), source })?);
        }
    }
    Ok(mirrors)
}

pub(super) fn layers(node: &Node) -> Result<usize, Error> {
    let expected = format!("write a number from {} to {}", LAYERS.start(), LAYERS.end());
    match &node.value {
        Value::Scalar { text, plain: true } => {
            text.parse().ok().filter(|layers| LAYERS.contains(layers)).ok_or_else(|| node.bad_value("layers", expected))
        }
        _ => Err(node.wrong_type("layers", "a number")),
    }
}

pub(super) fn apt(node: &Node) -> Result<AptPolicy, Error> {
    match node.text("apt")? {
        "install" => Ok(AptPolicy::Install),
        "skip" => Ok(AptPolicy::Skip),
        "refuse" => Ok(AptPolicy::Refuse),
        _ => Err(node.bad_value("apt", "write `install`, `refuse` or `skip`")),
    }
}

/// Variables by name, as `env` and `build-args` have them.
pub(in crate::project) fn variables(node: &Node, key: &str) -> Result<IndexMap<String, String>, Error> {
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    map(node, key, is_name, "names of variables have only letters, digits and `_`")
}

pub(super) fn labels(node: &Node) -> Result<IndexMap<String, String>, Error> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_graphic() && c != '=');
    map(node, "labels", is_name, "names of labels have no spaces and no `=`")
}

pub(super) fn info(node: &Node) -> Result<IndexMap<String, String>, Error> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    map(node, "info", is_name, "names in `info` have only letters, digits, `-`, `_` and `.`")
}

fn map(
    node: &Node,
    key: &str,
    is_name: impl Fn(&str) -> bool,
    problem: &str,
) -> Result<IndexMap<String, String>, Error> {
    let mut map = IndexMap::new();
    for entry in node.entries(key)? {
        if entry.key.is_empty() || !is_name(&entry.key) {
            let (place, value) = (entry.place.clone(), entry.key.clone());
            return Err(Error::Value { place, key: key.to_owned(), value, problem: problem.to_owned() });
        }
        map.insert(entry.key.clone(), entry.value.text_or_number(&entry.key)?.to_owned());
    }
    Ok(map)
}

pub(super) fn strip(node: &Node) -> Result<Strip, Error> {
    let items = node.items("strip", "a list of patterns (`['*.a']`)")?;
    let texts = distinct(items, "strip", |node| {
        let text = node.text("strip")?.to_owned();
        Strip::parse([text.clone()]).map_err(|problem| node.bad_value("strip", problem))?;
        Ok(text)
    })?;
    Strip::parse(texts).map_err(|problem| node.bad_value("strip", problem))
}

pub(super) fn names(node: &Node, key: &str) -> Result<Vec<String>, Error> {
    let items = node.items(key, "a list of package names (`[graphviz]`)")?;
    distinct(items, key, |node| node.text(key).map(str::to_owned))
}

/// Text that is one of the few things `T` can be.
pub(super) fn parsed<T: FromStr<Err = String>>(node: &Node, key: &str) -> Result<T, Error> {
    node.text(key)?.parse().map_err(|problem: String| node.bad_value(key, problem))
}

pub(super) fn deny(node: &Node) -> Result<Vec<ChangeKind>, Error> {
    let items = node.items("deny", "a list of changes (`[downgrade, removal]`)")?;
    distinct(items, "deny", |node| parsed(node, "deny"))
}
