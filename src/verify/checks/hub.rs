//! What JupyterHub's spawners and BinderHub do with an image.

use super::jupyter::try_server;
use super::scene::{Scene, prints, succeeds};
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error};

pub async fn empty_home(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = r#"cd && ls -A && : > written && echo ok"#;
    let output = scene.run(&Command::arguments(["bash", "-c", script]).over_empty_home()).await?;
    Ok(prints(&output, "ok").into())
}

/// A user whom no image can know, in root's group, as OpenShift runs images.
const ARBITRARY: (u32, u32) = (54321, 0);

pub async fn arbitrary_user(scene: &Scene<'_>) -> Result<Finding, Error> {
    let (uid, gid) = ARBITRARY;
    let script = r#"cd && : > written && command -v python && echo "$UID:${GROUPS[0]}""#;
    let script = Command::arguments(["bash", "-lc", script]).as_user(uid, gid).over_empty_home();
    let expected = format!("/{}/bin/python\n{uid}:{gid}", scene.subject.prefix);
    match prints(&scene.run(&script).await?, &expected) {
        Outcome::Passed if scene.subject.locked("jupyterlab").is_some() => {
            Ok(try_server(scene, "ServerApp", |command| command.as_user(uid, gid)).await?.outcome.into())
        }
        outcome => Ok(outcome.into()),
    }
}

pub async fn read_only(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = r#"cd && : > written && : > /tmp/written && echo ok"#;
    let script = Command::arguments(["bash", "-lc", script]).read_only().over_empty_home();
    match prints(&scene.run(&script).await?, "ok") {
        Outcome::Passed if scene.subject.locked("jupyterlab").is_some() => {
            Ok(try_server(scene, "ServerApp", Command::read_only).await?.outcome.into())
        }
        outcome => Ok(outcome.into()),
    }
}

pub async fn singleuser(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(succeeds(&scene.run(&Command::arguments(["jupyterhub-singleuser", "--version"])).await?))
}

pub async fn command(scene: &Scene<'_>) -> Result<Finding, Error> {
    let version = |program: &'static str| async move {
        let output = scene.run(&Command::arguments([program, "--version"])).await?;
        Ok::<_, Error>(output.stdout.trim().to_owned())
    };
    let cmd = scene.subject.container.cmd.iter().map(String::as_str);
    let asked = Command::arguments(cmd.chain(["--version"]));
    let expected = (version("jupyterhub-singleuser").await?, version("jupyter-lab").await?);
    let in_hub = scene.run(&asked.clone().env("JUPYTERHUB_API_TOKEN", "esker-verify")).await?;
    let alone = scene.run(&asked).await?;
    let said = [(&in_hub, &expected.0, "in a hub"), (&alone, &expected.1, "alone")];
    let faults = said.into_iter().filter(|(output, version, _)| output.stdout.trim() != version.as_str());
    let faults = faults.map(|(output, version, place)| format!("{place} it says {:?}, not {version:?}", output.text()));
    Ok(Outcome::of_faults("the command starts something else", faults.collect()).into())
}

pub async fn binder(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = "import jupyterlab, shutil; print(shutil.which('jupyter-lab'))";
    let output = scene.run(&Command::arguments(["python3", "-c", script])).await?;
    Ok(prints(&output, "/srv/conda/envs/notebook/bin/jupyter-lab").into())
}
