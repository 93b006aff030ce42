"""The base system: Debian bookworm, as small as an image can start from, for amd64 and arm64.

mmdebstrap installs it from a local repository that holds nothing but the pinned .debs, so the result is pinned by
hash. The tar is then written again: in sorted order, with fixed owners and times, and without what belongs to a
running machine or to nobody (device nodes, caches, logs, back-up copies, package lists, documentation).

arm64's maintainer scripts run under qemu. They are not skipped: they make users, certificates and alternatives.
"""

import concurrent.futures
import gzip
import io
import json
import os
import platform
import re
import subprocess
import tarfile
import time
from datetime import datetime, timezone
from pathlib import Path

from common import EPOCH, PLAIN_ENV, SUITE, Problem, ensure_apt_packages, run, say, sha256_bytes, search_path

# What the kernel is told to hand to qemu: 64-bit little-endian ELF programs for aarch64.
QEMU = "/usr/bin/qemu-aarch64-static"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
BINFMT_RULE = (r":qemu-aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
               r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
               # F: the kernel opens qemu now, so that it is found inside a chroot, too.
               rf":{QEMU}:F")

# Paths (without the leading slash) that do not go into the base system, or only as empty directories.
DROPPED = re.compile(
    r"(dev|proc|sys|run|tmp|var/tmp)/.+"
    r"|var/log/.+|var/cache/(apt|ldconfig)/.+|var/lib/apt/lists/.+|var/cache/debconf/.+-old"
    r"|var/lib/dpkg/.+-old|etc/.+-|var/lib/systemd/.+"
    r"|usr/local/sbin/update-ca-certificates|etc/(hostname|resolv\.conf|machine-id)|var/lib/dbus/machine-id"
    r"|usr/share/(man|info|lintian|linda|locale)/.+"
    r"|usr/share/doc/.+/(?!copyright$)[^/]+|usr/share/doc/[^/]+/[^/]+/.*"
    # The list of the repository we installed from; whoever uses the image knows the mirror to use.
    r"|etc/apt/sources\.list"
    # mmdebstrap's own settings for this installation.
    r"|etc/(apt/apt\.conf|dpkg/dpkg\.cfg)\.d/99mmdebstrap")


def prepare():
    """Check for root and for the programs; install what is missing."""
    if os.geteuid() != 0:
        raise Problem("the base system is installed in a chroot, which takes root: run `make.py base` as root")
    if platform.machine() != "x86_64":
        raise Problem(f"the base system can be made on x86_64 machines only; this is {platform.machine()}")
    ensure_apt_packages({"mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg", "arch-test": "arch-test",
                         "qemu-aarch64-static": "qemu-user-static"})
    register_qemu()


def register_qemu():
    """Make the kernel run aarch64 programs with qemu, unless it does already."""
    if subprocess.run(["arch-test", "arm64"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                      check=False).returncode == 0:
        return
    say("base: registering qemu for aarch64 programs")
    try:
        if not (BINFMT / "register").exists():
            run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
        stale = BINFMT / "qemu-aarch64"
        if stale.exists():
            stale.write_text("-1")
        (BINFMT / "register").write_text(BINFMT_RULE)
        run(["arch-test", "arm64"])
    except (OSError, Problem) as problem:
        raise Problem(f"this machine cannot run aarch64 programs with qemu, which the arm64 base system needs: "
                      f"{problem}\nIn a container, binfmt_misc is its host's: register qemu there, for example "
                      "with Debian's packages qemu-user-static and binfmt-support.") from None


def make(out, pins, made):
    """Make both root file systems, then the OCI layout of them."""
    # Both at once: qemu keeps one core busy, and the other would be idle.
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        native = pool.submit(install, out, pins, "amd64")
        foreign = pool.submit(install, out, pins, "arm64", CERTIFICATES_LATER)
        roots = {"amd64": native.result(), "arm64": foreign.result()}
    roots["arm64"].update((name, member) for name, member in roots["amd64"].items()
                          if name.startswith("etc/ssl/certs/"))
    layers = {arch: write_tar(members, made / f"rootfs-{arch}.tar") for arch, members in roots.items()}
    write_oci(layers, made / "oci")


# update-ca-certificates starts thousands of short programs, which under qemu takes a minute: as long as all the rest.
# What it makes in /etc/ssl/certs is the same on every architecture, so for arm64 this stands in front of it (mmdebstrap
# runs the hook before it installs ca-certificates) and amd64's result is taken. DROPPED leaves the stand-in out.
STAND_IN = "usr/local/sbin/update-ca-certificates"
CERTIFICATES_LATER = [f'--essential-hook=printf "#!/bin/sh\\n" > "$1"/{STAND_IN}; chmod 755 "$1"/{STAND_IN}',
                      '--aptopt=DPkg::Path "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"']


def install(out, pins, arch, hooks=()):
    """Install one architecture; returns what goes into its tar: {path: (tar member, bytes)}."""
    start = time.monotonic()
    say(f"base: installing {arch}" + (" (under qemu: about two minutes)" if arch == "arm64" else ""))
    base = [pin for pin in pins["debs"][arch] if pin.get("base")]
    repository = write_repository(out, base, arch)
    raw = out.scratch(f"rootfs-{arch}") / "raw.tar"
    work = out.scratch(f"mmdebstrap-{arch}")
    run(["mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={arch}", "--format=tar", "--quiet",
         "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", *hooks,
         f"--include={','.join(pin['name'] for pin in base)}",
         "--dpkgopt=force-unsafe-io",
         "--aptopt=APT::Sandbox::User \"root\"",
         SUITE, raw, f"deb [trusted=yes] copy://{repository} ./"],
        env=dict(PLAIN_ENV, SOURCE_DATE_EPOCH=str(EPOCH), TMPDIR=str(work), PATH=search_path()))
    members = read_root(raw, base)
    raw.unlink()
    say(f"base: {arch} has {len(base)} packages, {time.monotonic() - start:.0f} s")
    return members


def write_repository(out, base, arch):
    """A flat apt repository of exactly the pinned .debs; its path stands in no file of the result."""
    repository = out.scratch(f"repository-{arch}")
    stanzas = []
    for pin in base:
        # A link costs nothing, and apt wants the files of a repository in one directory.
        name = f"{pin['sha256']}.deb"
        os.link(out.download(pin), repository / name)
        control = run(["dpkg-deb", "-f", repository / name]).decode().rstrip("\n")
        size = (repository / name).stat().st_size
        stanzas.append(f"{control}\nFilename: ./{name}\nSize: {size}\nSHA256: {pin['sha256']}\n")
    packages = "\n".join(stanzas).encode()
    (repository / "Packages").write_bytes(packages)
    # mmdebstrap asks apt for the essential packages of a suite; the suite's name comes from here.
    (repository / "Release").write_text(
        f"Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: {arch}\n"
        f"Date: {datetime.fromtimestamp(EPOCH, timezone.utc).strftime('%a, %d %b %Y %H:%M:%S UTC')}\n"
        f"SHA256:\n {sha256_bytes(packages)} {len(packages)} Packages\n")
    return repository


def read_root(raw, base):
    """What goes into the base system, from mmdebstrap's tar."""
    members = {}
    with tarfile.open(raw) as tar:
        for member in tar:
            name = member.name[2:] if member.name.startswith("./") else member.name
            if name in ("", "."):
                continue
            if DROPPED.fullmatch(name):
                continue
            members[name] = (member, tar.extractfile(member).read() if member.isfile() else b"")
    installed = {re.match(r"Package: (\S+)", stanza).group(1)
                 for stanza in members["var/lib/dpkg/status"][1].decode().strip().split("\n\n")
                 if "\nStatus: install ok installed\n" in stanza}
    pinned = {pin["name"] for pin in base}
    if installed != pinned:
        raise Problem("the base system is not what the pins say: "
                      f"missing {sorted(pinned - installed)}, extra {sorted(installed - pinned)}")
    members["etc/machine-id"] = (plain_file("etc/machine-id", 0o444), b"")
    comment = b"# No mirror is configured: add the one to use.\n"
    members["etc/apt/sources.list"] = (plain_file("etc/apt/sources.list", 0o644), comment)
    return members


def write_tar(members, path):
    """Write the root file system, the same every time; returns the tar's bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(members):
            member, data = members[name]
            member.name = name
            member.uname = member.gname = ""
            member.mtime = min(int(member.mtime), EPOCH)
            member.pax_headers = {}
            if member.islnk():
                member.linkname = re.sub(r"^\./", "", member.linkname)
            else:
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    data = buffer.getvalue()
    path.write_bytes(data)
    return data


def plain_file(name, mode):
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = mode, EPOCH
    return info


def write_oci(layers, oci):
    """An OCI layout with one index of both architectures, tagged `bookworm`."""
    blobs = oci / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data, media_type, **more):
        digest = sha256_bytes(data)
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def document(value, kind, **more):
        data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        return blob(data, f"application/vnd.oci.image.{kind}.v1+json", **more)

    created = datetime.fromtimestamp(EPOCH, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifests = []
    for arch, tar in layers.items():
        layer = blob(gzip.compress(tar, compresslevel=6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
        environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        config = document({"architecture": arch, "os": "linux", "created": created,
                           **({"variant": "v8"} if arch == "arm64" else {}),
                           "config": {"Env": environment, "Cmd": ["/bin/bash"]},
                           "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256_bytes(tar)}"]},
                           "history": [{"created": created, "created_by": "esker tests/real: Debian bookworm"}]},
                          "config")
        manifests.append(document({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                   "config": config, "layers": [layer]}, "manifest",
                                  platform={"architecture": arch, "os": "linux",
                                            **({"variant": "v8"} if arch == "arm64" else {})}))
    index = document({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                      "manifests": manifests}, "index", annotations={"org.opencontainers.image.ref.name": "bookworm"})
    (oci / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (oci / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [index]}, sort_keys=True))
