use super::*;

fn way(text: &str) -> Option<String> {
    match text.parse::<DaemonAddress>().ok()?.way() {
        Way::Direct(uri) => Some(uri.clone()),
        Way::Tcp(server) => Some(server.clone()),
        Way::Through(command) => Some(command.join(" ")),
    }
}

#[test]
fn addresses_are_those_of_buildkits_own_tools() {
    for (text, expected) in [
        ("tcp://build.example.org:1234", Some("build.example.org:1234")),
        ("tcp://[::1]:1234?servername=buildkitd.ci", Some("[::1]:1234")),
        ("unix:///run/buildkit/buildkitd.sock", Some("unix:///run/buildkit/buildkitd.sock")),
        ("docker-container://buildkitd", Some("docker exec -i buildkitd buildctl dial-stdio")),
        ("kube-pod://builder-0", Some("kubectl exec -i builder-0 -- buildctl dial-stdio")),
        (
            "kube-pod://builder-0?namespace=ci&container=buildkitd&context=far",
            Some("kubectl --namespace=ci --context=far exec -i --container=buildkitd builder-0 -- buildctl dial-stdio"),
        ),
        ("tcp://build.example.org", None),
        ("tcp://build.example.org:1/x", None),
        ("tcp://build.example.org:1?servername=", None),
        ("tcp://build.example.org:1?x=y", None),
        ("unix://relative", None),
        ("docker-container://--privileged", None),
        ("kube-pod://pod?image=x", None),
        ("ssh://build.example.org", None),
        ("build.example.org:1234", None),
    ] {
        assert_eq!(way(text).as_deref(), expected, "{text}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_said_to_be() {
    for address in ["tcp://127.0.0.1:1", "unix:///nowhere/buildkitd.sock"] {
        let error = BuildkitDaemon::connect(&address.parse().unwrap()).await.err().unwrap();
        assert!(error.to_string().contains(address) && error.remedy().is_some(), "{error}");
    }
}

#[test]
fn certificates_are_for_daemons_behind_tls() {
    let secured = |address: &str, folder: Option<&str>| {
        let secured = address.parse::<DaemonAddress>().unwrap().secured(folder.map(Into::into));
        secured.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(secured("tcp://b.example.org:1?servername=x", Some("/certs")), Ok(()));
    assert_eq!(secured("unix:///run/buildkitd.sock", None), Ok(()));
    assert!(secured("unix:///run/buildkitd.sock", Some("/certs")).unwrap_err().contains("only `tcp://`"));
    assert!(secured("tcp://b.example.org:1?servername=x", None).unwrap_err().contains("`servername` is for TLS"));
}

#[test]
fn certificates_have_dockers_names_or_those_of_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let config = || tls::config(folder.path(), None).map(drop).map_err(|error| error.to_string());
    assert!(config().unwrap_err().contains("neither `ca.pem`, `cert.pem`, `key.pem` nor `ca.crt`"));
    std::fs::write(folder.path().join("tls.crt"), "").unwrap();
    assert!(config().unwrap_err().contains("`tls.crt` is there without `tls.key`"));
    std::fs::write(folder.path().join("tls.key"), "").unwrap();
    assert_eq!(config(), Ok(()));
    std::fs::write(folder.path().join("key.pem"), "").unwrap();
    assert!(config().unwrap_err().contains("`key.pem` is there without `cert.pem`"));
}
