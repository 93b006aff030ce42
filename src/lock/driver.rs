//! Locked builds that constrain a virtual package more than the image's machines promise.
//!
//! conda's solvers and conda-lock weigh `constrains: __cuda >=12.8` only if something depends on `__cuda`; rattler's always
//! does. A lock that another tool made, and that answers its environment, would so lose its builds at the first change of
//! anything else. Whoever asks for no news of such a package keeps it, and is told.

use std::sync::Arc;

use rattler_conda_types::{GenericVirtualPackage, MatchSpec, Matches, ParseStrictness, RepoDataRecord};

use super::favour::Picks;

/// A record that is kept though it constrains a virtual package to another version.
pub(super) struct Tolerated {
    /// The record, without the constraints.
    pub record: Arc<RepoDataRecord>,
    /// The constraints.
    pub constraints: Vec<String>,
}

/// Lifts such constraints from `picks`, and returns what they were lifted from.
pub(super) fn tolerated(picks: &mut Picks, machine: &[GenericVirtualPackage]) -> Vec<Tolerated> {
    let mut found = Vec::new();
    for record in picks.values_mut() {
        let refused = |spec: &String| is_refused(spec, machine);
        let (lifted, stay): (Vec<String>, Vec<String>) =
            record.package_record.constrains.iter().cloned().partition(refused);
        if !lifted.is_empty() {
            Arc::make_mut(record).package_record.constrains = stay;
            found.push(Tolerated { record: Arc::clone(record), constraints: lifted });
        }
    }
    found
}

/// Whether `spec` is about a virtual package that is there, and not met by it.
fn is_refused(spec: &str, machine: &[GenericVirtualPackage]) -> bool {
    let parsed = || MatchSpec::from_str(spec, ParseStrictness::Lenient).ok();
    let Some(spec) = spec.trim_start().starts_with("__").then(parsed).flatten() else { return false };
    machine.iter().any(|package| spec.name.as_exact() == Some(&package.name) && !spec.matches(package))
}
