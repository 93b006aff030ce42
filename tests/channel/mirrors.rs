//! Several mirrors of one prefix: the next one where one fails, and never a package that is not what the lock says.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use esker::channel::{Client, Error, Options};
use esker::lock::LockedPackage;
use esker::project::Mirror;
use rattler_conda_types::{Channel, Subdir};

use super::common::{CONDA_FORGE, Fault, Pkg, Server, TinyChannel, Written, compress};
use super::noise;

const FOO: &str = "foo-1.0-0.conda";

/// Two servers of the same channel.
struct Two {
    first: Server,
    second: Server,
    foo: LockedPackage,
    folder: tempfile::TempDir,
}

fn two() -> Two {
    let folder = tempfile::tempdir().unwrap();
    let channel = TinyChannel::new().package(Pkg::new("foo", "1.0").file("share/foo", noise()));
    let written: Vec<Written> = ["first", "second"].map(|name| channel.write(folder.path().join(name))).into();
    let servers = ["first", "second"].map(|name| Server::start(folder.path().join(name)));
    let [first, second] = servers;
    Two { first, second, foo: written[0].locked("foo", Subdir::Linux64), folder }
}

impl Two {
    fn client(&self, mirrors: Vec<Mirror>) -> Client {
        Client::new(Options { mirrors, ..Options::new(self.folder.path().join("cache")) }).unwrap()
    }

    fn both(&self) -> Client {
        self.client(vec![self.first.mirror(), self.second.mirror()])
    }
}

/// Where nobody listens.
fn nowhere() -> Mirror {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Mirror { from: CONDA_FORGE.parse().unwrap(), to: format!("http://{address}/").parse().unwrap() }
}

fn conda_forge() -> Channel {
    Channel::from_url(CONDA_FORGE.parse::<url::Url>().unwrap())
}

async fn names(client: &Client) -> Result<Vec<String>, Error> {
    let records = client.records(&[conda_forge()], Subdir::Linux64, ["foo".parse().unwrap()]).await?;
    let all = records.iter().flat_map(|data| data.iter());
    Ok(all.map(|record| record.package_record.name.as_normalized().to_owned()).collect())
}

#[tokio::test]
async fn the_next_mirror_has_what_one_does_not() {
    for (fault, asked) in [(Fault::Status(404), 1), (Fault::Status(403), 1), (Fault::Status(503), 2), (Fault::Reset, 4)]
    {
        let two = two();
        two.first.inject(FOO, fault, usize::MAX);
        two.both().package(&two.foo).await.unwrap();
        assert_eq!((two.first.gets(FOO), two.second.gets(FOO)), (asked, 1), "{fault:?}");
    }
}

#[tokio::test]
async fn a_package_that_is_not_what_the_lock_says_is_looked_for_elsewhere() {
    let two = two();
    two.first.inject(FOO, Fault::Corrupt, usize::MAX);
    two.both().package(&two.foo).await.unwrap();
    assert_eq!((two.first.gets(FOO), two.second.gets(FOO)), (1, 1));

    let nowhere_right = self::two();
    nowhere_right.first.inject(FOO, Fault::Corrupt, usize::MAX);
    nowhere_right.second.inject(FOO, Fault::Corrupt, usize::MAX);
    let error = nowhere_right.both().package(&nowhere_right.foo).await.unwrap_err();
    let Error::WrongHash(wrong) = &error else { panic!("{error:?}") };
    assert_eq!(wrong.url.port(), nowhere_right.second.url().port());
    assert_eq!((nowhere_right.first.gets(FOO), nowhere_right.second.gets(FOO)), (1, 2));
}

#[tokio::test]
async fn a_body_cut_short_is_not_continued_from_another_mirror() {
    let two = two();
    two.first.inject(FOO, Fault::Truncate, usize::MAX);
    two.both().package(&two.foo).await.unwrap();
    assert!(two.second.heads().iter().all(|head| !head.contains("\nrange:")), "{:?}", two.second.heads());
}

#[tokio::test]
async fn a_mirror_that_is_down_is_left_alone_from_then_on() {
    let two = two();
    two.second.inject("linux-64/repodata.json", Fault::Status(500), 1);
    let client = two.client(vec![nowhere(), two.first.mirror(), two.second.mirror()]);
    assert_eq!(names(&client).await.unwrap(), ["foo"]);
    client.package(&two.foo).await.unwrap();
    assert_eq!(two.second.requests(), [""; 0]);
    let down = two.client(vec![nowhere(), nowhere()]);
    assert!(matches!(names(&down).await, Err(Error::Connect { .. })));
}

#[tokio::test]
async fn the_canonical_place_can_be_the_last() {
    let two = two();
    let canonical = two.second.url();
    let package = LockedPackage { url: canonical.join("noarch/foo-1.0-0.conda").unwrap(), ..two.foo.clone() };
    two.first.inject(FOO, Fault::Status(404), usize::MAX);
    let mirror = |to: url::Url| Mirror { from: canonical.clone(), to };
    let alone = two.client(vec![mirror(two.first.url())]);
    assert!(matches!(alone.package(&package).await, Err(Error::NotFound { .. })));
    assert_eq!(two.second.gets(FOO), 0, "only what is listed is asked");
    two.client(vec![mirror(two.first.url()), mirror(canonical.clone())]).package(&package).await.unwrap();
    assert_eq!(two.second.gets(FOO), 1);
}

#[tokio::test]
async fn plain_repodata_of_a_mirror_goes_before_compressed_repodata_of_the_next() {
    let two = two();
    compress(&two.folder.path().join("second"));
    assert_eq!(names(&two.both()).await.unwrap(), ["foo"]);
    assert_eq!(two.second.requests(), [""; 0]);

    let other = self::two();
    compress(&other.folder.path().join("second"));
    fs_err::remove_dir_all(other.folder.path().join("first")).unwrap();
    assert_eq!(names(&other.both()).await.unwrap(), ["foo"]);
}

#[tokio::test]
async fn offline_a_folder_among_mirrors_is_read() {
    let two = two();
    let folder = url::Url::from_directory_path(two.folder.path().join("second")).unwrap();
    let mirrors = vec![two.first.mirror(), Mirror { from: CONDA_FORGE.parse().unwrap(), to: folder }];
    let options = Options { mirrors, offline: true, ..Options::new(two.folder.path().join("cache")) };
    let client = Client::new(options).unwrap();
    assert_eq!(names(&client).await.unwrap(), ["foo"]);
    client.package(&two.foo).await.unwrap();
    assert_eq!(two.first.requests(), [""; 0]);
}
