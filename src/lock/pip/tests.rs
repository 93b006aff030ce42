use super::super::diff::tests::package;
use super::*;
use crate::project::{MergedSpec, Place};

const SUBDIR: Subdir = Subdir::Linux64;

fn spec(lines: &[&str]) -> SubdirSpec {
    let line = |(index, text): (usize, &&str)| {
        let place = Place { file: "environment.yml".into(), line: index + 1, column: 1 };
        let dependency = Dependency { spec: (*text).to_owned(), selector: None, place };
        let name = requirement(text).unwrap().name.to_string();
        MergedSpec { name, category: "main".into(), dependencies: vec![dependency] }
    };
    SubdirSpec {
        subdir: SUBDIR,
        conda: vec![],
        pip: lines.iter().enumerate().map(line).collect(),
        virtual_packages: vec![],
        content_hash: "h".into(),
    }
}

fn conda(text: &str) -> LockedPackage {
    let mut conda = package(SUBDIR, text);
    conda.dependencies = [("python".to_owned(), String::new())].into_iter().collect();
    conda
}

fn pip(name: &str, version: &str, needs: &[(&str, &str)]) -> LockedPackage {
    let mut pip = package(SUBDIR, &format!("{name} {version} 0"));
    pip.manager = Manager::Pip;
    pip.url = format!("https://host/{name}-{version}-py3-none-any.whl").parse().unwrap();
    pip.dependencies = needs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
    pip
}

/// Why a lock of `packages` does not answer `lines`.
fn reasons(lines: &[&str], packages: &[LockedPackage]) -> Vec<String> {
    let mut all = vec![package(SUBDIR, "python 3.12.1 0"), conda("numpy 1.26.4 0")];
    all.extend(packages.iter().cloned());
    let content_hash = [(SUBDIR, "h".to_owned())].into_iter().collect();
    let lock = Lock { packages: all, content_hash, subdirs: vec![SUBDIR], ..Lock::default() };
    stale(&spec(lines), &lock).iter().map(ToString::to_string).collect()
}

#[test]
fn what_answers() {
    let foo = pip("foo", "1.0", &[("numpy", ">=1.20,<2"), ("bar", "*")]);
    let bar = pip("Bar", "2.0", &[("odd", ">=1 || <0")]);
    let odd = pip("odd", "1", &[]);
    let all = [foo, bar, odd];
    let none: [&str; 0] = [];
    assert_eq!(reasons(&["foo>=1"], &all), none);
    assert_eq!(reasons(&["Foo ~=1.0", "other; sys_platform == 'win32'", "numpy>=1.20"], &all), none);
    assert_eq!(reasons(&["foo[extra]"], &all), none);
    assert_eq!(reasons(&["foo @ https://host/foo-1.0-py3-none-any.whl"], &all), none);
    assert_eq!(reasons(&["numpy"], &[]), none);
    assert_eq!(reasons(&["other; python_version < '3'"], &[]), none);
}

#[test]
fn what_does_not() {
    let foo = pip("foo", "1.0", &[]);
    let reason = |line: &str| reasons(&[line], std::slice::from_ref(&foo)).remove(0);
    assert_eq!(reason("foo>=2"), "environment.yml:1:1: `foo>=2` on linux-64: locked is 1.0");
    assert_eq!(reason("bar"), "environment.yml:1:1: `bar` on linux-64: not locked");
    assert_eq!(reason("numpy>=2"), "environment.yml:1:1: `numpy>=2` on linux-64: locked is 1.26.4");
    let moved = "foo @ https://host/v2/foo-1.0-py3-none-any.whl";
    assert_eq!(reason(moved), format!("environment.yml:1:1: `{moved}` on linux-64: locked is 1.0"));
    let hashed = format!("foo @ https://host/foo-1.0-py3-none-any.whl#sha256={}", "ab".repeat(32));
    assert_eq!(reason(&hashed), format!("environment.yml:1:1: `{hashed}` on linux-64: locked is 1.0"));

    let needy = [pip("foo", "1.0", &[("numpy", ">=2"), ("gone", "*")])];
    assert_eq!(
        reasons(&["foo"], &needy),
        [
            "`foo` on linux-64 needs `gone *`, which is not there",
            "`foo` on linux-64 needs `numpy >=2`, locked is 1.26.4",
        ]
    );
    let shadowed = [pip("foo", "1.0", &[("numpy", "*")]), pip("numpy", "1.26.4", &[])];
    assert_eq!(reasons(&["foo"], &shadowed), ["nothing needs `numpy` on linux-64 any more"]);
    assert_eq!(reasons(&[], &shadowed).len(), 2);
}

#[test]
fn an_extra_may_be_new_where_the_request_changed() {
    let spec = spec(&["foo[extra]"]);
    let all = [package(SUBDIR, "python 3.12.1 0")];
    let pip_of = Pip::new(&spec, all.iter()).unwrap();
    let foo = pip("foo", "1.0", &[]);
    assert_eq!(pip_of.stale(&[&foo], true), []);
    assert_eq!(pip_of.stale(&[&foo], false).len(), 1);
}

#[test]
fn versions_of_conda_in_pythons_words() {
    for (conda, python) in
        [("1.2.3", "1.2.3"), ("2024.07.04", "2024.7.4"), ("1.2_beta", "1.2b0"), ("9e.1", "9"), ("x", "0")]
    {
        assert_eq!(python_version(conda), python);
    }
}
