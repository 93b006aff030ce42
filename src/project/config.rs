//! Reads `esker.yml`; `docs/esker.yml.md` describes it for its writers.
//!
//! What is read here is only what the file says: which folders there are, what images inherit and whether it all fits
//! together is decided in [`super::resolve`].

use std::path::Path;
use std::str::FromStr;

use indexmap::IndexMap;
use oci_spec::distribution::Reference;
use rattler_conda_types::Subdir;

use super::fields::{distinct, get};
use super::yaml::{Document, Entry, Node, Value};
use super::{
    Age, AptPolicy, BaseReference, BaseSource, ChangeKind, Denied, DockerSettings, EngineKind, Error, Help, Mirror,
    Place, RelockPolicy, Snapshot, Strip,
};
use crate::cache::{ParseSizeError, Size};
use crate::oci::{Platform, reference};

/// The file's name.
pub(super) const FILE: &str = "esker.yml";

/// Layers an image may have: Docker refuses more than 125, the base's counted; below 3 there is nothing to share.
const LAYERS: std::ops::RangeInclusive<usize> = 3..=110;

const PROJECT_KEYS: [&str; 29] = [
    "registry",
    "engine",
    "buildkitd",
    "cache-limit",
    "base",
    "platforms",
    "lock-subdirs",
    "root",
    "mirrors",
    "layers",
    "env",
    "labels",
    "info",
    "apt",
    "apt-snapshot",
    "skip-maintainer-scripts",
    "skip-link-scripts",
    "strip",
    "relock",
    "refresh",
    "prefer-parent",
    "min-age",
    "min-age-exempt",
    "sbom",
    "cache-from",
    "docker",
    "deny",
    "allow",
    "images",
];
const IMAGE_KEYS: [&str; 22] = [
    "parent",
    "base",
    "platforms",
    "lock-subdirs",
    "mirrors",
    "layers",
    "env",
    "labels",
    "info",
    "apt",
    "apt-snapshot",
    "skip-maintainer-scripts",
    "skip-link-scripts",
    "strip",
    "relock",
    "refresh",
    "prefer-parent",
    "min-age",
    "min-age-exempt",
    "sbom",
    "cache-from",
    "docker",
];

/// What `esker.yml` says; its default is what holds without the file.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) registry: Option<String>,
    pub(super) engine: EngineKind,
    pub(super) buildkitd: Option<String>,
    pub(super) cache_limit: Option<Size>,
    pub(super) root: Root,
    /// What images have that do not say otherwise.
    pub(super) defaults: Settings,
    pub(super) images: IndexMap<String, ImageEntry>,
    pub(super) denied: Denied,
}

/// `root:`.
#[derive(Debug, Default)]
pub(super) enum Root {
    /// Not given.
    #[default]
    Default,
    /// `none` or null.
    None,
    /// An image.
    Image(Placed<String>),
}

/// One entry of `images:`.
#[derive(Debug)]
pub(super) struct ImageEntry {
    pub(super) place: Place,
    pub(super) parent: Option<Placed<String>>,
    pub(super) settings: Settings,
}

/// The keys that may stand at the top and in an image's entry.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) base: Option<BaseSource>,
    pub(super) platforms: Option<Vec<Placed<Platform>>>,
    pub(super) lock_subdirs: Option<Placed<Vec<Subdir>>>,
    pub(super) mirrors: Vec<Mirror>,
    pub(super) layers: Option<usize>,
    pub(super) env: IndexMap<String, String>,
    pub(super) labels: IndexMap<String, String>,
    pub(super) info: IndexMap<String, String>,
    pub(super) apt: Option<AptPolicy>,
    pub(super) apt_snapshot: Option<Snapshot>,
    pub(super) skip_maintainer_scripts: Vec<String>,
    pub(super) skip_link_scripts: Vec<String>,
    pub(super) strip: Option<Strip>,
    pub(super) relock: Option<RelockPolicy>,
    pub(super) refresh: Vec<String>,
    pub(super) prefer_parent: Option<bool>,
    pub(super) min_age: Option<Age>,
    pub(super) min_age_exempt: Vec<String>,
    pub(super) sbom: Option<bool>,
    pub(super) cache_from: Vec<Reference>,
    pub(super) docker: DockerSettings,
}

/// A value and where it is written.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl Config {
    /// Reads and checks `path`. An empty file says nothing, which is fine.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Self::from_document(&Document::read(path)?)
    }

    fn from_document(document: &Document) -> Result<Self, Error> {
        let Some(root) = &document.root else { return Ok(Self::default()) };
        let fields = root.fields(FILE, &PROJECT_KEYS)?;
        Ok(Self {
            registry: get(fields, "registry").map(registry).transpose()?,
            engine: get(fields, "engine").map(engine).transpose()?.unwrap_or_default(),
            buildkitd: get(fields, "buildkitd").map(|node| node.text("buildkitd").map(str::to_owned)).transpose()?,
            cache_limit: get(fields, "cache-limit").map(cache_limit).transpose()?,
            root: get(fields, "root").map(root_image).transpose()?.unwrap_or_default(),
            defaults: Settings::read(fields)?,
            images: get(fields, "images").map(images).transpose()?.unwrap_or_default(),
            denied: Denied {
                kinds: get(fields, "deny").map(deny).transpose()?.unwrap_or_default(),
                allow: get(fields, "allow").map(|node| names(node, "allow")).transpose()?.unwrap_or_default(),
            },
        })
    }
}

impl Settings {
    fn read(fields: &[Entry]) -> Result<Self, Error> {
        let packages =
            |key| Ok::<_, Error>(get(fields, key).map(|node| names(node, key)).transpose()?.unwrap_or_default());
        Ok(Self {
            base: get(fields, "base").map(base).transpose()?,
            platforms: get(fields, "platforms").map(platforms).transpose()?,
            lock_subdirs: get(fields, "lock-subdirs").map(lock_subdirs).transpose()?,
            mirrors: get(fields, "mirrors").map(mirrors).transpose()?.unwrap_or_default(),
            layers: get(fields, "layers").map(layers).transpose()?,
            env: get(fields, "env").map(|node| variables(node, "env")).transpose()?.unwrap_or_default(),
            labels: get(fields, "labels").map(labels).transpose()?.unwrap_or_default(),
            info: get(fields, "info").map(info).transpose()?.unwrap_or_default(),
            apt: get(fields, "apt").map(apt).transpose()?,
            apt_snapshot: get(fields, "apt-snapshot").map(|node| parsed(node, "apt-snapshot")).transpose()?,
            skip_maintainer_scripts: packages("skip-maintainer-scripts")?,
            skip_link_scripts: packages("skip-link-scripts")?,
            strip: get(fields, "strip").map(strip).transpose()?,
            relock: get(fields, "relock").map(|node| parsed(node, "relock")).transpose()?,
            refresh: packages("refresh")?,
            prefer_parent: get(fields, "prefer-parent").map(|node| node.boolean("prefer-parent")).transpose()?,
            min_age: get(fields, "min-age").map(|node| parsed(node, "min-age")).transpose()?,
            min_age_exempt: packages("min-age-exempt")?,
            sbom: get(fields, "sbom").map(|node| node.boolean("sbom")).transpose()?,
            cache_from: get(fields, "cache-from").map(cache_from).transpose()?.unwrap_or_default(),
            docker: get(fields, "docker").map(DockerSettings::read).transpose()?.unwrap_or_default(),
        })
    }
}

fn images(node: &Node) -> Result<IndexMap<String, ImageEntry>, Error> {
    if node.is_null() {
        return Ok(IndexMap::new());
    }
    node.entries("images")?.iter().map(|entry| Ok((entry.key.clone(), image(entry)?))).collect()
}

fn image(entry: &Entry) -> Result<ImageEntry, Error> {
    let fields = if entry.value.is_null() { &[] } else { entry.value.fields(&entry.key, &IMAGE_KEYS)? };
    Ok(ImageEntry {
        place: entry.place.clone(),
        parent: get(fields, "parent").map(|node| placed_text(node, "parent")).transpose()?,
        settings: Settings::read(fields)?,
    })
}

fn placed_text(node: &Node, key: &str) -> Result<Placed<String>, Error> {
    Ok(Placed { value: node.text(key)?.to_owned(), place: node.place.clone() })
}

fn root_image(node: &Node) -> Result<Root, Error> {
    if node.is_null() {
        return Ok(Root::None);
    }
    match placed_text(node, "root")? {
        Placed { value, .. } if value == "none" => Ok(Root::None),
        name => Ok(Root::Image(name)),
    }
}

/// A registry and namespace: what an image's name can follow.
fn registry(node: &Node) -> Result<String, Error> {
    let text = node.text("registry")?;
    let parsed = reference::parse(&format!("{text}/image"));
    let is_plain = !text.ends_with('/') && !text.contains("://");
    if parsed.is_err() || !is_plain {
        let problem = "write the registry's host and a namespace, as `quay.io/example`, without a scheme or a tag";
        return Err(node.bad_value("registry", problem));
    }
    Ok(text.to_owned())
}

fn engine(node: &Node) -> Result<EngineKind, Error> {
    match node.text("engine")? {
        "native" => Ok(EngineKind::Native),
        "docker" => Ok(EngineKind::Docker),
        _ => Err(node.bad_value("engine", "write `native` or `docker`")),
    }
}

fn cache_limit(node: &Node) -> Result<Size, Error> {
    let text = node.text_or_number("cache-limit")?;
    let problem = "write a number with a unit, such as `20GB` or `500 MiB`";
    text.parse().map_err(|_: ParseSizeError| node.bad_value("cache-limit", problem))
}

fn cache_from(node: &Node) -> Result<Vec<Reference>, Error> {
    let items = node.items("cache-from", "a list of images (`[quay.io/example/nb:latest]`)")?;
    let problem = "write an image in a registry, as `quay.io/example/nb:latest`";
    distinct(items, "cache-from", |node| {
        reference::parse(node.text("cache-from")?).map_err(|_| node.bad_value("cache-from", problem))
    })
}

fn base(node: &Node) -> Result<BaseSource, Error> {
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

fn platform(name: &str, place: &Place) -> Result<Platform, Error> {
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

fn platforms(node: &Node) -> Result<Vec<Placed<Platform>>, Error> {
    let items = node.items("platforms", "a list (`[linux/amd64, linux/arm64]`)")?;
    if items.is_empty() {
        return Err(node.bad_value("platforms", "list at least one platform, or remove the key"));
    }
    let platforms = distinct(items, "platforms", |node| platform(node.text("platforms")?, &node.place))?;
    let placed = platforms.into_iter().zip(items).map(|(value, node)| Placed { value, place: node.place.clone() });
    Ok(placed.collect())
}

fn lock_subdirs(node: &Node) -> Result<Placed<Vec<Subdir>>, Error> {
    Ok(Placed { value: node.subdirs("lock-subdirs")?, place: node.place.clone() })
}

fn mirrors(node: &Node) -> Result<Vec<Mirror>, Error> {
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

fn layers(node: &Node) -> Result<usize, Error> {
    let expected = format!("write a number from {} to {}", LAYERS.start(), LAYERS.end());
    match &node.value {
        Value::Scalar { text, plain: true } => {
            text.parse().ok().filter(|layers| LAYERS.contains(layers)).ok_or_else(|| node.bad_value("layers", expected))
        }
        _ => Err(node.wrong_type("layers", "a number")),
    }
}

fn apt(node: &Node) -> Result<AptPolicy, Error> {
    match node.text("apt")? {
        "install" => Ok(AptPolicy::Install),
        "skip" => Ok(AptPolicy::Skip),
        "refuse" => Ok(AptPolicy::Refuse),
        _ => Err(node.bad_value("apt", "write `install`, `refuse` or `skip`")),
    }
}

/// Variables by name, as `env` and `build-args` have them.
pub(super) fn variables(node: &Node, key: &str) -> Result<IndexMap<String, String>, Error> {
    let is_name = |name: &str| {
        !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    map(node, key, is_name, "names of variables have only letters, digits and `_`")
}

fn labels(node: &Node) -> Result<IndexMap<String, String>, Error> {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_graphic() && c != '=');
    map(node, "labels", is_name, "names of labels have no spaces and no `=`")
}

fn info(node: &Node) -> Result<IndexMap<String, String>, Error> {
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

fn strip(node: &Node) -> Result<Strip, Error> {
    let items = node.items("strip", "a list of patterns (`['*.a']`)")?;
    let texts = distinct(items, "strip", |node| {
        let text = node.text("strip")?.to_owned();
        Strip::parse([text.clone()]).map_err(|problem| node.bad_value("strip", problem))?;
        Ok(text)
    })?;
    Strip::parse(texts).map_err(|problem| node.bad_value("strip", problem))
}

fn names(node: &Node, key: &str) -> Result<Vec<String>, Error> {
    let items = node.items(key, "a list of package names (`[graphviz]`)")?;
    distinct(items, key, |node| node.text(key).map(str::to_owned))
}

/// Text that is one of the few things `T` can be.
fn parsed<T: FromStr<Err = String>>(node: &Node, key: &str) -> Result<T, Error> {
    node.text(key)?.parse().map_err(|problem: String| node.bad_value(key, problem))
}

fn deny(node: &Node) -> Result<Vec<ChangeKind>, Error> {
    let items = node.items("deny", "a list of changes (`[downgrade, removal]`)")?;
    distinct(items, "deny", |node| parsed(node, "deny"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Config, Error> {
        Config::from_document(&Document::parse(Path::new("f"), text)?)
    }

    #[test]
    fn everything_there_is() {
        let config = parse(
            "registry: quay.io/example\ncache-limit: 20GB\nbase: {linux/amd64: 'oci:base', linux/arm64: 'rootfs:arm.tar'}\n\
             platforms: [linux/arm64, linux/amd64]\nlock-subdirs: [linux-64, linux-aarch64, osx-64]\nroot: none\n\
             mirrors:\n  https://conda.anaconda.org/: http://localhost:8080/\nlayers: 40\nenv: {A: 1}\nlabels: {a.b/c: x}\ninfo: {kernel: uname -a}\n\
             apt: skip\napt-snapshot: 2026-11-01\nskip-maintainer-scripts: [man-db]\nskip-link-scripts: [graphviz]\n\
             strip: ['*.h']\nrelock: requested\nrefresh: [openssl]\n\
             prefer-parent: false\nsbom: false\ncache-from: ['quay.io/a/b:1']\nmin-age: 7 days\nmin-age-exempt: [certifi]\ndeny: [downgrade, removal]\nallow: [gcsfs]\nimages:\n  a:\n  b: {}\n  c: {parent: a, platforms: [linux/amd64]}\n",
        )
        .unwrap();
        assert_eq!(config.registry.as_deref(), Some("quay.io/example"));
        assert_eq!(config.cache_limit, Some(Size(20_000_000_000)));
        assert!(matches!(config.root, Root::None));
        assert_eq!(config.defaults.mirrors[0].to_string(), "https://conda.anaconda.org/=http://localhost:8080/");
        assert_eq!(config.defaults.layers, Some(40));
        assert_eq!(config.defaults.env["A"], "1");
        assert_eq!(config.defaults.info["kernel"], "uname -a");
        assert_eq!(config.defaults.apt, Some(AptPolicy::Skip));
        assert_eq!(config.defaults.strip.as_ref().unwrap().texts(), ["*.h"]);
        assert_eq!(
            config.defaults.apt_snapshot.map(|snapshot| snapshot.to_string()).as_deref(),
            Some("20261101T000000Z")
        );
        assert_eq!(config.defaults.skip_maintainer_scripts, ["man-db"]);
        assert_eq!(config.defaults.relock, Some(RelockPolicy::Requested));
        assert_eq!(
            (&config.defaults.refresh[..], config.defaults.prefer_parent),
            (&["openssl".to_owned()][..], Some(false))
        );
        assert_eq!(config.defaults.min_age, Some("1 week".parse().unwrap()));
        assert_eq!(config.defaults.min_age_exempt, ["certifi"]);
        assert_eq!(config.defaults.sbom, Some(false));
        assert_eq!(config.defaults.cache_from[0].to_string(), "quay.io/a/b:1");
        assert_eq!(config.denied.kinds, [ChangeKind::Downgrade, ChangeKind::Removal]);
        assert_eq!(config.denied.allow, ["gcsfs"]);
        assert_eq!(config.images.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        let parent = config.images["c"].parent.as_ref().unwrap();
        assert_eq!((parent.value.as_str(), parent.place.to_string().as_str()), ("a", "f:30:15"));
        let Some(BaseSource::PerPlatform(bases)) = config.defaults.base else { panic!("a map") };
        assert_eq!(bases[&Platform::LinuxArm64].to_string(), "rootfs:arm.tar");
    }

    #[test]
    fn a_prefix_may_have_several_mirrors() {
        let config = parse("mirrors:\n  https://a/: [http://b/, 'file:///c d/', https://a/]\n").unwrap();
        let mirrors: Vec<_> = config.defaults.mirrors.iter().map(ToString::to_string).collect();
        assert_eq!(mirrors, ["https://a/=http://b/", "https://a/=file:///c%20d/", "https://a/=https://a/"]);
    }

    #[test]
    fn nothing_is_fine() {
        assert!(parse("# no settings\n").unwrap().images.is_empty());
        assert!(matches!(parse("root:\n").unwrap().root, Root::None));
    }

    #[test]
    fn faults_name_their_place() {
        for (text, expected) in [
            ("image: {}", "f:1:1: unknown key `image`; did you mean `images`?"),
            ("images: {a: {parnt: b}}", "f:1:14: unknown key `parnt`; did you mean `parent`?"),
            ("images: [a]", "f:1:9: `images` must be a mapping (`key: value`), not a list"),
            ("images: {a: 1}", "f:1:13: `a` must be a mapping (`key: value`), not a number"),
            ("images:\n  a: {}\n  a: {}", "f:3:3: duplicate key `a`, first given at f:2:3; keep one of them"),
            (
                "images: {a: {parent: 1}}",
                "f:1:22: `parent` must be text (put it in quotes if it is meant as such), not a number",
            ),
            (
                "registry: https://quay.io/x",
                "f:1:11: `https://quay.io/x` cannot be `registry`: write the registry's host and a namespace, as `quay.io/example`, without a scheme or a tag",
            ),
            (
                "registry: quay.io/x:latest",
                "f:1:11: `quay.io/x:latest` cannot be `registry`: write the registry's host and a namespace, as `quay.io/example`, without a scheme or a tag",
            ),
            ("base: 'oci:'", "f:1:7: invalid `base`"),
            ("base: {linux/arm: x}", "f:1:8: unknown platform `linux/arm`; did you mean `linux/arm64`?"),
            ("platforms: []", "f:1:12: `a list` cannot be `platforms`: list at least one platform, or remove the key"),
            ("platforms: [linux-64]", "f:1:13: unknown platform `linux-64`; did you mean `linux/amd64`?"),
            (
                "platforms: [linux/arm64, linux/arm64/v8]",
                "f:1:26: `linux/arm64/v8` cannot be `platforms`: it is listed twice; remove one",
            ),
            ("lock-subdirs: [linux/amd64]", "f:1:16: unknown subdir `linux/amd64`; did you mean `linux-64`?"),
            ("mirrors: {https://a/: b}", "f:1:11: invalid entry of `mirrors`"),
            (
                "mirrors: {https://a/: []}",
                "f:1:23: `a list` cannot be `mirrors`: list at least one URL, or remove the entry",
            ),
            (
                "cache-limit: much",
                "f:1:14: `much` cannot be `cache-limit`: write a number with a unit, such as `20GB` or `500 MiB`",
            ),
            (
                "strip: [a, /b]",
                "f:1:12: `/b` cannot be `strip`: write a pattern of files below the prefix, as `*.a` or `share/doc/**/*.html`",
            ),
            (
                "cache-from: [a b]",
                "f:1:14: `a b` cannot be `cache-from`: write an image in a registry, as `quay.io/example/nb:latest`",
            ),
            ("layers: 2", "f:1:9: `2` cannot be `layers`: write a number from 3 to 110"),
            ("layers: 111", "f:1:9: `111` cannot be `layers`: write a number from 3 to 110"),
            ("layers: many", "f:1:9: `many` cannot be `layers`: write a number from 3 to 110"),
            ("layers: [1]", "f:1:9: `layers` must be a number, not a list"),
            (
                "deny: [downgrades]",
                "f:1:8: `downgrades` cannot be `deny`: expected one of `downgrade`, `removal`, `source`, `addition`, `upgrade`, `rebuild`",
            ),
            ("relock: all", "f:1:9: `all` cannot be `relock`: write `minimal`, `requested` or `fresh`"),
            (
                "min-age: 1 month",
                "f:1:10: `1 month` cannot be `min-age`: write an age in weeks, days or hours, such as `7 days` or `36h`",
            ),
            ("prefer-parent: 1", "f:1:16: `prefer-parent` must be `true` or `false`, not a number"),
            ("apt: always", "f:1:6: `always` cannot be `apt`: write `install`, `refuse` or `skip`"),
            ("env: {1A: x}", "f:1:7: `1A` cannot be `env`: names of variables have only letters, digits and `_`"),
            (
                "info: {a b: x}",
                "f:1:8: `a b` cannot be `info`: names in `info` have only letters, digits, `-`, `_` and `.`",
            ),
            ("env: {A: yes}", "f:1:10: `A` must be text (put it in quotes if it is meant as such), not a boolean"),
            ("labels: {a b: x}", "f:1:10: `a b` cannot be `labels`: names of labels have no spaces and no `=`"),
            (
                "skip-link-scripts: graphviz",
                "f:1:20: `skip-link-scripts` must be a list of package names (`[graphviz]`), not text",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        for text in ["registry: localhost:5000/x", "registry: docker.io/library", "layers: 3", "layers: 110"] {
            parse(text).unwrap();
        }
    }

    proptest! {
        #[test]
        fn never_panics(lines in prop::collection::vec(
            " {0,4}(- )?(registry:|base:|platforms:|lock-subdirs:|root:|mirrors:|layers:|env:|labels:|deny:|images:|parent:)?\
             [ -~é]{0,10}", 0..10,
        )) {
            let _ = parse(&lines.join("\n"));
        }
    }
}
