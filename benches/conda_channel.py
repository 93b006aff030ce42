"""Conda channels for a benchmark: made of a snapshot of repodata, in two forms, and served on loopback.

`plain` has `repodata.json` and `repodata.json.zst`, `sharded` has `repodata_shards.msgpack.zst` and a file a name (CEP 16).

    conda_channel.py make SNAPSHOT FOLDER COPIES    prints the number of records
    conda_channel.py serve FOLDER                   prints the URL below which `plain` and `sharded` are, and serves
"""

import asyncio
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import msgpack
import zstandard

SUBDIRS = ["noarch", "linux-64", "linux-aarch64", "osx-64", "osx-arm64"]
FORMS = ["plain", "sharded"]
KINDS = ["packages", "packages.conda"]
MONTH = 30 * 24 * 3600 * 1000


def make(snapshot, folder, copies):
    """Writes the channel in both forms below `folder`, each record with `copies` older ones of the same name.

    Returns the number of records. A channel that is there is taken as it is.
    """
    done = folder / "records"
    if done.exists():
        return int(done.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    records = 0
    for subdir in SUBDIRS:
        with open(snapshot / subdir / "repodata.json.zst", "rb") as packed:
            repodata = json.load(zstandard.ZstdDecompressor().stream_reader(packed))
        for kind in KINDS:
            multiply(repodata[kind], copies)
            records += len(repodata[kind])
        write_plain(folder / "plain" / subdir, repodata)
        write_sharded(folder / "sharded" / subdir, repodata)
    done.write_text(str(records))
    return records


def multiply(records, copies):
    """Adds older records: lower build numbers as far as they go, then lower versions, each a month older."""
    for name, record in list(records.items()) if copies else []:
        suffix = ".conda" if name.endswith(".conda") else ".tar.bz2"
        made = 0
        for older in older_records(record):
            file_name = f"{older['name']}-{older['version']}-{older['build']}{suffix}"
            if file_name in records:
                continue
            made += 1
            older["md5"] = hashlib.md5(file_name.encode()).hexdigest()
            older["sha256"] = hashlib.sha256(file_name.encode()).hexdigest()
            if "timestamp" in record:
                older["timestamp"] = record["timestamp"] - made * MONTH
            records[file_name] = older
            if made == copies:
                break


def older_records(record):
    build, number = record["build"], record["build_number"]
    stem, underscore, last = build.rpartition("_")
    if last == str(number):
        for lower in range(number - 1, -1, -1):
            yield {**record, "build": f"{stem}{underscore}{lower}", "build_number": lower}
    for version in older_versions(record["version"]):
        yield {**record, "version": version}


def older_versions(version):
    """Counts the numbers of a version down, the last one fastest; below a zero comes 9 of the number before."""
    parts = re.split(r"(\d+)", version)
    while True:
        at = next((at for at in range(len(parts) - 2, 0, -2) if int(parts[at]) > 0), None)
        if at is None:
            return
        parts[at] = str(int(parts[at]) - 1)
        for after in range(at + 2, len(parts) - 1, 2):
            parts[after] = "9"
        yield "".join(parts)


def write_plain(folder, repodata):
    folder.mkdir(parents=True)
    for kind in KINDS:
        repodata[kind] = dict(sorted(repodata[kind].items()))
    content = json.dumps(repodata, separators=(",", ":")).encode()
    (folder / "repodata.json").write_bytes(content)
    (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor(level=3, threads=-1).compress(content))


def write_sharded(folder, repodata):
    (folder / "shards").mkdir(parents=True)
    by_name = {}
    for kind in KINDS:
        for name, record in repodata[kind].items():
            shard = by_name.setdefault(record["name"], {"packages": {}, "packages.conda": {}, "removed": []})
            shard[kind][name] = {**record, **{key: bytes.fromhex(record[key]) for key in ("md5", "sha256") if key in record}}
    shards = {}
    packer = zstandard.ZstdCompressor(level=3)
    for name, shard in by_name.items():
        content = packer.compress(msgpack.packb(shard))
        digest = hashlib.sha256(content)
        (folder / f"shards/{digest.hexdigest()}.msgpack.zst").write_bytes(content)
        shards[name] = digest.digest()
    info = {"subdir": repodata["info"]["subdir"], "base_url": "", "shards_base_url": "shards/"}
    index = packer.compress(msgpack.packb({"info": info, "shards": shards}))
    (folder / "repodata_shards.msgpack.zst").write_bytes(index)


async def serve(folder):
    """Serves `folder` with the caching headers that conda-forge's servers send."""
    server = await asyncio.start_server(lambda reader, writer: answer(folder, reader, writer), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def answer(folder, reader, writer):
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            path = folder / target.lstrip("/")
            found = path.is_file()
            size = path.stat().st_size if found else 0
            status = "200 OK" if found else "404 Not Found"
            headers = f"Content-Length: {size}\r\nETag: \"{size}\"\r\nCache-Control: public, max-age=1200\r\n"
            writer.write(f"HTTP/1.1 {status}\r\n{headers}\r\n".encode())
            if found and method == "GET":
                with open(path, "rb") as file:
                    while chunk := file.read(1 << 20):
                        writer.write(chunk)
                        await writer.drain()
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", snapshot, folder, copies]:
            print(make(Path(snapshot), Path(folder), int(copies)))
        case ["serve", folder]:
            asyncio.run(serve(Path(folder)))
        case _:
            sys.exit(__doc__)
