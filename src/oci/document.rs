//! An image index or an image manifest: what a reference can lead to.

use oci_spec::image::{ImageIndex, ImageManifest};

use super::error::{Error, Result};

/// One or the other, told apart by content: a media type is optional in OCI's format.
#[derive(Clone, Debug)]
pub enum Document {
    /// Images for several platforms.
    Index(Box<ImageIndex>),
    /// One image.
    Manifest(Box<ImageManifest>),
}

impl Document {
    /// Reads `bytes`, which errors call `what`.
    ///
    /// # Errors
    /// [`Error::Json`]; [`Error::Malformed`] when it is neither, or could be taken for both: then two readers would
    /// see two images under one digest (CVE-2021-41190).
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let json = |source| Error::Json { what: what.to_owned(), source };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
        let index = value.get("manifests").is_some();
        let manifest = value.get("layers").is_some() || value.get("config").is_some();
        let claims_index = value.get("mediaType").and_then(|name| name.as_str()).map(|name| {
            // OCI's and Docker's names.
            name.contains("image.index") || name.contains("manifest.list")
        });
        match (index, manifest) {
            (true, false) if claims_index != Some(false) => {
                Ok(Self::Index(Box::new(serde_json::from_value(value).map_err(json)?)))
            }
            (false, true) if claims_index != Some(true) => {
                Ok(Self::Manifest(Box::new(serde_json::from_value(value).map_err(json)?)))
            }
            _ => Err(Error::malformed(&what, &"it is not clear whether it is an index or a manifest")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = r#""config": {"mediaType": "c", "size": 0, "digest": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, "layers": []"#;

    #[test]
    fn documents_are_told_apart() {
        let manifest = format!(r#"{{"schemaVersion": 2, {LAYER}}}"#);
        assert!(matches!(Document::parse(manifest.as_bytes(), "m"), Ok(Document::Manifest(_))));
        let index = r#"{"schemaVersion": 2, "manifests": []}"#;
        assert!(matches!(Document::parse(index.as_bytes(), "i"), Ok(Document::Index(_))));
    }

    #[test]
    fn what_could_be_both_is_neither() {
        let type_of = |name: &str| format!(r#""schemaVersion": 2, "mediaType": "application/vnd.oci.image.{name}""#);
        for both in [
            format!(r#"{{"schemaVersion": 2, "manifests": [], {LAYER}}}"#),
            format!(r#"{{{}, {LAYER}}}"#, type_of("index.v1+json")),
            format!(r#"{{{}, "manifests": []}}"#, type_of("manifest.v1+json")),
            "{}".to_owned(),
            "[]".to_owned(),
        ] {
            assert!(Document::parse(both.as_bytes(), "b").is_err(), "{both}");
        }
    }
}
