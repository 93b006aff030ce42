"""The commands."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import rattler
from rattler import MatchSpec
from rattler.platform import Subdir

import prefix as prefixes
import request as requests
from problem import Problem
from settings import Settings


def run(options):
    if options.command == "version":
        print(rattler.__version__)
        return 0
    command = {"create": change, "install": change, "clean": clean, "list": show, "run": execute}[options.command]
    return command(options, Settings.of(options))


def change(options, settings):
    """`create` and `install`."""
    request = requests.read(options.file, options.specs, options.category or ["main"], str(Subdir.current()))
    target = new_prefix(settings, request) if options.command == "create" else old_prefix(settings)
    installer = prefixes.Installer(settings, target, settings.always_copy(options), options.pyc)
    if request.locked:
        asyncio.run(installer.locked(request.pins))
    elif request.specs:
        of_specs = [MatchSpec(spec).channel for spec in request.specs]
        channels = settings.channels(options, [*request.channels, *(one.base_url for one in of_specs if one)])
        asyncio.run(installer.solved(request.specs, channels, settings.priority(options)))
    elif options.command == "create":
        prefixes.make(target)
    if request.pip:
        installer.pip(request.pip, request.folder, with_dependencies=not request.locked)
    settings.say(f"{target}: done")
    return 0


def new_prefix(settings, request):
    """Where to create; micromamba's rules on what may be there."""
    target = settings.prefix or (settings.named(request.name) if request.name else None)
    if not target:
        raise Problem("no prefix is given; give one by --prefix or --name")
    if not target.exists():
        return target
    if target == settings.root:
        raise Problem(f"overwriting the root prefix {target} is not permitted; `install` installs into it")
    if not target.is_dir():
        raise Problem(f"{target} is no folder")
    if (target / "conda-meta").exists():
        settings.confirm(f"Found a prefix at {target}. Overwrite")
        shutil.rmtree(target)
    elif any(target.iterdir()):
        raise Problem(f"the folder {target} is no prefix, and not empty")
    return target


def old_prefix(settings):
    """Where to install; the root prefix is made where it is missing."""
    target = settings.active()
    if not (target / "conda-meta").exists() and target != settings.root:
        raise Problem(f"there is no prefix at {target}; `create` makes one")
    return target


def clean(options, settings):
    pkgs = settings.pkgs
    doomed = []
    if options.force_pkgs_dirs:
        settings.confirm(f"Remove all of the package cache {pkgs}")
        doomed = [pkgs]
    elif pkgs.is_dir():
        if options.all or options.index_cache:
            doomed.append(pkgs / "cache")
        if options.all or options.tarballs:
            doomed += [*pkgs.glob("*.conda"), *pkgs.glob("*.tar.bz2")]
        if options.all or options.locks:
            doomed += [*pkgs.glob("*.lock"), *pkgs.glob(".*.lock")]
        if options.all or options.packages:
            used = packages_in_use(settings)
            doomed += [path.parent.parent for path in pkgs.glob("*/info/index.json")
                       if str(path.parent.parent) not in used]
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    settings.say(f"{pkgs}: cleaned")
    return 0


def packages_in_use(settings):
    """The unpacked packages that the root prefix and the named ones were made of."""
    found = set()
    for target in [settings.root, *(settings.root / "envs").glob("*")]:
        for path in (target / "conda-meta").glob("*.json"):
            found.add(json.loads(path.read_text()).get("extracted_package_dir"))
    return found


def show(options, settings):
    """`list`."""
    target = settings.active()
    if not (target / "conda-meta").exists():
        raise Problem(f"there is no prefix at {target}")
    packages = prefixes.table(target)
    if options.json:
        print(json.dumps(packages, indent=4))
        return 0
    rows = [("Name", "Version", "Build", "Channel")]
    rows += [(one["name"], one["version"], one["build_string"], one["channel"]) for one in packages]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    rows.insert(1, tuple("-" * width for width in widths))
    print(f'List of packages in environment: "{target}"\n')
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def execute(options, settings):
    """`run`: this process becomes the command."""
    target = settings.active()
    if not target.is_dir():
        raise Problem(f"there is no prefix at {target}")
    if not options.words:
        raise Problem("no command to run is given")
    environment = prefixes.variables(settings.root, target)
    for assignment in options.env:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise Problem(f"`{assignment}` is not NAME=VALUE")
        environment[name] = value
    if options.cwd:
        os.chdir(Path(options.cwd))
    command = prefixes.activated(target, options.words)
    os.execve(command[0], command, environment)
