#!/usr/bin/env python3
"""Times each stage of the demo project, cold and warm, as whole processes, and prints a Markdown table.

Needs what `make demo` makes first (the program and the real channel). Each figure is the median of several runs;
"peak" is the largest resident set of esker and of the programs it starts, whichever is larger.

As a yardstick, the same run also measures the physical limit of a cold build: the time this machine takes to read and
hash the packages that go in and to write the layers that come out.
"""

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "demo-notebook"


def run(command, environment):
    """Runs `command` and returns wall seconds, CPU seconds and peak MiB; a failure ends the benchmark."""
    log = tempfile.TemporaryFile()
    start = time.monotonic()
    pid = os.posix_spawn(
        command[0], command, environment, file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
    )
    _, status, usage = os.wait4(pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        log.seek(0)
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}:\n{log.read().decode()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Bench:
    """One project and one cache in a scratch folder, and the commands that work on them."""

    def __init__(self, esker, real, scratch):
        self.esker, self.real, self.scratch = str(esker), real, scratch
        self.project = scratch / "project"
        self.environment = {
            "PATH": os.environ["PATH"],
            "ESKER_CACHE_DIR": str(scratch / "cache"),
            "ESKER_MIRROR": f"https://channel.example.org/real/=file://{real}/channel/",
        }

    def fresh(self, cache=True):
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.copytree(ROOT / "tests/real/project", self.project)
        if cache:
            shutil.rmtree(self.scratch / "cache", ignore_errors=True)

    def stage(self, *arguments):
        return run([self.esker, "-C", str(self.project), *arguments], self.environment)

    def lock(self):
        return self.stage("lock")

    def build(self, *platforms):
        chosen = [word for platform in platforms for word in ("--platform", platform)]
        return self.stage("build", IMAGE, "--base", f"oci:{self.real}/base/oci", *chosen)

    def verify(self):
        return self.stage("verify", IMAGE, "--platform", "linux/amd64")

    def make(self):
        return self.stage("make", IMAGE, "--base", f"oci:{self.real}/base/oci")


def limit(bench):
    """Seconds of one core to read and SHA-256 the packages, and to read, hash and write the layers."""
    start = time.monotonic()
    inputs = list((bench.scratch / "cache/packages").rglob("*.conda"))
    outputs = list((bench.project / f".esker/images/{IMAGE}/blobs/sha256").iterdir())
    for path in inputs + outputs:
        hashlib.sha256(path.read_bytes()).digest()
    copy = bench.scratch / "copy"
    shutil.copytree(outputs[0].parent, copy)
    os.sync()
    wall = time.monotonic() - start
    shutil.rmtree(copy)
    return wall, sum(p.stat().st_size for p in inputs), sum(p.stat().st_size for p in outputs)


def measure(bench, runs):
    def repeat(prepare, action):
        rows = []
        for _ in range(runs):
            prepare()
            rows.append(action())
        return [statistics.median(column) for column in zip(*rows)]

    nothing = lambda: None

    def locked():
        bench.fresh()
        bench.lock()

    def fetched():
        """Packages are cached, nothing made of them is."""
        for name in ("fragments", "layers", "pythons"):
            shutil.rmtree(bench.scratch / "cache" / name, ignore_errors=True)
        shutil.rmtree(bench.project / ".esker", ignore_errors=True)

    yield "lock, nothing cached", repeat(bench.fresh, bench.lock)
    yield "lock, repodata cached", repeat(lambda: bench.fresh(cache=False), bench.lock)
    yield "lock, the lock holds", repeat(nothing, bench.lock)
    yield "build, two platforms, nothing cached", repeat(locked, bench.build)
    yield "build, two platforms, packages cached", repeat(fetched, bench.build)
    yield "build, two platforms, nothing changed", repeat(nothing, bench.build)
    yield "build, one platform, packages cached", repeat(fetched, lambda: bench.build("linux/amd64"))
    bench.build()
    yield "verify, linux/amd64", repeat(nothing, bench.verify)
    yield "make, nothing changed", repeat(lambda: bench.make() if not (bench.project / ".esker/verified").exists() else None, bench.make)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--esker", default=ROOT / "target/release/esker", type=Path)
    parser.add_argument("--real", default=ROOT / "target/real", type=Path)
    parser.add_argument("--runs", default=3, type=int)
    arguments = parser.parse_args()
    if not (arguments.real / "channel").is_dir() or not arguments.esker.exists():
        sys.exit("nothing to measure: run `make demo` first")
    with tempfile.TemporaryDirectory(dir=arguments.real) as scratch:
        bench = Bench(arguments.esker.resolve(), arguments.real.resolve(), Path(scratch).resolve())
        print("| stage | wall s | CPU s | peak MiB |\n|---|---|---|---|")
        for name, (wall, cpu, peak) in measure(bench, arguments.runs):
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |", flush=True)
        seconds, read, written = limit(bench)
        print(f"| *limit: hash {read / 1e6:.0f} MB in, hash and write {written / 1e6:.0f} MB out, one core* | {seconds:.2f} | | |")


if __name__ == "__main__":
    main()
