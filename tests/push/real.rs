//! A real registry, where one is installed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use esker::oci::{Digest, Layout, Platform};
use esker::progress::Silent;
use esker::registry::Push;

use super::setup::{REPOSITORY, Setup, client, reference};
use crate::fake_registry::real::RealRegistry;
use crate::images::{available, run};

/// Whether a Docker engine answers.
fn docker_runs() -> bool {
    let answers = std::process::Command::new("docker").arg("version").output().is_ok_and(|out| out.status.success());
    if !answers {
        crate::images::skip::skipped("no Docker engine answers");
    }
    answers
}

#[tokio::test]
async fn a_real_registry_takes_it_and_everybody_pulls_the_same() {
    if !available("docker-registry") {
        return;
    }
    // Docker 20.10 knows gzip alone.
    let setup = Setup::new();
    setup.attach("a note");
    let registry = RealRegistry::start(setup.dir.path());
    let target = reference(&registry.address, REPOSITORY);
    let tags = ["1".to_owned(), "latest".to_owned()];
    let push = Push { layout: &setup.layout, image: &setup.closure(), reference: &target, tags: &tags, sources: &[] };
    let pushed = client().push(&push, &Silent).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.referrers), (7, 1));
    let again = client().push(&push, &Silent).await.unwrap();
    assert_eq!(again.uploaded, 0);
    let image = format!("{}/{REPOSITORY}:1", registry.address);
    let digest = setup.digest().to_string();
    assert_eq!(client().referrers(&target, &setup.digest()).await.unwrap().len(), 1, "by the tag that stands in");

    // From another repository of the registry.
    let other = reference(&registry.address, "other/image");
    let sources = [target.clone()];
    let mounting = Push { reference: &other, sources: &sources, ..push };
    let mounted = client().push(&mounting, &Silent).await.unwrap();
    assert_eq!((mounted.uploaded, mounted.mounted), (0, 7));

    if available("skopeo") {
        let copy = setup.dir.path().join("copy");
        let to = format!("oci:{}:x", copy.display());
        run("skopeo", &["copy", "--all", "--src-tls-verify=false", &format!("docker://{image}"), &to]);
        assert_eq!(Layout::open(&copy).unwrap().image_index_digest().unwrap().to_string(), digest);
    }
    let amd64 = setup.layout.image(Platform::LinuxAmd64).unwrap();
    if available("podman") {
        let root = setup.dir.path().join("podman");
        let (root, run_root) = (root.join("root"), root.join("run"));
        let store = ["--root", root.to_str().unwrap(), "--runroot", run_root.to_str().unwrap()];
        let store = [&store[..], &["--storage-driver", "vfs"]].concat();
        run("podman", &[&store[..], &["pull", "--tls-verify=false", "--arch", "amd64", &image]].concat());
        let id = run("podman", &[&store[..], &["image", "inspect", "--format", "{{.Id}}", &image]].concat());
        assert_eq!(String::from_utf8(id.stdout).unwrap().trim(), amd64.config_digest.hex());
    }
    if docker_runs() {
        run("docker", &["pull", "--platform", "linux/amd64", &image]);
        let digests = run("docker", &["image", "inspect", "--format", "{{.Id}} {{.RepoDigests}}", &image]);
        run("docker", &["image", "rm", &image]);
        let digests = String::from_utf8(digests.stdout).unwrap();
        assert!(digests.contains(&digest) && digests.contains(&amd64.config_digest.to_string()), "{digests}");
    }
}

#[tokio::test]
async fn a_real_registry_takes_chunks_through_a_proxy_that_lets_no_large_body_through() {
    if !available("docker-registry") {
        return;
    }
    let setup = Setup::large();
    let registry = RealRegistry::start(setup.dir.path());
    let proxy = limiting_proxy(&registry.address, 5 << 20);
    let target = reference(&proxy, REPOSITORY);
    let push = Push {
        layout: &setup.layout,
        image: &setup.closure(),
        reference: &target,
        tags: &["1".to_owned()],
        sources: &[],
    };
    client().push(&push, &Silent).await.unwrap();
    let store = Layout::cache(setup.dir.path().join("store")).unwrap();
    let direct = reference(&registry.address, REPOSITORY);
    for descriptor in setup.closure().blobs.values() {
        client().blob(&direct, descriptor, &store, &|_| {}).await.unwrap();
    }
    assert_eq!(Digest::of(&client().manifest(&direct, Some(setup.digest())).await.unwrap()), setup.digest());
}

/// Passes requests on to `upstream`, but answers 413 to bodies of more than `limit` bytes. Returns its address.
fn limiting_proxy(upstream: &str, limit: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let upstream = upstream.to_owned();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, upstream) = (connection.unwrap(), upstream.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head += &line;
                }
                head += "connection: close\r\n\r\n";
                let mut body = (&mut reader).take(length);
                if length > limit {
                    drop(std::io::copy(&mut body, &mut std::io::sink()));
                    let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    drop(connection.write_all(answer.as_bytes()));
                    return;
                }
                let mut server = TcpStream::connect(upstream).unwrap();
                server.write_all(head.as_bytes()).unwrap();
                std::io::copy(&mut body, &mut server).unwrap();
                // The client may have gone.
                drop(std::io::copy(&mut server, &mut connection));
            });
        }
    });
    address
}
