//! What `/srv/start` and login shells do.

use super::scene::{Scene, prints};
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error};
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
    let subject = scene.subject;
    let below = subject.root.unwrap_or(subject.lock);
    if !conda_packages(below, subject.platform()).any(|package| package.name == "tini") {
        return Ok(Outcome::not_run("the root prefix has no `tini`: start the image with the engine's own init").into());
    }
    Ok(prints(&scene.run(&Command::arguments(["cat", "/proc/1/comm"])).await?, "tini").into())
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
