//! The embedded runner. Every test of [`containers`] runs twice when root runs the tests: see [`as_an_ordinary_user`].

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command as Process;

use crate::tiny;

/// The `nobody` of every Linux distribution.
const NOBODY: u32 = 65534;

/// Runs the tests of [`containers`] again without root's powers.
#[test]
fn as_an_ordinary_user() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs_err::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let [tests, esker] = ["tests", "esker"].map(|name| directory.path().join(name));
    fs_err::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs_err::copy(tiny::esker(), &esker).unwrap();
    let mut again = Process::new(&tests);
    again.args(["embedded::containers::", "--test-threads=2"]).uid(NOBODY).gid(NOBODY);
    // A harness that lists tests by variable must not choose for this run. What is skipped here is so above, too.
    again
        .env_remove("NEXTEST")
        .env_remove("ESKER_SKIP_LOG")
        .env("ESKER_TEST_PROGRAM", &esker)
        .env("TMPDIR", directory.path());
    let output = again.current_dir(directory.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("running 0 tests"), "{text}");
}

mod containers {
    use std::io::{BufRead, BufReader};
    use std::path::{Path, PathBuf};
    use std::process::{Command as Process, Stdio};
    use std::time::{Duration, Instant};

    use esker::verify::runtime::{Command, ContainerRuntime, Error, Exit, Output, Program, Stop};

    use crate::skip::skipped;
    use crate::tiny;

    const SOON: Duration = Duration::from_secs(20);

    async fn run(runtime: &dyn ContainerRuntime, command: &Command) -> Output {
        runtime.run(command, SOON).await.unwrap()
    }

    fn bash(script: &str) -> Command {
        Command::instead(["bash", "-c", script])
    }

    /// Processes of this machine, as seen from outside, that have `marker` as an argument.
    fn processes_with(marker: &str) -> Vec<PathBuf> {
        let entries = fs_err::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
        let has_marker = |process: &PathBuf| {
            let arguments = fs_err::read(process.join("cmdline")).unwrap_or_default();
            arguments.split(|&byte| byte == 0).any(|argument| argument == marker.as_bytes())
        };
        entries.filter(has_marker).collect()
    }

    fn eventually(what: &str, mut happens: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !happens() {
            assert!(begin.elapsed() < SOON, "never: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[tokio::test]
    async fn outputs_and_exit_codes_come_back() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let output = run(&image, &bash("echo out; echo err >&2; exit 7")).await;
        assert_eq!(output, Output { exit: Exit::Code(7), stdout: "out\n".into(), stderr: "err\n".into() });
        assert_eq!(run(&image, &bash("kill -KILL $BASHPID & wait $!; exit 3")).await.exit, Exit::Code(3));
    }

    #[tokio::test]
    async fn the_entrypoint_is_kept_replaced_or_given_arguments() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        assert_eq!(run(&image, &Command::new(Program::Default)).await.stdout, "the default\n");
        let started = ["bash", "-c", "echo $STARTED $$"];
        assert_eq!(run(&image, &Command::arguments(started)).await.stdout, "yes 1\n");
        assert_eq!(run(&image, &Command::instead(started)).await.stdout, "1\n");
    }

    #[tokio::test]
    async fn the_program_sees_the_image_and_nothing_of_the_host() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let script = "echo $UID $PWD $GREETING $EXTRA $HOSTNAME; set -- /*; echo $*; set -- /proc/[0-9]*; echo $*; \
                      echo ${ESKER_TEST_PROGRAM-none} ${CARGO-none}; echo x > /dev/null && read -N 1 < /dev/urandom && echo $?; \
                      while read -r name value; do [[ $name == CapEff: || $name == NoNewPrivs: ]] && echo $value; done \
                      < /proc/self/status";
        let output = run(&image, &bash(script).env("EXTRA", "more")).await;
        let lines: Vec<_> = output.stdout.lines().collect();
        let root = lines[1].split(' ').filter(|name| !["/lib64", "/usr", "/sbin"].contains(name)).collect::<Vec<_>>();
        assert_eq!(lines[0], "1000 /home/jovyan good day more esker", "{output:?}");
        assert_eq!(root, ["/bin", "/dev", "/etc", "/home", "/lib", "/proc", "/srv", "/sys", "/tmp"]);
        assert_eq!(lines[2..], ["/proc/1", "none none", "0", "0000000000000000", "1"], "{output:?}");
    }

    #[tokio::test]
    async fn nothing_of_the_hosts_devices_can_be_written() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let script = "while read -r id parent device root point options rest; do \
                      [[ $point == /sys || $point == /sys/* ]] && echo $point ${options%%,*}; done < /proc/self/mountinfo";
        let output = run(&image, &bash(script)).await;
        let mounts: Vec<_> = output.stdout.lines().collect();
        let host = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        let points = host.lines().filter_map(|line| line.split(' ').nth(4));
        let expected = points.filter(|point| *point == "/sys" || point.starts_with("/sys/")).count();
        assert!(mounts.iter().all(|mount| mount.ends_with(" ro")), "{output:?}");
        assert_eq!(mounts.len(), expected, "{output:?}\n{host}");
    }

    #[tokio::test]
    async fn containers_share_nothing_but_the_image() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let write = "echo mine > ~/file && echo mine > /tmp/file && echo mine > /dev/shm/file && echo done";
        assert_eq!(run(&image, &bash(write)).await.stdout, "done\n");
        let look = "for f in ~ /tmp /dev/shm; do [[ -e $f/file ]] && echo $f; done; echo looked";
        assert_eq!(run(&image, &bash(look)).await.stdout, "looked\n");
    }

    #[tokio::test]
    async fn an_empty_volume_hides_home_and_can_be_written() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::changed(work.path(), |root| fs_err::write(root.join("home/jovyan/kept"), "").unwrap());
        let script = "echo ~/*; echo x > ~/new && echo ~/new";
        let home = run(&image, &bash(script)).await.stdout;
        let volume = run(&image, &bash(script).over_empty_home()).await.stdout;
        assert_eq!(home.lines().next().unwrap(), "/home/jovyan/kept");
        assert_eq!(volume, "/home/jovyan/*\n/home/jovyan/new\n");
    }

    #[tokio::test]
    async fn another_user_gets_the_volume() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let script = "echo $UID ${GROUPS[0]}; echo x > ~/new && echo ~/new";
        let output = run(&image, &bash(script).as_user(54321, 0).over_empty_home()).await;
        assert_eq!(output.stdout, "54321 0\n/home/jovyan/new\n", "{output:?}");
    }

    #[tokio::test]
    async fn a_read_only_image_has_a_few_places_to_write() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::changed(work.path(), |root| {
            std::os::unix::fs::chown(root.join("srv"), Some(1000), None).unwrap_or_default();
        });
        let script = "for d in /srv ~ /tmp /dev/shm; do { echo > $d/file; } 2>/dev/null && echo $d; done; :";
        assert_eq!(run(&image, &bash(script)).await.stdout, "/srv\n/home/jovyan\n/tmp\n/dev/shm\n");
        let output = run(&image, &bash(script).read_only().over_empty_home()).await;
        assert_eq!(output.stdout, "/home/jovyan\n/tmp\n/dev/shm\n", "{output:?}");
    }

    #[tokio::test]
    async fn a_directory_of_the_machine_is_seen_and_not_written() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let shown = work.path().join("shown, with: odd name");
        fs_err::create_dir(&shown).unwrap();
        fs_err::write(shown.join("file"), "from outside").unwrap();
        let everybody = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
        fs_err::set_permissions(&shown, everybody).unwrap();
        let script = "echo $(< /mnt/tests/file); { echo > /mnt/tests/new; } 2>/dev/null || echo refused";
        let output = run(&image, &bash(script).mount(&shown, "/mnt/tests").read_only()).await;
        assert_eq!(output.stdout, "from outside\nrefused\n", "{output:?}");
        assert_eq!(fs_err::read_dir(&shown).unwrap().count(), 1);
        let missing = bash("echo").mount(Path::new("/no/such/directory"), "/mnt/tests");
        let refused = (&image as &dyn ContainerRuntime).run(&missing, SOON).await;
        assert!(
            matches!(&refused, Err(Error::Machine { step, .. }) if step == "mount `/no/such/directory`"),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn a_server_is_reached_and_only_when_asked_for() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let connect = bash(&format!("exec 3<>/dev/tcp/127.0.0.1/{port} && echo connected"));
        assert_eq!(run(&image, &connect.clone().reachable_at(port)).await.stdout, "connected\n");
        // Without it there is a loopback of its own, where nobody listens.
        let alone = run(&image, &connect).await;
        assert_ne!(alone.exit, Exit::Code(0));
        assert!(alone.stderr.contains("Connection refused"), "{alone:?}");
    }

    #[tokio::test]
    async fn a_timeout_kills_everything() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let marker = format!("98{}", std::process::id());
        let begin = Instant::now();
        let command = bash(&format!("trap '' TERM HUP; sleep {marker} & (sleep {marker} &) ; echo on; sleep {marker}"));
        let output = (&image as &dyn ContainerRuntime).run(&command, Duration::from_secs(2)).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::TimedOut, "on\n"));
        assert!(begin.elapsed() < SOON);
        assert_eq!(processes_with(&marker), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn sigterm_reaches_the_program() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let command = bash("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done");
        let running = image.start(&command).await.unwrap();
        while running.logs() != "ready\n" {
            assert!(!running.has_ended(), "{}", running.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running.stop(Stop::Terminate);
        let output = running.wait(SOON).await.unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Exit::Code(5), "ready\nbye\n"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dropped_container_is_killed() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let marker = format!("97{}", std::process::id());
        let running = image.start(&Command::instead(["sleep", &marker])).await.unwrap();
        eventually("the program runs", || !processes_with(&marker).is_empty());
        drop(running);
        eventually("the program is killed", || processes_with(&marker).is_empty());
    }

    #[tokio::test]
    async fn what_cannot_run_says_why() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::image(work.path());
        let missing = (&image as &dyn ContainerRuntime).run(&Command::instead(["no-such-program"]), SOON).await;
        let Err(error @ Error::Setup { .. }) = missing else { panic!("{missing:?}") };
        assert_eq!(error.to_string(), "cannot run `no-such-program` in the container");
        let no_esker = tiny::image_run_by(work.path(), Path::new("/no/esker"));
        let refused = (&no_esker as &dyn ContainerRuntime).run(&bash("echo"), SOON).await;
        assert!(
            matches!(&refused, Err(Error::Runner { program, .. }) if program == Path::new("/no/esker")),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn links_in_the_image_lead_nowhere() {
        let work = tempfile::tempdir().unwrap();
        let precious = work.path().join("precious");
        fs_err::create_dir(&precious).unwrap();
        fs_err::write(precious.join("file"), "untouched").unwrap();
        let link = |from: PathBuf, to: &Path| fs_err::os::unix::fs::symlink(to, from).unwrap();
        // Files are replaced …
        let image = tiny::changed(work.path(), |root| link(root.join("etc/hosts"), &precious.join("file")));
        assert_eq!(
            run(&image, &bash("echo $(< /etc/hosts)")).await.stdout,
            "127.0.0.1 localhost esker ::1 localhost\n"
        );
        assert_eq!(fs_err::read_to_string(precious.join("file")).unwrap(), "untouched");
        // … and directories refused.
        let image = tiny::changed(work.path(), |root| link(root.join("dev"), &precious));
        let refused = (&image as &dyn ContainerRuntime).run(&bash("echo"), SOON).await;
        assert!(matches!(&refused, Err(Error::Setup { step, .. }) if step.contains("`/dev`")), "{refused:?}");
        assert_eq!(fs_err::read_dir(&precious).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn nothing_stays_on_disk() {
        let work = tempfile::tempdir().unwrap();
        let image = tiny::changed(work.path(), |root| {
            let locked = root.join("srv/locked/inner");
            fs_err::create_dir_all(&locked).unwrap();
            for directory in [locked.as_path(), locked.parent().unwrap()] {
                let none = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o000);
                fs_err::set_permissions(directory, none).unwrap();
            }
        });
        assert!(run(&image, &bash("echo x > ~/file")).await.exit.success());
        drop(image);
        assert_eq!(fs_err::read_dir(work.path()).unwrap().count(), 0);
    }

    /// Run by [`a_machine_that_forbids_containers_is_told_from_a_bad_image`] where there are no more user namespaces.
    #[tokio::test]
    async fn helper_that_may_not_make_containers() {
        if std::env::var_os("ESKER_TEST_FORBIDDEN").is_none() {
            return;
        }
        let work = tempfile::tempdir().unwrap();
        let refused = (&tiny::image(work.path()) as &dyn ContainerRuntime).run(&bash("echo"), SOON).await;
        let Err(error @ Error::NotPermitted { .. }) = refused else { panic!("{refused:?}") };
        let told = "containers are not permitted here: cannot make a user namespace (`user.max_user_namespaces` is 0)";
        assert_eq!(error.to_string(), told);
        assert!(error.remedy().unwrap().contains("sysctl user.max_user_namespaces="), "{:?}", error.remedy());
    }

    #[test]
    fn a_machine_that_forbids_containers_is_told_from_a_bad_image() {
        // util-linux makes a user namespace, in which the limit can be set by whoever made it.
        let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
        let mut helper = Process::new("unshare");
        helper
            .args(["--user", "--map-root-user", "--", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap());
        helper.args(["embedded::containers::helper_that_may_not_make_containers", "--exact"]);
        match helper.env("ESKER_TEST_FORBIDDEN", "1").output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) => skipped(&format!("cannot start unshare: {error}")),
        }
    }

    /// Run by [`nothing_is_orphaned_when_esker_is_killed`] in a process of its own.
    #[test]
    fn helper_that_starts_a_container_and_waits() {
        let Some(marker) = std::env::var_os("ESKER_TEST_MARKER") else { return };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let work = PathBuf::from(std::env::var_os("ESKER_TEST_WORK").unwrap());
            let image = tiny::image(&work);
            let script = format!("sleep {0} & (trap '' HUP TERM; sleep {0}) & sleep {0}", marker.display());
            let running = image.start(&bash(&script)).await.unwrap();
            println!("started");
            running.wait(SOON * 10).await.unwrap();
        });
    }

    #[test]
    fn nothing_is_orphaned_when_esker_is_killed() {
        let work = tempfile::tempdir().unwrap();
        let marker = format!("96{}", std::process::id());
        let name = "embedded::containers::helper_that_starts_a_container_and_waits";
        let mut esker = Process::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env("ESKER_TEST_MARKER", &marker)
            .env("ESKER_TEST_WORK", work.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(esker.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("started")));
        eventually("the programs run", || processes_with(&marker).len() >= 3);
        // SIGKILL: esker has no say in it.
        esker.kill().unwrap();
        esker.wait().unwrap();
        eventually("the programs are killed", || processes_with(&marker).is_empty());
        // What stays on disk is removed by the next that comes, which leaves alone what is in use.
        let left = || fs_err::read_dir(work.path()).unwrap().count();
        assert_eq!(left(), 1);
        let first = tiny::image(work.path());
        assert_eq!(left(), 1);
        let second = tiny::image(work.path());
        assert_eq!(left(), 2);
        drop((first, second));
    }
}
