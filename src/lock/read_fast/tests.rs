//! The fast reader against the YAML reader: where it answers, both say the same.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rayon::prelude::*;

use super::*;

fn package(name: &str, version: &str, subdir: Subdir, dependencies: &[(&str, &str)]) -> LockedPackage {
    let text = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
    LockedPackage {
        name: name.into(),
        version: version.into(),
        manager: Manager::Conda,
        subdir,
        dependencies: dependencies.iter().map(text).collect(),
        url: format!("https://conda.anaconda.org/conda-forge/{subdir}/{name}-{version}-h_0.conda").parse().unwrap(),
        md5: Some("0f".repeat(16)),
        sha256: Some("a1".repeat(32)),
        category: "main".into(),
        optional: false,
    }
}

fn sample() -> Lock {
    let subdirs = vec![Subdir::Linux64, Subdir::OsxArm64];
    let python = [("__glibc", ">=2.17,<3.0.a0"), ("libzlib", ">=1.3,<2.0a0"), ("tzdata", ""), ("xz", "5.2.*|>=6")];
    let mut packages = vec![
        package("libzlib", "1.10_2", Subdir::Linux64, &[]),
        package("libzlib", "5_1", Subdir::OsxArm64, &[("y", "1")]),
        package("python", "3.12.1", Subdir::Linux64, &python),
        package("tool", "1e5", Subdir::Linux64, &[("python", "3.12.*"), ("a.b-c_d", "~=12.0")]),
        package("tool", "yes", Subdir::OsxArm64, &[("python", "!=3.1"), ("ruby", "<4")]),
    ];
    (packages[2].md5, packages[3].sha256) = (None, None);
    (packages[3].category, packages[3].optional) = ("dev".into(), true);
    Lock {
        channels: vec![
            LockedChannel { url: "conda-forge".into(), used_env_vars: vec![] },
            LockedChannel { url: "https://host/t/${TOKEN}/c".into(), used_env_vars: vec!["TOKEN".into()] },
        ],
        content_hash: subdirs.iter().map(|subdir| (*subdir, "c".repeat(64))).collect(),
        sources: vec!["environment.yml".into(), "../base/environment.yml".into()],
        custom_metadata: [("exclude-newer".to_owned(), "2026-01-01".to_owned())].into(),
        subdirs,
        packages,
    }
}

fn yaml(text: &str) -> Option<Lock> {
    Lock::parse_yaml(Path::new("lock.yml"), text).ok()
}

#[test]
fn what_is_written_is_read_without_yaml() {
    let mut lock = sample();
    // `y` is a key that some readers of YAML take for a boolean: left to one of them.
    assert_eq!(parse(&lock.to_conda_lock_yaml()), None);
    assert_eq!(yaml(&lock.to_conda_lock_yaml()).as_ref(), Some(&lock));
    lock.packages[1].dependencies.clear();
    assert_eq!(parse(&lock.to_conda_lock_yaml()).as_ref(), Some(&lock));
    lock.packages.clear();
    lock.custom_metadata.clear();
    assert_eq!(parse(&lock.to_conda_lock_yaml()).as_ref(), Some(&lock));
}

#[test]
fn every_case_is_read_without_yaml_and_means_the_same() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let cases = std::env::var_os("ESKER_SHARED").map_or(beside, PathBuf::from).join("pangeo-cases");
    let locks = walkdir::WalkDir::new(cases).into_iter().flatten().map(walkdir::DirEntry::into_path);
    let locks: Vec<PathBuf> = locks.filter(|path| path.ends_with("conda-lock.yml")).collect();
    if locks.is_empty() {
        crate::skip::skipped("there are no cases");
    }
    locks.par_iter().for_each(|path| {
        let text = fs_err::read_to_string(path).unwrap();
        assert!(parse(&text).is_some(), "{}", path.display());
        // The first packages: YAML takes its time.
        let end = text.match_indices("\n- name: ").nth(150).map_or(text.len(), |(at, _)| at + 1);
        assert_eq!(parse(&text[..end]), yaml(&text[..end]), "{}", path.display());
    });
}

/// One change of a text: a line lost, twice or moved, a character replaced, something put in between.
#[derive(Clone, Debug)]
enum Change {
    Remove(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Replace(prop::sample::Index, &'static str),
    Insert(prop::sample::Index, &'static str),
}

const PIECES: [&str; 34] = [
    "\n", " ", "  ", ": ", ":", "#", " #", "'", "''", "\"", "- ", "-", "{}", "[]", "[", "null", "~", "true", "1",
    "0x1f", "*", "&a ", "!", "|", ">", "\t", "\r", "é", "---\n", "...", "<<<<<<< ", "=", "x", "1.0.*",
];

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let piece = || prop::sample::select(PIECES.to_vec());
    prop_oneof![
        index().prop_map(Change::Remove),
        index().prop_map(Change::Repeat),
        (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        (index(), piece()).prop_map(|(at, piece)| Change::Replace(at, piece)),
        (index(), piece()).prop_map(|(at, piece)| Change::Insert(at, piece)),
    ]
}

impl Change {
    fn apply(&self, text: &str) -> String {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let mut characters: Vec<String> = text.chars().map(String::from).collect();
        let (line_count, character_count) = (lines.len(), characters.len());
        match self {
            Self::Remove(at) => drop(lines.remove(at.index(line_count))),
            Self::Repeat(at) => lines.insert(at.index(line_count), lines[at.index(line_count)]),
            Self::Swap(a, b) => lines.swap(a.index(line_count), b.index(line_count)),
            Self::Replace(at, piece) => characters[at.index(character_count)] = (*piece).to_owned(),
            Self::Insert(at, piece) => characters.insert(at.index(character_count), (*piece).to_owned()),
        }
        match self {
            Self::Replace(..) | Self::Insert(..) => characters.concat(),
            _ => lines.concat(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn what_is_accepted_is_what_yaml_says(changes in prop::collection::vec(change(), 1..3)) {
        let mut lock = sample();
        lock.packages[1].dependencies.clear();
        let written = lock.to_conda_lock_yaml();
        let text = changes.iter().fold(written, |text, change| change.apply(&text));
        if let Some(lock) = parse(&text) {
            prop_assert_eq!(Some(lock), yaml(&text), "{}", text);
        }
    }
}
