//! Builds that take from a published image what has not changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod fake_registry;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};

use common::pypi::Wheel;
use common::{CONDA_FORGE, Pkg, Ran, Sandbox, Server, TinyChannel, skipped};
use esker::oci::{Digest, Layout, validate};
use fake_registry::real::RealRegistry;
use fake_registry::records::{records, replace_record};
use fake_registry::writable::{Fault, Features, State, Writable};
use fake_registry::{Reply, Request};
use serde_json::{Value, json};

const WHEELS: &str = "https://wheels.example.org/";
const REPOSITORY: &str = "some/tiny";
/// `major.minor` of this machine's Python, and its program.
type Python = (String, String);

/// What is done to a record.
type Change<'a> = &'a dyn Fn(&mut Value);

/// A machine with a project, and a server that has its packages.
struct World {
    sandbox: Sandbox,
    server: Server,
}

/// What a build said.
struct Built {
    report: Value,
    stderr: String,
    /// Files of packages that it asked for.
    asked: BTreeSet<String>,
}

impl Built {
    fn digest(&self) -> &str {
        self.report["digest"].as_str().unwrap()
    }

    fn taken(&self, what: &str) -> u64 {
        self.report["from_cache"][what].as_u64().unwrap()
    }
}

/// This machine's Python, which compiles byte code in these tests.
fn python() -> Option<Python> {
    let script = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])";
    let found = Command::new("python3").args(["-c", script]).output();
    let Some(output) = found.ok().filter(|output| output.status.success()) else {
        skipped("there is no python3 on PATH");
        return None;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    let (program, version) = text.trim().rsplit_once(' ').unwrap();
    Some((version.to_owned(), program.to_owned()))
}

/// Packages of all kinds: a Python, `noarch: python` with byte code and a command, with placeholders, a link script, and
/// some to share a layer with. `certs` is what changes.
fn channel(python: &Python, certs: &str) -> TinyChannel {
    channel_sharing(python, certs, "ns/__init__.py")
}

/// With the module `shared`, which the wheel has as well.
fn channel_sharing((version, program): &Python, certs: &str, shared: &str) -> TinyChannel {
    let spaced = Pkg::new("spaced", "1.0").noarch_python().depends("python");
    let spaced = spaced.file(&format!("site-packages/{shared}"), "y = 2\n").file("site-packages/ns/own.py", "");
    let python = Pkg::new("python", &format!("{version}.0"))
        .native()
        .build("h1_0_cpython", 0)
        .executable(&format!("bin/python{version}"), format!("#!/bin/sh\nexec '{program}' \"$@\"\n"));
    let hello = Pkg::new("hello", "1.0")
        .entry_point("hello = hello:main")
        .depends("python")
        .file("site-packages/hello/__init__.py", "def main():\n    print('hello')\n");
    let talks = Pkg::new("talks", "1.0")
        .native()
        .file("bin/.talks-post-link.sh", "#!/bin/sh\necho hi >> $PREFIX/.messages.txt\n")
        .file("share/talks", "talk ".repeat(2000));
    let libfoo = Pkg::new("libfoo", "2.1")
        .native()
        .binary_prefix("lib/libfoo.so.2.1", "{prefix}/share/foo")
        .symlink("lib/libfoo.so", "libfoo.so.2.1")
        .text_prefix("etc/foo.conf", "root={prefix}\n");
    let channel = TinyChannel::new()
        .package(python)
        .package(hello)
        .package(talks)
        .package(spaced)
        .package(libfoo)
        .package(Pkg::new("pip", "24.0").depends("python").file("share/pip", "pretend\n"))
        .package(Pkg::new("certs", certs).file("ssl/cacert.pem", certs.repeat(100)));
    ["alpha", "beta", "gamma"].into_iter().fold(channel, |channel, name| {
        channel.package(Pkg::new(name, "1.0").file(&format!("share/{name}"), name.repeat(500)).file("share/same", name))
    })
}

impl World {
    fn new(python: &Python) -> Self {
        Self::sharing(python, "ns/__init__.py")
    }

    /// With a wheel and a package of conda's that both have the module `shared`.
    fn sharing(python: &Python, shared: &str) -> Self {
        let sandbox = Sandbox::new();
        sandbox.channel(&channel_sharing(python, "2024.1", shared));
        let wheel = Wheel::new("py-tool", "1.0").file("py_tool.py", "x = 1\n").file(shared, "y = 2\n");
        sandbox.write(&format!("channel/wheels/{}", wheel.file_name()), &wheel.bytes());
        let locked = wheel.locked(rattler_conda_types::Subdir::Linux64, WHEELS);
        let line = format!("pip:\n    - py-tool @ {}#sha256={}", locked.url, locked.sha256.unwrap());
        let names = ["python", "hello", "spaced", "talks", "libfoo", "certs", "alpha", "beta", "gamma", &line];
        sandbox.environment("tiny", &names);
        let settings = sandbox.read("project/esker.yml");
        sandbox.write("project/esker.yml", format!("{settings}layers: 4\n").as_bytes());
        let server = Server::start(sandbox.path("channel"));
        let world = Self { sandbox, server };
        world.ok(&["lock"]);
        world
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let server = self.server.url();
        let mirrors = format!("{CONDA_FORGE}={server}\n{WHEELS}={server}wheels/");
        Ran::new(self.sandbox.command(arguments).env("ESKER_MIRROR", mirrors).output().unwrap())
    }

    fn ok(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
        ran
    }

    fn build(&self, arguments: &[&str]) -> Built {
        self.build_image("tiny", arguments)
    }

    fn build_image(&self, image: &str, arguments: &[&str]) -> Built {
        let before = self.server.requests().len();
        let ran = self.ok(&[&["build", image, "--json"], arguments].concat());
        let requests = self.server.requests().split_off(before);
        let is_package = |name: &str| [".conda", ".bz2", ".whl"].iter().any(|end| name.ends_with(end));
        let asked = requests.iter().filter_map(|line| line.rsplit('/').next()).filter(|name| is_package(name));
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        Built { report: report["images"][0].clone(), asked: asked.map(str::to_owned).collect(), stderr: ran.stderr }
    }

    /// What the image would be on a machine that has nothing and is told of nothing.
    fn digest_without(&self) -> String {
        let (cache, output) = (self.sandbox.path("another-cache"), self.oci("another"));
        let built = self.build(&["--cache-dir", cache.to_str().unwrap(), "--output", &output]);
        assert!(built.report["downloaded_packages"].as_u64().unwrap() > 5);
        fs_err::remove_dir_all(cache).unwrap();
        built.digest().to_owned()
    }

    fn oci(&self, name: &str) -> String {
        format!("oci:{}", self.sandbox.path(name).display())
    }

    /// Another machine: nothing was ever built or downloaded.
    fn fresh(&self) {
        for folder in ["cache", "project/.esker", "out"] {
            drop(fs_err::remove_dir_all(self.sandbox.path(folder)));
        }
    }

    /// `certs` has a new version, and the lock has it.
    fn update(&self, python: &Python) {
        channel(python, "2025.1").write(self.sandbox.path("channel"));
        self.ok(&["lock", "--update", "certs"]);
        let lock = self.sandbox.read("project/tiny/conda-lock.yml");
        assert!(lock.contains("certs-2025.1-0.conda") && !lock.contains("certs-2024.1"), "{lock}");
    }
}

fn name(registry: &str, tag: &str) -> String {
    format!("{registry}/{REPOSITORY}:{tag}")
}

#[test]
fn a_build_elsewhere_downloads_the_package_that_changed() {
    let Some(python) = python() else { return };
    for features in [Features::default(), Features { referrers: false, ..Features::default() }] {
        let registry = Writable::start(features, |_| Fault::None, |_, reply| reply);
        let (one, two) = (name(&registry.address, "1"), name(&registry.address, "2"));
        let world = World::new(&python);
        let first = world.build(&["--output", &format!("registry:{one}")]);
        assert_eq!(first.taken("layers") + first.taken("parts"), 0, "there is nothing yet: {}", first.stderr);
        world.update(&python);
        let expected = world.digest_without();

        world.fresh();
        registry.forget();
        let built = world.build(&["--cache-from", &one, "--output", &format!("registry:{two}")]);
        assert_eq!(built.digest(), expected);
        assert_eq!(built.asked, BTreeSet::from(["certs-2025.1-0.conda".to_owned()]));
        assert_eq!(built.report["downloaded_packages"], 1);
        assert!(built.taken("layers") > 0 && built.taken("parts") > 0, "{}", built.report);
        assert!(built.stderr.contains("taken from published images"), "{}", built.stderr);
        let blobs: Vec<_> = registry.requests().into_iter().filter(|it| it.is_blob() && it.method == "GET").collect();
        let ranges = blobs.iter().filter(|request| request.header("range").is_some()).count();
        assert!(ranges > 0 && ranges <= 4, "parts side by side are asked for at once: {blobs:#?}");
        // Configurations, the record, and parts: whole layers stay where they are.
        assert_eq!(blobs.len() - ranges, 3, "{blobs:#?}");

        // Into a layout, of which nothing may be missing.
        world.fresh();
        let built = world.build(&["--cache-from", &one, "--output", &world.oci("out")]);
        assert_eq!((built.digest(), built.asked.len()), (expected.as_str(), 1));
        let layout = Layout::open(world.sandbox.path("out")).unwrap();
        validate(&layout).unwrap();
        // What a machine records that made all of it itself is what one records that did not.
        let documents = |name: &str| fs_err::read(world.sandbox.path(name).join("index.json")).unwrap();
        assert!(documents("out") == documents("another"));
    }
}

#[test]
fn a_build_elsewhere_of_the_same_needs_no_package() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let registry = Writable::proper();
    let first = world.build(&["--output", &format!("registry:{}", name(&registry.address, "latest"))]);
    for tag in ["latest", "2"] {
        world.fresh();
        let built = world.build(&["--output", &format!("registry:{}", name(&registry.address, tag))]);
        assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0), "{tag}: {}", built.stderr);
        assert_eq!(built.report["downloaded_packages"], 0);
        assert!(!built.stderr.contains("warning"), "{}", built.stderr);
        assert_eq!(records(&registry.state()).len(), 1, "the same is recorded by both");
    }
    // esker.yml names it, and all of the image is wanted here.
    world.fresh();
    let settings = world.sandbox.read("project/esker.yml");
    let named = format!("{settings}cache-from: ['{}']\n", name(&registry.address, "2"));
    world.sandbox.write("project/esker.yml", named.as_bytes());
    let built = world.build(&[]);
    assert_eq!((built.digest(), built.asked.len(), built.taken("parts")), (first.digest(), 0, 0));
    validate(&Layout::open(world.sandbox.path("project/.esker/images/tiny")).unwrap()).unwrap();
    // Nothing of it is in the cache: who is not told of the image makes everything.
    world.sandbox.write("project/esker.yml", settings.as_bytes());
    drop(fs_err::remove_dir_all(world.sandbox.path("project/.esker")));
    let built = world.build(&[]);
    assert_eq!(built.digest(), first.digest());
    assert!(built.asked.len() > 5, "{:?}", built.asked);
    assert_eq!(built.taken("layers"), 0);
    // Who has all of it asks nobody.
    registry.forget();
    world.build(&["--cache-from", &name(&registry.address, "2")]);
    assert_eq!(registry.log(), [""; 0]);
}

#[test]
fn to_another_registry_layers_are_carried() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let (from, to) = (Writable::proper(), Writable::proper());
    let source = name(&from.address, "1");
    let first = world.build(&["--output", &format!("registry:{source}")]);
    world.fresh();
    let target = format!("registry:{}", name(&to.address, "1"));
    let built = world.build(&["--cache-from", &source, "--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    let blobs = |registry: &Writable| registry.state().blobs.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(blobs(&from), blobs(&to));
    // To another repository of the same registry they are mounted.
    world.fresh();
    from.forget();
    let target = format!("registry:{}/other/name:1", from.address);
    let built = world.build(&["--cache-from", &source, "--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    assert!(from.log().iter().any(|line| line.contains("mount=")), "{:#?}", from.log());
}

#[test]
fn what_is_published_may_be_damaged_hostile_or_gone() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let mode = Arc::new(Mutex::new(""));
    let current = Arc::clone(&mode);
    let after = move |request: &Request, mut reply: Reply| {
        let mode = *current.lock().unwrap();
        let is_get = request.method == "GET" && request.is_blob();
        let is_layer = is_get && reply.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        match mode {
            "damaged blobs" if is_get => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
            "damaged parts" if request.header("range").is_some() => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
            "no layers" if is_layer && reply.body.len() > 100_000 => return Reply::status(404),
            "no blobs" if is_get => return Reply::status(404),
            "failing" if request.method == "GET" => return Reply::status(500),
            "denied" => return Reply::status(403),
            _ => {}
        }
        reply
    };
    let registry = Writable::start(Features::default(), |_| Fault::None, after);
    let source = name(&registry.address, "1");
    world.build(&["--output", &format!("registry:{source}")]);
    world.update(&python);
    let expected = world.digest_without();
    let check = |what: &str, from: &str, warns: bool| {
        world.fresh();
        let built = world.build(&["--cache-from", from, "--output", &world.oci("out")]);
        assert_eq!(built.digest(), expected, "{what}: {}", built.stderr);
        assert_eq!(built.stderr.contains("warning"), warns, "{what}: {}", built.stderr);
        validate(&Layout::open(world.sandbox.path("out")).unwrap()).unwrap();
        built
    };
    for what in ["damaged blobs", "damaged parts", "no blobs", "denied", "failing"] {
        *mode.lock().unwrap() = what;
        check(what, &source, true);
    }
    *mode.lock().unwrap() = "";
    check("no such tag", &name(&registry.address, "gone"), true);
    assert_eq!(check("all is well", &source, false).asked.len(), 1);
    let original = registry.state();
    let document = records(&original)[0].0.clone();
    let restore = || {
        let (_, bytes) = &original.manifests[&(REPOSITORY.to_owned(), document.clone())];
        registry.replace_records(REPOSITORY, bytes);
    };
    let each = |record: &mut Value, kind: &str, change: Change<'_>| {
        record[kind].as_object_mut().unwrap().values_mut().for_each(change);
    };
    // The changes, whether it is worth a warning, and whether packages are still spared.
    let changes: [(&str, Change<'_>, bool); 7] = [
        ("other format", &|record| *record = json!({ "format": 999, "packages": 7 }), true),
        ("no record", &|record| *record = json!([1]), true),
        (
            "other diff ids",
            &|record| each(record, "layers", &|it| it["diff-id"] = Digest::of(b"").to_string().into()),
            false,
        ),
        (
            "foreign layers",
            &|record| each(record, "layers", &|it| it["digest"] = Digest::of(b"").to_string().into()),
            false,
        ),
        (
            "paths that climb",
            &|record| {
                each(record, "packages", &|it| {
                    if let Some(conda) = it.get_mut("conda") {
                        conda["files"] = json!(["../../etc/passwd"]);
                    }
                });
            },
            true,
        ),
        (
            "packages that are others",
            &|record| {
                each(record, "packages", &|it| {
                    if let Some(conda) = it.get_mut("conda") {
                        conda["index"]["name"] = "other".into();
                    }
                });
            },
            false,
        ),
        (
            "files that are not there",
            &|record| {
                record["layers"] = json!({});
                each(record, "packages", &|it| {
                    if let Some(conda) = it.get_mut("conda") {
                        conda["files"] = json!(["share/invented"]);
                    }
                });
            },
            true,
        ),
    ];
    for (what, change, warns) in changes {
        replace_record(&registry, REPOSITORY, change);
        check(what, &source, warns);
        restore();
    }
}

#[test]
fn layers_that_stayed_in_the_registry_come_when_they_are_needed() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let registry = Writable::proper();
    let target = format!("registry:{}", name(&registry.address, "1"));
    let first = world.build(&["--output", &target]);
    world.fresh();
    let built = world.build(&["--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    let layout = || Layout::open(world.sandbox.path("project/.esker/images/tiny")).unwrap();
    assert!(validate(&layout()).is_err(), "layers stay where they are");
    // Without them nothing is verified, and without network they do not come.
    world.run(&["verify", "--offline"]).fails(3, &["does not hold the blob", "build it again"]);
    // The checks themselves may fail: there is no Jupyter in this image.
    registry.forget();
    let ran = world.run(&["verify", "--only", "files", "--json"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{:?} {}", ran.code, ran.stderr);
    assert!(ran.stdout.contains(first.digest()), "{}", ran.stdout);
    validate(&layout()).unwrap();
    let pulled = |registry: &Writable| registry.requests().iter().filter(|it| it.is_blob()).count();
    assert!(pulled(&registry) > 1, "{:#?}", registry.log());
    // They stay, and the next build knows them.
    registry.forget();
    world.run(&["verify", "--only", "files"]);
    assert_eq!(pulled(&registry), 0, "{:#?}", registry.log());
    // Pushed on to another registry, they are carried there.
    world.fresh();
    world.build(&["--output", &target]);
    let other = Writable::proper();
    world.ok(&["push", "tiny", &name(&other.address, "2")]);
    let blobs = |registry: &Writable| registry.state().blobs.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(blobs(&registry), blobs(&other));
    // What is not there any more, or is another, is told; the layout is not made worse.
    world.fresh();
    world.build(&["--output", &target]);
    for ((_, digest), bytes) in &registry.state().blobs {
        if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            registry.spoil(REPOSITORY, digest);
        }
    }
    world.run(&["verify", "--only", "files"]).fails(3, &[&registry.address]);
    // `make` verifies, and so builds what is missing: here nobody has said where else it is.
    let ran = world.run(&["make", "--only", "files", "--json"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{:?} {}", ran.code, ran.stderr);
    assert!(ran.stdout.contains(first.digest()), "{}", ran.stdout);
    validate(&layout()).unwrap();
}

#[test]
fn a_server_without_ranges_sends_the_layer() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let before = |_: &Request| Fault::None;
    let blobs = Arc::new(Mutex::new(State::default()));
    let all = Arc::clone(&blobs);
    let after = move |request: &Request, reply: Reply| {
        let digest = request.path.rsplit('/').next().unwrap().to_owned();
        match all.lock().unwrap().blobs.get(&(REPOSITORY.to_owned(), digest)) {
            Some(blob) if request.header("range").is_some() => Reply::body(blob.clone()),
            _ => reply,
        }
    };
    let registry = Writable::start(Features::default(), before, after);
    let source = name(&registry.address, "1");
    world.build(&["--output", &format!("registry:{source}")]);
    *blobs.lock().unwrap() = registry.state();
    world.update(&python);
    let expected = world.digest_without();
    world.fresh();
    let built = world.build(&["--cache-from", &source]);
    assert_eq!((built.digest(), built.asked.len()), (expected.as_str(), 1), "{}", built.stderr);
    assert!(built.taken("parts") > 0);
}

#[test]
fn files_that_two_packages_share_are_compared_all_the_same() {
    let Some(python) = python() else { return };
    let world = World::sharing(&python, "ns/shared.py");
    let registry = Writable::proper();
    let source = name(&registry.address, "1");
    let first = world.build(&["--output", &format!("registry:{source}")]);
    world.fresh();
    let built = world.build(&["--cache-from", &source]);
    assert_eq!(built.digest(), first.digest());
    let expected = ["py_tool-1.0-py3-none-any.whl", "spaced-1.0-0.conda"].map(str::to_owned);
    assert_eq!(built.asked, BTreeSet::from(expected), "their digests are in no record");
}

#[test]
fn packages_of_parents_need_not_be_there() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let settings = world.sandbox.read("project/esker.yml");
    world.sandbox.write("project/esker.yml", format!("{settings}images:\n  child: {{parent: tiny}}\n").as_bytes());
    channel(&python, "2024.1")
        .package(Pkg::new("extra", "1.0").file("share/extra", "extra"))
        .write(world.sandbox.path("channel"));
    world.sandbox.environment("child", &["extra", "certs >=2024"]);
    world.ok(&["lock", "--fresh"]);
    let registry = Writable::proper();
    let source = format!("{}/some/child:latest", registry.address);
    world.build_image("child", &["--output", &format!("registry:{source}")]);
    // The child alone is locked anew: its parent keeps what the child has no more.
    channel(&python, "2025.1")
        .package(Pkg::new("extra", "1.0").file("share/extra", "extra"))
        .write(world.sandbox.path("channel"));
    world.ok(&["lock", "child", "--update", "certs"]);
    let (cache, output) = (world.sandbox.path("another-cache"), world.oci("another"));
    let expected = world.build_image("child", &["--cache-dir", cache.to_str().unwrap(), "--output", &output]);
    assert!(expected.asked.iter().any(|name| name.starts_with("certs-2025")), "{:?}", expected.asked);
    world.fresh();
    let built = world.build_image("child", &["--output", &format!("registry:{source}")]);
    assert_eq!(built.digest(), expected.digest());
    assert_eq!(built.asked, BTreeSet::from(["certs-2025.1-0.conda".to_owned()]), "{}", built.stderr);
}

#[test]
fn a_real_registry_is_a_cache() {
    let Some(python) = python() else { return };
    if !Command::new("docker-registry").arg("--version").output().is_ok_and(|output| output.status.success()) {
        skipped("docker-registry is not installed");
        return;
    }
    let world = World::new(&python);
    let folder = tempfile::tempdir().unwrap();
    let registry = RealRegistry::start(folder.path());
    let (one, two) = (name(&registry.address, "1"), name(&registry.address, "2"));
    world.build(&["--output", &format!("registry:{one}")]);
    world.update(&python);
    let expected = world.digest_without();
    for output in [world.oci("out"), format!("registry:{two}")] {
        world.fresh();
        let built = world.build(&["--cache-from", &one, "--output", &output]);
        assert_eq!(built.digest(), expected);
        assert_eq!(built.asked, BTreeSet::from(["certs-2025.1-0.conda".to_owned()]), "{}", built.stderr);
        assert!(built.taken("layers") > 0 && built.taken("parts") > 0, "{}", built.report);
    }
    world.fresh();
    let built = world.build(&["--output", &format!("registry:{two}")]);
    assert_eq!((built.digest(), built.asked.len()), (expected.as_str(), 0));
}
