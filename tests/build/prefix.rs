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

#[tokio::test]
async fn what_is_stripped_is_in_no_record() {
    let channel = TinyChannel::new().package(
        Pkg::new("lib", "1")
            .file("lib/libx.so", "shared")
            .file("lib/libx.a", "static")
            .hard_link("lib/copy.txt", "lib/libx.a")
            .symlink("lib/liby.a", "libx.a")
            .file("share/static/1.js.map", "{}"),
    );
    let world = World::new(&channel);
    let files = |built: &esker::build::Built| {
        let contents = contents(built, Platform::LinuxAmd64);
        let record: serde_json::Value = serde_json::from_str(&text(&contents, "conda-meta/lib-1-0.json")).unwrap();
        let listed = record["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap().to_owned());
        let listed: Vec<String> = listed.collect();
        assert_eq!(record["paths_data"]["paths"].as_array().unwrap().len(), listed.len());
        assert!(listed.iter().all(|file| has(&contents, file)));
        let below = |path: &&String| path.contains("/lib/") || path.contains("/share/static/");
        let there = contents.iter().filter(|(_, (entry, _))| entry.kind != EntryKind::Directory).map(|(path, _)| path);
        assert_eq!(there.filter(below).count(), listed.len(), "nothing is there that no record lists");
        listed
    };
    let built = world.build(&["lib"], &Choices::default()).await.unwrap();
    assert_eq!(files(&built), ["lib/copy.txt", "lib/libx.so"]);
    assert_eq!(text(&contents(&built, Platform::LinuxAmd64), "lib/copy.txt"), "static");
    let nothing = Choices { strip: esker::project::Strip::nothing(), ..Choices::default() };
    assert_eq!(files(&world.build(&["lib"], &nothing).await.unwrap()).len(), 5);
}

const KERNELS: &str = "{\n  \"${PREFIX}/bin/python\" -m nb_conda_kernels.install --enable --prefix=\"${PREFIX}\"\n} \
                       >>\"$PREFIX/.messages.txt\" 2>&1\n";

fn kernels(version: &str, script: &str) -> Pkg {
    Pkg::new("nb_conda_kernels", version).executable("bin/.nb_conda_kernels-post-link.sh", script)
}

#[tokio::test]
async fn what_a_known_link_script_does_is_done() {
    let world = World::new(&TinyChannel::new().package(kernels("2.5.1", KERNELS)));
    let contents =
        contents(&world.build(&["nb_conda_kernels"], &Choices::default()).await.unwrap(), Platform::LinuxArm64);
    let config: serde_json::Value = serde_json::from_str(&text(&contents, "etc/jupyter/jupyter_config.json")).unwrap();
    assert_eq!(config["JupyterApp"]["kernel_spec_manager_class"], "nb_conda_kernels.CondaKernelSpecManager");
    assert!(!text(&contents, "conda-meta/nb_conda_kernels-2.5.1-0.json").contains("jupyter_config"));
    // Who does without has nothing made.
    let skip = Choices { skip_link_scripts: vec!["nb_conda_kernels".into()], ..Choices::default() };
    let without = world.build(&["nb_conda_kernels"], &skip).await.unwrap();
    assert!(!has(&self::contents(&without, Platform::LinuxArm64), "etc/jupyter/jupyter_config.json"));
}

#[tokio::test]
async fn another_version_or_another_word_is_not_known() {
    for (version, script) in
        [("2.3.1", KERNELS.to_owned()), ("2.5.1", KERNELS.replace("--enable", "--enable --verbose"))]
    {
        let world = World::new(&TinyChannel::new().package(kernels(version, &script)));
        let error = world.build(&["nb_conda_kernels"], &Choices::default()).await.unwrap_err();
        assert!(matches!(&error, Error::LinkScript { package, .. } if package == "nb_conda_kernels"), "{error}");
    }
}

#[tokio::test]
async fn graphviz_needs_nothing_where_it_brings_its_plugins() {
    let script = "#!/bin/bash\n\nif ! compgen -G $PREFIX/lib/graphviz/config* > /dev/null; then\n    \
                  $PREFIX/bin/dot -c || true\nfi\n";
    let graphviz = || Pkg::new("graphviz", "14.1").executable("bin/.graphviz-post-link.sh", script);
    let world = World::new(&TinyChannel::new().package(graphviz().file("lib/graphviz/config8", "plugins")));
    world.build(&["graphviz"], &Choices::default()).await.unwrap();
    let world = World::new(&TinyChannel::new().package(graphviz()));
    let error = world.build(&["graphviz"], &Choices::default()).await.unwrap_err();
    assert!(matches!(error, Error::LinkScript { .. }), "{error}");
}
