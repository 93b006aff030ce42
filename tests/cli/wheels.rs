//! Packages of pip, from `environment.yml` to an image that is verified.

use esker::oci::Platform;
use esker::oci::entries::EntryKind;
use esker::oci::{Layout, walk};

use super::*;
use crate::common::pypi::Wheel;
use crate::common::python::python;

const WHEELS: &str = "https://wheels.example.org/";

/// A project whose image has a Python that is this machine's, and a wheel by its URL.
fn sandbox() -> Option<Sandbox> {
    let (version, program) = python()?;
    let sandbox = Sandbox::new();
    let python = Pkg::new("python", &format!("{version}.0"))
        .native()
        .build("h1_0_cpython", 0)
        .executable(&format!("bin/python{version}"), format!("#!/bin/sh\nexec '{program}' \"$@\"\n"));
    // As conda-lock does, a lock of pip's packages has pip in it.
    let pip = Pkg::new("pip", "24.0").depends("python").file("share/pip", "pretend\n");
    sandbox.channel(&Sandbox::packages().package(python).package(pip));
    let wheel = Wheel::new("py-tool", "1.0").file("py_tool.py", "x = 1\n");
    sandbox.write(&format!("wheels/{}", wheel.file_name()), &wheel.bytes());
    let locked = wheel.locked(rattler_conda_types::Subdir::Linux64, WHEELS);
    let line = format!("py-tool @ {}#sha256={}", locked.url, locked.sha256.unwrap());
    sandbox.environment("tiny", &["python", &format!("pip:\n    - {line}")]);
    Some(sandbox)
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Ran {
    let forge = format!("https://conda.anaconda.org/conda-forge/=file://{}/", sandbox.path("channel").display());
    let wheels = format!("{WHEELS}=file://{}/", sandbox.path("wheels").display());
    let mut command = sandbox.command(arguments);
    Ran::new(command.env("ESKER_MIRROR", format!("{forge}\n{wheels}")).output().unwrap())
}

#[test]
fn a_wheel_of_the_environment_is_in_the_image() {
    let Some(sandbox) = sandbox() else { return };
    for arguments in [&["lock"][..], &["build"], &["verify", "--only", "identity"]] {
        let ran = run(&sandbox, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
    }
    let layout = Layout::open(sandbox.path("project/.esker/images/tiny")).unwrap();
    let image = layout.image(Platform::LinuxArm64).unwrap();
    let mut found = std::collections::BTreeMap::new();
    walk(&image, &layout, |entry, content| {
        let mut text = Vec::new();
        content.read_to_end(&mut text).unwrap();
        if entry.kind == EntryKind::File {
            found.insert(entry.path.file_name().unwrap().to_str().unwrap().to_owned(), text);
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(found["py_tool.py"], b"x = 1\n");
    assert_eq!((found["REQUESTED"].as_slice(), found["INSTALLER"].as_slice()), (&b""[..], &b"esker\n"[..]));
    assert!(String::from_utf8_lossy(&found["direct_url.json"]).contains(WHEELS));
    let report = run(&sandbox, &["verify", "--only", "identity.pip", "--json"]).stdout;
    assert!(report.contains("\"identity.pip\"") && report.contains("passed"), "{report}");
}

#[test]
fn an_image_with_wheels_and_a_parent_comes_out_again_without_its_project() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.environment("child", &["libfoo"]);
    let images = "layers: 4\nimages:\n  tiny: {}\n  child: {parent: tiny}\n";
    sandbox.write("project/esker.yml", format!("{}{images}", sandbox.read("project/esker.yml")).as_bytes());
    for arguments in [&["lock"][..], &["build", "child", "--output", "oci:../image"]] {
        let ran = run(&sandbox, arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
    }
    for folder in ["project", "cache"] {
        fs_err::remove_dir_all(sandbox.path(folder)).unwrap();
    }
    fs_err::create_dir(sandbox.path("project")).unwrap();
    let ran = run(&sandbox, &["rebuild", "oci:../image"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("oci:../image came out again: sha256:"), "{}", ran.stdout);
}
