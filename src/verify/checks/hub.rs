//! What JupyterHub's spawners and BinderHub do with an image.

use super::Finding;
use super::scene::{Scene, prints, succeeds};
use crate::verify::runtime::{Command, Error};

pub async fn empty_home(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = r#"cd && ls -A && : > written && echo ok"#;
    let output = scene.run(&Command::arguments(["bash", "-c", script]).over_empty_home()).await?;
    Ok(prints(&output, "ok").into())
}

pub async fn singleuser(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(succeeds(&scene.run(&Command::arguments(["jupyterhub-singleuser", "--version"])).await?))
}

pub async fn binder(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = "import jupyterlab, shutil; print(shutil.which('jupyter-lab'))";
    let output = scene.run(&Command::arguments(["python3", "-c", script])).await?;
    Ok(prints(&output, "/srv/conda/envs/notebook/bin/jupyter-lab").into())
}
