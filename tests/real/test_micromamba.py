#!/usr/bin/env python3
"""Tests of the stand-in for micromamba, as it comes out of the channel that make.py made.

    ESKER_REAL=DIR python3 tests/real/test_micromamba.py [Made|Native|Foreign]

DIR is make.py's output. `Foreign` uses the other target's package under qemu, with the C library of the base system.
A test that cannot run here prints `SKIPPED` and why.
"""

import functools
import hashlib
import http.server
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import common  # noqa: E402
import condapkg  # noqa: E402
import mambapkg  # noqa: E402

REAL = Path(os.environ["ESKER_REAL"]).resolve()
NATIVE, FOREIGN = sorted(common.TARGETS, key=lambda subdir: common.TARGETS[subdir]["machine"] != platform.machine())
LOADERS = {"linux-64": "lib64/ld-linux-x86-64.so.2", "linux-aarch64": "lib/ld-linux-aarch64.so.1"}

ENVIRONMENT = """\
name: tried
channels: [{channel}, nodefaults]
dependencies:
  - python=3.11
  - six
  - pip:
      - ./tiny_wheel-1.0-py3-none-any.whl
"""


def package_of(subdir):
    return next((REAL / "channel" / subdir).glob("micromamba-*.tar.bz2"))


def records_of(subdir):
    """{URL path: record} of the channel's packages that a target can have."""
    found = {}
    for part in (subdir, "noarch"):
        repodata = json.loads((REAL / "channel" / part / "repodata.json").read_text())
        for file, record in [*repodata["packages"].items(), *repodata["packages.conda"].items()]:
            found[f"/{part}/{file}"] = record
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # rattler asks for many packages at once; who is turned away waits a second


class Made(unittest.TestCase):
    def test_the_same_bytes_again(self):
        out = common.Out(REAL)
        _, patchelf = common.ensure_tools(out)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / NATIVE).mkdir()
            package = mambapkg.build(NATIVE, out, common.load_pins(), patchelf)
            file, record = condapkg.write_package(package, Path(folder))
            self.assertEqual(file, package_of(NATIVE).name)
            self.assertEqual(record["sha256"], common.sha256_file(package_of(NATIVE)))
            self.assertEqual(record, records_of(NATIVE)[f"/{NATIVE}/{file}"])


class Unpacked:
    """The channel on loopback, the package unpacked in a folder of its own, and a root prefix beside it."""

    subdir = NATIVE
    variables = {}

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = Path(cls.temporary.name)
        shutil.unpack_archive(package_of(cls.subdir), cls.folder / "any where")
        os.symlink("any where/bin/micromamba", cls.folder / "link")
        handler = functools.partial(Quiet, directory=REAL / "channel")
        server = Server(("127.0.0.1", 0), handler)
        cls.addClassCleanup(server.server_close)
        cls.addClassCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cls.channel = f"http://127.0.0.1:{server.server_port}"
        cls.root = cls.folder / "root"

    def ran(self, *words, program=None, **variables):
        """A finished run, in an environment that has nothing of ours."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "MAMBA_ROOT_PREFIX": str(self.root),
                       "PIP_NO_INDEX": "1", **self.variables, **variables}
        return subprocess.run([program or self.folder / "link", *words], env=environment, cwd=self.folder, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)

    def ok(self, *words, **more):
        done = self.ran(*words, **more)
        self.assertEqual(done.returncode, 0, f"{words}\n{done.stdout}{done.stderr}")
        return done.stdout

    def refused(self, *words, **more):
        """What it says when it refuses."""
        done = self.ran(*words, **more)
        self.assertEqual(done.returncode, 1, f"{words}\n{done.stdout}{done.stderr}")
        self.assertRegex(done.stderr, r"(?m)^error    \S")
        return done.stderr

    def installed(self, prefix):
        """The paths, in the channel, of what conda-meta has."""
        listed = json.loads(self.ok("list", "--prefix", prefix, "--json"))
        return sorted(urlsplit(package["url"]).path for package in listed)

    def solved(self):
        """A prefix of an environment.yml, once for all tests."""
        prefix = self.root / "envs/tried"
        if not prefix.exists():
            (self.folder / "env").mkdir()
            tiny_wheel(self.folder / "env/tiny_wheel-1.0-py3-none-any.whl")
            file = self.folder / "env/environment.yml"
            file.write_text(ENVIRONMENT.format(channel=self.channel))
            self.ok("create", "--yes", "--quiet", "--no-pyc", "--file", file)
        return prefix

    def lock(self, prefix, name="explicit.lock", change=lambda checksum: checksum):
        """An explicit lock of what a prefix has, but for pip, with md5s and sha256s by turns."""
        records = records_of(self.subdir)
        lines = ["# a comment", f"# platform: {self.subdir}", "@EXPLICIT"]
        for number, path in enumerate(without_pip(self.installed(prefix))):
            record = records[path]
            checksum = [record["md5"], record["sha256"], f"sha256:{record['sha256']}"][number % 3]
            lines.append(f"{self.channel}{path}#{change(checksum)}")
        (self.folder / name).write_text("\n".join(lines) + "\n")
        return self.folder / name

    def python(self, prefix, code):
        return self.ok("-c", code, program=prefix / "bin/python").strip()

    def check_environment_and_lock(self):
        solved = self.solved()
        self.assertEqual(self.python(solved, "import tiny_wheel; print(tiny_wheel.NAME)"), "tiny")
        locked = self.folder / "locked"
        self.ok("create", "-y", "-p", locked, "-f", self.lock(solved), CONDA_ALWAYS_COPY="true")
        self.assertEqual(self.installed(locked), without_pip(self.installed(solved)))
        found = self.python(locked, "import platform, six, ssl, sys; print(sys.prefix, platform.machine())")
        self.assertEqual(found, f"{locked} {common.TARGETS[self.subdir]['machine']}")
        # noarch modules are compiled, no others are, and the program leaves nothing beside itself.
        compiled = {path.name.split(".")[0] for path in (locked / "lib/python3.11/site-packages").rglob("six*.pyc")}
        self.assertEqual(compiled, {"six"})
        self.assertEqual([*solved.rglob("six*.pyc"), *(self.folder / "any where").rglob("*.pyc")], [])
        library = locked / "lib/libz.so.1.2.13"
        self.assertEqual(library.stat().st_nlink, 1)
        self.assertGreater((solved / "lib/libz.so.1.2.13").stat().st_nlink, 1)


def without_pip(paths):
    """The packages but for pip, whose modules take minutes to compile under qemu."""
    return [path for path in paths if not path.startswith("/noarch/pip-")]


def tiny_wheel(path):
    """The least that pip installs."""
    info = "tiny_wheel-1.0.dist-info"
    files = {"tiny_wheel.py": "NAME = 'tiny'\n",
             f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.0\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)


class Native(Unpacked, unittest.TestCase):
    def test_environment_and_lock(self):
        self.check_environment_and_lock()

    def test_another_package_than_locked_is_refused(self):
        lock = self.lock(self.solved(), "wrong.lock", lambda one: one[:-1] + {"0": "1"}.get(one[-1], "0"))
        create = ["create", "-y", "-p", self.folder / "wrong", "-f", lock]
        told = self.refused(*create, CONDA_PKGS_DIRS=str(self.folder / "fresh"))
        self.assertIn("is not the package of the lock", told)
        self.assertFalse((self.folder / "wrong").exists())
        # A cache that has the right one makes no difference.
        self.assertIn("is not the package of the lock", self.refused(*create))

    def test_conda_lock(self):
        wheel = self.folder / "tiny_wheel-1.0-py3-none-any.whl"
        tiny_wheel(wheel)
        pip = {"name": "tiny-wheel", "manager": "pip", "platform": self.subdir, "url": wheel.as_uri(),
               "category": "main", "hash": {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}}
        other = {"name": "nothing", "manager": "conda", "platform": FOREIGN, "url": "http://127.0.0.1:1/x.conda"}
        records = records_of(self.subdir)
        packages = [{"name": records[path]["name"], "manager": "conda", "platform": self.subdir, "category": "main",
                     "url": self.channel + path, "hash": {kind: records[path][kind] for kind in ("md5", "sha256")}}
                    for path in self.installed(self.solved())]
        file = self.folder / "conda-lock.yml"
        # JSON is YAML.
        file.write_text(json.dumps({"version": 1, "package": [*packages, pip, other]}))
        self.ok("create", "-y", "-n", "of-lock", "-f", file)
        prefix = self.root / "envs/of-lock"
        self.assertEqual(self.python(prefix, "import six, tiny_wheel; print(six.__name__)"), "six")
        pip["hash"]["sha256"] = "0" * 64
        file.write_text(json.dumps({"version": 1, "package": [*packages, pip, other]}))
        self.assertIn("pip failed", self.refused("create", "-y", "-n", "of-lock", "-f", file))

    def test_install_keeps_what_is_there(self):
        prefix = self.folder / "small"
        self.ok("create", "-y", "-p", prefix, "-c", self.channel, "bzip2")
        self.assertIn("no channel", self.refused("install", "-y", "-p", prefix, "tini"))
        condarc = self.folder / "condarc"
        condarc.write_text(f"channels: [{self.channel}]\n")
        self.ok("install", "-y", "-p", prefix, "tini", CONDARC=str(condarc))
        names = [path.rsplit("/", 1)[1].split("-")[0] for path in self.installed(prefix)]
        self.assertEqual(names, ["bzip2", "tini"])
        told = self.refused("install", "-y", "-p", prefix, "-c", self.channel, "no-such-package=7")
        self.assertIn("No candidates were found for no-such-package", told)

    def test_run_has_the_prefix(self):
        prefix = self.solved()
        shown = ["sh", "-c", 'echo "$CONDA_PREFIX $A $PWD $0"', "--x"]
        told = self.ok("run", "-p", prefix, "--cwd", "/", "-e", "A=b", *shown).split()
        self.assertEqual(told, [str(prefix), "b", "/", "--x"])
        self.assertEqual(self.ok("run", "-n", "tried", "which", "python").strip(), f"{prefix}/bin/python")
        self.assertEqual(self.ran("run", "-p", prefix, "sh", "-c", "exit 7").returncode, 7)

    def test_the_root_prefix_has_it_too(self):
        root = self.folder / "srv"
        self.ok("create", "-y", "-r", root, "-p", root, "-c", self.channel, "micromamba")
        shutil.rmtree(root / "pkgs")
        version = self.ok("--version", program=root / "bin/micromamba").strip()
        self.assertEqual(version, package_of(self.subdir).name.split("-")[1])
        self.assertIn("overwriting the root prefix", self.refused("create", "-y", "-r", root, "-p", root))

    def test_clean_removes_the_cache(self):
        root = self.folder / "cleaned"
        self.ok("create", "-y", "-r", root, "-n", "one", "-c", self.channel, "tini")
        self.assertTrue((root / "pkgs").is_dir())
        self.assertIn("--yes", self.refused("clean", "--force-pkgs-dirs", MAMBA_ROOT_PREFIX=str(root)))
        self.ok("clean", "-a", "-y", MAMBA_ROOT_PREFIX=str(root))
        # What a prefix was made of stays, until all has to go.
        kept = sorted(path.name for path in (root / "pkgs").iterdir() if not path.name.startswith("."))
        self.assertEqual([name.split("-")[0] for name in kept if name != "CACHEDIR.TAG"], ["tini"], kept)
        self.ok("clean", "-afy", MAMBA_ROOT_PREFIX=str(root))
        self.assertFalse((root / "pkgs").exists())

    def test_what_it_does_not_know_it_refuses(self):
        self.assertIn("--sudo", self.refused("create", "--sudo", "-y", "-p", self.folder / "x"))
        self.assertIn("remove", self.refused("remove", "-y", "x"))
        self.assertIn("--root-prefix", self.refused("clean", "-a", "--root-prefix", self.root))
        self.assertIn("--yes", self.refused("create", "-p", self.folder / "x", "-c", self.channel, "tini"))
        self.assertIn("no prefix", self.refused("create", "-y", "tini"))
        self.assertIn("cannot be read", self.refused("create", "-y", "-p", self.folder / "x", "-f", "missing.lock"))
        (self.folder / "full").mkdir()
        (self.folder / "full/file").touch()
        self.assertIn("not empty", self.refused("create", "-y", "-p", self.folder / "full"))


class Foreign(Unpacked, unittest.TestCase):
    subdir = FOREIGN

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        target = common.TARGETS[FOREIGN]
        libraries = cls.folder / "libc"
        libraries.mkdir()
        common.run(["tar", "-xf", REAL / f"base/rootfs-{target['deb']}.tar", "-C", libraries, "lib",
                    f"usr/lib/{target['triplet']}"])
        loader = libraries / LOADERS[FOREIGN]
        loader.parent.mkdir(exist_ok=True)
        loader.symlink_to(libraries / "usr/lib" / target["triplet"] / loader.name)
        # qemu looks here for what programs ask for by absolute path.
        cls.variables = {"QEMU_LD_PREFIX": str(libraries)}

    def test_environment_and_lock(self):
        registered = Path(f"/proc/sys/fs/binfmt_misc/qemu-{common.TARGETS[FOREIGN]['machine']}")
        if self.ran("--version").returncode != 0 and not registered.exists():
            print(f"SKIPPED qemu is not registered for {FOREIGN}", flush=True)
        else:
            self.check_environment_and_lock()


if __name__ == "__main__":
    unittest.main(verbosity=2)
