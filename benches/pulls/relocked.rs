//! The same requests, locked by esker: from lock to lock, with the channel as it was known at each date.
//!
//! The requests are those of `pangeo-cases`, each until the next; a record is in the channel from the day that some lock
//! first had it. Each policy starts from a lock of its own.

use std::error::Error;
use std::path::{Path, PathBuf};

use esker::channel::{Client, Options};
use esker::lock::{Lock, LockSpec, Relock, relock};
use esker::progress::Silent;
use esker::project::{
    AptPolicy, DebianSettings, Environment, ImageSpec, Mirror, RelockPolicy, Relocking, Strip, VirtualPackages,
};
use rattler_conda_types::Subdir;
use serde_json::{Map, Value};

use super::history::{Book, Locked, open, shared};

const DAY: i64 = 24 * 3600;

/// pangeo-notebook as `policy` locks it at each of `times`.
pub async fn locks(policy: RelockPolicy, times: &[i64], book: &Book) -> Result<Vec<Locked>, Box<dyn Error>> {
    let channel = Channel::read()?;
    let cases = cases()?;
    let mut existing: Option<Lock> = None;
    let mut locks = Vec::new();
    for &time in times {
        let Some((_, folder)) = cases.iter().rev().find(|(since, _)| *since <= time) else { continue };
        let work = tempfile::tempdir()?;
        channel.write(work.path(), time + DAY)?;
        let mirror = Mirror {
            from: "https://conda.anaconda.org/conda-forge/".parse()?,
            to: url::Url::from_directory_path(work.path()).map_err(|()| "the folder is not absolute")?,
        };
        let client = Client::new(Options { mirrors: vec![mirror], ..Options::new(work.path().join("cache")) })?;
        let how = Relock {
            existing: existing.as_ref(),
            like: None,
            policy,
            rebuilds: false,
            update: &[],
            recursive: false,
            refresh: &[],
            cutoff: None,
            cutoff_exempt: &[],
        };
        let lock = relock(&spec(folder)?, &how, &client, &Silent).await?.lock;
        let versions =
            lock.packages_for(Subdir::Linux64).map(|package| (package.name.clone(), package.version.clone()));
        locks.push(Locked { time, packages: book.candidates(&lock, time), versions: versions.collect() });
        existing = Some(lock);
    }
    Ok(locks)
}

/// The folders of the cases, with their day.
fn cases() -> Result<Vec<(i64, PathBuf)>, Box<dyn Error>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(shared().join("pangeo-cases"))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(day) = name.get(..10).filter(|_| path.is_dir()) else { continue };
        let midnight: jiff::Timestamp = format!("{day}T00:00:00Z").parse()?;
        cases.push((midnight.as_second(), path));
    }
    cases.sort();
    Ok(cases)
}

fn spec(case: &Path) -> Result<LockSpec, Box<dyn Error>> {
    let folder = case.join("pangeo-notebook");
    let read = |image: &str| Environment::read(&case.join(image).join("environment.yml"));
    let mut virtual_packages = VirtualPackages::default();
    let packages = virtual_packages.subdirs.entry(Subdir::Linux64).or_default();
    packages.extend([("__cuda", "12.9"), ("__glibc", "2.35")].map(|(name, version)| (name.into(), version.into())));
    let image = ImageSpec {
        name: "pangeo-notebook".to_owned(),
        files: folder.clone(),
        folder,
        parent: None,
        environments: vec![read("pangeo-notebook")?, read("base-notebook")?],
        platforms: vec![],
        subdirs: vec![Subdir::Linux64],
        virtual_packages,
        mirrors: vec![],
        base: None,
        env: indexmap::IndexMap::new(),
        labels: indexmap::IndexMap::new(),
        info: indexmap::IndexMap::new(),
        docker: Default::default(),
        apt: AptPolicy::Skip,
        debian: DebianSettings::default(),
        skip_link_scripts: vec![],
        strip: Strip::default(),
        layers: 80,
        sbom: false,
        cache_from: vec![],
        relocking: Relocking::default(),
    };
    Ok(LockSpec::of(&image)?)
}

/// The snapshot's repodata, and when each record was first seen.
struct Channel {
    subdirs: Vec<(&'static str, Value)>,
    seen: Map<String, Value>,
}

impl Channel {
    fn read() -> Result<Self, Box<dyn Error>> {
        let folder = shared().join("conda-forge-snapshot");
        let mut subdirs = Vec::new();
        for subdir in ["linux-64", "noarch"] {
            let path = folder.join(subdir).join("repodata.json.zst");
            subdirs.push((subdir, serde_json::from_reader(open(&path)?)?));
        }
        Ok(Self { subdirs, seen: serde_json::from_reader(open(&folder.join("seen.json.zst"))?)? })
    }

    /// Writes what had been seen by `until`.
    fn write(&self, folder: &Path, until: i64) -> Result<(), Box<dyn Error>> {
        for (subdir, whole) in &self.subdirs {
            let mut cut = whole.clone();
            for kind in ["packages", "packages.conda"] {
                let Some(records) = cut[kind].as_object_mut() else { continue };
                records.retain(|file, _| {
                    let first = self.seen.get(&format!("{subdir}/{file}")).and_then(|seen| seen[0].as_i64());
                    first.is_some_and(|first| first <= until)
                });
            }
            std::fs::create_dir_all(folder.join(subdir))?;
            std::fs::write(folder.join(subdir).join("repodata.json"), serde_json::to_vec(&cut)?)?;
        }
        Ok(())
    }
}
