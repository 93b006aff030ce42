//! Which packages share a layer, and what an update pulls.

use std::process::Command;

use serde_json::Value;

use crate::common::{Pkg, Sandbox, TinyChannel};

/// Bytes that do not compress, so that sizes are known in advance.
fn noise(seed: u32, size: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(seed), next).map(|state| state.to_be_bytes()[0]).take(size).collect()
}

fn channel(version: &str) -> TinyChannel {
    let seed = version.bytes().map(u32::from).sum();
    TinyChannel::new()
        .package(Pkg::new("libfoo", version).native().file("lib/libfoo.so", noise(seed, 300_000)))
        .package(
            Pkg::new("foo-tools", version).native().depends(&format!("libfoo =={version}")).file("bin/foo", "tool"),
        )
        .package(Pkg::new("certs", "2024.1").file("ssl/cacert.pem", noise(1, 200_000)))
        .package(Pkg::new("child", "1").file("share/child", noise(2, 100_000)))
        .package(Pkg::new("small", "1").file("share/small", "s"))
        .package(Pkg::new("tiny-lib", "1").native().file("lib/tiny", "t"))
}

/// Two images, the second on the first.
fn project() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.channel(&channel("1.0"));
    let base = sandbox.read("project/esker.yml");
    let images = "layers: 5\nimages:\n  tiny: {}\n  larger: {parent: tiny}\n";
    sandbox.write("project/esker.yml", format!("{base}{images}").as_bytes());
    sandbox.environment("tiny", &["foo-tools", "certs", "small", "tiny-lib"]);
    sandbox.environment("larger", &["child"]);
    sandbox.ok(&["lock"]);
    sandbox
}

fn layers(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let ran = sandbox.ok(&[&["layers", "--json"], arguments].concat());
    serde_json::from_str(&ran.stdout).unwrap()
}

/// The names of the packages of each layer.
fn names(report: &Value) -> Vec<Vec<&str>> {
    let rows = report["layers"].as_array().unwrap().iter();
    rows.map(|row| row["packages"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect()).collect()
}

fn git(sandbox: &Sandbox, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
    let mut git = Command::new("git");
    git.args(identity).args(arguments).current_dir(sandbox.path("project")).env("HOME", sandbox.path("home"));
    assert!(git.output().unwrap().status.success(), "{arguments:?}");
}

#[test]
fn a_child_s_layers_are_its_parent_s_and_its_own() {
    let sandbox = project();
    let parent = layers(&sandbox, &["tiny"]);
    let expected = [vec!["certs"], vec!["foo-tools", "libfoo"], vec!["small"], vec!["tiny-lib"]];
    assert_eq!(names(&parent), expected, "what is of one release together, then what is left");
    let child = layers(&sandbox, &["larger"]);
    assert_eq!(child["layers"].as_array().unwrap().len(), 5);
    for row in child["layers"].as_array().unwrap() {
        let is_own = row["packages"][0]["name"] == "child";
        assert_eq!(
            row["shared_with"],
            if is_own { serde_json::json!([]) } else { serde_json::json!(["tiny"]) },
            "{row}"
        );
    }
    assert_eq!(child["update"], Value::Null, "there is no repository");
    let text = sandbox.ok(&["layers", "larger"]).stdout;
    assert!(text.contains("libfoo 1.0, foo-tools 1.0 [also in tiny]") && text.contains("~ is an estimate"), "{text}");
}

#[test]
fn layers_that_were_built_are_not_estimated_and_are_the_image_s() {
    let sandbox = project();
    let planned = layers(&sandbox, &["tiny"]);
    assert!(planned["layers"].as_array().unwrap().iter().all(|row| row["estimated"] == true));
    sandbox.build();
    let built = layers(&sandbox, &["tiny"]);
    assert_eq!(names(&planned), names(&built), "repodata and packages say the same");
    assert!(built["layers"].as_array().unwrap().iter().all(|row| row["estimated"] == false));
    let sizes = |report: &Value| {
        report["layers"].as_array().unwrap().iter().map(|row| row["size"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let layout = sandbox.path("project/.esker/images/tiny/blobs/sha256");
    let blobs: Vec<u64> =
        fs_err::read_dir(layout).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert!(sizes(&built).iter().all(|size| blobs.contains(size)), "{built}");
    assert!(!sandbox.ok(&["layers", "tiny"]).stdout.contains('~'));
}

#[test]
fn an_update_tells_what_it_makes_clients_pull() {
    let sandbox = project();
    git(&sandbox, &["init", "--quiet"]);
    git(&sandbox, &["add", "--all"]);
    git(&sandbox, &["commit", "--quiet", "-m", "one"]);
    let same = layers(&sandbox, &["tiny"]);
    assert_eq!((&same["update"]["by_digest"], &same["update"]["by_chain"]), (&0.into(), &0.into()));
    assert!(sandbox.ok(&["layers", "tiny"]).stdout.contains("no layer has changed since HEAD"));
    sandbox.channel(&channel("2.0"));
    sandbox.ok(&["lock", "--fresh"]);
    let report = layers(&sandbox, &["tiny"]);
    let size = |index: usize| report["layers"][index]["size"].as_u64().unwrap();
    assert_eq!(names(&report)[1], ["foo-tools", "libfoo"]);
    assert_eq!(report["update"]["by_digest"], size(1));
    assert_eq!(report["update"]["by_chain"], size(1) + size(2) + size(3), "all above certs");
    assert_eq!(report["layers"][1]["new"], true);
    git(&sandbox, &["commit", "--quiet", "-am", "two"]);
    assert_eq!(layers(&sandbox, &["tiny"])["update"]["by_digest"], 0);
    assert_eq!(layers(&sandbox, &["tiny", "--since", "HEAD~1"])["update"], report_since(&report, "HEAD~1"));
    sandbox.run(&["layers", "tiny", "--since", "v9"]).fails(2, &["no revision `v9`"]);
}

fn report_since(report: &Value, revision: &str) -> Value {
    let mut update = report["update"].clone();
    update["since"] = revision.into();
    update
}

#[test]
fn what_cannot_be_planned_is_said() {
    let sandbox = Sandbox::new();
    sandbox.run(&["layers", "tiny"]).fails(1, &["`tiny` is not locked", "esker lock tiny"]);
    sandbox.ok(&["lock"]);
    sandbox.run(&["layers", "tiny", "--platform", "linux/ppc64le"]).fails(2, &["linux/ppc64le"]);
    sandbox.run(&["layers", "other"]).fails(2, &["other"]);
}
