//! Every parser of what esker is given from outside, by name, and what must hold whatever it is given: no panic, an error
//! that says where, and what was read and written again is read as the same.
//!
//! The fuzz targets and `tests/lock/corpus.rs` both compile this file. It goes through public functions only, and
//! through files where those take files.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use esker::apt::{self, AptLock};
use esker::build::debian;
use esker::channel::{self, Client};
use esker::lock::{self, Lock, LockSpec};
use esker::progress::Silent;
use esker::project::{self, Mirror, Project};
use tokio::runtime::Runtime;

/// A parser: takes any bytes, panics where something does not hold.
pub type Parser = fn(&[u8]);

/// All of them; each has a target and a folder of `tests/corpus` of its name.
pub const ALL: [(&str, Parser); 11] = [
    ("environment", environment),
    ("project", project),
    ("virtual_packages", virtual_packages),
    ("spec", spec),
    ("conda_lock", conda_lock),
    ("explicit_lock", explicit_lock),
    ("repodata", repodata),
    ("netrc", netrc),
    ("apt_lock", apt_lock),
    ("debian_control", debian_control),
    ("maintainer_script", maintainer_script),
];

const ENVIRONMENT: &str = "channels: [conda-forge]\ndependencies: [a]\n";
const CHANNEL: &str = "https://conda.anaconda.org/conda-forge/";

/// `environment.yml`, up to what a solver would be asked.
pub fn environment(data: &[u8]) {
    let folder = folder();
    write(&folder, "image/environment.yml", data);
    requests(&folder, "environment.yml");
}

/// `esker.yml` beside three images.
pub fn project(data: &[u8]) {
    let folder = folder();
    write(&folder, "esker.yml", data);
    for image in ["a", "b", "base-image"] {
        write(&folder, &format!("{image}/environment.yml"), ENVIRONMENT.as_bytes());
    }
    requests(&folder, "esker.yml");
}

/// `virtual-packages.yml` of an image.
pub fn virtual_packages(data: &[u8]) {
    let folder = folder();
    write(&folder, "image/environment.yml", ENVIRONMENT.as_bytes());
    write(&folder, "image/virtual-packages.yml", data);
    requests(&folder, "virtual-packages.yml");
}

/// One line of `dependencies`.
pub fn spec(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let is_spec = project::match_spec(text.trim()).is_ok();
    let quoted = serde_json::to_string(text).expect("text is JSON");
    let folder = folder();
    let environment = format!("channels: [c]\ndependencies:\n- {quoted}\n");
    write(&folder, "image/environment.yml", environment.as_bytes());
    let understood = requests(&folder, "environment.yml");
    assert!(is_spec || !understood, "`{text}` is no specification and was taken for one");
}

/// `conda-lock.yml`.
pub fn conda_lock(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Lock::parse(Path::new("lock.yml"), text) {
        Ok(lock) => check_lock(&lock),
        Err(error) => assert_named(&error, "lock.yml"),
    }
}

/// `conda-<subdir>.lock`.
pub fn explicit_lock(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Lock::parse_explicit(Path::new("explicit.lock"), text) {
        Ok(lock) => {
            for &subdir in &lock.subdirs {
                let again = Lock::parse_explicit(Path::new("again.lock"), &lock.explicit(subdir));
                let urls = |lock: &Lock| {
                    let mut urls: Vec<_> = lock.packages.iter().map(|package| package.url.to_string()).collect();
                    urls.sort();
                    urls.dedup();
                    urls
                };
                // Of packages of one name only one is installed.
                let again = urls(&again.expect("what was written is read"));
                assert!(again.iter().all(|url| urls(&lock).contains(url)), "{again:?}");
            }
        }
        Err(error) => assert_named(&error, "explicit.lock"),
    }
}

/// `repodata.json` of a subdir, up to a lock.
pub fn repodata(data: &[u8]) {
    CHANNELS.with(|(channels, client)| repodata_of(channels, client, data));
}

fn repodata_of(channels: &tempfile::TempDir, client: &Client, data: &[u8]) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = folder();
    // What the client knows of one channel it keeps.
    let label = format!("label/{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let channel = channels.path().join("channels").join(&label);
    write(channels, &format!("channels/{label}/linux-64/repodata.json"), data);
    write(channels, &format!("channels/{label}/noarch/repodata.json"), br#"{"packages": {}, "packages.conda": {}}"#);
    let environment = format!("channels: [conda-forge/{label}]\ndependencies: [a]\n");
    write(&folder, "image/environment.yml", environment.as_bytes());
    write(&folder, "esker.yml", b"lock-subdirs: [linux-64]\nplatforms: [linux/amd64]\n");
    let project = Project::open(folder.path()).expect("a project");
    let spec = LockSpec::of(project.images.values().next().expect("an image")).expect("a request");
    match runtime().block_on(lock::solve(&spec, None, client, &Silent)) {
        Ok(lock) => {
            check_lock(&lock);
            for path in lock.packages.iter().filter_map(|package| client.package_path(package).ok()) {
                let inside = path.components().all(|part| part != std::path::Component::ParentDir);
                assert!(inside && path.starts_with(client.cache_dir()), "{}", path.display());
            }
        }
        Err(error) => assert!(!error.to_string().contains("panic"), "{error}"),
    }
    drop(fs::remove_dir_all(channel));
}

thread_local! {
    /// A folder whose `channels/` is a mirror of conda-forge, and a client that knows it: making one takes long. A
    /// thread's own, so that the folder goes with the thread.
    static CHANNELS: (tempfile::TempDir, Client) = {
        let folder = folder();
        let mirror = format!("{CHANNEL}=file://{}/channels/", folder.path().display());
        let mirrors = vec![Mirror::parse(&mirror).expect("a mirror")];
        let options = channel::Options { mirrors, ..channel::Options::new(folder.path().join("cache")) };
        (folder, Client::new(options).expect("a client"))
    };
}

/// `.netrc`.
pub fn netrc(data: &[u8]) {
    let folder = folder();
    write(&folder, "netrc", data);
    let netrc = folder.path().join("netrc");
    let options = channel::Options { netrc: Some(netrc), ..channel::Options::new(folder.path().join("cache")) };
    if let Err(error) = Client::new(options) {
        assert_named(&error, "netrc");
    }
}

/// Opens the project and makes the requests of its images; `file` is the one that may be at fault. Says whether all is
/// well.
fn requests(folder: &tempfile::TempDir, file: &str) -> bool {
    let project = match Project::open(folder.path()) {
        Ok(project) => project,
        Err(error) => {
            assert_named(&error, file);
            return false;
        }
    };
    let mut well = true;
    for image in project.images.values() {
        if let Err(error) = LockSpec::of(image) {
            assert_named(&error, file);
            well = false;
        }
    }
    well
}

/// What holds of every lock, wherever it comes from.
fn check_lock(lock: &Lock) {
    let text = lock.to_conda_lock_yaml();
    let again = Lock::parse(Path::new("again.yml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!((&again.packages, &again.channels), (&lock.packages, &lock.channels), "{text}");
    assert_eq!((&again.sources, &again.subdirs), (&lock.sources, &lock.subdirs), "{text}");
    for &subdir in &lock.subdirs {
        lock.explicit(subdir);
        lock.packages_txt(subdir);
    }
    for stale in lock::holds(request(), lock) {
        assert!(!stale.to_string().is_empty());
    }
}

/// `apt-lock.yml`, and written again.
pub fn apt_lock(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match AptLock::parse(text, Path::new("apt-lock.yml")) {
        Ok(lock) => {
            let again = AptLock::parse(&lock.text(), Path::new("apt-lock.yml"));
            assert_eq!(again.expect("what was written is read"), lock);
        }
        Err(error) => assert_named(&error, "apt-lock.yml"),
    }
}

/// `Packages`, `status` and the like: paragraphs, what they say of other packages, versions and their order.
pub fn debian_control(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut versions = Vec::new();
    for paragraph in apt::control::paragraphs(&text).map(apt::control::Paragraph::parse) {
        for (_, value) in paragraph.fields() {
            versions.extend(value.parse::<apt::version::Version>());
            for relation in apt::relation::list(value).unwrap_or_default() {
                let again = apt::relation::Relation::parse(&relation.to_string());
                assert_eq!(again.expect("what was written is read"), relation);
            }
        }
    }
    for pair in versions.windows(2) {
        assert_eq!(pair[0].cmp(&pair[1]), pair[1].cmp(&pair[0]).reverse());
    }
    drop(apt::installed_digest(&text));
}

/// A maintainer script, which is read and never run.
pub fn maintainer_script(data: &[u8]) {
    drop(debian::shell::parse(&String::from_utf8_lossy(data)));
}

fn assert_named(error: &dyn std::error::Error, file: &str) {
    let message = error.to_string();
    assert!(message.contains(file), "where is it? {message}");
    assert!(!message.contains("panic"), "{message}");
}

/// A request to hold locks against.
fn request() -> &'static LockSpec {
    static REQUEST: OnceLock<LockSpec> = OnceLock::new();
    REQUEST.get_or_init(|| {
        let folder = folder();
        write(&folder, "image/environment.yml", b"channels: [conda-forge]\ndependencies: [a >=1, {pip: [b]}]\n");
        let project = Project::open(folder.path()).expect("a project");
        LockSpec::of(project.images.values().next().expect("an image")).expect("a request")
    })
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// A folder in memory, if there is one.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn write(folder: &tempfile::TempDir, name: &str, content: &[u8]) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().expect("a folder around it")).expect("a folder");
    fs::write(path, content).expect("a file");
}
