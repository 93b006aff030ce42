use super::*;

fn way(text: &str) -> Option<String> {
    match text.parse::<DaemonAddress>().ok()?.way {
        Way::Direct(uri) => Some(uri),
        Way::Through(command) => Some(command.join(" ")),
    }
}

#[test]
fn addresses_are_those_of_buildkits_own_tools() {
    for (text, expected) in [
        ("tcp://build.example.org:1234", Some("http://build.example.org:1234")),
        ("unix:///run/buildkit/buildkitd.sock", Some("unix:///run/buildkit/buildkitd.sock")),
        ("docker-container://buildkitd", Some("docker exec -i buildkitd buildctl dial-stdio")),
        ("kube-pod://builder-0", Some("kubectl exec -i builder-0 -- buildctl dial-stdio")),
        (
            "kube-pod://builder-0?namespace=ci&container=buildkitd&context=far",
            Some("kubectl --namespace=ci --context=far exec -i --container=buildkitd builder-0 -- buildctl dial-stdio"),
        ),
        ("tcp://build.example.org", None),
        ("tcp://build.example.org:1/x", None),
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
