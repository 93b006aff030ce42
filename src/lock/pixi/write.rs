//! A lock as a `pixi.lock`.
//!
//! pixi's format has the whole record of a package, a lock has its URL, hashes and names: so the rest is looked up in the
//! channels, by URL. What they no longer offer cannot be written, though it could still be installed.

use std::collections::HashMap;

use rattler_conda_types::{PackageName, RepoDataRecord, Subdir};
use rattler_digest::{Sha256, parse_digest_from_hex};
use rattler_lock::{
    Channel, CondaPackageData, LockFile, LockFileBuilder, PackageHashes, PlatformData, PlatformName,
    PypiDistributionData, PypiIndexes, PypiPackageData, UrlOrPath,
};
use url::Url;

use super::ENVIRONMENT;
use crate::channel::{Client, Records};
use crate::lock::favour::check_hash;
use crate::lock::{Error, Lock, LockSpec, LockedPackage, Manager};

const PYPI: &str = "https://pypi.org/simple";

impl Lock {
    /// A `pixi.lock` (version 7) with one environment, `default`, of what is locked for `subdirs`. `spec` says what
    /// channels are relative to.
    ///
    /// # Errors
    /// [`Error::NotOffered`] names all packages that no channel offers under their URL any more;
    /// [`Error::HashChanged`], [`Error::NotForPixi`], or a channel that cannot be had.
    pub async fn pixi_lock(&self, subdirs: &[Subdir], spec: &LockSpec, client: &Client) -> Result<String, Error> {
        let mut builder = LockFile::builder();
        builder.set_channels(ENVIRONMENT, self.pixi_channels(spec)?);
        let platform = |subdir: &Subdir| PlatformData {
            name: PlatformName::from(subdir),
            subdir: *subdir,
            virtual_packages: Vec::new(),
        };
        let mut builder =
            builder.with_platforms(subdirs.iter().map(platform).collect()).map_err(refused("platforms"))?;
        let mut gone = Vec::new();
        for subdir in subdirs {
            let name = subdir.as_str();
            builder.add_environment_platform(ENVIRONMENT, name).map_err(refused(name))?;
            self.add_conda(&mut builder, *subdir, spec, client, &mut gone).await?;
            self.add_pip(&mut builder, *subdir)?;
        }
        if !gone.is_empty() {
            gone.dedup();
            return Err(Error::NotOffered { image: spec.image.clone(), urls: gone });
        }
        builder.finish().render_to_string().map_err(refused("the file"))
    }

    /// The channels by URL. One with a variable stays as it is written: its URL may hold what the variable does.
    fn pixi_channels(&self, spec: &LockSpec) -> Result<Vec<Channel>, Error> {
        let mut channels = Vec::new();
        for channel in &self.channels {
            if channel.used_env_vars.is_empty() {
                let alone = LockSpec { channels: vec![channel.url.clone()], ..spec.clone() };
                let resolved = alone.resolved_channels()?;
                channels.extend(resolved.iter().map(|channel| Channel::from(channel.base_url.as_str())));
            } else {
                let (url, used_env_vars) = (channel.url.clone(), channel.used_env_vars.clone());
                channels.push(Channel { url, used_env_vars });
            }
        }
        Ok(channels)
    }

    async fn add_conda(
        &self,
        builder: &mut LockFileBuilder,
        subdir: Subdir,
        spec: &LockSpec,
        client: &Client,
        gone: &mut Vec<Url>,
    ) -> Result<(), Error> {
        let packages: Vec<&LockedPackage> = self.of(subdir, Manager::Conda);
        let names = packages.iter().filter_map(|package| package.name.parse::<PackageName>().ok());
        let channels = self.channels.iter().map(|channel| channel.url.clone()).collect();
        let channels = LockSpec { channels, ..spec.clone() }.resolved_channels()?;
        let records = client.records_without_dependencies(&channels, subdir, names).await?;
        let live = by_url(&records);
        for package in packages {
            let Some(record) = live.get(&package.url) else {
                gone.push(package.url.clone());
                continue;
            };
            check_hash(package, record)?;
            let data = CondaPackageData::from((*record).clone());
            builder.add_conda_package(ENVIRONMENT, subdir.as_str(), data).map_err(refused(package.url.as_str()))?;
        }
        Ok(())
    }

    fn add_pip(&self, builder: &mut LockFileBuilder, subdir: Subdir) -> Result<(), Error> {
        let packages = self.of(subdir, Manager::Pip);
        if !packages.is_empty() {
            let indexes = PypiIndexes { indexes: vec![pypi()], find_links: Vec::new() };
            builder.set_pypi_indexes(ENVIRONMENT, indexes);
        }
        for package in packages {
            let data = PypiPackageData::Distribution(Box::new(distribution(package)?));
            builder.add_pypi_package(ENVIRONMENT, subdir.as_str(), data).map_err(refused(package.url.as_str()))?;
        }
        Ok(())
    }

    /// The packages of a subdir and manager; one of several categories once.
    fn of(&self, subdir: Subdir, manager: Manager) -> Vec<&LockedPackage> {
        let mut packages: Vec<_> = self.packages_for(subdir).filter(|package| package.manager == manager).collect();
        packages.sort_by(|a, b| a.key().cmp(&b.key()));
        packages.dedup_by(|a, b| a.name == b.name);
        packages
    }
}

fn by_url(records: &Records) -> HashMap<&Url, &RepoDataRecord> {
    records.iter().flat_map(|data| data.iter()).map(|record| (&record.url, record)).collect()
}

fn distribution(package: &LockedPackage) -> Result<PypiDistributionData, Error> {
    let url = package.url.as_str();
    let requirement = |(name, version): (&String, &String)| {
        let version = if version == "*" { "" } else { version };
        format!("{name}{version}").parse().map_err(refused(url))
    };
    let sha256 = package.sha256.as_deref().and_then(parse_digest_from_hex::<Sha256>);
    let from_pypi = package.url.host_str().is_some_and(|host| host.ends_with(".pythonhosted.org"));
    Ok(PypiDistributionData {
        name: package.name.parse().map_err(refused(url))?,
        version: package.version.parse().map_err(refused(url))?,
        location: UrlOrPath::from(package.url.clone()).into(),
        index_url: from_pypi.then(pypi),
        hash: PackageHashes::from_hashes(None, sha256),
        requires_dist: package.dependencies.iter().map(requirement).collect::<Result<_, _>>()?,
        requires_python: None,
    })
}

fn pypi() -> Url {
    Url::parse(PYPI).expect("it is one")
}

/// What pixi's format cannot express.
fn refused<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Error {
    let what = what.to_owned();
    move |error| Error::NotForPixi { what, reason: error.to_string() }
}
