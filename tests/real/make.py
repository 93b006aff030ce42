#!/usr/bin/env python3
"""Make a real conda channel and a real Debian base system, for end-to-end tests and the demo.

Machines that reach neither a conda channel nor a container registry can still have both: Debian's packages and
PyPI's wheels hold the same software. This program turns pinned, hash-checked .debs and wheels into

    OUT/channel/{linux-64,linux-aarch64,noarch}/   conda packages and repodata
    OUT/base/rootfs-{amd64,arm64}.tar, OUT/base/oci/   Debian bookworm, as tar files and as an OCI image

The same pins give the same bytes. A result that is already there is left alone: a second run only compares a hash.
"""

import argparse
import concurrent.futures
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import time

import common
import mambapkg
from common import HERE, TARGETS, Out, Problem, say

# Which files decide what a result is; a change in any of them makes the result again.
CHANNEL_SOURCES = ("common.py", "condapkg.py", "debs.py", "elf.py", "make.py", "pins.json", "tools.txt", "wheels.py",
                   *mambapkg.sources())
BASE_SOURCES = ("base.py", "common.py", "make.py", "pins.json")

STAMP = ".made-from"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=("channel", "base", "all", "pin"))
    parser.add_argument("--out", metavar="DIR", required=True, help="where results, downloads and tools are kept")
    parser.add_argument("--mirror", metavar="URI", help="the Debian archive, when apt here has none configured")
    options = parser.parse_args()
    os.umask(0o022)
    out = Out(options.out)
    jobs = {"channel": (CHANNEL_SOURCES, make_channel), "base": (BASE_SOURCES, make_base)}
    try:
        if options.command == "pin":
            with exclusive(out):
                pin(out, options.mirror)
            return 0
        wanted = list(jobs) if options.command == "all" else [options.command]
        for name in wanted:
            sources, make = jobs[name]
            stamp = stamp_of(sources)
            if is_made(out.root / name, stamp):
                say(f"{name}: {out.root / name} is up to date")
                continue
            with exclusive(out):
                # Another process may have made it while this one waited.
                if not is_made(out.root / name, stamp):
                    start = time.monotonic()
                    make(out, options.mirror, stamp)
                    say(f"{name}: finished {out.root / name} in {time.monotonic() - start:.0f} s")
        return 0
    except Problem as problem:
        say(f"error: {problem}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what was downloaded is kept, what was half made is not used")
        return 130


def stamp_of(sources):
    digest = hashlib.sha256()
    for name in sources:
        try:
            data = (HERE / name).read_bytes()
        except FileNotFoundError:
            raise Problem(f"{HERE / name} is missing; `make.py pin` writes the pins") from None
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest() + "\n"


def is_made(result, stamp):
    try:
        return (result / STAMP).read_text() == stamp
    except OSError:
        return False


class exclusive:
    """Hold the output directory for one process; whatever an interrupted one left in tmp is removed."""

    def __init__(self, out):
        self.out = out

    def __enter__(self):
        self.out.root.mkdir(parents=True, exist_ok=True)
        self.lock = open(self.out.root / "lock", "w")  # closed in __exit__
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run in {self.out.root}")
            fcntl.flock(self.lock, fcntl.LOCK_EX)
        common.held_lock = self.lock
        self.clear()

    def __exit__(self, *_):
        self.clear()
        common.held_lock = None
        self.lock.close()

    def clear(self):
        with open("/proc/self/mounts") as mounts:
            inside = [line.split()[1] for line in mounts if line.split()[1].startswith(f"{self.out.tmp}/")]
        if inside:
            # Removing a chroot with the machine's own directories mounted in it would remove those.
            raise Problem(f"something is still mounted in {self.out.tmp}; unmount it first: umount {' '.join(inside)}")
        shutil.rmtree(self.out.tmp, ignore_errors=True)


def put_in_place(out, made, name, stamp):
    """Swap a finished directory in. Interrupted between the renames, the next run finds nothing and makes it again."""
    (made / STAMP).write_text(stamp)
    result = out.root / name
    if result.exists():
        os.rename(result, out.tmp / f"old-{name}")
    os.rename(made, result)


def pin(out, mirror):
    import pin as pinning
    if not common.TOOLS.exists():
        raise Problem("tools.txt is missing; take it from version control")
    python, _ = common.ensure_tools(out)
    pinning.pin_all(out, python, mirror)
    pinning.pin_tools(out)


def make_channel(out, mirror, stamp):
    import fetch

    common.ensure_apt_packages({"apt-get": "apt", "dpkg-deb": "dpkg"})
    python, patchelf = common.ensure_tools(out)
    pins = common.load_pins()
    for target in TARGETS.values():
        fetch.fetch_debs(out, pins, target["deb"], mirror)
    fetch.fetch_wheels(out, pins, python)
    made = out.scratch("channel")
    for subdir in (*TARGETS, "noarch"):
        (made / subdir).mkdir()
    import condapkg
    records = {subdir: {} for subdir in (*TARGETS, "noarch")}
    jobs = channel_jobs(out, pins)
    # Compression is most of the work, so two processes take half the time; the largest packages go first, or the
    # last one would run alone.
    with concurrent.futures.ProcessPoolExecutor(max_workers=2, initializer=die_with_parent) as pool:
        running = [pool.submit(build_one, job, out, pins, patchelf, made) for job in jobs]
        for number, done in enumerate(concurrent.futures.as_completed(running), 1):
            try:
                file, record = done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            records[record["subdir"]][file] = record
            say(f"channel: {number}/{len(jobs)} {record['name']} {record['version']} {record['subdir']}")
    for subdir, found in records.items():
        condapkg.write_repodata(made, subdir, {file: found[file] for file in sorted(found)})
    put_in_place(out, made, "channel", stamp)


def channel_jobs(out, pins):
    """(kind, what, subdir) of every package, the largest first."""
    import debs

    jobs = [("wheel", pin, pin["subdir"]) for pin in pins["wheels"]]
    jobs.sort(key=lambda job: -out.download(job[1]).stat().st_size)
    native = [("deb", spec.name, subdir) for spec in debs.SPECS
              for subdir in (["noarch"] if spec.noarch else TARGETS)]
    native.sort(key=lambda job: job[1] != "python")
    standins = [("micromamba", None, subdir) for subdir in TARGETS]
    return [*standins, *native, ("python_abi", None, "noarch"), *jobs]


def die_with_parent():
    """In a worker: end when the main process is killed, instead of waiting for work with the lock held."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def build_one(job, out, pins, patchelf, made):
    """Make one package; runs in a worker process."""
    import condapkg
    import debs
    import wheels

    kind, what, subdir = job
    if kind == "wheel":
        package = wheels.build(what, out, pins)
    elif kind == "micromamba":
        package = mambapkg.build(subdir, out, pins, patchelf)
    elif kind == "deb":
        spec = next(spec for spec in debs.SPECS if spec.name == what)
        package = debs.build(spec, subdir, out, pins, patchelf)
    else:
        package = debs.build_python_abi(common.EPOCH)
    return condapkg.write_package(package, made)


def make_base(out, mirror, stamp):
    import base
    import fetch

    base.prepare()
    pins = common.load_pins()
    for target in TARGETS.values():
        fetch.fetch_debs(out, pins, target["deb"], mirror)
    made = out.scratch("base")
    base.make(out, pins, made)
    put_in_place(out, made, "base", stamp)


if __name__ == "__main__":
    sys.exit(main())
