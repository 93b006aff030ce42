use proptest::prelude::*;
use rattler_conda_types::package::{BuildString, CondaArchiveIdentifier, DistArchiveIdentifier};
use rattler_conda_types::{PackageName, PackageRecord, ParseStrictness, Version};
use rattler_solve::resolvo::Solver;
use rattler_solve::{SolverImpl, SolverTask};

use super::*;

fn record(name: &str, version: &str, depends: &[String]) -> RepoDataRecord {
    let file_name = format!("{name}-{version}-h_0.conda");
    let mut package = PackageRecord::new(
        name.parse::<PackageName>().unwrap(),
        version.parse::<Version>().unwrap(),
        "h_0".parse::<BuildString>().unwrap(),
    );
    package.depends = depends.to_vec();
    RepoDataRecord {
        package_record: package,
        identifier: DistArchiveIdentifier::from(file_name.parse::<CondaArchiveIdentifier>().unwrap()),
        url: format!("https://host/{file_name}").parse().unwrap(),
        channel: Some("https://host/".into()),
    }
}

fn spec(text: &str) -> MatchSpec {
    MatchSpec::from_str(text, ParseStrictness::Lenient).unwrap()
}

fn glibc() -> Vec<GenericVirtualPackage> {
    let package = GenericVirtualPackage {
        name: "__glibc".parse().unwrap(),
        version: "2.28".parse().unwrap(),
        build_string: "0".parse().unwrap(),
    };
    vec![package]
}

fn stays(records: &[RepoDataRecord], specs: &[&str]) -> String {
    let specs: Vec<MatchSpec> = specs.iter().map(|text| spec(text)).collect();
    names(&kept(records, &specs, &[]))
}

fn names(records: &[&RepoDataRecord]) -> String {
    let text = |record: &&RepoDataRecord| {
        format!("{}{}", record.package_record.name.as_normalized(), record.package_record.version)
    };
    records.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// What is left of `records` beside `pins`.
fn kept<'a>(records: &'a [RepoDataRecord], specs: &[MatchSpec], pins: &[&RepoDataRecord]) -> Vec<&'a RepoDataRecord> {
    let all: Vec<_> = records.iter().cloned().map(Arc::new).collect();
    let left = Possible::new(all.iter(), specs, &glibc()).left(pins, &[]).unwrap();
    records.iter().zip(left.stays).filter_map(|(record, stays)| stays.then_some(record)).collect()
}

fn records(lines: &[(&str, &str, &[&str])]) -> Vec<RepoDataRecord> {
    let owned = |depends: &[&str]| depends.iter().map(|depend| (*depend).to_owned()).collect::<Vec<_>>();
    lines.iter().map(|(name, version, depends)| record(name, version, &owned(depends))).collect()
}

#[test]
fn what_needs_another_python_or_nothing_there_is_goes() {
    let records = records(&[
        ("python", "3.11", &[]),
        ("python", "3.12", &[]),
        ("abi", "3.11", &["python 3.11.*"]),
        ("abi", "3.12", &["python 3.12.*"]),
        ("a", "1", &["abi 3.11.*"]),
        ("a", "2", &["abi 3.12.*", "__glibc >=2.17"]),
        ("a", "3", &["abi 3.12.*", "__glibc >=2.34"]),
        ("a", "4", &["abi 3.12.*", "__cuda"]),
        ("a", "5", &["abi 3.12.*", "nowhere"]),
    ]);
    assert_eq!(stays(&records, &["python=3.12", "a"]), "python3.12 abi3.12 a2");
    assert_eq!(stays(&records, &["a", "python"]), "python3.11 python3.12 abi3.11 abi3.12 a1 a2");
}

#[test]
fn what_all_require_leaves_no_room_for_the_rest() {
    let records = records(&[
        ("meta", "1", &["b 1.*"]),
        ("meta", "2", &["b >=2,<4"]),
        ("b", "1", &["c <2"]),
        ("b", "3", &["c <3"]),
        ("b", "4", &["c"]),
        ("c", "1", &[]),
        ("c", "2", &[]),
        ("c", "3", &[]),
    ]);
    assert_eq!(stays(&records, &["meta"]), "meta1 meta2 b1 b3 c1 c2");
    assert_eq!(stays(&records, &["meta >1"]), "meta2 b3 c1 c2");
}

#[test]
fn where_channels_decide_nothing_is_judged() {
    let mut records = records(&[("a", "1", &[]), ("a", "2", &[]), ("b", "1", &["a >=2"]), ("b", "2", &["a >=3"])]);
    records[1].channel = Some("https://other/".into());
    assert_eq!(stays(&records, &["b", "a <2"]), "a1 a2 b1");
}

#[test]
fn what_only_other_versions_of_pins_lead_to_goes() {
    let records = records(&[
        ("a", "1", &["b >=1"]),
        ("a", "2", &["c"]),
        ("b", "1", &["d"]),
        ("b", "2", &[]),
        ("c", "1", &["d"]),
        ("d", "1", &["a"]),
        ("e", "1", &[]),
    ]);
    let beside = |pins: &[&RepoDataRecord]| names(&kept(&records, &[spec("a")], pins));
    assert_eq!(beside(&[]), "a1 a2 b1 b2 c1 d1");
    assert_eq!(beside(&[&records[0]]), "b1 b2 d1");
    assert_eq!(beside(&[&records[0], &records[3]]), "");
    assert_eq!(beside(&[&records[6]]), "a1 a2 b1 b2 c1 d1");
}

#[test]
fn pins_that_refuse_each_other_are_hopeless() {
    let records =
        records(&[("a", "1", &["b 1.*"]), ("a", "2", &["b"]), ("b", "1", &[]), ("b", "2", &[]), ("c", "1", &[])]);
    let all: Vec<_> = records.iter().cloned().map(Arc::new).collect();
    let possible = Possible::new(all.iter(), &[spec("a")], &glibc());
    let hopeless = |pins: &[usize], also: &[MatchSpec]| {
        possible.left(&pins.iter().map(|pin| &records[*pin]).collect::<Vec<_>>(), also).unwrap().hopeless
    };
    assert!(hopeless(&[0, 3], &[]) && hopeless(&[0], &[spec("b >1")]));
    assert!(!hopeless(&[1, 3], &[]) && !hopeless(&[0, 2], &[spec("b <2")]));
    let unknown = record("b", "3", &[]);
    assert!(possible.left(&[&unknown], &[]).is_none());
}

fn solved<'a>(lists: Vec<Vec<&'a RepoDataRecord>>, specs: &[MatchSpec], pins: &[&'a RepoDataRecord]) -> bool {
    let task = SolverTask {
        specs: specs.to_vec(),
        virtual_packages: glibc(),
        pinned_packages: pins.to_vec(),
        ..lists.into_iter().collect()
    };
    Solver.solve(task).is_ok()
}

const VERSIONS: [&str; 6] = ["", ">=2", "<2", "1.*", "!=2", ">=3"];

fn line() -> impl Strategy<Value = String> {
    (0..6_u8, prop::sample::select(VERSIONS.to_vec())).prop_map(|(name, version)| format!("p{name} {version}"))
}

proptest! {
    #[test]
    fn nothing_goes_that_an_answer_could_have(
        lines in prop::collection::vec((0..6_u8, 1..4_u8, prop::collection::vec(line(), 0..3)), 6..20),
        asked in prop::collection::vec(line(), 1..4),
        pinned in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut seen = HashSet::new();
        let lines = lines.iter().filter(|(name, version, _)| seen.insert((*name, *version)));
        let records: Vec<RepoDataRecord> =
            lines.map(|(name, version, depends)| record(&format!("p{name}"), &version.to_string(), depends)).collect();
        let specs: Vec<MatchSpec> = asked.iter().map(|line| spec(line)).collect();
        let all = || vec![records.iter().collect::<Vec<_>>()];
        let shared: Vec<_> = records.iter().cloned().map(Arc::new).collect();
        let possible = Possible::new(shared.iter(), &specs, &glibc());
        for (gone, _) in records.iter().zip(&possible.state.stays).filter(|(_, stays)| !**stays) {
            let package = &gone.package_record;
            let mut with_it = specs.clone();
            with_it.push(spec(&format!("{} =={}", package.name.as_normalized(), package.version)));
            prop_assert!(!solved(all(), &with_it, &[]), "{}", gone.url);
        }
        let mut names = HashSet::new();
        let first = |pin: &&RepoDataRecord| names.insert(pin.package_record.name.clone());
        let pins: Vec<_> = pinned.iter().map(|pin| pin.get(&records)).filter(first).collect();
        for pins in [&[], &pins[..]] {
            let left = possible.left(pins, &[]).unwrap();
            let kept = records.iter().zip(&left.stays).filter_map(|(record, stays)| stays.then_some(record));
            let solvable = solved(all(), &specs, pins);
            prop_assert_eq!(solvable, solved(vec![kept.collect()], &specs, pins));
            prop_assert!(!(solvable && left.hopeless));
        }
    }
}
