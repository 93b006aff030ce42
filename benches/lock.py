#!/usr/bin/env python3
"""Times locking as whole processes, beside py-rattler, and prints Markdown tables.

Solves the images of this repository against a snapshot of conda-forge's repodata, served on loopback by a process of its
own: plain or sharded, with a cold or a warm cache, for one, two and four subdirs; then relocks pangeo-notebook after a
line was added or removed, and checks all locks. `--million` does it with a million records, most of them older builds
and versions of the same names. Each figure is the median of several runs; memory is the largest of them.

py-rattler gets the same requirements, virtual packages and channel, and solves all subdirs at once in one process.
conda-lock is run where there is a `micromamba` on PATH. Both are fetched from PyPI into target/bench on the first run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUBDIRS = ["linux-64", "linux-aarch64", "osx-64", "osx-arm64"]
PARENTS = {"base-notebook": [], "pangeo-notebook": ["base-notebook"], "ml-notebook": ["pangeo-notebook", "base-notebook"]}
MICROMAMBA = shutil.which("micromamba")
PACKAGES = ["py-rattler==0.28.0", "msgpack==1.2.4", "zstandard==0.25.0", "PyYAML==6.0.3"]
# What the newest packages of the snapshot constrain; esker's own defaults are older.
VIRTUAL = {"linux-64": {"__cuda": "12.9", "__glibc": "2.36"}, "linux-aarch64": {"__cuda": "12.9", "__glibc": "2.36"}}
DEFAULTS = {
    "linux-64": [("__archspec", "1", "x86_64"), ("__linux", "5.10", "0"), ("__unix", "0", "0")],
    "linux-aarch64": [("__archspec", "1", "aarch64"), ("__linux", "5.10", "0"), ("__unix", "0", "0")],
    "osx-64": [("__archspec", "1", "x86_64"), ("__osx", "11.0", "0"), ("__unix", "0", "0")],
    "osx-arm64": [("__archspec", "1", "arm64"), ("__osx", "11.0", "0"), ("__unix", "0", "0")],
}


def in_environment(work):
    """Runs this script again with the Python of a virtual environment that has what it imports."""
    python = work / "venv/bin/python"
    if Path(sys.prefix) == work / "venv":
        return
    if not python.exists():
        print("fetching py-rattler ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    wanted = PACKAGES + (["conda-lock==4.0.3"] if MICROMAMBA else [])
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], check=True)
    os.execv(python, [python, *sys.argv])


def run(command, environment):
    """Runs `command` and returns wall seconds, CPU seconds and peak MiB; a failure ends the benchmark."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile() as log:
        actions = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        start = time.monotonic()
        pid = os.posix_spawn(command[0], command, environment, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        wall = time.monotonic() - start
        if status != 0:
            log.seek(0)
            sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}:\n{log.read().decode()}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def cells(rows):
    wall, cpu, peak = zip(*rows)
    return f"{statistics.median(wall):.2f} | {statistics.median(cpu):.2f} | {max(peak):.0f}"


class Bench:
    """Projects and caches in a scratch folder, the programs that work on them, and the channel they all use."""

    def __init__(self, esker, channel, scratch, runs):
        self.esker, self.channel, self.scratch, self.runs = str(esker), channel, scratch, runs
        self.project = scratch / "project"
        self.caches = scratch / "cache"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "ESKER_CACHE_DIR": str(self.caches / "esker"),
            "ESKER_MIRROR": f"https://conda.anaconda.org/conda-forge/={channel}/",
        }

    def write_project(self, subdirs):
        """The images of this repository, without locks, for `subdirs` (ml-notebook is for linux-64 alone)."""
        shutil.rmtree(self.project, ignore_errors=True)
        listed = ", ".join(subdirs)
        images = [
            f"platforms: [linux/amd64]\nlock-subdirs: [{listed}]\nimages:\n",
            "  base-notebook: {}\n  pangeo-notebook:\n    parent: base-notebook\n",
            "  ml-notebook:\n    parent: pangeo-notebook\n    lock-subdirs: [linux-64]\n",
        ]
        for image in PARENTS:
            (self.project / image).mkdir(parents=True)
            shutil.copy(ROOT / image / "environment.yml", self.project / image)
            packages = {subdir: {"packages": packages} for subdir, packages in VIRTUAL.items()}
            (self.project / image / "virtual-packages.yml").write_text(json.dumps({"subdirs": packages}))
        (self.project / "esker.yml").write_text("".join(images))

    def lock(self, *arguments):
        return run([self.esker, "-C", self.project, "lock", *arguments], self.environment)

    def unlocked(self, image):
        for lock in (self.project / image).glob("conda-*"):
            lock.unlink()

    def repeat(self, prepare, action):
        rows = []
        for _ in range(self.runs):
            prepare()
            rows.append(action())
        return rows

    def measure(self, image, cold, action):
        """Runs `action` without a lock, with an empty cache or one that a first run filled."""

        def prepare():
            self.unlocked(image)
            if cold:
                shutil.rmtree(self.caches, ignore_errors=True)

        if not cold:
            prepare()
            action()
        return cells(self.repeat(prepare, action))

    def specs(self, image):
        import yaml

        for name in [image, *PARENTS[image]]:
            for line in yaml.safe_load((self.project / name / "environment.yml").read_text())["dependencies"]:
                yield line

    def py_rattler(self, image, subdirs):
        request = {
            "channel": self.channel,
            "cache": str(self.caches / "py-rattler"),
            "specs": list(self.specs(image)),
            "subdirs": {
                subdir: DEFAULTS[subdir] + [(name, version, "0") for name, version in VIRTUAL.get(subdir, {}).items()]
                for subdir in subdirs
            },
        }
        path = self.scratch / "request.json"
        path.write_text(json.dumps(request))
        return run([sys.executable, ROOT / "benches/py_rattler.py", path], self.environment)

    def conda_lock(self, image, subdirs):
        packages = {subdir: {name: f"{version} {build}" for name, version, build in DEFAULTS[subdir]} for subdir in subdirs}
        for subdir in subdirs:
            packages[subdir].update(VIRTUAL.get(subdir, {}))
        virtual = self.scratch / "virtual-packages.yml"
        virtual.write_text(json.dumps({"subdirs": {subdir: {"packages": names} for subdir, names in packages.items()}}))
        files = [word for name in [image, *PARENTS[image]] for word in ("-f", self.project / name / "environment.yml")]
        platforms = [word for subdir in subdirs for word in ("-p", subdir)]
        program = Path(sys.executable).with_name("conda-lock")
        out = self.scratch / "conda-lock.yml"
        out.unlink(missing_ok=True)
        environment = {**self.environment, "MAMBA_PKGS_DIRS": str(self.caches / "micromamba")}
        command = [program, "lock", "--micromamba", "--conda", MICROMAMBA, "--virtual-package-spec", virtual]
        return run([*command, "-c", self.channel, *files, *platforms, "--lockfile", out], environment)


def solving(bench, form, choice):
    """One line an image, number of subdirs and state of the cache: without a lock, beside the others."""
    for image, count, cold in choice:
        subdirs = SUBDIRS[:count]
        bench.write_project(subdirs)
        state = "cold" if cold else "warm"
        row = f"| {image} | {count} | {form} | {state} | "
        ours = bench.measure(image, cold, lambda: bench.lock(image))
        theirs = bench.measure(image, cold, lambda: bench.py_rattler(image, subdirs))
        third = ""
        if MICROMAMBA:
            third = f" {bench.measure(image, cold, lambda: bench.conda_lock(image, subdirs))} |"
        print(f"{row}{ours} | {theirs} |{third}", flush=True)


def relocking(bench, form):
    """One line for each change of an environment that has a lock; the cache is warm."""
    bench.write_project(SUBDIRS[:2])
    environment = bench.project / "pangeo-notebook/environment.yml"
    before = environment.read_text()
    bench.lock()
    locked = bench.scratch / "locked"
    shutil.rmtree(locked, ignore_errors=True)
    shutil.copytree(bench.project, locked)

    def changed(text):
        def prepare():
            shutil.rmtree(bench.project)
            shutil.copytree(locked, bench.project)
            environment.write_text(text)

        return prepare

    changes = {
        "nothing changed": before,
        "one package added": before + "  - plotly\n",
        "one package removed": before.replace("  - satpy\n", ""),
    }
    for what, text in changes.items():
        rows = bench.repeat(changed(text), lambda: bench.lock("pangeo-notebook"))
        print(f"| pangeo-notebook, 2 subdirs, {form}: {what} | {cells(rows)} |", flush=True)
    changed(before)()


def checking(bench):
    """One line: `lock --check` of all images, each locked for as many subdirs as in this repository."""
    bench.write_project(SUBDIRS)
    esker = (bench.project / "esker.yml").read_text()
    (bench.project / "esker.yml").write_text(f"{esker}  base-image:\n    lock-subdirs: [linux-64, linux-aarch64]\n")
    shutil.copytree(ROOT / "base-image", bench.project / "base-image")
    bench.lock()
    rows = bench.repeat(lambda: None, lambda: bench.lock("--check"))
    wall, cpu, peak = zip(*rows)
    print(f"| `lock --check`, four images | {statistics.median(wall):.3f} | {statistics.median(cpu):.3f} | {max(peak):.0f} |")


def choices(arguments):
    if arguments.quick:
        return [("pangeo-notebook", count, False) for count in (1, 2)]
    images = [("base-notebook", 1), ("base-notebook", 2), ("base-notebook", 4)]
    images += [("pangeo-notebook", 1), ("pangeo-notebook", 2), ("pangeo-notebook", 4), ("ml-notebook", 1)]
    chosen = arguments.image or list(PARENTS)
    return [(image, count, cold) for image, count in images if image in chosen for cold in (True, False)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esker", default=ROOT / "target/release/esker", type=Path, help="the program (target/release/esker)")
    shared = Path(os.environ.get("ESKER_SHARED", ROOT.parent / "shared"))
    parser.add_argument("--snapshot", default=shared / "conda-forge-snapshot", type=Path, help="SUBDIR/repodata.json.zst of a channel")
    parser.add_argument("--runs", default=5, type=int, help="runs a figure (5)")
    parser.add_argument("--quick", action="store_true", help="pangeo-notebook with a warm cache only")
    parser.add_argument("--image", action="append", choices=list(PARENTS), help="images to solve without a lock; all")
    parser.add_argument("--million", action="store_true", help="with nine older records for each of the snapshot's")
    parser.add_argument("--form", action="append", choices=["plain", "sharded"], help="plain or sharded repodata; both")
    parser.add_argument("--serve", action="store_true", help="only make and serve the channels, to try things by hand")
    arguments = parser.parse_args()
    work = ROOT / "target/bench"
    work.mkdir(parents=True, exist_ok=True)
    in_environment(work)
    if not arguments.esker.exists() or not arguments.snapshot.is_dir():
        sys.exit(f"there is no {arguments.esker}, or no {arguments.snapshot}: see --help")
    folder = work / ("channel-million" if arguments.million else "channel")
    # In processes of their own: a program that is started counts the memory of who starts it as its own.
    channel = [sys.executable, ROOT / "benches/conda_channel.py"]
    copies = "9" if arguments.million else "0"
    made = subprocess.run([*channel, "make", arguments.snapshot, folder, copies], check=True, stdout=subprocess.PIPE)
    server = subprocess.Popen([*channel, "serve", folder], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        if arguments.serve:
            print(f"{url}/plain\n{url}/sharded", flush=True)
            return server.wait()
        measure_all(arguments, url, work, int(made.stdout))
    finally:
        server.terminate()


def measure_all(arguments, url, work, records):
    forms = arguments.form or ["plain", "sharded"]
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        benches = {form: Bench(arguments.esker.resolve(), f"{url}/{form}", Path(scratch), arguments.runs) for form in forms}
        print(f"{records:,} records; median of {arguments.runs} runs\n")
        third = " conda-lock wall s | CPU s | peak MiB |" if MICROMAMBA else ""
        print(f"| image | subdirs | repodata | cache | esker wall s | CPU s | peak MiB | py-rattler wall s | CPU s | peak MiB |{third}")
        print("|" + "---|" * (13 if MICROMAMBA else 10), flush=True)
        for form, bench in benches.items():
            solving(bench, form, choices(arguments))
            shutil.rmtree(bench.caches)
        if not MICROMAMBA:
            print("\nconda-lock was not run: there is no micromamba on PATH.")
        print("\n| with a lock | wall s | CPU s | peak MiB |\n|---|---|---|---|", flush=True)
        for form, bench in benches.items():
            relocking(bench, form)
        checking(next(iter(benches.values())))


if __name__ == "__main__":
    main()
