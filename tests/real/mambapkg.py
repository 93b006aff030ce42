"""The conda package `micromamba`: a stand-in for it, of rattler, Debian's Python and the program in micromamba/.

Images are given their packages by micromamba, which conda-forge has and neither Debian nor PyPI. What uses it here (the
command line, `.tar.bz2`, nothing needed of the machine but its C library and a shell) finds the same:

    bin/micromamba                      a shell script that runs what is below, wherever it lies
    lib/micromamba/{bin,lib}/           Python, a library's worth of it, and the shared libraries it loads
    lib/micromamba/app/                 the program, py-rattler, PyYAML
"""

import os
import re
import zipfile

from common import HERE, PYTHON_MINOR, TARGETS, Problem, sha256_bytes
from condapkg import Entry, Package
import debs
import elf

PROGRAM = HERE / "micromamba"
HOME = "lib/micromamba"

DEBS = [f"python{PYTHON_MINOR}-minimal", f"libpython{PYTHON_MINOR}-minimal", f"libpython{PYTHON_MINOR}-stdlib",
        "zlib1g", "libexpat1", "libgcc-s1"]

# What pip resolves them of, without what they need: of these two, nothing.
WHEELS = ["py-rattler", "PyYAML"]

# The standard library's parts that nothing here imports: tests, build tools, user interfaces, servers, and the
# modules whose libraries are not brought.
STDLIB_DROPPED = re.compile(
    r"(test|unittest|distutils|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|venv|wsgiref|xml|xmlrpc|html"
    r"|http|email|sqlite3|curses|dbm|multiprocessing|tomllib|zoneinfo|cgi-bin|config-[^/]+)/.*"
    r"|encodings/(?!(__init__|aliases|ascii|cp437|idna|latin_1|punycode|raw_unicode_escape|unicode_escape|utf_8)\.py).*"
    r"|lib-dynload/(?!(_asyncio|_contextvars|_json|_queue|_typing|resource|termios)\.).*"
    r"|(_pydecimal|_pyio|_sysconfigdata_\w*|aifc|audioop|bdb|cgi|chunk|difflib|doctest|ftplib|imaplib|imghdr|mailbox"
    r"|mailcap|nntplib|optparse|pdb|pickletools|pipes|plistlib|poplib|profile|pstats|pyclbr|pydoc|sitecustomize"
    r"|smtpd|smtplib|sndhdr|ssl|sunau|tabnanny|tarfile|telnetlib|this|timeit|trace|turtle|wave|webbrowser|xdrlib"
    r"|[^/]*sysconfigdata[^/]*|[^/]*\.txt|EXTERNALLY-MANAGED)(\.py)?")

# rattler's records of how it was made.
WHEEL_DROPPED = re.compile(r"[^/]+\.dist-info/.*|_yaml/.*|.*\.pyi|rattler/py\.typed")


def sources():
    """The files, as paths from here, that decide what the package is."""
    return ["mambapkg.py", *sorted(f"micromamba/{path.name}" for path in PROGRAM.iterdir() if path.is_file())]


def build(subdir, out, pins, patchelf):
    """The package for one target."""
    target = TARGETS[subdir]
    by_name = {pin["name"]: pin for pin in pins["debs"][target["deb"]]}
    files, licenses, newest, glibc = {}, {}, 0, (0,)
    for deb in DEBS:
        path = out.download(by_name[deb])
        content, time = debs.read_deb(path)
        newest, glibc = max(newest, time), max(glibc, debs.glibc_of(path))
        if f"usr/share/doc/{deb}/copyright" in content and content[f"usr/share/doc/{deb}/copyright"][0]:
            licenses[f"{deb}.txt"] = content[f"usr/share/doc/{deb}/copyright"][0]
        files.update(content)
    wheels = [pin for pin in pins["micromamba"] if pin["subdir"] == subdir]
    entries = [*python_entries(files, patchelf), *program_entries()]
    for pin in wheels:
        entries += wheel_entries(out.download(pin), licenses)
    check_libraries(entries, subdir)
    digest = sha256_bytes("".join([by_name[deb]["sha256"] for deb in DEBS] + [pin["sha256"] for pin in wheels]
                                  + [sha256_bytes((HERE / name).read_bytes()) for name in sources()]).encode())[:7]
    rattler = next(pin for pin in wheels if pin["name"] == "py-rattler")
    return Package("micromamba", rattler["version"], f"h{digest}_0", subdir,
                   [f"__glibc >={'.'.join(map(str, glibc))},<3.0.a0"], entries,
                   "BSD-3-Clause AND MIT AND PSF-2.0 AND Zlib AND GPL-3.0-only WITH GCC-exception-3.1", newest,
                   licenses=licenses, archive=".tar.bz2",
                   about={"summary": "A stand-in for micromamba, with rattler inside", "license_file": sorted(licenses),
                          "extra": {"debs": [by_name[deb]["file"] for deb in DEBS],
                                    "wheels": [pin["file"] for pin in wheels]}})


def python_entries(files, patchelf):
    """Debian's Python, cut down, finding its shared libraries beside itself."""
    python = files[f"usr/bin/python{PYTHON_MINOR}"][0]
    # Its DT_RPATH serves the modules that it loads, too.
    entries = [Entry(f"{HOME}/bin/python{PYTHON_MINOR}", debs.patched(python, "$ORIGIN/../lib", patchelf),
                     executable=True)]
    for path, (data, link, _) in sorted(files.items()):
        library = re.fullmatch(debs.SHARED_LIBRARY[0], path)
        if path.startswith(f"usr/{debs.LIB}/"):
            if not STDLIB_DROPPED.fullmatch(path[len(f"usr/{debs.LIB}/"):]) and link is None:
                entries.append(Entry(f"{HOME}/{path[len('usr/'):]}", data))
        elif library and "/" not in library.group(1):
            entries.append(Entry(f"{HOME}/lib/{library.group(1)}", data, link))
    return entries


def program_entries():
    """The program of this folder."""
    entries = []
    for path in sorted(PROGRAM.iterdir()):
        if path.suffix == ".py":
            entries.append(Entry(f"{HOME}/app/{path.name}", path.read_bytes()))
    return [*entries, Entry("bin/micromamba", (PROGRAM / "bin-micromamba.sh").read_bytes(), executable=True)]


def wheel_entries(path, licenses):
    """A wheel's modules, and its licences among the others."""
    entries = []
    with zipfile.ZipFile(path) as wheel:
        for info in wheel.infolist():
            if info.is_dir():
                continue
            found = re.match(r"([^/]+)-[^/]+\.dist-info/(?:licenses/)?((?:LICEN[SC]E|COPYING)[^/]*)$", info.filename)
            if found:
                licenses[f"{found.group(1)}.txt"] = wheel.read(info)
            if not WHEEL_DROPPED.fullmatch(info.filename):
                entries.append(Entry(f"{HOME}/app/{info.filename}", wheel.read(info)))
    return entries


def check_libraries(entries, subdir):
    """Every library that is asked for is the C library's or brought along."""
    own = {os.path.basename(entry.path) for entry in entries}
    for entry in entries:
        if elf.is_elf(entry.data):
            lacking = set(elf.needed(entry.data)) - debs.GLIBC - own
            if lacking:
                raise Problem(f"micromamba for {subdir}: {entry.path} needs {', '.join(sorted(lacking))}. Add its .deb "
                              "to DEBS in mambapkg.py, or drop what needs it.")
