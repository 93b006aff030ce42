//! Layers of Debian packages, and a base that is one, taken from a published image.

use std::collections::BTreeSet;

use esker::oci::{Digest, Layout, validate};
use serde_json::Value;

use crate::bootstrap::essential;
use crate::common::{Built, Server};
use crate::debian;
use crate::debian::{Deb, Debian};
use crate::fake_registry::records::{records, replace_record};
use crate::fake_registry::writable::Writable;

const REPOSITORY: &str = "some/tiny";
/// What is done to a record.
type Change<'a> = &'a dyn Fn(&mut Value);

/// A machine with a project on a base of packages, and a server that has those.
struct World {
    debian: Debian,
    server: Server,
    registry: Writable,
}

impl World {
    /// `None`, said to be skipped, where there is no gpg.
    fn new() -> Option<Self> {
        let more = Deb::new("more", "1").file("./usr/bin/more", "x").control("postinst", "#!/bin/sh\nexit 0\n");
        let less = Deb::new("less", "1").file("./usr/bin/less", "y");
        let users = Deb::new("users", "1")
            .all()
            .control(
                "postinst",
                "#!/bin/sh\n# Automatically added by dh_installsysusers/13\nif [ \"$1\" = \"configure\" ]; then\n   \
                 systemd-sysusers ${DPKG_ROOT:+--root=\"$DPKG_ROOT\"} users.conf\nfi\n\
                 # End automatically added section\n",
            )
            .file("./usr/lib/sysusers.d/users.conf", "u daemon2 - \"A daemon\" /var/lib/d2\n");
        let debian = debian(&[essential(), vec![more, less, users]].concat())?;
        let server = Server::start(debian.sandbox.path("archive"));
        let settings = format!(
            "platforms: [linux/amd64]\nbase: debian:bookworm\napt-snapshot: 2026-01-01\nmirrors:\n  \
             https://snapshot.debian.org/archive/: {}\n",
            server.url()
        );
        debian.sandbox.write("project/esker.yml", settings.as_bytes());
        debian.apt_txt("more\nusers\n");
        debian.ok(&["lock"]);
        let world = Self { debian, server, registry: Writable::proper() };
        // To lock what is installed on it, the base was made.
        world.fresh();
        Some(world)
    }

    fn name(&self, tag: &str) -> String {
        format!("{}/{REPOSITORY}:{tag}", self.registry.address)
    }

    fn build(&self, arguments: &[&str]) -> Built {
        let before = self.server.requests().len();
        let ran = self.debian.ok(&[&["build", "tiny", "--json"], arguments].concat());
        Built::new(ran, &self.server.requests().split_off(before), &[".deb"])
    }

    fn oci(&self, name: &str) -> String {
        format!("oci:{}", self.debian.sandbox.path(name).display())
    }

    /// Another machine: nothing was ever built or downloaded.
    fn fresh(&self) {
        for folder in ["cache", "project/.esker", "out"] {
            drop(fs_err::remove_dir_all(self.debian.sandbox.path(folder)));
        }
    }

    fn validate(&self, name: &str) {
        validate(&Layout::open(self.debian.sandbox.path(name)).unwrap()).unwrap();
    }

    /// Takes the digests of layers out of `base-lock.yml`, as if no build had been committed.
    fn forget_layers(&self) {
        let lock = self.debian.sandbox.read("project/base-lock.yml");
        let kept = lock.lines().filter(|line| !line.contains("platforms:") && !line.contains("linux/amd64: sha256:"));
        let kept: Vec<_> = kept.collect();
        assert_eq!(lock.lines().count(), kept.len() + 2, "{lock}");
        self.debian.sandbox.write("project/base-lock.yml", format!("{}\n", kept.join("\n")).as_bytes());
    }
}

#[test]
fn a_build_elsewhere_downloads_no_package_of_debian() {
    let Some(world) = World::new() else { return };
    let target = format!("registry:{}", world.name("1"));
    let first = world.build(&["--output", &target]);
    assert_eq!((first.asked.len(), first.taken("layers")), (9, 0), "{:?}", first.asked);
    world.build(&["--output", &world.oci("all")]);

    world.fresh();
    world.registry.forget();
    let built = world.build(&["--output", &target]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0), "{:?} {}", built.asked, built.stderr);
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);
    assert_eq!(built.report["downloaded_packages"], 0);
    let blobs = world.registry.requests().into_iter().filter(|it| it.is_blob() && it.method == "GET").count();
    assert_eq!(blobs, 3, "the configuration, the record and the base, whose accounts are looked into");

    // Into a layout, of which nothing may be missing; and it says of itself what one does that was made of packages.
    world.fresh();
    let from = world.name("1");
    let built = world.build(&["--cache-from", &from, "--output", &world.oci("out")]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0));
    assert_eq!(
        built.taken("layers"),
        first.report["platforms"][0]["layers"].as_u64().unwrap() - 2,
        "but base and settings"
    );
    world.validate("out");
    let index = |name: &str| fs_err::read(world.debian.sandbox.path(name).join("index.json")).unwrap();
    assert_eq!(index("out"), index("all"));

    // Nothing of it is in the cache: who is not told of the image makes everything.
    drop(fs_err::remove_dir_all(world.debian.sandbox.path("project/.esker")));
    let built = world.build(&[]);
    assert_eq!((built.digest(), built.asked.len(), built.taken("layers")), (first.digest(), 9, 0));
    // Who has all of it asks nobody.
    world.registry.forget();
    world.build(&["--cache-from", &from]);
    assert_eq!(world.registry.log(), [""; 0]);

    // The base is known by its packages, too, where no build was committed.
    world.fresh();
    world.forget_layers();
    let built = world.build(&["--cache-from", &from]);
    assert_eq!((built.digest(), built.asked.len()), (first.digest(), 0), "{}", built.stderr);

    // Another package: the base stays, what is installed on it is made of packages.
    world.debian.apt_txt("more\nusers\nless\n");
    world.debian.ok(&["lock"]);
    let expected = world.build(&[]).digest().to_owned();
    world.fresh();
    let built = world.build(&["--cache-from", &from]);
    let asked = ["less_1_amd64.deb", "more_1_amd64.deb", "users_1_all.deb"].map(str::to_owned);
    assert_eq!((built.digest(), &built.asked), (expected.as_str(), &BTreeSet::from(asked)));
}

#[test]
fn what_is_published_of_debian_may_be_damaged_or_hostile() {
    let Some(world) = World::new() else { return };
    let first = world.build(&["--output", &format!("registry:{}", world.name("1"))]);
    let lock = world.debian.sandbox.read("project/base-lock.yml");
    let check = |what: &str, asked: usize, warning: &str| {
        world.fresh();
        let built = world.build(&["--cache-from", &world.name("1"), "--output", &world.oci("out")]);
        assert_eq!((built.digest(), built.asked.len()), (first.digest(), asked), "{what}: {}", built.stderr);
        match warning {
            "" => assert!(!built.stderr.contains("warning"), "{what}: {}", built.stderr),
            warning => assert!(built.stderr.contains(warning), "{what}: {}", built.stderr),
        }
        world.validate("out");
        assert_eq!(world.debian.sandbox.read("project/base-lock.yml"), lock, "{what}");
    };
    check("all is well", 0, "");
    let original = world.registry.state();
    let document = records(&original)[0].0.clone();
    let restore = || {
        let (_, bytes) = &original.manifests[&(REPOSITORY.to_owned(), document.clone())];
        world.registry.replace_records(REPOSITORY, bytes);
    };
    let each = |record: &mut Value, kind: &str, change: Change<'_>| {
        record[kind].as_object_mut().unwrap().values_mut().for_each(change);
    };
    // The changes, how many packages are downloaded, and the warning.
    let changes: [(&str, Change<'_>, usize, &str); 4] = [
        (
            "other diff ids",
            &|record| each(record, "layers", &|it| it["diff-id"] = Digest::of(b"").to_string().into()),
            9,
            "",
        ),
        ("no systems", &|record| record["systems"] = serde_json::json!({}), 2, ""),
        (
            "a system with other packages",
            &|record| each(record, "systems", &|it| it["packages"][0]["version"] = "666".into()),
            2,
            "does not fit",
        ),
        (
            "a system with other accounts",
            &|record| {
                each(record, "systems", &|it| {
                    it["accounts"]["etc/passwd"]["text"] = "root::0:0:root:/root:/bin/bash\n".into();
                });
            },
            2,
            "does not fit",
        ),
    ];
    for (what, change, asked, warning) in changes {
        replace_record(&world.registry, REPOSITORY, change);
        check(what, asked, warning);
        restore();
    }
    // A layer that is said to be the base, and is another of the image: what is pinned tells.
    replace_record(&world.registry, REPOSITORY, |record| {
        let systems: BTreeSet<String> = record["systems"].as_object().unwrap().keys().cloned().collect();
        let installed = record["layers"][systems.first().unwrap()].clone();
        each(record, "layers", &|it| {
            let is_whole = it["parts"].as_array().unwrap().is_empty();
            if is_whole && it["digest"] != installed["digest"] {
                *it = installed.clone();
            }
        });
    });
    check("another layer for the base", 7, "it is not the base that is pinned");
    restore();
    for ((_, digest), bytes) in &world.registry.state().blobs {
        if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) && *digest != records(&original)[0].1 {
            world.registry.spoil(REPOSITORY, digest);
        }
    }
    check("damaged layers", 9, "is made anew");
}
