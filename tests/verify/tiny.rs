//! A tiny image from programs of this machine: bash, a few others, and the libraries they load.

use std::path::{Path, PathBuf};
use std::process::Command;

use esker::verify::runtime::ContainerConfig;
use esker::verify::runtime::embedded::{Embedded, UnpackedImage};

const PROGRAMS: [&str; 5] = ["/bin/bash", "/bin/sleep", "/bin/cat", "/bin/ls", "/bin/mkfifo"];

/// Where the `esker` program is. It is another place for tests run as a user who cannot see the build directory.
pub fn esker() -> PathBuf {
    std::env::var_os("ESKER_TEST_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_esker").into(), PathBuf::from)
}

/// Puts a program of this machine, and the libraries it loads, into `root`.
pub fn add_program(root: &Path, from: &Path, to: &str) {
    let real = fs_err::canonicalize(from).unwrap();
    let listing = Command::new("ldd").arg(&real).output().unwrap().stdout;
    let listing = String::from_utf8(listing).unwrap();
    // `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
    let libraries = listing.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    for (from, to) in libraries.map(|library| (library.clone(), library)).chain([(real, to.into())]) {
        let to = root.join(to.strip_prefix("/").unwrap());
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::copy(fs_err::canonicalize(from).unwrap(), to).unwrap();
    }
}

/// Fills `root` with the tiny file system.
pub fn fill(root: &Path) {
    for program in PROGRAMS {
        add_program(root, Path::new(program), program);
    }
    for directory in ["etc", "home/jovyan", "srv"] {
        fs_err::create_dir_all(root.join(directory)).unwrap();
    }
    // As an ordinary user's file it already appears as the image's user's.
    std::os::unix::fs::chown(root.join("home/jovyan"), Some(1000), Some(1000)).unwrap_or_default();
    fs_err::write(root.join("etc/passwd"), "jovyan:x:1000:1000::/home/jovyan:/bin/bash\n").unwrap();
    fs_err::write(root.join("srv/start"), "#!/bin/bash\nexport STARTED=yes\nexec \"$@\"\n").unwrap();
    let executable = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    fs_err::set_permissions(root.join("srv/start"), executable).unwrap();
}

/// The configuration of the tiny image.
pub fn config() -> ContainerConfig {
    let env = [("PATH", "/bin:/usr/bin"), ("HOME", "/home/jovyan"), ("GREETING", "good day")];
    ContainerConfig {
        entrypoint: vec!["/srv/start".into()],
        cmd: vec!["bash".into(), "-c".into(), "echo the default".into()],
        env: env.map(|(name, value)| (name.into(), value.into())).into(),
        working_dir: "/home/jovyan".into(),
        user: "jovyan".into(),
    }
}

fn unpacked(work: &Path, change: impl FnOnce(&Path)) -> UnpackedImage {
    let image = UnpackedImage::new::<esker::verify::runtime::Error>(work, config(), |root, _| {
        fill(root);
        change(root);
        Ok(())
    });
    image.unwrap()
}

/// The tiny image, unpacked below `work` after `change` was made to it.
pub fn changed(work: &Path, change: impl FnOnce(&Path)) -> Embedded {
    Embedded::new(unpacked(work, change), Some(&esker()))
}

/// The tiny image, unpacked below `work`.
pub fn image(work: &Path) -> Embedded {
    changed(work, |_| {})
}

/// The tiny image with another program in the place of esker.
pub fn image_run_by(work: &Path, program: &Path) -> Embedded {
    Embedded::new(unpacked(work, |_| {}), Some(program))
}
