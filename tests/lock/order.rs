//! The same inputs in another order, or on other numbers of threads, give the same bytes.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use esker::project::Mirror;
use proptest::prelude::*;
use url::Url;

use super::*;

/// A record of one of a few names, with requirements that cannot all be met by the newest.
#[derive(Clone, Debug)]
struct Record {
    name: u8,
    version: u8,
    build: u8,
    noarch: bool,
    depends: Vec<(u8, &'static str)>,
}

/// One order of everything: lines, subdirs' records, and the keys of each.
#[derive(Clone, Copy, Debug)]
struct Order(u64);

impl Order {
    fn of<T>(self, items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> String) -> Vec<T> {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_by_cached_key(|item| {
            let mut hasher = DefaultHasher::new();
            (self.0, key(item)).hash(&mut hasher);
            hasher.finish()
        });
        items
    }

    fn object(self, entries: Vec<(String, String)>) -> String {
        let entries = self.of(entries, |(key, _)| key.clone());
        let entries = entries.iter().map(|(key, value)| format!("\"{key}\": {value}"));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
    }
}

impl Record {
    fn subdir(&self) -> &'static str {
        if self.noarch { "noarch" } else { "linux-64" }
    }

    fn file_name(&self) -> String {
        format!("p{}-{}-b_{}.conda", self.name, self.version, self.build)
    }

    fn json(&self, order: Order) -> String {
        let depends: Vec<String> =
            self.depends.iter().map(|(name, version)| format!("\"p{name} {version}\"")).collect();
        let hash = hex::encode([self.name, self.version, self.build, u8::from(self.noarch)]);
        order.object(vec![
            ("name".into(), format!("\"p{}\"", self.name)),
            ("version".into(), format!("\"{}\"", self.version)),
            ("build".into(), format!("\"b_{}\"", self.build)),
            ("build_number".into(), self.build.to_string()),
            ("subdir".into(), format!("\"{}\"", self.subdir())),
            ("depends".into(), format!("[{}]", depends.join(", "))),
            ("md5".into(), format!("\"{}\"", hash.repeat(4))),
            ("sha256".into(), format!("\"{}\"", hash.repeat(8))),
        ])
    }
}

fn write_channel(folder: &Path, records: &[Record], order: Order) {
    for subdir in ["noarch", "linux-64"] {
        let of_subdir = records.iter().filter(|record| record.subdir() == subdir);
        let packages = of_subdir.map(|record| (record.file_name(), record.json(order))).collect();
        let repodata = order.object(vec![
            ("info".into(), format!("{{\"subdir\": \"{subdir}\"}}")),
            ("packages".into(), "{}".into()),
            ("packages.conda".into(), order.object(packages)),
        ]);
        fs_err::create_dir_all(folder.join(subdir)).expect("a folder");
        fs_err::write(folder.join(subdir).join("repodata.json"), repodata).expect("a file");
    }
}

/// The lock of an image that asks for `lines`, if there is one.
fn locked(records: &[Record], lines: &[String], existing: Option<&Lock>, order: Order, jobs: usize) -> Option<Lock> {
    let world = world(&TinyChannel::new());
    let channel = world.folder.path().join("shuffled");
    write_channel(&channel, records, order);
    let lines = order.of(lines, |line| (*line).clone());
    let mut image = world.image(&lines.iter().map(|line| line.as_str()).collect::<Vec<_>>());
    image.subdirs = vec![Subdir::Linux64];
    let to = Url::from_directory_path(&channel).expect("an absolute folder");
    let mirrors = vec![Mirror { from: CONDA_FORGE.parse().expect("a URL"), to }];
    let options = Options { mirrors, jobs, ..Options::new(world.folder.path().join("cache")) };
    let client = Client::new(options).expect("a client");
    let spec = LockSpec::of(&image).expect("a request");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(jobs).enable_all().build();
    match runtime.expect("a runtime").block_on(solve(&spec, existing, &client, &Silent)) {
        Ok(lock) => Some(lock),
        Err(Error::Unsolvable { .. } | Error::UnknownPackages { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}

fn files(lock: Option<&Lock>) -> String {
    lock.map_or("none".into(), |lock| lock.to_conda_lock_yaml() + &lock.explicit(Subdir::Linux64))
}

const VERSIONS: [&str; 7] = ["", ">=2", "<2", "1.*", "!=2", ">=3", "<3"];

fn records() -> impl Strategy<Value = Vec<Record>> {
    let depends = || prop::collection::vec((0..8_u8, prop::sample::select(VERSIONS.to_vec())), 0..3);
    let record = (0..8_u8, 1..4_u8, 0..2_u8, any::<bool>(), depends());
    prop::collection::vec(record, 12..48).prop_map(|records| {
        let mut seen = BTreeSet::new();
        let records = records.into_iter().map(|(name, version, build, noarch, mut depends)| {
            depends.retain(|(other, _)| *other != name);
            Record { name, version, build, noarch, depends }
        });
        records.filter(|record| seen.insert(record.file_name())).collect()
    })
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let lines = prop::collection::btree_map(0..8_u8, prop::sample::select(VERSIONS.to_vec()), 1..5);
    lines.prop_map(|lines| lines.iter().map(|(name, version)| format!("p{name} {version}").trim().to_owned()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn neither_order_nor_threads_change_a_byte(
        records in records(), lines in lines(), more in lines(), seeds in prop::array::uniform3(any::<u64>())
    ) {
        let runs = seeds.map(Order).into_iter().zip([1, 2, 8]);
        let first = locked(&records, &lines, None, Order(0), 2);
        for (order, jobs) in runs.clone() {
            let again = locked(&records, &lines, None, order, jobs);
            prop_assert_eq!(files(first.as_ref()), files(again.as_ref()));
        }
        let Some(existing) = first else { return Ok(()) };
        let before = locked(&records, &more, Some(&existing), Order(0), 2);
        for (order, jobs) in runs {
            let again = locked(&records, &more, Some(&existing), order, jobs);
            prop_assert_eq!(files(before.as_ref()), files(again.as_ref()));
        }
    }
}
