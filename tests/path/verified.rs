//! Verify runs what was built: as an ordinary user, with Docker, and not at all where the platform cannot run. (As
//! root, or whoever runs the tests, it is run by `esker make`.)

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use esker::oci::Platform;
use esker::verify::runtime::embedded::can_run;
use serde_json::Value;

use crate::common::{Ran, Sandbox, skipped};
use crate::real::{IMAGE, Project, host, json, run, text, usable};

/// The `nobody` of every Linux distribution.
const NOBODY: &str = "65534";

/// Checks the report of one platform: nothing failed, what did not run has a reason, and what counts most passed.
#[track_caller]
pub fn all_passed(platform: &Value, runtime: &str) {
    assert_eq!(platform["runtime"], runtime);
    let checks = platform["checks"].as_array().unwrap();
    let mut passed = Vec::new();
    for check in checks {
        match check["status"].as_str().unwrap() {
            "passed" => passed.push(check["name"].as_str().unwrap()),
            "not-run" => assert_ne!(check["reason"].as_str().unwrap(), "", "{check}"),
            _ => panic!("{check:#}"),
        }
    }
    for name in [
        "identity.conda",
        "identity.hashes",
        "contract.path",
        "hub.singleuser",
        "hub.arbitrary-user",
        "hub.read-only",
        "dask.scheduler-worker",
        "python.imports",
        "jupyter.server",
        "jupyter.kernels",
        "tests.notebooks",
    ] {
        assert!(passed.contains(&name), "`{name}` did not pass: {passed:?}");
    }
    let server = checks.iter().find(|check| check["name"] == "jupyter.server").unwrap();
    assert!(server["facts"]["jupyterlab"].as_str().unwrap().starts_with(char::is_numeric), "{server}");
}

/// Checks that `packages.txt` has exactly the packages that the explicit lock of this machine's platform has.
#[track_caller]
pub fn packages_are_the_locks(project: &Project) {
    let subdir = Platform::host().unwrap().subdir();
    let lock = project.read(&format!("conda-{subdir}.lock"));
    let urls = lock.lines().filter(|line| line.starts_with("https://"));
    let mut locked: Vec<String> = urls
        .map(|url| {
            let (_, file) = url.rsplit_once('/').unwrap();
            let mut parts = file.rsplitn(3, '-').skip(1);
            let (version, name) = (parts.next().unwrap(), parts.next().unwrap());
            format!("{name}=={version}")
        })
        .collect();
    locked.sort();
    let packages = project.read("packages.txt");
    let mut listed: Vec<_> = packages.lines().filter(|line| !line.starts_with('#')).collect();
    listed.sort_unstable();
    assert_eq!(listed, locked);
}

#[test]
fn an_ordinary_user_verifies() {
    let Some((project, _)) = Project::built() else { return };
    let arguments = ["verify", IMAGE, "--platform", &host(), "--json"];
    let mut user = project.command(&arguments);
    if nix::unistd::geteuid().is_root() {
        if !usable("setpriv", &["--version"]) {
            return;
        }
        // The program, too: where it lies may be closed to others.
        let esker = project.path("esker");
        fs_err::copy(env!("CARGO_BIN_EXE_esker"), &esker).unwrap();
        fs_err::create_dir(project.path("home")).unwrap();
        run("chown", &["-R", NOBODY, text(&project.path("project")), text(&project.path("home"))]);
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]).arg(esker);
        user = project.dressed(setpriv, &arguments);
        user.env("ESKER_CACHE_DIR", project.path("home/cache"));
    }
    let ran = Ran::new(user.output().unwrap());
    if ran.code == Some(3) && ran.stderr.contains("containers are not permitted here") {
        return skipped(&format!("an ordinary user may not make containers here: {}", ran.stderr.trim()));
    }
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    all_passed(&json(&ran)["images"][0]["platforms"][0], "embedded");
    packages_are_the_locks(&project);
}

/// The page of the real JupyterLab, seen by the real Chromium.
#[test]
fn a_browser_opens_jupyterlab_and_a_picture_is_kept() {
    if !usable("chromedriver", &["--version"]) || !usable("chromium", &["--version"]) {
        return;
    }
    let Some((project, _)) = Project::built() else { return };
    let ran = project.ok(&["verify", IMAGE, "--platform", &host(), "--only", "page", "--json", "--report", "report"]);
    let report = json(&ran);
    let checks = report["images"][0]["platforms"][0]["checks"].as_array().unwrap();
    let page = checks.iter().find(|check| check["name"] == "page.notebook").unwrap();
    assert_eq!(page["status"], "passed", "{page:#}");
    let picture = fs_err::read(page["facts"]["picture"].as_str().unwrap()).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n") && picture.len() > 20_000, "{} bytes", picture.len());
    // The report has it inside.
    let report = fs_err::read_to_string(project.path("project/report/report.html")).unwrap();
    assert!(report.contains(&STANDARD.encode(picture)));
}

/// The notebooks and the files for pytest that this repository has for `base-notebook` and `pangeo-notebook`, in an image that
/// has what they need. (Those of `ml-notebook` need packages that the real channel lacks.)
#[test]
fn this_repositorys_own_tests_run() {
    let Some((project, _)) = Project::built() else { return };
    let to = project.path("project/tests");
    fs_err::remove_dir_all(&to).unwrap();
    fs_err::create_dir_all(to.join(IMAGE)).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    fs_err::create_dir(to.join("common")).unwrap();
    fs_err::copy(tests.join("common/test_image.py"), to.join("common/test_image.py")).unwrap();
    for folder in ["base-notebook", "pangeo-notebook"] {
        for entry in fs_err::read_dir(tests.join(folder)).unwrap() {
            let from = entry.unwrap().path();
            fs_err::copy(&from, to.join(IMAGE).join(from.file_name().unwrap())).unwrap();
        }
    }
    let report = json(&project.ok(&["verify", IMAGE, "--platform", &host(), "--only", "tests", "--json"]));
    let checks = report["images"][0]["platforms"][0]["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    let (notebooks, pytest) = (check("tests.notebooks"), check("tests.pytest"));
    assert_eq!((&notebooks["status"], &pytest["status"]), (&"passed".into(), &"passed".into()), "{checks:#?}");
    assert_eq!((&notebooks["facts"]["notebooks"], &notebooks["facts"]["plots"]), (&"2".into(), &"1".into()));
}

#[test]
fn docker_verifies() {
    if !usable("docker", &["version"]) {
        return;
    }
    let Some((project, digest)) = Project::built() else { return };
    let ran = project.ok(&["verify", IMAGE, "--platform", &host(), "--runtime", "docker", "--json"]);
    let report = &json(&ran)["images"][0];
    assert_eq!(report["digest"], *digest);
    all_passed(&report["platforms"][0], "docker");
    packages_are_the_locks(&project);
}

#[test]
fn podman_verifies() {
    if !usable("podman", &["info"]) {
        return;
    }
    let Some((project, digest)) = Project::built() else { return };
    let arguments = ["verify", IMAGE, "--platform", &host(), "--runtime", "podman", "--json"];
    let ran = Ran::new(project.command(&arguments).output().unwrap());
    if ran.code == Some(3) {
        return skipped(&format!("Podman cannot run images here: {}", ran.stderr.trim()));
    }
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let report = &json(&ran)["images"][0];
    assert_eq!(report["digest"], *digest);
    all_passed(&report["platforms"][0], "podman");
    packages_are_the_locks(&project);
}

#[test]
fn a_platform_that_cannot_run_is_not_run() {
    let foreign = Platform::LinuxPpc64le;
    if can_run(foreign).is_ok() {
        return skipped(&format!("programs for {foreign} run here"));
    }
    let sandbox = Sandbox::new();
    sandbox.environment("tiny", &["certs"]);
    sandbox.write("channel/linux-ppc64le/repodata.json", br#"{"info": {"subdir": "linux-ppc64le"}, "packages": {}}"#);
    let config = "platforms: [linux/ppc64le]\nbase:\n  linux/ppc64le: rootfs:../base-amd64.tar\n";
    sandbox.write("project/esker.yml", config.as_bytes());
    sandbox.ok(&["lock"]);
    sandbox.build();
    // The tiny base has no shell, so that checks of its layers fail: what counts is what is said of running it.
    let ran = sandbox.run(&["verify", "tiny", "--json"]);
    let report = json(&ran);
    let platform = &report["images"][0]["platforms"][0];
    assert_eq!((&platform["platform"], &platform["runtime"]), (&"linux/ppc64le".into(), &Value::Null));
    let groups = ["entrypoint.", "hub.", "dask.", "python.", "jupyter.", "tests."];
    let checks = platform["checks"].as_array().unwrap().iter();
    let running: Vec<_> =
        checks.filter(|check| groups.iter().any(|group| check["name"].as_str().unwrap().starts_with(group))).collect();
    assert!(running.len() > 10, "{running:#?}");
    assert!(running.iter().all(|check| check["status"] == "not-run"), "{running:#?}");
    let reasons = running.iter().filter(|check| check["reason"] == "no binfmt handler for ppc64le");
    assert!(reasons.count() > 0, "{running:#?}");
    // What people read says so as well.
    let ran = sandbox.run(&["verify", "tiny"]);
    assert!(ran.stdout.contains("not run, no binfmt handler for ppc64le: entrypoint.exec"), "{}", ran.stdout);
}
