"""Has clusters of dask add 40 and 2, those named as arguments one after another, and prints what each says it is."""

import subprocess
import sys
import traceback

from distributed import Client, LocalCluster


def add(client):
    return client.submit(sum, [40, 2]).result()


def scheduler_worker():
    """What dask-gateway starts in containers of their own, here in one: the programs by their names."""
    file = "/tmp/scheduler.json"
    scheduler = ["dask-scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file]
    worker = ["dask-worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--scheduler-file", file]
    started = [subprocess.Popen(program) for program in (scheduler, worker)]
    try:
        with Client(scheduler_file=file, timeout="120s") as client:
            client.wait_for_workers(1)
            return add(client)
    finally:
        for program in reversed(started):
            program.terminate()
            program.wait()


def local():
    """Two processes beside the scheduler's: one worker, and the nanny that looks after it."""
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        return add(client)


failed = False
for name in sys.argv[1:]:
    try:
        print(name, {"scheduler-worker": scheduler_worker, "local": local}[name](), flush=True)
    except Exception:  # the next may work
        traceback.print_exc()
        failed = True
sys.exit(failed)
