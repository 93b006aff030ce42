//! What `/srv/start` and login shells do.

use std::time::{Duration, Instant};

use super::scene::{Scene, prints};
use super::{Finding, GRACE, Outcome};
use crate::verify::runtime::{Command, Error, Exit, Stop};
use crate::verify::subject::conda_packages;

/// Inits that containers use; the engine's own is `docker-init` or `catatonit`.
const INITS: [&str; 4] = ["tini", "dumb-init", "docker-init", "catatonit"];

pub async fn exec(scene: &Scene<'_>) -> Result<Finding, Error> {
    // KubeSpawner sends arguments alone. They must arrive unchanged, at a program that has taken the shell's place.
    // As process 1 may also stand an init, which hands signals on and reaps; the shell must be gone all the same.
    let script = r#"[ $$ = 1 ] && first=itself || read -r first < /proc/1/comm; printf '%s|' "$first" "$@""#;
    let command = Command::arguments(["bash", "-c", script, "name", "two words", "$HOME", "*"]);
    let output = scene.run(&command).await?;
    let first = output.stdout.split('|').next().filter(|first| INITS.contains(first)).unwrap_or("itself");
    Ok(prints(&output, &format!("{first}|two words|$HOME|*|")).into())
}

pub async fn init(scene: &Scene<'_>) -> Result<Finding, Error> {
    if let Some(reason) = no_init(scene) {
        return Ok(reason.into());
    }
    Ok(prints(&scene.run(&Command::arguments(["cat", "/proc/1/comm"])).await?, "tini").into())
}

pub async fn signals(scene: &Scene<'_>) -> Result<Finding, Error> {
    // What a hub's stop comes to: SIGTERM, the program's own end, its exit code.
    let script = "trap 'echo stopped; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let running = scene.runtime.start(&shell(script)).await?;
    let begin = Instant::now();
    while !running.logs().contains("ready") && !running.has_ended() && begin.elapsed() < scene.timeout {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop(Stop::Terminate);
    let output = running.wait(GRACE.min(scene.timeout)).await?;
    Ok(match (output.exit, output.stdout.lines().last()) {
        (Exit::Code(5), Some("stopped")) => Outcome::Passed.into(),
        (Exit::TimedOut, _) => Outcome::failed("SIGTERM did not reach the program").with_output(&output.text()).into(),
        (exit, _) => Outcome::failed(format!("{exit} after SIGTERM, not the program's own")).into(),
    })
}

/// A child whose parent has ended, below a program that looks after no children, as notebook kernels are. What counts
/// them is another child of that program, and tells it when it has: by then the child has ended, and whoever reaps has had
/// the time for that.
const ORPHAN: &str = r#"
mkfifo /tmp/count
( (exec sleep 0.1) & echo $! > /tmp/orphan )
( exec > /tmp/count
  read -r orphan < /tmp/orphan
  while read -r _ _ state _ < "/proc/$orphan/stat" && [ "$state" != Z ]; do sleep 0.05; done
  sleep 0.2; zombies=0
  for stat in /proc/[0-9]*/stat; do read -r _ _ state _ < "$stat" && [ "$state" = Z ] && zombies=$((zombies + 1)); done
  echo "$zombies" ) 2> /dev/null &
exec cat /tmp/count"#;

pub async fn zombies(scene: &Scene<'_>) -> Result<Finding, Error> {
    if let Some(reason) = no_init(scene) {
        return Ok(reason.into());
    }
    Ok(prints(&scene.run(&shell(ORPHAN)).await?, "0").into())
}

/// What is said of images without an init.
fn no_init(scene: &Scene<'_>) -> Option<Outcome> {
    let below = scene.subject.root.unwrap_or(scene.subject.lock);
    let has_init = conda_packages(below, scene.subject.platform()).any(|package| package.name == "tini");
    (!has_init).then(|| Outcome::not_run("the root prefix has no `tini`: start the image with the engine's own init"))
}

pub async fn pangeo_env(scene: &Scene<'_>) -> Result<Finding, Error> {
    let output = scene.run(&shell(r#"printf %s "${PANGEO_ENV-}""#)).await?;
    Ok(prints(&output, &scene.subject.spec.name).into())
}

pub async fn pangeo_scratch(scene: &Scene<'_>) -> Result<Finding, Error> {
    let (prefix, user) = (("PANGEO_SCRATCH_PREFIX", "s3://scratch"), ("JUPYTERHUB_USER", "ada"));
    let cases: [(&[(&str, &str)], &str); 4] =
        [(&[prefix, user], "s3://scratch/ada/"), (&[prefix], "unset"), (&[user], "unset"), (&[], "unset")];
    for (variables, expected) in cases {
        let command = shell(r#"printf %s "${PANGEO_SCRATCH-unset}""#);
        let command = variables.iter().fold(command, |command, (name, value)| command.env(name, value));
        if let failed @ Outcome::Failed { .. } = prints(&scene.run(&command).await?, expected) {
            let set = variables.iter().map(|(name, value)| format!("with {name}={value}")).collect::<Vec<_>>();
            return Ok(failed.with_output(&set.join("\n")).into());
        }
    }
    Ok(Outcome::Passed.into())
}

pub async fn login_shell(scene: &Scene<'_>) -> Result<Finding, Error> {
    let output = scene.run(&Command::instead(["bash", "-lc", "command -v python"])).await?;
    Ok(prints(&output, &format!("/{}/bin/python", scene.subject.prefix)).into())
}

fn shell(script: &str) -> Command {
    Command::arguments(["bash", "-c", script])
}
