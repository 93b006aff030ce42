//! A package's record in `conda-meta`, from which `conda list` and `mamba list` know that it is installed.
//!
//! It holds what the package and the lock say and what was written, and nothing of this machine: no cache paths, no
//! requested specs (they are in `conda-meta/history`, and would tie packages to environments).

use std::io;
use std::path::PathBuf;

use rattler_conda_types::package::DistArchiveIdentifier;
use rattler_conda_types::prefix_record::{Link, LinkType, PathsEntry, PrefixRecord};
use rattler_conda_types::{PackageRecord, RepoDataRecord};

use super::archive::Archive;
use super::error::Error;
use super::package::Info;
use super::pinned::Pinned;

/// The record's JSON.
///
/// # Errors
/// When `info/index.json` or a hash of the lock does not make a record.
pub fn record(package: &Pinned, archive: &Archive, info: &Info, mut paths: Vec<PathsEntry>) -> Result<Vec<u8>, Error> {
    let broken = |reason: String| Error::Metadata {
        package: archive.name.clone(),
        file: "info/index.json",
        source: io::Error::new(io::ErrorKind::InvalidData, reason),
    };
    let sha256 = rattler_digest::parse_digest_from_hex::<rattler_digest::Sha256>(&package.sha256);
    let md5 = package.locked.md5.as_deref().and_then(rattler_digest::parse_digest_from_hex::<rattler_digest::Md5>);
    let package_record = PackageRecord::from_index_json(info.index.clone(), Some(archive.size()), sha256, md5)
        .map_err(|error| broken(error.to_string()))?;
    let identifier = DistArchiveIdentifier::try_from_filename(&archive.name)
        .ok_or_else(|| broken(format!("`{}` is no package's file name", archive.name)))?;
    let url = package.locked.public_url();
    let channel = url.as_str().rsplit_once('/').map(|(channel, _)| channel.to_owned());
    paths.sort_by(|a, b| a.relative_path.cmp(&b.relative_path));
    let mut record =
        PrefixRecord::from_repodata_record(RepoDataRecord { package_record, identifier, url, channel }, paths);
    record.link = Some(Link { source: PathBuf::new(), link_type: Some(LinkType::HardLink) });
    let mut json = serde_json::to_vec_pretty(&record).map_err(|error| broken(error.to_string()))?;
    json.push(b'\n');
    Ok(json)
}
