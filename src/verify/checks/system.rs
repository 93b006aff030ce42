//! The Debian packages of an image.

use std::collections::BTreeMap;

use crate::project::AptPolicy;
use crate::verify::report::Outcome;
use crate::verify::subject::Subject;

pub fn apt(subject: &Subject<'_>) -> Outcome {
    let wanted = match subject.spec.apt_packages() {
        Ok(wanted) => wanted,
        Err(error) => return Outcome::of_faults("apt.txt cannot be read", vec![error.to_string()]),
    };
    if wanted.is_empty() {
        return Outcome::not_run("the image has no apt.txt");
    }
    let status = subject.tree.text("var/lib/dpkg/status").unwrap_or_default();
    let installed = installed(status);
    let is_installed = |word: &&String| {
        let (name, version) = word.split_once('=').map_or((word.as_str(), None), |(name, v)| (name, Some(v)));
        let name = name.split([':', '/']).next().unwrap_or(name);
        installed.get(name).is_some_and(|found| version.is_none_or(|version| found.contains(&version)))
    };
    let missing: Vec<String> = wanted.iter().filter(|word| !is_installed(word)).cloned().collect();
    if !missing.is_empty() && subject.spec.apt == AptPolicy::Skip {
        return Outcome::not_run(format!("`apt: skip` leaves out {}", missing.join(", ")));
    }
    Outcome::of_faults("packages of apt.txt are not installed", missing)
}

/// The versions of the packages that dpkg's status file calls installed, by every name that they go by.
fn installed(status: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut installed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        if field("Status: ") != Some("install ok installed") {
            continue;
        }
        let version = field("Version: ").unwrap_or_default();
        let provided = field("Provides: ").unwrap_or_default().split(',');
        let provided = provided.filter_map(|one| one.split(['(', ':']).next().map(str::trim));
        for name in field("Package: ").into_iter().chain(provided) {
            installed.entry(name).or_default().push(version);
        }
    }
    installed
}
