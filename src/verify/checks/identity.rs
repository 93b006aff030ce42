//! Whether the image holds what its lock says.

use std::collections::{BTreeMap, BTreeSet};

use super::files::some;
use crate::lock::{Lock, LockedPackage, Manager};
use crate::oci::Platform;
use crate::verify::installed::{Installed, Prefix, plain, spelled};
use crate::verify::packages_txt as packages_txt_of;
use crate::verify::report::Outcome;
use crate::verify::subject::{ROOT_PREFIX, Subject, conda_packages};

pub fn conda(subject: &Subject<'_>) -> Outcome {
    compare(subject.lock, subject.platform(), &subject.installed)
}

pub fn root(subject: &Subject<'_>) -> Outcome {
    match subject.root {
        Some(lock) => compare(lock, subject.platform(), &subject.installed_root),
        None if subject.installed_root.packages.is_empty() => Outcome::not_run("the image has no root prefix"),
        None => Outcome::failed("the image has a root prefix but no lock for it"),
    }
}

/// A record lists what was installed: a file less, and conda or pip would remove or repair what is not there. What the
/// project strips is in records all the same where another installer wrote them.
pub fn files(subject: &Subject<'_>) -> Outcome {
    let root = (!subject.is_root()).then_some((ROOT_PREFIX, &subject.installed_root));
    let prefixes = [(subject.prefix, &subject.installed)].into_iter().chain(root);
    let missing = prefixes.flat_map(|(prefix, installed)| {
        let conda = installed.packages.values().flat_map(|package| &package.files);
        let files = conda.chain(installed.wheels.iter().flat_map(|wheel| &wheel.files));
        let kept = files.filter(|file| !subject.spec.strip.takes(file));
        kept.map(move |file| format!("{prefix}/{file}")).filter(|path| !subject.tree.nodes.contains_key(path))
    });
    Outcome::of_faults("files that records list are not there", some(missing, |path| format!("/{path}")))
}

/// pip's packages leave their name and version in the name of a directory (PEP 376), and no checksum. Those of conda's
/// packages are in conda's records.
pub fn pip(subject: &Subject<'_>) -> Outcome {
    let locked = subject.lock.packages_for(subject.platform().subdir()).filter(|p| p.manager == Manager::Pip);
    let locked: BTreeSet<_> = locked.map(|package| (plain(&package.name), spelled(&package.version))).collect();
    let installed: BTreeSet<_> =
        subject.installed.wheels.iter().map(|wheel| (wheel.name.clone(), wheel.version.clone())).collect();
    if locked.is_empty() && installed.is_empty() {
        return Outcome::not_run("the lock has no packages for pip");
    }
    let faults = |these: &BTreeSet<(String, String)>, others: &BTreeSet<(String, String)>, what: &str| -> Vec<String> {
        these.difference(others).map(|(name, version)| format!("{name} {version}: {what}")).collect()
    };
    let missing = faults(&locked, &installed, "locked but not installed");
    let extra = faults(&installed, &locked, "installed but not locked");
    Outcome::of_faults("what pip installed is not what is locked", [missing, extra].concat())
}

pub fn packages_txt(subject: &Subject<'_>) -> Outcome {
    let locked = subject.lock.packages_txt(subject.platform().subdir());
    let installed = packages_txt_of(&subject.installed, subject.platform());
    let only_in = |one: &str, other: &str, place: &str| -> Vec<String> {
        let other: BTreeSet<_> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).map(|line| format!("{line}: only in {place}")).collect()
    };
    let faults = [only_in(&locked, &installed, "the lock"), only_in(&installed, &locked, "the image")].concat();
    Outcome::of_faults("the image's packages.txt is not the lock's", faults)
}

fn compare(lock: &Lock, platform: Platform, prefix: &Prefix) -> Outcome {
    let locked: BTreeMap<_, _> = conda_packages(lock, platform).map(|package| (&package.name, package)).collect();
    if locked.is_empty() {
        return Outcome::failed(format!("the lock has no packages for {}", platform.subdir()));
    }
    let mut faults = prefix.broken.clone();
    for (name, package) in &locked {
        match prefix.packages.get(*name) {
            Some(installed) => faults.extend(differences(package, installed)),
            None => faults.push(format!("{name}: locked but not installed")),
        }
    }
    let extra = prefix.packages.keys().filter(|name| !locked.contains_key(name));
    faults.extend(extra.map(|name| format!("{name}: installed but not locked")));
    Outcome::of_faults("what is installed is not what is locked", faults)
}

fn differences(locked: &LockedPackage, installed: &Installed) -> Vec<String> {
    let name = &locked.name;
    let mut faults = Vec::new();
    let mut expect = |what: &str, locked: Option<&str>, installed: Option<&str>| {
        if locked.is_some() && locked != installed {
            let shown = |value: Option<&str>| value.unwrap_or("nothing").to_owned();
            faults.push(format!("{name}: {what} {} is locked, {} is installed", shown(locked), shown(installed)));
        }
    };
    expect("version", Some(&locked.version), Some(&installed.version));
    expect("build", locked.build(), Some(&installed.build));
    match (&locked.sha256, &installed.sha256) {
        (Some(_), Some(_)) => expect("sha256", locked.sha256.as_deref(), installed.sha256.as_deref()),
        _ => expect("md5", locked.md5.as_deref(), installed.md5.as_deref()),
    }
    faults
}
