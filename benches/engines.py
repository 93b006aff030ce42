#!/usr/bin/env python3
"""Builds one lock with both engines and prints what comes of it side by side, as a Markdown table.

Needs what `make demo` makes first (the program and the real channel), and a Docker engine. The project is the small one
in tests/real/docker. "cold" has the packages cached and nothing else, in Docker no step of the build; "nothing changed" is
the same build again; "one package" is the build after xarray's neighbour cf-xarray was added to the environment. "pulled"
is what a client that has the image before pulls of that update: by digest, as Podman, CRI-O and containerd keep layers,
and all above the first layer that changed, as Docker does.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "pangeo-notebook"
CHANNEL = "https://channel.example.org/real/"
ENGINES = ("native", "docker")


class Bench:
    """The project in a scratch folder, built by one engine."""

    def __init__(self, engine, esker, real, scratch, platform):
        self.engine, self.esker, self.platform = engine, esker, platform
        self.cache = scratch / "cache"
        self.project = scratch / engine
        shutil.copytree(ROOT / "tests/real/docker", self.project)
        (self.project / "base").symlink_to(real / "base/oci")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "ESKER_CACHE_DIR": str(self.cache),
            "ESKER_MIRROR": f"{CHANNEL}=file://{real}/channel/",
        }

    def run(self, *arguments):
        """Seconds that esker takes."""
        start = time.monotonic()
        ran = subprocess.run(
            [self.esker, "-C", self.project, *arguments], env=self.environment, capture_output=True, text=True
        )
        if ran.returncode != 0:
            sys.exit(f"esker {' '.join(arguments)} ended with {ran.returncode}:\n{ran.stderr}")
        return time.monotonic() - start

    def build(self, *more):
        return self.run("build", IMAGE, "--engine", self.engine, "--platform", self.platform, "--no-sbom", *more)

    def layers(self):
        """The layers of the image, the lowest first."""
        layout = self.project / ".esker/images" / IMAGE

        def read(descriptor):
            return json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_text())

        entries = json.loads((layout / "index.json").read_text())["manifests"]
        found = read(next(entry for entry in entries if "artifactType" not in entry))
        while "manifests" in found:
            found = read(found["manifests"][0])
        return [(layer["digest"], layer["size"]) for layer in found["layers"]]


def pulled(before, after):
    """Bytes that a client pulls: one that keeps layers by digest, and one that keeps them as a chain."""
    known = {digest for digest, _ in before}
    by_digest = sum(size for digest, size in after if digest not in known)
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return by_digest, sum(size for _, size in after[same:])


def mib(count):
    return f"{count / 2**20:,.1f} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esker", type=Path, default=ROOT / "target/release/esker")
    parser.add_argument("--real", type=Path, default=ROOT / "target/real")
    parser.add_argument("--platform", default="linux/amd64")
    arguments = parser.parse_args()
    esker, real = arguments.esker.resolve(), arguments.real.resolve()
    if not esker.is_file() or not (real / "channel").is_dir():
        sys.exit("run `make demo` first, or say where its results are with --esker and --real")
    columns = []
    with tempfile.TemporaryDirectory() as scratch:
        for engine in ENGINES:
            bench = Bench(engine, esker, real, Path(scratch), arguments.platform)
            bench.run("lock")
            # Once for the packages: both engines find them in the cache.
            bench.build()
            for kind in bench.cache.iterdir():
                if kind.name not in ("packages", "repodata"):
                    shutil.rmtree(kind)
            shutil.rmtree(bench.project / ".esker")
            cold = bench.build(*(["--no-cache"] if engine == "docker" else []))
            before = bench.layers()
            nothing = bench.build()
            environment = bench.project / IMAGE / "environment.yml"
            environment.write_text(environment.read_text().replace("  - xarray\n", "  - xarray\n  - cf-xarray\n"))
            bench.run("lock")
            one = bench.build()
            after = bench.layers()
            by_digest, chain = pulled(before, after)
            columns.append([
                engine, f"{cold:.1f} s", f"{nothing:.2f} s", f"{one:.1f} s", str(len(before)),
                mib(sum(size for _, size in before)), mib(by_digest), mib(chain),
            ])
    rows = ["", "cold", "nothing changed", "one package", "layers", "size", "pulled, by digest", "pulled, as a chain"]
    print("| | " + " | ".join(column[0] for column in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for number, name in enumerate(rows[1:], 1):
        print(f"| {name} | " + " | ".join(column[number] for column in columns) + " |")


if __name__ == "__main__":
    main()
