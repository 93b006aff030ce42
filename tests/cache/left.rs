//! Layers that a build for a registry alone left there.

use std::collections::BTreeSet;
use std::path::Path;

use esker::oci::{Layout, validate};

use serde_json::Value;

use super::world::{REPOSITORY, World, name, python};
use crate::fake_registry::writable::Writable;

#[test]
fn layers_that_stayed_in_the_registry_come_when_they_are_needed() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let registry = Writable::proper();
    let target = format!("registry:{}", name(&registry.address, "1"));
    let first = world.build(&["--output", &target]);
    world.fresh();
    let built = world.build(&["--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    let layout = || Layout::open(world.sandbox.path("project/.esker/images/tiny")).unwrap();
    assert!(validate(&layout()).is_err(), "layers stay where they are");
    // Without them nothing is verified, and without network they do not come.
    world.run(&["verify", "--offline"]).fails(3, &["does not hold the blob", "build it again"]);
    // The checks themselves may fail: there is no Jupyter in this image.
    registry.forget();
    let ran = world.run(&["verify", "--only", "files", "--json"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{:?} {}", ran.code, ran.stderr);
    assert!(ran.stdout.contains(first.digest()), "{}", ran.stdout);
    validate(&layout()).unwrap();
    let pulled = |registry: &Writable| registry.requests().iter().filter(|it| it.is_blob()).count();
    assert!(pulled(&registry) > 1, "{:#?}", registry.log());
    // They stay, and the next build knows them.
    registry.forget();
    world.run(&["verify", "--only", "files"]);
    assert_eq!(pulled(&registry), 0, "{:#?}", registry.log());
    // Pushed on to another registry, they are carried there.
    world.fresh();
    world.build(&["--output", &target]);
    let other = Writable::proper();
    world.ok(&["push", "tiny", &name(&other.address, "2")]);
    let blobs = |registry: &Writable| registry.state().blobs.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(blobs(&registry), blobs(&other));
    // What is not there any more, or is another, is told; the layout is not made worse.
    world.fresh();
    world.build(&["--output", &target]);
    for ((_, digest), bytes) in &registry.state().blobs {
        if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            registry.spoil(REPOSITORY, digest);
        }
    }
    world.run(&["verify", "--only", "files"]).fails(3, &[&registry.address]);
    // `make` verifies, and so builds what is missing: here nobody has said where else it is.
    let ran = world.run(&["make", "--only", "files", "--json"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{:?} {}", ran.code, ran.stderr);
    assert!(ran.stdout.contains(first.digest()), "{}", ran.stdout);
    validate(&layout()).unwrap();
}

/// A machine where `tiny` was built whole into the layout `whole`, and then for a registry alone, which has its layers.
fn left() -> Option<(World, Writable)> {
    let python = python()?;
    let world = World::new(&python);
    let registry = Writable::proper();
    let target = format!("registry:{}", name(&registry.address, "1"));
    world.build(&["--output", &target, "--output", &world.oci("whole")]);
    world.fresh();
    world.build(&["--output", &target]);
    assert!(validate(&layout(&world)).is_err(), "layers stay where they are");
    registry.forget();
    Some((world, registry))
}

fn layout(world: &World) -> Layout {
    Layout::open(world.sandbox.path("project/.esker/images/tiny")).unwrap()
}

/// How many blobs were asked for since this was asked last.
fn pulled(registry: &Writable) -> usize {
    let count = registry.requests().iter().filter(|it| it.is_blob()).count();
    registry.forget();
    count
}

#[test]
fn what_stayed_in_the_registry_is_looked_into_there() {
    let Some((world, registry)) = left() else { return };
    let whole = world.oci("whole");
    let inspected = |image: &str| {
        let mut report: Value = serde_json::from_str(&world.ok(&["inspect", image, "--json"]).stdout).unwrap();
        report.as_object_mut().unwrap().remove("image");
        report
    };
    let expected = inspected(&whole);
    assert_eq!(pulled(&registry), 0);
    assert_eq!(inspected("tiny"), expected);
    assert!(pulled(&registry) > 1);
    let own = "oci:.esker/images/tiny";
    assert_eq!(inspected(own), expected, "the layout of an image of the project, however it is named");
    let scanned = |image: &str| world.ok(&["sbom", image, "--scan", "--platform", "linux/amd64"]).stdout;
    assert_eq!(scanned("tiny"), scanned(&whole));
    assert_eq!(world.ok(&["diff", &whole, own]).stdout, format!("{own}: no changes\n"));
    assert!(pulled(&registry) > 1);
    // What is kept beside the image and what is locked need no layer.
    for command in [&["sbom", "tiny", "--platform", "linux/amd64"][..], &["layers", "tiny"]] {
        world.ok(command);
        assert_eq!(pulled(&registry), 0, "{command:?}");
    }
    // Nothing of it is kept, and so it is missing where the registry may not be asked.
    assert!(validate(&layout(&world)).is_err());
    let offline = ["lacks the layer", "cannot be read offline", "run without `--offline`"];
    world.run(&["inspect", "tiny", "--offline"]).fails(3, &offline);
    // A layout of the same content elsewhere is none of the project's.
    let copy = world.sandbox.path("copy");
    copied(layout(&world).path(), &copy);
    world.run(&["inspect", &world.oci("copy")]).fails(3, &["does not hold the blob"]);
}

#[test]
fn a_layer_that_is_nowhere_is_named() {
    let Some((world, registry)) = left() else { return };
    let layers: Vec<String> = registry.state().blobs.into_keys().map(|(_, digest)| digest).collect();
    layers.iter().for_each(|digest| registry.spoil(REPOSITORY, digest));
    for command in [&["inspect", "tiny"][..], &["sbom", "tiny", "--scan", "--platform", "linux/amd64"]] {
        world.run(command).fails(3, &["lacks the layer sha256:", &registry.address]);
    }
    registry.remove(REPOSITORY);
    world.run(&["inspect", "tiny"]).fails(2, &["lacks the layer sha256:", &registry.address, "build the image again"]);
    // What is noted is of the image that the layout holds, and of no other.
    world.sandbox.write("project/.esker/remote/tiny.json", b"{}");
    world.run(&["inspect", "tiny"]).fails(3, &["does not hold the blob", "build it again"]);
}

#[test]
fn what_stayed_in_the_registry_is_rebuilt_and_verified() {
    let Some((world, registry)) = left() else { return };
    world.ok(&["rebuild", "tiny"]);
    // The layers of the base, too, where they are nowhere on this machine.
    pulled(&registry);
    let blobs = [layout(&world).path().join("blobs/sha256"), world.sandbox.path("cache/blobs/sha256")];
    for blob in blobs.iter().filter_map(|folder| fs_err::read_dir(folder).ok()).flatten() {
        let path = blob.unwrap().path();
        if !fs_err::read(&path).unwrap().starts_with(b"{") {
            fs_err::remove_file(path).unwrap();
        }
    }
    world.ok(&["rebuild", "tiny"]);
    assert!(pulled(&registry) > 0);
    // Only one platform's layers are brought, and only that is written down.
    let verify = ["verify", "--only", "files", "--platform", "linux/amd64", "--report", "report"];
    let ran = world.run(&verify);
    assert!(matches!(ran.code, Some(0 | 1)), "{:?} {}", ran.code, ran.stderr);
    assert!(world.sandbox.path("project/report").is_dir(), "{}", ran.stderr);
    pulled(&registry);
    world.run(&[&verify[..], &["--offline"]].concat());
    assert_eq!(pulled(&registry), 0);
    assert!(validate(&layout(&world)).is_err(), "the other platform's layers stay where they are");
}

fn copied(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}
