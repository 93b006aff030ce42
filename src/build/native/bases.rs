//! What an image takes over from the base below it. Looked into once for each base: warm builds read none of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::store::{self, Store};
use crate::build::base::BaseImage;
use crate::oci::{Layer, Layout};
use crate::supply::{Component, debian};

/// The files that say which accounts there are.
const ACCOUNTS: [&str; 2] = ["etc/passwd", "etc/group"];

/// What has to be known of a base's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// Bytes of its layers when unpacked.
    pub unpacked_size: u64,
    /// `/etc/passwd`.
    pub passwd: Option<String>,
    /// `/etc/group`.
    pub group: Option<String>,
    /// Its Debian packages.
    pub packages: Vec<Component>,
}

/// Brings the layers of `base` into `layout`, and finds out about them.
///
/// # Errors
/// [`Error::Base`] when the layers are not what the base's configuration says, or its accounts are not text.
pub fn import(base: &BaseImage, store: &Store, layout: &Layout) -> Result<BaseFacts, Error> {
    let layers = base.layers.iter().map(|layer| Layer::new(&layer.descriptor, &layer.diff_id.to_string()));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    for (layer, source) in layers.iter().zip(&base.layers) {
        layout.import(&source.path, &layer.digest, layer.size)?;
    }
    let identity: Vec<_> = layers.iter().map(|layer| (layer.digest, layer.diff_id)).collect();
    let key = store::key("bases", &identity);
    if let Some(facts) = store.get("bases", &key) {
        return Ok(facts);
    }
    let (files, unpacked_size) = base
        .read_and_measure(|path| ACCOUNTS.contains(&path) || debian::is_wanted(path))
        .map_err(|error| Error::BaseContent(Box::new(error)))?;
    let [passwd, group] = ACCOUNTS.map(|path| text(base, path, &files));
    let facts = BaseFacts { unpacked_size, passwd: passwd?, group: group?, packages: debian::components(&files) };
    store.put("bases", &key, &facts)?;
    Ok(facts)
}

fn text(base: &BaseImage, path: &str, files: &BTreeMap<String, Vec<u8>>) -> Result<Option<String>, Error> {
    let text = files.get(path).map(|bytes| String::from_utf8(bytes.clone())).transpose();
    text.map_err(|_| Error::Base { platform: base.platform, reason: format!("`/{path}` is not UTF-8") })
}
