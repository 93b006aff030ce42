//! Packages that mean harm, or are broken: each is refused by name, and nothing is written where it points.

use esker::build::native::{Error, PathFault};
use esker::oci::{Digest, Platform};
use tar::EntryType;

use crate::common::{Pkg, TinyChannel};
use crate::world::{Choices, World, contents, text};

async fn refused(packages: &[Pkg], names: &[&str]) -> Error {
    let channel = packages.iter().cloned().fold(TinyChannel::new(), TinyChannel::package);
    let world = World::new(&channel);
    let before = outside(&world);
    let error = world.build(names, &Choices::default()).await.unwrap_err();
    assert_eq!(outside(&world), before, "{error}");
    assert!(!world.path("image/index.json").exists(), "{error}");
    error
}

/// Everything beside the cache and the layout.
fn outside(world: &World) -> Vec<String> {
    let names = std::fs::read_dir(world.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> =
        names.map(|name| name.into_string().unwrap()).filter(|n| n != "caches" && n != "image").collect();
    names.sort();
    names
}

#[tokio::test]
async fn paths_that_leave_the_prefix() {
    for (path, expected) in [
        ("../../escaped", PathFault::Climbs),
        ("a/../../escaped", PathFault::Climbs),
        ("/etc/passwd", PathFault::Absolute),
        ("a//b", PathFault::Odd),
        ("a/./b", PathFault::Odd),
    ] {
        let error = refused(&[Pkg::new("bad", "1").hostile(path, "x")], &["bad"]).await;
        let Error::Path { package, path: named, fault } = &error else { panic!("{path}: {error}") };
        assert_eq!((package.as_str(), named.as_str(), fault), ("bad-1-0.conda", path, &expected));
    }
}

#[tokio::test]
async fn a_member_that_climbs_is_refused_though_nothing_lists_it() {
    // The listed hard link is what makes the archive be written by hand.
    let package = Pkg::new("bad", "1").file("a", "x").hard_link("b", "a").unlisted("../../escaped", "x");
    let error = refused(&[package], &["bad"]).await;
    assert!(matches!(&error, Error::Path { path, fault: PathFault::Climbs, .. } if path == "../../escaped"), "{error}");
}

#[tokio::test]
async fn links_that_leave_the_prefix() {
    for target in ["../../../../../etc/passwd", "../..", "/opt/../etc/passwd"] {
        let error = refused(&[Pkg::new("bad", "1").symlink("lib/link", target)], &["bad"]).await;
        let Error::Path { path, fault: PathFault::Escapes(named), .. } = &error else { panic!("{target}: {error}") };
        assert_eq!((path.as_str(), named.as_str()), ("lib/link", target));
    }
}

#[tokio::test]
async fn hard_links_to_what_is_not_there() {
    let error = refused(&[Pkg::new("bad", "1").hard_link("a", "etc/shadow")], &["bad"]).await;
    assert!(
        matches!(&error, Error::Path { fault: PathFault::DanglingHardLink(to), .. } if to == "etc/shadow"),
        "{error}"
    );
}

#[tokio::test]
async fn writing_through_a_link() {
    let link = Pkg::new("link", "1").symlink("lib/dir", "/tmp");
    let through = Pkg::new("through", "1").file("lib/dir/file", "x");
    let error = refused(&[link, through], &["link", "through"]).await;
    let Error::Clash { path, package, above, other } = &error else { panic!("{error}") };
    assert_eq!((path.as_str(), package.as_str()), ("lib/dir/file", "through-1-0.conda"));
    assert_eq!((above.as_str(), other.as_str()), ("lib/dir", "link-1-0.conda"));
    let same = Pkg::new("same", "1").symlink("lib/dir", "/tmp").hostile("lib/dir/file", "x");
    assert!(matches!(refused(&[same], &["same"]).await, Error::Clash { .. }));
}

#[tokio::test]
async fn a_file_where_another_package_has_a_directory() {
    let file = Pkg::new("file", "1").file("share/thing", "x");
    let directory = Pkg::new("directory", "1").file("share/thing/inside", "x");
    let error = refused(&[file, directory], &["directory", "file"]).await;
    assert!(
        error.to_string().contains("directory-1-0.conda") && error.to_string().contains("file-1-0.conda"),
        "{error}"
    );
}

#[tokio::test]
async fn archives_that_are_cut_off_or_not_what_the_lock_says() {
    let error = refused(&[Pkg::new("bad", "1").file("a", "x".repeat(5000)).truncated()], &["bad"]).await;
    assert!(matches!(error, Error::Packages(_)), "{error}");
    let error = refused(&[Pkg::new("bad", "1").file("a", "x").wrong_hash()], &["bad"]).await;
    assert!(matches!(error, Error::Packages(_)), "{error}");
}

#[tokio::test]
async fn an_archive_that_was_damaged_in_the_cache() {
    let world = World::new(&TinyChannel::new().package(Pkg::new("bad", "1").file("a", "x".repeat(5000))));
    let good = world.build(&["bad"], &Choices::default()).await.unwrap();
    let archive = walk(&world.path("caches/one/channel/packages"), "bad-1-0.conda");
    let bytes = std::fs::read(&archive).unwrap();
    for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&archive, &bytes[..cut]).unwrap();
        std::fs::remove_dir_all(world.path("caches/one/build")).unwrap();
        let choices = Choices { output: format!("cut-{cut}"), ..Choices::default() };
        let error = world.build(&["bad"], &choices).await.unwrap_err();
        assert!(matches!(&error, Error::Archive { package, .. } if package == "bad-1-0.conda"), "{cut}: {error}");
    }
    std::fs::write(&archive, &bytes).unwrap();
    assert_eq!(world.build(&["bad"], &Choices::default()).await.unwrap().digest, good.digest);
}

fn walk(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let found = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).find(|entry| entry.file_name() == name);
    found.unwrap().into_path()
}

#[tokio::test]
async fn link_scripts_that_might_matter() {
    let script = |text: &str| Pkg::new("wants", "1").executable("bin/.wants-post-link.sh", text);
    let error = refused(&[script("#!/bin/sh\n\"$PREFIX/bin/thing\" --cache\n")], &["wants"]).await;
    let Error::LinkScript { package, script: named, .. } = &error else { panic!("{error}") };
    assert_eq!((package.as_str(), named.as_str()), ("wants", "bin/.wants-post-link.sh"));

    let world = World::new(&TinyChannel::new().package(script("touch /tmp/esker-link-script-ran\n")));
    let choices = Choices { skip_link_scripts: vec!["wants".into()], ..Choices::default() };
    world.build(&["wants"], &choices).await.unwrap();
    assert!(!std::path::Path::new("/tmp/esker-link-script-ran").exists());

    let world = World::new(&TinyChannel::new().package(script("#!/bin/sh\necho hello\n")));
    world.build(&["wants"], &Choices::default()).await.unwrap();
}

#[tokio::test]
async fn devices_pipes_and_files_that_change_the_user() {
    for (kind, mode, expected) in [
        (EntryType::Char, 0o666, PathFault::Special),
        (EntryType::Block, 0o660, PathFault::Special),
        (EntryType::Fifo, 0o666, PathFault::Special),
        (EntryType::Regular, 0o4755, PathFault::SetId),
        (EntryType::Regular, 0o2755, PathFault::SetId),
    ] {
        let error = refused(&[Pkg::new("bad", "1").special("bin/thing", kind, mode)], &["bad"]).await;
        let Error::Path { package, path, fault } = &error else { panic!("{kind:?}: {error}") };
        assert_eq!((package.as_str(), path.as_str(), fault), ("bad-1-0.conda", "bin/thing", &expected));
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_paths_json_says() {
    let error = refused(&[Pkg::new("bad", "1").lying("share/x", "x")], &["bad"]).await;
    assert_eq!(
        error.to_string(),
        "package `bad-1-0.conda`: the content of `share/x` is not what `info/paths.json` says"
    );
}

#[tokio::test]
async fn a_package_that_unpacks_to_far_more_than_it_is() {
    let bomb = Pkg::new("bad", "1").zeros("share/zeros", (1 << 30) + (64 << 20));
    let error = refused(&[bomb], &["bad"]).await;
    assert_eq!(error.to_string(), "package `bad-1-0.conda` holds more than 200 times its size and 1024 MiB");
}

#[tokio::test]
async fn a_record_of_another_package() {
    let forged = Pkg::new("bad", "1").file("conda-meta/good-1-0.json", "{}");
    let error = refused(&[forged], &["bad"]).await;
    assert!(matches!(&error, Error::Path { fault: PathFault::Record, .. }), "{error}");
}

/// Every system that runs the image tells them apart, and real packages have them: ncurses' `terminfo/N` and `terminfo/n`.
#[tokio::test]
async fn names_that_differ_in_case_alone_are_two_files() {
    let package = Pkg::new("both", "1").hostile("share/N/x", "upper").hostile("share/n/x", "lower");
    let world = World::new(&TinyChannel::new().package(package));
    let built = world.build(&["both"], &Choices::default()).await.unwrap();
    let contents = contents(&built, Platform::LinuxAmd64);
    assert_eq!([text(&contents, "share/N/x"), text(&contents, "share/n/x")], ["upper", "lower"]);
}

/// Twice as many as the largest real package has. How many are too many, a unit test of `archive` shows.
#[tokio::test]
async fn a_hundred_thousand_files() {
    const FILES: usize = 100_000;
    let package = (0..FILES).fold(Pkg::new("many", "1"), |package, n| package.hostile(&format!("share/{n}"), "x"));
    let world = World::new(&TinyChannel::new().package(package));
    let choices = Choices { platforms: vec![Platform::LinuxAmd64], ..Choices::default() };
    let built = world.build(&["many"], &choices).await.unwrap();
    let record: serde_json::Value =
        serde_json::from_str(&text(&contents(&built, Platform::LinuxAmd64), "conda-meta/many-1-0.json")).unwrap();
    assert_eq!(record["files"].as_array().unwrap().len(), FILES);
}

#[tokio::test]
async fn a_base_that_is_not_what_its_configuration_says() {
    let mut world = World::new(&TinyChannel::standard());
    let base = world.bases.get_mut(&Platform::LinuxAmd64).unwrap();
    let (right, wrong) = (base.layers[0].diff_id, Digest::of(b"something else"));
    base.layers[0].diff_id = wrong;
    let error = world.build(&["certs"], &Choices::default()).await.unwrap_err();
    let Error::BaseContent(error) = error else { panic!("{error}") };
    let reason = std::error::Error::source(error.as_ref()).unwrap().to_string();
    assert!(reason.contains(&format!("its content is {right}")) && reason.contains(&wrong.to_string()), "{reason}");
}
