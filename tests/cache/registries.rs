//! Registries as caches: from one to another, and a real one.

use std::collections::BTreeSet;
use std::process::Command;

use super::world::{World, name, python};
use crate::common::skipped;
use crate::fake_registry::real::RealRegistry;
use crate::fake_registry::writable::Writable;

#[test]
fn to_another_registry_layers_are_carried() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let (from, to) = (Writable::proper(), Writable::proper());
    let source = name(&from.address, "1");
    let first = world.build(&["--output", &format!("registry:{source}")]);
    world.fresh();
    let target = format!("registry:{}", name(&to.address, "1"));
    let built = world.build(&["--cache-from", &source, "--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    let blobs = |registry: &Writable| registry.state().blobs.into_keys().collect::<BTreeSet<_>>();
    assert_eq!(blobs(&from), blobs(&to));
    // To another repository of the same registry they are mounted.
    world.fresh();
    from.forget();
    let target = format!("registry:{}/other/name:1", from.address);
    let built = world.build(&["--cache-from", &source, "--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    assert!(from.log().iter().any(|line| line.contains("mount=")), "{:#?}", from.log());
}

#[test]
fn a_real_registry_is_a_cache() {
    let Some(python) = python() else { return };
    if !Command::new("docker-registry").arg("--version").output().is_ok_and(|output| output.status.success()) {
        skipped("docker-registry is not installed");
        return;
    }
    let world = World::new(&python);
    let folder = tempfile::tempdir().unwrap();
    let registry = RealRegistry::start(folder.path());
    let (one, two) = (name(&registry.address, "1"), name(&registry.address, "2"));
    world.build(&["--output", &format!("registry:{one}")]);
    world.update(&python);
    let expected = world.digest_without();
    for output in [world.oci("out"), format!("registry:{two}")] {
        world.fresh();
        let built = world.build(&["--cache-from", &one, "--output", &output]);
        assert_eq!(built.digest(), expected);
        assert_eq!(built.asked, BTreeSet::from(["certs-2025.1-0.conda".to_owned()]), "{}", built.stderr);
        assert!(built.taken("layers") > 0 && built.taken("parts") > 0, "{}", built.report);
    }
    world.fresh();
    let built = world.build(&["--output", &format!("registry:{two}")]);
    assert_eq!((built.digest(), built.asked.len()), (expected.as_str(), 0));
}
