//! Which records a solve can come across when nearly everything is pinned.
//!
//! A pinned name has one candidate. What only its other versions lead to, and those versions, cannot be in the answer; left
//! out beforehand, a solve with everything pinned costs a twentieth. That is the first question about a lock that was
//! there, and mostly the last: working out what is possible at all (`possible`) would cost more than it saves.

use std::collections::{HashMap, HashSet};

use rattler_conda_types::{MatchSpec, PackageName, RepoDataRecord};

/// Of `records`, in their order, those of names that `specs` lead to through what is pinned; of pinned names none, as the
/// solver adds the pins themselves.
pub(super) fn reachable<'a>(
    records: Vec<Vec<&'a RepoDataRecord>>,
    specs: &[MatchSpec],
    pins: &[&'a RepoDataRecord],
) -> Vec<Vec<&'a RepoDataRecord>> {
    if pins.is_empty() {
        return records;
    }
    let mut by_name: HashMap<&str, Vec<&RepoDataRecord>> = HashMap::new();
    for record in records.iter().flatten() {
        by_name.entry(name(record)).or_default().push(record);
    }
    let pinned: HashSet<&str> = pins.iter().map(|record| name(record)).collect();
    by_name.extend(pins.iter().map(|record| (name(record), vec![*record])));
    let roots = specs.iter().filter_map(|spec| spec.name.as_exact()).map(|name| name.as_normalized().to_owned());
    let mut todo: Vec<String> = roots.collect();
    let mut reached: HashSet<String> = todo.iter().cloned().collect();
    while let Some(next) = todo.pop() {
        for record in by_name.get(next.as_str()).into_iter().flatten() {
            let package = &record.package_record;
            for requirement in package.depends.iter().chain(package.extra_depends.values().flatten()) {
                let name = PackageName::normalized_name_from_matchspec_str(requirement);
                if !reached.contains(name.as_ref()) {
                    reached.insert(name.to_string());
                    todo.push(name.into_owned());
                }
            }
        }
    }
    let stays = |record: &&RepoDataRecord| reached.contains(name(record)) && !pinned.contains(name(record));
    records.into_iter().map(|records| records.into_iter().filter(stays).collect()).collect()
}

fn name(record: &RepoDataRecord) -> &str {
    record.package_record.name.as_normalized()
}

#[cfg(test)]
mod tests {
    use rattler_conda_types::package::{CondaArchiveIdentifier, DistArchiveIdentifier};
    use rattler_conda_types::{PackageRecord, ParseStrictness, Version};

    use super::*;

    fn record(name: &str, version: u64, depends: &[&str]) -> RepoDataRecord {
        let file_name = format!("{name}-{version}-h_0.conda");
        let mut package = PackageRecord::new(
            name.parse::<PackageName>().unwrap(),
            version.to_string().parse::<Version>().unwrap(),
            "h_0".parse::<rattler_conda_types::package::BuildString>().unwrap(),
        );
        package.depends = depends.iter().map(|depend| (*depend).to_owned()).collect();
        RepoDataRecord {
            package_record: package,
            identifier: DistArchiveIdentifier::from(file_name.parse::<CondaArchiveIdentifier>().unwrap()),
            url: format!("https://host/{file_name}").parse().unwrap(),
            channel: None,
        }
    }

    fn names(records: &[Vec<&RepoDataRecord>]) -> String {
        let text = |record: &&RepoDataRecord| format!("{}{}", name(record), record.package_record.version);
        records.iter().flatten().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_only_other_versions_of_pins_lead_to_is_left_out() {
        let all = [
            record("a", 1, &["b >=1"]),
            record("a", 2, &["c"]),
            record("b", 1, &["d"]),
            record("b", 2, &[]),
            record("c", 1, &["d"]),
            record("d", 1, &["a"]),
            record("e", 1, &[]),
        ];
        let records = || vec![all.iter().collect(), vec![]];
        let specs = [MatchSpec::from_str("a", ParseStrictness::Lenient).unwrap()];
        assert_eq!(names(&reachable(records(), &specs, &[])), "a1 a2 b1 b2 c1 d1 e1");
        assert_eq!(names(&reachable(records(), &specs, &[&all[0]])), "b1 b2 d1");
        assert_eq!(names(&reachable(records(), &specs, &[&all[0], &all[3]])), "");
        assert_eq!(names(&reachable(records(), &specs, &[&all[6]])), "a1 a2 b1 b2 c1 d1");
    }
}
