//! The Debian packages of an image.

use std::collections::BTreeSet;

use crate::project::AptPolicy;
use crate::verify::report::Outcome;
use crate::verify::subject::Subject;

pub fn apt(subject: &Subject<'_>) -> Outcome {
    let text = subject.spec.file("apt.txt").and_then(|path| fs_err::read_to_string(path).ok()).unwrap_or_default();
    let wanted: Vec<&str> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .collect();
    if wanted.is_empty() {
        return Outcome::not_run("the image has no apt.txt");
    }
    let status = subject.tree.text("var/lib/dpkg/status").unwrap_or_default();
    let installed = installed(status);
    let missing: Vec<_> =
        wanted.iter().filter(|name| !installed.contains(*name)).map(|name| (*name).to_owned()).collect();
    if !missing.is_empty() && subject.spec.apt == AptPolicy::Skip {
        return Outcome::not_run(format!("`apt: skip` leaves out {}", missing.join(", ")));
    }
    Outcome::of_faults("packages of apt.txt are not installed", missing)
}

/// The names of the packages that dpkg's status file calls installed.
fn installed(status: &str) -> BTreeSet<&str> {
    status
        .split("\n\n")
        .filter(|paragraph| paragraph.lines().any(|line| line == "Status: install ok installed"))
        .filter_map(|paragraph| paragraph.lines().find_map(|line| line.strip_prefix("Package: ")))
        .collect()
}
