"""Conda packages out of wheels.

A pure wheel becomes a `noarch: python` package: files below `site-packages/`, its scripts made by the installer from
the entry points in link.json. Any other wheel becomes a package for one target, with its scripts written out.

What a wheel says about its needs is said again in conda's words: requirements (markers evaluated for the target,
extras expanded), Requires-Python, the glibc of its manylinux tag, and the libraries its modules ask for.
"""

import base64
import calendar
import configparser
import csv
import email.parser
import io
import os
import re
import zipfile

from common import EPOCH, PYTHON_MINOR, TARGETS, Problem, sha256_bytes
from condapkg import PLACEHOLDER, Entry, Package
import debs
import elf

# Where conda's world has another name for a thing, or the name is taken (tzdata is the zone files' package).
RENAMED = {"tzdata": "python-tzdata"}

# Licence classifiers, for metadata older than License-Expression.
CLASSIFIERS = {"BSD License": "BSD-3-Clause", "MIT License": "MIT", "Apache Software License": "Apache-2.0",
               "Python Software Foundation License": "PSF-2.0", "ISC License (ISCL)": "ISC",
               "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
               "Historical Permission Notice and Disclaimer (HPND)": "HPND"}


def conda_name(name):
    from packaging.utils import canonicalize_name
    name = canonicalize_name(name)
    return RENAMED.get(name, name)


def conda_spec(specifiers):
    """A PEP 440 specifier set in conda's syntax: `~=1.4.2,!=1.5.*` is `>=1.4.2,1.4.*,!=1.5.*`."""
    parts = []
    for specifier in sorted(specifiers, key=lambda one: (one.operator, one.version)):
        operator, version = specifier.operator, specifier.version
        if operator == "~=":
            parts += [f">={version}", f"{version.rsplit('.', 1)[0]}.*"]
        elif operator in ("==", "==="):
            parts.append(version if version.endswith(".*") else f"=={version}")
        else:
            parts.append(f"{operator}{version}")
    return ",".join(parts)


def environment(subdir):
    """What a requirement's marker sees on the target, with our Python."""
    return {"implementation_name": "cpython", "implementation_version": "3.11.2", "os_name": "posix",
            "platform_machine": TARGETS[subdir]["machine"], "platform_python_implementation": "CPython",
            "platform_release": "", "platform_system": "Linux", "platform_version": "",
            "python_full_version": f"{PYTHON_MINOR}.2", "python_version": PYTHON_MINOR, "sys_platform": "linux"}


class Wheel:
    """An open wheel; use it in a `with`."""

    def __init__(self, path, file=None):
        self.path = path
        self.file = file or os.path.basename(path)
        self.zip = zipfile.ZipFile(path)
        names = [name for name in self.zip.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        if len(names) != 1:
            raise Problem(f"{self.file} is not a wheel with one METADATA")
        self.dist_info = names[0].rsplit("/", 1)[0]
        self.metadata = email.parser.Parser().parsestr(self.zip.read(names[0]).decode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.zip.close()

    def text(self, name):
        """A file of .dist-info, or nothing."""
        try:
            return self.zip.read(f"{self.dist_info}/{name}").decode()
        except KeyError:
            return ""

    def requirements(self, subdir, path_of, extras=frozenset()):
        """{canonical name: specifiers} of what the wheel needs on a target, with the extras it asks of others expanded.

        `path_of(name)` gives another wheel's path, or None; a requirement's extras are found in that wheel.
        """
        from packaging.requirements import Requirement
        from packaging.specifiers import SpecifierSet
        from packaging.utils import canonicalize_name

        found = {}
        for line in self.metadata.get_all("Requires-Dist") or []:
            requirement = Requirement(line)
            if requirement.marker and not any(
                    requirement.marker.evaluate({**environment(subdir), "extra": extra}) for extra in extras or {""}):
                continue
            name = canonicalize_name(requirement.name)
            if name == canonicalize_name(self.metadata["Name"]):
                # `package[all]` that is made of the package's other extras
                more = self.requirements(subdir, path_of, frozenset(map(canonicalize_name, requirement.extras)))
            else:
                found[name] = found.get(name, SpecifierSet()) & requirement.specifier
                more = {}
                if requirement.extras and path_of(name):
                    with Wheel(path_of(name)) as other:
                        plain = other.requirements(subdir, path_of)
                        more = other.requirements(subdir, path_of, frozenset(requirement.extras))
                        more = {key: value for key, value in more.items() if key not in plain or value != plain[key]}
            for other_name, specifiers in more.items():
                found[other_name] = found.get(other_name, SpecifierSet()) & specifiers
        return found

    def entry_points(self):
        """["name = module:function"] of the console and gui scripts."""
        parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        parser.optionxform = str
        parser.read_string(self.text("entry_points.txt"))
        found = {}
        for section in ("console_scripts", "gui_scripts"):
            if parser.has_section(section):
                for name, value in parser.items(section):
                    # An entry point may name an extra it needs: `module:function [extra]`.
                    found[name] = value.split("[")[0].strip()
        return [f"{name} = {found[name]}" for name in sorted(found)]

    def license(self):
        if self.metadata["License-Expression"]:
            return self.metadata["License-Expression"]
        for classifier in self.metadata.get_all("Classifier") or []:
            name = classifier.rsplit(" :: ", 1)[-1]
            if classifier.startswith("License ::") and name in CLASSIFIERS:
                return CLASSIFIERS[name]
        words = (self.metadata["License"] or "").strip()
        return words if words and "\n" not in words and len(words) < 60 else "LicenseRef-see-info-licenses"

    def timestamp(self):
        """The newest time in the zip; makers who want reproducible wheels write 1980, which says nothing."""
        newest = max(info.date_time for info in self.zip.infolist())
        return calendar.timegm(newest) if newest[0] > 1980 else EPOCH

    def glibc(self):
        """The oldest glibc of the manylinux tags: every one of the tags holds, so the weakest is the requirement."""
        old = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
        found = []
        for tag in self.file[:-len(".whl")].rsplit("-", 1)[1].split("."):
            numbers = re.match(r"manylinux_(\d+)_(\d+)_", tag)
            if numbers:
                found.append(tuple(map(int, numbers.groups())))
            elif tag.split("_")[0] in old:
                found.append(old[tag.split("_")[0]])
        if not found:
            raise Problem(f"{self.file} has no manylinux tag, so the glibc it needs is unknown")
        return ".".join(map(str, min(found)))


def build(pin, out, pins):
    """The conda package of one pinned wheel."""
    subdir, noarch = pin["subdir"], pin["subdir"] == "noarch"
    with Wheel(out.download(pin), pin["file"]) as wheel:
        entry_points = wheel.entry_points()
        entries, licenses = read_files(wheel, entry_points, noarch)
        name = conda_name(pin["name"])
        if not noarch:
            entries += [script(line) for line in entry_points]
        build_string = f"pyh{pin['sha256'][:7]}_0" if noarch else f"py{debs.ABI[2:]}h{pin['sha256'][:7]}_0"
        urls = dict(line.split(", ", 1) for line in wheel.metadata.get_all("Project-URL") or [] if ", " in line)
        about = {"summary": wheel.metadata["Summary"] or "", "license_file": sorted(licenses),
                 "home": wheel.metadata["Home-page"] or urls.get("Homepage") or urls.get("Home") or "",
                 "extra": {"wheel": pin["file"]}}
        return Package(name, pin["version"], build_string, subdir, depends_of(wheel, pin, entries, out, pins), entries,
                       wheel.license(), wheel.timestamp(), noarch="python" if noarch else None,
                       entry_points=entry_points if noarch else [], about=about, licenses=licenses)


def depends_of(wheel, pin, entries, out, pins):
    from packaging.specifiers import SpecifierSet

    subdir = pin["subdir"]
    targets = list(TARGETS) if subdir == "noarch" else [subdir]
    ours = {target: {other["name"]: other for other in pins["wheels"] if other["subdir"] in ("noarch", target)}
            for target in targets}
    by_target = []
    for target in targets:
        def path_of(name):
            return out.download(ours[target][name]) if name in ours[target] else None
        found = wheel.requirements(target, path_of)
        for name, specifiers in found.items():
            if name not in ours[target]:
                raise Problem(f"{wheel.file} needs {name} on {target}, which is not pinned; run `make.py pin`")
            if not specifiers.contains(ours[target][name]["version"], prereleases=True):
                raise Problem(f"{wheel.file} needs {name}{specifiers}, but {ours[target][name]['version']} is pinned")
        by_target.append(sorted(f"{conda_name(name)} {conda_spec(specifiers)}".rstrip()
                                for name, specifiers in found.items()))
    if any(depends != by_target[0] for depends in by_target):
        raise Problem(f"{wheel.file} is pure, but needs different packages on different machines: noarch cannot say "
                      "that")
    if subdir == "noarch":
        python = conda_spec(SpecifierSet(wheel.metadata["Requires-Python"] or ""))
        return [f"python {python}".rstrip(), *by_target[0]]
    minor = int(PYTHON_MINOR.split(".")[1])
    modules = [entry for entry in entries if elf.is_elf(entry.data)]
    asked = [soname for entry in modules for soname in elf.needed(entry.data)]
    own = {os.path.basename(entry.path) for entry in modules}
    return [f"python >={PYTHON_MINOR},<3.{minor + 1}.0a0", f"python_abi {PYTHON_MINOR}.* *_{debs.ABI}",
            f"__glibc >={wheel.glibc()},<3.0.a0",
            *debs.library_depends(asked, own, debs.versions(pins), wheel.file), *by_target[0]]


def read_files(wheel, entry_points, noarch):
    """The wheel's files where conda wants them, and its licences.

    Returns (entries, licenses). RECORD is written anew: for the places files have gone to, and with INSTALLER and the
    scripts, so that pip can check and remove what conda installed.
    """
    site_packages = "site-packages" if noarch else f"{debs.LIB}/site-packages"
    scripts = "python-scripts" if noarch else "bin"
    prefixes = {"purelib": site_packages, "platlib": site_packages, "scripts": scripts, "data": "",
                "headers": f"include/python{PYTHON_MINOR}/{wheel.metadata['Name']}"}
    data_dir = wheel.dist_info[:-len(".dist-info")] + ".data/"
    record = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.text("RECORD"))) if row}
    entries, licenses, rows = [], {}, []
    for info in wheel.zip.infolist():
        name = info.filename
        if info.is_dir() or name.endswith(".pyc") or name in (f"{wheel.dist_info}/RECORD",
                                                              f"{wheel.dist_info}/INSTALLER"):
            continue
        data = wheel.zip.read(info)
        executable = bool(info.external_attr >> 16 & 0o111)
        row = record.get(name, ["", ""])
        if name.startswith(data_dir):
            kind, rest = name[len(data_dir):].split("/", 1)
            path = f"{prefixes[kind]}/{rest}".lstrip("/")
            if kind == "scripts":
                executable = True
                if data.startswith(b"#!python"):
                    data = f"#!{PLACEHOLDER}/bin/python".encode() + data.split(b"\n", 1)[0][len(b"#!python"):] \
                        + b"\n" + data.split(b"\n", 1)[1]
                    row = ["", ""]  # its bytes depend on the prefix
                rows.append([f"../../../bin/{rest}", *row])
            elif kind in ("purelib", "platlib"):
                rows.append([rest, *row])
            else:
                rows.append([f"../../../{path}", *row])
        else:
            path = f"{site_packages}/{name}"
            rows.append([name, *row])
        if re.match(re.escape(wheel.dist_info) + r"/(licenses/.+|(LICEN[SC]E|COPYING|NOTICE)[^/]*)$", name):
            licenses[name[len(wheel.dist_info) + 1:].replace("licenses/", "", 1).replace("/", "_")] = data
        entries.append(Entry(path, data, executable=executable))
    installer = b"conda\n"
    entries.append(Entry(f"{site_packages}/{wheel.dist_info}/INSTALLER", installer))
    rows.append([f"{wheel.dist_info}/INSTALLER", record_hash(installer), str(len(installer))])
    rows += [[f"../../../bin/{line.split(' = ')[0]}", "", ""] for line in entry_points]
    rows.append([f"{wheel.dist_info}/RECORD", "", ""])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    entries.append(Entry(f"{site_packages}/{wheel.dist_info}/RECORD", text.getvalue().encode()))
    return entries, licenses


def record_hash(data):
    return "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(sha256_bytes(data))).rstrip(b"=").decode()


def script(entry_point):
    """A console script as conda's installers write them, with the placeholder for the prefix."""
    name, target = entry_point.split(" = ")
    module, function = target.split(":")
    text = f"""#!{PLACEHOLDER}/bin/python
# -*- coding: utf-8 -*-
import re
import sys

from {module} import {function.split('.')[0]}

if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw?|\\.exe)?$', '', sys.argv[0])
    sys.exit({function}())
"""
    return Entry(f"bin/{name}", text.encode(), executable=True)
