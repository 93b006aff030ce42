//! SPDX 2.3 documents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::graph::dependencies;
use super::license::License;
use super::{Component, HOME, Inventory, Kind, VERSION, identifier};

const IMAGE: &str = "SPDXRef-Image";

/// The document about `inventory`: the image, what it contains, and what of that depends on what.
pub fn document(inventory: &Inventory) -> Value {
    let (components, digest) = (&inventory.components, inventory.digest.hex());
    let mut licenses = BTreeMap::new();
    let mut packages = vec![image(inventory)];
    packages.extend(components.iter().map(|component| package(component, &mut licenses)));
    let mut document = json!({
        "SPDXID": "SPDXRef-DOCUMENT",
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "name": inventory.name,
        "documentNamespace": format!("{HOME}/spdx/{VERSION}/{}/{digest}", identifier(&inventory.name)),
        "creationInfo": { "created": inventory.created, "creators": [format!("Tool: esker-{VERSION}")] },
        "packages": packages,
        "relationships": relationships(components),
    });
    if !licenses.is_empty() {
        document["hasExtractedLicensingInfos"] = licenses.into_iter().map(extracted).collect();
    }
    document
}

fn image(inventory: &Inventory) -> Value {
    json!({
        "SPDXID": IMAGE,
        "name": inventory.name,
        "versionInfo": inventory.digest.to_string(),
        "primaryPackagePurpose": "CONTAINER",
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [purl(&inventory.purl())],
    })
}

/// One package; the licences it has and SPDX does not list are added to `licenses`.
fn package(component: &Component, licenses: &mut BTreeMap<String, String>) -> Value {
    let (license, references) = License::of(component.license.as_deref()).expression();
    licenses.extend(references);
    let hashes = [("MD5", &component.md5), ("SHA256", &component.sha256)];
    let hashes = hashes.into_iter().filter_map(|(algorithm, hash)| {
        Some(json!({ "algorithm": algorithm, "checksumValue": hash.as_ref()?.to_ascii_lowercase() }))
    });
    let mut package = json!({
        "SPDXID": id(component),
        "name": component.name,
        "versionInfo": component.version,
        "downloadLocation": component.url.as_ref().map_or("NOASSERTION", |url| url.as_str()),
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": license,
        "copyrightText": "NOASSERTION",
        "externalRefs": [purl(&component.purl)],
    });
    if component.kind != Kind::Deb {
        package["comment"] = format!("installed in {}", component.place).into();
    }
    let hashes: Vec<_> = hashes.collect();
    if !hashes.is_empty() {
        package["checksums"] = hashes.into();
    }
    package
}

fn purl(locator: &str) -> Value {
    json!({ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator })
}

fn extracted((id, name): (String, String)) -> Value {
    let text = format!("`{name}`, as the package declares it. Its text is not part of this document.");
    json!({ "licenseId": id, "name": name, "extractedText": text })
}

fn relationships(components: &[Component]) -> Vec<Value> {
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let ids: Vec<_> = components.iter().map(id).collect();
    let mut all = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE)];
    all.extend(ids.iter().map(|id| relation(IMAGE, "CONTAINS", id)));
    for (id, needed) in ids.iter().zip(dependencies(components)) {
        all.extend(needed.into_iter().map(|other| relation(id, "DEPENDS_ON", &ids[other])));
    }
    all
}

fn id(component: &Component) -> String {
    let place = identifier(component.place.trim_start_matches('/'));
    format!("SPDXRef-{}-{place}-{}", component.kind.as_str(), identifier(&component.name))
}
