//! Checks that run programs, on a model image whose programs are this machine's bash and stand-ins: what a check does
//! with an answer is tested here, what real programs answer where there is a real image.

use std::time::Duration;

use esker::verify::checks::{ALL, How};
use esker::verify::{CheckReport, Outcome, Report, RuntimeKind};
use serde_json::json;

use crate::fake_jupyter;
use crate::model::{Model, lock};
use crate::skip::skipped;
use crate::tiny;

type Break = fn(&mut Model);

/// Answers what the real interpreter would.
const PYTHON: &str = r#"
case "$*" in
    *importlib.machinery*) echo '@esker {"begin": "json"}'; echo '@esker {"compiled": []}' ;;
    *python_version*) echo 3.13.5 ;;
    *jupyterlab*) echo /srv/conda/envs/notebook/bin/jupyter-lab ;;
    *"pip check"*) echo "No broken requirements found." ;;
    *nbclient*) echo '@esker {"end": true, "plots": 1}' ;;
    *pytest*) echo "2 passed in 0.01s" ;;
    *jupyter_client*) echo '@esker {"kernel": "python3", "answer": "2"}'; echo '@esker {"end": true}' ;;
    *" scheduler-worker local") dask-scheduler --version && dask-worker --version && echo scheduler-worker 42 ;;
    *scheduler_preload*) ;;
    *" local") echo local 42 ;;
    *) echo "unexpected: $*"; exit 9 ;;
esac"#;

/// Lists extensions, or says its version.
const JUPYTER: &str = r#"
[[ $* == "labextension list" ]] && echo "JupyterLab v4.9.9" && echo "    widgets v5 enabled OK" && exit
exec jupyter-lab "${@:2}""#;

/// What is broken in images that serve, and the check that must notice.
const SERVING_MUTATIONS: &[(&str, Break)] = &[
    ("hub.arbitrary-user", |m| m.edit("srv/start", "exec", "[[ $UID == 1000 ]] || exit 1; exec")),
    ("hub.arbitrary-user", |m| m.edit("srv/start", "exec", "[[ $UID != 1000 && $1 != bash ]] && exit 1; exec")),
    ("hub.read-only", |m| m.edit("srv/start", "exec", "[[ -w /srv ]] || exit 1; exec")),
    ("hub.read-only", |m| m.edit("srv/start", "exec", "[[ ! -w /srv && $1 != bash ]] && exit 1; exec")),
    ("jupyter.kernels", |m| m.edit_python("\"2\"", "\"3\"")),
    ("jupyter.kernels", |m| m.edit_python("*jupyter_client*)", "*jupyter_client*) exit 1 ;;\n    *absent*)")),
    ("jupyter.labextensions", |m| m.program("jupyter", "echo 'JupyterLab v4'; echo '  widgets v5 enabled  X'")),
    ("jupyter.labextensions", |m| m.program("jupyter", "echo nothing")),
    ("jupyter.labextensions", |m| m.program("jupyter", "exit 1")),
    ("jupyter.old-options", |m| m.program("jupyter", "echo unknown option; exit 2")),
];

/// The image's command.
const SERVE: &str = r#"
[[ -n $JUPYTERHUB_API_TOKEN ]] && exec jupyterhub-singleuser "$@"
exec jupyter lab "$@""#;

/// What is broken, and the checks that must notice.
const MUTATIONS: &[(&[&str], Break)] = &[
    (&["entrypoint.exec", "entrypoint.signals"], |m| m.edit("srv/start", "exec \"$@\"", "\"$@\"; true")),
    (&["entrypoint.exec", "hub.command"], |m| m.edit("srv/start", "exec", "set -- \"${@//\\*/all}\"; exec")),
    // With a tini in the lock that start does not use.
    (&["identity.root", "entrypoint.init", "entrypoint.zombies"], |m| {
        m.root = Some(lock(&[("conda", "25.5.1"), ("tini", "0.19.0")]));
    }),
    (&["entrypoint.pangeo-env"], |m| m.edit("srv/start", "PANGEO_ENV=\"model\"", "PANGEO_ENV=\"parent\"")),
    (&["entrypoint.pangeo-scratch"], |m| m.edit("srv/start", "-n \"$PANGEO_SCRATCH_PREFIX\" && ", "")),
    (&["entrypoint.pangeo-scratch"], |m| m.edit("srv/start", " && -n \"$JUPYTERHUB_USER\"", "")),
    (&["entrypoint.pangeo-scratch"], |m| m.edit("srv/start", "USER/\"", "USER\"")),
    (&["entrypoint.login-shell"], |m| {
        m.edit("etc/profile.d/init_conda.sh", "export", "[[ $0 == /srv/start ]] && export");
    }),
    (&["hub.empty-home"], |m| m.edit("srv/start", "exec", ": > ~/.started; exec")),
    (&["hub.singleuser", "hub.command"], |m| m.program("jupyterhub-singleuser", "sleep 1; exit 1")),
    (&["hub.command"], |m| m.program("serve", "echo nothing")),
    (&["hub.command"], |m| m.program("serve", "exec jupyter lab \"$@\"")),
    (&["hub.command"], |m| m.program("serve", "exec jupyterhub-singleuser \"$@\"")),
    (&["hub.binder"], |m| m.program("python3", "echo None")),
    (&["dask.commands", "dask.scheduler-worker"], |m| m.program("dask-worker", "exit 1")),
    (&["dask.gateway-preload"], |m| m.edit_python("*scheduler_preload*) ;;", "*scheduler_preload*) exit 1 ;;")),
    (&["dask.local-cluster"], |m| m.edit_python("local 42", "local 41")),
    (&["dask.scheduler-worker"], |m| m.edit_python("worker 42", "worker 41")),
    (&["tests.notebooks"], |m| {
        m.edit_python("\"end\": true, \"plots\"", "\"cell\": 2, \"fault\": \"NameError: x\", \"plots\"");
    }),
    (&["tests.notebooks"], |m| m.edit_python("*nbclient*)", "*nbclient*) exit 1;;\n    *absent*)")),
    (&["tests.pytest"], |m| m.edit_python("in 0.01s\"", "in 0.01s\"; exit 1")),
    (&["python.version"], |m| m.edit_python("3.13.5", "3.13.4")),
    (&["python.pip-check"], |m| m.edit_python("found.\"", "found.\"; exit 1")),
    (&["python.bytecode"], |m| m.edit_python("[]", "[\"/srv/json.py\"]")),
    (&["info.commands"], |m| m.spec.info = [("broken".to_owned(), "exit 3".to_owned())].into()),
];

impl Model {
    fn edit_python(&mut self, from: &str, to: &str) {
        self.edit("srv/conda/envs/notebook/bin/python", from, to);
    }
}

/// A model with a stand-in for every program that checks run.
pub fn running_model() -> Model {
    let mut model = Model::running();
    for package in ["dask-gateway", "distributed", "ipykernel", "jupyter_client", "jupyterhub-singleuser", "nbclient"] {
        model.package(package, "1.0");
    }
    model.package("jupyterlab", "4.9.9");
    for package in ["pip", "pytest"] {
        model.package(package, "1.0");
    }
    for name in ["python", "python3"] {
        model.program(name, PYTHON);
    }
    for name in ["dask-scheduler", "dask-worker"] {
        model.program(name, "[[ $* == --version ]]");
    }
    model.program("serve", SERVE);
    model.program("jupyterhub-singleuser", "[[ $* == --version ]] && sleep 1 && echo 5.3.0");
    model.program("jupyter-lab", "sleep 1; echo 4.9.9");
    model.program("jupyter", JUPYTER);
    for name in ["common/test_all.py", "model/first.ipynb"] {
        model.test(name);
    }
    model
}

/// The same with a server, which is large.
pub fn serving_model() -> Model {
    let mut model = running_model();
    model.program("jupyter", fake_jupyter::SCRIPT);
    model.add(|root| {
        tiny::add_program(root, &std::env::current_exe().unwrap(), "/opt/tests");
        // Most of it is for debuggers, and takes seconds to store, unpack and hash. It works with that, too.
        drop(std::process::Command::new("strip").arg(root.join("opt/tests")).output());
    });
    model
}

fn check<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report.platforms[0].checks.iter().find(|check| check.name == name).unwrap()
}

#[tokio::test]
async fn everything_passes_and_the_server_is_described() {
    let model = serving_model();
    let verification = model.verify_with(RuntimeKind::Embedded).await.unwrap();
    let report = verification.report;
    assert_eq!(report.failures().collect::<Vec<_>>(), []);
    assert!(verification.verified.is_some());
    let not_run = report.platforms[0].checks.iter().filter(|check| matches!(check.outcome, Outcome::NotRun { .. }));
    assert_eq!(
        not_run.map(|check| check.name.as_str()).collect::<Vec<_>>(),
        [
            "identity.pip",
            "contract.nvidia",
            "gpu.cuda",
            "system.apt",
            "entrypoint.init",
            "entrypoint.zombies",
            "python.imports",
            "gpu.devices",
            "page.notebook",
            "info.commands",
        ]
    );
    assert_eq!(check(&report, "jupyter.server").facts["jupyterlab"], "4.9.9");
    assert_eq!(report.platforms[0].runtime, Some(RuntimeKind::Embedded));
    assert_eq!(fs_err::read_dir(model.folder.path().join("work")).unwrap().count(), 0);
}

#[tokio::test]
async fn each_check_notices_what_it_is_for() {
    for (index, (checks, mutate)) in MUTATIONS.iter().enumerate() {
        let mut model = running_model();
        // Servers take seconds, and have a test of their own.
        model.selection.skip = ["jupyter", "hub.arbitrary-user", "hub.read-only"].map(str::to_owned).into();
        mutate(&mut model);
        assert_eq!(model.failures().await, *checks, "mutation {index}");
    }
}

#[tokio::test]
async fn each_check_of_a_server_notices_what_it_is_for() {
    for (index, (check, mutate)) in SERVING_MUTATIONS.iter().enumerate() {
        let mut model = serving_model();
        model.selection.only = vec![(*check).to_owned()];
        mutate(&mut model);
        assert_eq!(model.failures().await, [*check], "mutation {index}");
    }
}

/// The stand-in takes no notebooks.
#[tokio::test]
async fn a_page_is_opened_when_asked_for_and_its_faults_are_told() {
    let mut model = serving_model();
    model.selection.only = vec!["page".into()];
    let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
    match &check(&report, "page.notebook").outcome {
        Outcome::NotRun { reason } if reason.contains("`chromedriver`") => skipped(reason),
        Outcome::Failed { reason, .. } => {
            assert_eq!(reason, "/api/contents/esker.ipynb answers 404 to what is put there");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn gpus_are_asked_for_where_a_runtime_has_them() {
    let mut model = running_model();
    model.package("cuda-version", "12.6");
    model.selection.only = vec!["gpu.devices".into()];
    for (gpus, reason) in [
        (false, "no GPU was asked for: `--gpus` runs it on a machine that has one"),
        (true, "the embedded runner has no GPUs to give: choose another with `--runtime`"),
    ] {
        model.equipment.gpus = gpus;
        let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
        assert_eq!(check(&report, "gpu.devices").outcome, Outcome::NotRun { reason: reason.to_owned() });
    }
}

#[tokio::test]
async fn each_fault_of_a_server_is_told() {
    for (fault, reason) in fake_jupyter::FAULTS {
        let mut model = serving_model();
        model.selection.only = vec!["jupyter.server".into()];
        model.variable("FAKE", fault);
        model.timeout = Duration::from_secs(2);
        let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
        match &check(&report, "jupyter.server").outcome {
            Outcome::Failed { reason: told, .. } => assert!(told.starts_with(reason), "{fault}: {told}"),
            other => panic!("{fault}: {other:?}"),
        }
    }
}

/// Checks whose programs run where everything has been imported, and the programs' names there.
const WARM: [(&str, &str, &str); 4] = [
    ("hub.binder", "binder", "/srv/conda/envs/notebook/bin/jupyter-lab"),
    ("jupyter.labextensions", "labextensions", "JupyterLab v4"),
    ("dask.gateway-preload", "preload", ""),
    ("python.pip-check", "pip-check", ""),
];

/// A model whose programs say, where everything has been imported, what `said` makes of what would be right, and whose
/// interpreter does nothing else.
fn warm_model(said: impl Fn(&str) -> (i32, String)) -> Model {
    let mut model = running_model();
    model.selection.only = WARM.map(|(check, ..)| check.to_owned()).into();
    model.selection.only.push("python.imports".into());
    let lines = WARM.map(|(_, name, right)| {
        let (code, stdout) = said(right);
        let line = json!({"ran": name, "code": code, "stdout": stdout, "stderr": ""});
        format!("echo '@esker {line}'")
    });
    let python = format!(
        "[[ $* == *importlib.machinery* ]] || exit 5\necho '@esker {{\"compiled\": []}}'\n{}",
        lines.join("\n")
    );
    for name in ["python", "python3"] {
        model.program(name, &python);
    }
    model.program("jupyter", "exit 5");
    model
}

#[tokio::test]
async fn what_passes_where_everything_is_imported_is_not_run_again() {
    assert_eq!(warm_model(|right| (0, right.to_owned())).failures().await, [""; 0]);
    // Not without the check that imports everything: that would cost more.
    let mut model = warm_model(|right| (0, right.to_owned()));
    model.selection.only.pop();
    let mut failures = model.failures().await;
    let mut all = WARM.map(|(check, ..)| check);
    failures.sort_unstable();
    all.sort_unstable();
    assert_eq!(failures, all);
}

#[tokio::test]
async fn what_fails_where_everything_is_imported_counts_as_it_is_by_itself() {
    // Two of them tell by their exit code alone.
    for (said, count) in [((1, "right"), 4), ((0, "wrong"), 2)] {
        let (code, text) = said;
        let model = warm_model(|right| (code, if text == "right" { right.to_owned() } else { text.to_owned() }));
        assert_eq!(model.failures().await.len(), count, "{said:?}");
        // By themselves they pass.
        let mut model = running_model();
        model.selection.only = WARM.map(|(check, ..)| check.to_owned()).into();
        model.selection.only.push("python.imports".into());
        let line =
            WARM.map(|(_, name, _)| json!({"ran": name, "code": code, "stdout": text, "stderr": ""}).to_string());
        let lines = line.map(|line| format!("echo '@esker {line}'")).join("; ");
        model.edit_python("[]}' ;;", &format!("[]}}'; {lines} ;;"));
        assert_eq!(model.failures().await, [""; 0], "{said:?}");
    }
}

#[tokio::test]
async fn modules_that_fail_or_crash_are_named() {
    let mut model = running_model();
    model.selection.only = vec!["python.imports".into()];
    let record = model.record("pip");
    let modules = ["good", "bad", "crash", "last"].map(|name| format!("lib/python3.13/site-packages/{name}.py"));
    model.edit(&record, "\"files\":[]", &format!("\"files\":{}", json!(modules)));
    fs_err::write(model.folder.path().join("environment.yml"), "dependencies: [pip]\n").unwrap();
    model.spec.environments = vec![crate::model::environment(model.folder.path(), &["pip >=1", "absent"])];
    let import = r#"
        shift 3
        for m; do
            echo "@esker {\"begin\": \"$m\"}"
            [[ $m == bad ]] && echo '@esker {"failed": "bad", "reason": "ImportError: no"}'
            [[ $m == crash ]] && exit 139
        done
        echo '@esker {"compiled": []}' ;;"#;
    model.edit_python(r#"echo '@esker {"begin": "json"}'; echo '@esker {"compiled": []}' ;;"#, import);
    let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
    let imports = check(&report, "python.imports");
    let Outcome::Failed { details, .. } = &imports.outcome else { panic!("{imports:?}") };
    assert_eq!(details[0], "bad: ImportError: no");
    assert_eq!(details[1], "crash: exit code 139");
    assert_eq!((details.len(), imports.facts["imported-modules"].as_str()), (2, "4"));
}

#[test]
fn no_running_check_is_left_out_of_the_table() {
    // `gpu.devices` needs a GPU to fail: what it makes of answers is a test beside it.
    let elsewhere = ["python.imports", "jupyter.server", "page.notebook", "gpu.devices"];
    let running = ALL.iter().filter(|check| matches!(check.how, How::Running(_))).map(|check| check.name);
    for name in running.filter(|name| !elsewhere.contains(name)) {
        let is_broken = MUTATIONS.iter().any(|(checks, _)| checks.contains(&name));
        assert!(is_broken || SERVING_MUTATIONS.iter().any(|(check, _)| *check == name), "{name}");
    }
}

#[tokio::test]
async fn what_the_lock_lacks_is_not_run() {
    let mut model = Model::running();
    model.program("python", PYTHON);
    let report = model.verify_with(RuntimeKind::Embedded).await.unwrap().report;
    let reason = "`jupyterlab` is not in the lock".to_owned();
    assert_eq!(check(&report, "jupyter.server").outcome, Outcome::NotRun { reason });
    assert_eq!(check(&report, "python.version").outcome, Outcome::Passed);
}
