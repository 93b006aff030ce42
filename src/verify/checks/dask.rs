//! What dask-gateway does with an image.

use super::Finding;
use super::scene::{Scene, succeeds};
use crate::verify::runtime::{Command, Error};

pub async fn commands(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = "dask-scheduler --version && dask-worker --version";
    Ok(succeeds(&scene.run(&Command::arguments(["bash", "-c", script])).await?))
}

pub async fn gateway_preload(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(succeeds(&scene.python("import dask_gateway.scheduler_preload").await?))
}
