"""Downloads, each checked against its pin: .debs through apt, wheels through pip.

Both go through their ordinary clients and whatever mirror, proxy or certificate those are configured with on this
machine; this project names no server. A file is kept only when its sha256 is the pinned one.
"""

import itertools
import os
from pathlib import Path

from common import SUITE, TARGETS, PYTHON_MINOR, Problem, run, say, sha256_file

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# The wheels of a target may be tagged for any glibc up to the base system's own (bookworm: 2.36).
NEWEST_GLIBC_MINOR = 36


def find_mirror(given=None):
    """The Debian archive this machine's apt already uses."""
    if given:
        return given
    lines = run(["apt-get", "indextargets", "--no-release-info", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                 "Created-By: Packages"]).decode().split("\n")
    sources = [line.split() for line in lines if len(line.split()) == 3]
    main = [(uri, release) for uri, release, component in sources if component == "main"]
    for uri, release in main:
        if release == SUITE:
            return uri
    # Another Debian release's machine: the same archive carries our suite, too.
    for uri, release in main:
        if uri.rstrip("/").endswith("/debian") and "security" not in release:
            return uri
    raise Problem(f"apt on this machine has no Debian `main` source, so the archive to get {SUITE} from is unknown. "
                  "Name it: make.py … --mirror URI")


class Apt:
    """A private apt for one architecture: its own sources, lists and (empty) status; nothing of the machine changes."""

    def __init__(self, out, arch, mirror):
        if not KEYRING.exists():
            raise Problem(f"{KEYRING} is missing: apt-get install debian-archive-keyring")
        self.home = out.apt / arch
        for directory in ("state/lists/partial", "cache/archives/partial", "none"):
            (self.home / directory).mkdir(parents=True, exist_ok=True)
        (self.home / "status").touch()
        (self.home / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {SUITE} main\n")
        self.config = self.home / "apt.conf"
        self.config.write_text("\n".join([
            f'Dir::State "{self.home}/state";',
            f'Dir::State::status "{self.home}/status";',
            f'Dir::Cache "{self.home}/cache";',
            f'Dir::Etc::SourceList "{self.home}/sources.list";',
            f'Dir::Etc::SourceParts "{self.home}/none";',
            f'Dir::Etc::Preferences "{self.home}/preferences";',
            f'Dir::Etc::PreferencesParts "{self.home}/none";',
            f'APT::Architecture "{arch}";',
            f'APT::Architectures {{ "{arch}"; }};',
            'Acquire::Languages "none";',
            'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";',
            'Acquire::Retries "3";',
            # The output directory may be one that apt's own user cannot reach.
            f'APT::Sandbox::User "{"root" if os.geteuid() == 0 else ""}";',
            ""]))

    def get(self, *arguments, **options):
        return run(["apt-get", "-c", self.config, *arguments], **options)

    def cache(self, *arguments):
        return run(["apt-cache", "-c", self.config, *arguments])


def keep(out, pin, path):
    """Move a downloaded file to its place, if it is what the pin says."""
    found = sha256_file(path)
    if found != pin["sha256"]:
        raise Problem(f"{pin['file']}: sha256 is {found}, but {pin['sha256']} is pinned. The file was changed on the "
                      "way or at its source. If the change is meant, `make.py pin` refreshes the pins.")
    out.downloads.mkdir(parents=True, exist_ok=True)
    os.chmod(path, 0o644)
    os.replace(path, out.download(pin))


def fetch_debs(out, pins, arch, mirror=None):
    """Have every pinned .deb of one architecture in the downloads."""
    missing = [pin for pin in pins["debs"][arch] if not out.download(pin).exists()]
    if not missing:
        return
    say(f"download: {len(missing)} Debian packages for {arch}")
    apt = Apt(out, arch, find_mirror(mirror))
    apt.get("update")
    directory = out.scratch(f"debs-{arch}")
    try:
        apt.get("download", *(f"{pin['name']}={pin['version']}" for pin in missing), cwd=directory)
    except Problem as problem:
        raise Problem(f"{problem}\nIf a version is no longer in {SUITE} (a point release replaced it), "
                      "`make.py pin` moves the pins to the present ones.") from None
    got = {path.name.replace("%3a", ":"): path for path in directory.iterdir()}
    for pin in missing:
        architectures = [a for a in (arch, "all") if f"{pin['name']}_{pin['version']}_{a}.deb" in got]
        if not architectures:
            raise Problem(f"apt-get download brought no file for {pin['name']} {pin['version']} ({arch})")
        keep(out, pin, got[f"{pin['name']}_{pin['version']}_{architectures[0]}.deb"])


def platform_options(subdir):
    """pip's options that make it choose wheels for a target instead of for this machine."""
    machine = TARGETS[subdir]["machine"]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC_MINOR, 4, -1)]
    tags += [f"{old}_{machine}" for old in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    options = ["--only-binary=:all:", "--python-version", PYTHON_MINOR, "--implementation", "cp"]
    for abi in (f"cp{PYTHON_MINOR.replace('.', '')}", "abi3", "none"):
        options += ["--abi", abi]
    for tag in tags:
        options += ["--platform", tag]
    return options


def fetch_wheels(out, pins, python, group=20):
    """Have every pinned wheel in the downloads."""
    # One list after the other: a package may be in both, and pip takes no name twice.
    for purpose, subdir in itertools.product(("wheels", "micromamba"), ("noarch", *TARGETS)):
        missing = [pin for pin in pins[purpose] if pin["subdir"] == subdir and not out.download(pin).exists()]
        # In groups, so that an interrupted first run does not start from nothing.
        for start in range(0, len(missing), group):
            part = missing[start:start + group]
            say(f"download: wheels {start + 1}-{start + len(part)} of {len(missing)} for {subdir}")
            directory = out.scratch("wheels")
            wanted = directory / "requirements.txt"
            wanted.write_text("".join(f"{pin['name']}=={pin['version']} --hash=sha256:{pin['sha256']}\n"
                                      for pin in part))
            # A pure wheel is the same file whichever target asks for it.
            target = subdir if subdir in TARGETS else "linux-64"
            run([python, "-m", "pip", "download", "--no-deps", "--require-hashes", *platform_options(target),
                 "--dest", directory, "-r", wanted])
            for pin in part:
                if not (directory / pin["file"]).exists():
                    raise Problem(f"pip brought another file than {pin['file']} for {pin['name']} {pin['version']}")
                keep(out, pin, directory / pin["file"])
