use super::*;

fn host(setting: &Setting) -> String {
    match setting.host() {
        Ok(Host::Ssh(ssh)) => format!("{ssh:?}"),
        Ok(Host::Tls { authority, certificates }) => format!("tls {authority} {}", certificates.display()),
        Ok(host) => host.to_string(),
        Err(error) => error.to_string(),
    }
}

fn at(host: &str) -> Setting {
    Setting { host: Some(host.to_owned()), ..Setting::default() }
}

#[test]
fn addresses_are_read_as_docker_reads_them() {
    assert_eq!(host(&Setting::default()), DEFAULT);
    assert_eq!(host(&at("unix:///run/user/1000/docker.sock")), "unix:///run/user/1000/docker.sock");
    assert_eq!(host(&at("tcp://build.example.org")), "tcp://build.example.org:2375");
    assert_eq!(host(&at("tcp://[::1]:99")), "tcp://[::1]:99");
    let tls = Setting { tls_verify: true, cert_path: Some("/c".into()), ..at("tcp://build.example.org") };
    assert_eq!(host(&tls), "tls build.example.org:2376 /c");
    let Ok(Host::Ssh(ssh)) = at("ssh://me@build.example.org:2222/run/docker.sock").host() else { panic!() };
    let expected = ("build.example.org", Some("me"), Some(2222), Some("/run/docker.sock"));
    assert_eq!((ssh.host.as_str(), ssh.user.as_deref(), ssh.port, ssh.socket.as_deref()), expected);
}

#[test]
fn what_makes_no_sense_is_said() {
    for (wrong, part) in [
        ("build.example.org", "no scheme"),
        ("unix://", "no path"),
        ("tcp://", "a host and a port"),
        ("https://build.example.org", "no certificates"),
        ("npipe:////./pipe/docker", "not known"),
        ("ssh://", "no "),
    ] {
        let text = host(&at(wrong));
        assert!(text.contains(part) && text.contains("`DOCKER_HOST`"), "{text}");
    }
    let text = host(&at("ssh://me:hidden@build.example.org"));
    assert!(text.contains("password") && !text.contains("hidden"), "{text}");
}

#[test]
fn contexts_are_found_by_the_hash_of_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, meta: &str| {
        let folder = dir.path().join("contexts/meta").join(Digest::of(name.as_bytes()).hex());
        fs_err::create_dir_all(&folder).unwrap();
        fs_err::write(folder.join("meta.json"), meta).unwrap();
    };
    write("far", r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"tcp://far:5"}}}"#);
    write("blind", r#"{"Endpoints":{"docker":{"Host":"tcp://far:5","SkipTLSVerify":true}}}"#);
    write("empty", r#"{"Endpoints":{}}"#);
    let config_dir = Some(dir.path().to_owned());
    let plain = Setting { config_dir, ..Setting::default() };
    let named = |name: &str| Setting { context: Some(name.to_owned()), ..plain.clone() };
    assert_eq!(host(&plain), DEFAULT, "there is no config.json");
    assert_eq!(host(&named("far")), "tcp://far:5");
    assert_eq!(host(&named("default")), DEFAULT);
    for (name, part) in [("none", "no such context"), ("blind", "refused"), ("empty", "no Docker engine")] {
        let text = host(&named(name));
        assert!(text.contains(part) && text.contains("`DOCKER_CONTEXT`"), "{text}");
    }
    fs_err::write(dir.path().join("config.json"), r#"{"currentContext": "far", "auths": {}}"#).unwrap();
    assert_eq!(host(&plain), "tcp://far:5");
    assert_eq!(host(&Setting { host: Some("unix:///x".into()), ..plain.clone() }), "unix:///x");
    let tls = dir.path().join("contexts/tls").join(Digest::of(b"far").hex()).join("docker");
    fs_err::create_dir_all(&tls).unwrap();
    assert_eq!(host(&plain), format!("tls far:5 {}", tls.display()));
    fs_err::write(dir.path().join("config.json"), "{").unwrap();
    assert!(host(&plain).contains("config.json"), "{}", host(&plain));
}
