//! Secrets go to the host they are for, and nowhere else: not to another host, not into what is said or kept.

#![allow(clippy::unwrap_used)]

use esker::channel::{Client, Error, Options, Variables};
use esker::lock::LockedPackage;
use rattler_conda_types::{Channel, Subdir};

use super::common::{CONDA_FORGE, Pkg, Server, TinyChannel, tree};

const FOO: &str = "foo-1.0-0.conda";

/// A server of a channel with one package, `foo`, below `at`, and another server of the same files.
struct World {
    server: Server,
    other: Server,
    folder: tempfile::TempDir,
    foo: LockedPackage,
}

fn world(at: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let written = TinyChannel::new().package(Pkg::new("foo", "1.0")).write(folder.path().join("root").join(at));
    let server = || Server::start(folder.path().join("root"));
    let (server, other) = (server(), server());
    World { server, other, foo: written.locked("foo", Subdir::Linux64), folder }
}

impl World {
    fn options(&self) -> Options {
        Options { mirrors: vec![self.server.mirror()], ..Options::new(self.folder.path().join("cache")) }
    }

    fn file(&self, content: &str) -> Option<std::path::PathBuf> {
        let path = self.folder.path().join("credentials");
        fs_err::write(&path, content).unwrap();
        Some(path)
    }

    /// `foo` of a channel on this server, whose URL ends in `channel`, with the variables in it set.
    fn of_channel(
        &self,
        user: &str,
        channel: &str,
        values: &'static [(&str, &str)],
    ) -> (Client, Channel, LockedPackage) {
        let host = format!("http://{user}{}/{channel}/", self.server.url().authority());
        let channel = Channel::from_url(host.parse::<url::Url>().unwrap());
        let mut variables = Variables::default();
        let value_of =
            |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        variables.channel(channel.base_url.url(), "environment.yml:2:3", &value_of);
        let package = LockedPackage { url: format!("{host}noarch/{FOO}").parse().unwrap(), ..self.foo.clone() };
        let options = Options { variables, mirrors: vec![], ..self.options() };
        (Client::new(options).unwrap(), channel, package)
    }
}

/// What the server was told in the header `Authorization`, each time.
fn told(server: &Server) -> Vec<String> {
    let line =
        |head: &String| head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("-").to_owned();
    server.heads().iter().map(line).collect()
}

#[tokio::test]
async fn every_kind_of_credentials_reaches_its_host() {
    for (file, expected) in [
        (r#"{"127.0.0.1": {"BearerToken": "hidden"}}"#, "Bearer hidden"),
        (r#"{"127.0.0.1": {"BasicHTTP": {"username": "u", "password": "p"}}}"#, "Basic dTpw"),
        (r#"{"other.example": {"BearerToken": "hidden"}}"#, "-"),
    ] {
        let world = world("");
        Client::new(Options { auth_file: world.file(file), ..world.options() })
            .unwrap()
            .package(&world.foo)
            .await
            .unwrap();
        assert_eq!(told(&world.server), [expected], "{file}");
    }
    let netrc = world("");
    let file = netrc.file("machine other.example login x password y\nmachine 127.0.0.1 login u password p\n");
    Client::new(Options { netrc: file, ..netrc.options() }).unwrap().package(&netrc.foo).await.unwrap();
    assert_eq!(told(&netrc.server), ["Basic dTpw"]);
    let token = world("t/tk-hidden");
    let file = token.file(r#"{"127.0.0.1": {"CondaToken": "tk-hidden"}}"#);
    Client::new(Options { auth_file: file, ..token.options() }).unwrap().package(&token.foo).await.unwrap();
    assert_eq!(token.server.requests(), [format!("GET /t/tk-hidden/noarch/{FOO}")]);
}

#[tokio::test]
async fn whoever_a_server_redirects_to_learns_nothing() {
    let files = [r#"{"127.0.0.1": {"BearerToken": "hidden"}}"#, r#"{"127.0.0.1": {"CondaToken": "hidden"}}"#];
    for file in files {
        let world = world("");
        let elsewhere = format!("http://localhost:{}/", world.other.url().port().unwrap());
        // A channel with a token sends to where the packages are, as conda.anaconda.org does.
        world.server.redirect(FOO, elsewhere.parse().unwrap());
        let token_path = world.folder.path().join("root/t");
        fs_err::create_dir_all(&token_path).unwrap();
        std::os::unix::fs::symlink(world.folder.path().join("root"), token_path.join("hidden")).unwrap();
        Client::new(Options { auth_file: world.file(file), ..world.options() })
            .unwrap()
            .package(&world.foo)
            .await
            .unwrap();
        assert!(world.server.heads()[0].contains("hidden"));
        assert_eq!(told(&world.other), ["-"], "{file}");
        assert!(!world.other.heads()[0].contains("referer"), "{:?}", world.other.heads());
    }
}

#[tokio::test]
async fn a_mirror_may_have_a_user_of_its_own() {
    let world = world("");
    let mut mirror = world.server.mirror();
    mirror.to.set_username("u").unwrap();
    mirror.to.set_password(Some("p")).unwrap();
    Client::new(Options { mirrors: vec![mirror], ..world.options() }).unwrap().package(&world.foo).await.unwrap();
    assert_eq!(told(&world.server), ["Basic dTpw"]);
}

#[tokio::test]
async fn a_token_in_a_variable_is_sent_and_kept_nowhere() {
    let world = world("t/tk-hidden/c");
    let (client, channel, package) = world.of_channel("", "t/${TOKEN}/c", &[("TOKEN", "tk-hidden")]);
    let records = client.records(&[channel], Subdir::Linux64, ["foo".parse().unwrap()]).await.unwrap();
    let record = records.iter().flat_map(|data| data.iter()).next().unwrap();
    assert_eq!(record.url, package.url);
    client.package(&package).await.unwrap();
    assert!(world.server.requests().contains(&format!("GET /t/tk-hidden/c/noarch/{FOO}")));
    for (path, content) in tree(&world.folder.path().join("cache")) {
        let text = format!("{} {}", path.display(), String::from_utf8_lossy(&content));
        assert!(!text.contains("tk-hidden"), "{}", path.display());
    }
    let missing =
        LockedPackage { sha256: Some("0".repeat(64)), url: package.url.join("bar-1-0.conda").unwrap(), ..package };
    let error = client.package(&missing).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }) && !format!("{error:?} {error}").contains("hidden"), "{error:?}");
}

#[tokio::test]
async fn a_user_in_variables_is_sent_to_the_channel_only() {
    let world = world("c");
    let (client, channel, package) = world.of_channel("${USER}:${PASS}@", "c", &[("USER", "u"), ("PASS", "p")]);
    world.server.require_authorization("Basic dTpw");
    client.records(&[channel], Subdir::Linux64, ["foo".parse().unwrap()]).await.unwrap();
    client.package(&package).await.unwrap();
    let elsewhere = format!("http://{}/c/noarch/{FOO}", world.other.url().authority());
    let elsewhere =
        LockedPackage { url: elsewhere.parse().unwrap(), md5: None, sha256: Some("0".repeat(64)), ..package };
    client.package(&elsewhere).await.unwrap_err();
    assert!(told(&world.other).iter().all(|header| header == "-"), "{:?}", told(&world.other));
}

#[tokio::test]
async fn a_variable_that_is_not_set_or_not_the_channels_is_an_error() {
    let world = world("c");
    let (client, channel, package) = world.of_channel("", "t/${TOKEN}/c", &[]);
    let unset = |error: &Error| {
        matches!(error, Error::UnsetVariable { variable, wanted_by }
        if variable == "TOKEN" && wanted_by == "environment.yml:2:3")
    };
    let error = client.records(&[channel], Subdir::Linux64, ["foo".parse().unwrap()]).await.unwrap_err();
    assert!(unset(&error), "{error:?}");
    let error = client.package(&package).await.unwrap_err();
    assert!(unset(&error), "{error:?}");
    let stray = LockedPackage { url: format!("{CONDA_FORGE}${{HOME}}/{FOO}").parse().unwrap(), ..package };
    let error = client.package(&stray).await.unwrap_err();
    assert!(matches!(&error, Error::StrayVariable { variable, .. } if variable == "HOME"), "{error:?}");
    assert_eq!(world.server.requests(), [""; 0]);
}

#[test]
fn a_broken_file_of_credentials_is_not_quoted() {
    let world = world("");
    for text in [r#"{"host": "tk-hidden"}"#, r#"{"host": {"Bearer tk-hidden": 1}}"#, "tk-hidden"] {
        let Err(error) = Client::new(Options { auth_file: world.file(text), ..world.options() }) else {
            panic!("{text}")
        };
        assert!(
            matches!(&error, Error::Credentials { reason, .. } if reason.starts_with("line 1, column ")),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("tk-hidden"), "{error}");
    }
}
