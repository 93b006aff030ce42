#!/usr/bin/env python3
"""Verifies an image that is built already, and compares each run with what bounds it, as a Markdown table.

Needs what `make demo` makes first. A run cannot be shorter than its slowest check, nor than the work of all checks shared
out over the cores: "x slowest" and "x shared" say how far it is from each, in the same run. "unpacked anew" has what
earlier runs unpacked out of the way, and removes it in the end: ext4 takes long to make files where many have just been
removed. "with the page" opens JupyterLab in Chromium, too (needs `chromedriver`).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGE = "demo-notebook"


def verify(esker, project, platform, *more):
    """Wall seconds of a whole process, and its report of the platform."""
    command = [esker, "-C", project, "verify", IMAGE, "--platform", platform, "--json", *more]
    start = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True)
    wall = time.monotonic() - start
    if ran.returncode != 0:
        sys.exit(f"esker verify ended with {ran.returncode}:\n{ran.stderr}")
    return wall, json.loads(ran.stdout)["images"][0]["platforms"][0]


def figures(run):
    """Wall seconds, those of the slowest check and of all of them, the ratios, and the slowest one's name."""
    wall, report = run
    checks = [check for check in report["checks"] if check["status"] != "not-run"]
    slowest = max(checks, key=lambda check: check["seconds"])
    total = sum(check["seconds"] for check in checks)
    shared = total / min(os.cpu_count(), len(checks))
    return wall, slowest["seconds"], total, wall / slowest["seconds"], wall / shared, slowest["name"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--esker", default=ROOT / "target/release/esker", type=Path)
    parser.add_argument("--project", default=ROOT / "target/real/demo", type=Path)
    parser.add_argument("--platform", default="linux/amd64")
    parser.add_argument("--runs", default=3, type=int)
    arguments = parser.parse_args()
    if not (arguments.project / ".esker/images" / IMAGE).is_dir() or not arguments.esker.exists():
        sys.exit("nothing to verify: run `make demo` first")
    cases = [("unpacked anew", ()), ("unpacked before", ())]
    if shutil.which("chromedriver"):
        cases.append(("with the page", ("--page",)))
    unpacked = arguments.project / ".esker/run"
    aside = Path(tempfile.mkdtemp(dir=arguments.project / ".esker"))
    print(f"{os.cpu_count()} cores, medians of {arguments.runs}\n")
    print("| run | wall s | slowest check s | all checks s | x slowest | x shared |\n|---|---|---|---|---|---|")
    for name, more in cases:
        rows = []
        for number in range(arguments.runs):
            if name == "unpacked anew" and unpacked.exists():
                unpacked.rename(aside / str(number))
            rows.append(figures(verify(arguments.esker, arguments.project, arguments.platform, *more)))
        wall, slowest, total, ratio, shared = (statistics.median(column) for column in list(zip(*rows))[:5])
        names = ", ".join(sorted({f"`{row[5]}`" for row in rows}))
        print(f"| {name} | {wall:.1f} | {slowest:.1f} ({names}) | {total:.1f} | {ratio:.2f} | {shared:.2f} |", flush=True)
    shutil.rmtree(aside)


if __name__ == "__main__":
    main()
