//! A channel that says anything at all: an answer or an error, and nothing outside of the cache.

use serde_json::{Value, json};

use super::*;

const GOOD_MD5: &str = "0123456789abcdef0123456789abcdef";

/// A record that is right, with some of it replaced.
fn record(changes: &Value) -> Value {
    let mut record = json!({
        "name": "a", "version": "1.0", "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64",
        "md5": GOOD_MD5, "sha256": GOOD_MD5.repeat(2), "size": 10, "timestamp": 1_700_000_000_000_i64,
    });
    for (key, value) in changes.as_object().unwrap() {
        record[key] = value.clone();
    }
    record
}

fn repodata(file: &str, record: &Value) -> Vec<u8> {
    json!({"info": {"subdir": "linux-64"}, "packages": {}, "packages.conda": {file: record}, "repodata_version": 1})
        .to_string()
        .into_bytes()
}

/// Solves for `a` against a channel of which linux-64 says `content`.
async fn solved(content: &[u8]) -> (World, Result<Lock, Error>) {
    let world = world(&TinyChannel::new());
    fs_err::write(world.folder.path().join("channel/linux-64/repodata.json"), content).unwrap();
    let mut spec = LockSpec::of(&world.image(&["a"])).unwrap();
    spec.subdirs.truncate(1);
    let lock = solve(&spec, None, &world.client(), &Silent).await;
    (world, lock)
}

/// No panic, and nothing written but below `cache`.
async fn survives(label: &str, content: &[u8]) {
    let (world, result) = solved(content).await;
    match &result {
        Err(error) => {
            let words = format!("{error} {error:?}");
            assert!(!words.contains("panic"), "{label}: {words}");
        }
        Ok(lock) => {
            let again = Lock::parse(Path::new("again"), &lock.to_conda_lock_yaml()).unwrap();
            assert_eq!(again.packages, lock.packages, "{label}");
            for package in &lock.packages {
                assert!(package.url.as_str().starts_with(CONDA_FORGE), "{label}: {}", package.url);
                if let Ok(path) = world.client().package_path(package) {
                    assert!(path.starts_with(world.folder.path().join("cache")), "{label}: {}", path.display());
                    assert!(path.components().all(|part| part != std::path::Component::ParentDir), "{label}");
                }
            }
        }
    }
    let names: Vec<_> = files_in(world.folder.path());
    assert_eq!(names, ["cache", "channel", "image"], "{label}");
    assert_eq!(files_in(&world.folder.path().join("image")), ["environment.yml"], "{label}");
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("rattler"));
    names.sort();
    names
}

#[tokio::test]
async fn the_record_these_tests_spoil_is_right() {
    let (_, lock) = solved(&repodata("a-1.0-0.conda", &record(&json!({})))).await;
    assert_eq!(versions(&lock.unwrap(), Subdir::Linux64), ["a=1.0"]);
}

#[tokio::test]
async fn records_may_say_anything() {
    for (label, changes) in [
        ("a name that climbs", json!({"name": "../../a"})),
        ("a name with a NUL", json!({"name": "a\u{0}b"})),
        ("no name", json!({"name": null})),
        ("a name that is a number", json!({"name": 5})),
        ("no version", json!({"version": ""})),
        ("an invalid version", json!({"version": "../1"})),
        ("a version that is a number", json!({"version": 1.5})),
        ("a version of many digits", json!({"version": "9".repeat(400)})),
        ("a build that climbs", json!({"build": "../../../x"})),
        ("a build of control characters", json!({"build": "\u{7f}\n\u{1b}[31m"})),
        ("a negative build number", json!({"build_number": -1})),
        ("a huge build number", json!({"build_number": 1e300})),
        ("a huge size", json!({"size": u64::MAX})),
        ("a negative size", json!({"size": -5})),
        ("a time beyond time", json!({"timestamp": i64::MAX})),
        ("a time before time", json!({"timestamp": i64::MIN})),
        ("depends is text", json!({"depends": "python"})),
        ("depends has numbers", json!({"depends": [1, null]})),
        ("depends is garbage", json!({"depends": ["=", "[", "a b c d e", "\u{0}", "", " ", "python >=", "../x"]})),
        ("depends on itself", json!({"depends": ["a"]})),
        ("depends on a pattern", json!({"depends": ["*", "^a.*$"]})),
        ("depends on a path", json!({"depends": ["/etc/passwd", "https://host/x-1-0.conda"]})),
        ("constrains is garbage", json!({"constrains": ["=", "b >=", "*"]})),
        ("hashes of another length", json!({"md5": "ff", "sha256": "../../x"})),
        ("no hashes", json!({"md5": null, "sha256": null})),
        ("another subdir", json!({"subdir": "../noarch"})),
        ("track_features is a list of numbers", json!({"track_features": [1]})),
    ] {
        survives(label, &repodata("a-1.0-0.conda", &record(&changes))).await;
    }
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let record = repodata("a-1.0-0.conda", &record(&json!({"extra": "DEEP"})));
    let record = String::from_utf8(record).unwrap().replace("\"DEEP\"", &deep);
    survives("an extra field, nested deeply", record.as_bytes()).await;
}

#[tokio::test]
async fn file_names_may_be_anything() {
    for file in [
        "../../../a-1.0-0.conda",
        "/etc/a-1.0-0.conda",
        "https://elsewhere.example/a-1.0-0.conda",
        "%2e%2e%2f%2e%2e%2fa-1.0-0.conda",
        "a-1.0-0.conda\u{0}",
        "a-1.0-0.exe",
        "a.conda",
        "..",
        "",
    ] {
        survives(file, &repodata(file, &record(&json!({})))).await;
    }
}

#[tokio::test]
async fn the_file_itself_may_be_anything() {
    let nested = [b"{\"packages\":".repeat(100_000), b"[".repeat(100_000)].concat();
    for (label, content) in [
        ("nothing", &b""[..]),
        ("a list", b"[]"),
        ("null", b"null"),
        ("cut short", b"{\"packages.conda\": {\"a-1.0-0.conda\": {\"name\""),
        ("no UTF-8", b"{\"packages\": {\"\xff\xfe\": {}}}"),
        ("NUL bytes", &[0; 1000]),
        ("packages is a list", b"{\"info\": {}, \"packages\": [], \"packages.conda\": 5}"),
        ("deep nesting", &nested),
    ] {
        survives(label, content).await;
    }
}

#[tokio::test]
async fn packages_may_be_said_to_be_anywhere() {
    // CEP 15 lets a channel keep its packages elsewhere. The cache goes by hashes.
    for base in ["../../../../..", "https://elsewhere.example/../../x/", "file:///etc/", "//", "\u{0}"] {
        let repodata = json!({
            "info": {"subdir": "linux-64", "base_url": base},
            "packages.conda": {"a-1.0-0.conda": record(&json!({}))},
        });
        let (world, result) = solved(repodata.to_string().as_bytes()).await;
        for package in result.iter().flat_map(|lock| &lock.packages) {
            let path = world.client().package_path(package).unwrap();
            let expected = world.folder.path().join("cache/packages").join(GOOD_MD5.repeat(2)).join("a-1.0-0.conda");
            assert_eq!(path, expected, "{base}");
        }
    }
}
