//! What an image takes over from the base below it. Looked into once for each base: warm builds read none of it.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::store::{self, Store};
use crate::build::accounts::{self, AccountFile, AccountFiles};
use crate::build::base::BaseImage;
use crate::oci::walk::ReadFile;
use crate::oci::{Layer, Layout};
use crate::supply::{Component, debian};

/// What has to be known of a base's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// Bytes of its layers when unpacked.
    pub unpacked_size: u64,
    /// Its accounts.
    pub accounts: AccountFiles,
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
        .read_and_measure(|path| accounts::FILES.contains(&path) || debian::is_wanted(path))
        .map_err(|error| Error::BaseContent(Box::new(error)))?;
    let accounts = accounts::FILES.iter().filter_map(|path| Some((*path, files.get(*path)?)));
    let accounts = accounts.map(|(path, file)| Ok((path.to_owned(), account_file(base, path, file)?)));
    let accounts = AccountFiles(accounts.collect::<Result<_, Error>>()?);
    let files = files.into_iter().map(|(path, (_, bytes))| (path, bytes)).collect();
    let facts = BaseFacts { unpacked_size, accounts, packages: debian::components(&files) };
    store.put("bases", &key, &facts)?;
    Ok(facts)
}

fn account_file(base: &BaseImage, path: &str, (entry, bytes): &ReadFile) -> Result<AccountFile, Error> {
    let text = String::from_utf8(bytes.clone())
        .map_err(|_| Error::Base { platform: base.platform, reason: format!("`/{path}` is not UTF-8") })?;
    Ok(AccountFile { text, mode: entry.mode, uid: entry.uid, gid: entry.gid })
}
