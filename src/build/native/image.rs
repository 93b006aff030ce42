//! The configuration and the manifest of one platform, and the index of all.

use std::collections::HashMap;

use indexmap::IndexMap;
use oci_spec::image::{
    ANNOTATION_BASE_IMAGE_DIGEST, ANNOTATION_BASE_IMAGE_NAME, ANNOTATION_CREATED, Config, Descriptor, History,
    HistoryBuilder, ImageConfiguration, ImageIndex, ImageIndexBuilder, ImageManifestBuilder, MediaType,
    PlatformBuilder, RootFsBuilder,
};

use super::layer::Made;
use crate::build::base::BaseImage;
use crate::oci::{Compression, Digest, Layout};
use crate::render::ImageContent;

/// Labels and annotations that describe one image, and would be wrong of another that is built on it.
pub const DESCRIBES: &str = "org.opencontainers.image.";
/// `PATH` where the base sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a platform's image is put together from.
pub struct PlatformImage<'a> {
    /// The system below.
    pub base: &'a BaseImage,
    /// What the image adds to it besides packages.
    pub content: &'a ImageContent,
    /// How the layers of the image are compressed.
    pub compression: Compression,
    /// The layers on top of the base's, the lowest first, each with a line for the history.
    pub layers: Vec<(Made, String)>,
    /// The label that says which packages are installed.
    pub label: (String, String),
    /// When the image was made, in seconds since 1970.
    pub created: u64,
}

/// A platform's image in a layout.
#[derive(Clone, Debug)]
pub struct WrittenImage {
    /// Of the manifest, with its platform.
    pub descriptor: Descriptor,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digest of the configuration.
    pub config: Digest,
}

impl WrittenImage {
    /// Writes a configuration, which says that the image is for `platform`, and its manifest into `layout`, which has all
    /// the `layers`.
    ///
    /// # Errors
    /// When the layout cannot be written.
    pub fn write(
        layout: &Layout,
        configuration: &impl serde::Serialize,
        platform: oci_spec::image::Platform,
        layers: Vec<Descriptor>,
        annotations: HashMap<String, String>,
    ) -> Result<Self, crate::oci::Error> {
        let config = layout.put_json(MediaType::ImageConfig, configuration)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(2u32)
            .media_type(MediaType::ImageManifest)
            .config(config.clone())
            .layers(layers)
            .annotations(annotations)
            .build()
            .expect("it is complete");
        let mut descriptor = layout.put_json(MediaType::ImageManifest, &manifest)?;
        let digest = |descriptor: &Descriptor| Digest::try_from(descriptor.digest()).expect("the layout made it");
        let (manifest, config) = (digest(&descriptor), digest(&config));
        descriptor.set_platform(Some(platform));
        Ok(Self { descriptor, manifest, config })
    }
}

impl PlatformImage<'_> {
    /// Writes configuration and manifest into `layout`, which has all the layers.
    ///
    /// # Errors
    /// When the layout cannot be written.
    pub fn write(&self, layout: &Layout) -> Result<WrittenImage, crate::oci::Error> {
        let mut layers: Vec<Descriptor> = self.base.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        let media_type = self.compression.layer_media_type();
        layers.extend(self.layers.iter().map(|(made, _)| Descriptor::new(media_type.clone(), made.size, made.digest)));
        let configuration = self.configuration();
        let mut platform = PlatformBuilder::default()
            .architecture(configuration.architecture().clone())
            .os(configuration.os().clone())
            .build()
            .expect("it is complete");
        platform.set_variant(configuration.variant().clone());
        WrittenImage::write(layout, &self.with_triggers(&configuration), platform, layers, self.annotations())
    }

    fn configuration(&self) -> ImageConfiguration {
        let mut configuration = self.base.config.clone();
        let diff_ids = self.base.layers.iter().map(|layer| layer.diff_id.to_string());
        let diff_ids: Vec<_> = diff_ids.chain(self.layers.iter().map(|(made, _)| made.diff_id.to_string())).collect();
        let rootfs = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().expect("it is complete");
        configuration.set_rootfs(rootfs);
        configuration.set_created(Some(self.created()));
        configuration.set_author(None);
        configuration.set_history(Some(self.history()));
        configuration.set_config(Some(self.config()));
        configuration
    }

    /// `configuration` with what Docker knows and OCI does not.
    fn with_triggers(&self, configuration: &ImageConfiguration) -> serde_json::Value {
        let mut value = serde_json::to_value(configuration).expect("a configuration is JSON");
        if !self.content.on_build.is_empty() {
            value["config"]["OnBuild"] = self.content.on_build.clone().into();
        }
        value
    }

    fn config(&self) -> Config {
        let mut config = self.base.config.config().clone().unwrap_or_default();
        config.set_env(Some(environment(config.env().as_deref().unwrap_or_default(), &self.content.env)));
        config.set_entrypoint(Some(self.content.entrypoint.clone()));
        config.set_cmd(Some(self.content.cmd.clone()));
        config.set_user(Some(self.content.user.clone()));
        config.set_working_dir(Some(self.content.workdir.clone()));
        let mut ports = config.exposed_ports().clone().unwrap_or_default();
        ports.extend(self.content.exposed_ports.iter().cloned());
        ports.sort();
        ports.dedup();
        config.set_exposed_ports(Some(ports));
        config.set_labels(Some(self.labels(config.labels().clone().unwrap_or_default())));
        config
    }

    fn labels(&self, mut labels: HashMap<String, String>) -> HashMap<String, String> {
        labels.retain(|name, _| !name.starts_with(DESCRIBES));
        labels.extend([self.label.clone()]);
        labels.extend(self.content.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        labels
    }

    fn annotations(&self) -> HashMap<String, String> {
        let own = self.content.labels.iter().filter(|(name, _)| name.starts_with(DESCRIBES));
        let mut annotations: HashMap<_, _> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
        let name = self.base.public_name().map(|name| (ANNOTATION_BASE_IMAGE_NAME.to_owned(), name.to_owned()));
        annotations.extend(name);
        annotations.insert(ANNOTATION_BASE_IMAGE_DIGEST.to_owned(), self.base.source_digest.to_string());
        annotations.insert(ANNOTATION_CREATED.to_owned(), self.created());
        annotations
    }

    /// One entry a layer, after the base's (which are made up where they do not fit its layers).
    fn history(&self) -> Vec<History> {
        let base = self.base.config.history().clone().unwrap_or_default();
        let with_layer = base.iter().filter(|entry| entry.empty_layer() != Some(true)).count();
        let mut history = if with_layer == self.base.layers.len() {
            base
        } else {
            vec![self.entry(self.base.public_name().unwrap_or("base system")); self.base.layers.len()]
        };
        history.extend(self.layers.iter().map(|(_, line)| self.entry(line)));
        history
    }

    fn entry(&self, line: &str) -> History {
        HistoryBuilder::default().created(self.created()).created_by(line).build().expect("it is complete")
    }

    fn created(&self) -> String {
        rfc3339(self.created)
    }
}

/// `seconds` since 1970 as RFC 3339, in UTC.
pub fn rfc3339(seconds: u64) -> String {
    timestamp(seconds).to_string()
}

/// `seconds` since 1970 as a time; those past what a calendar has count as 1970.
pub fn timestamp(seconds: u64) -> jiff::Timestamp {
    i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).unwrap_or_default()
}

/// The index of `images`, in their order.
pub fn index(images: &[WrittenImage], created: u64) -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(images.iter().map(|image| image.descriptor.clone()).collect::<Vec<_>>())
        .annotations(HashMap::from([(ANNOTATION_CREATED.to_owned(), rfc3339(created))]))
        .build()
        .expect("it is complete")
}

/// The base's variables, overlaid by `own`; the base's `PATH` follows the own, or stands where that says `$PATH`.
fn environment(base: &[String], own: &IndexMap<String, String>) -> Vec<String> {
    let mut all: IndexMap<&str, String> = IndexMap::new();
    all.extend(base.iter().filter_map(|line| line.split_once('=')).map(|(name, value)| (name, value.to_owned())));
    for (name, value) in own {
        let value = if name == "PATH" { path(value, all.get("PATH").map(String::as_str)) } else { value.clone() };
        all.insert(name, value);
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn path(own: &str, base: Option<&str>) -> String {
    let base = base.unwrap_or(DEFAULT_PATH);
    for spelling in ["${PATH}", "$PATH"] {
        if own.contains(spelling) {
            return own.replace(spelling, base);
        }
    }
    format!("{own}:{base}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_overlaid_and_path_is_joined() {
        let own = IndexMap::from([("PATH".to_owned(), "/srv/bin".to_owned()), ("TZ".to_owned(), "UTC".to_owned())]);
        let base = ["TZ=CET", "PATH=/bin", "X=1=2"].map(str::to_owned);
        assert_eq!(environment(&base, &own), ["TZ=UTC", "PATH=/srv/bin:/bin", "X=1=2"]);
        assert_eq!(environment(&[], &own)[0], format!("PATH=/srv/bin:{DEFAULT_PATH}"));
        assert_eq!(path("/a:$PATH:/z", Some("/bin")), "/a:/bin:/z");
        assert_eq!(path("/a:${PATH}:/z", Some("/bin")), "/a:/bin:/z");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(rfc3339(1_577_854_800), "2020-01-01T05:00:00Z");
    }
}
