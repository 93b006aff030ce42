//! What JupyterHub's spawners and BinderHub do with an image.

use super::jupyter::{ARBITRARY, SPELLING, try_one};
use super::scene::{Scene, prints, succeeds};
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error};

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
    Ok(succeeds(&scene.run(&Command::arguments(["jupyterhub-singleuser", "--version"])).await?))
}

/// Tells which server a command comes to, by the processes there are: `jupyter lab` and scripts become another program.
const WHICH: &str = include_str!("command.sh");

pub async fn command(scene: &Scene<'_>) -> Result<Finding, Error> {
    let Ok(cmd) = shlex::try_join(scene.subject.container.cmd.iter().map(String::as_str)) else {
        return Ok(Outcome::failed("the command has a word with a NUL").into());
    };
    // In the script's own text: as words of their own they would be found as the program that is looked for.
    let asked = Command::arguments(["bash", "-c", &format!("command=({cmd})\n{WHICH}")]).over_empty_home();
    let in_hub = scene.run(&asked.clone().env("JUPYTERHUB_API_TOKEN", "esker-verify")).await?;
    let alone = scene.run(&asked).await?;
    let said: [(_, &[&str], _); 2] =
        [(&in_hub, &["jupyterhub-singleuser", "jupyter-labhub"], "in a hub"), (&alone, &["jupyter-lab"], "alone")];
    let faults = said.into_iter().filter(|(output, servers, _)| !servers.contains(&output.stdout.trim()));
    let faults = faults
        .map(|(output, servers, place)| format!("{place} it is {:?}, not {}", output.text(), servers.join(" or ")));
    Ok(Outcome::of_faults("the command starts something else", faults.collect()).into())
}

pub async fn binder(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = "import jupyterlab, shutil; print(shutil.which('jupyter-lab'))";
    let output = scene.run(&Command::arguments(["python3", "-c", script])).await?;
    Ok(prints(&output, "/srv/conda/envs/notebook/bin/jupyter-lab").into())
}
