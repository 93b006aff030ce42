//! What ends up in the prefix, and around it.

use esker::build::native::Error;
use esker::oci::entries::EntryKind;
use esker::oci::{Layout, Platform};

use crate::common::{PLACEHOLDER, Pkg, TinyChannel};
use crate::world::{Choices, PREFIX, World, contents, entry, has, text};

#[tokio::test]
async fn packages_of_each_architecture_are_installed() {
    let world = World::new(&TinyChannel::standard());
    let built = world.build(&["certs", "legacy", "libfoo"], &Choices::default()).await.unwrap();
    let platforms = [(Platform::LinuxAmd64, "linux-64"), (Platform::LinuxArm64, "linux-aarch64")];
    assert_eq!(built.platforms.iter().map(|built| built.platform).collect::<Vec<_>>(), platforms.map(|(p, _)| p));
    for (platform, subdir) in platforms {
        let contents = contents(&built, platform);
        assert_eq!(text(&contents, "ssl/cacert.pem"), "pretend\n");
        assert!(
            text(&contents, "conda-meta/libfoo-2.1-h2_1.json").contains(&format!("/{subdir}/libfoo-2.1-h2_1.conda"))
        );
        assert!(text(&contents, "conda-meta/legacy-0.9-0.json").contains("legacy-0.9-0.tar.bz2"));
    }
}

#[tokio::test]
async fn placeholders_become_the_prefix() {
    let world = World::new(&TinyChannel::standard());
    let built = world.build(&["legacy", "libfoo"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    assert_eq!(text(&contents, "bin/legacy"), format!("#!{PREFIX}/bin/python\nprint('legacy')\n"));
    let library = text(&contents, "lib/libfoo.so.2.1");
    assert!(library.contains(&format!("{PREFIX}/share/foo\0\0\0")), "padded with NULs");
    assert!(contents.values().all(|(_, bytes)| !String::from_utf8_lossy(bytes).contains(&PLACEHOLDER[1..60])
        || String::from_utf8_lossy(bytes).contains("\"prefix_placeholder\"")));
    let record: serde_json::Value = serde_json::from_str(&text(&contents, "conda-meta/libfoo-2.1-h2_1.json")).unwrap();
    let paths = record["paths_data"]["paths"].as_array().unwrap();
    let library = paths.iter().find(|path| path["_path"] == "lib/libfoo.so.2.1").unwrap();
    assert_eq!(library["prefix_placeholder"], PLACEHOLDER);
    assert_ne!(library["sha256"], library["sha256_in_prefix"]);
}

#[tokio::test]
async fn a_prefix_longer_than_the_placeholder_is_named() {
    let short = Pkg::new("short", "1").native().hard_link("x", "y").file("y", "");
    let channel =
        TinyChannel::new().package(short).package(Pkg::new("lib", "1").binary_prefix("lib/x.so", "{prefix}/a"));
    let mut world = World::new(&channel);
    world.prefix = format!("/srv/{}", "long".repeat(70));
    let error = world.build(&["lib"], &Choices::default()).await.unwrap_err();
    assert!(matches!(&error, Error::Placeholder { path, .. } if path == "lib/x.so"), "{error}");
}

#[tokio::test]
async fn owners_modes_and_times_are_normal() {
    let world = World::new(&TinyChannel::standard());
    let built = world.build(&["certs", "legacy", "libfoo"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    for (path, (entry, _)) in &contents {
        let own = path == "srv" || path.starts_with("srv/") || path == "home/jovyan";
        let owner = if own { (1000, 1000) } else { (0, 0) };
        assert_eq!((entry.uid, entry.gid), owner, "{path}");
        let mode = match entry.kind {
            EntryKind::Symlink(_) => 0o777,
            EntryKind::Directory => 0o755,
            _ if path.contains("/bin/") || path == "srv/start" => 0o755,
            _ => 0o644,
        };
        assert_eq!(entry.mode, mode, "{path}");
        assert!(entry.mtime > 1_500_000_000, "{path}: {}", entry.mtime);
    }
    for directory in ["srv", "srv/conda", "srv/conda/envs", "srv/conda/envs/notebook/lib", "home/jovyan"] {
        assert_eq!(contents[directory].0.kind, EntryKind::Directory, "{directory}");
    }
}

#[tokio::test]
async fn links_of_both_kinds_stay_links() {
    let package = Pkg::new("links", "1")
        .file("bin/first", "content")
        .hard_link("bin/second", "bin/first")
        .hard_link("bin/third", "bin/first")
        .symlink("lib/link", "../bin/first")
        .symlink("lib/system", "/usr/bin/env");
    let world = World::new(&TinyChannel::new().package(package));
    let built = world.build(&["links"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    for hard in ["bin/second", "bin/third"] {
        let target = format!("{}/bin/first", &PREFIX[1..]);
        assert_eq!(entry(&contents, hard).kind, EntryKind::Hardlink(target.into()));
    }
    assert_eq!(entry(&contents, "lib/link").kind, EntryKind::Symlink("../bin/first".into()));
    assert_eq!(entry(&contents, "lib/system").kind, EntryKind::Symlink("/usr/bin/env".into()));
}

#[tokio::test]
async fn of_several_packages_the_dependent_wins() {
    // `a` needs `z`, so it is installed later, though `z` comes later by name.
    let channel = TinyChannel::new()
        .package(Pkg::new("a", "1").depends("z").file("share/both", "from a").file("share/a", ""))
        .package(
            Pkg::new("z", "1").file("share/both", "from z").hard_link("share/other", "share/both").file("share/z", ""),
        );
    let world = World::new(&channel);
    let built = world.build(&["a", "z"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    assert_eq!(text(&contents, "share/both"), "from a");
    assert_eq!(text(&contents, "share/other"), "from z", "a hard link whose target lost keeps its content");
    assert!(!text(&contents, "conda-meta/z-1-0.json").contains("share/both"));
    assert!(text(&contents, "conda-meta/a-1-0.json").contains("share/both"));
    // No path is in two layers: directories are, files are not.
    let layout = Layout::open(&built.layout).unwrap();
    let image = layout.image(Platform::LinuxAmd64).unwrap();
    let mut files = std::collections::BTreeSet::new();
    for layer in image.layers.iter().skip(1) {
        let alone = esker::oci::Layout::open(&built.layout).unwrap();
        let mut here = std::collections::BTreeSet::new();
        layer
            .read(&alone, &|_| {}, |content| {
                let mut entries = esker::oci::entries::Entries::new(content);
                while let Some(entry) = entries.next_entry().unwrap() {
                    assert!(here.insert(entry.path.clone()), "twice in a layer: {}", entry.path.display());
                    let parent = entry.path.parent().unwrap().to_owned();
                    let known = parent.as_os_str().is_empty() || here.contains(&parent);
                    assert!(known, "no parent in its layer: {}", entry.path.display());
                    if entry.kind != EntryKind::Directory {
                        assert!(files.insert(entry.path.clone()), "in two layers: {}", entry.path.display());
                    }
                }
                Ok(std::ops::ControlFlow::Continue(()))
            })
            .map(drop)
            .unwrap();
    }
}

#[tokio::test]
async fn records_are_conda_s_and_know_nothing_of_this_machine() {
    let world = World::new(&TinyChannel::standard());
    let built = world.build(&["certs", "libfoo"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    let json = text(&contents, "conda-meta/certs-2024.1-0.json");
    let record: rattler_conda_types::PrefixRecord = serde_json::from_str(&json).unwrap();
    assert_eq!(record.files, [std::path::PathBuf::from("ssl/cacert.pem")]);
    assert_eq!(record.repodata_record.channel.as_deref(), Some("https://conda.anaconda.org/conda-forge/noarch"));
    assert_eq!(
        record.repodata_record.package_record.size,
        Some(world.channel.records["noarch"]["certs-2024.1-0.conda"]["size"].as_u64().unwrap())
    );
    let here = world.folder.path().to_str().unwrap();
    for (path, (_, bytes)) in &contents {
        assert!(!String::from_utf8_lossy(bytes).contains(here), "{path} tells of the machine that built");
    }
    let history = text(&contents, "conda-meta/history");
    assert!(history.starts_with("==> 2023-11-14 22:13:20 <==\n"), "{history}");
    assert!(history.contains("\n+conda-forge/linux-64::libfoo-2.1-h2_1\n+conda-forge/noarch::certs-2024.1-0\n"));
    assert!(history.ends_with("# update specs: [\"hello\"]\n"), "{history}");
}

#[tokio::test]
async fn the_configuration_says_how_to_run_it() {
    let world = World::new(&TinyChannel::standard());
    let built = world.build(&["certs"], &Choices::default()).await.unwrap();
    let image = Layout::open(&built.layout).unwrap().image(Platform::LinuxArm64).unwrap();
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.env().as_ref().unwrap()[0], format!("PATH={PREFIX}/bin:/usr/bin:/bin"));
    assert_eq!(config.entrypoint().as_ref().unwrap(), &["/srv/start"]);
    assert_eq!(config.user().as_deref(), Some("1000:1000"));
    assert_eq!(config.exposed_ports().as_ref().unwrap(), &["8888/tcp"]);
    assert!(config.labels().as_ref().unwrap().contains_key("dev.esker.lock.linux-aarch64"));
    assert_eq!(image.config.created().as_deref(), Some("2023-11-14T22:13:20Z"));
    assert_eq!(image.config.history().as_ref().unwrap().len(), image.layers.len());
    let annotations = image.manifest.annotations().as_ref().unwrap();
    assert_eq!(annotations["org.opencontainers.image.base.name"], "docker.io/library/tiny:1");
    let contents = contents(&built, Platform::LinuxArm64);
    let passwd = String::from_utf8_lossy(&contents["etc/passwd"].1);
    assert!(passwd.contains("\njovyan:x:1000:1000:") && !passwd.contains("ubuntu"), "{passwd}");
    assert!(has(&contents, "conda-meta/history"));
}
