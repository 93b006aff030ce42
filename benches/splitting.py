"""What splitting the layer of one package into parts could save: how much of a release is in the release before, file by file.

`python3 benches/splitting.py SHARES.json`, with `../shared` (or `ESKER_SHARED`), pip and zstd; prints Markdown, writes the
shares that `cargo bench --bench pulls` reads. The packages' successive versions are those of pangeo-notebook's locks, their
contents those of wheels (or of the source, where conda's package was that), as no conda channel is at hand. Libraries that
wheels carry along are left out, byte code is added.

A file is unchanged if the release before has the same content under the same path. All of these together are the most that
any parts can save; with k fixed parts only a part is saved in which nothing changed. A *rebuild* of the same version cannot
be seen in wheels: machine code is taken to change in it, and nothing else.
"""

import collections
import contextlib
import datetime
import io
import json
import marshal
import math
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

# Those that cost most in updates of pangeo-notebook and are on PyPI, and there by which name.
WHEELS = {
    "nccl": "nvidia-nccl-cu12", "panel": "panel", "pillow": "pillow", "scipy": "scipy", "python-duckdb": "duckdb",
    "ruff": "ruff", "pandas": "pandas", "llvmlite": "llvmlite", "libarrow": "pyarrow", "scikit-learn": "scikit-learn",
    "jupyterlab": "jupyterlab", "matplotlib-base": "matplotlib", "botocore": "botocore", "scikit-image": "scikit-image",
    "notebook": "notebook", "statsmodels": "statsmodels", "rasterio": "rasterio", "numpy": "numpy",
    "sqlalchemy": "sqlalchemy", "bokeh": "bokeh",
}
# Its conda packages had all of the source, tests and pictures, until 12.0: forty times what is in a wheel.
SOURCES = {"pillow"}
PAIRS = 4
PARTS = (2, 4, 8)
WEEK = 7 * 24 * 3600
SINCE = "2024-01-31"


def updates(shared):
    """The versions that followed each other in locks that stayed a week, by package."""
    lines = subprocess.run(["zstd", "-dc", shared / "pangeo-lock-history.jsonl.zst"], stdout=subprocess.PIPE, check=True)
    locks = [json.loads(line) for line in lines.stdout.splitlines() if b'"image":"pangeo-notebook"' in line]
    settled = []
    for lock in sorted(locks, key=lambda lock: lock["date"]):
        time = datetime.datetime.fromisoformat(lock["date"]).timestamp()
        if lock["date"] >= SINCE:
            if settled and time - settled[-1][0] < WEEK:
                settled.pop()
            settled.append((time, {package["name"]: package["version"] for package in lock["packages"]}))
    pairs = collections.defaultdict(list)
    for (_, old), (_, new) in zip(settled, settled[1:]):
        for name in new.keys() & old.keys() & WHEELS.keys():
            if old[name] != new[name]:
                pairs[name].append((old[name], new[name]))
    return pairs


def release(name, version):
    """The files of a release by path, or none if there is no wheel of it for this Python."""
    # conda-forge counts its own builds of nccl in a fourth place.
    number = version.rpartition(".")[0] if name == "nvidia-nccl-cu12" else version
    with tempfile.TemporaryDirectory() as folder:
        kind = "--no-binary=:all:" if name in SOURCES else "--only-binary=:all:"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", kind]
        # Of a source archive pip asks its build what it is, which may take long.
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, "--dest", folder, f"{name}=={number}"], stderr=subprocess.DEVNULL, timeout=120)
        found = [*pathlib.Path(folder).iterdir()]
        return with_byte_code(source(found[0]) if name in SOURCES else wheel(found[0])) if found else None


def source(path):
    """The files of a source archive, by their path below its folder."""
    with tarfile.open(path) as archive:
        files = [member for member in archive if member.isfile()]
        return {member.name.partition("/")[2]: archive.extractfile(member).read() for member in files}


def wheel(path):
    """The files of a wheel by the path they are installed to."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not re.search(r"^[^/]+\.libs/|/$", name)]
        installed = lambda name: re.sub(r"^[^/]+\.data/(data|purelib|platlib|scripts)/", "", name)
        return {installed(name): archive.read(name) for name in names}


def with_byte_code(files):
    compiled = {}
    for path, data in files.items():
        if path.endswith(".py"):
            try:
                compiled[path + "c"] = marshal.dumps(compile(data, path, "exec", dont_inherit=True))
            except (SyntaxError, ValueError):
                pass
    return files | compiled


def compressed(files):
    """Bytes of a layer with these files, as esker would compress it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return len(subprocess.run(["zstd", "-3", "-c"], input=layer.getvalue(), stdout=subprocess.PIPE, check=True).stdout)


def by_folder(files, parts):
    """The largest folders by themselves, each without what is in a part already."""
    part_of = dict.fromkeys(files, "")
    while len(set(part_of.values())) < parts:
        below = collections.Counter()
        for path, part in part_of.items():
            inner = path.removeprefix(part)
            # A folder that is all of its part divides nothing.
            for end in (match.end() for match in re.finditer("/", inner)):
                below[part, part + inner[:end]] += len(files[path])
        whole = collections.Counter()
        for path, part in part_of.items():
            whole[part] += len(files[path])
        able = [(size, folder, part) for (part, folder), size in below.items() if size < 0.9 * whole[part]]
        if not able:
            break
        _, folder, part = max(able)
        for path in files:
            if part_of[path] == part and path.startswith(folder):
                part_of[path] = folder
    return part_of


def by_size(files, parts):
    """Limits from 1 KiB to 4 MiB, evenly in their logarithm."""
    part = lambda size: int((math.log2(size + 1) - 10) / 12 * parts)
    return {path: max(0, min(parts - 1, part(len(data)))) for path, data in files.items()}


def by_hash(files, parts):
    return {path: zlib.crc32(path.encode()) % parts for path in files}


def by_kind(files, parts):
    """Machine code, modules, byte code, then other endings, as many as there may be."""
    kinds = [".py", ".pyc", ".js", ".json", ".h", ".css"][: parts - 2]
    kind = lambda path: os.path.splitext(path)[1]
    return {
        path: "machine code" if is_native(data) else kind(path) if kind(path) in kinds else "rest"
        for path, data in files.items()
    }


RULES = {"folder": by_folder, "size": by_size, "hash": by_hash, "kind": by_kind}


def is_native(data):
    return data[:4] == b"\x7fELF"


def parts_of(files, rule, parts):
    """The files of each part."""
    grouped = collections.defaultdict(dict)
    for path, part in rule(files, parts).items():
        grouped[part][path] = files[path]
    return grouped.values()


def saved(old, new):
    """The shares of a release that need not be pulled: at most, and by rule and number of parts."""
    whole = compressed(new)
    # What names the version changes each time: it has a part of its own, or no other would ever stay.
    old, new = ({path: data for path, data in files.items() if ".dist-info/" not in path} for files in (old, new))
    unchanged = {path: data for path, data in new.items() if old.get(path) == data}
    shares = {"most": compressed(unchanged) / whole if unchanged else 0.0}
    for name, rule in RULES.items():
        for parts in PARTS:
            had = list(parts_of(old, rule, parts))
            stay = [part for part in parts_of(new, rule, parts) if part in had]
            # Parts are compressed one by one, and so a little larger than all in one.
            shares[name, parts] = min(1.0, sum(map(compressed, stay)) / whole)
    return shares, whole


def rebuilt(files):
    """The same version with other machine code."""
    return {path: data + b"\0" if is_native(data) else data for path, data in files.items()}


def mean(all_shares):
    return {key: sum(shares[key] for shares in all_shares) / len(all_shares) for key in all_shares[0]}


def spread(pairs):
    """Some of all pairs, evenly over time."""
    count = min(PAIRS, len(pairs))
    return [pairs[index * len(pairs) // count] for index in range(count)]


def cells(shares, key):
    return " / ".join(f"{shares[key, parts]:.2f}" for parts in PARTS)


def main(target):
    shared = pathlib.Path(os.environ.get("ESKER_SHARED", pathlib.Path(__file__).parents[1] / "../shared"))
    pairs = updates(shared)
    results = {}
    print("Shares of the compressed layer that stay, with 2 / 4 / 8 parts by …; rebuild: at most.\n")
    print("| package | releases | MB | at most | folder | size | hash | kind | rebuild |")
    print("|---" * 9 + "|")
    for package, name in WHEELS.items():
        of_updates, of_rebuilds, sizes = [], [], []
        for old_version, new_version in spread(pairs[package]):
            old, new = release(name, old_version), release(name, new_version)
            if old is None or new is None:
                print(f"{package} {old_version} or {new_version}: no wheel, left out", file=sys.stderr)
                continue
            shares, size = saved(old, new)
            of_updates.append(shares)
            of_rebuilds.append(saved(rebuilt(new), new)[0])
            sizes.append(size)
        if not sizes:
            continue
        update, rebuild = mean(of_updates), mean(of_rebuilds)
        rules = " | ".join(cells(update, rule) for rule in RULES)
        megabytes = sum(sizes) / len(sizes) / 1e6
        row = [package, len(sizes), f"{megabytes:.1f}", f"{update['most']:.2f}", rules, f"{rebuild['most']:.2f}"]
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        results[package] = {"update": best(update), "rebuild": best(rebuild)}
    pathlib.Path(target).write_text(json.dumps(results, indent=1) + "\n")


def best(shares):
    """The best rule for each number of parts, known afterwards."""
    return {"most": round(shares["most"], 3)} | {
        str(parts): round(max(shares[rule, parts] for rule in RULES), 3) for parts in PARTS
    }


main(sys.argv[1])
