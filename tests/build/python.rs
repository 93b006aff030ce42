//! Packages for Python: where they go, their commands, their byte code.

use esker::build::native::Error;
use esker::lock::Lock;
use esker::oci::Platform;
use rattler_conda_types::Subdir;

use crate::common::{Pkg, TinyChannel};
use crate::world::{Choices, PREFIX, World, contents, entry, has, layers, python, text};

fn hello() -> Pkg {
    Pkg::new("hello", "1.0")
        .entry_point("hello = hello.cli:main")
        .depends("python")
        .file("site-packages/hello/__init__.py", "")
        .file("site-packages/hello/cli.py", "def main():\n    print('hello')\n")
        .file("site-packages/hello/template.py", "{{ not python }}-\n")
        .file("python-scripts/old-script", "#!/usr/bin/env python\n")
}

fn world() -> Option<(World, String)> {
    let (python, version) = python()?;
    let compiled = Pkg::new("compiled", "1")
        .native()
        .file(&format!("lib/python{version}/site-packages/with.py"), "x = 1\n")
        .file(
            &format!("lib/python{version}/site-packages/__pycache__/with.cpython-{}.pyc", version.replace('.', "")),
            "shipped",
        )
        .file(&format!("lib/python{version}/site-packages/without.py"), "x = 1\n")
        .text_prefix(&format!("lib/python{version}/site-packages/placed.py"), "prefix = '{prefix}'\n");
    let channel = TinyChannel::new().package(python).package(hello()).package(compiled);
    Some((World::new(&channel), version))
}

#[tokio::test]
async fn noarch_packages_are_laid_out_for_the_environment_s_python() {
    let Some((world, version)) = world() else { return };
    let built = world.build(&["compiled", "hello", "python"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxArm64);
    let site = format!("lib/python{version}/site-packages");
    assert!(text(&contents, &format!("{site}/hello/cli.py")).starts_with("def main"));
    assert!(has(&contents, "bin/old-script"));
    let command = text(&contents, "bin/hello");
    assert!(command.starts_with(&format!("#!{PREFIX}/bin/python{version}\n")), "{command}");
    assert!(command.contains("from hello.cli import main"), "{command}");
    assert_eq!(entry(&contents, "bin/hello").mode, 0o755);
    let record = text(&contents, "conda-meta/hello-1.0-0.json");
    assert!(record.contains("unix_python_entry_point") && record.contains("\"pyc_file\""), "{record}");
}

#[tokio::test]
async fn modules_have_byte_code() {
    let Some((world, version)) = world() else { return };
    let built = world.build(&["compiled", "hello", "python"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    let site = format!("lib/python{version}/site-packages");
    let code = |module: &str| {
        let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
        let folder = if folder.is_empty() { site.clone() } else { format!("{site}/{folder}") };
        format!("{folder}/__pycache__/{name}.cpython-{}.pyc", version.replace('.', ""))
    };
    let cli = &contents[&format!("{}/{}", &PREFIX[1..], code("hello/cli"))].1;
    let name = format!("{PREFIX}/{site}/hello/cli.py");
    assert!(cli.windows(name.len()).any(|part| part == name.as_bytes()), "tracebacks show the path in the image");
    assert!(has(&contents, &code("hello/__init__")) && has(&contents, &code("without")));
    assert!(!has(&contents, &code("hello/template")), "what does not compile has none");
    assert_eq!(text(&contents, &code("with")), "shipped", "what is shipped stays");
    assert!(text(&contents, &code("placed")).contains(PREFIX), "made from the source as it is in the image");
}

#[tokio::test]
async fn python_layers_are_shared_and_reproducible() {
    let Some((world, _)) = world() else { return };
    let names = ["compiled", "hello", "python"];
    let first = world.build(&names, &Choices::default()).await.unwrap();
    let other = Choices { cache: "other".into(), output: "other".into(), jobs: 1, ..Choices::default() };
    assert_eq!(world.build(&names, &other).await.unwrap().digest, first.digest);
    // By name: compiled, hello, python, and the last.
    assert_eq!(layers(&first, Platform::LinuxAmd64)[1], layers(&first, Platform::LinuxArm64)[1], "hello is noarch");
}

#[tokio::test]
async fn platforms_together_have_the_layers_of_each_alone() {
    let Some((world, _)) = world() else { return };
    let names = ["compiled", "hello", "python"];
    let both = world.build(&names, &Choices::default()).await.unwrap();
    for platform in [Platform::LinuxAmd64, Platform::LinuxArm64] {
        let name = platform.architecture().to_owned();
        let choices = Choices { platforms: vec![platform], cache: name.clone(), output: name, ..Choices::default() };
        let alone = world.build(&names, &choices).await.unwrap();
        assert_eq!(layers(&alone, platform), layers(&both, platform), "{platform}");
    }
}

#[tokio::test]
async fn a_python_package_without_python() {
    let world = World::new(&TinyChannel::new().package(hello()));
    let error = world.build(&["hello"], &Choices::default()).await.unwrap_err();
    assert!(matches!(&error, Error::NoPython { package, .. } if package == "hello-1.0-0.conda"), "{error}");
}

#[tokio::test]
async fn byte_code_needs_a_python_that_runs_here() {
    let Some((world, version)) = world() else { return };
    let Some(host) = Platform::host() else { return };
    let foreign = Platform::ALL.into_iter().find(|platform| *platform != host).unwrap();
    let lock = world.channel.lock(&["hello", "python"]);
    let packages = lock.packages_for(foreign.subdir()).cloned().collect();
    let lock = Lock { subdirs: vec![foreign.subdir()], packages, ..lock };
    let choices = Choices { platforms: vec![foreign], ..Choices::default() };
    let error = world.build_lock(&lock, &choices).await.unwrap_err();
    let expected = format!("has no Python {version} for {}, the platform of this machine", host.subdir());
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert_ne!(foreign.subdir(), Subdir::NoArch);
}

#[tokio::test]
async fn a_python_that_does_not_run_is_named() {
    let python = Pkg::new("python", "3.12.1").native().executable("bin/python3.12", "#!/bin/sh\nexit 1\n");
    let world = World::new(&TinyChannel::new().package(python).package(hello()));
    let error = world.build(&["hello", "python"], &Choices::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Compiler { program, .. } if program.ends_with("bin/python3.12")), "{error}");
}
