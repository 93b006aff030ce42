//! What is printed of an environment without a solution.

use super::*;

/// stderr of a failed `esker lock` with the project's folder as `PROJECT`.
fn said(sandbox: &Sandbox) -> String {
    let ran = sandbox.run(&["lock"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    let project = sandbox.path("project").canonicalize().unwrap();
    ran.stderr.replace(&project.display().to_string(), "PROJECT")
}

#[test]
fn platforms_are_told_apart_and_each_hint_has_a_line() {
    let sandbox = Sandbox::new();
    sandbox.channel(
        &Sandbox::packages()
            .package(Pkg::new("half", "1.0").subdirs(&["linux-64"]))
            .package(Pkg::new("modern", "1.0").subdirs(&["linux-64"]).depends("__glibc >=2.34"))
            .package(Pkg::new("modern", "1.0").subdirs(&["linux-aarch64"])),
    );
    sandbox.environment("tiny", &["certs", "half", "modern"]);
    let expected = "\
error: no solution for `tiny`
on linux-64, with
  PROJECT/tiny/environment.yml:6:5: `modern`
because
  modern * cannot be installed because there are no viable options:
  └─ modern 1.0 would require
     └─ __glibc >=2.34, for which no candidates were found.
on linux-aarch64, with
  PROJECT/tiny/environment.yml:5:5: `half`
because
  `half` is not to be had for linux-aarch64
hint: `__glibc >=2.34` is needed on linux-64, where 2.28 is assumed: if the machines have it, write `subdirs: {linux-64: \
{packages: {__glibc: \"2.34\"}}}` into `PROJECT/tiny/virtual-packages.yml`
hint: `half` exists for linux-64 (up to 1.0), not for linux-aarch64: keep `half` off there with a selector \
(`# [linux64]`), or remove `linux/arm64` from `platforms` of `tiny` in `esker.yml`
";
    assert_eq!(said(&sandbox), expected);
}

#[test]
fn what_is_left_out_is_in_the_log() {
    let sandbox = Sandbox::new();
    let mut channel = Sandbox::packages();
    for version in 0..60 {
        channel = channel.package(Pkg::new("many", &format!("1.{version}")).depends(&format!("gone =={version}")));
    }
    sandbox.channel(&channel);
    sandbox.environment("tiny", &["many"]);
    let short = said(&sandbox);
    assert!(short.lines().count() < 40 && short.contains("lines are left out; `-v` shows all"), "{short}");
    let long = sandbox.run(&["-v", "lock"]).stderr;
    assert!((0..60).all(|version| long.contains(&format!("gone =={version},"))), "{long}");
}
