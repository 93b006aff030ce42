//! Requirements of pip beside conda packages: esker as a program, `uv` from PyPI, an index on loopback.

use std::path::PathBuf;

use crate::common::pypi::{Index, Wheel, uv};
use crate::common::{Pkg, Ran, Sandbox, TinyChannel, judges};

/// A project with pip requirements and an index that answers them.
struct Project {
    sandbox: Sandbox,
    index: Index,
    uv: PathBuf,
}

/// Two Pythons, pip, and `hello`, a Python package.
fn channel() -> TinyChannel {
    let python = |version: &str| Pkg::new("python", version).native().depends("__glibc >=2.17");
    TinyChannel::new()
        .package(python("3.12.1"))
        .package(python("3.13.2"))
        .package(Pkg::new("pip", "24.0").depends("python"))
        .package(Pkg::new("hello", "1.5").depends("python"))
        .package(Pkg::new("pytorch", "2.5.1").depends("python"))
        .package(Pkg::new("certs", "2024.1"))
}

impl Project {
    /// `None`, and the test counts as skipped, without uv.
    fn new(wheels: &[Wheel]) -> Option<Self> {
        let uv = uv()?;
        let sandbox = Sandbox::new();
        sandbox.channel(&channel());
        Some(Self { sandbox, index: Index::new(wheels), uv })
    }

    fn environment(&self, conda: &[&str], pip: &[&str]) {
        let lines =
            |indent: &str, list: &[&str]| -> String { list.iter().map(|line| format!("{indent}- {line}\n")).collect() };
        let pip = if pip.is_empty() { String::new() } else { format!("  - pip:\n{}", lines("    ", pip)) };
        let text = format!("channels:\n  - conda-forge\ndependencies:\n{}{pip}", lines("  ", conda));
        self.sandbox.write("project/tiny/environment.yml", text.as_bytes());
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.sandbox.command(arguments);
        command.env("ESKER_UV", &self.uv).env("UV_DEFAULT_INDEX", self.index.url());
        Ran::new(command.envs(variables.iter().copied()).output().unwrap())
    }

    /// Locks, which must succeed, and returns the entries of `linux-64`'s explicit lock that are pip's, in order.
    fn lock(&self) -> Vec<String> {
        let ran = self.run(&["lock"], &[]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        self.locked("linux-64")
    }

    /// Locks with an index that is gone and a uv that is not there.
    fn lock_without_uv(&self) -> Ran {
        self.run(&["lock"], &[("ESKER_UV", "/nowhere/uv"), ("UV_DEFAULT_INDEX", "http://127.0.0.1:1/")])
    }

    /// Why the lock does not hold, as `--check` says it.
    fn stale(&self) -> String {
        let ran = self.run(&["lock", "--check"], &[]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        ran.stdout + &ran.stderr
    }

    fn locked(&self, subdir: &str) -> Vec<String> {
        let text = self.sandbox.read(&format!("project/tiny/conda-{subdir}.lock"));
        let pip = text.lines().filter_map(|line| line.strip_prefix("# pip "));
        pip.map(|line| line.split('#').next().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    }
}

#[test]
fn each_platform_gets_its_wheels_and_nothing_that_conda_has() {
    let arm = Wheel::new("fast", "1.0").tag("cp312-cp312-manylinux_2_17_aarch64");
    let intel = Wheel::new("fast", "1.0").tag("cp312-cp312-manylinux_2_28_x86_64");
    let Some(project) = Project::new(&[
        Wheel::new("top", "1.0")
            .needs("hello >=1,<2")
            .needs("torch")
            .needs("fast[more] >=0.5")
            .needs("win; os_name == 'nt'"),
        arm.clone(),
        intel.clone().needs("extra-one; extra == 'more'").needs("extra-two; extra == 'less'"),
        Wheel::new("fast", "1.0").tag("cp312-cp312-manylinux_2_31_x86_64"),
        Wheel::new("fast", "1.0").tag("cp312-cp312-manylinux_2_17_x86_64"),
        Wheel::new("fast", "1.1").tag("cp312-cp312-manylinux_2_31_x86_64"),
        Wheel::new("extra-one", "3.0"),
        Wheel::new("hello", "1.6"),
        Wheel::new("torch", "2.6"),
    ]) else {
        return;
    };
    project.environment(
        &["python=3.12", "hello", "pytorch"],
        &["Top >=1", "\"absent; sys_platform == 'win32'\"", "\"absent; python_version < '3'\""],
    );
    assert_eq!(
        project.lock(),
        [
            "extra_one-3.0-py3-none-any.whl",
            "fast-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
            "top-1.0-py3-none-any.whl",
        ]
    );
    assert_eq!(project.locked("linux-aarch64"), [arm.file_name(), "top-1.0-py3-none-any.whl".to_owned()]);

    let lock = project.sandbox.read("project/tiny/conda-lock.yml");
    let (url, sha256) = project.index.wheel(&Wheel::new("extra-one", "3.0"));
    let entry = format!(
        "- name: extra-one\n  version: '3.0'\n  manager: pip\n  platform: linux-64\n  dependencies: {{}}\n  url: {url}\n  \
         hash:\n    sha256: {sha256}\n  category: main\n  optional: false\n"
    );
    assert!(lock.contains(&entry), "{entry}\n{lock}");
    let dependencies = "  dependencies:\n    fast: '>=0.5'\n    hello: <2,>=1\n    torch: '*'\n";
    assert_eq!(lock.matches(dependencies).count(), 2, "{lock}");
    assert_eq!(project.run(&["lock", "--check"], &[]).code, Some(0));

    let Some(python) = judges::python() else { return };
    let rendered = judges::rendered(python, &project.sandbox.path("project/tiny/conda-lock.yml"), "linux-64");
    let ours = project.sandbox.read("project/tiny/conda-linux-64.lock");
    assert_eq!(rendered.replacen("by conda-lock.", "by esker.", 1), ours);
}

#[test]
fn locked_packages_stay_until_a_line_or_python_changes() {
    let fast = |python: &str| Wheel::new("fast", "1.0").tag(&format!("{python}-{python}-manylinux_2_17_x86_64"));
    let arm = |python: &str| Wheel::new("fast", "1.0").tag(&format!("{python}-{python}-manylinux_2_17_aarch64"));
    let Some(project) = Project::new(&[
        Wheel::new("top", "1.0").needs("fast"),
        fast("cp312"),
        fast("cp313"),
        arm("cp312"),
        arm("cp313"),
    ]) else {
        return;
    };
    project.environment(&["python=3.12"], &["top"]);
    assert_eq!(project.lock(), ["fast-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "top-1.0-py3-none-any.whl"]);

    // Something newer is no reason, nor is a conda package more: uv is not even asked.
    project.index.publish(&[Wheel::new("top", "1.1").needs("fast"), Wheel::new("other", "2.0")]);
    let before = project.sandbox.read("project/tiny/conda-lock.yml");
    project.environment(&["python=3.12", "certs"], &["top >=0.9"]);
    let ran = project.lock_without_uv();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let after = project.sandbox.read("project/tiny/conda-lock.yml");
    let pip = |lock: &str| lock.split("- name: ").filter(|entry| entry.contains("manager: pip")).collect::<String>();
    assert_eq!(pip(&after), pip(&before));
    assert!(after.contains("- name: certs\n"));

    // A line more asks uv, which keeps what is locked.
    project.environment(&["python=3.12"], &["top", "other"]);
    assert_eq!(project.lock_without_uv().code, Some(3));
    assert!(project.lock().contains(&"top-1.0-py3-none-any.whl".to_owned()));
    // So does an update of another package; one of this moves it.
    let update = |name: &str| assert_eq!(project.run(&["lock", "--update", name], &[]).code, Some(0));
    update("other");
    assert!(project.locked("linux-64").contains(&"top-1.0-py3-none-any.whl".to_owned()));
    update("top");
    assert!(project.locked("linux-64").contains(&"top-1.1-py3-none-any.whl".to_owned()));
    // A line that asks for another version moves it; one less removes it.
    project.environment(&["python=3.12"], &["top <1.1"]);
    assert_eq!(project.lock(), ["fast-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "top-1.0-py3-none-any.whl"]);
    project.environment(&["python=3.12"], &["top >1.0"]);
    assert_eq!(project.lock(), ["fast-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "top-1.1-py3-none-any.whl"]);
    // Another Python asks for other wheels.
    project.environment(&["python=3.13"], &["top"]);
    let stale = project.stale();
    assert!(stale.contains("python=3.13"), "{stale}");
    assert_eq!(project.lock(), ["fast-1.0-cp313-cp313-manylinux_2_17_x86_64.whl", "top-1.1-py3-none-any.whl"]);
    project.environment(&["python=3.13"], &[]);
    let stale = project.stale();
    assert!(stale.contains("needed by nothing") && stale.contains("- top"), "{stale}");
    assert_eq!(project.lock(), [""; 0]);
}

#[test]
fn what_cannot_be_solved_names_lines_and_what_conda_provides() {
    let Some(project) = Project::new(&[
        Wheel::new("top", "1.0").needs("hello >=2"),
        Wheel::new("one", "1.0").needs("two <2"),
        Wheel::new("two", "2.0"),
        Wheel::new("alien", "1.0").tag("cp312-cp312-win_amd64"),
    ]) else {
        return;
    };
    project.index.put("source", "source-1.0.tar.gz", b"no wheel");
    project.environment(&["python=3.12", "hello"], &["top"]);
    let words = ["no solution for `tiny`", "on linux-64, linux-aarch64", "environment.yml:7:7: `top`", "`hello` 1.5"];
    project.run(&["lock"], &[]).fails(1, &words);
    project.environment(&["python=3.12"], &["one", "two ==2.0"]);
    project.run(&["lock"], &[]).fails(1, &["environment.yml:6:7: `one`", "environment.yml:7:7: `two ==2.0`", "two<2"]);
    project.environment(&["python=3.12"], &["source"]);
    project.run(&["lock"], &[]).fails(1, &["environment.yml:6:7: `source`", "only wheels can be locked"]);
    project.environment(&["python=3.12"], &["alien"]);
    project.run(&["lock"], &[]).fails(1, &["environment.yml:6:7: `alien`", "only wheels can be locked"]);
    project.environment(&["python=3.12"], &["missing"]);
    project.run(&["lock"], &[]).fails(1, &["environment.yml:6:7: `missing`", "not found"]);
    project.environment(&["python=3.12", "hello"], &["hello >=2"]);
    project.run(&["lock"], &[]).fails(1, &["environment.yml:7:7: `hello >=2`", "`hello` 1.5"]);
    assert!(!project.sandbox.path("project/tiny/conda-lock.yml").exists());
    // An index that does not answer is no answer.
    project.environment(&["python=3.12"], &["top"]);
    let nowhere = [("UV_DEFAULT_INDEX", "http://u:secret@127.0.0.1:1/"), ("UV_HTTP_RETRIES", "0")];
    let ran = project.run(&["lock"], &nowhere);
    ran.fails(3, &["uv failed for `tiny`", "127.0.0.1:1"]);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn a_wheel_by_url_and_hash_needs_no_uv() {
    let (direct, other) = (Wheel::new("direct", "1.0").needs("hello"), Wheel::new("needy", "1.0").needs("direct"));
    let Some(project) = Project::new(&[direct.clone(), other.clone()]) else { return };
    let line = |wheel: &Wheel| {
        let (url, sha256) = project.index.wheel(wheel);
        format!("{} @ {url}#sha256={sha256}", wheel.file_name().split('-').next().unwrap())
    };
    project.environment(&["python=3.12", "hello"], &[&line(&direct)]);
    let ran = project.lock_without_uv();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(project.locked("linux-64"), ["direct-1.0-py3-none-any.whl"]);
    // One that needs more is solved for that.
    project.environment(&["python=3.12", "hello"], &[&line(&other)]);
    project.lock_without_uv().fails(3, &["environment.yml:7:7", "`uv`", "pip install uv"]);
    assert_eq!(project.lock(), ["direct-1.0-py3-none-any.whl", "needy-1.0-py3-none-any.whl"]);
    // Bytes that are not those of the hash.
    let (url, _) = project.index.wheel(&direct);
    project.environment(&["python=3.12", "hello"], &[&format!("direct @ {url}#sha256={}", "0".repeat(64))]);
    project.lock_without_uv().fails(3, &["direct 1.0", "not what the lock says"]);
    // What conda provides is not replaced.
    project.environment(&["python=3.12", "hello"], &["hello @ https://host.invalid/hello-2-py3-none-any.whl"]);
    project.run(&["lock"], &[]).fails(1, &["environment.yml:7:7", "conda provides `hello` already"]);
}

#[test]
fn offline_answers_from_the_caches() {
    let Some(project) = Project::new(&[Wheel::new("top", "1.0").needs("below"), Wheel::new("below", "1.0")]) else {
        return;
    };
    project.environment(&["python=3.12"], &["top"]);
    project.run(&["lock", "--offline"], &[]).fails(3, &["`top` is not in the cache", "--offline"]);
    let locked = project.lock();
    let asked = project.index.server.requests().len();
    fs_err::remove_file(project.sandbox.path("project/tiny/conda-lock.yml")).unwrap();
    let ran = project.run(&["lock", "--offline"], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(project.locked("linux-64"), locked);
    assert_eq!(project.index.server.requests().len(), asked);
}

#[test]
fn credentials_of_an_index_reach_no_lock() {
    let Some(project) = Project::new(&[Wheel::new("top", "1.0")]) else { return };
    project.environment(&["python=3.12"], &["top"]);
    // `user:secret`
    project.index.server.require_authorization("Basic dXNlcjpzZWNyZXQ=");
    let url = project.index.url().replace("http://", "http://user:secret@");
    let ran = project.run(&["lock"], &[("UV_DEFAULT_INDEX", &url)]);
    // uv has the password; what a wheel says of itself esker fetches, which has it from the netrc.
    ran.fails(3, &["wants other credentials"]);
    project.sandbox.write("home/.netrc", b"machine 127.0.0.1 login user password secret\n");
    let ran = project.run(&["lock", "-vv"], &[("UV_DEFAULT_INDEX", &url)]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    assert_eq!(project.locked("linux-64"), ["top-1.0-py3-none-any.whl"]);
    for file in ["conda-lock.yml", "conda-linux-64.lock"] {
        let text = project.sandbox.read(&format!("project/tiny/{file}"));
        assert!(!text.contains("secret") && !text.contains("user"), "{text}");
    }
}

#[test]
fn an_extra_of_a_conda_package_is_warned_of() {
    let Some(project) = Project::new(&[]) else { return };
    project.environment(&["python=3.12", "hello"], &["hello[more]", "top"]);
    project.index.publish(&[Wheel::new("top", "1.0")]);
    let ran = project.run(&["lock"], &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let warnings: Vec<_> = ran.stderr.lines().filter(|line| line.contains("`hello[more]`")).collect();
    assert_eq!(warnings.len(), 1, "{}", ran.stderr);
    assert!(warnings[0].contains("environment.yml:7:7") && warnings[0].contains("extras"), "{}", warnings[0]);
}

/// conda-lock's own function computes the hash of environments with pip requirements.
#[test]
fn content_hashes_with_pip_are_conda_locks() {
    if judges::python().is_none() {
        return;
    }
    let sandbox = Sandbox::new();
    let script = "import json, pathlib, sys\n\
                  from conda_lock.content_hash import compute_content_hashes\n\
                  from conda_lock.src_parser.aggregation import aggregate_lock_specs\n\
                  from conda_lock.src_parser.environment_yaml import parse_environment_file\n\
                  from conda_lock.virtual_package import default_virtual_package_repodata\n\
                  pathlib.Path('mapping.json').write_text('{}')\n\
                  platforms = ['linux-64', 'linux-aarch64', 'osx-arm64', 'win-64']\n\
                  parsed = [parse_environment_file(pathlib.Path(path), platforms, mapping_url='mapping.json') for path in sys.argv[1:]]\n\
                  spec = aggregate_lock_specs(parsed, platforms)\n\
                  print(json.dumps(compute_content_hashes(spec, default_virtual_package_repodata())))\n";
    for lines in [
        &["foo"][..],
        &["Foo_b.c[z,A,b] >=1, <2", "d==1.*", "e!=1.5", "foo ~=1.4", "i~=1.4.2,!=1.4.5", "n (>=2)"],
        &[
            "\"f @ https://host/f-1.0-py3-none-any.whl#sha256=0123456789012345678901234567890123456789012345678901234567890123\"",
        ],
        &["\"f @ https://host/f-1.0-py3-none-any.whl ; sys_platform == 'linux'\"", "k===1.0", "p>=1.0a1"],
        &["\"g; sys_platform == 'win32'\"", "\"h>1; python_version > '3.8' and sys_platform != 'darwin'\""],
        &[
            "\"a==1; platform_machine == 'x86_64' or os_name == 'nt'\"",
            "\"b==1; sys_platform == 'linux'\"",
            "\"b==2; sys_platform == 'darwin'\"",
        ],
        &["only  # [win]"],
    ] {
        let pip: String = lines.iter().map(|line| format!("    - {line}\n")).collect();
        let text = format!("channels: [conda-forge]\ndependencies:\n  - python=3.12\n  - pip:\n{pip}");
        sandbox.write("project/tiny/environment.yml", text.as_bytes());
        let mut python = judges::python().expect("it was there");
        python.args(["-W", "ignore", "-c", script]).arg(sandbox.path("project/tiny/environment.yml"));
        let printed = judges::judged(python.current_dir(sandbox.path("project")));
        let expected: std::collections::BTreeMap<String, String> = serde_json::from_str(&printed).unwrap();
        sandbox.write("project/esker.yml", b"lock-subdirs: [linux-64, linux-aarch64, osx-arm64, win-64]\n");
        let project = esker::project::Project::open(&sandbox.path("project")).unwrap();
        let spec = esker::lock::LockSpec::of(project.image("tiny").unwrap()).unwrap();
        for subdir in &spec.subdirs {
            assert_eq!(subdir.content_hash, expected[subdir.subdir.as_str()], "{lines:?} on {}", subdir.subdir);
        }
    }
}
