//! What JupyterHub's spawners and BinderHub do with an image.

use super::jupyter::{ARBITRARY, SPELLING, try_one};
use super::scene::{Scene, prints, succeeds};
use super::warm::BINDER;
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error, Output};

pub async fn empty_home(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = r#"cd && ls -A && : > written && echo ok"#;
    let output = scene.run(&Command::arguments(["bash", "-c", script]).over_empty_home()).await?;
    Ok(prints(&output, "ok").into())
}

pub async fn arbitrary_user(scene: &Scene<'_>) -> Result<Finding, Error> {
    let (uid, gid) = ARBITRARY;
    let script = r#"cd && : > written && command -v python && echo "$UID:${GROUPS[0]}""#;
    let script = Command::arguments(["bash", "-lc", script]).as_user(uid, gid).over_empty_home();
    let expected = format!("/{}/bin/python\n{uid}:{gid}", scene.subject.prefix);
    match prints(&scene.run(&script).await?, &expected) {
        Outcome::Passed if scene.subject.locked("jupyterlab").is_some() => {
            try_one(scene, SPELLING, |command| command.as_user(uid, gid)).await
        }
        outcome => Ok(outcome.into()),
    }
}

pub async fn read_only(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = r#"cd && : > written && : > /tmp/written && echo ok"#;
    let script = Command::arguments(["bash", "-lc", script]).read_only().over_empty_home();
    match prints(&scene.run(&script).await?, "ok") {
        Outcome::Passed if scene.subject.locked("jupyterlab").is_some() => {
            try_one(scene, SPELLING, Command::read_only).await
        }
        outcome => Ok(outcome.into()),
    }
}

pub async fn singleuser(scene: &Scene<'_>) -> Result<Finding, Error> {
    let is_in_hub = |output: &Output| output.exit.success() && output.stdout.trim() == SINGLEUSER;
    if scene.command_in_hub().await?.is_some_and(is_in_hub) {
        return Ok(Outcome::Passed.into());
    }
    Ok(succeeds(&scene.run(&Command::arguments(["jupyterhub-singleuser", "--version"])).await?))
}

/// Tells which server a command comes to, by the processes there are: `jupyter lab` and scripts become another program.
const WHICH: &str = include_str!("command.sh");

const SINGLEUSER: &str = "jupyterhub-singleuser";

/// What the image's command, asked for its version, comes to in a hub; `None` if it cannot be written in a script.
///
/// # Errors
/// When no program can be run on this machine.
pub async fn command_in_hub(scene: &Scene<'_>) -> Result<Option<Output>, Error> {
    let Some(asked) = asked(scene, "") else { return Ok(None) };
    scene.run(&asked.env("JUPYTERHUB_API_TOKEN", "esker-verify")).await.map(Some)
}

/// The image's command, and what tells which server it comes to.
fn asked(scene: &Scene<'_>, end: &str) -> Option<Command> {
    let cmd = shlex::try_join(scene.subject.container.cmd.iter().map(String::as_str)).ok()?;
    // In the script's own text: as words of their own they would be found as the program that is looked for.
    let script = format!("command=({cmd}) end={end}\n{WHICH}");
    Some(Command::arguments(["bash", "-c", &script]).over_empty_home())
}

pub async fn command(scene: &Scene<'_>) -> Result<Finding, Error> {
    let (Some(in_hub), Some(asked)) = (scene.command_in_hub().await?, asked(scene, "1")) else {
        return Ok(Outcome::failed("the command has a word with a NUL").into());
    };
    let alone = scene.run(&asked).await?;
    let said: [(_, &[&str], _); 2] =
        [(in_hub, &[SINGLEUSER, "jupyter-labhub"], "in a hub"), (&alone, &["jupyter-lab"], "alone")];
    let mut faults = Vec::new();
    for (output, servers, place) in said {
        if !servers.contains(&output.stdout.trim()) {
            faults.push(format!("{place} it is {:?}, not {}", output.text(), servers.join(" or ")));
        } else if !output.exit.success() {
            faults.push(format!("{place} it ends with {}: {:?}", output.exit, output.text()));
        }
    }
    Ok(Outcome::of_faults("the command does not start its server", faults).into())
}

pub async fn binder(scene: &Scene<'_>) -> Result<Finding, Error> {
    let judge = |output: &Output| prints(output, "/srv/conda/envs/notebook/bin/jupyter-lab").into();
    scene.warm_or_alone(BINDER, BINDER.command(), judge).await
}
