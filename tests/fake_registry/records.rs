//! What builds leave beside images for those that come after, as it lies in a registry.

use esker::oci::Digest;
use serde_json::Value;

use super::writable::{State, Writable};

const RECORD: &str = "application/vnd.esker.build.v1";

/// Digests of the records in a registry, each with that of its document.
pub fn records(state: &State) -> Vec<(String, String)> {
    let documents = state.manifests.iter().filter(|((_, name), _)| name.starts_with("sha256:"));
    let parsed =
        documents.map(|((_, name), (_, bytes))| (name.clone(), serde_json::from_slice::<Value>(bytes).unwrap()));
    let records = parsed.filter(|(_, document)| document["artifactType"] == RECORD);
    records.map(|(name, document)| (name, document["layers"][0]["digest"].as_str().unwrap().to_owned())).collect()
}

/// Puts another record in place of the one in `repository`.
pub fn replace_record(registry: &Writable, repository: &str, change: impl Fn(&mut Value)) {
    let state = registry.state();
    let [(digest, content)] = &records(&state)[..] else { panic!("one record") };
    let bytes = &state.blobs[&(repository.to_owned(), content.clone())];
    let mut record: Value = serde_json::from_slice(&zstd::decode_all(&bytes[..]).unwrap()).unwrap();
    change(&mut record);
    let bytes = zstd::encode_all(record.to_string().as_bytes(), 3).unwrap();
    registry.seed(repository, &bytes);
    let (_, manifest) = &state.manifests[&(repository.to_owned(), digest.clone())];
    let mut manifest: Value = serde_json::from_slice(manifest).unwrap();
    manifest["layers"][0]["digest"] = Digest::of(&bytes).to_string().into();
    manifest["layers"][0]["size"] = bytes.len().into();
    registry.replace_records(repository, manifest.to_string().as_bytes());
}
