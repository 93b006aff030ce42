//! The configuration of an image that a builder made, without what it owes to the time and place of the build; and its
//! manifest.
//!
//! The configuration is JSON from end to end: engines know fields that OCI's types have no place for, such as
//! `OnBuild`.

use std::collections::HashMap;

use oci_spec::image::{
    ANNOTATION_BASE_IMAGE_DIGEST, ANNOTATION_BASE_IMAGE_NAME, ANNOTATION_CREATED, Arch, Descriptor, Os, PlatformBuilder,
};
use serde_json::{Map, Value, json};

use super::error::Error;
use super::known::Kept;
use crate::build::base::BaseImage;
use crate::build::native::image::{DESCRIBES, WrittenImage, rfc3339};
use crate::oci::{Layout, Platform};

/// What builders note of themselves and of the build.
const OF_THE_BUILD: [&str; 6] = ["id", "parent", "container", "container_config", "docker_version", "comment"];
/// The same of the configuration to run it: of the container that a step ran in.
const OF_THE_CONTAINER: [&str; 9] =
    ["Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"];

/// An image to be put into a layout.
pub struct EngineImage<'a> {
    /// The base it was built on.
    pub base: &'a BaseImage,
    /// Its configuration as the engine has it.
    pub configuration: &'a Value,
    /// Its layers, which the layout has.
    pub layers: &'a [Kept],
    /// When it counts as made, in seconds since 1970.
    pub created: u64,
    /// Build arguments that tell of this machine: their values are left out of the history.
    pub hidden: &'a [(String, String)],
}

impl EngineImage<'_> {
    /// Writes configuration and manifest into `layout`. `name` is what errors call the image.
    ///
    /// # Errors
    /// [`Error::Saved`] when it is for another platform; when the layout cannot be written.
    pub fn write(&self, layout: &Layout, name: &str) -> Result<WrittenImage, Error> {
        let configuration = self.normal();
        let text = |key: &str| configuration.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if Platform::from_oci(&text("os"), &text("architecture")) != Some(self.base.platform) {
            let (found, wanted) = (format!("{}/{}", text("os"), text("architecture")), self.base.platform);
            let reason = format!("it is for {found}, not for {wanted}");
            return Err(Error::Saved { image: name.to_owned(), reason });
        }
        let mut platform = PlatformBuilder::default()
            .architecture(Arch::from(text("architecture").as_str()))
            .os(Os::Linux)
            .build()
            .expect("it is complete");
        platform.set_variant(Some(text("variant")).filter(|variant| !variant.is_empty()));
        let layers: Vec<Descriptor> = self.layers.iter().map(|layer| layer.descriptor.clone()).collect();
        Ok(WrittenImage::write(layout, &configuration, platform, layers, self.annotations(&configuration))?)
    }

    fn normal(&self) -> Value {
        let mut normal = self.configuration.as_object().cloned().unwrap_or_default();
        normal.retain(|key, _| !OF_THE_BUILD.contains(&key.as_str()) && !key.starts_with("moby."));
        let created = json!(rfc3339(self.created));
        if let Some(config) = normal.get_mut("config").and_then(Value::as_object_mut) {
            // A builder that has nothing to say may say so.
            config.retain(|key, value| !OF_THE_CONTAINER.contains(&key.as_str()) && !is_nothing(value));
        }
        for entry in normal.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(entry) = entry.as_object_mut() {
                self.settle(entry, &created);
            }
        }
        let diff_ids: Vec<_> = self.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        normal.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
        normal.insert("created".to_owned(), created);
        Value::Object(normal)
    }

    fn settle(&self, entry: &mut Map<String, Value>, created: &Value) {
        entry.insert("created".to_owned(), created.clone());
        if let Some(Value::String(step)) = entry.get_mut("created_by") {
            for (name, value) in self.hidden {
                *step = step.replace(&format!("{name}={value}"), &format!("{name}="));
            }
        }
    }

    fn annotations(&self, configuration: &Value) -> HashMap<String, String> {
        let labels = configuration.pointer("/config/Labels").and_then(Value::as_object).into_iter().flatten();
        let own = labels.filter(|(name, _)| name.starts_with(DESCRIBES));
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let mut annotations: HashMap<String, String> = own.filter_map(text).collect();
        let base = self.base.public_name().map(|name| (ANNOTATION_BASE_IMAGE_NAME.to_owned(), name.to_owned()));
        annotations.extend(base);
        annotations.insert(ANNOTATION_BASE_IMAGE_DIGEST.to_owned(), self.base.source_digest.to_string());
        annotations.insert(ANNOTATION_CREATED.to_owned(), rfc3339(self.created));
        annotations
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::image::ImageConfiguration;

    use super::*;
    use crate::oci::Digest;

    fn base() -> BaseImage {
        BaseImage {
            reference: "docker.io/library/debian:1".into(),
            source_digest: Digest::of(b"base"),
            manifest_digest: Digest::of(b"manifest"),
            platform: Platform::LinuxAmd64,
            config: ImageConfiguration::default(),
            layers: vec![],
            made_of: None,
        }
    }

    fn normal(configuration: &Value) -> Value {
        let hidden = [("PACKAGE_MIRROR".to_owned(), "http://127.0.0.1:5".to_owned())];
        let base = base();
        EngineImage { base: &base, configuration, layers: &[], created: 0, hidden: &hidden }.normal()
    }

    #[test]
    fn builders_agree_on_what_is_left() {
        let classic = json!({
            "architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z", "container": "ab",
            "container_config": {"Cmd": ["x"]}, "docker_version": "20.10", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Hostname": "", "Image": "sha256:1", "Tty": false, "Env": ["A=1"], "Volumes": null,
                       "OnBuild": ["RUN x"],
                       "Healthcheck": {"Test": ["CMD", "y"], "Interval": 3_000_000_000u64}},
            "history": [{"created": "2026-01-02T03:04:05Z", "empty_layer": true,
                         "created_by": "RUN |1 PACKAGE_MIRROR=http://127.0.0.1:5 /bin/sh -c z"}],
        });
        let expected = json!({
            "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
            "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Env": ["A=1"], "OnBuild": ["RUN x"],
                       "Healthcheck": {"Test": ["CMD", "y"], "Interval": 3_000_000_000u64}},
            "history": [{"created": "1970-01-01T00:00:00Z", "empty_layer": true,
                         "created_by": "RUN |1 PACKAGE_MIRROR= /bin/sh -c z"}],
        });
        assert_eq!(normal(&classic), expected);
        let mut buildkit = expected.clone();
        buildkit["created"] = json!("2027-01-01T00:00:00Z");
        buildkit["moby.buildkit.buildinfo.v1"] = json!("e30=");
        assert_eq!(normal(&buildkit), expected);
    }

    #[test]
    fn an_image_for_another_platform_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::create(dir.path()).unwrap();
        let base = base();
        let write = |architecture: &str| {
            let configuration = json!({"architecture": architecture, "os": "linux"});
            let image =
                EngineImage { base: &base, configuration: &configuration, layers: &[], created: 0, hidden: &[] };
            image.write(&layout, "x")
        };
        assert!(write("amd64").is_ok());
        assert!(matches!(write("arm64"), Err(Error::Saved { reason, .. }) if reason.contains("linux/arm64")));
    }
}
