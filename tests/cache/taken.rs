//! What a build takes from a published image, and what it still makes of packages.

use std::collections::BTreeSet;

use esker::oci::{Layout, validate};

use super::world::{World, channel, name, python};
use crate::common::Pkg;
use crate::fake_registry::records::records;
use crate::fake_registry::writable::{Fault, Features, Writable};

#[test]
fn a_build_elsewhere_downloads_the_package_that_changed() {
    let Some(python) = python() else { return };
    for features in [Features::default(), Features { referrers: false, ..Features::default() }] {
        let registry = Writable::start(features, |_| Fault::None, |_, reply| reply);
        let (one, two) = (name(&registry.address, "1"), name(&registry.address, "2"));
        let world = World::new(&python);
        let first = world.build(&["--output", &format!("registry:{one}")]);
        assert_eq!(first.taken("layers") + first.taken("parts"), 0, "there is nothing yet: {}", first.stderr);
        world.update(&python);
        let expected = world.digest_without();

        world.fresh();
        registry.forget();
        let built = world.build(&["--cache-from", &one, "--output", &format!("registry:{two}")]);
        assert_eq!(built.digest(), expected);
        assert_eq!(built.asked, BTreeSet::from(["certs-2025.1-0.conda".to_owned()]));
        assert_eq!(built.report["downloaded_packages"], 1);
        assert!(built.taken("layers") > 0 && built.taken("parts") > 0, "{}", built.report);
        assert!(built.stderr.contains("taken from published images"), "{}", built.stderr);
        let blobs: Vec<_> = registry.requests().into_iter().filter(|it| it.is_blob() && it.method == "GET").collect();
        let ranges = blobs.iter().filter(|request| request.header("range").is_some()).count();
        assert!(ranges > 0 && ranges <= 4, "parts side by side are asked for at once: {blobs:#?}");
        // Configurations, the record, and parts: whole layers stay where they are.
        assert_eq!(blobs.len() - ranges, 3, "{blobs:#?}");

        // Into a layout, of which nothing may be missing.
        world.fresh();
        let built = world.build(&["--cache-from", &one, "--output", &world.oci("out")]);
        assert_eq!((built.digest(), built.asked.len()), (expected.as_str(), 1));
        let layout = Layout::open(world.sandbox.path("out")).unwrap();
        validate(&layout).unwrap();
        // What a machine records that made all of it itself is what one records that did not.
        let documents = |name: &str| fs_err::read(world.sandbox.path(name).join("index.json")).unwrap();
        assert!(documents("out") == documents("another"));
    }
}

#[test]
fn a_build_elsewhere_of_the_same_needs_no_package() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let registry = Writable::proper();
    let first = world.build(&["--output", &format!("registry:{}", name(&registry.address, "latest"))]);
    for tag in ["latest", "2"] {
        world.fresh();
        let built = world.build(&["--output", &format!("registry:{}", name(&registry.address, tag))]);
        assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0), "{tag}: {}", built.stderr);
        assert_eq!(built.report["downloaded_packages"], 0);
        assert!(!built.stderr.contains("warning"), "{}", built.stderr);
        assert_eq!(records(&registry.state()).len(), 1, "the same is recorded by both");
    }
    // esker.yml names it, and all of the image is wanted here.
    world.fresh();
    let settings = world.sandbox.read("project/esker.yml");
    let named = format!("{settings}cache-from: ['{}']\n", name(&registry.address, "2"));
    world.sandbox.write("project/esker.yml", named.as_bytes());
    let built = world.build(&[]);
    assert_eq!((built.digest(), built.asked.len(), built.taken("parts")), (first.digest(), 0, 0));
    validate(&Layout::open(world.sandbox.path("project/.esker/images/tiny")).unwrap()).unwrap();
    // Nothing of it is in the cache: who is not told of the image makes everything.
    world.sandbox.write("project/esker.yml", settings.as_bytes());
    drop(fs_err::remove_dir_all(world.sandbox.path("project/.esker")));
    let built = world.build(&[]);
    assert_eq!(built.digest(), first.digest());
    assert!(built.asked.len() > 5, "{:?}", built.asked);
    assert_eq!(built.taken("layers"), 0);
    // Who has all of it asks nobody.
    registry.forget();
    world.build(&["--cache-from", &name(&registry.address, "2")]);
    assert_eq!(registry.log(), [""; 0]);
}

#[test]
fn files_that_two_packages_share_are_compared_all_the_same() {
    let Some(python) = python() else { return };
    let world = World::sharing(&python, "ns/shared.py");
    let registry = Writable::proper();
    let source = name(&registry.address, "1");
    let first = world.build(&["--output", &format!("registry:{source}")]);
    world.fresh();
    let built = world.build(&["--cache-from", &source]);
    assert_eq!(built.digest(), first.digest());
    let expected = ["py_tool-1.0-py3-none-any.whl", "spaced-1.0-0.conda"].map(str::to_owned);
    assert_eq!(built.asked, BTreeSet::from(expected), "their digests are in no record");
}

#[test]
fn packages_of_parents_need_not_be_there() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let settings = world.sandbox.read("project/esker.yml");
    world.sandbox.write("project/esker.yml", format!("{settings}images:\n  child: {{parent: tiny}}\n").as_bytes());
    channel(&python, "2024.1")
        .package(Pkg::new("extra", "1.0").file("share/extra", "extra"))
        .write(world.sandbox.path("channel"));
    world.sandbox.environment("child", &["extra", "certs >=2024"]);
    world.ok(&["lock", "--fresh"]);
    let registry = Writable::proper();
    let source = format!("{}/some/child:latest", registry.address);
    world.build_image("child", &["--output", &format!("registry:{source}")]);
    // The child alone is locked anew: its parent keeps what the child has no more.
    channel(&python, "2025.1")
        .package(Pkg::new("extra", "1.0").file("share/extra", "extra"))
        .write(world.sandbox.path("channel"));
    world.ok(&["lock", "child", "--update", "certs"]);
    let (cache, output) = (world.sandbox.path("another-cache"), world.oci("another"));
    let expected = world.build_image("child", &["--cache-dir", cache.to_str().unwrap(), "--output", &output]);
    assert!(expected.asked.iter().any(|name| name.starts_with("certs-2025")), "{:?}", expected.asked);
    world.fresh();
    let built = world.build_image("child", &["--output", &format!("registry:{source}")]);
    assert_eq!(built.digest(), expected.digest());
    assert_eq!(built.asked, BTreeSet::from(["certs-2025.1-0.conda".to_owned()]), "{}", built.stderr);
}
