//! What dask-gateway and notebooks with a cluster of their own do with an image.

use super::scene::{Scene, prints, succeeds};
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error};

pub async fn commands(scene: &Scene<'_>) -> Result<Finding, Error> {
    // A cluster of the two that works says as much, and more.
    if scene.cluster().await?.exit.success() {
        return Ok(Outcome::Passed.into());
    }
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

/// What dask-gateway starts in containers of their own, here in one: the programs by their names.
pub const SCHEDULER_AND_WORKER: &str = "\
import subprocess
from distributed import Client
file = '/tmp/scheduler.json'
scheduler = ['dask-scheduler', '--host', '127.0.0.1', '--port', '0', '--no-dashboard', '--scheduler-file', file]
worker = ['dask-worker', '--host', '127.0.0.1', '--nthreads', '1', '--no-dashboard', '--scheduler-file', file]
started = [subprocess.Popen(program) for program in (scheduler, worker)]
try:
    with Client(scheduler_file=file, timeout='120s') as client:
        client.wait_for_workers(1)
        print(client.submit(sum, [40, 2]).result())
finally:
    for program in reversed(started):
        program.terminate()
        program.wait()";

pub async fn scheduler_and_worker(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(prints(scene.cluster().await?, "42").into())
}

pub async fn local_cluster(scene: &Scene<'_>) -> Result<Finding, Error> {
    Ok(prints(&scene.python(LOCAL_CLUSTER).await?, "42").into())
}
