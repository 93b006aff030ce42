//! Puts documents about the images of a build beside them: an SBOM in each format for every platform, and the provenance
//! and the inputs of all.
//!
//! What they say follows from what was built, so they are made once: a build with nothing to do only looks whether they
//! are there.

use std::collections::BTreeMap;

use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::Request;
use super::error::Error;
use super::fragment::Fragment;
use super::image::rfc3339;
use super::inputs::{self, Inputs};
use super::store::{self, Store};
use crate::apt::LockedDeb;
use crate::build::base::BaseImage;
use crate::build::documents::{self, KIND, Known};
use crate::oci::layout::sha256;
use crate::oci::{Digest, Layout, canonical_json};
use crate::supply::provenance::{self, Builder, Input, Parameters};
use crate::supply::{Component, Inventory};

/// One platform's image.
pub struct Subject<'a> {
    /// Of its manifest.
    pub descriptor: Descriptor,
    /// The system it is built on.
    pub base: &'a BaseImage,
    /// The packages of that.
    pub system: &'a [Component],
    /// Those of them that were installed on it.
    pub debian: &'a [LockedDeb],
    /// Its conda packages, each with its prefix.
    pub packages: Vec<(&'a str, &'a Fragment)>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// Stores the documents about `index`, whose images are `subjects`, and returns descriptors of them; none where none are
/// asked for.
///
/// # Errors
/// When the layout or the cache cannot be written.
pub fn attach(
    request: &Request<'_>,
    index: &ImageIndex,
    subjects: &[Subject<'_>],
    store: &Store,
    layout: &Layout,
) -> Result<Vec<Descriptor>, Error> {
    if !request.sbom {
        return Ok(Vec::new());
    }
    let whole = layout.put_json(MediaType::ImageIndex, index)?;
    let provenance = statement(request, &whole, subjects)?;
    let inputs = Inputs::of(request).map(|inputs| canonical_json(&inputs));
    let made_of = [Some(&provenance), inputs.as_ref()].map(|document| document.map(|document| Digest::of(document)));
    let key = store::key(KIND, &(provenance::version(), whole.digest().as_ref(), made_of));
    if let Some(known) = store.get::<Vec<Known>>(KIND, &key)
        && known.iter().all(|known| known.is_in(layout))
    {
        return Ok(known.into_iter().map(|known| known.descriptor).collect());
    }
    let mut stored = Vec::new();
    for subject in subjects {
        let inventory = inventory(request, subject)?;
        stored.extend(documents::put_sboms(layout, &subject.descriptor, &inventory)?);
    }
    stored.push(documents::put_provenance(layout, &whole, &provenance)?);
    if let Some(inputs) = inputs {
        stored.push(documents::put(layout, &whole, inputs::MEDIA_TYPE, &inputs, BTreeMap::new())?);
    }
    store.put(KIND, &key, &stored)?;
    Ok(stored.into_iter().map(|known| known.descriptor).collect())
}

/// What is in one platform's image.
fn inventory(request: &Request<'_>, subject: &Subject<'_>) -> Result<Inventory, Error> {
    let packages = subject.packages.iter().map(|(prefix, fragment)| component(prefix, fragment));
    let components = subject.system.iter().cloned().chain(packages).collect();
    let (digest, created) = (sha256(&subject.descriptor)?, rfc3339(subject.created));
    Ok(Inventory::new(request.image, subject.base.platform, digest, &created, components))
}

fn component(prefix: &str, fragment: &Fragment) -> Component {
    let locked = &fragment.package.locked;
    if !fragment.package.is_conda() {
        return Component {
            url: Some(locked.public_url()),
            sha256: Some(fragment.package.sha256.clone()),
            license: fragment.planned.license.clone(),
            depends: fragment.planned.depends.clone(),
            ..Component::pip(&locked.name, &locked.version, prefix)
        };
    }
    let build = locked.build().unwrap_or_default();
    Component {
        md5: locked.md5.clone(),
        sha256: Some(fragment.package.sha256.clone()),
        license: fragment.planned.license.clone(),
        depends: fragment.planned.depends.clone(),
        ..Component::conda(&locked.name, &locked.version, build, prefix, locked.public_url())
    }
}

fn statement(request: &Request<'_>, index: &Descriptor, subjects: &[Subject<'_>]) -> Result<Vec<u8>, Error> {
    let name = request.image;
    let mut named = vec![(name.to_owned(), sha256(index)?)];
    let mut inputs = Vec::new();
    for subject in subjects {
        named.push((format!("{name} {}", subject.base.platform), sha256(&subject.descriptor)?));
        inputs.push(documents::base(subject.base));
        inputs.extend(subject.debian.iter().filter_map(documents::deb));
        let packages = subject.packages.iter().map(|(_, fragment)| &fragment.package);
        // A digest that is none would not have passed when the package was fetched.
        inputs.extend(packages.filter_map(|package| documents::package(&package.locked, &package.sha256)));
    }
    let file = |file: &crate::render::ContentFile| Input {
        name: format!("/{}", file.path),
        uri: None,
        digest: Digest::of(&file.content),
    };
    inputs.extend(request.content.files.iter().map(file));
    Ok(provenance::statement(&named, Builder::Native, &parameters(request), inputs))
}

fn parameters(request: &Request<'_>) -> Parameters {
    let layers = request.environments.iter().map(|environment| (environment.prefix.to_owned(), environment.layers));
    let mut skipped: Vec<_> =
        request.environments.iter().flat_map(|environment| environment.skip_link_scripts).cloned().collect();
    skipped.sort();
    skipped.dedup();
    Parameters {
        image: request.image.to_owned(),
        platforms: request.platforms.to_vec(),
        compression: request.compression,
        source_date_epoch: request.source_date_epoch,
        layers: layers.collect(),
        skip_link_scripts: skipped,
        format: store::FORMAT,
        esker: provenance::version(),
    }
}
