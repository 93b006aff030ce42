//! What imports modules in images, run by this machine's Python.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::python::python;

const PROGRAM: &str = include_str!("../../src/verify/checks/imports.py");

fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs_err::write(&path, text).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// What it tells of `programs` and `modules`, with the programs of `folder`.
fn told(python: &str, folder: &Path, programs: &Value, modules: &[&str]) -> Vec<Value> {
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(python);
    command.args(["-c", PROGRAM, &programs.to_string()]).args(modules).env("PATH", path).env("PYTHONPATH", folder);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("@esker ")?).ok()).collect()
}

#[test]
fn programs_run_with_what_was_imported_and_leave_nothing_behind() {
    let Some((_, python)) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs_err::write(folder.join("heavy.py"), "import os\nprint('noise')\nowner = os.getpid()\n").unwrap();
    fs_err::write(folder.join("broken.py"), "raise SystemExit(4)\n").unwrap();
    let body = "import heavy, os, sys\nprint(sys.argv[1:], __name__, heavy.owner == os.getppid())\nsys.exit(3)\n";
    script(folder, "ours", &format!("#!{python}\n{body}"));
    script(folder, "other", &format!("#!/usr/bin/env python3\n{body}"));
    script(folder, "no-script", "\u{7f}ELF");
    let code = |text: &str| json!(["python3", "-c", text]);
    let programs = json!({
        "script": ["ours", "a", "b"],
        "other": ["other"],
        "no-script": ["no-script"],
        "absent": ["no-such-program"],
        "code": code("import sys; print('out'); print('err', file=sys.stderr)"),
        "module": [python, "-m", "json.tool", "--help"],
        "text": code("raise SystemExit('why')"),
        "raises": code("import absent_module"),
        "killed": code("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"),
        "leaves": code("import heavy; heavy.owner = None; print('x' * 100_000)"),
        "again": code("import heavy, os; print(heavy.owner == os.getppid())"),
    });
    // `python3` is this interpreter.
    std::os::unix::fs::symlink(&python, folder.join("python3")).unwrap();
    let lines = told(&python, folder, &programs, &["heavy", "broken", "json"]);
    let begun: Vec<_> = lines.iter().filter_map(|line| line["begin"].as_str()).collect();
    assert_eq!(begun, ["heavy", "broken", "json"]);
    assert!(lines.iter().any(|line| line["failed"] == "broken" && line["reason"] == "SystemExit: 4"));
    let ran: Vec<_> = lines.iter().filter(|line| line["ran"].is_string()).collect();
    let of = |name: &str| *ran.iter().find(|line| line["ran"] == name).unwrap();
    let of = |name: &str| {
        (of(name)["code"].clone(), of(name)["stdout"].as_str().unwrap(), of(name)["stderr"].as_str().unwrap())
    };
    assert_eq!(of("script"), (json!(3), "['a', 'b'] __main__ True\n", ""));
    assert_eq!(of("code"), (json!(0), "out\n", "err\n"));
    assert!(of("module").0 == 0 && of("module").1.contains("usage:"), "{ran:?}");
    assert_eq!(of("text"), (json!(1), "", "why\n"));
    assert!(of("raises").0 == 1 && of("raises").2.contains("ModuleNotFoundError"), "{ran:?}");
    assert_eq!(of("killed"), (json!(-9), "", ""));
    assert_eq!(of("leaves").1.len(), 1 << 16, "the end of it");
    assert_eq!(of("again"), (json!(0), "True\n", ""));
    assert_eq!(ran.len(), 8, "what another interpreter would run, nobody runs: {ran:?}");
    // Whatever it was, it was told after the modules.
    let end = lines.iter().position(|line| line["compiled"].is_array()).unwrap();
    assert!(lines[..end].iter().all(|line| line["ran"].is_null()));
}
