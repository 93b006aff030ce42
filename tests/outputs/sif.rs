//! The SIF file that Apptainer makes, run by Apptainer. Skipped, loudly, where it is not installed or can run nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use esker::oci::Platform;

use super::locked;
use crate::common::{Sandbox, skipped};
use crate::tiny;

/// The program, if there is one under either of its names.
fn program() -> Option<&'static str> {
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success());
    ["apptainer", "singularity"].into_iter().find(is_there)
}

/// Puts a base into `sandbox` with a shell and a few programs of this machine, and returns its folder.
fn base(sandbox: &Sandbox, platform: Platform) -> PathBuf {
    let root = sandbox.path("root");
    fs_err::create_dir(&root).unwrap();
    tiny::fill(&root);
    // Apptainer's own scripts want it.
    tiny::add_program(&root, Path::new("/bin/sh"), "/bin/sh");
    for folder in ["dev", "proc", "sys", "tmp"] {
        fs_err::create_dir_all(root.join(folder)).unwrap();
    }
    fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    fs_err::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    fs_err::write(root.join("etc/profile"), "for file in /etc/profile.d/*.sh; do . \"$file\"; done\n").unwrap();
    let tar = sandbox.path(&format!("base-{}.tar", platform.architecture()));
    let arguments = ["--owner=0", "--group=0", "--numeric-owner", "-C"];
    let status = Command::new("tar").args(arguments).arg(&root).arg("-cf").arg(tar).arg(".").status().unwrap();
    assert!(status.success());
    root
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What was printed; Apptainer has notes of its own to make on stderr.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn an_image_runs_as_a_sif_file() {
    let Some(program) = program() else {
        return skipped("neither `apptainer` nor `singularity` is installed");
    };
    let sandbox = locked();
    let platform = Platform::host().unwrap();
    let root = base(&sandbox, platform);
    // Nothing of this machine in it: neither the folder of whoever runs it, nor variables.
    let run = |action: &str, image: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command.args([action, "--contain", "--cleanenv", "--no-privs"]).arg(image).args(words).output().unwrap()
    };
    let possible = run("exec", &root, &["/bin/bash", "-c", "echo good day"]);
    if !possible.status.success() {
        return skipped(&format!("{program} can set up no container: {}", text(&possible.stderr).trim()));
    }
    let file = sandbox.path("tiny.sif");
    let output = format!("sif:{}", file.display());
    let ran = sandbox.ok(&["build", "tiny", "--platform", &platform.to_string(), "--output", &output]);
    assert_eq!(ran.stdout.trim(), output);
    let configured = run("exec", &file, &["cat", "/srv/conda/envs/notebook/etc/foo.conf"]);
    assert_eq!(printed(&configured), "root=/srv/conda/envs/notebook\n");
    // Through the image's entrypoint and with its variables.
    let script = "echo $PANGEO_ENV $CONDA_ENV $NB_PYTHON_PREFIX";
    let started = run("run", &file, &["bash", "-c", script]);
    assert_eq!(printed(&started), "tiny notebook /srv/conda/envs/notebook\n");
    let failed = run("run", &file, &["bash", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7), "{}", text(&failed.stderr));
}
