//! Where an image comes from: an in-toto statement (v1) with SLSA's provenance (v1) as what it says.
//!
//! It tells what went into a build and nothing of who, when and on which machine: two builds of the same make the same
//! statement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
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

/// Who put an image together, and by which kind of build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Builder {
    /// esker itself, of a lock.
    Native,
    /// A Docker engine, of a Dockerfile.
    DockerEngine,
    /// A BuildKit daemon, of a Dockerfile.
    BuildkitDaemon,
}

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

impl Builder {
    /// What says how such a build goes about its work.
    fn build_type(self) -> String {
        explained(match self {
            Self::Native => "build-type-v1",
            Self::DockerEngine | Self::BuildkitDaemon => "build-type-dockerfile-v1",
        })
    }

    fn id(self) -> String {
        match self {
            Self::Native => HOME.to_owned(),
            Self::DockerEngine => explained("docker-engine"),
            Self::BuildkitDaemon => explained("buildkit-daemon"),
        }
    }
}

/// Where the documentation explains what a statement cannot.
fn explained(anchor: &str) -> String {
    format!("{HOME}/blob/main/docs/supply-chain.md#{anchor}")
}

/// The statement that `subjects`, names and digests of manifests, are what `parameters` make of `inputs` when `builder` builds;
/// canonical JSON.
pub fn statement(
    subjects: &[(String, Digest)],
    builder: Builder,
    parameters: &impl Serialize,
    mut inputs: Vec<Input>,
) -> Vec<u8> {
    inputs.sort();
    inputs.dedup();
    let subject = |(name, digest): &(String, Digest)| json!({ "name": name, "digest": sha256(digest) });
    let mut statement = json!({
        "_type": STATEMENT,
        "subject": subjects.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": builder.build_type(),
                "externalParameters": parameters,
                "resolvedDependencies": inputs.iter().map(Input::json).collect::<Vec<_>>(),
            },
            "runDetails": { "builder": { "id": builder.id(), "version": { "esker": VERSION } } },
        },
    });
    if builder != Builder::Native {
        // Steps of a Dockerfile may do anything; SLSA has fields of one's own begin with who they are of.
        statement["predicate"]["runDetails"]["metadata"] = json!({ "esker_rebuildable": false });
    }
    canonical_json(&statement)
}

/// Whether `statement` says that its image was built from a Dockerfile. One of somebody else's does not.
pub fn is_of_dockerfile(statement: &[u8]) -> bool {
    let statement: Value = serde_json::from_slice(statement).unwrap_or_default();
    let build_type = statement.pointer("/predicate/buildDefinition/buildType");
    build_type.and_then(Value::as_str) == Some(&Builder::DockerEngine.build_type())
}

/// The version that [`Parameters::esker`] has.
pub const fn version() -> &'static str {
    VERSION
}

fn sha256(digest: &Digest) -> Value {
    json!({ "sha256": digest.hex() })
}
