//! The layers that a build would make, without making them: from locks, what the cache knows, and channels' repodata.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rattler_conda_types::utils::TimestampMs;
use rattler_conda_types::{Channel, PackageName, Subdir};
use serde::Serialize;
use url::Url;

use super::candidates::{Facts, candidate, known};
use super::error::Error;
use super::layer;
use super::pinned::{Pinned, pin};
use super::plan::{Candidate, Group, LayerPlan};
use super::store::Store;
use super::work::{Cancel, parallel};
use super::{Environment, LOWER_LAYERS};
use crate::channel::Client;
use crate::lock::Lock;
use crate::oci::Compression;
use crate::progress::{Progress, Task, Unit};

/// A layer that a build would make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedLayer {
    /// The prefix its packages are in.
    pub prefix: String,
    /// Its packages, by name.
    pub packages: Vec<Named>,
    /// Bytes of the compressed layer, or of its packages' archives where it was not built on this machine.
    pub size: u64,
    /// Whether `size` is only the archives'.
    pub estimated: bool,
    /// What tells it from other layers of the prefix.
    #[serde(skip)]
    pub group: Group,
}

/// A package of a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Bytes of its archive.
    pub size: u64,
    /// What tells it from other packages.
    #[serde(skip)]
    pub id: String,
}

/// What was found out of packages, by their SHA-256; for several images at once.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<String, Option<Facts>>>);

/// Where layers are looked up and how they would be made.
pub struct Overview<'a> {
    /// The channels' client.
    pub client: &'a Client,
    /// Where parts of layers are kept.
    pub cache_dir: &'a Path,
    /// How layers are compressed.
    pub compression: Compression,
    /// What earlier overviews found out.
    pub seen: &'a Seen,
    /// How many threads work.
    pub jobs: usize,
    /// Where to report.
    pub progress: &'a dyn Progress,
}

impl Overview<'_> {
    /// The layers of `environments` for `subdir`, the lowest first, on a base that leaves room for all of them.
    ///
    /// # Errors
    /// When a lock lacks the subdir, the cache cannot be used, or a channel has to be asked and cannot.
    pub async fn layers(&self, environments: &[Environment<'_>], subdir: Subdir) -> Result<Vec<PlannedLayer>, Error> {
        let store = Store::open(self.cache_dir)?;
        let mut layers = Vec::new();
        for (index, environment) in environments.iter().enumerate() {
            let is_last = index + 1 == environments.len();
            let limit = if is_last { environment.layers } else { environment.layers.min(LOWER_LAYERS) };
            let mut inherited = Vec::new();
            for parent in environment.parents.iter().filter(|parent| parent.lock.subdirs.contains(&subdir)) {
                let (_, candidates) = self.candidates(&store, parent.lock, subdir, environment.prefix).await?;
                inherited = LayerPlan::new(&candidates, parent.layers, &inherited).groups(&candidates);
            }
            let (packages, candidates) = self.candidates(&store, environment.lock, subdir, environment.prefix).await?;
            let plan = LayerPlan::new(&candidates, limit, &inherited);
            layers.extend(plan.layers.iter().map(|layer| {
                let members: Vec<_> = layer.iter().map(|&index| (&packages[index], &candidates[index])).collect();
                self.layer(&store, environment.prefix, &members)
            }));
        }
        Ok(layers)
    }

    fn layer(&self, store: &Store, prefix: &str, members: &[(&Pinned, &Candidate)]) -> PlannedLayer {
        let group: Group = members.iter().map(|(_, candidate)| candidate.id.clone()).collect();
        let built = layer::built_size(store, prefix, self.compression, &group);
        let named = |(package, candidate): &(&Pinned, &Candidate)| Named {
            name: candidate.name.clone(),
            version: package.locked.version.clone(),
            size: candidate.size,
            id: candidate.id.clone(),
        };
        let archives = members.iter().map(|(_, candidate)| candidate.size).sum();
        PlannedLayer {
            prefix: prefix.to_owned(),
            packages: members.iter().map(named).collect(),
            size: built.unwrap_or(archives),
            estimated: built.is_none(),
            group,
        }
    }

    async fn candidates(
        &self,
        store: &Store,
        lock: &Lock,
        subdir: Subdir,
        prefix: &str,
    ) -> Result<(Vec<Pinned>, Vec<Candidate>), Error> {
        let packages = pin(lock, subdir, prefix, self.client).await?;
        let facts = match known(store, &packages) {
            Some(facts) => facts,
            None => {
                self.look_up(&packages, subdir).await?;
                let seen = self.seen();
                let facts = packages.iter().map(|package| seen.get(&package.sha256).copied().flatten());
                facts.map(Option::unwrap_or_default).collect()
            }
        };
        let candidates = packages.iter().zip(facts).map(|(package, facts)| candidate(package, facts)).collect();
        Ok((packages, candidates))
    }

    /// From archives where they are on disk, else from repodata: nothing is downloaded for its size.
    async fn look_up(&self, packages: &[Pinned], subdir: Subdir) -> Result<(), Error> {
        let unseen: Vec<_> = {
            let seen = self.seen();
            packages.iter().filter(|package| !seen.contains_key(&package.sha256)).cloned().collect()
        };
        let (here, absent): (Vec<_>, Vec<_>) = unseen.into_iter().partition(Pinned::is_on_disk);
        let task = Task::start(self.progress, "reading packages", Some(here.len() as u64), Unit::Count);
        let read = |package: Pinned| Ok((package.sha256.clone(), Some(Facts::read(&package)?)));
        let read = parallel(here, self.jobs, &Cancel::default(), &task, read).await?;
        self.seen().extend(read);
        if absent.is_empty() {
            return Ok(());
        }
        let listed = self.listed(&absent, subdir).await?;
        let unknown: Vec<_> = absent.iter().filter(|package| !listed.contains_key(&package.sha256)).collect();
        if !unknown.is_empty() {
            let names = unknown.iter().take(5).map(|package| package.name()).collect::<Vec<_>>().join(", ");
            let more = if unknown.len() > 5 { ", …" } else { "" };
            self.progress.warning(&format!(
                "neither the cache nor a channel knows the size of {} packages, which count as nothing: {names}{more}",
                unknown.len()
            ));
        }
        let facts = absent.iter().map(|package| (package.sha256.clone(), listed.get(&package.sha256).copied()));
        self.seen().extend(facts);
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, Option<Facts>>> {
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What repodata says of `packages`, by their SHA-256.
    async fn listed(&self, packages: &[Pinned], subdir: Subdir) -> Result<HashMap<String, Facts>, Error> {
        let failed = |error| Error::Packages(Box::new(error));
        let packages: Vec<&Pinned> = packages.iter().filter(|package| package.is_conda()).collect();
        let channels: BTreeSet<Url> = packages.iter().filter_map(|package| channel_of(&package.locked.url)).collect();
        let channels: Vec<_> = channels.into_iter().map(Channel::from_url).collect();
        let names = packages.iter().filter_map(|package| package.name().parse::<PackageName>().ok());
        let records = self.client.records_without_dependencies(&channels, subdir, names).await.map_err(failed)?;
        let by_url: HashMap<&Url, &Pinned> = packages.iter().map(|package| (&package.locked.url, *package)).collect();
        let mut facts = HashMap::new();
        for record in records.iter().flat_map(|data| data.iter()) {
            if let (Some(package), Some(size)) = (by_url.get(&record.url), record.package_record.size) {
                let built = record.package_record.timestamp.as_ref().map(TimestampMs::timestamp);
                let built = built.and_then(|time| u64::try_from(time).ok()).unwrap_or_default();
                facts.insert(package.sha256.clone(), Facts { size, built });
            }
        }
        Ok(facts)
    }
}

/// The channel that a package is in: its URL without subdir and file.
fn channel_of(package: &Url) -> Option<Url> {
    let mut url = package.clone();
    url.path_segments_mut().ok()?.pop().pop().push("");
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_two_parts_above_its_packages() {
        let url = Url::parse("https://conda.anaconda.org/conda-forge/noarch/a-1-0.conda").unwrap();
        assert_eq!(channel_of(&url).unwrap().as_str(), "https://conda.anaconda.org/conda-forge/");
    }
}
