//! Published images that are damaged, lie, or are gone, and servers that cannot do all.

use std::sync::{Arc, Mutex};

use esker::oci::{Digest, Layout, validate};
use serde_json::{Value, json};

use super::world::{Change, REPOSITORY, World, name, python};
use crate::fake_registry::records::{records, replace_record};
use crate::fake_registry::writable::{Fault, Features, State, Writable};
use crate::fake_registry::{Reply, Request};

#[test]
fn what_is_published_may_be_damaged_hostile_or_gone() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let mode = Arc::new(Mutex::new(""));
    let current = Arc::clone(&mode);
    let after = move |request: &Request, mut reply: Reply| {
        let mode = *current.lock().unwrap();
        let is_get = request.method == "GET" && request.is_blob();
        let is_layer = is_get && reply.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        match mode {
            "damaged blobs" if is_get => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
            "damaged parts" if request.header("range").is_some() => reply.body.iter_mut().for_each(|byte| *byte ^= 1),
            "no layers" if is_layer && reply.body.len() > 100_000 => return Reply::status(404),
            "no blobs" if is_get => return Reply::status(404),
            "failing" if request.method == "GET" => return Reply::status(500),
            "denied" => return Reply::status(403),
            _ => {}
        }
        reply
    };
    let registry = Writable::start(Features::default(), |_| Fault::None, after);
    let source = name(&registry.address, "1");
    world.build(&["--output", &format!("registry:{source}")]);
    world.update(&python);
    let expected = world.digest_without();
    let check = |what: &str, from: &str, warns: bool| {
        world.fresh();
        let built = world.build(&["--cache-from", from, "--output", &world.oci("out")]);
        assert_eq!(built.digest(), expected, "{what}: {}", built.stderr);
        assert_eq!(built.stderr.contains("warning"), warns, "{what}: {}", built.stderr);
        validate(&Layout::open(world.sandbox.path("out")).unwrap()).unwrap();
        built
    };
    for what in ["damaged blobs", "damaged parts", "no blobs", "denied", "failing"] {
        *mode.lock().unwrap() = what;
        check(what, &source, true);
    }
    *mode.lock().unwrap() = "";
    check("no such tag", &name(&registry.address, "gone"), true);
    assert_eq!(check("all is well", &source, false).asked.len(), 1);
    let original = registry.state();
    let document = records(&original)[0].0.clone();
    let restore = || {
        let (_, bytes) = &original.manifests[&(REPOSITORY.to_owned(), document.clone())];
        registry.replace_records(REPOSITORY, bytes);
    };
    let each = |record: &mut Value, kind: &str, change: Change<'_>| {
        record[kind].as_object_mut().unwrap().values_mut().for_each(change);
    };
    // The changes, whether it is worth a warning, and whether packages are still spared.
    let changes: [(&str, Change<'_>, bool); 7] = [
        ("other format", &|record| *record = json!({ "format": 999, "packages": 7 }), true),
        ("no record", &|record| *record = json!([1]), true),
        (
            "other diff ids",
            &|record| each(record, "layers", &|it| it["diff-id"] = Digest::of(b"").to_string().into()),
            false,
        ),
        (
            "foreign layers",
            &|record| each(record, "layers", &|it| it["digest"] = Digest::of(b"").to_string().into()),
            false,
        ),
        (
            "paths that climb",
            &|record| {
                each(record, "packages", &|it| {
                    if let Some(conda) = it.get_mut("conda") {
                        conda["files"] = json!(["../../etc/passwd"]);
                    }
                });
            },
            true,
        ),
        (
            "packages that are others",
            &|record| {
                each(record, "packages", &|it| {
                    if let Some(conda) = it.get_mut("conda") {
                        conda["index"]["name"] = "other".into();
                    }
                });
            },
            false,
        ),
        (
            "files that are not there",
            &|record| {
                record["layers"] = json!({});
                each(record, "packages", &|it| {
                    if let Some(conda) = it.get_mut("conda") {
                        conda["files"] = json!(["share/invented"]);
                    }
                });
            },
            true,
        ),
    ];
    for (what, change, warns) in changes {
        replace_record(&registry, REPOSITORY, change);
        check(what, &source, warns);
        restore();
    }
}

#[test]
fn a_server_without_ranges_sends_the_layer() {
    let Some(python) = python() else { return };
    let world = World::new(&python);
    let before = |_: &Request| Fault::None;
    let blobs = Arc::new(Mutex::new(State::default()));
    let all = Arc::clone(&blobs);
    let after = move |request: &Request, reply: Reply| {
        let digest = request.path.rsplit('/').next().unwrap().to_owned();
        match all.lock().unwrap().blobs.get(&(REPOSITORY.to_owned(), digest)) {
            Some(blob) if request.header("range").is_some() => Reply::body(blob.clone()),
            _ => reply,
        }
    };
    let registry = Writable::start(Features::default(), before, after);
    let source = name(&registry.address, "1");
    world.build(&["--output", &format!("registry:{source}")]);
    *blobs.lock().unwrap() = registry.state();
    world.update(&python);
    let expected = world.digest_without();
    world.fresh();
    let built = world.build(&["--cache-from", &source]);
    assert_eq!((built.digest(), built.asked.len()), (expected.as_str(), 1), "{}", built.stderr);
    assert!(built.taken("parts") > 0);
}
