use std::path::Path;

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Environment, Error> {
    Reader::new(Document::parse(Path::new("f"), text)?).environment()
}

fn specs(dependencies: &[Dependency]) -> Vec<&str> {
    dependencies.iter().map(|dependency| dependency.spec.as_str()).collect()
}

#[test]
fn everything_there_is() {
    let environment = parse(
        "name: notebook\nchannels:\n - conda-forge\n - nodefaults\n - https://host/x/\nplatforms: [linux-64, osx-arm64]\n\
         category: dev\nprefix: /opt/x\nvariables: {A: b, THREADS: 1}\ndependencies:\n - python=3.12  # see [1]\n \
         - 'quoted >=1'\n - cuda  # only there [linux64]\n - pip\n - pip:\n    - requests  # [not win]\n - pip: \n - zarr\n - \
         pip: [a, b]\n",
    )
    .unwrap();
    assert_eq!(environment.name.as_deref(), Some("notebook"));
    assert_eq!(environment.channels, ["conda-forge", "https://host/x/"]);
    assert_eq!(environment.platforms, Some(vec![Subdir::Linux64, Subdir::OsxArm64]));
    assert_eq!(environment.category.as_deref(), Some("dev"));
    assert_eq!(environment.variables["THREADS"], "1");
    assert_eq!(specs(&environment.dependencies), ["python=3.12", "quoted >=1", "cuda", "pip", "zarr"]);
    assert_eq!(environment.dependencies[0].selector, None);
    assert_eq!(environment.dependencies[2].selector, Some(vec![Subdir::Linux64]));
    assert_eq!(environment.dependencies[2].place.to_string(), "f:13:4");
    assert_eq!(specs(&environment.pip), ["requests", "a", "b"]);
    assert_eq!(environment.pip[0].selector.as_ref().map(Vec::len), Some(5));
}

#[test]
fn line_ends_and_byte_order_marks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("environment.yml");
    std::fs::write(&path, "\u{feff}channels: [c]\r\ndependencies:\r\n- a  # [win]\r\n- b\r\n").unwrap();
    let environment = Environment::read(&path).unwrap();
    assert_eq!(specs(&environment.dependencies), ["a", "b"]);
    assert_eq!(environment.dependencies[0].selector, Some(vec![Subdir::Win64]));
    assert_eq!(environment.dependencies[1].place.to_string(), format!("{}:4:3", path.display()));
}

/// Checks what is said of each text.
#[track_caller]
fn refused(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(parse(text).unwrap_err().to_string(), *expected, "{text}");
    }
}

#[test]
fn an_empty_file() {
    refused(&[
        ("", "`f` is empty; add `dependencies:` with a list of packages (`- python=3.12`)"),
        ("# nothing\n---\n", "`f` is empty; add `dependencies:` with a list of packages (`- python=3.12`)"),
    ]);
}

#[test]
fn no_or_null_dependencies() {
    refused(&[
        ("name: a\n", "f:1:1: no `dependencies`; add `dependencies:` with a list of packages (`- python=3.12`)"),
        (
            "name: a\ndependencies:\n",
            "f:2:13: no `dependencies`; add `dependencies:` with a list of packages (`- python=3.12`)",
        ),
    ]);
}

#[test]
fn unknown_keys_are_suggested_and_repeated_ones_shown_twice() {
    refused(&[
        ("depenencies: []\n", "f:1:1: unknown key `depenencies`; did you mean `dependencies`?"),
        ("dependencies: []\nname: a\nname: b\n", "f:3:1: duplicate key `name`, first given at f:2:1; keep one of them"),
    ]);
}

#[test]
fn channels_that_are_no_list() {
    refused(&[
        ("channels: conda-forge\ndependencies: []\n", "f:1:11: `channels` must be a list (`[conda-forge]`), not text"),
        ("channels:\ndependencies: []\n", "f:1:9: `channels` must be a list (`[conda-forge]`), not nothing"),
        ("channels: [a, a]\ndependencies: []\n", "f:1:15: `a` cannot be `channels`: it is listed twice; remove one"),
        (
            "channels: [a b]\ndependencies: []\n",
            "f:1:12: `a b` cannot be `channels`: it holds a space; write one channel an item",
        ),
    ]);
}

#[test]
fn mappings_among_dependencies() {
    refused(&[
        ("- python\n", "f:1:1: `environment.yml` must be a mapping (`key: value`), not a list"),
        (
            "dependencies:\n- python: 3.10\n",
            "f:2:3: a dependency must be one text, not a mapping (`python:`); write `- python=3.10`",
        ),
        (
            "dependencies:\n- python: '>=3'\n",
            "f:2:3: a dependency must be one text, not a mapping (`python:`); write `- python>=3`",
        ),
        (
            "dependencies:\n- python:\n",
            "f:2:3: a dependency must be one text, not a mapping (`python:`); write `- python`, without the colon",
        ),
        (
            "dependencies:\n- sel(linux): a\n",
            "f:2:3: a dependency must be one text, not a mapping (`sel(linux):`); write a selector in a comment: `- a  # [linux]`",
        ),
        (
            "dependencies:\n- npm: [a]\n",
            "f:2:3: a dependency must be one text, not a mapping (`npm:`); packages of npm cannot be locked; remove this block",
        ),
    ]);
}

#[test]
fn numbers_and_other_things_as_dependencies() {
    refused(&[
        (
            "dependencies:\n- 3.10\n",
            "f:2:3: a dependency must be one text, not a number; write `name=3.10`, or `\"3.10\"` if it is a name",
        ),
        (
            "dependencies:\n- yes\n",
            "f:2:3: a dependency must be one text, not a boolean; write `name=yes`, or `\"yes\"` if it is a name",
        ),
        (
            "dependencies:\n- \n- a\n",
            "f:2:3: a dependency must be one text, not nothing; write a package name, or remove the dash",
        ),
        ("dependencies:\n- [a]\n", "f:2:3: a dependency must be one text, not a list; write one package a line"),
    ]);
}

#[test]
fn pip_that_is_no_list_of_requirements() {
    refused(&[
        ("dependencies:\n- pip: x\n", "f:2:8: `pip` must be a list (`- requests>=2`), not text"),
        ("dependencies:\n- pip: [-r x.txt]\n", "f:2:9: `-r x.txt` is no requirement that can be locked"),
    ]);
}

#[test]
fn unknown_platforms_are_suggested() {
    refused(&[
        (
            "dependencies: []\nplatforms: [linux-arm64]\n",
            "f:2:13: unknown subdir `linux-arm64`; did you mean `linux-aarch64`?",
        ),
        ("dependencies: []\nplatforms: [linux-46]\n", "f:2:13: unknown subdir `linux-46`; did you mean `linux-64`?"),
        (
            "dependencies: []\nplatforms: []\n",
            "f:2:12: `a list` cannot be `platforms`: list at least one subdir, or remove the key",
        ),
    ]);
}

#[test]
fn selectors_that_are_misspelt_or_misplaced() {
    refused(&[
        ("dependencies:\n- a  # [lnux64]\n", "f:2:6: unknown selector `[lnux64]`; did you mean `linux64`?"),
        (
            "dependencies:  # [linux]\n- a\n",
            "f:1:16: selector `[linux]` does nothing here; put it on the line of one dependency, or remove it",
        ),
    ]);
}

#[test]
fn specifications_that_are_none() {
    refused(&[("dependencies:\n- numpy >=1.2;\n", "f:2:3: `numpy >=1.2;` is not a package specification")]);
}

#[test]
fn broken_yaml_and_wrong_types() {
    refused(&[
        (
            "dependencies: []\nname: [a]\n",
            "f:2:7: `name` must be text (put it in quotes if it is meant as such), not a list",
        ),
        ("dependencies: a\n", "f:1:15: `dependencies` must be a list (`- python=3.12`), not text"),
        (
            "dependencies: []\nvariables: {A: true}\n",
            "f:2:16: `A` must be text (put it in quotes if it is meant as such), not a boolean",
        ),
        ("dependencies:\n\t- a\n", "f:2:1: broken YAML: tabs disallowed within this context (block indentation)"),
    ]);
}

#[test]
fn a_null_pip_is_none_and_several_are_one() {
    let environment = parse("dependencies:\n- pip:\n- pip: ~\n- pip: [a]\n- zarr\n- pip:\n  - b\n").unwrap();
    assert_eq!((specs(&environment.dependencies), specs(&environment.pip)), (vec!["zarr"], vec!["a", "b"]));
}

#[test]
fn a_line_for_pip_that_cannot_be_locked_says_why() {
    let reason = |line: &str| {
        let error = parse(&format!("dependencies:\n- pip:\n  - \"{line}\"\n")).unwrap_err();
        let reason = std::error::Error::source(&error).unwrap().to_string();
        (error.to_string(), reason)
    };
    let (error, because) = reason("git+https://host/foo");
    assert_eq!(error, "f:3:5: `git+https://host/foo` is no requirement that can be locked");
    assert!(because.contains("build a wheel"), "{because}");
    let (error, because) = reason("foo @ https://user:secret@host/foo-1-py3-none-any.whl");
    assert!(!error.contains("secret") && error.contains("https://…@host/foo-1-py3-none-any.whl"), "{error}");
    assert!(because.contains("netrc"), "{because}");
    assert!(reason("-e .").1.contains("options of pip"));
    assert!(reason("foo >=").1.contains("write `name>=1.2,<2`"));
}

#[test]
fn a_second_document_and_tabs_are_named_by_line() {
    refused(&[(
        "dependencies: []\n---\ndependencies: []\n",
        "f:2:1: a second document begins here; keep one document a file",
    )]);
    let error = parse("dependencies:\n- a\n\t- b\n").unwrap_err().to_string();
    assert!(error.starts_with("f:3:1: broken YAML") && error.contains("tab"), "{error}");
}

#[test]
fn comments_that_are_no_selectors_keep_the_line() {
    let environment = parse("dependencies:\n- a  # see [1]\n- b  # [not win]\n- c  # [linux] see [2]\n").unwrap();
    let [a, b, c] = &environment.dependencies[..] else { panic!("three") };
    assert_eq!(a.selector, None);
    assert_eq!(b.selector.as_ref().map(Vec::len), Some(5));
    assert_eq!(c.selector.as_ref().map(Vec::len), Some(3));
}

#[test]
fn a_selector_for_two_dependencies_in_one_line_is_refused() {
    let error = parse("dependencies: [a, b]  # [linux]\n").unwrap_err();
    assert!(matches!(error, Error::MisplacedSelector { .. }), "{error}");
}

#[test]
fn comments_in_any_number_are_only_comments() {
    let text = format!("dependencies:\n{} - a\n{}", " # [linux] x\n".repeat(500), "#- b\n".repeat(500));
    assert_eq!(parse(&text).unwrap().dependencies[0].selector, None);
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC*") {
        let _ = parse(&text);
    }

    #[test]
    fn never_panics_on_what_looks_like_an_environment(lines in prop::collection::vec(
        "(dependencies:|channels:| - pip:|   - |- |  )?[a-z:#&*!\\[\\]{}|>'\" =<0-9.,\t\r-]{0,12}( # \\[[a-z ]{0,9}\\])?", 0..12,
    )) {
        let _ = parse(&lines.join("\n"));
    }
}
