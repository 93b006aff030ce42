//! `conda-meta/history`: what was asked for and what came of it, as conda writes it. conda takes a directory with this
//! file for an environment, and `conda update` reads the requested specs from it.

use super::image::timestamp;
use super::pinned::Pinned;

/// The file for an environment of `packages`, asked for by `requested`.
pub fn history(packages: &[Pinned], requested: &[String], time: u64) -> Vec<u8> {
    let time = timestamp(time).strftime("%Y-%m-%d %H:%M:%S");
    let mut text = format!("==> {time} <==\n# cmd: esker build\n");
    let mut installed: Vec<String> = packages.iter().filter(|package| package.is_conda()).map(dist).collect();
    installed.sort();
    for line in installed {
        text.push_str(&format!("+{line}\n"));
    }
    if !requested.is_empty() {
        // A list in Python's syntax; JSON's strings are Python's.
        let specs: Vec<String> =
            requested.iter().map(|spec| serde_json::Value::from(spec.as_str()).to_string()).collect();
        text.push_str(&format!("# update specs: [{}]\n", specs.join(", ")));
    }
    text.into_bytes()
}

/// `conda-forge/linux-64::name-version-build`.
fn dist(package: &Pinned) -> String {
    let url = package.locked.public_url();
    let channel = url.path().rsplit_once('/').map_or("", |(channel, _)| channel).trim_start_matches('/');
    let file_name = package.locked.file_name();
    let stem = file_name.strip_suffix(".conda").or_else(|| file_name.strip_suffix(".tar.bz2")).unwrap_or(file_name);
    match url.host_str() {
        Some("conda.anaconda.org") => format!("{channel}::{stem}"),
        host => format!("{}://{}/{channel}::{stem}", url.scheme(), host.unwrap_or_default()),
    }
}
