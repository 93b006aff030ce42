//! Rendered Dockerfiles with real packages: images that the Docker engine builds are what the native engine builds, and
//! folders as Binder has them build on `base-image`.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::pypi::{Index, Wheel};
use crate::common::{Ran, Server, skipped};
use crate::real::{Project, host, json, run, text, usable};
use esker::oci::{Digest, Platform};
use esker::verify::runtime::embedded::can_run;

/// The project, locked, with its base where it looks for it; `None`, said to be skipped, without channel or engine.
fn project() -> Option<Project> {
    let project = Project::of("tests/real/docker")?;
    usable("docker", &["version"]).then_some(())?;
    symlink(project.real("base/oci"), project.path("project/base")).unwrap();
    project.ok(&["lock"]);
    Some(project)
}

/// Builds `image` with `engine`, and verifies it; returns the platform's report and what is said to be installed.
fn proven(project: &Project, image: &str, engine: &str, platform: &str, only: &[&str]) -> (Value, String) {
    project.ok(&["build", image, "--engine", engine, "--platform", platform]);
    let packages = project.path("project").join(image).join("packages.txt");
    drop(fs_err::remove_file(&packages));
    let mut arguments = vec!["verify", image, "--json"];
    only.iter().for_each(|check| arguments.extend(["--only", check]));
    let report = json(&project.ok(&arguments))["images"][0]["platforms"][0].clone();
    (report, fs_err::read_to_string(packages).unwrap_or_default())
}

/// What the SBOM that is kept beside `image` says of each package in it.
fn listed(project: &Project, image: &str) -> Vec<Value> {
    let sbom = json(&project.ok(&["sbom", image]));
    let packages = sbom["packages"].as_array().unwrap().iter();
    packages.filter(|package| package["primaryPackagePurpose"] != "CONTAINER").cloned().collect()
}

/// The checks that ended like this.
fn names<'a>(report: &'a Value, status: &str) -> BTreeSet<&'a str> {
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["status"] == status);
    checks.map(|check| check["name"].as_str().unwrap()).collect()
}

/// A package that only pip has.
const WHEEL: &str = "greetings";

/// Publishes a wheel, and adds it to an environment whose last lines are dependencies. Returns its address and its hash.
fn add_wheel(index: &Index, environment: &Path) -> (String, String) {
    let wheel = Wheel::new(WHEEL, "1.0").file("greetings.py", "HELLO = 'hello'\n");
    index.publish(std::slice::from_ref(&wheel));
    let (url, hash) = index.wheel(&wheel);
    let written = fs_err::read_to_string(environment).unwrap();
    fs_err::write(environment, format!("{written}  - pip:\n    - {WHEEL} @ {url}#sha256={hash}\n")).unwrap();
    (url, hash)
}

#[test]
fn both_engines_give_what_is_locked() {
    let Some(project) = project() else { return };
    let index = Index::new(&[]);
    let (url, hash) = add_wheel(&index, &project.path("project/pangeo-notebook/environment.yml"));
    project.ok(&["lock"]);
    let (docker, installed) = proven(&project, "pangeo-notebook", "docker", &host(), &[]);
    let listed = listed(&project, "pangeo-notebook");
    let (native, same) = proven(&project, "pangeo-notebook", "native", &host(), &[]);
    assert_eq!(installed, same);
    // Address, hashes and licence of each are what esker knows where it installs by itself.
    assert_eq!(listed, self::listed(&project, "pangeo-notebook"));
    assert!(listed.len() > installed.lines().count(), "those of the root prefix and of Debian as well");
    assert!(installed.lines().any(|line| line.starts_with("xarray==")), "{installed}");
    let wheel = listed.iter().find(|package| package["name"] == WHEEL).unwrap();
    assert!(wheel["downloadLocation"] == url.as_str() && wheel.to_string().contains(&hash), "{wheel:#}");
    assert!(names(&docker, "passed").contains("identity.pip"), "{docker:#}");
    for status in ["passed", "failed", "not-run"] {
        assert_eq!(names(&docker, status), names(&native, status), "{docker:#}");
    }
    assert!(names(&docker, "failed").is_empty() && names(&docker, "passed").contains("hub.singleuser"), "{docker:#}");
}

#[test]
fn a_wheel_that_is_not_the_locked_one_ends_the_build() {
    let Some(project) = project() else { return };
    let index = Index::new(&[]);
    let environment = project.path("project/base-notebook/environment.yml");
    let channel = "channels: [https://channel.example.org/real, nodefaults]\n";
    fs_err::write(&environment, format!("{channel}dependencies:\n  - python=3.11\n  - pip\n")).unwrap();
    add_wheel(&index, &environment);
    project.ok(&["lock"]);
    index.publish(&[Wheel::new(WHEEL, "1.0").file("greetings.py", "HELLO = 'good bye'\n")]);
    let platform = host();
    let build = ["build", "base-notebook", "--engine", "docker", "--platform", &platform];
    let ran = Ran::new(project.command(&build).output().unwrap());
    assert!(ran.code == Some(1) && ran.stderr.contains("HASHES"), "{}", ran.stderr);
}

#[test]
fn an_image_of_another_architecture_is_built_and_proven() {
    let Some(project) = project() else { return };
    let other = Platform::ALL.into_iter().find(|platform| *platform != Platform::host().unwrap()).unwrap();
    if let Err(why) = can_run(other) {
        return skipped(&why);
    }
    // Of few packages: under qemu each takes its time.
    let environment = project.path("project/base-notebook/environment.yml");
    let channel = "channels: [https://channel.example.org/real, nodefaults]\n";
    fs_err::write(environment, format!("{channel}dependencies: [python=3.11, pip, numpy]\n")).unwrap();
    project.ok(&["lock"]);
    let checks = ["contract", "identity", "entrypoint", "python.version", "python.imports"];
    let (report, _) = proven(&project, "base-notebook", "docker", &other.to_string(), &checks);
    assert!(names(&report, "passed").is_superset(&BTreeSet::from(["identity.conda", "python.imports"])), "{report:#}");
}

/// A folder beside the project's with the files of `tests/real/binder/NAME`, whose packages come from `server`.
fn repository(project: &Project, name: &str, server: &Server) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/binder").join(name);
    let folder = project.path(name);
    run("cp", &["-r", text(&source), text(&folder)]);
    let files = ["environment.yml", "binder/environment.yml"].map(|file| folder.join(file));
    for file in files.iter().filter(|file| file.is_file()) {
        let channel = server.url().to_string();
        let written = fs_err::read_to_string(file).unwrap();
        fs_err::write(file, written.replace("https://channel.example.org/real", channel.trim_end_matches('/')))
            .unwrap();
    }
    folder
}

/// Builds `folder` on the image `base` as `docker build` does.
fn built_on(base: &str, folder: &Path, tag: &str) -> Ran {
    let mut docker = Command::new("docker");
    docker
        .args(["build", "--force-rm", "--network", "host", "--tag", tag, "--build-arg"])
        .arg(format!("BASE_IMAGE={base}"));
    let dockerfiles = ["binder/Dockerfile", "Dockerfile"].map(|name| folder.join(name));
    let dockerfile = dockerfiles.iter().find(|file| file.is_file()).unwrap();
    Ran::new(docker.arg("--file").arg(dockerfile).arg(folder).output().unwrap())
}

/// A folder that is a Debian archive of one package: `tree`, which `apt.txt` of the folder `plain` asks for.
fn debian_archive(project: &Project) -> PathBuf {
    let (archive, package) = (project.path("archive"), project.path("tree"));
    for folder in ["archive/all", "tree/DEBIAN", "tree/usr/bin"] {
        fs_err::create_dir_all(project.path(folder)).unwrap();
    }
    let control = "Package: tree\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n";
    fs_err::write(package.join("DEBIAN/control"), format!("{control}Description: a tree\n")).unwrap();
    let program = package.join("usr/bin/tree");
    fs_err::write(&program, "#!/bin/sh\necho a tree\n").unwrap();
    run("chmod", &["0755", text(&program)]);
    run("dpkg-deb", &["--build", "--root-owner-group", text(&package), text(&archive.join("all/tree.deb"))]);
    let deb = fs_err::read(archive.join("all/tree.deb")).unwrap();
    let digest = Digest::of(&deb).hex();
    let file = format!("Filename: all/tree.deb\nSize: {}\nSHA256: {digest}\n", deb.len());
    fs_err::write(archive.join("all/Packages"), format!("{control}{file}Description: a tree\n")).unwrap();
    archive
}

/// Gives the image `from` a source of Debian packages in the place of its own, as `to`.
fn add_source(from: &str, source: &str, to: &str) {
    let list = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(list.path(), source).unwrap();
    let container = run("docker", &["create", from]);
    let container = container.trim();
    run("docker", &["cp", text(list.path()), &format!("{container}:/etc/apt/sources.list")]);
    // What `commit` takes over of an image leaves these out.
    let steps = run("docker", &["image", "inspect", "--format", "{{json .Config.OnBuild}}", from]);
    let steps: Vec<String> = serde_json::from_str(&steps).unwrap();
    let changes: Vec<_> = steps.iter().map(|step| format!("--change=ONBUILD {step}")).collect();
    let words = std::iter::once("commit").chain(changes.iter().map(String::as_str)).chain([container, to]);
    run("docker", &words.collect::<Vec<_>>());
    run("docker", &["rm", container]);
}

/// Removes an image from the engine when it is dropped.
struct Tag(String);

impl Drop for Tag {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["image", "rm", "--force", &self.0]).output());
    }
}

#[test]
fn folders_build_on_the_base_image_or_fail() {
    let Some(project) = project().filter(|_| usable("dpkg-deb", &["--version"])) else { return };
    let tag = |name: &str| Tag(format!("esker-test-{name}:{}", std::process::id()));
    let (by_docker, by_itself, child) = (tag("docker"), tag("native"), tag("child"));
    for (engine, Tag(name)) in [("docker", &by_docker), ("native", &by_itself)] {
        let output = format!("docker:{name}");
        project.ok(&["build", "base-image", "--engine", engine, "--platform", &host(), "--output", &output]);
    }
    let server = Server::start(project.real("channel"));

    let folder = repository(&project, "in-binder", &server);
    let ran = built_on(&by_docker.0, &folder, &child.0);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let said =
        run("docker", &["run", "--rm", &child.0, "bash", "-c", "cat built.txt; echo $WISHED; pwd; which python"]);
    assert!(said.contains("postBuild"), "{said}");
    assert!(said.ends_with("yes\n/home/jovyan\n/srv/conda/envs/notebook/bin/python\n"), "{said}");

    // The image that was built without Docker has the same steps. What follows on another line shows that a step's
    // failure is the build's.
    let folder = repository(&project, "plain", &server);
    let archive = Server::start(debian_archive(&project));
    let with_archive = tag("archive");
    let source = format!("deb [trusted=yes] {} all/\n", archive.url());
    add_source(&by_itself.0, &source, &with_archive.0);
    let ran = built_on(&with_archive.0, &folder, &child.0);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let said = run("docker", &["run", "--rm", &child.0, "bash", "-c", "tree; cat built.txt; echo $GREETED; id -u"]);
    assert!(said.starts_with("a tree\n"), "{said}");
    assert!(said.contains("postBuild") && said.ends_with("yes\n1000\n"), "{said}");
    let environment = fs_err::read_to_string(folder.join("environment.yml")).unwrap() + "  - no-such-package\n";
    fs_err::write(folder.join("apt.txt"), "# none\n\n").unwrap();
    // The earliest step last, as each breaks the build before those that came here first.
    for (file, content, expected) in [
        ("postBuild", "#!/bin/bash\nexit 7\n", "returned a non-zero code: 7"),
        ("requirements.txt", "./nowhere\n", "nowhere"),
        ("environment.yml", &environment, "no-such-package"),
        ("apt.txt", "no-such-debian-package\n", "returned a non-zero code"),
    ] {
        fs_err::write(folder.join(file), content).unwrap();
        let ran = built_on(&by_docker.0, &folder, &child.0);
        let output = ran.stdout + &ran.stderr;
        assert!(ran.code != Some(0) && output.contains(expected), "{file}: {output}");
    }
    fs_err::write(folder.join("apt.txt"), "").unwrap();
    fs_err::write(folder.join("conda-linux-ppc64le.lock"), "@EXPLICIT\n").unwrap();
    let ran = built_on(&by_docker.0, &folder, &child.0);
    let output = ran.stdout + &ran.stderr;
    assert!(ran.code != Some(0) && output.contains("only conda-linux-ppc64le.lock"), "{output}");
}
