//! Which files a Debian package has: dpkg's lists, one a package.

use std::collections::BTreeMap;

const LISTS: &str = "var/lib/dpkg/info/";

/// Whether `path` is a list of a package's files.
pub fn is_list(path: &str) -> bool {
    path.strip_prefix(LISTS).is_some_and(|name| name.ends_with(".list") && !name.contains('/'))
}

/// The files of the package `name` of `architecture`, relative to `/`, out of the lists in `files`.
pub fn files_of(files: &BTreeMap<String, Vec<u8>>, name: &str, architecture: &str) -> Vec<String> {
    let lists = [format!("{LISTS}{name}:{architecture}.list"), format!("{LISTS}{name}.list")];
    let Some(list) = lists.iter().find_map(|path| files.get(path)) else { return Vec::new() };
    let text = String::from_utf8_lossy(list);
    let paths = text.lines().map(|line| line.trim_start_matches('/'));
    // Where `/bin` is a link to `/usr/bin`, packages may still list `/bin/sh`.
    paths.filter(|path| !path.is_empty()).flat_map(|path| [path.to_owned(), format!("usr/{path}")]).collect()
}
