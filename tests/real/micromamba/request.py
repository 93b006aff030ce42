"""What is to be installed, read from files: explicit locks, conda-lock files, environment files, lists of specs."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from problem import Problem
from settings import mapping


@dataclass
class Pin:
    """A package of a lock."""
    url: str
    md5: str = None
    sha256: str = None

    @property
    def file(self):
        return unquote(urlsplit(self.url).path.rsplit("/", 1)[1])

    @property
    def channel(self):
        """The URL of the channel, which has SUBDIR/FILE below it."""
        return self.url.rsplit("/", 2)[0] + "/"


@dataclass
class Request:
    pins: list = field(default_factory=list)
    locked: bool = False  # whether pins are all there is, so that nothing is solved
    specs: list = field(default_factory=list)
    channels: list = field(default_factory=list)
    pip: list = field(default_factory=list)  # lines of a requirements file
    folder: Path = None  # what paths in those lines are relative to
    name: str = None


def read(files, specs, categories, subdir):
    """All that was asked for in files and words."""
    if len(files) == 1:
        request = read_file(Path(files[0]), categories, subdir)
        if request.locked and specs:
            raise Problem(f"`{files[0]}` is a lock, which says all that is to be installed; drop `{specs[0]}`")
    else:
        request = Request()
        for file in files:
            part = read_file(Path(file), categories, subdir)
            if part.locked or part.channels or part.pip:
                raise Problem(f"`{file}` cannot be one of several files; give it alone")
            request.specs += part.specs
    request.specs += specs
    return request


def read_file(path, categories, subdir):
    if path.name.endswith(("-lock.yml", "-lock.yaml")):
        return conda_lock(path, categories, subdir)
    if path.suffix in (".yml", ".yaml"):
        return environment(path)
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise Problem(f"`{path}` cannot be read: {error.strerror}") from None
    lines = [line for line in lines if line and not line.startswith("#")]
    if "@EXPLICIT" not in lines:
        return Request(specs=lines)
    return Request(pins=[pin(path, line) for line in lines if line != "@EXPLICIT"], locked=True)


def pin(path, line):
    """`URL`, `URL#md5`, `URL#sha256` or `URL#sha256:…`."""
    url, _, checksum = line.partition("#")
    kind, colon, digits = checksum.rpartition(":")
    if "://" not in url or not url.endswith((".conda", ".tar.bz2")):
        raise Problem(f"{path}: `{line}` is no URL of a package")
    if not checksum:
        return Pin(url)
    if colon and kind not in ("md5", "sha256") or not re.fullmatch("[0-9a-fA-F]{32}|[0-9a-fA-F]{64}", digits):
        raise Problem(f"{path}: `{checksum}` is neither an md5 nor a sha256")
    return Pin(url, md5=digits.lower()) if len(digits) == 32 else Pin(url, sha256=digits.lower())


def conda_lock(path, categories, subdir):
    """A conda-lock file's packages for the running machine; those of pip come after, without what they depend on."""
    document = mapping(path)
    packages = document.get("package")
    if document.get("version") != 1 or not isinstance(packages, list):
        raise Problem(f"`{path}` is no conda-lock file of version 1")
    ours = [package for package in packages
            if package["platform"] == subdir and package.get("category", "main") in categories]
    if not ours:
        raise Problem(f"`{path}` has no packages of {' and '.join(categories)} for {subdir}")
    request = Request(locked=True, folder=path.absolute().parent)
    for package in ours:
        checksums = package.get("hash") or {}
        if package["manager"] == "conda":
            request.pins.append(Pin(package["url"], checksums.get("md5"), checksums.get("sha256")))
        elif package["manager"] == "pip":
            if "sha256" not in checksums:
                raise Problem(f"`{path}` has no sha256 of {package['name']}")
            request.pip.append(f"{package['name']} @ {package['url']}#sha256={checksums['sha256']}")
        else:
            raise Problem(f"`{path}`: {package['name']} is of `{package['manager']}`, which is neither conda nor pip")
    return request


def environment(path):
    document = mapping(path)
    dependencies = document.get("dependencies")
    if not isinstance(dependencies, list) or not dependencies:
        raise Problem(f"`{path}` has no `dependencies`")
    request = Request(channels=document.get("channels") or [], name=document.get("name"),
                      folder=path.absolute().parent)
    for dependency in dependencies:
        if isinstance(dependency, str):
            request.specs.append(dependency)
        elif isinstance(dependency, dict) and list(dependency) == ["pip"]:
            request.pip += dependency["pip"] or []
        else:
            raise Problem(f"`{path}`: `{dependency}` is neither a spec nor pip's part")
    if request.pip and not any(re.match(r"pip\b(?!-)", spec) for spec in request.specs):
        request.specs.append("pip")
    return request
