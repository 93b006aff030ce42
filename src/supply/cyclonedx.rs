//! CycloneDX 1.6 documents.

use serde_json::{Value, json};

use super::graph::dependencies;
use super::license::License;
use super::{Component, HOME, Inventory, VERSION};
use crate::oci::Digest;

const IMAGE: &str = "image";

/// The document about `inventory`: the image, its components, and what of them depends on what.
pub fn document(inventory: &Inventory) -> Value {
    let components = &inventory.components;
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(inventory),
        "version": 1,
        "metadata": {
            "timestamp": inventory.created,
            "tools": { "components": [tool()] },
            "component": {
                "type": "container",
                "bom-ref": IMAGE,
                "name": inventory.name,
                "version": inventory.digest.to_string(),
                "purl": inventory.purl(),
            },
        },
        "components": components.iter().map(component).collect::<Vec<_>>(),
        "dependencies": edges(components),
    })
}

fn tool() -> Value {
    let website = json!([{ "type": "website", "url": HOME }]);
    json!({ "type": "application", "name": "esker", "version": VERSION, "externalReferences": website })
}

fn component(component: &Component) -> Value {
    let mut json = json!({
        "type": "library",
        "bom-ref": component.id(),
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
        "properties": [{ "name": "esker:place", "value": component.place }],
    });
    match License::of(component.license.as_deref()) {
        License::Unknown => {}
        License::Expression(expression, _) => json["licenses"] = json!([{ "expression": expression }]),
        License::Named(name) => json["licenses"] = json!([{ "license": { "name": name } }]),
    }
    let hashes = [("MD5", &component.md5), ("SHA-256", &component.sha256)];
    let hashes = hashes.into_iter().filter_map(|(algorithm, hash)| {
        Some(json!({ "alg": algorithm, "content": hash.as_ref()?.to_ascii_lowercase() }))
    });
    let hashes: Vec<_> = hashes.collect();
    if !hashes.is_empty() {
        json["hashes"] = hashes.into();
    }
    if let Some(url) = &component.url {
        json["externalReferences"] = json!([{ "type": "distribution", "url": url.as_str() }]);
    }
    json
}

/// What depends on what: the image on all that nothing else in it needs.
fn edges(components: &[Component]) -> Vec<Value> {
    let edge = |from: &str, to: Vec<String>| json!({ "ref": from, "dependsOn": to });
    let needed = dependencies(components);
    let id = |index: &usize| components[*index].id();
    let inner: std::collections::BTreeSet<_> = needed.iter().flatten().collect();
    let outer = (0..components.len()).filter(|index| !inner.contains(index));
    let mut edges = vec![edge(IMAGE, outer.map(|index| id(&index)).collect())];
    let own = components.iter().zip(&needed);
    edges.extend(own.map(|(component, needed)| edge(&component.id(), needed.iter().map(id).collect())));
    edges
}

/// A UUID of version 8 (RFC 9562), out of what the document is about.
fn serial_number(inventory: &Inventory) -> String {
    let hash = Digest::of(format!("cyclonedx {VERSION} {} {}", inventory.name, inventory.digest).as_bytes()).hex();
    // The fourth group begins with one of these, whatever the version.
    let variant = ["8", "9", "a", "b"][hash.as_bytes().iter().map(|byte| usize::from(*byte)).sum::<usize>() % 4];
    format!("urn:uuid:{}-{}-8{}-{variant}{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}
