//! What JupyterHub's spawners and BinderHub do with an image.

use super::scene::{Scene, prints, succeeds};
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error};

pub async fn empty_home(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = r#"cd && ls -A && : > written && echo ok"#;
    let output = scene.run(&Command::arguments(["bash", "-c", script]).over_empty_home()).await?;
    Ok(prints(&output, "ok").into())
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
