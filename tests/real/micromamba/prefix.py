"""A prefix: what is installed in it, installing, and running programs in it."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncio
from rattler import (Client, Config, Gateway, MatchSpec, PrefixRecord, RepoDataRecord, VirtualPackage,
                     VirtualPackageOverrides, install, solve)
from rattler.package_streaming import download_to_path

from problem import Problem

DOWNLOADS = 8

ACTIVATED = 'for file in "$CONDA_PREFIX"/etc/conda/activate.d/*.sh; do [ ! -r "$file" ] || . "$file"; done; exec "$@"'


def records(prefix):
    """{file name in conda-meta: record} of what is installed."""
    return {path.name: PrefixRecord.from_path(path) for path in sorted((prefix / "conda-meta").glob("*.json"))}


def make(prefix):
    """The least that is a prefix."""
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    (prefix / "conda-meta/history").touch()


class Installer:
    """Installs into one prefix, with one package cache."""

    def __init__(self, settings, prefix, copy, pyc):
        self.settings, self.prefix, self.pyc = settings, prefix, pyc
        self.pkgs = settings.pkgs
        self.client = Client.default_client()
        linking = "allow-hard-links = false\nallow-ref-links = false\n" if copy else ""
        # A symbolic link into a cache that is removed in the end would be a broken file.
        self.config = Config.from_toml(f"{linking}allow-symbolic-links = false\n")

    async def locked(self, pins):
        """Installs the packages of a lock, each checked against its hash."""
        self.pkgs.mkdir(parents=True, exist_ok=True)
        turn = asyncio.Semaphore(DOWNLOADS)
        wanted = await asyncio.gather(*(self.fetch(pin, turn) for pin in pins))
        await self.change_to(wanted)
        by_name = {record.name.normalized: pin for record, pin in zip(wanted, pins)}
        for file, record in records(self.prefix).items():
            pin = by_name.get(record.name.normalized)
            # They were installed from the cache; what is recorded is where they come from.
            if pin and urlsplit(record.url).scheme == "file":
                record.url, record.channel = pin.url, pin.channel
                record.package_tarball_full_path = self.pkgs / pin.file
                record.write_to_path(self.prefix / "conda-meta" / file, True)

    async def fetch(self, pin, turn):
        """The package in the cache."""
        path = self.pkgs / pin.file
        if not path.exists() or wrong(pin, path):
            async with turn:
                part = path.with_name(f"{path.name}.part")
                if urlsplit(pin.url).scheme == "file":
                    shutil.copyfile(unquote(urlsplit(pin.url).path), part)
                else:
                    await download_to_path(self.client, pin.url, part)
            if found := wrong(pin, part):
                part.unlink()
                raise Problem(f"{pin.url} is not the package of the lock: {found}")
            os.replace(part, path)
        record = await RepoDataRecord.from_package_archive(path)
        record.url = path.as_uri()
        return record

    async def solved(self, specs, channels, priority):
        """Solves the specs beside what is installed, and installs the solution."""
        installed = list(records(self.prefix).values())
        asked = [MatchSpec(spec) for spec in specs]
        names = {str(spec.name) for spec in asked}
        # What is there stays, in another version only where it must; Python's minor version stays, too.
        kept = []
        for record in installed:
            name = record.name.normalized
            if name not in names:
                pin = f" {'.'.join(str(record.version).split('.')[:2])}.*" if name == "python" else ""
                kept.append(MatchSpec(f"{name}{pin}"))
        gateway = Gateway(cache_dir=self.pkgs / "cache", client=self.client)
        solution = await solve(channels, [*asked, *kept], gateway=gateway, locked_packages=installed,
                               virtual_packages=VirtualPackage.detect(VirtualPackageOverrides.from_env()),
                               channel_priority=priority)
        await self.change_to(solution)

    async def change_to(self, wanted):
        """Makes the prefix have these packages, beside those of other names."""
        before = records(self.prefix)
        names = {record.name.normalized for record in wanted}
        stay = [record for record in before.values() if record.name.normalized not in names]
        new = {dist(record): record for record in wanted}
        new = [new[name] for name in sorted(new) if f"{name}.json" not in before]
        for record in new:
            self.settings.say(f"  + {record.name.normalized} {record.version} {record.build} ({record.subdir})")
        self.settings.confirm(f"Install {len(new)} packages into {self.prefix}")
        make(self.prefix)
        await install([*stay, *wanted], self.prefix, cache_dir=self.pkgs, installed_packages=list(before.values()),
                      execute_link_scripts=True, show_progress=False, client=self.client, config=self.config)
        if self.pyc:
            self.compile([record for file, record in records(self.prefix).items() if file not in before])

    def compile(self, new):
        """Compiles the modules of noarch packages, which come without."""
        modules = [str(self.prefix / file) for record in new if record.noarch.python for file in record.files
                   if file.suffix == ".py"]
        if not modules:
            return
        done = subprocess.run([self.prefix / "bin/python", "-Wi", "-m", "compileall", "-q", "-l", "-j", "0", "-i", "-"],
                              input="\n".join(modules), text=True, cwd=self.prefix, check=False,
                              stdout=subprocess.DEVNULL if self.settings.quiet else None)
        if done.returncode != 0:
            # As with micromamba: some packages have files that no Python compiles.
            print("warning  not every module could be compiled", flush=True)

    def pip(self, lines, folder, with_dependencies):
        """Has the prefix's pip install these requirements."""
        python = self.prefix / "bin/python"
        if not python.exists():
            raise Problem(f"{self.prefix} has no Python for pip's packages; add python and pip to the dependencies")
        # Beside the file that asks for them, because the lines may have paths relative to it.
        with tempfile.NamedTemporaryFile("w", prefix=".mamba-pip-", suffix=".txt", dir=folder) as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            command = [python, "-m", "pip", "install", "--no-input", *([] if with_dependencies else ["--no-deps"]),
                       *(["--quiet"] if self.settings.quiet else []), "-r", file.name]
            status = subprocess.run(activated(self.prefix, command), env=variables(self.settings.root, self.prefix),
                                    cwd=folder, check=False).returncode
        if status != 0:
            raise Problem(f"pip failed to install packages (status {status})")


def dist(record):
    """A package's name, version and build, as its file in conda-meta is called."""
    return f"{record.name.normalized}-{record.version}-{record.build}"


def wrong(pin, path):
    """What is wrong with a downloaded package, or nothing."""
    data = path.read_bytes()
    for name, locked in (("sha256", pin.sha256), ("md5", pin.md5)):
        found = hashlib.new(name, data, usedforsecurity=False).hexdigest()
        if locked and found != locked:
            return f"its {name} is {found}, but {locked} is locked"
    return None


def activated(prefix, command):
    """The command after the prefix's activation scripts."""
    shell = shutil.which("bash") or "/bin/sh"
    return [shell, "-c", ACTIVATED, shell, *map(str, command)]


def variables(root, prefix):
    """The environment of a program that runs in the prefix."""
    own = f"{prefix}/bin"
    path = [part for part in os.environ.get("PATH", "/usr/bin:/bin").split(":") if part != own]
    return {**os.environ, "PATH": ":".join([own, *path]), "CONDA_PREFIX": str(prefix), "CONDA_SHLVL": "1",
            "CONDA_DEFAULT_ENV": "base" if prefix == root else prefix.name, "MAMBA_ROOT_PREFIX": str(root)}


def table(prefix):
    """What `list --json` prints of every package."""
    found = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(path.read_text())
        base = record["url"].rsplit("/", 2)[0]
        found.append({"base_url": base, "build_number": record["build_number"], "build_string": record["build"],
                      "channel": record.get("channel") or base, "dist_name": path.stem, "name": record["name"],
                      "platform": record["subdir"], "url": record["url"], "version": record["version"]})
    return sorted(found, key=lambda package: package["name"])
