//! Packages of pip: unpacked as pip does, and refused where pip would be careless.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use esker::build::native::{Asked, Error, PathFault};
use esker::oci::Platform;
use rattler_conda_types::Subdir;

use crate::common::pypi::Wheel;
use crate::common::{Pkg, TinyChannel, skipped};
use crate::world::{Choices, Contents, PREFIX, WHEELS, World, contents, entry, has, layers, python, text};

fn tool() -> Wheel {
    Wheel::new("py-tool", "1.0")
        .needs("other>=2")
        .file("py_tool/__init__.py", "def main():\n    print('hello')\n")
        .file("py_tool/template.py", "{{ not python }}-\n")
        .file("py_tool/__pycache__/template.cpython-312.pyc", "stale")
        .special("py_tool/helper", 0o100_755, "#!/bin/sh\n")
        .file(
            "{info}/entry_points.txt",
            "[console_scripts]\npy-tool = py_tool:main\n[gui_scripts]\nwindow = py_tool:main\n",
        )
        .file("{info}/INSTALLER", "somebody else\n")
        .file("{data}/scripts/run", "#!python -E\nprint(1)\n")
        .file("{data}/scripts/plain", "#!/bin/sh\necho\n")
        .file("{data}/scripts/py-tool", "#!python\nan old script\n")
        .file("{data}/data/share/py-tool/data.txt", "data\n")
        .file("{data}/headers/tool.h", "int tool(void);\n")
        .file("{data}/purelib/pure.py", "x = 1\n")
        .file("{data}/platlib/plat.so", "\x7fELF")
}

fn other() -> Wheel {
    Wheel::new("other", "2.0").file("other.py", "x = 2\n")
}

fn world(more: &[Pkg]) -> Option<(World, String)> {
    let (python, version) = python()?;
    let channel = more.iter().cloned().fold(TinyChannel::new().package(python), TinyChannel::package);
    Some((World::new(&channel), version))
}

async fn build(world: &World, wheels: &[Wheel], choices: &Choices) -> Result<esker::build::Built, Error> {
    world.build_lock(&world.lock_with(&["python"], wheels), choices).await
}

#[tokio::test]
async fn files_go_where_pip_puts_them() {
    let Some((world, version)) = world(&[]) else { return };
    let built = build(&world, &[tool(), other()], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxArm64);
    let site = format!("lib/python{version}/site-packages");
    let shebang = format!("#!{PREFIX}/bin/python{version}\n");
    assert!(text(&contents, &format!("{site}/py_tool/__init__.py")).starts_with("def main"));
    assert_eq!(text(&contents, "bin/run"), format!("{shebang}print(1)\n"));
    assert_eq!(text(&contents, "bin/plain"), "#!/bin/sh\necho\n");
    for command in ["bin/py-tool", "bin/window"] {
        let script = text(&contents, command);
        assert!(script.starts_with(&shebang) && script.contains("from py_tool import main"), "{script}");
    }
    assert_eq!(text(&contents, "share/py-tool/data.txt"), "data\n");
    assert!(has(&contents, &format!("include/python{version}/py-tool/tool.h")));
    assert!(has(&contents, &format!("{site}/pure.py")) && has(&contents, &format!("{site}/plat.so")));
    for (path, mode) in
        [("bin/run", 0o755), ("bin/plain", 0o755), ("bin/py-tool", 0o755), ("share/py-tool/data.txt", 0o644)]
    {
        assert_eq!(entry(&contents, path).mode, mode, "{path}");
    }
    assert_eq!(entry(&contents, &format!("{site}/py_tool/helper")).mode, 0o755);
    let code = |name: &str| format!("{site}/__pycache__/{name}.cpython-{}.pyc", version.replace('.', ""));
    assert!(has(&contents, &code("other")) && has(&contents, &code("pure")));
    let stale = format!("{site}/py_tool/__pycache__/template.cpython-{}.pyc", version.replace('.', ""));
    assert!(version == "3.12" || !has(&contents, &stale), "what does not compile has no byte code");
    assert!(!contents.keys().any(|path| path.contains(".data/")), "nothing is left of the wheel's own folders");
    assert!(!text(&contents, "conda-meta/history").contains("py-tool"), "conda did not install it");
}

#[tokio::test]
async fn what_was_asked_for_is_noted() {
    let Some((world, version)) = world(&[]) else { return };
    let asked = BTreeMap::from([("py-tool".to_owned(), Asked::ByUrl), ("named".to_owned(), Asked::ByName)]);
    let choices = Choices { asked: BTreeMap::from([(Subdir::Linux64, asked)]), ..Choices::default() };
    let named = Wheel::new("named", "1").file("named.py", "");
    let built = build(&world, &[tool(), other(), named], &choices).await.unwrap();
    let notes = |contents: &Contents, folder: &str| {
        let path = |note: &str| format!("lib/python{version}/site-packages/{folder}.dist-info/{note}");
        assert_eq!(text(contents, &path("INSTALLER")), "esker\n");
        ["REQUESTED", "direct_url.json"].map(|note| has(contents, &path(note)).then(|| text(contents, &path(note))))
    };
    let amd64 = contents(&built, Platform::LinuxAmd64);
    let hash = tool().locked(Subdir::Linux64, WHEELS).sha256.unwrap();
    let url = format!(
        "{{\"archive_info\":{{\"hash\":\"sha256={hash}\",\"hashes\":{{\"sha256\":\"{hash}\"}}}},\
         \"url\":\"{WHEELS}py_tool-1.0-py3-none-any.whl\"}}"
    );
    assert_eq!(notes(&amd64, "py_tool-1.0"), [Some(String::new()), Some(url)]);
    assert_eq!(notes(&amd64, "named-1"), [Some(String::new()), None]);
    assert_eq!(notes(&amd64, "other-2.0"), [None, None]);
    // Only on linux-64 was it asked for.
    assert_eq!(notes(&contents(&built, Platform::LinuxArm64), "py_tool-1.0"), [None, None]);
}

/// Prints, for every distribution in a folder, name, version, commands, and the files whose hash is not the recorded one.
const JUDGE: &str = "
import base64, hashlib, importlib.metadata, sys
for dist in sorted(importlib.metadata.distributions(path=[sys.argv[1]]), key=lambda d: d.name):
    files = dist.files
    bad = [str(f) for f in files if not f.locate().is_file()]
    for f in files:
        if f.hash:
            digest = hashlib.new(f.hash.mode, f.read_binary()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b'=').decode() != f.hash.value or f.size != len(f.read_binary()):
                bad.append(str(f))
    print(dist.name, dist.version, len(files), sorted(e.name for e in dist.entry_points), bad)
";

#[tokio::test]
async fn python_and_pip_find_what_was_recorded() {
    let Some((world, version)) = world(&[]) else { return };
    let built = build(&world, &[tool(), other()], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    let root = tempfile::tempdir().unwrap();
    for (path, (entry, bytes)) in &contents {
        let place = root.path().join(path);
        if entry.kind == esker::oci::entries::EntryKind::File {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, bytes).unwrap();
        }
    }
    let site = root.path().join(format!("{}/lib/python{version}/site-packages", &PREFIX[1..]));
    let run = |args: &[&str]| run_python(args, &site);
    let site_arg = site.to_str().unwrap().to_owned();
    let told = run(&["-c", JUDGE, &site_arg]);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("other 2.0 ") && lines[0].ends_with(" [] []"), "{told}");
    assert!(lines[1].starts_with("py-tool 1.0 ") && lines[1].ends_with(" ['py-tool', 'window'] []"), "{told}");
    let recorded = text(&contents, &format!("lib/python{version}/site-packages/py_tool-1.0.dist-info/RECORD"));
    for path in ["../../../bin/window,sha256=", "../../../share/py-tool/data.txt,", "py_tool-1.0.dist-info/RECORD,,\n"]
    {
        assert!(recorded.contains(path), "{path} is missing in:\n{recorded}");
    }
    // All that is in the image of the wheels is in a RECORD, and nothing else.
    let lines = [recorded, text(&contents, &format!("lib/python{version}/site-packages/other-2.0.dist-info/RECORD"))];
    let files = contents.iter().filter(|(path, (entry, _))| {
        let ours = [format!("python{version}/"), "share/py-tool".into(), "/bin/".into()];
        entry.kind == esker::oci::entries::EntryKind::File
            && path.starts_with(&PREFIX[1..])
            && ours.iter().any(|part| path.contains(part.as_str()))
            && !path.ends_with(&format!("bin/python{version}"))
    });
    assert_eq!(lines.iter().map(|text| text.lines().count()).sum::<usize>(), files.count());
    if Command::new("python3").args(["-m", "pip", "--version"]).output().is_ok_and(|output| output.status.success()) {
        let listed = run(&["-m", "pip", "list", "--path", &site_arg, "--format", "freeze"]);
        assert_eq!(listed, "other==2.0\npy-tool==1.0\n");
        assert_eq!(run(&["-m", "pip", "check"]), "No broken requirements found.\n");
    } else {
        skipped("python3 has no pip");
    }
}

fn run_python(args: &[&str], site: &Path) -> String {
    let output =
        Command::new("python3").args(args).env("PYTHONPATH", site).env("PIP_CONFIG_FILE", "/dev/null").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn pure_wheels_are_shared_by_architectures_and_reproducible() {
    let Some((world, _)) = world(&[]) else { return };
    let first = build(&world, &[tool(), other()], &Choices::default()).await.unwrap();
    // other and py-tool, wherever they lie; python and the last are each architecture's own.
    let [amd64, arm64] = [Platform::LinuxAmd64, Platform::LinuxArm64].map(|platform| layers(&first, platform));
    assert_eq!(amd64.iter().filter(|layer| arm64.contains(layer)).count(), 2);
    let again = Choices { cache: "two".into(), output: "two".into(), jobs: 1, ..Choices::default() };
    assert_eq!(build(&world, &[other(), tool()], &again).await.unwrap().digest, first.digest);
}

#[tokio::test]
async fn a_file_of_a_conda_package_is_not_replaced() {
    let Some((_, version)) = world(&[]) else { return };
    let module = |content: &str| {
        let path = format!("lib/python{version}/site-packages/other.py");
        Pkg::new("lib-other", "1").native().file(&path, content).depends("python")
    };
    let (world, _) = world(&[module("x = 3\n")]).unwrap();
    let lock = world.lock_with(&["lib-other", "python"], &[other()]);
    let error = world.build_lock(&lock, &Choices::default()).await.unwrap_err();
    let expected = format!(
        "`lib/python{version}/site-packages/other.py` of package `other-2.0-py3-none-any.whl` is in package \
         `lib-other-1-0.conda` as well, with another content"
    );
    assert_eq!(error.to_string(), expected);

    // The same content is the conda package's.
    let (world, _) = self::world(&[module("x = 2\n")]).unwrap();
    let lock = world.lock_with(&["lib-other", "python"], &[other()]);
    let contents = contents(&world.build_lock(&lock, &Choices::default()).await.unwrap(), Platform::LinuxAmd64);
    assert!(text(&contents, "conda-meta/lib-other-1-0.json").contains("site-packages/other.py"));
    let record = text(&contents, &format!("lib/python{version}/site-packages/other-2.0.dist-info/RECORD"));
    assert!(!record.contains("other.py") && !record.contains(".pyc"), "{record}");
}

#[tokio::test]
async fn two_wheels_with_one_file() {
    let Some((world, _)) = world(&[]) else { return };
    let part = |name: &str, content: &str| Wheel::new(name, "1").file("space/__init__.py", content);
    build(&world, &[part("one", ""), part("two", "")], &Choices::default()).await.unwrap();
    let error = build(&world, &[part("one", ""), part("three", "x = 1\n")], &Choices::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Overlap { path, .. } if path.ends_with("space/__init__.py")), "{error}");
}

#[tokio::test]
async fn wheels_that_mean_harm_are_refused_by_name() {
    let bad = || Wheel::new("bad", "1").file("bad.py", "x = 1\n");
    let climbing =
        ["../../escaped", "a/../../escaped", "{data}/data/../../../../escaped", "{data}/scripts/../../escaped"];
    let mut cases: Vec<(Wheel, PathFault)> =
        climbing.iter().map(|path| (bad().file(path, "x"), PathFault::Climbs)).collect();
    cases.extend([
        (bad().file("/etc/passwd", "x"), PathFault::Absolute),
        (bad().file("a//b", "x"), PathFault::Odd),
        (bad().special("link", 0o120_777, "/etc/passwd"), PathFault::Link),
        (bad().special("su", 0o104_755, "x"), PathFault::SetId),
        (bad().special("dev", 0o020_666, ""), PathFault::Special),
        (bad().unlisted("hidden.py", "x = 2\n"), PathFault::NotListed),
        (bad().file("{data}/elsewhere/x", "x"), PathFault::UnknownScheme),
        (bad().file("{data}/data/conda-meta/forged-1-0.json", "{}"), PathFault::Record),
        (bad().file("{data}/purelib/bad.py", "x = 2\n"), PathFault::Twice),
    ]);
    for (wheel, expected) in cases {
        let Some(error) = refused(&wheel).await else { return };
        let Error::Path { package, fault, .. } = &error else { panic!("{expected:?}: {error}") };
        assert_eq!((package.as_str(), fault), ("bad-1-py3-none-any.whl", &expected));
    }
}

#[tokio::test]
async fn wheels_that_are_not_what_they_say() {
    let Some(error) = refused(&Wheel::new("bad", "1").lying("bad.py", "x = 1\n")).await else { return };
    assert!(matches!(&error, Error::RecordedHash { path, .. } if path == "bad.py"), "{error}");
    let error = refused(&Wheel::new("bad", "1").lying("{data}/scripts/bad", "#!/bin/sh\n")).await.unwrap();
    assert!(matches!(&error, Error::RecordedHash { path, .. } if path.ends_with("scripts/bad")), "{error}");
    let other = Wheel::new("bad", "1").file("{info}/METADATA", "Metadata-Version: 2.1\nName: good\nVersion: 1\n");
    let error = refused(&other).await.unwrap();
    assert_eq!(error.to_string(), "package `bad-1-py3-none-any.whl` says it is `good 1`");
    let newer = Wheel::new("bad", "1").file("{info}/WHEEL", "Wheel-Version: 2.0\n");
    assert!(matches!(refused(&newer).await.unwrap(), Error::Metadata { file: "WHEEL", .. }));
    let command = Wheel::new("bad", "1").file("{info}/entry_points.txt", "[console_scripts]\n../../x = a:b\n");
    assert!(matches!(refused(&command).await.unwrap(), Error::Metadata { file: "entry_points.txt", .. }));
}

#[tokio::test]
async fn a_wheel_that_is_a_bomb() {
    let bomb = Wheel::new("bad", "1").claimed("a.bin", "0", 1 << 31);
    let Some(error) = refused(&bomb).await else { return };
    assert!(matches!(&error, Error::TooLarge { package, .. } if package == "bad-1-py3-none-any.whl"), "{error}");
    // One that says it is small is read no further than that.
    for path in ["a.bin", "a.py", "{data}/scripts/a"] {
        let error = refused(&Wheel::new("bad", "1").claimed(path, "#!python and much more", 12)).await.unwrap();
        assert!(matches!(&error, Error::Archive { package, .. } if package == "bad-1-py3-none-any.whl"), "{error}");
        let error = refused(&Wheel::new("bad", "1").claimed(path, "#!python and no more", 40)).await.unwrap();
        assert!(matches!(&error, Error::Archive { package, .. } if package == "bad-1-py3-none-any.whl"), "{error}");
    }
}

async fn refused(wheel: &Wheel) -> Option<Error> {
    let (world, _) = world(&[])?;
    let before = std::fs::read_dir(world.folder.path()).unwrap().count();
    let error = build(&world, std::slice::from_ref(wheel), &Choices::default()).await.unwrap_err();
    // The cache, the layout and the wheels are new.
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), before + 3, "{error}");
    assert!(!world.path("image/index.json").exists(), "{error}");
    Some(error)
}

#[tokio::test]
async fn what_is_stripped_of_a_wheel_is_not_recorded() {
    let Some((world, version)) = world(&[]) else { return };
    let strip = esker::project::Strip::parse(["other.py".to_owned()]).unwrap();
    let built = build(&world, &[tool(), other()], &Choices { strip, ..Choices::default() }).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    let site = format!("lib/python{version}/site-packages");
    let record = text(&contents, &format!("{site}/other-2.0.dist-info/RECORD"));
    assert!(!has(&contents, &format!("{site}/other.py")) && !record.contains("other.py"), "{record}");
    assert!(!record.contains(".pyc"), "{record}");
}
