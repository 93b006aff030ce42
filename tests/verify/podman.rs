//! Podman runs the same images with the same results, as root and as an ordinary user, and keeps nothing of it. Skipped,
//! loudly, where there is no Podman or it can set up no container.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command as Process;

use esker::verify::runtime::PodmanError;
use esker::verify::{Error, RuntimeKind};

use crate::model::Model;
use crate::skip::skipped;
use crate::tiny;

/// The `nobody` of every Linux distribution.
const NOBODY: u32 = 65534;

/// Gives the ordinary user ids to map, and a network device where only root may use it, seen by nobody else, and becomes
/// that user.
const BECOME: &str = r#"
for file in /etc/subuid /etc/subgid; do mount --bind "$1" $file || exit 77; done
shift
become() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
if ! become test -w /dev/net/tun; then
    mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 || exit 77
fi
become "$@""#;

/// Runs the tests of [`engine`] again without root's powers.
#[test]
fn as_an_ordinary_user() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs_err::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let [tests, esker, ids] = ["tests", "esker", "ids"].map(|name| directory.path().join(name));
    fs_err::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs_err::copy(tiny::esker(), &esker).unwrap();
    fs_err::write(&ids, "nobody:200000:65536\n").unwrap();
    let [home, run] = ["home", "run"].map(|name| directory.path().join(name));
    for folder in [&home, &run] {
        fs_err::create_dir(folder).unwrap();
        fs_err::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let user = |program: &Path, arguments: &[&str]| {
        let mut again = Process::new("unshare");
        again.args(["--mount", "sh", "-c", BECOME, "sh"]).arg(&ids).arg(program).args(arguments);
        // A harness that lists tests by variable must not choose for this run. What is skipped is said below.
        again.env_remove("NEXTEST").env_remove("ESKER_SKIP_LOG").env("ESKER_TEST_PROGRAM", &esker);
        again.env("HOME", &home).env("XDG_RUNTIME_DIR", &run).env("TMPDIR", directory.path());
        again.current_dir(directory.path()).output().unwrap()
    };
    let output = user(&tests, &["podman::engine::", "--test-threads=1", "--nocapture"]);
    // Ends the process that keeps this user's namespaces.
    user(Path::new("podman"), &["system", "migrate"]);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        return skipped("an ordinary user cannot be given subordinate ids or a network device here");
    }
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("running 0 tests"), "{text}");
    if let Some((_, reason)) = text.lines().find_map(|line| line.split_once("SKIPPED ")) {
        skipped(&format!("as an ordinary user: {reason}"));
    }
}

#[tokio::test]
async fn a_podman_that_is_not_there_is_told() {
    let mut model = Model::running();
    model.podman = "/nowhere/podman".into();
    match model.verify_with(RuntimeKind::Podman).await.map(|verification| verification.report) {
        Err(Error::Runtime { source, .. }) => {
            assert_eq!(source.to_string(), "cannot start `/nowhere/podman`");
            assert!(source.remedy().unwrap().contains("ESKER_PODMAN"));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_podman_refuses_is_no_fault_of_the_image() {
    let mut model = Model::running();
    model.podman = model.folder.path().join("podman");
    // Has the image, and sets up no container with any OCI runtime.
    let script = "#!/bin/sh\ncase \"$*\" in *init*) echo 'Error: no cgroups' >&2; exit 125 ;; esac\n";
    fs_err::write(&model.podman, script).unwrap();
    fs_err::set_permissions(&model.podman, std::fs::Permissions::from_mode(0o755)).unwrap();
    match model.verify_with(RuntimeKind::Podman).await.map(|verification| verification.report) {
        Err(Error::Runtime { source: esker::verify::runtime::Error::Podman(error), .. }) => {
            assert!(matches!(error, PodmanError::Refused { .. }), "{error:?}");
            assert_eq!(error.to_string(), "Podman cannot start the container: no cgroups");
        }
        other => panic!("{other:?}"),
    }
}

mod engine {
    use std::process::Command as Process;
    use std::time::Duration;

    use esker::oci::Platform;
    use esker::verify::runtime::{Command, ContainerConfig, Error, Exit, Preparation, Prepared, Stop};
    use esker::verify::{Outcome, RuntimeKind};
    use serde_json::json;

    use crate::model::Model;
    use crate::running::serving_model;
    use crate::skip::skipped;

    const SOON: Duration = Duration::from_secs(60);

    /// What `podman` prints.
    fn podman(arguments: &[&str]) -> String {
        let output = Process::new("podman").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn has_image(id: &str) -> bool {
        Process::new("podman").args(["image", "exists", id]).status().unwrap().success()
    }

    /// Nobody else's image, so that it is not there before and may be removed after.
    fn own(mut model: Model) -> Model {
        let unique = model.folder.path().display().to_string();
        model.config["config"]["Labels"]["org.example.test"] = json!(unique);
        model
    }

    fn id(model: &Model) -> String {
        model.layout().images().unwrap()[0].config_digest.hex()
    }

    /// The image in Podman; `None`, said to be skipped, where that can run none.
    async fn loaded(model: &Model) -> Option<Prepared> {
        let layout = model.layout();
        let image = layout.image(Platform::host().unwrap()).unwrap();
        let preparation = Preparation {
            name: "model",
            image: &image,
            layout: &layout,
            config: ContainerConfig::new(&image.config),
            work_dir: &model.folder.path().join("work"),
            keep: false,
            runner: None,
            docker: &crate::docker::setting(),
            podman: "podman".as_ref(),
        };
        match preparation.podman(&esker::progress::Silent).await {
            Ok(prepared) => Some(prepared),
            Err(Error::Podman(error)) => {
                skipped(&format!("Podman cannot run here: {error}"));
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Lets Podman's removals, which wait for each other, end.
    async fn removed(prepared: Prepared) {
        tokio::task::spawn_blocking(move || drop(prepared)).await.unwrap();
    }

    fn bash(script: &str) -> Command {
        Command::instead(["bash", "-c", script])
    }

    #[tokio::test]
    async fn an_image_is_verified_and_removed() {
        let mut model = own(serving_model());
        // Without overlays, each of an ordinary user's containers begins with a copy of the image.
        model.timeout = SOON * 2;
        let Some(prepared) = loaded(&model).await else { return };
        assert!(has_image(&id(&model)));
        removed(prepared).await;
        assert!(!has_image(&id(&model)));
        let report = model.verify_with(RuntimeKind::Podman).await.unwrap().report;
        assert_eq!(report.failures().collect::<Vec<_>>(), []);
        assert_eq!(report.platforms[0].runtime, Some(RuntimeKind::Podman));
        let server = report.platforms[0].checks.iter().find(|check| check.name == "jupyter.server").unwrap();
        assert_eq!(server.outcome, Outcome::Passed);
        assert!(!has_image(&id(&model)));
        assert_eq!(fs_err::read_dir(model.folder.path().join("work")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_image_that_was_there_stays() {
        let model = own(Model::running());
        let Some(first) = loaded(&model).await else { return };
        let second = loaded(&model).await.unwrap();
        let ran = second.runtime().run(&bash("echo ran"), SOON).await.unwrap();
        assert_eq!(ran.stdout, "ran\n");
        removed(second).await;
        assert!(has_image(&id(&model)));
        removed(first).await;
        assert!(!has_image(&id(&model)));
    }

    #[tokio::test]
    async fn programs_run_time_out_and_are_stopped() {
        let model = own(Model::running());
        let Some(prepared) = loaded(&model).await else { return };
        let runtime = prepared.runtime();

        let missing = runtime.run(&Command::instead(["no-such-program"]), SOON).await;
        assert!(matches!(missing, Err(Error::Setup { .. })), "{missing:?}");

        let output = runtime.run(&bash("echo out $UID; echo err >&2; exit 7"), SOON).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(7), "out 1000\n"));
        assert!(output.stderr.ends_with("err\n"), "{output:?}");
        // The code that Podman itself has for a program that is not there.
        assert_eq!(runtime.run(&bash("exit 127"), SOON).await.unwrap().exit, Exit::Code(127));

        let stubborn = bash("trap '' TERM; echo on; sleep 100 & sleep 100");
        let output = runtime.run(&stubborn, Duration::from_secs(5)).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::TimedOut, "on\n"));

        let polite = bash("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
        let running = runtime.start(&polite).await.unwrap();
        while !running.logs().contains("ready\n") {
            assert!(!running.has_ended(), "{}", running.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running.stop(Stop::Terminate);
        let output = running.wait(SOON).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(5), "ready\nbye\n"));
        let left = podman(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={}", id(&model))]);
        assert_eq!(left, "");
        removed(prepared).await;
    }

    #[tokio::test]
    async fn containers_are_confined() {
        let model = own(Model::running());
        let Some(prepared) = loaded(&model).await else { return };
        let runtime = prepared.runtime();
        let status = "while read -r name value; do [[ $name == CapEff: || $name == CapBnd: || $name == NoNewPrivs: ]] && \
                      echo $value; done < /proc/self/status; for i in /sys/class/net/*; do echo ${i##*/}; done";
        let output = runtime.run(&bash(status), SOON).await.unwrap();
        assert_eq!(output.stdout, "0000000000000000\n0000000000000000\n1\nlo\n");

        let write =
            "echo $UID; ls ~; echo x > ~/file && echo volume; echo x > /tmp/file && echo tmp; echo x > /srv/file";
        let command = bash(write).over_empty_home().read_only().as_user(54321, 0);
        let output = runtime.run(&command, SOON).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(1), "54321\nvolume\ntmp\n"), "{output:?}");
        assert!(output.stderr.contains("Read-only file system"), "{output:?}");

        let folder = model.folder.path().join("with, comma");
        fs_err::create_dir(&folder).unwrap();
        fs_err::write(folder.join("file"), "of the host\n").unwrap();
        // Rootless, the container's user is another one outside.
        for path in [model.folder.path(), &folder] {
            fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let command = bash("cat /seen/file; echo x > /seen/file").mount(&folder, "/seen");
        let output = runtime.run(&command, SOON).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(1), "of the host\n"), "{output:?}");
        removed(prepared).await;
    }

    #[tokio::test]
    async fn what_is_dropped_in_the_middle_leaves_nothing() {
        let model = own(Model::running());
        let Some(prepared) = loaded(&model).await else { return };
        let running = prepared.runtime().start(&bash("echo on; sleep 100")).await.unwrap();
        while !running.logs().contains("on\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // In the order in which an interrupted verify drops them.
        drop(running);
        removed(prepared).await;
        assert!(!has_image(&id(&model)));
        let left = podman(&["ps", "--all", "--quiet", "--filter", &format!("ancestor={}", id(&model))]);
        assert_eq!(left, "");
    }
}
