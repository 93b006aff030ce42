//! What pangeo's images were locked to, and what is known of the packages, out of `../shared` (or `ESKER_SHARED`).

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use esker::build::native::plan::Candidate;
use esker::lock::{Lock, LockedPackage};
use rattler_conda_types::Subdir;
use serde::Deserialize;

/// One lock of one image.
pub struct Locked {
    /// Seconds since 1970.
    pub time: i64,
    pub packages: Vec<Candidate>,
    /// By the packages' names.
    pub versions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Line {
    date: jiff::Timestamp,
    image: String,
    packages: Vec<Package>,
}

#[derive(Clone, Deserialize)]
struct Package {
    name: String,
    version: String,
    subdir: String,
    #[serde(rename = "fn")]
    file: String,
    md5: String,
    sha256: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Repodata {
    #[serde(default)]
    packages: HashMap<String, Record>,
    #[serde(default, rename = "packages.conda")]
    conda: HashMap<String, Record>,
}

#[derive(Deserialize)]
struct Record {
    depends: Vec<String>,
    size: Option<u64>,
    timestamp: Option<u64>,
}

pub fn shared() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    std::env::var_os("ESKER_SHARED").map_or_else(beside, PathBuf::from)
}

/// Reads a compressed file.
pub fn open(path: &Path) -> Result<impl BufRead + use<>, Box<dyn std::error::Error>> {
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufReader::new(zstd::Decoder::new(file)?))
}

/// The records of the snapshot by `SUBDIR/FILE`, and when each file was first seen in a lock.
struct Snapshot {
    records: HashMap<String, Record>,
    seen: HashMap<String, (u64, u64)>,
}

impl Snapshot {
    fn read(shared: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = shared.join("conda-forge-snapshot");
        let mut records = HashMap::new();
        for subdir in ["linux-64", "noarch"] {
            let repodata: Repodata = serde_json::from_reader(open(&folder.join(subdir).join("repodata.json.zst"))?)?;
            let all = repodata.packages.into_iter().chain(repodata.conda);
            records.extend(all.map(|(file, record)| (format!("{subdir}/{file}"), record)));
        }
        let seen = serde_json::from_reader(open(&folder.join("seen.json.zst"))?)?;
        Ok(Self { records, seen })
    }

    fn size(&self, package: &Package) -> Option<u64> {
        package.size.or_else(|| self.records.get(&package.path())?.size)
    }

    fn candidate(&self, package: &Package, time: i64, sizes: &Sizes) -> Candidate {
        let record = self.records.get(&package.path());
        let millis = record.and_then(|record| record.timestamp);
        // Older records have seconds.
        let built = millis.map(|time| if time > 100_000_000_000 { time / 1000 } else { time });
        let first_seen = || self.seen.get(&package.path()).map(|(first, _)| *first);
        let depends = record.map_or(&[][..], |record| record.depends.as_slice());
        let pins = depends.iter().filter_map(|spec| {
            let mut words = spec.split_whitespace();
            let (name, wanted) = (words.next()?, words.next()?);
            (wanted.strip_prefix("==").unwrap_or(wanted) == package.version).then(|| name.to_owned())
        });
        Candidate {
            name: package.name.clone(),
            id: package.id().to_owned(),
            size: self.size(package).unwrap_or_else(|| sizes.guess(package, time)),
            built: built.or_else(first_seen).unwrap_or_else(|| u64::try_from(time).unwrap_or_default()),
            noarch: package.subdir == "noarch",
            pins: pins.collect(),
        }
    }
}

impl Package {
    fn path(&self) -> String {
        format!("{}/{}", self.subdir, self.file)
    }

    fn id(&self) -> &str {
        self.sha256.as_deref().unwrap_or(&self.md5)
    }
}

/// Sizes that are known, to guess the others by: a package's is that of its name nearest in time, else the subdir's
/// median. What a file was guessed to weigh first, it weighs ever after.
#[derive(Default)]
struct Sizes {
    by_name: BTreeMap<String, BTreeMap<i64, u64>>,
    medians: HashMap<String, u64>,
    first: HashMap<String, i64>,
}

impl Sizes {
    fn of(lines: &[Line], snapshot: &Snapshot) -> Self {
        let mut sizes = Self::default();
        let mut by_subdir: HashMap<String, Vec<u64>> = HashMap::new();
        for (path, record) in &snapshot.records {
            let subdir = path.split('/').next().unwrap_or_default();
            by_subdir.entry(subdir.to_owned()).or_default().extend(record.size);
        }
        for (subdir, mut all) in by_subdir {
            all.sort_unstable();
            sizes.medians.insert(subdir, all.get(all.len() / 2).copied().unwrap_or_default());
        }
        for line in lines {
            let time = line.date.as_second();
            for package in &line.packages {
                sizes.first.entry(package.id().to_owned()).or_insert(time);
                if let Some(size) = snapshot.size(package) {
                    sizes.by_name.entry(package.name.clone()).or_default().insert(time, size);
                }
            }
        }
        sizes
    }

    fn guess(&self, package: &Package, time: i64) -> u64 {
        let time = self.first.get(package.id()).copied().unwrap_or(time);
        let known = self.by_name.get(&package.name);
        let nearest = known.and_then(|known| known.iter().min_by_key(|(at, _)| (**at - time).abs()));
        let median = || self.medians.get(&package.subdir).copied().unwrap_or_default();
        nearest.map_or_else(median, |(_, size)| *size)
    }
}

/// What is known of packages.
pub struct Book {
    snapshot: Snapshot,
    sizes: Sizes,
}

impl Book {
    /// The packages of a lock for linux-64.
    pub fn candidates(&self, lock: &Lock, time: i64) -> Vec<Candidate> {
        let package = |package: &LockedPackage| Package {
            name: package.name.clone(),
            version: package.version.clone(),
            subdir: if package.is_noarch() { "noarch" } else { "linux-64" }.to_owned(),
            file: package.file_name().to_owned(),
            md5: package.md5.clone().unwrap_or_default(),
            sha256: package.sha256.clone(),
            size: None,
        };
        let packages = lock.packages_for(Subdir::Linux64).map(package);
        packages.map(|package| self.snapshot.candidate(&package, time, &self.sizes)).collect()
    }
}

/// Locks by image, the oldest first.
pub type History = BTreeMap<String, Vec<Locked>>;

/// Every lock of these images since a time; locks that lock the same are one.
pub fn read(images: &[&str], since: i64) -> Result<(History, Book), Box<dyn std::error::Error>> {
    let shared = shared();
    let snapshot = Snapshot::read(&shared)?;
    let mut lines = Vec::new();
    for line in open(&shared.join("pangeo-lock-history.jsonl.zst"))?.lines() {
        let line = line?;
        if images.iter().any(|image| line.contains(&format!("\"image\":\"{image}\""))) {
            lines.push(serde_json::from_str::<Line>(&line)?);
        }
    }
    lines.sort_by_key(|line| line.date);
    let sizes = Sizes::of(&lines, &snapshot);
    let mut history = History::new();
    for line in lines.iter().filter(|line| line.date.as_second() >= since) {
        let time = line.date.as_second();
        let packages: Vec<_> = line.packages.iter().map(|package| snapshot.candidate(package, time, &sizes)).collect();
        let locks = history.entry(line.image.clone()).or_default();
        let ids =
            |packages: &[Candidate]| packages.iter().map(|p| p.id.clone()).collect::<std::collections::BTreeSet<_>>();
        if locks.last().is_none_or(|last| ids(&last.packages) != ids(&packages)) {
            let versions =
                line.packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect();
            locks.push(Locked { time, packages, versions });
        }
    }
    Ok((history, Book { snapshot, sizes }))
}
