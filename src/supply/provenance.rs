//! Where an image comes from: an in-toto statement (v1) with SLSA's provenance (v1) as what it says.
//!
//! It tells what went into a build and nothing of who, when and on which machine: two builds of the same make the same
//! statement.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::{HOME, VERSION};
use crate::oci::{Compression, Digest, Platform, canonical_json};

/// The media type of the statement, and of the artifact that holds it.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// What the statement's predicate is.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// The annotation that tells a statement's predicate, which BuildKit and cosign go by.
pub const PREDICATE_ANNOTATION: &str = "in-toto.io/predicate-type";

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// What a build was asked for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// The image's name.
    pub image: String,
    /// Its platforms.
    pub platforms: Vec<Platform>,
    /// How layers are compressed.
    pub compression: Compression,
    /// The time that was demanded, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_date_epoch: Option<u64>,
    /// The most layers each prefix takes.
    pub layers: BTreeMap<String, usize>,
    /// Packages whose link scripts were left out.
    pub skip_link_scripts: Vec<String>,
    /// The number of the format that esker writes images in.
    pub format: u32,
    /// esker's version.
    pub esker: &'static str,
}

/// Something that went into an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    /// What it is called.
    pub name: String,
    /// Where it can be fetched; nothing for what lies on the building machine only.
    pub uri: Option<String>,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl Input {
    /// A package that was fetched from `url` and has this SHA-256.
    pub fn package(name: &str, url: &Url, digest: Digest) -> Self {
        Self { name: name.to_owned(), uri: Some(url.to_string()), digest }
    }

    fn json(&self) -> Value {
        let mut json = json!({ "name": self.name, "digest": sha256(&self.digest) });
        if let Some(uri) = &self.uri {
            json["uri"] = uri.as_str().into();
        }
        json
    }
}

/// The statement that `subjects`, names and digests of manifests, are what `parameters` make of `inputs`; canonical JSON.
pub fn statement(subjects: &[(String, Digest)], parameters: &Parameters, mut inputs: Vec<Input>) -> Vec<u8> {
    inputs.sort();
    inputs.dedup();
    let subject = |(name, digest): &(String, Digest)| json!({ "name": name, "digest": sha256(digest) });
    canonical_json(&json!({
        "_type": STATEMENT,
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": format!("{HOME}/blob/main/docs/supply-chain.md#build-type-v1"),
                "externalParameters": parameters,
                "resolvedDependencies": inputs.iter().map(Input::json).collect::<Vec<_>>(),
            },
            "runDetails": { "builder": { "id": HOME, "version": { "esker": VERSION } } },
        },
    }))
}

/// The version that [`Parameters::esker`] has.
pub const fn version() -> &'static str {
    VERSION
}

fn sha256(digest: &Digest) -> Value {
    json!({ "sha256": digest.hex() })
}
