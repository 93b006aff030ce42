use super::*;

/// Files named `own`, `parent`, `grandparent` with these contents.
fn files(contents: &[&str]) -> Vec<Environment> {
    let folder = tempfile::tempdir().unwrap();
    let names = ["own", "parent", "grandparent"];
    contents
        .iter()
        .zip(names)
        .map(|(content, name)| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let mut environment = Environment::read(&path).unwrap();
            environment.path = name.into();
            for dependency in environment.dependencies.iter_mut().chain(&mut environment.pip) {
                dependency.place.file = name.into();
            }
            environment
        })
        .collect()
}

fn names(specs: &[MergedSpec]) -> Vec<&str> {
    specs.iter().map(|spec| spec.name.as_str()).collect()
}

#[test]
fn files_are_concatenated() {
    let environments = files(&[
        "channels: [conda-forge, nodefaults]\ndependencies: [Flax>=0.10, jax]\n",
        "channels: [conda-forge]\ndependencies:\n - xarray\n - only-arm  # [aarch64]\n - pip: [Zope.interface>=1, 'foo @ https://x/foo-1-py3-none-any.whl']\n",
        "dependencies: [python=3.12]\n",
    ]);
    let merged = merge(&environments, Subdir::Linux64).unwrap();
    assert_eq!(merged.channels, ["conda-forge"]);
    assert_eq!(names(&merged.conda), ["flax", "jax", "xarray", "python"]);
    assert_eq!(names(&merged.pip), ["zope-interface", "foo"]);
    let arm = merge(&environments, Subdir::LinuxAarch64).unwrap();
    assert_eq!(names(&arm.conda), ["flax", "jax", "xarray", "only-arm", "python"]);
}

#[test]
fn constraints_of_all_files_hold() {
    let environments = files(&[
        "channels: [c]\ndependencies: [numpy<2, python]\n",
        "dependencies: [python=3.12, NumPy>=1.2]\n",
        "dependencies: [numpy<2, python >=3.10]\n",
    ]);
    let merged = merge(&environments, Subdir::Linux64).unwrap();
    assert_eq!(names(&merged.conda), ["numpy", "python"]);
    let specs: Vec<_> = merged.conda[0].dependencies.iter().map(|dependency| dependency.spec.as_str()).collect();
    assert_eq!(specs, ["numpy<2", "NumPy>=1.2"]);
    assert_eq!(merged.conda[1].match_specs().count(), 3);
}

#[test]
fn evident_conflicts_name_both_lines() {
    let environments = files(&[
        "channels: [c]\ndependencies:\n - a\n - python=3.11\n",
        "dependencies: [b]\n",
        "dependencies:\n - python=3.12\n",
    ]);
    assert_eq!(
        merge(&environments, Subdir::Linux64).unwrap_err().to_string(),
        "grandparent:2:4: `python=3.12` contradicts `python=3.11` at own:4:4: no version satisfies both; change one of them"
    );
}

#[test]
fn what_excludes_each_other() {
    for (first, second) in [
        ("a=3.11", "a=3.12"),
        ("a<2", "a>=2"),
        ("a<2", "a>2"),
        ("a==1.0", "a!=1.0"),
        ("a==1.0", "a>1.0"),
        ("a>=1,<2", "a>=2,<3"),
        ("a~=1.4", "a>=2"),
        ("a=1.2", "a<1.1"),
        ("a 1.0|1.1", "a 1.2|1.3"),
        ("a=1=x_0", "a=1=y_0"),
        ("x::a", "y::a"),
        ("https://h/c/noarch/a-1-0.conda", "https://h/c/noarch/a-2-0.conda"),
    ] {
        let found = contradiction(&match_spec(first).unwrap(), &match_spec(second).unwrap());
        assert!(found.is_some(), "{first} and {second}");
        assert_eq!(found, contradiction(&match_spec(second).unwrap(), &match_spec(first).unwrap()));
    }
}

#[test]
fn what_may_hold_together() {
    for (first, second) in [
        ("a", "a=3.12"),
        ("a=3.11", "a>=3.11.4"),
        ("a=3.11", "a!=3.11"),
        ("a>1.0", "a<1.0.1"),
        ("a>1.0", "a<1.0.0.1"),
        ("a<=2", "a>=2"),
        ("a>=2", "a!=2"),
        ("a<1", "a<2"),
        ("a>1", "a>2"),
        ("a!=1", "a!=2"),
        ("a<1.0", "a>0.9999999"),
        ("a>1!0", "a!=1"),
        ("a>=2024.01.01", "a<2024.01.02"),
        ("a=1=x*", "a=1=*y"),
        ("a=1=x_0", "a=1=x*"),
        ("x::a", "a>=1"),
        ("x::a", "https://conda.anaconda.org/x::a"),
        ("a~=1.4", "a=1.9"),
    ] {
        let found = contradiction(&match_spec(first).unwrap(), &match_spec(second).unwrap());
        assert_eq!(found, None, "{first} and {second}");
    }
}

#[test]
fn selectors_keep_conflicts_apart() {
    let environments = files(&["channels: [c]\ndependencies:\n - a=1  # [linux64]\n - a=2  # [aarch64]\n"]);
    assert!(merge(&environments, Subdir::Linux64).is_ok());
    assert!(merge(&environments, Subdir::LinuxAarch64).is_ok());
}

#[test]
fn channels_must_have_one_order() {
    let of = |lists: &[&str]| {
        let contents: Vec<_> = lists.iter().map(|list| format!("channels: [{list}]\ndependencies: []\n")).collect();
        let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
        merge(&files(&contents), Subdir::Linux64).map(|merged| merged.channels).map_err(|error| error.to_string())
    };
    assert_eq!(of(&["b", "a, b", ""]).unwrap(), ["a", "b"]);
    assert_eq!(
        of(&["a", "a, b"]).unwrap_err(),
        "the channels of `own` (a) are not the end of those of `parent` (a, b); give both files the same list"
    );
    assert!(of(&["a, b", "b, a"]).is_err());
    assert_eq!(of(&["", "nodefaults"]).unwrap_err(), "`own` names no channel; add `channels: [conda-forge]`");
}

#[test]
fn categories() {
    let environments = files(&[
        "channels: [c]\ncategory: dev\ndependencies: [a, b]\n",
        "category: docs\ndependencies: [b, d]\n",
        "dependencies: [a]\n",
    ]);
    let merged = merge(&environments, Subdir::Linux64).unwrap();
    let categories: Vec<_> = merged.conda.iter().map(|spec| (spec.name.as_str(), spec.category.as_str())).collect();
    assert_eq!(categories, [("a", "main"), ("b", "docs"), ("d", "docs")]);
}
