//! The Docker engine runs the same images with the same results. Skipped, loudly, where no engine answers.

use std::time::Duration;

use esker::docker::{Engine, Setting};
use esker::oci::Platform;
use esker::verify::runtime::ContainerConfig;
use esker::verify::runtime::{Command, Exit, Preparation, Prepared, Stop};
use esker::verify::{Outcome, RuntimeKind};
use serde_json::json;

use crate::model::Model;
use crate::running::serving_model;
use crate::skip::skipped;

const SOON: Duration = Duration::from_secs(60);

/// The engine that this machine's environment names.
pub fn setting() -> Setting {
    Setting { host: std::env::var("DOCKER_HOST").ok(), ..Setting::default() }
}

async fn engine() -> Option<Engine> {
    let engine = Engine::connect(&setting()).await;
    if let Err(error) = &engine {
        skipped(&error.to_string());
    }
    engine.ok()
}

/// Nobody else's image, so that it is not there before and may be removed after.
fn own(mut model: Model) -> Model {
    let unique = model.folder.path().display().to_string();
    model.config["config"]["Labels"]["org.example.test"] = json!(unique);
    model
}

async fn loaded(model: &Model) -> Prepared {
    let layout = model.layout();
    let image = layout.image(Platform::host().unwrap()).unwrap();
    let config = ContainerConfig::new(&image.config);
    let work_dir = &model.folder.path().join("work");
    let preparation = Preparation {
        name: "model",
        image: &image,
        layout: &layout,
        config,
        work_dir,
        keep: false,
        runner: None,
        docker: &setting(),
        podman: "podman".as_ref(),
    };
    preparation.docker(&esker::progress::Silent).await.unwrap()
}

#[tokio::test]
async fn an_image_is_verified_and_removed() {
    let Some(engine) = engine().await else { return };
    let model = own(serving_model());
    let report = model.verify_with(RuntimeKind::Docker).await.unwrap().report;
    assert_eq!(report.failures().collect::<Vec<_>>(), []);
    let server = report.platforms[0].checks.iter().find(|check| check.name == "jupyter.server").unwrap();
    assert_eq!(server.outcome, Outcome::Passed);
    let id = model.layout().images().unwrap()[0].config_digest.to_string();
    assert!(!engine.has_image(&id).await.unwrap());
}

#[tokio::test]
async fn programs_run_time_out_and_are_stopped() {
    let Some(_) = engine().await else { return };
    let prepared = loaded(&own(Model::running())).await;
    let runtime = prepared.runtime();
    let bash = |script: &str| Command::instead(["bash", "-c", script]);

    let missing = runtime.run(&Command::instead(["no-such-program"]), SOON).await;
    assert!(matches!(missing, Err(esker::verify::runtime::Error::Setup { .. })), "{missing:?}");

    let output = runtime.run(&bash("echo out $UID; echo err >&2; exit 7"), SOON).await.unwrap();
    assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(7), "out 1000\n"));
    assert!(output.stderr.ends_with("err\n"), "{output:?}");

    let output =
        runtime.run(&bash("trap '' TERM; echo on; sleep 100 & sleep 100"), Duration::from_secs(3)).await.unwrap();
    assert_eq!((output.exit, output.stdout.as_str()), (Exit::TimedOut, "on\n"));

    let running =
        runtime.start(&bash("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done")).await.unwrap();
    while !running.logs().contains("ready\n") {
        assert!(!running.has_ended(), "{}", running.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop(Stop::Terminate);
    let output = running.wait(SOON).await.unwrap();
    assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(5), "ready\nbye\n"));
    drop(prepared);
}

#[tokio::test]
async fn users_mounts_and_read_only_images() {
    let Some(_) = engine().await else { return };
    let model = own(Model::running());
    let prepared = loaded(&model).await;
    let shown = model.folder.path().join("shown");
    fs_err::create_dir(&shown).unwrap();
    fs_err::write(shown.join("file"), "from outside").unwrap();
    let script = "echo $UID ${GROUPS[0]} $(< /mnt/tests/file); \
                  for d in /mnt/tests /srv ~ /tmp; do { echo > $d/new; } 2>/dev/null && echo $d; done; :";
    let command = Command::instead(["bash", "-c", script]).as_user(54321, 0).mount(&shown, "/mnt/tests");
    let output = prepared.runtime().run(&command.read_only().over_empty_home(), SOON).await.unwrap();
    assert_eq!(output.stdout, "54321 0 from outside\n/home/jovyan\n/tmp\n", "{output:?}");
    drop(prepared);
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_said_to_be_out_of_reach() {
    let nowhere = "unix:///nowhere/docker.sock";
    let error = Engine::connect(&Setting { host: Some(nowhere.into()), ..Setting::default() }).await.unwrap_err();
    assert!(matches!(error, esker::docker::Error::Unreachable { .. }) && error.remedy().is_some(), "{error:?}");
    assert!(error.to_string().contains(nowhere), "{error}");
}
