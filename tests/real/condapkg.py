"""Conda packages and channels, written so that the same content is always the same bytes.

The `.conda` format (version 2) is a zip of stored members: `metadata.json`, `pkg-NAME.tar.zst` with the files and
`info-NAME.tar.zst` with what conda and its kin read. The older `.tar.bz2` is both in one, for what has to be unpacked
before there is a conda. What would vary is fixed here: member order, times, owners, zip attributes, the compressor
(a pinned wheel), its level and its single thread.
"""

import bz2
import hashlib
import io
import json
import posixpath
import tarfile
import zipfile
from dataclasses import dataclass, field

from common import Problem, sha256_bytes

# Stands for the prefix inside packages, as long as conda-build's: installers pad what they put in its place, so a
# real prefix may be at most this long.
PLACEHOLDER = ("/opt/esker_real_channel" + "_placehold" * 30)[:255]

# Fast enough for the time budget; conda-forge's own level (19) takes ten times as long for a tenth fewer bytes.
ZSTD_LEVEL = 9


@dataclass
class Entry:
    """A file or a symbolic link of a package, by its path below the prefix."""
    path: str
    data: bytes = b""
    link: str = None
    executable: bool = False


@dataclass
class Package:
    name: str
    version: str
    build: str
    subdir: str
    depends: list
    entries: list
    license: str
    timestamp: int  # seconds; also the time of every file
    build_number: int = 0
    constrains: list = field(default_factory=list)
    noarch: str = None  # None, "generic" or "python"
    entry_points: list = field(default_factory=list)  # of noarch: python
    about: dict = field(default_factory=dict)
    licenses: dict = field(default_factory=dict)  # file name to text
    index: dict = field(default_factory=dict)  # further fields of index.json
    archive: str = ".conda"  # or ".tar.bz2"

    @property
    def stem(self):
        return f"{self.name}-{self.version}-{self.build}"


def index_of(package):
    index = {"build": package.build, "build_number": package.build_number, "constrains": package.constrains,
             "depends": package.depends, "license": package.license, "name": package.name, "subdir": package.subdir,
             "timestamp": package.timestamp * 1000, "version": package.version, **package.index}
    if package.noarch:
        index["noarch"] = package.noarch
    return index


def paths_of(package):
    """info/paths.json: every file with its hash and size, and where a placeholder stands in it."""
    files = {entry.path: entry for entry in package.entries}
    paths = []
    for entry in package.entries:
        record = {"_path": entry.path, "path_type": "softlink" if entry.link else "hardlink"}
        data = follow(package, files, entry).data
        record["sha256"] = sha256_bytes(data)
        record["size_in_bytes"] = len(data)
        if not entry.link and PLACEHOLDER.encode() in data:
            record["prefix_placeholder"] = PLACEHOLDER
            record["file_mode"] = "binary" if b"\0" in data else "text"
        paths.append(record)
    return {"paths": paths, "paths_version": 1}


def follow(package, files, entry):
    for _ in range(8):
        if not entry.link:
            return entry
        target = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), entry.link))
        if target not in files:
            raise Problem(f"{package.stem}: {entry.path} links to {entry.link}, which is not in the package")
        entry = files[target]
    raise Problem(f"{package.stem}: {entry.path} is a link that never ends")


def tar_of(entries, timestamp):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mtime = timestamp
            if entry.link:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
                tar.addfile(info)
            else:
                info.size, info.mode = len(entry.data), 0o755 if entry.executable else 0o644
                tar.addfile(info, io.BytesIO(entry.data))
    return buffer.getvalue()


def tar_zst(entries, timestamp):
    import zstandard

    return zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=0).compress(tar_of(entries, timestamp))


def dot_conda(package, info):
    members = {
        "metadata.json": json.dumps({"conda_pkg_format_version": 2}).encode(),
        f"pkg-{package.stem}.tar.zst": tar_zst(package.entries, package.timestamp),
        f"info-{package.stem}.tar.zst": tar_zst(info, package.timestamp)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.create_system, member.external_attr = 3, 0o644 << 16
            archive.writestr(member, data)
    return buffer.getvalue()


def json_bytes(value):
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_package(package, channel):
    """Write the package into the channel directory; returns its record for repodata.json."""
    package.entries.sort(key=lambda entry: entry.path)
    names = [entry.path for entry in package.entries]
    for before, after in zip(names, names[1:]):
        if before == after:
            raise Problem(f"{package.stem}: {after} would be in the package twice")
    index = index_of(package)
    info = {"index.json": json_bytes(index),
            "about.json": json_bytes({"license": package.license, **package.about}),
            "paths.json": json_bytes(paths_of(package)),
            "files": "".join(name + "\n" for name in names).encode()}
    if package.noarch:
        noarch = {"type": package.noarch}
        if package.noarch == "python":
            noarch["entry_points"] = package.entry_points
        info["link.json"] = json_bytes({"noarch": noarch, "package_metadata_version": 1})
    for name, text in package.licenses.items():
        info[f"licenses/{name}"] = text
    described = [Entry(f"info/{name}", info[name]) for name in sorted(info)]
    if package.archive == ".conda":
        data = dot_conda(package, described)
    else:
        data = bz2.compress(tar_of([*described, *package.entries], package.timestamp))
    path = channel / package.subdir / f"{package.stem}{package.archive}"
    path.write_bytes(data)
    record = {key: index[key] for key in ("build", "build_number", "constrains", "depends", "license", "name",
                                          "noarch", "python_site_packages_path", "subdir", "timestamp", "version")
              if key in index}
    return path.name, {**record, "md5": hashlib.md5(data).hexdigest(), "sha256": sha256_bytes(data), "size": len(data)}


def write_repodata(channel, subdir, records):
    import zstandard

    old = {file: record for file, record in records.items() if file.endswith(".tar.bz2")}
    new = {file: record for file, record in records.items() if file not in old}
    repodata = {"info": {"subdir": subdir}, "packages": old, "packages.conda": new, "removed": [],
                "repodata_version": 1}
    data = json_bytes(repodata)
    (channel / subdir / "repodata.json").write_bytes(data)
    (channel / subdir / "repodata.json.zst").write_bytes(
        zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=0).compress(data))
