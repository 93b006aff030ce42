//! `esker verify` as it is typed: the list of checks, and documents about what was verified.

use serde_json::{Value, json};

use crate::common::Sandbox;

#[test]
fn checks_are_listed_without_a_project() {
    let sandbox = Sandbox::new();
    fs_err::remove_file(sandbox.path("project/esker.yml")).unwrap();
    fs_err::remove_dir_all(sandbox.path("project/tiny")).unwrap();
    let list: Value = serde_json::from_str(&sandbox.ok(&["verify", "--list", "--json"]).stdout).unwrap();
    let checks = list["checks"].as_array().unwrap();
    assert_eq!(checks.len(), esker::verify::checks::ALL.len());
    let of = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(of("identity.conda")["how"], "layers");
    assert_eq!(of("hub.command")["needs"][0], json!(["jupyterhub-singleuser", "jupyterhub-base", "jupyterhub"]));
    let text = sandbox.ok(&["verify", "--list", "--only", "dask,files.start"]).stdout;
    assert!(text.starts_with("from the layers:\n  files.start "), "{text}");
    assert!(text.contains("\nby running programs in the image:\n  dask.commands "), "{text}");
    assert!(text.contains("(needs distributed)") && !text.contains("identity"), "{text}");
    sandbox.run(&["verify", "--list", "--only", "dusk"]).fails(2, &["there is no check `dusk`: did you mean `dask`?"]);
}

#[test]
fn what_was_verified_is_written_down_whatever_came_of_it() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["lock"]);
    sandbox.build();
    // The image was built without it.
    let project = sandbox.read("project/esker.yml") + "env: {EXTRA: asked}\n";
    sandbox.write("project/esker.yml", project.as_bytes());
    let arguments = ["verify", "tiny", "--only", "identity,contract", "--report", "../report", "--json"];
    let ran = sandbox.run(&arguments);
    ran.fails(1, &["`contract.environment` (linux/amd64)", "wrote ../report/report.html"]);
    assert_eq!(ran.stdout, sandbox.read("report/report.json"));
    assert!(sandbox.read("report/manifest.md").contains("| libfoo | 2.1 |"));
    assert!(sandbox.read("report/junit.xml").contains("<failure "));
    let page = sandbox.read("report/report.html");
    assert!(page.contains("What failed") && page.contains("tiny for linux&#x2f;arm64"), "{page}");
    // Only layers were looked at: nothing is unpacked, and there is nothing to log.
    assert!(!sandbox.path("project/.esker/run").exists() && !sandbox.path("report/logs").exists());
}

#[test]
fn commands_of_info_are_named_by_their_words() {
    let sandbox = Sandbox::new();
    let project = sandbox.read("project/esker.yml") + "info: {a b: uname}\n";
    sandbox.write("project/esker.yml", project.as_bytes());
    sandbox.run(&["verify", "tiny"]).fails(2, &["`a b` cannot be `info`"]);
}
