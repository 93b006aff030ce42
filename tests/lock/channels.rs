//! Channels of all kinds: those with secrets, folders, labels, those that are not there.

#![allow(clippy::unwrap_used)]

use esker::channel::{Client, Options, Variables};
use esker::lock::{Error, Lock, LockSpec, channels_with_variables, holds, solve};
use esker::progress::Silent;
use esker::project::ImageSpec;
use rattler_conda_types::Subdir;

use super::common::{Pkg, TinyChannel};
use super::{Heard, World, versions, world};

/// A client of `image` that knows these variables.
fn client(world: &World, image: &ImageSpec, values: &'static [(&str, &str)]) -> Client {
    let mut variables = Variables::default();
    let value_of = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    for (channel, place) in channels_with_variables(image).unwrap() {
        variables.channel(&channel, &place.to_string(), &value_of);
    }
    Client::new(Options { variables, ..Options::new(world.folder.path().join("cache")) }).unwrap()
}

/// A world whose server has the standard channel below `at`, and the URL of that with `written` in place of `at`.
fn below(at: &str, written: &str) -> (World, String) {
    let world = world(&TinyChannel::new());
    TinyChannel::standard().write(world.folder.path().join("channel").join(at));
    let url = format!("http://{}/{written}", world.server.url().authority());
    (world, url)
}

#[tokio::test]
async fn a_token_stays_a_variable_in_the_lock() {
    let (world, url) = below("t/tk-hidden/c", "t/$CHANNEL_TOKEN/c");
    let image = world.image_of(&format!("channels: ['{url}']\ndependencies: [hello]\n"));
    let client = client(&world, &image, &[("CHANNEL_TOKEN", "tk-hidden")]);
    let spec = LockSpec::of(&image).unwrap();
    let lock = solve(&spec, None, &client, &Silent).await.unwrap();
    lock.write(&image).unwrap();
    let braced = url.replace("$CHANNEL_TOKEN", "${CHANNEL_TOKEN}");
    let text = fs_err::read_to_string(image.lock_path()).unwrap();
    assert!(text.contains(&format!("  - url: {braced}\n    used_env_vars:\n    - CHANNEL_TOKEN\n")), "{text}");
    assert!(text.contains(&format!("  url: {braced}/noarch/hello-1.0-pyhd8ed1ab_0.conda\n")), "{text}");
    let explicit = fs_err::read_to_string(image.explicit_lock_path(Subdir::Linux64)).unwrap();
    assert!(explicit.contains(&format!("\n{braced}/noarch/hello-1.0-pyhd8ed1ab_0.conda#")), "{explicit}");
    assert!(!text.contains("hidden") && !explicit.contains("hidden"));

    let read = Lock::read(&image.lock_path()).unwrap().unwrap();
    assert_eq!(read, lock);
    assert_eq!(holds(&spec, &read), []);
    assert_eq!(Lock::parse_explicit(&image.lock_path(), &explicit).unwrap().packages.len(), 3);
    let again = solve(&spec, Some(&read), &client, &Silent).await.unwrap();
    assert_eq!(again, lock, "locked packages are recognised by their URL");
    let paths = client.packages(&lock.packages.iter().collect::<Vec<_>>(), &Silent).await.unwrap();
    assert!(paths.iter().all(|path| path.is_file()));
}

#[tokio::test]
async fn user_and_password_stay_variables_in_the_lock() {
    let (world, url) = below("c", "c");
    world.server.require_authorization("Basic dTpw");
    let url = url.replace("http://", "http://$CHANNEL_USER:$CHANNEL_PASS@");
    let image = world.image_of(&format!("channels: ['{url}']\ndependencies: [certs]\n"));
    let client = client(&world, &image, &[("CHANNEL_USER", "u"), ("CHANNEL_PASS", "p")]);
    let lock = solve(&LockSpec::of(&image).unwrap(), None, &client, &Silent).await.unwrap();
    assert_eq!(lock.channels[0].used_env_vars, ["CHANNEL_PASS", "CHANNEL_USER"]);
    let text = lock.to_conda_lock_yaml();
    let braced = url.replace("$CHANNEL_USER:$CHANNEL_PASS", "${CHANNEL_USER}:${CHANNEL_PASS}");
    assert!(text.contains(&format!("  url: {braced}/noarch/certs-2024.1-0.conda\n")), "{text}");
    client.package(&lock.packages[0]).await.unwrap();
    assert_eq!(lock.packages[0].public_url().as_str(), format!("{}c/noarch/certs-2024.1-0.conda", world.server.url()));
}

/// The hash is what conda-lock 4.0.3 computes for this file.
#[test]
fn the_content_hash_knows_the_variables() {
    let world = world(&TinyChannel::new());
    let mut image = world.image_of(
        "channels:\n  - https://$CT_USER:$CT_PASS@host.example/c\n  - https://host.example/t/$CT_TOKEN/c\n  \
         - https://host.example/$CT_ORG/c\n  - conda-forge\ndependencies:\n  - python\n",
    );
    image.subdirs.truncate(1);
    let spec = LockSpec::of(&image).unwrap();
    assert_eq!(spec.subdirs[0].content_hash, "dde8ae27d6f286a5f918e0db8c548ebb4efb18ac23ef7e1c60b115202ee3546b");
}

#[tokio::test]
async fn a_token_that_is_not_set_is_named_with_its_line() {
    let (world, url) = below("t/tk-hidden/c", "t/$CHANNEL_TOKEN/c");
    let image = world.image_of(&format!("channels:\n  - '{url}'\ndependencies: [hello]\n"));
    let error = solve(&LockSpec::of(&image).unwrap(), None, &client(&world, &image, &[]), &Silent).await.unwrap_err();
    assert!(matches!(&error, Error::Fetch(esker::channel::Error::UnsetVariable { .. })), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("environment.yml:2:5: ") && text.contains("`CHANNEL_TOKEN`"), "{text}");
    assert_eq!(world.server.requests(), [""; 0]);
}

#[test]
fn a_secret_is_refused_with_its_line() {
    let world = world(&TinyChannel::new());
    for secret in ["https://user:hidden@host/c", "https://host/t/tk-hidden/c"] {
        let image = world.image_of(&format!("channels: [conda-forge, '{secret}']\ndependencies: [hello]\n"));
        let error = LockSpec::of(&image).unwrap_err();
        assert!(matches!(&error, Error::ChannelSecret { .. }), "{error:?}");
        assert!(
            error.to_string().contains("environment.yml:1:25: ") && !error.to_string().contains("hidden"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_folder_is_a_channel_that_others_do_not_have() {
    let world = world(&TinyChannel::new());
    TinyChannel::standard().write(world.folder.path().join("image/local"));
    let local = url::Url::from_directory_path(world.folder.path().join("image/local")).unwrap();
    for channel in ["./local", local.as_str()] {
        let image = world.image_of(&format!("channels: ['{channel}']\ndependencies: [hello]\n"));
        let heard = Heard::default();
        let lock = solve(&LockSpec::of(&image).unwrap(), None, &world.client(), &heard).await.unwrap();
        assert_eq!(versions(&lock, Subdir::Linux64), ["hello=1.0", "libfoo=2.1", "python=3.12.1"]);
        assert_eq!(lock.channels[0].url, channel);
        assert!(lock.packages.iter().all(|package| package.url.as_str().starts_with(local.as_str())));
        let [warning] = &heard.all()[..] else { panic!("{:?}", heard.all()) };
        assert!(warning.contains("environment.yml:1:12: ") && warning.contains("others cannot use it"), "{warning}");
        world.client().package(&lock.packages[0]).await.unwrap();
    }
}

#[tokio::test]
async fn a_label_is_a_channel() {
    let world = world(&TinyChannel::new().package(Pkg::new("a", "1")));
    TinyChannel::new().package(Pkg::new("a", "2rc1")).write(world.folder.path().join("channel/label/a_rc"));
    let image = world.image_of("channels: [conda-forge/label/a_rc, conda-forge]\ndependencies: [a]\n");
    let lock = solve(&LockSpec::of(&image).unwrap(), None, &world.client(), &Silent).await.unwrap();
    assert_eq!(versions(&lock, Subdir::Linux64), ["a=2rc1"]);
    assert_eq!(
        lock.packages[0].url.as_str(),
        "https://conda.anaconda.org/conda-forge/label/a_rc/noarch/a-2rc1-0.conda"
    );
    assert_eq!(lock.channels[0].url, "conda-forge/label/a_rc");
}

#[tokio::test]
async fn defaults_are_two_channels_or_three() {
    let world = world(&TinyChannel::new());
    let root = world.folder.path().join("channel");
    for (name, packages) in
        [("main", TinyChannel::standard()), ("r", TinyChannel::new()), ("msys2", TinyChannel::new())]
    {
        packages.write(root.join("pkgs").join(name));
    }
    let to = world.server.url();
    let mirror = esker::project::Mirror { from: "https://repo.anaconda.com/".parse().unwrap(), to };
    let cache = world.folder.path().join("cache");
    let client = || Client::new(Options { mirrors: vec![mirror.clone()], ..Options::new(&cache) }).unwrap();
    let mut image = world.image_of("channels: [defaults, nodefaults, nodefaults]\ndependencies: [certs]\n");
    let lock = solve(&LockSpec::of(&image).unwrap(), None, &client(), &Silent).await.unwrap();
    assert_eq!(lock.packages[0].url.as_str(), "https://repo.anaconda.com/pkgs/main/noarch/certs-2024.1-0.conda");
    assert_eq!(lock.channels.iter().map(|channel| channel.url.as_str()).collect::<Vec<_>>(), ["defaults"]);
    let asked = |part: &str| world.server.requests().iter().any(|line| line.contains(part));
    assert!(asked("/pkgs/r/") && !asked("/pkgs/msys2/"));
    image.subdirs = vec![Subdir::Win64];
    solve(&LockSpec::of(&image).unwrap(), None, &client(), &Silent).await.unwrap();
    assert!(asked("/pkgs/msys2/win-64/"));
}

#[tokio::test]
async fn a_missing_subdir_is_warned_of() {
    let world = world(&TinyChannel::standard());
    fs_err::remove_dir_all(world.folder.path().join("channel/linux-aarch64")).unwrap();
    let heard = Heard::default();
    let spec = LockSpec::of(&world.image(&["certs"])).unwrap();
    let lock = solve(&spec, None, &world.client(), &heard).await.unwrap();
    assert_eq!(versions(&lock, Subdir::LinuxAarch64), ["certs=2024.1"]);
    assert!(
        heard.all().iter().any(|line| line.starts_with("warning: ") && line.contains("linux-aarch64")),
        "{:?}",
        heard.all()
    );
}
