#!/usr/bin/env python3
"""Times builds of the real channel's notebook as whole processes, beside the physical limit, and prints Markdown tables.

Needs what `make demo` makes first (the program and the real channel). The limit is measured in the same run by
benches/limit.rs: read, SHA-256, decompress and SHA-256 of the same packages, and SHA-256, zstd compress, SHA-256 and
write of the bytes that are in the image's layers, with the libraries, the level and the threads of a build. Byte code is
apart: what CPython takes to compile it is not esker's to save, so its core-seconds (of esker's children) have a column of
their own, and the last ratio is without them.

Builds and the limit take turns. Each figure is the median of several runs; "peak" is the largest resident set of esker or one of its children.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "demo-notebook"
PLATFORMS = {"one": ["linux/amd64"], "two": ["linux/amd64", "linux/arm64"]}
SUBDIRS = {"linux/amd64": "linux-64", "linux/arm64": "linux-aarch64"}
CHANNEL = "https://channel.example.org/real/"
TICK = os.sysconf("SC_CLK_TCK")


def children_of(pid, seen):
    """Keeps the last reading of the CPU time of the ended children of `pid` in `seen`, until it is gone."""
    try:
        while True:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                return
            seen["ended"] = (int(fields[13]) + int(fields[14])) / TICK
            time.sleep(0.005)
    except (FileNotFoundError, ProcessLookupError):
        return


def run(command, environment):
    """Runs `command`; returns wall seconds, CPU seconds of it and its children, those of the children, and peak MiB."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile() as log:
        actions = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        seen = {"ended": 0.0}
        start = time.monotonic()
        pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
        watcher = threading.Thread(target=children_of, args=(pid, seen))
        watcher.start()
        _, status, usage = os.wait4(pid, 0)
        wall = time.monotonic() - start
        watcher.join()
        if status != 0:
            log.seek(0)
            sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}:\n{log.read().decode()}")
    return wall, usage.ru_utime + usage.ru_stime, seen["ended"], usage.ru_maxrss / 1024


class Bench:
    """A project and a cache in a scratch folder."""

    def __init__(self, esker, limit, real, scratch, runs):
        self.esker, self.limit_program, self.real, self.scratch, self.runs = esker, limit, real, scratch, runs
        self.project = scratch / "project"
        self.cache = scratch / "cache"
        shutil.copytree(ROOT / "tests/real/project", self.project)
        self.environment = {
            "PATH": os.environ["PATH"],
            "ESKER_CACHE_DIR": str(self.cache),
            "ESKER_MIRROR": f"{CHANNEL}=file://{real}/channel/",
        }

    def command(self, *arguments):
        return run([self.esker, "-C", self.project, *arguments], self.environment)

    def build(self, platforms):
        chosen = [word for platform in platforms for word in ("--platform", platform)]
        return self.command("build", IMAGE, "--base", f"oci:{self.real}/base/oci", *chosen)

    def forget(self):
        """Packages stay cached; nothing made of them does."""
        for kind in self.cache.iterdir():
            if kind.name not in ("packages", "repodata"):
                shutil.rmtree(kind)
        shutil.rmtree(self.project / ".esker", ignore_errors=True)

    def forget_image(self):
        shutil.rmtree(self.project / ".esker", ignore_errors=True)

    def repeat(self, prepare, action):
        rows = []
        for _ in range(self.runs):
            prepare()
            rows.append(action())
        return [statistics.median(column) for column in zip(*rows)]

    def layers(self, platforms):
        """The layers of the images in the layout that are not of the base."""
        def manifests(layout):
            def read(descriptor):
                return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_text())

            found = [entry for entry in json.loads((layout / "index.json").read_text())["manifests"] if "artifactType" not in entry]
            while any("platform" not in entry for entry in found):
                found = [inner for entry in found for inner in (read(entry)["manifests"] if "platform" not in entry else [entry])]
            wanted = [e for e in found if f"{e['platform']['os']}/{e['platform']['architecture']}" in platforms]
            return [layer for entry in wanted for layer in read(entry)["layers"]]

        layout = self.project / ".esker/images" / IMAGE
        base = {layer["digest"] for layer in manifests(self.real / "base/oci")}
        own = [layer for layer in manifests(layout) if layer["digest"] not in base]
        assert own and all(layer["mediaType"].endswith("+zstd") for layer in own)
        return {layout / "blobs" / layer["digest"].replace(":", "/") for layer in own}

    def inputs(self, platforms):
        """The packages that both prefixes have for `platforms`, and the layers of their images, each once."""
        files = self.layers(platforms)
        for folder, platform in itertools.product(("base-image", IMAGE), platforms):
            for line in (self.project / folder / f"conda-{SUBDIRS[platform]}.lock").read_text().splitlines():
                if line.startswith(CHANNEL):
                    files.add(self.real / "channel" / line.partition("#")[0].removeprefix(CHANNEL))
        # The layers are removed before each build.
        kept = self.scratch / "layers"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir()
        return [file if file.suffix in (".conda", ".bz2") else shutil.copy(file, kept) for file in sorted(files)]

    def limit(self, inputs):
        out = self.scratch / "limit"
        out.mkdir()
        told = subprocess.run([self.limit_program, str(os.cpu_count()), out, *inputs], check=True, stdout=subprocess.PIPE)
        shutil.rmtree(out)
        return json.loads(told.stdout)

    def cold(self, platforms):
        """Cold builds, each after a run of the limit, as a machine's speed is not the same all the time."""
        self.build(platforms)
        inputs, limits = self.inputs(platforms), []

        def prepare():
            limits.append(self.limit(inputs))
            self.forget()

        row = self.repeat(prepare, lambda: self.build(platforms))
        return row, {key: statistics.median(limit[key] for limit in limits) for key in limits[0]}


def line(name, row, limit=None):
    wall, cpu, code, peak = row
    ratio = ""
    if limit:
        apart = wall - code / os.cpu_count()
        ratio = f"{limit['wall']:.2f} | {wall / limit['wall']:.2f} | {apart / limit['wall']:.2f}"
    else:
        ratio = " | | "
    print(f"| {name} | {wall:.2f} | {cpu - code:.2f} | {code:.2f} | {peak:.0f} | {ratio} |", flush=True)


def measure(bench):
    print("| build | wall s | core s | core s of byte code | peak MiB | limit, wall s | ratio | ratio without byte code |")
    print("|---|---|---|---|---|---|---|---|")
    bench.command("lock")
    limits = {}
    for count, platforms in PLATFORMS.items():
        row, limits[count] = bench.cold(platforms)
        line(f"cold, {count} platform{'s' * (count == 'two')}", row, limits[count])
        line(f"layout removed, {count}", bench.repeat(bench.forget_image, lambda: bench.build(platforms)))
        line(f"nothing changed, {count}", bench.repeat(lambda: None, lambda: bench.build(platforms)))
    changed(bench)
    print("\n| limit | wall s | core s | MB read | MB unpacked | MB packed | MB written |\n|---|---|---|---|---|---|---|")
    for count, limit in limits.items():
        sizes = " | ".join(f"{limit[key] / 1e6:.0f}" for key in ("read", "unpacked", "packed", "written"))
        print(f"| {count} | {limit['wall']:.2f} | {limit['cpu']:.2f} | {sizes} |")


def changed(bench):
    """One package comes: it (and what it alone needs) is packed, and the layers they are in are written anew."""
    environment = bench.project / IMAGE / "environment.yml"
    text = environment.read_text()
    assert "  - zarr\n" in text

    def without():
        environment.write_text(text.replace("  - zarr\n", ""))
        bench.command("lock")
        bench.forget()
        bench.build(PLATFORMS["two"])
        environment.write_text(text)
        bench.command("lock")

    for count, platforms in PLATFORMS.items():
        line(f"one package added, {count}", bench.repeat(without, lambda: bench.build(platforms)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esker", default=ROOT / "target/release/esker", type=Path, help="the program (target/release/esker)")
    parser.add_argument("--real", default=ROOT / "target/real", type=Path, help="what tests/real/make.py made")
    parser.add_argument("--runs", default=3, type=int, help="runs a figure (3)")
    arguments = parser.parse_args()
    if not (arguments.real / "channel").is_dir() or not arguments.esker.exists():
        sys.exit("nothing to measure: run `make demo` first")
    built = subprocess.run(
        ["cargo", "bench", "--locked", "--bench", "limit", "--no-run", "--message-format", "json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    )
    made = [json.loads(row) for row in built.stdout.splitlines()]
    limit = next(row["executable"] for row in made if row.get("target", {}).get("name") == "limit" and row.get("executable"))
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as scratch:
        bench = Bench(arguments.esker.resolve(), limit, arguments.real.resolve(), Path(scratch).resolve(), arguments.runs)
        measure(bench)


if __name__ == "__main__":
    main()
