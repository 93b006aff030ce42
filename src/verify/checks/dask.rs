//! What dask-gateway and notebooks with a cluster of their own do with an image.

use super::Finding;
use super::scene::{Scene, prints, succeeds};
use crate::verify::runtime::{Command, Error};

pub async fn commands(scene: &Scene<'_>) -> Result<Finding, Error> {
    let script = "dask-scheduler --version && dask-worker --version";
    Ok(succeeds(&scene.run(&Command::arguments(["bash", "-c", script])).await?))
}

pub async fn gateway_preload(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(succeeds(&scene.python("import dask_gateway.scheduler_preload").await?))
}

/// Two processes beside the scheduler's: one worker, and the nanny that looks after it.
const LOCAL_CLUSTER: &str = "\
from distributed import Client, LocalCluster
with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
    with Client(cluster) as client:
        print(client.submit(sum, [40, 2]).result())";

pub async fn local_cluster(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(prints(&scene.python(LOCAL_CLUSTER).await?, "42").into())
}
