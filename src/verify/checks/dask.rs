//! What dask-gateway and notebooks with a cluster of their own do with an image.

use super::scene::{Scene, succeeds};
use super::warm::PRELOAD;
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error, Output};

const CLUSTERS: &str = include_str!("clusters.py");
/// Clusters as the program knows them.
const SCHEDULER_WORKER: &str = "scheduler-worker";
const LOCAL: &str = "local";

pub async fn commands(scene: &Scene<'_>) -> Result<Finding, Error> {
    // A cluster of the two that works says as much, and more.
    if adds(scene.clusters().await?, SCHEDULER_WORKER) == Outcome::Passed {
        return Ok(Outcome::Passed.into());
    }
    let script = "dask-scheduler --version && dask-worker --version";
    Ok(succeeds(&scene.run(&Command::arguments(["bash", "-c", script])).await?))
}

pub async fn gateway_preload(scene: &Scene<'_>) -> Result<Finding, Error> {
    scene.warm_or_alone(PRELOAD, PRELOAD.command(), succeeds).await
}

pub async fn scheduler_and_worker(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(adds(scene.clusters().await?, SCHEDULER_WORKER).into())
}

pub async fn local_cluster(scene: &Scene<'_>) -> Result<Finding, Error> {
    if scene.runs("dask.scheduler-worker") && adds(scene.clusters().await?, LOCAL) == Outcome::Passed {
        return Ok(Outcome::Passed.into());
    }
    Ok(adds(&try_clusters(scene, &[LOCAL]).await?, LOCAL).into())
}

/// What becomes of a cluster of dask-gateway's programs and, if that is asked for too, of one in a process of its own: one
/// after the other, so that their libraries are imported once.
///
/// # Errors
/// When no program can be run on this machine.
pub async fn try_all(scene: &Scene<'_>) -> Result<Output, Error> {
    let local = scene.runs("dask.local-cluster").then_some(LOCAL);
    try_clusters(scene, &[Some(SCHEDULER_WORKER), local].into_iter().flatten().collect::<Vec<_>>()).await
}

async fn try_clusters(scene: &Scene<'_>, names: &[&str]) -> Result<Output, Error> {
    scene.run(&Command::arguments(["python", "-c", CLUSTERS].iter().chain(names).copied())).await
}

/// Passes if the cluster's sum is right.
fn adds(output: &Output, cluster: &str) -> Outcome {
    match output.stdout.lines().find_map(|line| line.strip_prefix(cluster)?.strip_prefix(' ')) {
        Some("42") => Outcome::Passed,
        Some(sum) => Outcome::failed(format!("40 and 2 are `{sum}`")).with_output(&output.text()),
        None => Outcome::failed(format!("there is no sum: {}", output.exit)).with_output(&output.text()),
    }
}
