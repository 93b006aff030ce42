//! Proxies and mirrors, as the environment and esker.yml name them.

#![allow(clippy::unwrap_used)]

use super::common::{Ran, Sandbox, Server};

/// Where the channel of these tests would be, if its host existed.
const CHANNEL: &str = "http://channel.invalid/c";

/// A sandbox whose image wants a channel that only a proxy knows, and that proxy.
fn behind_a_proxy() -> (Sandbox, Server) {
    let sandbox = Sandbox::new();
    Sandbox::packages().write(sandbox.path("proxied/c"));
    let environment = format!("channels: ['{CHANNEL}']\ndependencies: [libfoo, certs]\n");
    sandbox.write("project/tiny/environment.yml", environment.as_bytes());
    let proxy = Server::start(sandbox.path("proxied"));
    (sandbox, proxy)
}

fn run(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    Ran::new(sandbox.command(arguments).envs(variables.iter().copied()).output().unwrap())
}

fn with_password(proxy: &Server) -> String {
    format!("http://user:hidden@{}", proxy.url().authority())
}

#[test]
fn requests_go_through_the_proxy() {
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let (sandbox, proxy) = behind_a_proxy();
        let address = with_password(&proxy);
        let ran = run(&sandbox, &[(variable, &address)], &["lock"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let ran = run(&sandbox, &[(variable, &address)], &["build"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let heads = proxy.heads();
        let through =
            |head: &String| head.contains(CHANNEL) && head.contains("proxy-authorization: Basic dXNlcjpoaWRkZW4=");
        assert!(!heads.is_empty() && heads.iter().all(through), "{heads:?}");
        assert!(
            sandbox
                .read("project/tiny/conda-lock.yml")
                .contains(&format!("url: {CHANNEL}/noarch/certs-2024.1-0.conda"))
        );
    }
}

#[test]
fn no_proxy_goes_past_it() {
    let (sandbox, proxy) = behind_a_proxy();
    let variables = [("HTTP_PROXY", &*with_password(&proxy)), ("NO_PROXY", "other.invalid,channel.invalid")];
    let ran = run(&sandbox, &variables, &["lock"]);
    ran.fails(3, &["channel.invalid", "no address is known"]);
    assert_eq!(proxy.requests(), [""; 0]);
}

#[test]
fn a_proxy_that_fails_is_said_without_its_password() {
    let (sandbox, proxy) = behind_a_proxy();
    let address = with_password(&proxy);
    drop(proxy);
    let ran = run(&sandbox, &[("HTTP_PROXY", &address)], &["-vvv", "lock"]);
    ran.fails(3, &["cannot connect to `http://channel.invalid/c/"]);
    assert!(!ran.stderr.contains("hidden") && !ran.stderr.contains("dXNlcjpoaWRkZW4="), "{}", ran.stderr);
}

#[test]
fn registries_are_reached_through_the_proxy() {
    let (sandbox, proxy) = behind_a_proxy();
    sandbox.write("project/esker.yml", b"platforms: [linux/amd64]\nbase: registry.invalid/base:1\n");
    let address = with_password(&proxy);
    let variables = [("HTTP_PROXY", &*address), ("HTTPS_PROXY", &*address)];
    assert_eq!(run(&sandbox, &variables, &["lock"]).code, Some(0));
    let ran = run(&sandbox, &variables, &["-vvv", "build"]);
    ran.fails(3, &["registry.invalid"]);
    assert!(!ran.stderr.contains("hidden"), "{}", ran.stderr);
    assert!(proxy.requests().contains(&"CONNECT registry.invalid:443".to_owned()), "{:?}", proxy.requests());
}

#[test]
fn images_are_looked_into_without_encryption_where_that_is_said() {
    let (sandbox, proxy) = behind_a_proxy();
    let address = with_password(&proxy);
    let variables = [("HTTP_PROXY", &*address), ("HTTPS_PROXY", &*address)];
    let image = "docker://registry.invalid/base:1";
    for command in [&["inspect", image][..], &["sbom", image], &["rebuild", image], &["diff", image, image]] {
        let before = proxy.requests().len();
        run(&sandbox, &variables, &[command, &["--plain-http", "registry.invalid"]].concat())
            .fails(2, &["cannot pull `registry.invalid/base:1`"]);
        let asked = proxy.requests().split_off(before);
        let plain = |line: &String| line.starts_with("GET http://registry.invalid/v2/");
        assert!(!asked.is_empty() && asked.iter().all(plain), "{command:?}: {asked:?}");
    }
}

#[test]
fn esker_yml_may_list_several_mirrors_and_name_a_variable() {
    let sandbox = Sandbox::new();
    Sandbox::packages().write(sandbox.path("served/t/tk-hidden"));
    let server = Server::start(sandbox.path("served"));
    let config = format!(
        "{}mirrors:\n  https://conda.anaconda.org/conda-forge/: ['file:///nowhere at all/', '{}t/${{MIRROR_TOKEN}}/']\n",
        sandbox.read("project/esker.yml"),
        server.url()
    );
    sandbox.write("project/esker.yml", config.as_bytes());
    let unset = run(&sandbox, &[("ESKER_MIRROR", "")], &["lock"]);
    unset.fails(2, &["`MIRROR_TOKEN` is not set", "the mirror of `https://conda.anaconda.org/conda-forge/`"]);
    let variables = [("ESKER_MIRROR", ""), ("MIRROR_TOKEN", "tk-hidden")];
    for arguments in [&["-vvv", "lock"], &["-vvv", "build"]] {
        let ran = run(&sandbox, &variables, arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(!ran.stderr.contains("tk-hidden"), "{}", ran.stderr);
    }
    assert!(server.requests().iter().all(|line| line.contains(" /t/tk-hidden/")), "{:?}", server.requests());
    assert!(!sandbox.read("project/tiny/conda-lock.yml").contains("/t/"));
}

#[test]
fn a_variable_may_hold_several_mirrors_and_paths_with_spaces() {
    let sandbox = Sandbox::new();
    Sandbox::packages().write(sandbox.path("a channel of mine"));
    let forge = "https://conda.anaconda.org/conda-forge/";
    let mirrors = format!("{forge}=file://{0}/none {forge}=file://{0}/a channel of mine", sandbox.path("").display());
    let ran = run(&sandbox, &[("ESKER_MIRROR", &mirrors)], &["lock"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        !run(&sandbox, &[("ESKER_MIRROR", "https://a/=http://b/t/tk-hidden/")], &["--help"]).stdout.contains("hidden")
    );
}

#[test]
fn a_cache_that_cannot_be_used_is_named() {
    let sandbox = Sandbox::new();
    sandbox.write("file", b"");
    let server = Server::start(sandbox.path("channel"));
    let mirror = format!("https://conda.anaconda.org/conda-forge/={}", server.url());
    let file = sandbox.path("file");
    let arguments = ["--cache-dir", file.to_str().unwrap(), "lock"];
    let ran = run(&sandbox, &[("ESKER_MIRROR", &mirror)], &arguments);
    ran.fails(3, &["cannot use the cache at", file.to_str().unwrap(), "--cache-dir"]);
    assert_eq!(ran.stderr.matches(file.to_str().unwrap()).count(), 1, "{}", ran.stderr);
    sandbox.ok(&["lock"]);
    let ran = run(&sandbox, &[("ESKER_MIRROR", &mirror)], &["--cache-dir", file.to_str().unwrap(), "build"]);
    ran.fails(3, &[file.to_str().unwrap()]);
}
