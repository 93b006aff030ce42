//! Two builds in two places give one image, and neither needs much memory.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use esker::oci::{Image, Layout};

use crate::common::Ran;
use crate::real::{IMAGE, Project, digest_of, json};

/// What a build may use, in bytes.
const MEMORY: u64 = 1 << 30;

#[test]
fn a_cold_build_elsewhere_is_the_same_and_needs_little_memory() {
    let Some((here, digest)) = Project::built() else { return };
    let elsewhere = Project::cold().unwrap();
    let before = SystemTime::now();
    // Another umask, time zone, locale, number of threads and folder, and nothing in the cache.
    let strange = |arguments: &[String]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "umask 077; exec \"$0\" --jobs 4 \"$@\"", env!("CARGO_BIN_EXE_esker")]);
        let mut command = elsewhere.dressed(shell, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        command.env("TZ", "Asia/Kolkata").env("LC_ALL", "tr_TR.UTF-8");
        let (ran, memory) = measured(command);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        (ran, memory)
    };
    strange(&["lock".to_owned()]);
    for name in ["conda-lock.yml", "conda-linux-64.lock", "conda-linux-aarch64.lock"] {
        assert_eq!(elsewhere.read(name), here.read(name), "{name}");
    }
    let (ran, memory) = strange(&elsewhere.build_arguments("build", &[]));
    assert_eq!(digest_of(&json(&ran)), digest, "the digest of the index");
    assert!(memory < MEMORY, "the build used {} MiB", memory >> 20);
    // A measurement that sees nothing would pass as well.
    assert!(memory > 10 << 20, "the build seems to have used {memory} bytes");

    for image in Layout::open(elsewhere.layout()).unwrap().images().unwrap() {
        says_nothing_of_now(&elsewhere.layout(), &image, before);
    }
}

/// No time in the image is that of the build, which began at `before`.
fn says_nothing_of_now(layout: &Path, image: &Image, before: SystemTime) {
    let layout = Layout::open(layout).unwrap();
    let config: serde_json::Value =
        serde_json::from_slice(&fs_err::read(layout.blob_path(&image.config_digest)).unwrap()).unwrap();
    let times = config["history"].as_array().unwrap().iter().map(|layer| &layer["created"]);
    for created in times.chain([&config["created"]]) {
        let created: jiff::Timestamp = created.as_str().unwrap().parse().unwrap();
        assert!(SystemTime::from(created) < before, "{created}");
    }
    let mut files = 0;
    for layer in &image.layers {
        let file = fs_err::File::open(layout.blob_path(&layer.digest)).unwrap();
        for entry in tar::Archive::new(plain(file)).entries().unwrap() {
            let entry = entry.unwrap();
            let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(entry.header().mtime().unwrap());
            assert!(modified < before, "{}", entry.path().unwrap().display());
            files += 1;
        }
    }
    assert!(files > 10_000, "{IMAGE} has only {files} files");
}

/// A layer without its compression, gzip (of the base) or zstd.
fn plain(mut file: fs_err::File) -> Box<dyn Read> {
    use std::io::Seek;
    let mut magic = [0; 2];
    file.read_exact(&mut magic).unwrap();
    file.rewind().unwrap();
    match magic {
        [0x1f, 0x8b] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xb5] => Box::new(zstd::Decoder::new(file).unwrap()),
        _ => Box::new(file),
    }
}

/// Runs `command` to its end; also how much memory, in bytes, it and the programs it started had at most at once.
fn measured(mut command: Command) -> (Ran, u64) {
    let child = command.spawn().unwrap();
    let id = child.id();
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        // A process that ended has no memory any more, not even before it is waited for.
        while let Some(now) = memory(id) {
            most = most.max(now);
            std::thread::sleep(Duration::from_millis(10));
        }
        most
    });
    let ran = Ran::new(child.wait_with_output().unwrap());
    (ran, watch.join().unwrap())
}

/// The most that process `id` ever had, as the kernel keeps it, and the same of each of its children that still runs.
fn memory(id: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let own: u64 = most.trim().strip_suffix(" kB")?.parse().ok()?;
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children = children.flat_map(|ids| ids.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<u32>>());
    Some(own * 1024 + children.filter_map(memory).sum::<u64>())
}
