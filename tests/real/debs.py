"""Conda packages out of Debian's .debs: Python and the shared libraries it and the wheels need.

A .deb is made for /usr; a conda package is made for any prefix. The differences are handled here:

- Libraries move from `lib/<triplet>` to `lib`, and every ELF file gets a DT_RPATH relative to itself. DT_RPATH rather
  than the newer DT_RUNPATH, because the executable's DT_RPATH also serves the extensions it loads: that is how
  the wheels' modules find libstdc++ in the prefix without being touched.
- Debian's python looks for modules in `dist-packages`, with that `site` frozen into the binary. See `SITECUSTOMIZE`.
- Paths written into text files (sysconfig's data, the Makefile, scripts) become the placeholder.
"""

import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections import namedtuple

from common import PYTHON_MINOR, TARGETS, Problem, run, sha256_bytes
from condapkg import PLACEHOLDER, Entry, Package
import elf

# name: of the conda package. debs: what it is made of. sonames: the libraries others may ask for.
# keep: further (pattern, replacement) rules for files, beside the shared libraries. noarch: the same for all targets.
Spec = namedtuple("Spec", "name debs license sonames keep noarch", defaults=((), (), False))

PROGRAMS = (r"(?:usr/)?bin/(.+)", r"bin/\1")

SPECS = [
    Spec("libgcc", ["libgcc-s1"], "GPL-3.0-only WITH GCC-exception-3.1", ["libgcc_s.so.1"]),
    Spec("libstdcxx", ["libstdc++6"], "GPL-3.0-only WITH GCC-exception-3.1", ["libstdc++.so.6"]),
    Spec("libgomp", ["libgomp1"], "GPL-3.0-only WITH GCC-exception-3.1", ["libgomp.so.1"]),
    Spec("libzlib", ["zlib1g"], "Zlib", ["libz.so.1"]),
    Spec("bzip2", ["libbz2-1.0", "bzip2"], "bzip2-1.0.6", ["libbz2.so.1.0"], [PROGRAMS]),
    Spec("liblzma", ["liblzma5"], "0BSD", ["liblzma.so.5"]),
    Spec("xz", ["xz-utils"], "0BSD AND LGPL-2.1-or-later AND GPL-2.0-or-later", [], [PROGRAMS]),
    Spec("libffi", ["libffi8"], "MIT", ["libffi.so.8"]),
    Spec("libexpat", ["libexpat1"], "MIT", ["libexpat.so.1"]),
    Spec("libuuid", ["libuuid1"], "BSD-3-Clause", ["libuuid.so.1"]),
    Spec("libxcrypt", ["libcrypt1"], "LGPL-2.1-or-later", ["libcrypt.so.1"]),
    Spec("ncurses", ["libtinfo6", "libncursesw6", "ncurses-base"], "X11",
         ["libtinfo.so.6", "libncursesw.so.6", "libpanelw.so.6"],
         [(r"lib/(terminfo/.+)", r"share/\1"), (r"usr/(share/tabset/.+)", r"\1")]),
    Spec("readline", ["libreadline8"], "GPL-3.0-or-later", ["libreadline.so.8"]),
    Spec("libsqlite", ["libsqlite3-0"], "blessing", ["libsqlite3.so.0"]),
    Spec("sqlite", ["sqlite3"], "blessing", [], [PROGRAMS]),
    Spec("openssl", ["libssl3", "openssl"], "Apache-2.0", ["libssl.so.3", "libcrypto.so.3"], [PROGRAMS]),
    Spec("tini", ["tini"], "MIT", [], [PROGRAMS]),
    Spec("tzdata", ["tzdata"], "LicenseRef-Public-Domain", [],
         # posix/ repeats everything; right/ counts leap seconds; localtime is the machine's.
         [(r"usr/(share/zoneinfo/(?!posix/|right/|localtime$|posixrules$).+)", r"\1")], True),
    Spec("ca-certificates", ["ca-certificates"], "MPL-2.0", [], [], True),
    Spec("python", [f"python{PYTHON_MINOR}", f"python{PYTHON_MINOR}-minimal", f"libpython{PYTHON_MINOR}-minimal",
                    f"libpython{PYTHON_MINOR}-stdlib", f"libpython{PYTHON_MINOR}-dev"], "PSF-2.0"),
]

SONAMES = {soname: spec.name for spec in SPECS for soname in spec.sonames}

# What the C library brings; the virtual package __glibc stands for it.
GLIBC = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2",
         "libnsl.so.1", "libanl.so.1", "libmvec.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}

SHARED_LIBRARY = (r"(?:usr/)?lib/[a-z0-9_]+-linux-gnu/(.+\.so(?:\.[0-9.]+)?)", r"lib/\1")

ABI = f"cp{PYTHON_MINOR.replace('.', '')}"
LIB = f"lib/python{PYTHON_MINOR}"


def needed():
    """The .debs the channel needs."""
    return [deb for spec in SPECS for deb in spec.debs]


def conda_version(name, version):
    """Debian's version without its epoch, revision and repacking marks: 1:1.2.13.dfsg-1 is 1.2.13."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*[a-z]?)(?![a-z])", version)
    if not found:
        raise Problem(f"{name}: no idea how to write Debian's version {version} for conda")
    return found.group(1)


def versions(pins):
    """The versions of this module's conda packages, by name; the same for every target."""
    found = {}
    by_name = {pin["name"]: pin["version"] for pin in pins["debs"]["amd64"]}
    for spec in SPECS:
        found[spec.name] = conda_version(spec.name, by_name[spec.debs[0]])
    found["python_abi"] = PYTHON_MINOR
    return found


def library_depends(names, own, version_of, what):
    """Conda requirements for the libraries that ELF files ask for (`names`), except those in `own`."""
    depends = set()
    for soname in sorted(set(names) - GLIBC - set(own)):
        if soname not in SONAMES:
            raise Problem(f"{what} needs {soname}, which no package of the channel has. Add its .deb to SPECS in "
                          "debs.py, or drop what needs it.")
        name = SONAMES[soname]
        version = version_of[name]
        major = version.split(".")[0]
        if name in ("libgcc", "libstdcxx", "libgomp"):
            depends.add(f"{name} >={major}")
        else:
            depends.add(f"{name} >={version},<{int(major) + 1}.0a0")
    return sorted(depends)


def read_deb(path):
    """The files of a .deb: ({path: (data, link, executable)}, newest modification time). Hard links become copies."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE) as process:
        data = process.stdout.read()
    if process.returncode != 0:
        raise Problem(f"dpkg-deb cannot read {path}; remove it, it will be downloaded again")
    files, newest = {}, 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            name = member.name[2:] if member.name.startswith("./") else member.name
            newest = max(newest, int(member.mtime))
            if member.issym():
                files[name] = (b"", member.linkname, False)
            elif member.isfile() or member.islnk():
                files[name] = (tar.extractfile(member).read(), None, bool(member.mode & 0o100))
    return files, newest


def glibc_of(path):
    """The glibc a .deb asks for, as a version tuple."""
    found = re.search(r"libc6 \(>= ([0-9.]+)\)", run(["dpkg-deb", "-f", path, "Depends"]).decode())
    return tuple(map(int, found.group(1).split("."))) if found else (0,)


def build(spec, subdir, out, pins, patchelf):
    """The conda package of one Spec for one target."""
    arch = TARGETS[subdir if subdir != "noarch" else "linux-64"]["deb"]
    by_name = {pin["name"]: pin for pin in pins["debs"][arch]}
    version_of = versions(pins)
    files, licenses, newest, glibc = {}, {}, 0, (0,)
    for deb in spec.debs:
        path = out.download(by_name[deb])
        content, time = read_deb(path)
        newest, glibc = max(newest, time), max(glibc, glibc_of(path))
        copyright_file = content.get(f"usr/share/doc/{deb}/copyright", (b"", None, False))
        if copyright_file[0]:
            licenses[f"{deb}.txt"] = copyright_file[0]
        files.update(content)

    if spec.name == "python":
        entries = python_entries(files, TARGETS[subdir]["triplet"])
    elif spec.name == "ca-certificates":
        entries = certificate_entries(files)
    else:
        entries = kept_entries(files, [SHARED_LIBRARY, *spec.keep])
    depends = []
    if not spec.noarch:
        asked = [name for entry in entries if elf.is_elf(entry.data) for name in elf.needed(entry.data)]
        own = {os.path.basename(entry.path) for entry in entries}
        lacking = set(spec.sonames) - own
        if lacking:
            raise Problem(f"{spec.name}: {', '.join(sorted(lacking))} is not in {', '.join(spec.debs)} any more")
        depends = [f"__glibc >={'.'.join(map(str, glibc))},<3.0.a0",
                   *library_depends(asked, own, version_of, spec.name)]
        for entry in entries:
            if elf.is_elf(entry.data) and elf.is_dynamic(entry.data):
                entry.data = with_rpath(entry, patchelf)

    version = version_of[spec.name]
    digest = sha256_bytes("".join(by_name[deb]["sha256"] for deb in spec.debs).encode())[:7]
    package = Package(spec.name, version, f"h{digest}_0", subdir, depends, entries, spec.license, newest,
                      licenses=licenses,
                      about={"summary": f"Debian's {spec.debs[0]}, for conda prefixes",
                             "license_file": sorted(licenses),
                             "extra": {"debs": [by_name[deb]["file"] for deb in spec.debs]}})
    if spec.noarch:
        package.noarch = "generic"
    if spec.name == "openssl":
        package.depends.append("ca-certificates")
    if spec.name == "python":
        package.build = f"h{digest}_0_cpython"
        package.depends.append("tzdata")
        package.constrains = [f"python_abi {PYTHON_MINOR}.* *_{ABI}"]
        package.index["python_site_packages_path"] = f"{LIB}/site-packages"
    return package


def build_python_abi(timestamp):
    """The metapackage that compiled packages depend on to be tied to one minor version."""
    return Package("python_abi", PYTHON_MINOR, f"2_{ABI}", "noarch", [], [], "BSD-3-Clause", timestamp, build_number=2,
                   constrains=[f"python {PYTHON_MINOR}.* *_cpython"], noarch="generic",
                   about={"summary": "Metapackage to select a Python ABI"})


def kept_entries(files, rules):
    entries = []
    for path in sorted(files):
        for pattern, replacement in rules:
            if re.fullmatch(pattern, path):
                data, link, executable = files[path]
                entries.append(Entry(re.sub(pattern + r"\Z", replacement, path), data, link, executable))
                break
    return entries


def with_rpath(entry, patchelf):
    """The ELF file with a DT_RPATH from where it lies to the prefix's lib."""
    up = os.path.relpath("lib", os.path.dirname(entry.path))
    rpath = "$ORIGIN" if up == "." else f"$ORIGIN/{up}"
    if entry.path == f"bin/python{PYTHON_MINOR}":
        # Python gets its prefix's absolute path, too: a real placeholder in a real binary, for installers to replace.
        rpath = f"{PLACEHOLDER}/lib:{rpath}"
    return patched(entry.data, rpath, patchelf)


def patched(data, rpath, patchelf):
    """The ELF file with this DT_RPATH."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(data)
        file.flush()
        run([patchelf, "--force-rpath", "--set-rpath", rpath, file.name])
        with open(file.name, "rb") as result:
            return result.read()


def certificate_entries(files):
    """One bundle, as OpenSSL and Python read it, and scripts that point them to it."""
    bundle = b"".join(files[path][0].rstrip(b"\n") + b"\n" for path in sorted(files)
                      if path.startswith("usr/share/ca-certificates/") and path.endswith(".crt"))
    return [Entry("ssl/cacert.pem", bundle),
            Entry("ssl/cert.pem", link="cacert.pem"),
            Entry("etc/conda/activate.d/ca-certificates_activate.sh", ACTIVATE.encode()),
            Entry("etc/conda/deactivate.d/ca-certificates_deactivate.sh", DEACTIVATE.encode())]


ACTIVATE = """\
# Debian's OpenSSL looks for certificates below /usr/lib/ssl only; this environment brings its own.
if [ -z "${SSL_CERT_FILE:-}" ]; then
    export SSL_CERT_FILE="${CONDA_PREFIX}/ssl/cacert.pem"
    export _CONDA_SET_SSL_CERT_FILE=1
fi
"""

DEACTIVATE = """\
if [ "${_CONDA_SET_SSL_CERT_FILE:-}" = 1 ]; then
    unset SSL_CERT_FILE _CONDA_SET_SSL_CERT_FILE
fi
"""

# Left out of Python: its own tests, what Debian replaced or cut down (setuptools brings a whole distutils), static
# archives, and two modules whose libraries (Berkeley DB, NIS) nothing else would need.
PYTHON_DROPPED = re.compile(
    r"(test|distutils|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data/__pycache__)/.*"
    r"|EXTERNALLY-MANAGED|_distutils_system_mod\.py|sitecustomize\.py|turtle\.py"
    r"|config-[^/]+/.*\.(a|o)"
    r"|lib-dynload/(_dbm|nis|ossaudiodev|xxlimited|xxlimited_35|_ctypes_test|_xxtestfuzz|_test\w+)\..*")

SITECUSTOMIZE = '''\
"""Make this prefix's site-packages a place to import from.

The interpreter was built by Debian, whose `site` module (frozen into the binary, so that editing site.py would not
change it) knows only dist-packages. In a virtual environment made from this prefix, that `site` does the right thing.
"""

import site
import sys


def getsitepackages(prefixes=None):
    """Returns a list containing all global site-packages directories."""
    version = "python%d.%d" % sys.version_info[:2]
    found = []
    for prefix in site.PREFIXES if prefixes is None else prefixes:
        path = f"{prefix}/lib/{version}/site-packages"
        if prefix and path not in found:
            found.append(path)
    return found


if sys.prefix == sys.base_prefix:
    site.getsitepackages = getsitepackages
    for path in getsitepackages():
        site.addsitedir(path)
'''

# Debian's choice of install scheme, and the one for a prefix.
SYSCONFIG_DEBIAN = """\
        # default to /usr for package builds, /usr/local otherwise
        deb_build = os.environ.get('DEB_PYTHON_INSTALL_LAYOUT', 'posix_local')
        if deb_build in ('deb', 'deb_system'):
            prefix_scheme = 'deb_system'
        else:
            prefix_scheme = 'posix_local'
"""
SYSCONFIG_PREFIX = """\
        prefix_scheme = 'posix_prefix'
"""


def python_entries(files, triplet):
    """Python's files as they lie in a prefix."""
    chosen = {}
    for path, content in files.items():
        if path.startswith(f"usr/{LIB}/"):
            if not PYTHON_DROPPED.fullmatch(path[len(f"usr/{LIB}/"):]):
                chosen[path[len("usr/"):]] = content
        elif path.startswith(f"usr/include/{triplet}/"):
            pass  # below: it takes the place of a header that chooses by architecture
        elif path.startswith(f"usr/include/python{PYTHON_MINOR}/"):
            chosen[path[len("usr/"):]] = content
        elif path in (f"usr/bin/python{PYTHON_MINOR}", f"usr/bin/pydoc{PYTHON_MINOR}"):
            chosen[path[len("usr/"):]] = content
        elif path == f"usr/bin/{triplet}-python{PYTHON_MINOR}-config":
            chosen[f"bin/python{PYTHON_MINOR}-config"] = content
        elif path.startswith(f"usr/lib/{triplet}/pkgconfig/python-{PYTHON_MINOR}") and content[1] is None:
            chosen[f"lib/pkgconfig/{os.path.basename(path)}"] = content
    header = f"include/python{PYTHON_MINOR}/pyconfig.h"
    chosen[header] = files[f"usr/include/{triplet}/python{PYTHON_MINOR}/pyconfig.h"]

    sysconfig = chosen[f"{LIB}/sysconfig.py"][0].decode()
    if SYSCONFIG_DEBIAN not in sysconfig:
        raise Problem("Debian's sysconfig.py has changed; adapt SYSCONFIG_DEBIAN in debs.py to it")
    chosen[f"{LIB}/sysconfig.py"] = (sysconfig.replace(SYSCONFIG_DEBIAN, SYSCONFIG_PREFIX).encode(), None, False)
    chosen[f"{LIB}/sitecustomize.py"] = (SITECUSTOMIZE.encode(), None, False)
    chosen[f"{LIB}/site-packages/README.txt"] = (b"This directory exists so that modules can be installed here.\n",
                                                 None, False)
    for link, target in (("python", f"python{PYTHON_MINOR}"), ("python3", f"python{PYTHON_MINOR}"),
                         ("pydoc", f"pydoc{PYTHON_MINOR}"), ("pydoc3", f"pydoc{PYTHON_MINOR}"),
                         ("python-config", f"python{PYTHON_MINOR}-config"),
                         ("python3-config", f"python{PYTHON_MINOR}-config")):
        chosen[f"bin/{link}"] = (b"", target, False)

    entries = []
    for path, (data, link, executable) in chosen.items():
        if link is None and names_its_prefix(path):
            data = with_placeholder(data.decode(), triplet).encode()
        entries.append(Entry(path, data, link, executable))
    return entries


def names_its_prefix(path):
    """Whether the file, Debian's as upstream's, has the prefix it was configured for written into it."""
    return (re.search(r"/_sysconfigdata_|/config-[^/]+/Makefile$|^lib/pkgconfig/", path) is not None
            or path in (f"bin/python{PYTHON_MINOR}-config", f"bin/pydoc{PYTHON_MINOR}"))


def with_placeholder(text, triplet):
    """Replace Debian's prefix, /usr, where it means the prefix and not the machine's own programs or headers."""
    if text.startswith(f"#! /usr/bin/python{PYTHON_MINOR}") or text.startswith(f"#!/usr/bin/python{PYTHON_MINOR}"):
        return re.sub(r"^#! ?/usr", f"#!{PLACEHOLDER}", text)
    text = text.replace(f"/usr/lib/{triplet}", "/usr/lib")
    return re.sub(r"(?<![\w.])/usr(?=/lib|/share|/include(?!/(?:tirpc|tcl|uuid))|/bin['\"\s]|['\"\s])",
                  PLACEHOLDER, text)
